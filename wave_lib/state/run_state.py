"""Run state: which waves of a lane are complete, blocked or drifted, and how they came to be so.

Holds: `run-state.json.lock` for the length of one read-modify-write.
Writes: `run-state.json`; nobody else does.
When killed: the old or the new file is there whole; a transition is in it or it is not.

Spec: CFG 17.1-17.3, LAUNCH 4.1. A run state travels as a plain dict in its on-disk form.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

from ..base.errors import StateError
from ..base.files import Outcome, move_aside, read_json, write_json
from ..base.locks import locked
from ..base.timestamps import compact_stamp, now_iso

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..definition.wave_types import Wave

JsonObject = dict[str, Any]

SCHEMA_VERSION = 2
KIND = "wave-run-state"

COMPLETED = "completed"
COMPLETED_WITH_DRIFT = "completed_with_drift"
BLOCKED = "blocked"
COMPLETED_STATES = (COMPLETED, COMPLETED_WITH_DRIFT)

LIVE_LAUNCHER = "live-launcher"
STATUS_RECONCILE = "status-reconcile"
LEGACY_RUN_STATE = "legacy-run-state"

HISTORY_LIMIT = 200
HISTORY_PER_WAVE = 20


def empty_run_state() -> JsonObject:
    """A lane in which no wave was started."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "kind": KIND,
        "completedWaves": [],
        "lastUpdatedAt": None,
        "waves": {},
        "history": [],
    }


def normalize_completed_waves(values: object) -> list[int]:
    """Wave numbers out of ints and digit strings, sorted and unique; everything else is dropped. Spec: CFG 17.1."""
    numbers = (wave_number(value) for value in (values if isinstance(values, list) else []))
    return sorted({number for number in numbers if number is not None})


def wave_number(value: object) -> int | None:
    """`3` or `"3"` as 3; None for anything that is no wave number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value.strip())
    return None


def normalize_run_state(payload: object) -> JsonObject:
    """Any earlier form of the file in today's form; `completedWaves` is always derived. Spec: CFG 17.1 (reading)."""
    raw: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    state = empty_run_state()
    state["lastUpdatedAt"] = _text(raw.get("lastUpdatedAt"))
    waves: dict[str, JsonObject] = {}
    for key, entry in (raw.get("waves") or {}).items() if isinstance(raw.get("waves"), dict) else ():
        number = wave_number(key)
        if number is not None and isinstance(entry, dict):
            waves[str(number)] = _normalize_entry(number, entry)
    for number in normalize_completed_waves(raw.get("completedWaves")):
        waves.setdefault(str(number), _legacy_entry(number, state["lastUpdatedAt"]))
    state["waves"] = {key: waves[key] for key in sorted(waves, key=int)}
    history = raw.get("history")
    for position, item in enumerate(history if isinstance(history, list) else [], 1):
        if isinstance(item, dict) and wave_number(item.get("wave")) is not None:
            state["history"].append(_normalize_history_item(position, item))
    state["history"].sort(key=lambda item: item["seq"])
    state["completedWaves"] = completed_waves(state)
    return state


def _normalize_entry(number: int, entry: Mapping[str, Any]) -> JsonObject:
    evidence = entry.get("lastEvidence")
    return {
        "wave": number,
        "currentState": str(entry.get("currentState") or COMPLETED).strip().lower() or COMPLETED,
        "lastTransitionAt": _text(entry.get("lastTransitionAt") or entry.get("updatedAt") or entry.get("completedAt")),
        "lastSource": _text(entry.get("lastSource")),
        "lastReasonCode": _text(entry.get("lastReasonCode")),
        "lastDetail": _text(entry.get("lastDetail")) or "",
        "lastEvidence": evidence if isinstance(evidence, dict) else None,
    }


def _legacy_entry(number: int, at: str | None) -> JsonObject:
    return {
        "wave": number,
        "currentState": COMPLETED,
        "lastTransitionAt": at,
        "lastSource": LEGACY_RUN_STATE,
        "lastReasonCode": "legacy-completed-wave",
        "lastDetail": "",
        "lastEvidence": None,
    }


def _normalize_history_item(position: int, item: Mapping[str, Any]) -> JsonObject:
    seq = item.get("seq")
    evidence = item.get("evidence")
    return {
        "seq": seq if isinstance(seq, int) and not isinstance(seq, bool) else position,
        "at": _text(item.get("at")),
        "wave": wave_number(item.get("wave")),
        "fromState": _text(item.get("fromState")),
        "toState": _text(item.get("toState")),
        "source": _text(item.get("source")),
        "reasonCode": _text(item.get("reasonCode")),
        "detail": _text(item.get("detail")) or "",
        "evidence": evidence if isinstance(evidence, dict) else None,
    }


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def read_run_state(path: str) -> JsonObject:
    """The normalised run state; an absent file is an empty state.

    Raises `StateError` when the file is damaged, foreign or of a newer version. Spec: CFG 17.1.
    """
    reading = read_json(path, schema_version=SCHEMA_VERSION)
    if reading.outcome is Outcome.ABSENT:
        return empty_run_state()
    if reading.outcome is Outcome.WHOLE and isinstance(reading.value, dict):
        return normalize_run_state(reading.value)
    if reading.outcome is Outcome.NEWER:
        raise StateError(
            "the run state was written by a newer version of Wave", path, "use that version; nothing was changed"
        )
    raise StateError(
        f"the run state cannot be read ({reading.detail})",
        path,
        "the next `launch` puts the file aside and rebuilds it from status files",
    )


def quarantine_run_state(path: str) -> str | None:
    """Put a damaged run-state file aside as `<path>.corrupt-<stamp>` and return the new path; None if it is fine.

    Only the launcher calls this, under the launcher lock. A newer file is never moved. Spec: CFG 17.1.
    """
    if read_json(path, schema_version=SCHEMA_VERSION).outcome in (Outcome.ABSENT, Outcome.WHOLE, Outcome.NEWER):
        return None
    return move_aside(path, f"corrupt-{compact_stamp()[:15]}Z")


def completed_waves(state: Mapping[str, Any]) -> list[int]:
    """Sorted numbers of the waves whose state counts as completed."""
    return sorted(entry["wave"] for entry in state["waves"].values() if entry["currentState"] in COMPLETED_STATES)


def entry_of(state: Mapping[str, Any], wave: int) -> JsonObject | None:
    """The wave's entry, or None for a wave that was not started."""
    entry: JsonObject | None = state["waves"].get(str(wave))
    return entry


def is_authoritative(entry: Mapping[str, Any] | None) -> bool:
    """Whether the entry is a completion that somebody decided, not one taken over from a list. Spec: CFG 17.5."""
    return bool(
        entry
        and entry["currentState"] in COMPLETED_STATES
        and entry["lastSource"]
        and entry["lastSource"] != LEGACY_RUN_STATE
    )


def next_wave(waves: Iterable[int], state: Mapping[str, Any], start: int = 0) -> int | None:
    """Smallest wave number at or after `start` that is not completed, or None. Spec: CFG 17.7."""
    done = set(state["completedWaves"])
    return min((wave for wave in waves if wave >= start and wave not in done), default=None)


def append_transition(
    state: JsonObject,
    wave: int,
    to_state: str,
    *,
    source: str,
    reason_code: str,
    detail: str = "",
    evidence: JsonObject | None = None,
    at: str,
) -> JsonObject:
    """A new run state with this transition, or `state` itself when it says nothing new. Spec: CFG 17.2."""
    prior = entry_of(state, wave)
    detail = detail.strip()
    if prior is not None and (
        (prior["currentState"], prior["lastSource"], prior["lastReasonCode"], prior["lastDetail"])
        == (to_state, source, reason_code, detail)
        and comparable_evidence(prior["lastEvidence"]) == comparable_evidence(evidence)
    ):
        return state
    history: list[JsonObject] = state["history"]
    at = max([at, *(item["at"] for item in history if item["at"])])  # history never runs backwards
    item = {
        "seq": max((item["seq"] for item in history), default=0) + 1,
        "at": at,
        "wave": wave,
        "fromState": prior["currentState"] if prior else None,
        "toState": to_state,
        "source": source,
        "reasonCode": reason_code,
        "detail": detail,
        "evidence": evidence,
    }
    entry = {
        "wave": wave,
        "currentState": to_state,
        "lastTransitionAt": at,
        "lastSource": source,
        "lastReasonCode": reason_code,
        "lastDetail": detail,
        "lastEvidence": evidence,
    }
    waves = {**state["waves"], str(wave): entry}
    changed = {
        **state,
        "lastUpdatedAt": at,
        "waves": {key: waves[key] for key in sorted(waves, key=int)},
        "history": capped_history([*history, item]),
    }
    changed["completedWaves"] = completed_waves(changed)
    return changed


def comparable_evidence(evidence: Mapping[str, Any] | None) -> JsonObject | None:
    """Evidence without what changes while nothing happens: the `completedAt` of its status files."""
    if evidence is None:
        return None
    files = evidence.get("statusFiles") or []
    return {**evidence, "statusFiles": [{**item, "completedAt": None} for item in files]}


def capped_history(history: list[JsonObject]) -> list[JsonObject]:
    """At most `HISTORY_LIMIT` entries, the newest entry of each wave always among them. Spec: CFG 17.2."""
    if len(history) <= HISTORY_LIMIT:
        return history
    kept: list[JsonObject] = []
    seen: dict[int, int] = {}
    for item in reversed(history):
        rank = seen[item["wave"]] = seen.get(item["wave"], 0) + 1
        if rank <= HISTORY_PER_WAVE:
            kept.append(item if rank == 1 else {**item, "evidence": None})
    kept.reverse()
    newest = {item["wave"]: item["seq"] for item in kept}
    surplus = len(kept) - HISTORY_LIMIT
    capped = []
    for item in kept:
        if surplus > 0 and newest[item["wave"]] != item["seq"]:
            surplus -= 1
            continue
        capped.append(item)
    return capped


def update_run_state(path: str, change: Callable[[JsonObject], JsonObject]) -> JsonObject:
    """Read, change and replace the file under its lock; nothing is written when `change` returns its argument.

    Raises `StateError` when the file may not be overwritten (damaged or newer). Spec: CFG 17.1 (writing).
    """
    with locked(path + ".lock"):
        state = read_run_state(path)
        changed = change(state)
        if changed is not state:
            write_json(path, changed)
        return changed


def record_transition(
    path: str,
    wave: int,
    to_state: str,
    *,
    source: str = LIVE_LAUNCHER,
    reason_code: str,
    detail: str = "",
    evidence: JsonObject | None = None,
) -> JsonObject:
    """Append one transition to the file and return the run state after it."""
    return update_run_state(
        path,
        lambda state: append_transition(
            state,
            wave,
            to_state,
            source=source,
            reason_code=reason_code,
            detail=detail,
            evidence=evidence,
            at=now_iso(),
        ),
    )


def mark_wave_completed(
    path: str,
    wave: int,
    *,
    detail: str,
    evidence: JsonObject | None = None,
    source: str = LIVE_LAUNCHER,
    reason_code: str = "wave-complete",
) -> JsonObject:
    """Record a completion. Only the launcher calls this, after closure. Spec: CFG 17.2, LAUNCH 4.1."""
    return record_transition(
        path, wave, COMPLETED, source=source, reason_code=reason_code, detail=detail, evidence=evidence
    )


def mark_wave_blocked(
    path: str,
    wave: int,
    *,
    detail: str,
    reason_code: str,
    evidence: JsonObject | None = None,
) -> JsonObject:
    """Record that the launcher left the wave without completing it.

    `reason_code` is `wave-failed` (exit 1, 42), `wave-blocked` (43) or `launcher-interrupted`. Spec: LAUNCH 4.1.
    """
    return record_transition(path, wave, BLOCKED, reason_code=reason_code, detail=detail, evidence=evidence)


def build_run_state_evidence(
    paths: LanePaths,
    wave: Wave,
    *,
    trace_dir: str | None = None,
    gate_snapshot: Mapping[str, Any] | None = None,
    blocked_reasons: Sequence[Mapping[str, str]] = (),
    not_required_agent_ids: Sequence[str] = (),
    supervisor_run_id: str | None = None,
) -> JsonObject:
    """What the wave's files looked like when somebody decided about it. Spec: CFG 17.3, LAUNCH 4.1.

    `trace_dir` is absolute or relative; hashes are SHA-256 of file bytes, null for absent files.
    """
    from ..base.text import compact_json, sha256_text
    from .agent_state import read_status_record

    status_files, summary_files = [], []
    for agent in wave.agents:
        status_path = paths.status_file(wave.wave, agent.slug)
        record = read_status_record(status_path)
        if record is not None:
            status_files.append(
                {
                    "agentId": agent.agent_id,
                    "path": paths.rel(status_path),
                    "promptHash": record.get("promptHash"),
                    "definitionHash": record.get("definitionHash"),
                    "code": record["code"],
                    "completedAt": record.get("completedAt"),
                    "sha256": file_hash(status_path),
                }
            )
        summary_path = paths.summary_file(wave.wave, agent.slug)
        if os.path.isfile(summary_path):
            summary_files.append(
                {"agentId": agent.agent_id, "path": paths.rel(summary_path), "sha256": file_hash(summary_path)}
            )
    evidence: JsonObject = {
        "waveFileHash": file_hash(os.path.join(paths.root, wave.file)),
        "traceDir": paths.rel(trace_dir) if trace_dir and os.path.isabs(trace_dir) else trace_dir,
        "statusFiles": status_files,
        "summaryFiles": summary_files,
        "coordinationLogSha256": file_hash(paths.coordination_log(wave.wave)),
        "assignmentsSha256": file_hash(paths.assignments(wave.wave)),
        "dependencySnapshotSha256": file_hash(paths.dependency_snapshot(wave.wave)),
        "gateSnapshotSha256": sha256_text(compact_json(gate_snapshot)) if gate_snapshot else None,
        "blockedReasons": [{"code": item["code"], "detail": item["detail"]} for item in blocked_reasons],
    }
    if supervisor_run_id:
        evidence["supervisorRunId"] = supervisor_run_id
    if not_required_agent_ids:
        evidence["notRequiredAgentIds"] = sorted(set(not_required_agent_ids))
    return evidence


def file_hash(path: str) -> str | None:
    """SHA-256 of the file's bytes as hex, None when there is no such file."""
    from ..base.text import sha256_file

    return sha256_file(path) if os.path.isfile(path) else None


def not_required_agent_ids(entry: Mapping[str, Any] | None) -> list[str]:
    """Closure agents that the wave's last evidence, or the completion it preserves, says were not needed."""
    evidence = (entry or {}).get("lastEvidence") or {}
    ids = evidence.get("notRequiredAgentIds")
    if not ids:
        preserved = evidence.get("preservedCompletion") or {}
        ids = (preserved.get("previousEvidence") or {}).get("notRequiredAgentIds")
    return [item for item in ids or [] if isinstance(item, str)]
