"""Dashboards of a wave and of a launch: plain dicts in their on-disk form, and pure updates of them.

Every update changes the dict it is given; times come in as `now`. Nothing decides on a dashboard.

Spec: LAUNCH 15.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.files import read_text, write_json
from ..state.coordination_records import is_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..definition.wave_types import Wave
    from ..engines.derived_state import DerivedState

    JsonObject = dict[str, Any]

EVENT_LIMIT = 120
BOARD_TAIL_LINES = 28
BOARD_TAIL_CHARACTERS = 12_000
BOARD_PLACEHOLDER = "(message board is empty)"

TERMINAL_STATUSES = ("completed", "failed", "timed_out")
ACTIVE_STATES = ("launching", "running", "coding", "validating", "deploying", "finalizing")
FAILED_STATES = ("failed", "timed_out", "blocked")

DERIVED_STATES = {
    "running": ("active", "evaluating", "active"),
    "retrying": ("active", "evaluating", "active"),
    "completed": ("settled", "passed", "idle"),
    "blocked": ("settled", "blocked", "relaunch-planned"),
    "failed": ("settled", "blocked", "stale"),
    "timed_out": ("settled", "blocked", "stale"),
}
"""Status -> executionState, closureState, controllerState. Spec: LAUNCH 15.3."""

COORDINATION_COUNTERS = (
    "helperAssignmentsOpen",
    "inboundDependenciesOpen",
    "outboundDependenciesOpen",
    "coordinationOpen",
    "openClarifications",
    "openHumanEscalations",
    "oldestOpenCoordinationAgeMs",
    "oldestUnackedRequestAgeMs",
    "overdueAckCount",
    "overdueClarificationCount",
)
_AGES = ("oldestOpenCoordinationAgeMs", "oldestUnackedRequestAgeMs")
_EMPTY_COUNTERS: JsonObject = {key: None if key in _AGES else 0 for key in COORDINATION_COUNTERS}


# --- building -------------------------------------------------------------------------------------------------------


def new_wave_dashboard(
    wave: Wave,
    lane: str,
    *,
    run_tag: str,
    max_attempts: int,
    message_board_path: str,
    agents: Iterable[Mapping[str, Any]],
    now: str,
    attempt_number: int | None = None,
) -> JsonObject:
    """A wave dashboard in status `running`; `agents` are made by `new_agent`, paths are relative. Spec: LAUNCH 15.1."""
    dashboard: JsonObject = {
        "schemaVersion": 2,
        "kind": "wave-dashboard",
        "lane": lane,
        "wave": wave.wave,
        "waveFile": wave.file,
        "runTag": run_tag,
        "status": "running",
        "executionState": "pending",
        "closureState": "pending",
        "controllerState": "idle",
        "attempt": 0,
        "maxAttempts": max_attempts,
        "attemptNumber": attempt_number,
        "startedAt": now,
        "updatedAt": now,
        "messageBoardPath": message_board_path,
        "messageBoardTail": [],
        **_EMPTY_COUNTERS,
        "agents": [dict(agent) for agent in agents],
        "events": [],
    }
    return with_derived_states(dashboard)


def new_agent(
    agent_id: str,
    title: str,
    slug: str,
    *,
    session_name: str,
    prompt_path: str,
    log_path: str,
    status_path: str,
) -> JsonObject:
    """An agent's entry in state `pending`."""
    return {
        "agentId": agent_id,
        "title": title,
        "slug": slug,
        "state": "pending",
        "attempts": 0,
        "sessionName": session_name,
        "promptPath": prompt_path,
        "logPath": log_path,
        "statusPath": status_path,
        "startedAt": None,
        "completedAt": None,
        "lastUpdateAt": None,
        "exitCode": None,
        "deploymentService": None,
        "deploymentState": None,
        "deploymentDetail": None,
        "infraKind": None,
        "infraTarget": None,
        "infraState": None,
        "infraDetail": None,
        "detail": "",
    }


def new_global_dashboard(
    lane: str,
    waves: Iterable[JsonObject],
    *,
    run_id: str,
    options: Mapping[str, Any],
    paths: Mapping[str, str],
    now: str,
) -> JsonObject:
    """The dashboard of one launch; `waves` are made by `new_wave_entry`. Spec: LAUNCH 15.2."""
    dashboard: JsonObject = {
        "schemaVersion": 2,
        "kind": "global-dashboard",
        "lane": lane,
        "runId": run_id,
        "status": "running",
        "executionState": "pending",
        "closureState": "pending",
        "controllerState": "idle",
        "startedAt": now,
        "updatedAt": now,
        "options": dict(options),
        "paths": dict(paths),
        "waves": list(waves),
        "events": [],
    }
    return with_derived_states(dashboard)


def new_wave_entry(
    wave: Wave, *, max_attempts: int, dashboard_path: str, message_board_path: str
) -> JsonObject:
    """A wave's entry in the global dashboard, status `pending`."""
    entry: JsonObject = {
        "wave": wave.wave,
        "waveFile": wave.file,
        "status": "pending",
        "executionState": "pending",
        "closureState": "pending",
        "controllerState": "idle",
        "attempt": 0,
        "maxAttempts": max_attempts,
        "dashboardPath": dashboard_path,
        "messageBoardPath": message_board_path,
        "startedAt": None,
        "completedAt": None,
        "agentsTotal": len(wave.agents),
        "agentsActive": 0,
        "agentsCompleted": 0,
        "agentsFailed": 0,
        "agentsPending": len(wave.agents),
        **_EMPTY_COUNTERS,
        "lastMessage": "",
        "deployments": [],
        "infraFindings": [],
    }
    return with_derived_states(entry)


def with_derived_states(item: JsonObject) -> JsonObject:
    """`item` with the three derived states of its status. Spec: LAUNCH 15.3."""
    states = DERIVED_STATES.get(str(item["status"]), ("pending", "pending", "idle"))
    item["executionState"], item["closureState"], item["controllerState"] = states
    return item


# --- updates --------------------------------------------------------------------------------------------------------


def find_agent(dashboard: Mapping[str, Any], agent_id: str) -> JsonObject | None:
    """The agent's entry of a wave dashboard."""
    return next((agent for agent in dashboard["agents"] if agent["agentId"] == agent_id), None)


def find_wave(dashboard: Mapping[str, Any], wave: int) -> JsonObject | None:
    """The wave's entry of a global dashboard."""
    return next((entry for entry in dashboard["waves"] if entry["wave"] == wave), None)


def set_status(item: JsonObject, status: str, now: str) -> None:
    """Give a dashboard or an entry a new status."""
    item["status"] = status
    if "updatedAt" in item:
        item["updatedAt"] = now
    with_derived_states(item)


def set_agent(dashboard: JsonObject, agent_id: str, now: str, **changes: Any) -> JsonObject | None:
    """Change an agent's entry (keys as on disk); its `lastUpdateAt` moves only if something changed."""
    agent = find_agent(dashboard, agent_id)
    if agent is None:
        return None
    changed = {key: value for key, value in changes.items() if agent.get(key) != value}
    if changed:
        agent.update(changed, lastUpdateAt=now)
        dashboard["updatedAt"] = now
    return agent


def agent_launching(dashboard: JsonObject, agent_id: str, now: str, detail: str = "") -> None:
    """An agent is about to start: one attempt more. Spec: LAUNCH 8.2 step 12, 10.3."""
    agent = find_agent(dashboard, agent_id)
    if agent is not None:
        attempts = agent["attempts"] + 1
        set_agent(
            dashboard,
            agent_id,
            now,
            state="launching",
            attempts=attempts,
            startedAt=now,
            completedAt=None,
            exitCode=None,
            detail=detail or f"Launching (attempt {attempts})",
        )


def add_event(
    wave_dashboard: JsonObject | None,
    global_dashboard: JsonObject | None,
    message: str,
    now: str,
    *,
    level: str = "info",
    agent_id: str | None = None,
    wave: int | None = None,
) -> None:
    """Record an event in both dashboards (either may be None), at most `EVENT_LIMIT` are kept in each."""
    if wave_dashboard is not None:
        wave = wave_dashboard["wave"] if wave is None else wave
        _push(wave_dashboard, {"at": now, "level": level, "agentId": agent_id, "message": message}, now)
    if global_dashboard is not None:
        shown = f"[{agent_id}] {message}" if agent_id else message
        _push(global_dashboard, {"at": now, "level": level, "wave": wave, "message": shown}, now)
        entry = find_wave(global_dashboard, wave) if wave is not None else None
        if entry is not None:
            entry["lastMessage"] = shown


def _push(dashboard: JsonObject, event: JsonObject, now: str) -> None:
    dashboard["events"] = [*dashboard["events"], event][-EVENT_LIMIT:]
    dashboard["updatedAt"] = now


def apply_derived_state(dashboard: JsonObject, derived: DerivedState) -> None:
    """Set the ten coordination counters from the derived state. Spec: COORD 20."""
    state, metrics, snapshot = derived.coordination_state, derived.response_metrics, derived.dependency_snapshot
    dashboard.update(
        helperAssignmentsOpen=sum(bool(item.get("blocking")) for item in derived.capability_assignments),
        inboundDependenciesOpen=len(snapshot.get("openInbound") or ()),
        outboundDependenciesOpen=len(snapshot.get("openOutbound") or ()),
        coordinationOpen=sum(not is_seed(record) for record in state.open),
        openClarifications=len(state.open_of_kind("clarification-request")),
        openHumanEscalations=metrics.get("openHumanEscalationCount") or 0,
        oldestOpenCoordinationAgeMs=metrics.get("oldestOpenCoordinationAgeMs"),
        oldestUnackedRequestAgeMs=metrics.get("oldestUnackedRequestAgeMs"),
        overdueAckCount=metrics.get("overdueAckCount") or 0,
        overdueClarificationCount=metrics.get("overdueClarificationCount") or 0,
    )


def set_board_tail(dashboard: JsonObject, board_text: str) -> None:
    """Show the end of the wave's message board. Spec: LAUNCH 15.1."""
    lines = board_text[-BOARD_TAIL_CHARACTERS:].rstrip().splitlines()[-BOARD_TAIL_LINES:]
    dashboard["messageBoardTail"] = lines or [BOARD_PLACEHOLDER]


def copy_to_global(wave_dashboard: Mapping[str, Any], global_dashboard: JsonObject, now: str) -> None:
    """Bring the wave's entry of the global dashboard up to date. Spec: LAUNCH 15.2."""
    entry = find_wave(global_dashboard, wave_dashboard["wave"])
    if entry is None:
        return
    agents = wave_dashboard["agents"]
    states = [agent["state"] for agent in agents]
    shared = ("status", "attempt", "maxAttempts", *COORDINATION_COUNTERS)
    entry.update({key: wave_dashboard[key] for key in shared})
    entry["startedAt"] = entry["startedAt"] or wave_dashboard["startedAt"]
    if entry["status"] not in TERMINAL_STATUSES:
        entry["completedAt"] = None
    elif entry["completedAt"] is None:
        entry["completedAt"] = now
    entry["agentsTotal"] = len(agents)
    entry["agentsActive"] = sum(state in ACTIVE_STATES for state in states)
    entry["agentsCompleted"] = states.count("completed")
    entry["agentsFailed"] = sum(state in FAILED_STATES for state in states)
    entry["agentsPending"] = len(agents) - entry["agentsActive"] - entry["agentsCompleted"] - entry["agentsFailed"]
    entry["deployments"] = [_deployment(agent) for agent in agents if agent["deploymentState"]]
    entry["infraFindings"] = [_infra_finding(agent) for agent in agents if agent["infraState"]]
    with_derived_states(entry)
    global_dashboard["updatedAt"] = now


def _deployment(agent: Mapping[str, Any]) -> JsonObject:
    return {
        "agentId": agent["agentId"],
        "service": agent["deploymentService"],
        "state": agent["deploymentState"],
        "detail": agent["deploymentDetail"],
        "updatedAt": agent["lastUpdateAt"],
    }


def _infra_finding(agent: Mapping[str, Any]) -> JsonObject:
    return {
        "agentId": agent["agentId"],
        "kind": agent["infraKind"],
        "target": agent["infraTarget"],
        "state": agent["infraState"],
        "detail": agent["infraDetail"],
        "updatedAt": agent["lastUpdateAt"],
    }


def mark_stale(dashboard: JsonObject, now: str, message: str) -> bool:
    """A dashboard that a lost launcher left `running` or `pending` becomes `failed` / `stale`; False if it was over.

    Spec: LAUNCH 3.4.
    """
    if dashboard.get("status") not in ("running", "pending", "retrying"):
        return False
    set_status(dashboard, "failed", now)
    event: JsonObject = {"at": now, "level": "warn", "message": message}
    event["agentId" if dashboard.get("kind") == "wave-dashboard" else "wave"] = None
    dashboard.setdefault("events", [])
    _push(dashboard, event, now)
    for entry in dashboard.get("waves") or ():
        if entry.get("status") in ("running", "pending", "retrying"):
            set_status(entry, "failed", now)
    return True


# --- writing --------------------------------------------------------------------------------------------------------


def write_dashboard_projections(
    global_dashboard: JsonObject | None,
    wave_dashboard: JsonObject | None,
    *,
    global_path: str,
    wave_path: str | None,
    now: str,
) -> None:
    """Write the wave dashboard, copy it into the global one, write that. Spec: LAUNCH 16."""
    if wave_dashboard is not None and wave_path is not None:
        with_derived_states(wave_dashboard)
        write_json(wave_path, wave_dashboard, durable=False)
        if global_dashboard is not None:
            copy_to_global(wave_dashboard, global_dashboard, now)
    if global_dashboard is not None:
        with_derived_states(global_dashboard)
        write_json(global_path, global_dashboard, durable=False)


def refresh_board_tail(dashboard: JsonObject, board_path: str) -> None:
    """Read the message board and show its end."""
    set_board_tail(dashboard, read_text(board_path) if os.path.isfile(board_path) else "")


def agent_states(dashboard: Mapping[str, Any]) -> dict[str, str]:
    """Agent id -> state, in definition order."""
    return {agent["agentId"]: agent["state"] for agent in dashboard["agents"]}


def set_agents(dashboard: JsonObject, agent_ids: Sequence[str], now: str, **changes: Any) -> None:
    """The same change for several agents."""
    for agent_id in agent_ids:
        set_agent(dashboard, agent_id, now, **changes)
