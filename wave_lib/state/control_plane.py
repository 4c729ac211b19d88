"""The control-plane log of a wave: lifecycle events and the entities they add up to.

Holds: nothing between calls; the log's kernel lock (`<log>.flock`) while it appends.
Writes: `control-plane/wave-<n>.jsonl`, `<log>.torn`, its checkpoint; mirrors of it for proof bundles and the rerun.
When killed: the log ends with a whole event; a mirror that is behind is written again by the next `sync_mirrors`.
Spec: COORD 2, 7, 10.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import StateError, WaveError
from ..base.files import append_jsonl, read_jsonl, remove, write_json
from ..base.timestamps import now_iso, parse_iso
from . import telemetry_sink
from .contradiction_entity import BROKEN, is_unresolved
from .control_plane_entities import SNAPSHOTS
from .coordination_records import LogDiagnostic, parse_int, text
from .log_access import collector_paused, locked_log
from .log_checkpoint import Checkpoint, CheckpointFile, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..base.files import JsonlReading
    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

RUN_KINDS = ("roadmap", "adhoc", "benchmark", "service", "unknown")
ENTITY_TYPES = (
    "task",
    "proof_bundle",
    "rerun_request",
    "attempt",
    "human_input",
    "contradiction",
    "fact",
    "wave_run",
    "agent_run",
    "wave_signal",
    "agent_signal",
    "coordination_record",
    "gate",
    "artifact",
    "benchmark_run",
    "benchmark_item",
    "verification",
    "review",
)
STATES = {
    "proof_bundle": ("active", "superseded", "revoked"),
    "rerun_request": ("active", "applied", "cleared"),
    "attempt": ("running", "completed", "failed", "cancelled"),
    "human_input": ("pending", "answered", "dismissed", "resolved", "open", "escalated"),
}
"""Allowed states of the stateful entities; the first one is the default. Spec: COORD 7.3."""
FIELDS = (
    "recordVersion",
    "id",
    "lane",
    "wave",
    "runKind",
    "runId",
    "entityType",
    "entityId",
    "action",
    "source",
    "actor",
    "recordedAt",
    "attempt",
    "data",
)
"""Keys of an event in on-disk order. Spec: COORD 7.1."""
KEPT = ("wave_run", "agent_run")
"""Entity types whose events count one by one, and not only in what they add up to."""


class LogReading(NamedTuple):
    """Events sorted by time (ties: file position), and the lines that are no events."""

    events: list[JsonObject]
    bad_lines: list[LogDiagnostic]


class ControlPlaneState(NamedTuple):
    """What the events add up to; the maps go from entity id to snapshot. Spec: COORD 7.3.

    `wave_runs` and `agent_runs` are the events of these types, by time; `read_events` has all.
    """

    wave_runs: list[JsonObject]
    agent_runs: list[JsonObject]
    proof_bundles: dict[str, JsonObject]
    rerun_requests: dict[str, JsonObject]
    attempts: dict[str, JsonObject]
    human_inputs: dict[str, JsonObject]
    contradictions: dict[str, JsonObject]
    facts: dict[str, JsonObject]
    bad_lines: list[LogDiagnostic]

    @property
    def active_proof_bundles(self) -> list[JsonObject]:
        """Bundles in force, oldest update first."""
        return [bundle for bundle in by_update(self.proof_bundles) if bundle["state"] == "active"]

    @property
    def active_rerun_request(self) -> JsonObject | None:
        """The latest rerun request that is still active."""
        return _last(request for request in by_update(self.rerun_requests) if request["state"] == "active")

    @property
    def active_attempt(self) -> JsonObject | None:
        """The latest attempt that is still running (whether a launcher lives is another question)."""
        return _last(attempt for attempt in by_update(self.attempts) if attempt["state"] == "running")

    @property
    def latest_attempt(self) -> JsonObject | None:
        """The attempt with the highest number."""
        attempts = sorted(self.attempts.values(), key=lambda attempt: attempt["attemptNumber"] or 0)
        return attempts[-1] if attempts else None

    @property
    def unresolved_contradictions(self) -> list[JsonObject]:
        """Contradictions that are neither resolved nor waived."""
        return [item for item in self.contradictions.values() if is_unresolved(item)]

    @property
    def last_wave_run(self) -> JsonObject | None:
        """The newest `wave_run` event, or None for a wave that never ran."""
        return self.wave_runs[-1] if self.wave_runs else None


def _last(items: Iterable[JsonObject]) -> JsonObject | None:
    return next(iter(list(items)[-1:]), None)


def by_update(entities: Mapping[str, JsonObject]) -> list[JsonObject]:
    """Snapshots sorted by `updatedAt`, ties in event order."""
    return sorted(entities.values(), key=lambda entity: parse_iso(entity.get("updatedAt")) or float("-inf"))


# --- events ---------------------------------------------------------------------------------------------------------


def normalize_event(raw: Mapping[str, Any], now: str = "") -> JsonObject:
    """A whole event, keys in on-disk order. StateError for a missing field or unknown type. Spec: COORD 7.1."""
    entity_type = text(raw.get("entityType")).lower()
    if entity_type not in ENTITY_TYPES:
        raise StateError(f"Control-plane entityType must be one of: {', '.join(ENTITY_TYPES)} (got: {entity_type})")
    wave = parse_int(raw.get("wave"))
    if wave is None or wave < 0:
        raise StateError(f"Control-plane wave must be a non-negative integer (got: {raw.get('wave')})")
    for key in ("lane", "entityId", "action"):
        if not text(raw.get(key)):
            raise StateError(f"Control-plane {key} is required")
    data = raw.get("data")
    run_kind = text(raw.get("runKind")).lower() or "roadmap"
    return {
        "recordVersion": 1,
        "id": text(raw.get("id")) or f"ctrl-{entity_type}-{os.urandom(4).hex()}",
        "lane": text(raw.get("lane")),
        "wave": wave,
        "runKind": run_kind if run_kind in RUN_KINDS else "unknown",
        "runId": text(raw.get("runId")) or None,
        "entityType": entity_type,
        "entityId": text(raw.get("entityId")),
        "action": text(raw.get("action")).lower(),
        "source": text(raw.get("source")) or "launcher",
        "actor": text(raw.get("actor")),
        "recordedAt": text(raw.get("recordedAt")) or now,
        "attempt": parse_int(raw.get("attempt")),
        "data": dict(data) if isinstance(data, dict) else {},
    }


def append_event(
    paths: LanePaths,
    wave: int,
    entity_type: str,
    entity_id: str,
    action: str,
    data: Mapping[str, Any] | None = None,
    *,
    source: str = "launcher",
    actor: str | None = None,
    attempt: int | None = None,
) -> JsonObject:
    """Append one event and return it. Mirrors are not touched: see `sync_mirrors`."""
    event = event_of(entity_type, entity_id, action, data, source=source, actor=actor, attempt=attempt)
    return append_events(paths, wave, [event])[0]


def event_of(
    entity_type: str,
    entity_id: str,
    action: str,
    data: Mapping[str, Any] | None = None,
    *,
    source: str = "launcher",
    actor: str | None = None,
    attempt: int | None = None,
) -> JsonObject:
    """The raw event that `append_events` completes with lane, wave, run and time."""
    return {
        "entityType": entity_type,
        "entityId": entity_id,
        "action": action,
        "source": source,
        "actor": actor or "",
        "attempt": attempt,
        "data": dict(data or {}),
    }


def append_events(paths: LanePaths, wave: int, events: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
    """Append events that belong to one operation in one write; returns them as written."""
    path = paths.control_plane_log(wave)
    with locked_log(path) as log:
        whole = _completed(paths, wave, events)
        append_jsonl(path, whole, lock=log)
    telemetry_sink.emit(telemetry_sink.CONTROL_PLANE, whole)
    return whole


def update_events(
    paths: LanePaths, wave: int, decide: Callable[[ControlPlaneState], Sequence[Mapping[str, Any]]]
) -> list[JsonObject]:
    """Read the log, ask `decide` what to append, append it: one locked step, one write. Returns what was appended."""
    path = paths.control_plane_log(wave)
    with locked_log(path) as log:
        whole = _completed(paths, wave, decide(read_control_plane(paths, wave)))
        if whole:
            append_jsonl(path, whole, lock=log)
    telemetry_sink.emit(telemetry_sink.CONTROL_PLANE, whole)
    return whole


def _completed(paths: LanePaths, wave: int, events: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
    now = now_iso()
    place = {"lane": paths.lane, "wave": wave, "runKind": paths.run_kind, "runId": paths.run_id}
    return [normalize_event({**place, **event}, now) for event in events]


# --- reading --------------------------------------------------------------------------------------------------------


def read_events(paths: LanePaths, wave: int) -> LogReading:
    """Events of a wave, sorted, and the lines that are none. Writes nothing."""
    return read_event_file(paths.control_plane_log(wave))


def read_event_file(path: str) -> LogReading:
    """Events of one log file (also of a trace's copy)."""
    reading = read_jsonl(path)
    found = _events_of(path, reading, 1)
    found.events.sort(key=_event_time)
    return found


def _events_of(path: str, reading: JsonlReading, first_line: int) -> LogReading:
    """Events and bad lines of what was just read, in file order."""
    bad = [LogDiagnostic(path, line, "not a JSON object") for line, _ in reading.bad_lines]
    events = []
    for line, raw in zip(reading.record_lines(first_line), reading.records):
        try:
            event = normalize_event(raw)
            _check_state(event)
            events.append(event)
        except WaveError as error:
            bad.append(LogDiagnostic(path, line, str(error)))
    bad.sort(key=lambda found: found.line)
    return LogReading(events, bad)


def _event_time(event: JsonObject) -> float:
    seconds = parse_iso(event["recordedAt"])
    return float("-inf") if seconds is None else seconds


def _check_state(event: JsonObject) -> None:
    allowed = STATES.get(event["entityType"])
    state = event["data"].get("state")
    if allowed and state is not None and state not in allowed:
        raise StateError(f"{event['entityType']} state must be one of: {', '.join(allowed)} (got: {state})")


def read_control_plane(paths: LanePaths, wave: int) -> ControlPlaneState:
    """The materialised control plane of a wave."""
    return control_plane_reader(paths, wave).refresh()


def control_plane_reader(paths: LanePaths, wave: int) -> ControlPlaneLog:
    """An incremental reader of the wave's log."""
    return ControlPlaneLog(paths.control_plane_log(wave), paths.control_plane_checkpoint(wave))


def materialize_events(events: Sequence[JsonObject], bad_lines: Sequence[LogDiagnostic] = ()) -> ControlPlaneState:
    """What sorted events add up to. A bad contradiction event counts as an open one. Spec: COORD 7.3, 10."""
    fold = ControlPlaneFold()
    for event in events:
        fold.add(event)
    return fold.state(bad_lines)


class ControlPlaneFold:
    """Folds events in the order of their times; a snapshot is made anew only where an event changed its entity."""

    def __init__(self) -> None:
        self._kept: dict[str, list[JsonObject]] = {kind: [] for kind in KEPT}
        self._merged: dict[str, dict[str, JsonObject]] = {kind: {} for kind in SNAPSHOTS}
        self._made: dict[str, dict[str, JsonObject]] = {kind: {} for kind in SNAPSHOTS}
        self._stale: dict[tuple[str, str], None] = {}
        self._broken: dict[str, LogDiagnostic] = {}

    @classmethod
    def from_content(cls, content: JsonObject) -> ControlPlaneFold:
        """A fold that goes on where the one of `content()` ended."""
        fold = cls()
        fold._kept = {kind: unpack(content["kept"][kind]) for kind in KEPT}
        fold._merged = {kind: dict(content["merged"][kind]) for kind in SNAPSHOTS}
        fold._stale = dict.fromkeys((kind, name) for kind, entities in fold._merged.items() for name in entities)
        return fold

    def content(self) -> JsonObject:
        """What the events add up to, for a checkpoint."""
        return {"kept": {kind: pack(events, FIELDS) for kind, events in self._kept.items()}, "merged": self._merged}

    def add(self, event: JsonObject) -> None:
        """Fold one event that is not older than those before it."""
        kind, entity_id = event["entityType"], event["entityId"]
        if kind in self._kept:
            self._kept[kind].append(event)
        entities = self._merged.get(kind)
        if entities is None:
            return
        previous = entities.get(entity_id, {"createdAt": event["recordedAt"]})
        entities[entity_id] = {
            **previous,
            **{key: value for key, value in event["data"].items() if value is not None or key not in previous},
            "updatedAt": event["data"].get("updatedAt") or event["recordedAt"],
        }
        self._stale[kind, entity_id] = None

    def state(self, bad_lines: Sequence[LogDiagnostic] = ()) -> ControlPlaneState:
        """The present state, which later events leave alone."""
        for kind, entity_id in self._stale:
            self._made[kind][entity_id] = self._snapshot(kind, entity_id, self._merged[kind][entity_id])
        self._stale.clear()
        made = {kind: dict(entities) for kind, entities in self._made.items()}
        return ControlPlaneState(
            list(self._kept["wave_run"]),
            list(self._kept["agent_run"]),
            made["proof_bundle"],
            made["rerun_request"],
            made["attempt"],
            made["human_input"],
            made["contradiction"],
            made["fact"],
            [*bad_lines, *(self._broken[key] for key in made["contradiction"] if key in self._broken)],
        )

    def _snapshot(self, kind: str, entity_id: str, data: JsonObject) -> JsonObject:
        self._broken.pop(entity_id if kind == "contradiction" else "", None)
        try:
            return SNAPSHOTS[kind](entity_id, data)
        except WaveError as error:  # only a contradiction can be refused, and then it counts as an open one
            self._broken[entity_id] = LogDiagnostic(f"contradiction {entity_id}", 0, str(error))
            return {**BROKEN, "contradictionId": entity_id}


class ControlPlaneLog:
    """Incremental reader of one log file: `refresh` reads and folds only what was appended since the last call.

    A log that became shorter, or a tail with an event older than those before it, is folded again from the start. With
    the path of a checkpoint the first reading goes on from there; `save_checkpoint` is for writers.
    """

    def __init__(self, path: str, checkpoint: str = "") -> None:
        self.path = path
        self._checkpoint = CheckpointFile(checkpoint, path)
        self._begun = False
        self._fold = ControlPlaneFold()
        self._offset = 0
        self._next_line = 1
        self._last = float("-inf")
        self._bad_lines: list[LogDiagnostic] = []
        self._state: ControlPlaneState | None = None

    def refresh(self) -> ControlPlaneState:
        """The state of the log as it stands on disk now."""
        with collector_paused():
            if not self._begun:
                self._resume()
            self._begun = True
            return self._refresh()

    def _refresh(self) -> ControlPlaneState:
        reading = read_jsonl(self.path, self._offset, self._next_line)
        if reading.next_offset < self._offset:
            self._forget()
            return self._refresh()
        if self._state is not None and reading.next_offset == self._offset:
            return self._state
        found = _events_of(self.path, reading, self._next_line)
        tail = sorted(found.events, key=_event_time)
        if tail and _event_time(tail[0]) < self._last:
            self._forget()
            return self._refresh()
        self._offset, self._next_line = reading.next_offset, reading.next_line
        self._bad_lines += found.bad_lines
        for event in tail:
            self._fold.add(event)
        self._last = _event_time(tail[-1]) if tail else self._last
        self._state = self._fold.state(self._bad_lines)
        return self._state

    def _forget(self) -> None:
        """Begin again with the first line; the checkpoint of before is not gone on from."""
        self.__init__(self.path, self._checkpoint.path)  # type: ignore[misc]
        self._begun = True

    def save_checkpoint(self) -> bool:
        """Write a checkpoint when the log grew much since the last one. For writers only."""
        if self._state is None or not self._checkpoint.is_due(self._offset):
            return False
        last = None if self._last == float("-inf") else self._last
        content = {**self._fold.content(), "lastTime": last}
        self._checkpoint.write(Checkpoint(self._offset, self._next_line, self._bad_lines, content))
        return True

    def _resume(self) -> None:
        found = self._checkpoint.read()
        if found is None:
            return
        try:
            fold, last = ControlPlaneFold.from_content(found.content), found.content["lastTime"]
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # a cache that cannot be read is none
        self._fold = fold
        self._last = float("-inf") if last is None else last
        self._offset = found.size
        self._next_line = found.next_line
        self._bad_lines = found.bad_lines


# --- mirrors --------------------------------------------------------------------------------------------------------


def proof_registry(paths: LanePaths, wave: int, state: ControlPlaneState) -> JsonObject | None:
    """The registry document of the log's bundles, None when the log has no bundle event. Spec: COORD 7.4."""
    if not state.proof_bundles:
        return None
    bundles = by_update(state.proof_bundles)
    return {
        "schemaVersion": 1,
        "kind": "wave-proof-registry",
        "lane": paths.lane,
        "wave": wave,
        "updatedAt": bundles[-1]["updatedAt"],
        "entries": [{"id": bundle["proofBundleId"], **bundle} for bundle in bundles],
    }


def retry_override(paths: LanePaths, wave: int, request: JsonObject) -> JsonObject:
    """The override document of a rerun request. Spec: COORD 7.4."""
    shared = (
        "selectedAgentIds",
        "reuseAttemptIds",
        "reuseProofBundleIds",
        "reuseDerivedSummaries",
        "invalidateComponentIds",
        "clearReusableAgentIds",
        "preserveReusableAgentIds",
    )
    return {
        "schemaVersion": 1,
        "kind": "wave-retry-override",
        "lane": paths.lane,
        "wave": wave,
        **{key: request[key] for key in shared},
        "resumePhase": request["resumeCursor"],
        "requestedBy": request["requestedBy"],
        "reason": request["reason"],
        "applyOnce": request["applyOnce"],
        "createdAt": request["createdAt"],
    }


def sync_mirrors(paths: LanePaths, wave: int) -> None:
    """Write the proof registry and the retry override as the log has them; files of trees without events are kept."""
    state = read_control_plane(paths, wave)
    registry = proof_registry(paths, wave, state)
    if registry is not None:
        write_json(paths.proof_registry(wave), registry, if_changed=True)
    if not state.rerun_requests:
        return
    request = state.active_rerun_request
    if request is None:
        remove(paths.retry_override(wave))
    else:
        write_json(paths.retry_override(wave), retry_override(paths, wave, request), if_changed=True)
