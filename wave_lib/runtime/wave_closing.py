"""Leaving a wave: completed, failed, blocked or interrupted, with everything that has to be recorded about it.

Holds:       nothing.
Writes:      the final `wave_run` and `attempt` events, run state, coordination records of seeds and repairs.
When killed: `wave_run completed` is written before the attempt ends; a resumed launcher does the rest (7.6).

Spec: LAUNCH 4.1, 7.6-7.9, 11.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode
from ..base.text import compact
from ..base.timestamps import now_iso
from ..engines import closure_engine, coordination_seeds, retry_engine
from ..projections.explanations import explain
from ..state import coordination_store, retry_state, run_state
from ..state.coordination_records import record_blocks_wave
from . import (
    agent_sessions,
    evidence_lines,
    fact_collection,
    reduced_state,
    resident_orchestrator,
    signal_sync,
    terminals,
)
from . import wave_reporting as report

if TYPE_CHECKING:
    from ..engines.retry_engine import RetryFacts
    from .wave_context import Interrupted, WaveContext
    from .wave_loop import WaveEnd
    from .wave_pass import PassResult

JsonObject = dict[str, Any]


def complete_wave(ctx: WaveContext, result: PassResult) -> None:
    """Everything that makes a wave completed, in the order of LAUNCH 7.6."""
    snapshot = result.snapshot.to_json() if result.snapshot else None
    report.wave_run(ctx, "completed", attempts=ctx.ordinal, traceDir=ctx.trace_dir, gateSnapshot=snapshot)
    report.attempt(ctx, "completed")
    finish_completion(ctx, snapshot)
    if result.snapshot is not None:  # the reduced state knows now that the wave is completed
        fact_collection.refresh(ctx)
        reduced_state.reduce(ctx, fact_collection.collect_wave_facts(ctx), result.snapshot)


def finish_completion(ctx: WaveContext, snapshot: JsonObject | None) -> None:
    """What follows `wave_run completed`; also done alone by a resumed launcher that finds only that. LAUNCH 7.6."""
    lane, paths, number = ctx.lane, ctx.paths, ctx.number
    now = now_iso()
    coordination_store.update_log(
        paths.coordination_log(number), lambda state: coordination_seeds.completion_records(state, number, now)
    )
    resolve_repair_records(ctx)
    # Before the run state: what is recorded as completed is not taken up again, and nobody would clear the plan.
    retry_state.clear_relaunch_plan(paths, number)
    state = run_state.mark_wave_completed(
        lane.state_file,
        number,
        detail=f"Wave {number} completed after {ctx.ordinal} attempt(s).",
        evidence=_evidence(ctx, snapshot, ()),
    )
    lane.completed = run_state.completed_waves(state)
    lane.run_completed.append(number)
    report.journal(
        ctx,
        "wave-completed",
        selectedAgentIds=(),
        launchedAgentIds=(),
        completedAgentIds=ctx.completed_ids(),
        resumeFromPhase="completed",
        forwardedClosureGaps=[],
        closureStage=None,
        completedWaves=list(lane.run_completed),
        gateSnapshotSummary=(snapshot or {}).get("overall"),
    )
    report.event(ctx, "info", f"Wave {number} completed.")
    report.set_status(ctx, "completed")
    done = ", ".join(map(str, lane.completed)) or "none"
    lane.console.say(f"[state] completed waves ({paths.rel(lane.state_file)}): {done}")
    report.board(lane, "wave_complete", [number], "completed", f"attempts_used={ctx.ordinal}; completed_waves={done}")


def not_required_agents(ctx: WaveContext) -> list[str]:
    """Closure agents whose stage was auto-satisfied or skipped. Spec: LAUNCH 4.1."""
    stages = set(ctx.auto_satisfied_stages) | set(ctx.skipped_stages)
    plans = closure_engine.plan_stages(ctx.wave, ctx.bindings, ctx.lane.profile)
    needed = {agent_id for plan in plans if plan.stage.key not in stages for agent_id in plan.agent_ids}
    spared = {agent_id for plan in plans if plan.stage.key in stages for agent_id in plan.agent_ids}
    return sorted(spared - needed)


def _evidence(ctx: WaveContext, snapshot: JsonObject | None, failures: Sequence[Mapping[str, Any]]) -> JsonObject:
    reasons = [{"code": str(item["statusCode"]), "detail": str(item.get("detail") or "")} for item in failures]
    return run_state.build_run_state_evidence(
        ctx.paths,
        ctx.wave,
        trace_dir=ctx.trace_dir,
        gate_snapshot=snapshot,
        blocked_reasons=reasons,
        not_required_agent_ids=not_required_agents(ctx),
        supervisor_run_id=ctx.lane.supervision.run_id if ctx.lane.supervision else None,
    )


def fail_wave(ctx: WaveContext, result: PassResult) -> WaveEnd:
    """The budget is used up. Exit 42 when only cont-QA stands in the way, else 1. Spec: LAUNCH 7.7 rule 5, 2.5."""
    from .wave_loop import WaveEnd

    failures = list(result.failures)
    timed_out = result.timed_out or retry_engine.timed_out(failures)
    status = "timed_out" if timed_out else "failed"
    report.wave_run(ctx, status, failures=failure_rows(failures), traceDir=ctx.trace_dir)
    _record_blocked(ctx, result, "wave-failed")
    report.set_status(ctx, status)
    lines = [f"Wave {ctx.number} failed after {ctx.ordinal} attempt(s):"]
    lines += [
        f"  - {item.get('agentId') or 'wave'}: exit={item['statusCode']}, log={item.get('logPath') or 'none'},"
        f" detail={item.get('detail') or 'none'}"
        for item in failures
    ]
    explain_end(ctx, result)
    only_qa = all(
        str(item["statusCode"]).startswith("cont-qa-") or item["statusCode"] == "missing-cont-qa-verdict"
        for item in failures
    )
    return WaveEnd(ExitCode.QA_BLOCKED if only_qa else ExitCode.FAILED, "\n".join(lines))


def block_wave(ctx: WaveContext, result: PassResult, message: str, **data: Any) -> WaveEnd:
    """The wave needs something from outside this run: exit 43. Spec: LAUNCH 7.7, last paragraph."""
    from .wave_loop import WaveEnd

    report.wave_run(ctx, "blocked", failures=failure_rows(list(result.failures)), traceDir=ctx.trace_dir, **data)
    _record_blocked(ctx, result, "wave-blocked")
    report.set_status(ctx, "blocked")
    explain_end(ctx, result)
    return WaveEnd(ExitCode.BLOCKED, message)


def failure_rows(failures: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
    """Failures as `wave_run` events carry them."""
    keys = ("agentId", "statusCode", "detail", "recoveryReason")
    return [{key: item.get(key) for key in keys if key in item or key != "recoveryReason"} for item in failures]


def _record_blocked(ctx: WaveContext, result: PassResult, reason: str) -> None:
    resolve_repair_records(ctx)
    failures = list(result.failures)
    detail = "; ".join(f"{item.get('agentId') or 'wave'}: {item['statusCode']}" for item in failures) or reason
    snapshot = result.snapshot.to_json() if result.snapshot else None
    run_state.mark_wave_blocked(
        ctx.lane.state_file, ctx.number, detail=detail, reason_code=reason, evidence=_evidence(ctx, snapshot, failures)
    )


def explain_end(ctx: WaveContext, result: PassResult) -> None:
    """Say in plain words why the wave is not closed and what to do next: before anything else, answer who asks."""
    from .wave_explanation import answer_command, launch_command
    from .wave_scene import WaveScene

    snapshot = result.snapshot.to_json() if result.snapshot else None
    lines = explain(ctx.number, snapshot, result.failures, evidence=evidence_lines.find(ctx, result.failures))
    questions = ctx.derived.coordination_state.open_of_kind("human-feedback") if ctx.derived else []
    waiting = [record for record in questions if record_blocks_wave(record)]
    lines += [f"  Waits for a person, {record['id']}: {compact(record['summary'], 200)}" for record in waiting]
    scene = WaveScene(ctx.paths, ctx.wave, ctx.bindings)
    commands = [answer_command(scene, record["id"]) for record in waiting]
    lines += [f"  Next: {command}" for command in [*commands, launch_command(ctx.paths, ctx.number)]]
    ctx.lane.console.say()
    for line in lines:
        ctx.lane.console.say(line)


# --- coordination records of the launcher ---------------------------------------------------------------------------


def append_repair_records(ctx: WaveContext, facts: RetryFacts, selected: Sequence[str]) -> None:
    """What the agents of the next pass are told to repair; those of the pass that ended are resolved. LAUNCH 11.7."""
    resolve_repair_records(ctx)
    records = retry_engine.repair_records(facts, selected, ctx.paths.lane)
    coordination_store.update_log(ctx.paths.coordination_log(ctx.number), lambda state: records)


def resolve_repair_records(ctx: WaveContext) -> None:
    """Repair records end with the pass they were written for. Spec: LAUNCH 11.7."""
    prefix = f"repair-wave-{ctx.number}-attempt-"
    coordination_store.update_log(
        ctx.paths.coordination_log(ctx.number),
        lambda state: [{**record, "status": "resolved"} for record in state.open if record["id"].startswith(prefix)],
    )


def ledger_phase(ctx: WaveContext) -> str | None:
    """The ledger's phase, for the relaunch plan."""
    return ctx.derived.ledger.get("phase") if ctx.derived else None


# --- leaving --------------------------------------------------------------------------------------------------------


def leave_wave(ctx: WaveContext) -> None:
    """However the wave ended: nothing that belongs to it stays behind. Spec: LAUNCH 7.8."""
    signal_sync.sync(ctx)  # before the resident is ended: its last signal says that the wave is over
    resident_orchestrator.stop(ctx)
    terminals.close_wave(ctx)


def abandon_wave(ctx: WaveContext, detail: str, state: str = "failed") -> None:
    """An error inside a pass: the agents it started are ended, the attempt is closed. Spec: LAUNCH 7.8, 7.9."""
    lane = ctx.lane
    paths = list(lane.live_agents)
    if paths:
        agent_sessions.terminate_agents(paths, detail, lane.grace_seconds(), lane.in_a_hurry)
        for path in paths:
            agent_sessions.finalise_lost_agent(path)
        for handle in list(lane.live_agents.values()):
            report.agent_ended_by_us(ctx, handle, detail)
        lane.live_agents.clear()
    if ctx.attempt_open:
        report.attempt(ctx, state, detail=detail)


def interrupt_wave(ctx: WaveContext, interrupt: Interrupted) -> None:
    """A signal ended the launch: agents are ended, everything says so. Spec: LAUNCH 7.9."""
    abandon_wave(ctx, "launcher interrupted", "cancelled")
    report.wave_run(ctx, "blocked", detail=f"launcher stopped by signal {interrupt.signum}")
    run_state.mark_wave_blocked(
        ctx.lane.state_file,
        ctx.number,
        reason_code="launcher-interrupted",
        detail=f"Stopped by signal {interrupt.signum} in attempt {ctx.attempt}.",
        evidence=_evidence(ctx, None, ()),
    )
    report.set_status(ctx, "failed")
