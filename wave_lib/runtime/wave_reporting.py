"""Telling everybody what happens to a wave: control-plane events, journal, dashboards, orchestrator board, console.

Holds:       nothing.
Writes:      `wave_run`, `attempt`, `agent_run` and `gate` events, the journal, the dashboards, the board.
When killed: events and journal say how far the launcher got; dashboards and board are for people only.

Spec: LAUNCH 6, 7, 8.2 (steps 11, 12), 14, 15; SUP 15.6; COORD 7.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base.errors import DiskError
from ..base.files import read_jsonl, tail
from ..base.timestamps import now_iso
from ..engines.gate_results import GATE_LABELS
from ..projections import dashboard_activity, dashboard_state
from ..projections.orchestrator_board import append_board_entry
from ..state import control_plane
from ..state.agent_state import read_status_record
from . import telemetry_step
from .agent_outcomes import executor_ran
from .agent_records import read_object

if TYPE_CHECKING:
    from ..engines.gate_results import GateResult
    from .agent_sessions import AgentHandle
    from .agent_waiting import AgentEnd
    from .wave_context import AgentRun, LaneRun, WaveContext

JsonObject = dict[str, Any]

FLUSH_SECONDS = 0.5
_ENDS = ("completed", "failed", "timed_out")  # actions of `agent_run`


# --- dashboards and the console -------------------------------------------------------------------------------------


def event(ctx: WaveContext, level: str, message: str, agent_id: str | None = None) -> None:
    """An event on both dashboards. `level`: info, warn or error."""
    dashboard_state.add_event(
        ctx.dashboard, ctx.lane.global_dashboard, message, now_iso(), level=level, agent_id=agent_id
    )


def agent_state(ctx: WaveContext, agent_id: str, state: str, detail: str, **changes: Any) -> None:
    """An agent's state on the dashboard; `launching` counts an attempt."""
    now = now_iso()
    if state == "launching":
        dashboard_state.agent_launching(ctx.dashboard, agent_id, now, detail)
    else:
        dashboard_state.set_agent(ctx.dashboard, agent_id, now, state=state, detail=detail, **changes)
    flush_soon(ctx)


def set_status(ctx: WaveContext, status: str) -> None:
    """The wave dashboard's status, written at once."""
    dashboard_state.set_status(ctx.dashboard, status, now_iso())
    flush(ctx)


def flush_soon(ctx: WaveContext) -> None:
    """Write the dashboards with the next turn of the event loop but one: many agents change at once."""
    if not ctx.flush_planned:
        ctx.flush_planned = True
        ctx.lane.loop.call_later(FLUSH_SECONDS, lambda: flush(ctx) if ctx.flush_planned else None)


def flush(ctx: WaveContext) -> None:
    """Write wave and global dashboard."""
    ctx.flush_planned = False
    ctx.dashboard["attempt"] = ctx.ordinal
    ctx.dashboard["attemptNumber"] = ctx.attempt
    _write_dashboards(ctx.lane, ctx.dashboard, ctx.paths.dashboard_wave(ctx.number))


def flush_global(lane: LaneRun) -> None:
    """Write the global dashboard alone."""
    _write_dashboards(lane, None, None)


def _write_dashboards(lane: LaneRun, wave: JsonObject | None, wave_path: str | None) -> None:
    """Dashboards are for people: a disk that takes none of them is said once and ends no wave."""
    if lane.global_dashboard is None:
        return
    try:
        dashboard_state.write_dashboard_projections(
            lane.global_dashboard, wave, global_path=lane.paths.global_dashboard, wave_path=wave_path, now=now_iso()
        )
    except DiskError as error:
        if not lane.dashboards_failed:
            lane.dashboards_failed = True
            lane.console.warn(f"[wave] warning: dashboards are not up to date: {error}")


def refresh_agents(ctx: WaveContext) -> None:
    """Agents' states as their logs and status files tell them. Spec: LAUNCH 15.3."""
    now = now_iso()
    for run in ctx.runs.values():
        if run.launched_attempt == ctx.attempt:
            dashboard_activity.refresh_agent(
                ctx.dashboard,
                ctx.lane.global_dashboard,
                run.agent_id,
                read_status_record(run.status_path),
                tail(run.log_path, dashboard_activity.MARKER_CHARACTERS),
                now,
            )


def live_line(ctx: WaveContext, pending: Sequence[str]) -> None:
    """One line on a terminal: the wave, the attempt, and what each running agent does."""
    states = dashboard_state.agent_states(ctx.dashboard)
    shown = ", ".join(f"{agent_id} {states.get(agent_id, '?')}" for agent_id in pending)
    done = sum(state == "completed" for state in states.values())
    if pending:
        ctx.lane.console.live(f"wave {ctx.number} attempt {ctx.ordinal} · {done}/{len(states)} done · {shown}")


# --- the orchestrator board -----------------------------------------------------------------------------------------


def board(lane: LaneRun, name: str, waves: Iterable[int], status: str, details: str, action: str = "") -> None:
    """One entry of the orchestrator board. Spec: LAUNCH 6."""
    if lane.board_path:
        append_board_entry(
            lane.board_path,
            lane=lane.paths.lane,
            orchestrator_id=lane.orchestrator_id,
            event=name,
            status=status,
            now=now_iso(),
            waves=waves,
            details=details,
            action=action,
        )


def gate_blocked(ctx: WaveContext, key: str, gate: GateResult, label: str = "") -> None:
    """A gate refused: event, board entry, and a dashboard on which its agent has not simply ended well. LAUNCH 7.4."""
    name = label or GATE_LABELS.get(key, "Wave gate")
    event(ctx, "error", f"{name} blocked wave {ctx.number}: {gate.detail}", gate.agent_id)
    parts = [f"component={gate.component_id}"] if gate.component_id else []
    parts += [f"agent={gate.agent_id}"] if gate.agent_id else []
    parts += [f"reason={gate.status_code}", gate.detail]
    owner = gate.agent_id or "the owners of the lane"
    action = f"{owner}: resolve {gate.status_code}."
    board(ctx.lane, "wave_gate_blocked", [ctx.number], "blocked", "; ".join(parts), action)
    if gate.agent_id:
        agent_state(ctx, gate.agent_id, "failed", gate.detail)


def closure_failures(ctx: WaveContext, label: str, failures: Sequence[Mapping[str, Any]]) -> None:
    """The process of a closure agent failed: event and board entry."""
    for failure in failures:
        code, detail = failure["statusCode"], failure.get("detail") or ""
        event(ctx, "error", f"{label} blocked wave {ctx.number}: exit {code} {detail}".rstrip(), failure["agentId"])
        board(
            ctx.lane,
            "wave_gate_blocked",
            [ctx.number],
            "blocked",
            f"agent={failure['agentId']}; reason={code}; {detail}",
            f"{failure['agentId']}: see its log.",
        )


# --- control-plane events -------------------------------------------------------------------------------------------


def wave_run(ctx: WaveContext, action: str, **data: Any) -> None:
    """A `wave_run` event: `started`, `completed`, `blocked`, `failed` or `timed_out`. Spec: COORD 7.2."""
    entity = f"wave-{ctx.number}"
    payload = {"waveId": entity, "waveNumber": ctx.number, "updatedAt": now_iso(), **data, **supervised(ctx)}
    control_plane.append_event(ctx.paths, ctx.number, "wave_run", entity, action, payload, attempt=ctx.attempt or None)
    telemetry_step.send(ctx, action)


def attempt(ctx: WaveContext, state: str, *, selected: Sequence[str] = (), detail: str | None = None) -> None:
    """The attempt at hand is now `running`, `completed`, `failed` or `cancelled`."""
    entity = f"wave-{ctx.number}-attempt-{ctx.attempt}"
    now = now_iso()
    data: JsonObject = {"attemptId": entity, "attemptNumber": ctx.attempt, "state": state, "updatedAt": now}
    if state == "running":
        data.update(selectedAgentIds=list(selected), createdAt=now)
    if detail:
        data["detail"] = detail
    ctx.attempt_open = state == "running"
    control_plane.append_event(
        ctx.paths, ctx.number, "attempt", entity, state, {**data, **supervised(ctx)}, attempt=ctx.attempt
    )


def supervised(ctx: WaveContext) -> JsonObject:
    """The key that ties an event to its supervised run. Spec: LAUNCH 7.2 step 9."""
    return {"supervisorRunId": ctx.lane.supervision.run_id} if ctx.lane.supervision else {}


def agent_run(ctx: WaveContext, run: AgentRun, action: str, number: int, data: JsonObject) -> None:
    """An `agent_run` event, only for what was observed. Spec: SUP 15.6."""
    entity = f"wave-{ctx.number}-attempt-{number}-agent-{run.agent_id}"
    base = {
        "agentId": run.agent_id,
        "attemptNumber": number,
        "executorId": run.executor.get("id"),
        "logPath": ctx.paths.rel(run.log_path),
        "statusPath": ctx.paths.rel(run.status_path),
    }
    control_plane.append_event(
        ctx.paths,
        ctx.number,
        "agent_run",
        entity,
        action,
        {**base, **data, **supervised(ctx)},
        source="session-supervisor",
        actor="session-supervisor",
        attempt=number,
    )


# --- what happens to one agent --------------------------------------------------------------------------------------


def agent_running(ctx: WaveContext, handle: AgentHandle, record: Mapping[str, Any]) -> None:
    """The runner reported `running`: event, dashboard, journal. Spec: LAUNCH 8.2 (11, 12)."""
    run = ctx.runs[handle.agent_id]
    if (record.get("agentSession") or {}).get("resumes"):
        _agent_started_unless_told(ctx, run, handle)
    else:
        _agent_started(ctx, run, handle.attempt, record)
    event(ctx, "info", "Launched via process backend", run.agent_id)
    ctx.lane.console.say(f"[wave {ctx.number}] {run.agent_id} started on {run.executor.get('id')}")
    _now_running(ctx, run, "attempt-running")


def agent_adopted(ctx: WaveContext, handle: AgentHandle) -> None:
    """What an earlier launcher started goes on, or has ended meanwhile. Spec: SUP 10.3.

    A `started` event that the earlier launcher owed is written now, or, if the executor is yet to start, at the end.
    """
    run = ctx.runs[handle.agent_id]
    _agent_started_unless_told(ctx, run, handle)
    event(ctx, "info", "Adopted from an earlier launcher", run.agent_id)
    ctx.lane.console.say(f"[wave {ctx.number}] {run.agent_id} was adopted from an earlier launcher")
    _now_running(ctx, run, "adopting")


def _now_running(ctx: WaveContext, run: AgentRun, phase: str) -> None:
    agent_state(ctx, run.agent_id, "running", "Session launched")
    journal(ctx, phase, selectedAgentIds=ctx.selected, launchedAgentIds=ctx.launched_ids())


def _agent_started(ctx: WaveContext, run: AgentRun, number: int, record: Mapping[str, Any]) -> None:
    data = {
        "sessionName": run.session_name,
        "promptPath": ctx.paths.rel(run.prompt_path),
        "startedAt": record.get("executorStartedAt") or record.get("startedAt"),
    }
    agent_run(ctx, run, "started", number, data)


def _agent_started_unless_told(ctx: WaveContext, run: AgentRun, handle: AgentHandle) -> None:
    """The `started` event of an executor that ran, once. Spec: SUP 12 (A6)."""
    record = read_object(handle.runtime_path) or {}
    times = (record.get("executorStartedAt"), record.get("startedAt"))
    told = _told(ctx, run, handle.attempt, ("started",), "startedAt", times)
    if not told and executor_ran(handle.runtime_path, record):
        _agent_started(ctx, run, handle.attempt, record)


def _told(
    ctx: WaveContext, run: AgentRun, number: int, actions: Sequence[str], key: str, times: Sequence[str | None]
) -> bool:
    """Whether an earlier launcher wrote this `agent_run` event already; times tell apart two runs in one attempt."""
    entity = f"wave-{ctx.number}-attempt-{number}-agent-{run.agent_id}"
    return any(
        record.get("entityId") == entity and record.get("action") in actions and record["data"].get(key) in times
        for record in read_jsonl(ctx.paths.control_plane_log(ctx.number)).records
    )


def agent_resumed(ctx: WaveContext, handle: AgentHandle) -> None:
    """A lost agent's session goes on in the same attempt. Spec: SUP 17.11."""
    ctx.lane.live_agents[handle.runtime_path] = handle
    event(ctx, "warn", "Its process was lost; the session goes on", handle.agent_id)


def agent_settled(ctx: WaveContext, end: AgentEnd) -> None:
    """An agent is done, one way or another: end event, dashboard, one line for people. Spec: LAUNCH 9.3."""
    run = ctx.runs[end.agent_id]
    if end.handle is not None:
        ctx.lane.live_agents.pop(end.handle.runtime_path, None)
    status = end.status or {}
    code = status.get("code")
    if end.status_code in ("timeout-no-status", "timed_out"):
        action, state = "timed_out", "timed_out"
    else:
        action = state = "completed" if end.status_code is None else "failed"
    completed_at = status.get("completedAt") or (end.record or {}).get("completedAt") or now_iso()
    number = end.handle.attempt if end.handle else ctx.attempt
    adopted = end.handle is not None and end.handle.adopted
    if end.handle is not None and adopted:
        _agent_started_unless_told(ctx, run, end.handle)
    if not (adopted and _told(ctx, run, number, _ENDS, "completedAt", (completed_at,))):
        data = {
            "exitCode": code,
            "completedAt": completed_at,
            "promptHash": status.get("promptHash") or run.prompt_hash,
            "statusCode": end.status_code,
            "detail": end.detail,
        }
        agent_run(ctx, run, action, number, data)
    shown = f"Exit {code}" if code is not None else str(end.status_code)
    agent_state(ctx, run.agent_id, state, shown, exitCode=code, completedAt=completed_at)
    verdict = "done" if state == "completed" else f"{state} ({end.status_code})"
    ctx.lane.console.say(f"[wave {ctx.number}] {run.agent_id} {verdict}: {run.agent.title}")


def agent_ended_by_us(ctx: WaveContext, handle: AgentHandle, reason: str) -> None:
    """The launcher ended this agent: end event and dashboard. Spec: LAUNCH 7.8, 7.9."""
    run = ctx.runs.get(handle.agent_id)
    if run is None:
        return
    status = read_status_record(handle.status_path) or {}
    agent_run(
        ctx,
        run,
        "failed",
        handle.attempt,
        {
            "exitCode": status.get("code"),
            "completedAt": status.get("completedAt") or now_iso(),
            "promptHash": handle.prompt_hash,
            "statusCode": str(status.get("code", "terminated")),
            "detail": reason,
        },
    )
    agent_state(ctx, run.agent_id, "failed", reason)


def agent_not_started(ctx: WaveContext, run: AgentRun, code: str, detail: str) -> None:
    """An agent whose process never came to be: one end event, its dashboard state."""
    agent_run(
        ctx,
        run,
        "failed",
        ctx.attempt,
        {
            "exitCode": None,
            "completedAt": now_iso(),
            "promptHash": run.prompt_hash,
            "statusCode": code,
            "detail": detail,
        },
    )
    agent_state(ctx, run.agent_id, "failed", detail)


# --- journal --------------------------------------------------------------------------------------------------------


def journal(ctx: WaveContext, phase: str, **changes: Any) -> None:
    """A step of the progress journal (nothing in a launch by hand). Spec: LAUNCH 14."""
    known = {key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()}
    known.setdefault("waveNumber", ctx.number)
    known.setdefault("attemptNumber", ctx.attempt)
    ctx.lane.journal.write(phase, **known)
