"""The files of a submitted run: request, snapshot, events, cancellation, what its launcher left.

Holds:       nothing.
Writes:      `request.json` and the first `state.json` (submit); later `state.json`, `events.jsonl` (the supervisor
             alone); `cancel.json` (cancel).
When killed: a run exists completely or not at all; a snapshot that is older than the facts is decided again from them.

Cheap to import: clients read one run within milliseconds. Spec: SUP 4.1-4.8, 7.4, 13.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.files import Outcome, append_jsonl, create_bytes, read_json, read_jsonl, write_json
from ..base.timestamps import now_iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.supervisor_paths import RunPaths, SupervisorPaths

    JsonObject = dict[str, Any]

SCHEMA_VERSION = 1
STATUSES = ("pending", "running", "completed", "failed")
TERMINAL = ("completed", "failed")
_HEARTBEAT_KEYS = ("leaseExpiresAt", "updatedAt", "agentRuntimeSummary")


def new_state(request: Mapping[str, Any], run: RunPaths) -> JsonObject:
    """The snapshot of a run that was just submitted. Spec: SUP 4.2, 7.4."""
    selection = request["waveSelection"]
    start = selection["startWave"]
    if start is None and selection["waves"]:
        start = selection["waves"][0]
    return {
        "schemaVersion": SCHEMA_VERSION,
        **{key: request[key] for key in ("runId", "project", "lane", "adhocRunId", "submittedAt")},
        "status": "pending",
        "terminalDisposition": "pending",
        "recoveryState": "pending",
        "resumeAction": None,
        "detail": None,
        "startedAt": None,
        "updatedAt": request["submittedAt"],
        "completedAt": None,
        "launcherArgs": list(request["launcherArgs"]),
        "launchGeneration": 0,
        "launcherPid": None,
        "launcherIdentity": None,
        "launcherStatusPath": run.status,
        "launcherLogPath": run.log,
        "launcherStatus": None,
        "exitCode": None,
        "activeWave": None if selection["autoNext"] else start,
        "selectedWaves": list(selection["waves"] or ()),
        "completedWaves": [],
        "supervisorId": None,
        "supervisorEpoch": None,
        "leaseExpiresAt": None,
        "sessionBackend": "process",
        "agentRuntimeSummary": [],
        "resumeAttempts": 0,
        "resumeAttemptsSinceProgress": 0,
        "deferrals": 0,
        "notBefore": None,
        "cancelRequestedAt": None,
        "lastProgressKey": None,
    }


def read_object(path: str) -> JsonObject | None:
    """The JSON object in a file; None when there is none or it is unusable."""
    reading = read_json(path)
    return reading.value if reading.outcome is Outcome.WHOLE and isinstance(reading.value, dict) else None


def read_state(run: RunPaths) -> JsonObject | None:
    """The snapshot with every field of its type; None when absent or damaged. Unknown status text reads as pending."""
    state = read_object(run.state)
    if state is None:
        return None
    if state.get("status") not in STATUSES:
        state["status"] = "pending"
    for key in ("launchGeneration", "resumeAttempts", "resumeAttemptsSinceProgress", "deferrals"):
        if not isinstance(state.get(key), int):
            state[key] = 0
    for key in ("selectedWaves", "completedWaves", "launcherArgs", "agentRuntimeSummary"):
        if not isinstance(state.get(key), list):
            state[key] = []
    return state


def write_state(run: RunPaths, state: JsonObject, before: Mapping[str, Any] | None = None) -> None:
    """Replace the snapshot; `updatedAt` moves only when something besides heartbeats changed since `before`."""
    if before is None or _content(before) != _content(state):
        state["updatedAt"] = now_iso()
    write_json(run.state, state)


def changed(state: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether two snapshots differ in more than heartbeats. Spec: SUP 4.2."""
    return _content(state) != _content(before)


def _content(state: Mapping[str, Any]) -> JsonObject:
    content = {key: value for key, value in state.items() if key not in _HEARTBEAT_KEYS}
    content["agents"] = [
        {key: value for key, value in agent.items() if key != "lastHeartbeatAt"}
        for agent in state.get("agentRuntimeSummary") or ()
    ]
    return content


def rebuilt_state(run: RunPaths, request: Mapping[str, Any]) -> JsonObject:
    """A snapshot made from the request and the events, for one that was lost or damaged. Spec: SUP 13."""
    state = new_state(request, run)
    for event in read_events(run):
        kind = event.get("type")
        if isinstance(event.get("launchGeneration"), int):
            state["launchGeneration"] = max(state["launchGeneration"], event["launchGeneration"])
        if kind == "launch-intent":
            state.update(status="running", terminalDisposition="launching", recoveryState="healthy")
            state["launcherArgs"] = list(event.get("launcherArgs") or state["launcherArgs"])
            state["startedAt"] = state["startedAt"] or event.get("recordedAt")
        elif kind == "launcher-started":
            state.update(terminalDisposition="running", launcherPid=event.get("launcherPid"))
        elif kind == "launcher-deferred":
            state.update(status="pending", terminalDisposition="pending", deferrals=state["deferrals"] + 1)
        elif kind == "resume-scheduled":
            state["resumeAttempts"] = event.get("resumeAttempts") or 0
        elif kind == "run-finished":
            keys = ("status", "terminalDisposition", "exitCode")
            state.update({key: event.get(key) for key in keys}, completedAt=event.get("recordedAt"))
    return state


# --- events ---------------------------------------------------------------------------------------------------------


def read_events(run: RunPaths) -> list[JsonObject]:
    """What the supervisor observed, oldest first; a torn last line is left out."""
    return read_jsonl(run.events).records


def append_event(run: RunPaths, kind: str, key: str, fields: Mapping[str, Any], *, durable: bool = False) -> bool:
    """Append an observation; False when one with this key is there already (a step that is repeated after a crash).

    `fields` carries `supervisorId`, `epoch` and the extra fields of SUP 4.4. Single writer: whoever owns the run.
    """
    known = read_events(run)
    if any(event.get("key") == key for event in known):
        return False
    seq = max((event.get("seq") or 0 for event in known), default=0) + 1
    event = {"recordedAt": now_iso(), "seq": seq, "type": kind, "runId": run.run_id, "key": key, **fields}
    append_jsonl(run.events, event, durable=durable)
    return True


# --- the runs of a root ---------------------------------------------------------------------------------------------


def run_ids(paths: SupervisorPaths) -> list[str]:
    """Ids of all runs of a root, in the order of their ids (run ids begin with the time). Reads only the folder."""
    from ..definition.supervisor_paths import is_run_id

    try:
        names = os.listdir(paths.runs_dir)
    except OSError:
        return []
    return sorted(name for name in names if is_run_id(name))


def queue_order(state: Mapping[str, Any]) -> tuple[str, str]:
    """Runs are done in this order: submission, then id. Spec: SUP 8.3."""
    return str(state.get("submittedAt") or ""), str(state.get("runId") or "")


def recent_states(paths: SupervisorPaths, limit: int) -> list[JsonObject]:
    """The snapshots of the newest runs, newest first, at most `limit` (10,000 finished runs must not slow a client)."""
    states = (read_state(paths.run(run_id)) for run_id in reversed(run_ids(paths)[-limit:]))
    return [state for state in states if state is not None]


# --- cancellation ---------------------------------------------------------------------------------------------------


def request_cancel(run: RunPaths, requested_by: str, reason: str | None, force: bool, grace_seconds: float) -> bool:
    """Ask for the run to be cancelled; the first request wins, a later forced one replaces it. False when not ours."""
    content = {
        "schemaVersion": SCHEMA_VERSION,
        "runId": run.run_id,
        "requestedAt": now_iso(),
        "requestedBy": requested_by,
        "reason": reason,
        "force": force,
        "graceSeconds": 0 if force else grace_seconds,
    }
    if force:
        write_json(run.cancel, content)
        return True
    import json

    return create_bytes(run.cancel, (json.dumps(content, indent=2) + "\n").encode(), mode=0o600)
