"""Opening a wave, and choosing who runs first.

Holds:       nothing.
Writes:      `wave_run started`, settled rerun requests; deletes a relaunch plan that this launch does not go by.
When killed: nothing was launched yet; the next launch opens the wave again.

Spec: LAUNCH 7.1-7.3, 12.3.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base.timestamps import now_iso
from ..definition.roles import resolve_wave_role_bindings
from ..definition.skills import resolve_agent_skills
from ..engines import gate_engine
from ..engines.implementation_engine import PlanFacts, plan_initial_attempt
from ..engines.rerun_override import VALID
from ..projections import dashboard_state
from ..state import control_plane, retry_state
from ..state.agent_state import read_status_record
from . import agent_sessions, fact_collection, resident_orchestrator, terminals
from . import wave_reporting as report
from .wave_context import WaveContext
from .wave_pass import PassPlan

if TYPE_CHECKING:
    from ..definition.wave_types import Wave
    from ..engines.implementation_engine import InitialPlan
    from ..engines.rerun_override import OverrideResolution
    from .wave_context import LaneRun


def open_wave(lane: LaneRun, wave: Wave) -> WaveContext:
    """Everything before the first pass but the choice of its agents. Spec: LAUNCH 7.2 steps 1-5."""
    bindings = resolve_wave_role_bindings(wave, lane.profile.roles)
    ctx = WaveContext(lane, wave, bindings)
    lane.interrupted_wave = ctx
    ids = ", ".join(agent.agent_id for agent in wave.agents)
    console = lane.console
    console.say()
    console.say(f"=== Wave {wave.wave} ({wave.file}) ===", "bold")
    console.say(f"Agents: {ids}")
    console.say(f"Wave message board: {ctx.paths.rel(ctx.paths.messageboard(wave.wave))}")
    if lane.options.dashboard:
        console.say(f"[dashboard] attach current: wave dashboard --lane {ctx.paths.lane} --attach current")
    ctx.dashboard = _new_dashboard(ctx)
    report.event(ctx, "info", f"Starting wave {wave.wave}.")
    report.flush(ctx)
    report.board(lane, "wave_start", [wave.wave], "running", f"agents={ids}; wave_file={wave.file}")
    ctx.catalog, _ = fact_collection.load_catalog(ctx)
    _number_attempt(ctx)
    fact_collection.refresh(ctx)
    terminals.add_agents(ctx)
    _reset(ctx)
    return ctx


def _new_dashboard(ctx: WaveContext) -> dict[str, Any]:
    paths = ctx.paths
    return dashboard_state.new_wave_dashboard(
        ctx.wave,
        paths.lane,
        run_tag=os.urandom(3).hex(),
        max_attempts=ctx.lane.options.max_attempts,
        message_board_path=paths.rel(paths.messageboard(ctx.number)),
        agents=[
            dashboard_state.new_agent(
                run.agent_id,
                run.agent.title,
                run.agent.slug,
                session_name=run.session_name,
                prompt_path=paths.rel(run.prompt_path),
                log_path=paths.rel(run.log_path),
                status_path=paths.rel(run.status_path),
            )
            for run in ctx.runs.values()
        ],
        now=now_iso(),
    )


# --- attempt numbers ------------------------------------------------------------------------------------------------


def _number_attempt(ctx: WaveContext) -> None:
    """The durable number of the first pass, and the retries this run has used already. Spec: LAUNCH 7.1."""
    attempts = control_plane.read_control_plane(ctx.paths, ctx.number).attempts.values()
    supervision = ctx.lane.supervision
    if supervision is not None:
        ours = [item for item in attempts if item.get("supervisorRunId") == supervision.run_id]
        ctx.ordinal = 1 + sum(item["state"] == "failed" for item in ours)
        running = [item for item in ours if item["state"] == "running" and item["attemptNumber"]]
        if running:
            last = max(running, key=lambda item: item["attemptNumber"])
            ctx.attempt = last["attemptNumber"]
            ctx.reentered = tuple(last["selectedAgentIds"])
            return
    ctx.attempt = 1 + highest_attempt(ctx)


def highest_attempt(ctx: WaveContext) -> int:
    """The largest attempt number that left any trace. Spec: LAUNCH 7.1."""
    found = [
        item["attemptNumber"] or 0 for item in control_plane.read_control_plane(ctx.paths, ctx.number).attempts.values()
    ]
    for parent in (
        os.path.dirname(os.path.dirname(ctx.paths.result_envelope(ctx.number, 1, "x"))),
        os.path.dirname(ctx.paths.trace_dir(ctx.number, 1)),
        os.path.dirname(os.path.dirname(ctx.paths.closure_record(ctx.number, 1, "x"))),
    ):
        for name in os.listdir(parent) if os.path.isdir(parent) else []:
            number = name[len("attempt-") :]
            if name.startswith("attempt-") and number.isdigit():
                found.append(int(number))
    return max(found, default=0)


def next_attempt(ctx: WaveContext) -> None:
    """The pass that follows gets the next number. Spec: LAUNCH 7.1."""
    ctx.attempt += 1
    ctx.reentered = None


def completed_before(ctx: WaveContext) -> bool:
    """Whether this supervised run has completed the wave already and only its bookkeeping is missing. LAUNCH 7.6."""
    last = control_plane.read_control_plane(ctx.paths, ctx.number).last_wave_run
    if ctx.lane.supervision is None or last is None or last["action"] != "completed":
        return False
    if last["data"].get("supervisorRunId") != ctx.lane.supervision.run_id:
        return False
    ctx.trace_dir = last["data"].get("traceDir")
    if ctx.reentered is not None:
        report.attempt(ctx, "completed")
    return True


# --- the first pass -------------------------------------------------------------------------------------------------


def _reset(ctx: WaveContext) -> None:
    """Without --resume-control-state an earlier relaunch plan does not count. Spec: LAUNCH 7.2 step 5."""
    if ctx.lane.options.resume_control_state:
        return
    plan = retry_state.read_relaunch_plan(ctx.paths, ctx.number)
    if retry_state.clear_relaunch_plan(ctx.paths, ctx.number):
        agents = ",".join((plan or {}).get("selectedAgentIds") or ()) or "none"
        report.board(
            ctx.lane,
            "wave_launch_state_reset",
            [ctx.number],
            "running",
            f"cleared_relaunch_plan=yes; previous_agents={agents}",
        )


def first_pass(ctx: WaveContext) -> PassPlan:
    """Who runs first: read what is known, decide, tell everybody. Spec: LAUNCH 7.2 steps 6-9, 7.3."""
    plan = plan_initial_attempt(_plan_facts(ctx))
    ctx.pre_completed = plan.pre_completed_agent_ids
    if plan.should_clear_persisted_plan:
        retry_state.clear_relaunch_plan(ctx.paths, ctx.number)
    apply_executor_states(ctx, plan.executor_states)
    _show_completed(ctx, plan)
    _end_unwanted(ctx, plan)
    terminals.open_dashboard(ctx)
    resident_orchestrator.start(ctx)
    report.wave_run(ctx, "started", agentIds=[agent.agent_id for agent in ctx.wave.agents], runVariant="live")
    report.journal(
        ctx,
        "wave-started",
        attemptNumber=ctx.attempt if ctx.reentered else 0,
        selectedAgentIds=plan.selected_agent_ids,
        launchedAgentIds=(),
        completedAgentIds=ctx.completed_ids(),
    )
    return PassPlan(
        plan.selected_agent_ids, plan.source, plan.start_phase, lambda: settle_override(ctx, plan.override)
    )


def _plan_facts(ctx: WaveContext) -> PlanFacts:
    fact_collection.materialise_results(ctx)
    facts = fact_collection.collect_wave_facts(ctx)
    derived = ctx.derived
    barriers = (
        ()
        if derived is None
        else (derived.clarification_barrier, derived.helper_assignment_barrier, derived.dependency_barrier)
    )
    statuses = {run.agent_id: read_status_record(run.status_path) for run in ctx.runs.values()}
    return PlanFacts(
        facts=facts,
        statuses={agent_id: status for agent_id, status in statuses.items() if status is not None},
        prompt_hashes={run.agent_id: run.prompt_hash for run in ctx.runs.values()},
        override=retry_state.active_rerun_request(ctx.paths, ctx.number),
        relaunch_plan=retry_state.read_relaunch_plan(ctx.paths, ctx.number),
        reentered_agent_ids=ctx.reentered,
        component_gate=gate_engine.evaluate_gate("componentGate", facts),
        barriers_open=any(not barrier.ok for barrier in barriers),
    )


def settle_override(ctx: WaveContext, override: OverrideResolution) -> None:
    """A rerun request is used or thrown away, and the board says which. Spec: LAUNCH 12.3."""
    if override.request is None:
        return
    if override.outcome == VALID:
        report.board(ctx.lane, "retry_override_applied", [ctx.number], "running", override.because)
        retry_state.settle_rerun_request(ctx.paths, ctx.number, override.request)
    else:
        report.board(
            ctx.lane,
            "retry_override_invalid",
            [ctx.number],
            "warn",
            override.because,
            "Write the request again with agents or a phase of this wave.",
        )
        retry_state.reject_rerun_request(ctx.paths, ctx.number, override.request)


def apply_executor_states(ctx: WaveContext, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Put executor states back (persisted plan, fallback); skills follow the runtime. Spec: LAUNCH 7.3 step 3, 11.5."""
    for run in ctx.declared(states):
        agent = run.agent._replace(executor_resolved=dict(states[run.agent_id]))
        skills = resolve_agent_skills(agent, ctx.wave, ctx.lane.profile.skills, ctx.lane.skills)
        run.agent = agent._replace(skills_resolved=skills)


def _show_completed(ctx: WaveContext, plan: InitialPlan) -> None:
    """Pre-completed and stale agents on the dashboard. Spec: LAUNCH 7.2 step 7."""
    now = now_iso()
    for run in ctx.declared(plan.pre_completed_agent_ids):
        status = read_status_record(run.status_path) or {}
        dashboard_state.set_agent(
            ctx.dashboard,
            run.agent_id,
            now,
            state="completed",
            exitCode=0,
            detail="Pre-existing status=0",
            completedAt=status.get("completedAt"),
        )
    for run in ctx.declared(plan.stale_completed_agent_ids):
        dashboard_state.set_agent(
            ctx.dashboard,
            run.agent_id,
            now,
            state="pending",
            detail="Earlier status=0 cannot be reused: definition or evidence changed",
        )
    report.flush(ctx)
    if plan.pre_completed_agent_ids:
        ctx.lane.console.say(f"[wave {ctx.number}] reused results: {', '.join(plan.pre_completed_agent_ids)}")


def _end_unwanted(ctx: WaveContext, plan: InitialPlan) -> None:
    """Live agents of an earlier launcher that this plan does not take are ended. Spec: LAUNCH 3.4, SUP 10.3."""
    leftovers = ctx.lane.leftovers
    wanted = set(plan.selected_agent_ids) | set(ctx.bindings.closure_agents)
    for item in [found for found in leftovers if found.wave == ctx.number]:
        if item.agent_id in wanted:
            continue
        leftovers.remove(item)
        agent_sessions.terminate_agent_tree(item.runtime_path, "orphaned", ctx.lane.grace_seconds())
        if item.agent_id in ctx.runs:
            report.agent_run(
                ctx,
                ctx.runs[item.agent_id],
                "failed",
                item.attempt or ctx.attempt,
                {"statusCode": "orphaned", "detail": "not selected by this launch", "exitCode": None},
            )
