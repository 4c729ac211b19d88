"""The telemetry spool of a lane: every event is recorded on this machine first, whether it is ever sent or not.

Holds:       while it writes, `telemetry/.lock`.
Writes:      `control-plane/telemetry/`: `events.jsonl`, `pending/`, `failed/`, `delivery-state.json`. Without fsync: a
             power failure may cost the last events, a kill costs none.
When killed: an event may stand in `events.jsonl` and not in `pending/`: then it is never sent. Nothing is sent twice
             without the same id.

Nothing is written at all when telemetry is off. Spec: PROV 8.1-8.6, 8.8.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import __version__
from ..base.errors import WaveError
from ..base.files import append_jsonl, move, read_json, remove, write_json
from ..base.locks import locked
from ..base.redaction import redact, redact_value
from ..base.text import compact_json
from ..base.timestamps import now_iso
from .provider_runtime import normalize_endpoint
from .wave_control_schema import normalize_event

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

NO_TELEMETRY = "WAVE_NO_TELEMETRY"
"""Set to `1` by `--no-telemetry` for the launcher and every process it starts."""

MAX_EVENT_BYTES = 256 * 1024
KEPT_FILES = 500
_RECENT_IDS = 20
QUEUE_KIND, STATE_KIND = "wave-control-queued-event", "wave-control-delivery-state"


class RawEvent(NamedTuple):
    """An event before normalisation, and where the bodies of its artifacts are (artifact id to path)."""

    event: Mapping[str, Any]
    sources: Mapping[str, str] = {}


class Telemetry:
    """The spool of one lane (or ad-hoc run), as its configuration and the environment say."""

    def __init__(
        self, paths: LanePaths, orchestrator_id: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self.paths = paths
        self.control: Mapping[str, Any] = paths.profile.wave_control
        self.environ = os.environ if environ is None else environ
        self.orchestrator_id = orchestrator_id
        self.enabled = is_enabled(paths, self.environ)
        self.report_mode = str(self.control.get("reportMode") or "metadata-only")

    @property
    def endpoint(self) -> str | None:
        """Where events are sent; None keeps them here."""
        return normalize_endpoint(self.control.get("endpoint"))

    @property
    def max_pending(self) -> int:
        """How many events are queued at most."""
        return int(self.control.get("maxPendingEvents") or 1000)

    def captures(self, flag: str) -> bool:
        """Whether events of a kind (`captureTraceBundles`, ...) are recorded."""
        return self.enabled and self.control.get(flag) is not False

    def identity(self) -> JsonObject:
        """What every event of this lane says about where it comes from. Spec: PROV 8.2."""
        paths = self.paths
        return {
            "workspaceId": self.control.get("workspaceId") or paths.workspace_token,
            "projectId": paths.telemetry_project_id,
            "runId": paths.run_id,
            "runKind": paths.run_kind,
            "lane": paths.lane,
            "orchestratorId": self.orchestrator_id,
            "runtimeVersion": f"py-{__version__}",
        }

    def enqueue(self, raws: Sequence[RawEvent]) -> list[JsonObject]:
        """Record events and queue them for delivery; nothing when telemetry is off. Spec: PROV 8.4.

        Raises WaveError; callers on canonical paths go through `record`.
        """
        if not self.enabled or not raws:
            return []
        paths = self.paths
        identity = self.identity()
        events = [redact_value(normalize_event(raw.event, identity, self.report_mode)) for raw in raws]
        with locked(paths.telemetry_lock):
            append_jsonl(paths.telemetry_events, events, durable=False)
            now = now_iso()
            for event, raw in zip(events, raws):
                queued = {
                    "schemaVersion": 1,
                    "kind": QUEUE_KIND,
                    "enqueuedAt": now,
                    "event": _bounded(event),
                    "artifactSourcePaths": dict(raw.sources),
                }
                write_json(os.path.join(paths.telemetry_pending, queue_name(event)), queued, durable=False)
            state = self.read_state()
            pending = self._enforce_cap(state)
            state["lastEnqueuedAt"] = now
            state["recentEventIds"] = [*state["recentEventIds"], *(event["id"] for event in events)][-_RECENT_IDS:]
            self.write_state(state, pending)
        return events

    def record(self, raws: Sequence[RawEvent]) -> None:
        """The same for callers whose own work must not fail because of telemetry."""
        try:
            self.enqueue(raws)
        except (WaveError, OSError, ValueError, TypeError, KeyError):
            return

    def _enforce_cap(self, state: JsonObject) -> int:
        """Drop the oldest queued events beyond the cap; returns how many are left. Spec: PROV 8.4."""
        limit = self.max_pending
        queued = _json_names(self.paths.telemetry_pending)
        surplus = sorted(queued)[: len(queued) - limit] if len(queued) > limit else []
        for name in surplus:
            path = os.path.join(self.paths.telemetry_pending, name)
            if self.endpoint is None:
                remove(path)
            else:
                move(path, os.path.join(self.paths.telemetry_failed, f"overflow-{name}"))
        if surplus and self.endpoint is not None:
            text = f"{len(surplus)} events were dropped: maxPendingEvents={limit} was reached"
            state["lastError"] = {"message": text, "failedAt": now_iso()}
            state["failedCount"] += len(surplus)
        return len(queued) - len(surplus)

    # --- state

    def pending_names(self) -> list[str]:
        """Names of the queued files, oldest first."""
        return json_names(self.paths.telemetry_pending)

    def read_state(self) -> JsonObject:
        """`delivery-state.json` as it is, completed with defaults; writes nothing."""
        try:
            found = read_json(self.paths.telemetry_state).value
        except WaveError:
            found = None
        state = {**self._fresh_state(), **(found if isinstance(found, dict) else {})}
        for key in ("sentCount", "failedCount", "consecutiveFailures"):
            state[key] = state[key] if isinstance(state[key], int) else 0
        if not isinstance(state["recentEventIds"], list):
            state["recentEventIds"] = []
        return {**state, **self._configured_state()}

    def write_state(self, state: JsonObject, pending: int | None = None) -> None:
        """Write the state; the caller holds `.lock`. `pending`: how many events are queued, where that is known."""
        count = len(_json_names(self.paths.telemetry_pending)) if pending is None else pending
        state = {**state, "pendingCount": count, "updatedAt": now_iso()}
        write_json(self.paths.telemetry_state, state, durable=False)

    def _configured_state(self) -> JsonObject:
        identity, paths = self.identity(), self.paths
        endpoint = self.endpoint
        return {
            "workspaceId": identity["workspaceId"],
            "lane": identity["lane"],
            "runId": identity["runId"],
            "runKind": identity["runKind"],
            "reportMode": self.report_mode,
            "endpoint": endpoint,
            "queuePath": paths.rel(paths.telemetry_pending),
            "eventsPath": paths.rel(paths.telemetry_events),
        }

    def _fresh_state(self) -> JsonObject:
        return {
            "schemaVersion": 1,
            "kind": STATE_KIND,
            **self._configured_state(),
            "pendingCount": 0,
            "sentCount": 0,
            "failedCount": 0,
            "lastEnqueuedAt": None,
            "lastFlushAt": None,
            "lastSuccessAt": None,
            "lastError": None,
            "recentEventIds": [],
            "updatedAt": None,
            "consecutiveFailures": 0,
            "nextAttemptAt": None,
        }


def is_enabled(paths: LanePaths, environ: Mapping[str, str]) -> bool:
    """Whether anything may be written or sent for these paths. Spec: PROV 8.1."""
    control = paths.profile.wave_control
    off = not control.get("enabled", True) or control.get("reportMode") == "disabled"
    return not off and not paths.dry_run and environ.get(NO_TELEMETRY, "").strip() not in ("1", "true", "yes")


def status_document(telemetry: Telemetry) -> JsonObject:
    """What `control telemetry status` shows; reads only. Spec: PROV 9."""
    state = telemetry.read_state()
    state["telemetryDir"] = telemetry.paths.rel(telemetry.paths.telemetry_dir)
    state["pendingCount"] = len(telemetry.pending_names())
    if not telemetry.enabled:
        state.update(disabled=True, pendingCount=0, sentCount=0, failedCount=0)
    if state["lastError"]:
        state["lastError"] = redact_value(state["lastError"])
    return state


def queue_name(event: JsonObject) -> str:
    """The file name of a queued event: sorts by time. Spec: PROV 8.3."""
    return f"{re.sub('[^0-9]', '', str(event.get('recordedAt')))[:14]}-{safe_id(event['id'])}.json"


def safe_id(event_id: str) -> str:
    """An event id as part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]", "", event_id)[:160] or "event"


def json_names(folder: str) -> list[str]:
    """Names of the JSON files of a folder, sorted; temp files begin with a dot and do not count."""
    return sorted(_json_names(folder))


def _json_names(folder: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [name for name in names if name.endswith(".json") and name[0] != "."]


def keep_newest(folder: str, count: int = KEPT_FILES) -> None:
    """Remove all but the newest files of `sent/` or `failed/`. Spec: PROV 8.3."""
    names = json_names(folder)
    if len(names) <= count:
        return

    def age(name: str) -> float:
        try:
            return os.stat(os.path.join(folder, name)).st_mtime
        except OSError:
            return 0.0

    for name in sorted(names, key=age)[: len(names) - count]:
        remove(os.path.join(folder, name))


def _bounded(event: JsonObject) -> JsonObject:
    """The event as it is queued: one that is too large loses its data. Spec: PROV 8.4."""
    size = len(compact_json(event).encode("utf-8", "replace"))
    if size <= MAX_EVENT_BYTES:
        return event
    keys = [redact(str(key))[:200] for key in event["data"]][:200]
    return {**event, "data": {"truncated": True, "originalBytes": size, "keys": keys}}
