"""`wave control telemetry`: the queue of events that wait to be reported. Reading writes nothing. Spec: PROV 8.8, 9."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..base.files import read_json
from .subcommands import paths_of

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from .arguments import Parsed

    JsonObject = dict[str, Any]


def telemetry_document(given: Parsed, root: str, operation: str) -> tuple[JsonObject, int]:
    """What `status` or `flush` prints, and the exit code."""
    paths = paths_of(given, root)
    settings = paths.profile.wave_control
    state = delivery_state(paths, settings)
    if operation == "status":
        return state, 0
    nothing = {"attempted": 0, "sent": 0, "failed": 0, "pending": state["pendingCount"], "batches": 0}
    if state.get("disabled"):
        return {**nothing, "disabled": True}, 0
    if not state["endpoint"]:
        return nothing, 0
    raise WaveError("this build cannot send telemetry events", "wave control telemetry flush", "the queue is kept")


def delivery_state(paths: LanePaths, settings: JsonObject) -> JsonObject:
    """The delivery state with its defaults; `pendingCount` is counted in the queue itself."""
    folder, pending = paths.telemetry_dir, paths.telemetry_pending
    stored = read_json(paths.telemetry_state).value
    disabled = settings.get("enabled") is False or settings.get("reportMode") == "disabled" or paths.dry_run
    document: JsonObject = {
        "schemaVersion": 1,
        "kind": "wave-control-delivery-state",
        "workspaceId": settings.get("workspaceId"),
        "lane": paths.lane,
        "runId": paths.run_id,
        "runKind": paths.run_kind,
        "queuePath": paths.rel(pending),
        "eventsPath": paths.rel(paths.telemetry_events),
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
    if disabled:
        document["disabled"] = True
    elif isinstance(stored, dict):
        document.update(stored)
    document["reportMode"] = settings.get("reportMode")
    document["endpoint"] = settings.get("endpoint") or None
    document["pendingCount"] = 0 if disabled else _queued(pending)
    return {**document, "telemetryDir": paths.rel(folder)}


def _queued(pending: str) -> int:
    try:
        return sum(name.endswith(".json") for name in os.listdir(pending))
    except OSError:
        return 0
