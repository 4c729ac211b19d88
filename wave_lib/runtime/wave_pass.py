"""One pass of a wave: launch the selected agents, wait, judge what they left, sweep closure, record the evidence.

Holds:       the agents it launched, through the launcher's event loop.
Writes:      through the modules it calls: control-plane events, envelopes, dashboards, the trace bundle.
When killed: agents go on; the next launcher re-enters the attempt (supervised) or numbers a new one.

Spec: LAUNCH 7.4, 7.5, 9; GATE 8.6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines import gate_engine
from ..engines.implementation_engine import resolve_post_design_pass_transition
from ..engines.retry_engine import annotate_failure
from ..state.agent_state import read_status_record
from . import corridor_step, fact_collection, launcher_runtime, provider_step
from . import wave_reporting as report
from .agent_waiting import AgentWait, WaitHooks, WaitResult
from .closure_sweep import SweepResult, run_closure_sweep
from .live_supervision import alerts, on_progress, on_refresh
from .pass_record import record_pass

if TYPE_CHECKING:
    from ..engines.facts import WaveFacts
    from ..engines.gate_results import GateResult, GateSnapshot
    from .agent_waiting import AgentEnd
    from .wave_context import AgentRun, WaveContext

JsonObject = dict[str, Any]


class PassPlan(NamedTuple):
    """Who runs in a pass and why. `start_phase` is set for a closure-only pass of a retry or override.

    `source`: `initial`, `override`, `persisted-relaunch`, `retry`, `design`, `sibling` or `resumed`. `on_record` is
    called once the attempt is recorded with its agents: only then may what asked for them count as done.
    """

    selected: tuple[str, ...]
    source: str
    start_phase: str | None = None
    on_record: Callable[[], None] | None = None


class PassResult(NamedTuple):
    """How a pass ended. `design_next`: the agents that follow a design pass (then there are no failures)."""

    failures: tuple[JsonObject, ...] = ()
    timed_out: bool = False
    snapshot: GateSnapshot | None = None
    design_next: tuple[str, ...] = ()


PRE_CLOSURE_GATES = ("implementationGate", "componentGate", "helperAssignmentBarrier", "dependencyBarrier")
"""Judged before the sweep, in order; the first failure ends the pass. Spec: LAUNCH 7.4 step 6."""


def run_pass(ctx: WaveContext, plan: PassPlan) -> PassResult:
    """One pass, in the order of LAUNCH 7.4."""
    _open_pass(ctx, plan)  # 1
    closure_only = is_closure_only(ctx, plan)
    result = PassResult()
    if not closure_only:  # 2
        waited = run_agents(ctx, ctx.declared(plan.selected))  # 3
        result = _settle(ctx, plan, waited)  # 4
        if not result.failures:
            result = _design_transition(ctx, plan)  # 5
    sweep = SweepResult()
    if not result.failures and not result.design_next:
        result, sweep = _close(ctx, plan, closure_only)  # 6
    ctx.note_sweep(sweep)
    return _judge(ctx, result)  # 7, 8


def is_closure_only(ctx: WaveContext, plan: PassPlan) -> bool:
    """Whether a pass launches nobody but closure agents, which then run as a sweep. Spec: LAUNCH 7.4 step 2."""
    return all(agent_id in ctx.bindings.closure_agents for agent_id in plan.selected)


def _open_pass(ctx: WaveContext, plan: PassPlan) -> None:
    ctx.open_pass(plan.selected)
    report.journal(ctx, "attempt-starting", selectedAgentIds=plan.selected, launchedAgentIds=(), completedAgentIds=())
    fact_collection.refresh(ctx)
    names = ", ".join(plan.selected) or "none"
    report.event(ctx, "info", f"Attempt {ctx.ordinal}/{ctx.lane.options.max_attempts}; launching agents: {names}")
    report.attempt(ctx, "running", selected=plan.selected)
    if plan.on_record is not None:
        plan.on_record()
    report.flush(ctx)


def run_agents(ctx: WaveContext, runs: Sequence[AgentRun], stage_key: str | None = None) -> WaitResult:
    """Launch (or adopt) these agents, paced, and wait until all have settled. Spec: LAUNCH 8.1, 9."""
    lane = ctx.lane
    lane.loop.run_once(0)  # a signal that came between two waits counts
    lane.check_interrupt()
    hooks = WaitHooks(
        on_running=lambda handle, record: report.agent_running(ctx, handle, record),
        on_settled=lambda end: _settled(ctx, end),
        on_resumed=lambda handle: report.agent_resumed(ctx, handle),
        on_progress=lambda pending: on_progress(ctx, pending),
        on_refresh=lambda pending: on_refresh(ctx, pending),
    )
    wait = AgentWait(lane.loop, hooks, relative=ctx.paths.rel)
    lane.active_wait = wait
    try:
        wait.launch(
            [(run.agent_id, launcher_runtime.starter(ctx, run, stage_key)) for run in runs],
            stagger_seconds=lane.options.agent_launch_stagger_ms / 1000,
            max_parallel=lane.options.max_parallel_agents,
        )
        result = wait.run()
    finally:
        lane.active_wait = None
    lane.check_interrupt()
    return result


def _settled(ctx: WaveContext, end: AgentEnd) -> None:
    provider_step.mask_lost(end)
    report.agent_settled(ctx, end)


def _settle(ctx: WaveContext, plan: PassPlan, waited: WaitResult) -> PassResult:
    """Results become envelopes, failures get their class, everybody learns about both. Spec: LAUNCH 7.4 step 4."""
    fact_collection.materialise_results(ctx)
    fact_collection.refresh(ctx)
    facts = fact_collection.collect_wave_facts(ctx)
    failures = annotated(ctx, waited.failures)
    failures = _without_satisfied_owners(ctx, facts, failures)
    _tell_settled(ctx, failures)
    return PassResult(tuple(failures), waited.timed_out)


def _tell_settled(ctx: WaveContext, failures: Sequence[JsonObject]) -> None:
    gates = gate_engine.evaluate_gates(fact_collection.collect_wave_facts(ctx))
    report.journal(
        ctx,
        "attempt-failed" if failures else "attempt-succeeded",
        selectedAgentIds=ctx.selected,
        launchedAgentIds=ctx.launched_ids(),
        completedAgentIds=ctx.completed_ids(),
        gateSnapshotSummary=gates.overall.to_json(),
    )
    for failure in failures:
        if failure.get("detail"):
            report.event(ctx, "error", f"{failure['statusCode']}: {failure['detail']}", failure.get("agentId"))
    alerts(ctx)
    report.flush(ctx)


def annotated(ctx: WaveContext, failures: Sequence[JsonObject]) -> list[JsonObject]:
    """Failures with their class and whether trying again helps. Spec: LAUNCH 11.2."""
    found = []
    for failure in failures:
        run = ctx.runs.get(str(failure.get("agentId")))
        summary = fact_collection.stored_summary(ctx, run) if run else None
        exit_reason = fact_collection.exit_reason(run) if run else None
        found.append(annotate_failure(failure, summary, exit_reason))
    return found


def _without_satisfied_owners(ctx: WaveContext, facts: WaveFacts, failures: list[JsonObject]) -> list[JsonObject]:
    """An owner whose slice and component are proven did not fail: its siblings are waited for. LAUNCH 7.4 step 4."""
    if not failures:
        return failures
    pending = gate_engine.shared_component_waits(facts)
    satisfied = {agent_id for gate in pending for agent_id in gate.satisfied_agent_ids}
    kept = [failure for failure in failures if failure.get("agentId") not in satisfied]
    if len(kept) == len(failures):
        return failures
    return kept + annotated(ctx, [gate_failure(gate) for gate in pending])


def _design_transition(ctx: WaveContext, plan: PassPlan) -> PassResult:
    """A pass of design agents hands over to implementation, or is blocked by its gate. Spec: LAUNCH 7.5."""
    facts = fact_collection.collect_wave_facts(ctx)
    gate = gate_engine.gate_design(facts)
    transition = resolve_post_design_pass_transition(
        facts, gate, plan.selected, ctx.pre_completed, after_design=plan.source == "design"
    )
    if transition.step == "continue-implementation":
        return PassResult(design_next=transition.next_agent_ids)
    if transition.step == "blocked" and transition.failure is not None:
        report.gate_blocked(ctx, "designGate", gate)
        return PassResult(tuple(annotated(ctx, [transition.failure])))
    return PassResult()


def _close(ctx: WaveContext, plan: PassPlan, closure_only: bool) -> tuple[PassResult, SweepResult]:
    """Pre-closure gates, the sweep, the barriers once more. Spec: LAUNCH 7.4 step 6."""
    facts = fact_collection.collect_wave_facts(ctx)
    for key in PRE_CLOSURE_GATES:
        gate = gate_engine.evaluate_gate(key, facts, before_closure=True)
        if not gate.ok and not gate_engine.is_advisory(key, gate, facts):
            report.gate_blocked(ctx, key, gate)
            return PassResult(tuple(annotated(ctx, [gate_failure(gate)]))), SweepResult()
    sweep = run_closure_sweep(
        ctx, closure_only=closure_only, source=plan.source, selected=plan.selected, start_phase=plan.start_phase
    )
    failures = annotated(ctx, sweep.failures)
    if not failures:
        facts = fact_collection.collect_wave_facts(ctx)
        for key in PRE_CLOSURE_GATES[2:]:
            gate = gate_engine.evaluate_gate(key, facts)
            if not gate.ok and not gate_engine.is_advisory(key, gate, facts):
                report.gate_blocked(ctx, key, gate)
                failures = annotated(ctx, [gate_failure(gate)])
                break
    return PassResult(tuple(failures), sweep.timed_out), sweep


def _judge(ctx: WaveContext, result: PassResult) -> PassResult:
    """The authoritative snapshot; its first failure decides a pass that has none yet. Spec: LAUNCH 7.4 steps 7, 8."""
    if not result.design_next:
        corridor_step.materialize(ctx)
    fact_collection.refresh(ctx)
    facts = fact_collection.collect_wave_facts(ctx)
    snapshot = gate_engine.evaluate_gates(facts)
    record_pass(ctx, facts, snapshot)
    result = result._replace(snapshot=snapshot)
    _note_cont_qa(ctx, snapshot)
    if result.failures or result.design_next or snapshot.overall.ok:
        return result
    gate = snapshot.gates[snapshot.overall.gate]
    report.gate_blocked(ctx, snapshot.overall.gate, gate)
    return result._replace(failures=tuple(annotated(ctx, [gate_failure(gate)])))


def _note_cont_qa(ctx: WaveContext, snapshot: GateSnapshot) -> None:
    gate = snapshot.gates["contQaGate"]
    if gate.ok and gate.agent_id in ctx.runs and gate.agent_id in ctx.launched_ids():
        report.agent_state(ctx, str(gate.agent_id), "completed", f"Exit 0; cont-QA PASS ({gate.detail})")


def judge_again(ctx: WaveContext) -> PassResult:
    """The result of a run's last pass, read from what it left: a resumed run has no pass to spend. LAUNCH 7.1."""
    ctx.attempt -= 1
    fact_collection.materialise_results(ctx)
    failures = []
    for run in ctx.runs.values():
        status = read_status_record(run.status_path) or {}
        if status.get("attempt") == ctx.attempt and status["code"] != 0:
            failures.append(
                {
                    "agentId": run.agent_id,
                    "statusCode": "timeout-no-status" if status.get("exitReason") == "timeout" else str(status["code"]),
                    "logPath": ctx.paths.rel(run.log_path),
                    "detail": status.get("exitReason"),
                }
            )
    return _judge(ctx, PassResult(tuple(annotated(ctx, failures))))


def gate_failure(gate: GateResult) -> JsonObject:
    """A gate's refusal as a failure, with the fields that retry decisions read. Spec: LAUNCH 7.4 step 7."""
    failure: dict[str, Any] = {
        "agentId": gate.agent_id,
        "statusCode": gate.status_code,
        "detail": gate.detail,
        "logPath": gate.log_path,
    }
    for key, value in (
        ("componentId", gate.component_id),
        ("ownerAgentIds", list(gate.owner_agent_ids)),
        ("satisfiedAgentIds", list(gate.satisfied_agent_ids)),
        ("waitingOnAgentIds", list(gate.waiting_on_agent_ids)),
        ("failedOwnContractAgentIds", list(gate.failed_own_contract_agent_ids)),
    ):
        if value:
            failure[key] = value
    return failure
