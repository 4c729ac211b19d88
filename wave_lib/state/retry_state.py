"""Relaunch plans and rerun requests on disk.

Holds: the control-plane log's lock while a request is written.
Writes: `status/relaunch-plan-wave-<n>.json`; `rerun_request` events and their mirror, through `control_plane`.
When killed: a plan is there whole or not at all; a request counts from the event on, the mirror is synced later.

Spec: LAUNCH 11.7, 12.1; COORD 7.4; GATE 15.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.files import remove, write_json
from ..base.timestamps import now_iso, parse_iso
from .artifact_schemas import read_normalized
from .control_plane import (
    ControlPlaneState,
    append_event,
    event_of,
    read_control_plane,
    sync_mirrors,
    update_events,
)
from .coordination_records import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]


def read_relaunch_plan(paths: LanePaths, wave: int) -> JsonObject | None:
    """The wave's relaunch plan, None when there is none or it cannot be used. Spec: GATE 15."""
    plan = read_normalized("wave-relaunch-plan", paths.relaunch_plan(wave), now=now_iso())
    return {**plan, "wave": wave} if plan is not None else None


def write_relaunch_plan(paths: LanePaths, wave: int, plan: JsonObject) -> None:
    """Write the plan of the next pass (made by `engines.retry_engine.build_relaunch_plan`)."""
    write_json(paths.relaunch_plan(wave), plan)


def clear_relaunch_plan(paths: LanePaths, wave: int) -> bool:
    """Delete the plan; True when there was one."""
    return remove(paths.relaunch_plan(wave))


def active_rerun_request(paths: LanePaths, wave: int) -> JsonObject | None:
    """The active rerun request; in a tree without any rerun event, what the override file says. Spec: COORD 7.4."""
    return active_request_of(read_control_plane(paths, wave), paths, wave)


def active_request_of(state: ControlPlaneState, paths: LanePaths, wave: int) -> JsonObject | None:
    """As `active_rerun_request`, from a log that was read already."""
    if state.rerun_requests:
        return state.active_rerun_request
    legacy = read_normalized("wave-retry-override", paths.retry_override(wave), now=now_iso())
    if legacy is None:
        return None
    return {
        "requestId": "legacy-override",
        "state": "active",
        **{key: legacy[key] for key in _LEGACY_FIELDS},
        "resumeCursor": legacy["resumePhase"],
        "requestedBy": legacy["requestedBy"] or "human-operator",
        "updatedAt": legacy["createdAt"],
    }


_LEGACY_FIELDS = (
    "selectedAgentIds",
    "reuseAttemptIds",
    "reuseProofBundleIds",
    "invalidateComponentIds",
    "clearReusableAgentIds",
    "preserveReusableAgentIds",
    "reuseDerivedSummaries",
    "reason",
    "applyOnce",
    "createdAt",
)


def new_request_id(wave: int, now: str) -> str:
    """`rerun-wave-<n>-<epoch ms>-<6 hex>`. Spec: LAUNCH 12.1."""
    milliseconds = int((parse_iso(now) or 0) * 1000)
    return f"rerun-wave-{wave}-{milliseconds}-{os.urandom(3).hex()}"


def request_rerun(
    paths: LanePaths, wave: int, fields: Mapping[str, Any], *, source: str = "operator"
) -> JsonObject:
    """Clear every active request and write this one, in one write; returns it with its `requestId`.

    `fields` are those of LAUNCH 12.2, keys as on disk.
    """
    now = now_iso()
    request_id = new_request_id(wave, now)
    requested_by = text(fields.get("requestedBy")) or "human-operator"

    def decide(state: ControlPlaneState) -> list[JsonObject]:
        cleared = [_closing(request, "cleared", source, requested_by) for request in _active(state)]
        data = {**fields, "requestId": request_id, "state": "active", "requestedBy": requested_by, "createdAt": now}
        return [*cleared, event_of("rerun_request", request_id, "requested", data, source=source, actor=requested_by)]

    update_events(paths, wave, decide)
    sync_mirrors(paths, wave)
    return read_control_plane(paths, wave).rerun_requests[request_id]


def clear_rerun_requests(paths: LanePaths, wave: int, *, source: str = "operator", actor: str = "") -> list[str]:
    """Clear every active request; returns their ids. A legacy override file is removed too. Spec: LAUNCH 12.1."""
    events = update_events(
        paths, wave, lambda state: [_closing(request, "cleared", source, actor) for request in _active(state)]
    )
    sync_mirrors(paths, wave)
    remove(paths.retry_override(wave))
    return [event["entityId"] for event in events]


def settle_rerun_request(paths: LanePaths, wave: int, request: Mapping[str, Any]) -> None:
    """The launcher used this request: it becomes `applied`, unless it is to stay (`applyOnce` false)."""
    if request.get("applyOnce") is False:
        return
    _close(paths, wave, request, "applied")


def reject_rerun_request(paths: LanePaths, wave: int, request: Mapping[str, Any]) -> None:
    """The request names unknown agents or nobody: it becomes `cleared`. Spec: LAUNCH 12.3."""
    _close(paths, wave, request, "cleared")


def _close(paths: LanePaths, wave: int, request: Mapping[str, Any], action: str) -> None:
    if request["requestId"] == "legacy-override":
        remove(paths.retry_override(wave))
        return
    data = {"requestId": request["requestId"], "state": action}
    append_event(paths, wave, "rerun_request", str(request["requestId"]), action, data)
    sync_mirrors(paths, wave)


def _active(state: ControlPlaneState) -> list[JsonObject]:
    return [request for request in state.rerun_requests.values() if request["state"] == "active"]


def _closing(request: Mapping[str, Any], action: str, source: str, actor: str) -> JsonObject:
    data = {"requestId": request["requestId"], "state": action}
    return event_of("rerun_request", str(request["requestId"]), action, data, source=source, actor=actor)
