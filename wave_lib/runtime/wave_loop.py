"""One wave from its opening to its completion or refusal: passes, and what follows each.

Holds:       the wave, under the launcher lock.
Writes:      `wave_run` and `attempt` events, run state, relaunch plan; everything else through the modules it calls.
When killed: the next launcher of the run re-enters the attempt; another launch starts a new one.

Spec: LAUNCH 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from ..base.errors import ExitCode
from ..base.timestamps import now_iso
from ..engines import retry_engine
from ..engines.implementation_engine import plan_retry_attempt
from ..state import retry_state
from . import wave_closing, wave_opening
from . import wave_reporting as report
from .retry_facts import collect_retry_facts
from .wave_pass import PassPlan, PassResult, judge_again, run_pass

if TYPE_CHECKING:
    from ..definition.wave_types import Wave
    from ..engines.implementation_engine import RetryPlan
    from ..engines.retry_engine import RetryFacts
    from .wave_context import LaneRun, WaveContext

JsonObject = dict[str, Any]


class WaveEnd(NamedTuple):
    """How a wave was left: exit code (0 means completed) and the lines that say why not."""

    code: int
    message: str = ""


Step = Union[PassPlan, WaveEnd]


def run_wave(lane: LaneRun, wave: Wave) -> WaveEnd:
    """Run one wave. Interrupted and unexpected errors pass through, after the wave is left in order. Spec: LAUNCH 7."""
    ctx = wave_opening.open_wave(lane, wave)
    try:
        step: Step
        if wave_opening.completed_before(ctx):
            wave_closing.finish_completion(ctx, None)
            return WaveEnd(ExitCode.DONE)
        if ctx.ordinal > lane.options.max_attempts:
            ctx.ordinal = lane.options.max_attempts
            step = decide(ctx, PassPlan((), "resumed"), judge_again(ctx))
        else:
            step = wave_opening.first_pass(ctx)
        while isinstance(step, PassPlan):
            step = decide(ctx, step, run_pass(ctx, step))
            if isinstance(step, PassPlan):
                wave_opening.next_attempt(ctx)
        return step
    finally:
        wave_closing.leave_wave(ctx)


def decide(ctx: WaveContext, plan: PassPlan, result: PassResult) -> Step:
    """What follows a pass: completion, another pass, or the end. Spec: LAUNCH 7.5-7.7."""
    if result.design_next:
        return _after_design(ctx, result.design_next)
    if not result.failures:
        wave_closing.complete_wave(ctx, result)
        return WaveEnd(ExitCode.DONE)
    failures = list(result.failures)
    facts = collect_retry_facts(ctx, failures)
    if retry_engine.all_awaiting_adjudication(failures):
        return _adjudication_pending(ctx, failures, result)
    request = retry_state.active_rerun_request(ctx.paths, ctx.number)
    retry = plan_retry_attempt(facts, request)
    siblings = _sibling_continuation(ctx, retry, failures)
    if siblings:
        return _continue_with_siblings(ctx, siblings, facts)
    if ctx.ordinal < ctx.lane.options.max_attempts and retry.launches:
        return _retry(ctx, retry, facts, result)
    _fail_attempt(ctx, result)
    if ctx.ordinal < ctx.lane.options.max_attempts:
        _say_failed(ctx, result)
        _settle_override(ctx, retry)
        return _retry_blocked(ctx, retry, result)
    if retry_engine.all_recoverable(failures) and retry.barrier is None:
        return _queue_recovery(ctx, retry, facts, result)
    return wave_closing.fail_wave(ctx, result)


def _after_design(ctx: WaveContext, following: Sequence[str]) -> PassPlan:
    """The design is ready: implementation runs next, without using a retry. Spec: LAUNCH 7.5."""
    report.attempt(ctx, "completed")
    ctx.design_done = True
    names = ",".join(following)
    report.board(ctx.lane, "wave_design_ready", [ctx.number], "running", f"next_agents={names}")
    for agent_id in following:
        report.agent_state(ctx, agent_id, "pending", "Queued after design handoff")
    report.journal(ctx, "design-complete", selectedAgentIds=tuple(following))
    return PassPlan(tuple(following), "design")


def _sibling_continuation(ctx: WaveContext, retry: RetryPlan, failures: list[JsonObject]) -> tuple[str, ...]:
    if retry.relaunch is None:
        return ()
    return retry_engine.sibling_continuation(failures, ctx.selected, ctx.continued_sets, retry.relaunch)


def _continue_with_siblings(ctx: WaveContext, siblings: tuple[str, ...], facts: RetryFacts) -> PassPlan:
    """Owners of a shared component that are still waited for run next, without using a retry. LAUNCH 7.7 rule 1."""
    ctx.continued_sets.add(frozenset(siblings))
    report.attempt(ctx, "completed")
    report.board(
        ctx.lane,
        "wave_shared_component_continue",
        [ctx.number],
        "running",
        f"attempt={ctx.ordinal}/{ctx.lane.options.max_attempts}; next_agents={','.join(siblings)}",
    )
    for failure in facts.failures:
        for agent_id in failure.get("satisfiedAgentIds") or ():
            waited = ", ".join(failure.get("waitingOnAgentIds") or ())
            report.agent_state(ctx, agent_id, "completed", f"Its share is proven; waiting on {waited}")
    report.journal(
        ctx,
        "waiting-shared-component",
        selectedAgentIds=siblings,
        completedAgentIds=ctx.completed_ids(),
        **resume_point(facts),
    )
    return PassPlan(siblings, "sibling")


def _adjudication_pending(ctx: WaveContext, failures: list[JsonObject], result: PassResult) -> WaveEnd:
    """Nothing but adjudication is open: that is for people. Spec: LAUNCH 7.7 rule 2."""
    retry_state.clear_relaunch_plan(ctx.paths, ctx.number)
    report.attempt(ctx, "failed", detail=_codes(failures))
    report.board(
        ctx.lane,
        "wave_adjudication_pending",
        [ctx.number],
        "blocked",
        _codes(failures),
        "Settle the adjudication, then launch again.",
    )
    return wave_closing.block_wave(ctx, result, f"Wave {ctx.number} is waiting on closure adjudication.")


def _retry(ctx: WaveContext, retry: RetryPlan, facts: RetryFacts, result: PassResult) -> Step:
    """Another pass within the budget. Spec: LAUNCH 7.7 rule 3.

    The attempt fails last: should the launcher die before, it is judged again; after, the plan for the next is there.
    """
    failed = _say_failed(ctx, result)
    report.board(
        ctx.lane,
        "wave_retry",
        [ctx.number],
        "retrying",
        f"attempt={ctx.ordinal + 1}/{ctx.lane.options.max_attempts}; failed_agents={','.join(failed)}; "
        f"timed_out={'yes' if result.timed_out else 'no'}",
    )
    queue_pass(ctx, retry, facts)
    _settle_override(ctx, retry)
    _fail_attempt(ctx, result)
    ctx.ordinal += 1
    report.set_status(ctx, "retrying")
    # The journal names the attempt that comes next. Spec: LAUNCH 14.
    report.journal(
        ctx,
        "retry-queued",
        attemptNumber=ctx.attempt + 1,
        selectedAgentIds=retry.selected_agent_ids,
        launchedAgentIds=(),
        completedAgentIds=ctx.completed_ids(),
        **resume_point(facts),
    )
    return PassPlan(retry.selected_agent_ids, retry.source, retry.start_phase)


def _say_failed(ctx: WaveContext, result: PassResult) -> list[str]:
    failed = sorted({str(failure["agentId"]) for failure in result.failures if failure.get("agentId")})
    ctx.lane.console.warn(
        f"[retry] Wave {ctx.number} had failures for agents: {', '.join(failed) or 'none'}."
        " Evaluating safe relaunch targets."
    )
    return failed


def _fail_attempt(ctx: WaveContext, result: PassResult) -> None:
    if ctx.attempt_open:
        report.attempt(ctx, "failed", detail=_codes(result.failures))


def _settle_override(ctx: WaveContext, retry: RetryPlan) -> None:
    if retry.override.request is not None:
        wave_opening.settle_override(ctx, retry.override)


def _retry_blocked(ctx: WaveContext, retry: RetryPlan, result: PassResult) -> WaveEnd:
    """No agent may be launched: a barrier, or somebody has to act first. Exit 43. Spec: LAUNCH 7.7 rule 3."""
    if retry.barrier is not None:
        detail = retry.barrier.detail
        retry_state.clear_relaunch_plan(ctx.paths, ctx.number)
        report.board(
            ctx.lane, "wave_retry_blocked", [ctx.number], "blocked", detail, "Remove the barrier, launch again."
        )
        result = result._replace(failures=(*result.failures, *retry.barrier.failures))
        return wave_closing.block_wave(ctx, result, f"Wave {ctx.number} retry blocked: {detail}")
    message = (
        f"Wave {ctx.number} is waiting on human feedback or unresolved coordination state;"
        " no safe relaunch target is available."
    )
    report.board(ctx.lane, "wave_retry_blocked", [ctx.number], "blocked", message, "Answer what is open.")
    return wave_closing.block_wave(ctx, result, message)


def queue_pass(ctx: WaveContext, retry: RetryPlan, facts: RetryFacts) -> None:
    """Executor changes, repair records, relaunch plan, dashboard: the next pass as recorded. LAUNCH 11.5, 11.7."""
    selected = retry.selected_agent_ids
    states = retry.relaunch.executor_states if retry.relaunch else {}
    wave_opening.apply_executor_states(ctx, states)
    for agent_id in selected:
        report.agent_state(ctx, agent_id, "pending", "Queued for retry")
    if retry.source != "override":
        wave_closing.append_repair_records(ctx, facts, selected)
    plan = retry_engine.build_relaunch_plan(
        facts,
        selected,
        {run.agent_id: run.executor for run in ctx.runs.values()},
        phase=wave_closing.ledger_phase(ctx),
        resume_from_phase=retry.start_phase,
        now=now_iso(),
    )
    retry_state.write_relaunch_plan(ctx.paths, ctx.number, plan)


def _queue_recovery(ctx: WaveContext, retry: RetryPlan, facts: RetryFacts, result: PassResult) -> WaveEnd:
    """The budget is used up and time may heal it: ask for a later, targeted launch. Exit 43. Spec: LAUNCH 11.8."""
    relaunch = retry.relaunch or retry_engine.resolve_relaunch(facts)
    fields = retry_engine.recovery_request(facts, relaunch)
    request = retry_state.request_rerun(ctx.paths, ctx.number, fields, source="launcher")
    chosen = tuple(fields["selectedAgentIds"])
    queue_pass(ctx, retry._replace(selected_agent_ids=chosen, source="retry"), facts)
    for failure in result.failures:
        if failure.get("agentId") in ctx.runs:
            report.agent_state(ctx, str(failure["agentId"]), "blocked", f"Recovery queued: {failure['recoveryReason']}")
    report.board(
        ctx.lane,
        "wave_recovery_queued",
        [ctx.number],
        "blocked",
        f"attempt={ctx.ordinal}/{ctx.lane.options.max_attempts}; request={request['requestId']}; "
        f"agents={','.join(chosen)}; reason={fields['reason']}",
        "Launch the wave again.",
    )
    report.journal(
        ctx, "recovery-queued", selectedAgentIds=chosen, completedAgentIds=ctx.completed_ids(), **resume_point(facts)
    )
    message = (
        f"Wave {ctx.number} queued targeted recovery request {request['requestId']}"
        " after recoverable execution failures."
    )
    return wave_closing.block_wave(ctx, result, message, recoverable=True, rerunRequestId=request["requestId"])


def resume_point(facts: RetryFacts) -> JsonObject:
    """What the journal says about where the wave goes on."""
    plan = facts.resume_plan
    return {
        "resumeFromPhase": plan.get("resumeFromPhase"),
        "forwardedClosureGaps": list(plan.get("forwardedClosureGaps") or ()),
    }


def _codes(failures: Sequence[JsonObject]) -> str:
    return ", ".join(f"{failure.get('agentId') or 'wave'}:{failure['statusCode']}" for failure in failures)
