"""The closure sweep: the stewards run stage by stage, and each stage's gate decides whether the next one starts.

Holds:       the closure agent at hand, through the launcher's event loop.
Writes:      gap records in the coordination log; everything else through the modules it calls.
When killed: the agent goes on; the next launcher starts the sweep again and adopts it.

Spec: LAUNCH 10, GATE 8.6, 9.5, 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.lane_profile import gate_mode
from ..engines import closure_engine, gate_engine
from ..engines.closure_engine import STAGES, StagePlan, Verdict
from ..state import coordination_store
from . import corridor_step, fact_collection
from . import wave_reporting as report

if TYPE_CHECKING:
    from ..engines.facts import WaveFacts
    from ..engines.gate_results import GateResult
    from .wave_context import WaveContext

JsonObject = dict[str, Any]


class SweepResult(NamedTuple):
    """How a sweep ended: forwarded gaps first, then the failure that stopped it. Spec: LAUNCH 10.7."""

    failures: tuple[JsonObject, ...] = ()
    timed_out: bool = False
    auto_satisfied_stages: tuple[str, ...] = ()
    skipped_stages: tuple[str, ...] = ()
    launched_stages: tuple[str, ...] = ()


class Sweep:
    """One sweep of one pass: what was launched, forwarded and satisfied so far."""

    def __init__(self, ctx: WaveContext) -> None:
        self.ctx = ctx
        self.plans = closure_engine.plan_stages(ctx.wave, ctx.bindings, ctx.lane.profile)
        self.failures: list[JsonObject] = []
        self.timed_out = False
        self.auto_satisfied: list[str] = []
        self.skipped: list[str] = []
        self.launched_stages: list[str] = []
        self.launched_agents: list[str] = []

    def result(self) -> SweepResult:
        """What the pass learns."""
        return SweepResult(
            tuple(self.failures),
            self.timed_out,
            tuple(self.auto_satisfied),
            tuple(self.skipped),
            tuple(self.launched_stages),
        )


def run_closure_sweep(
    ctx: WaveContext, *, closure_only: bool, source: str, selected: Sequence[str], start_phase: str | None
) -> SweepResult:
    """Run all stages from the start stage on. Spec: LAUNCH 10.2, 10.3."""
    sweep = Sweep(ctx)
    _set_open_gaps_aside(ctx)
    start = closure_engine.start_stage(
        sweep.plans, selected, closure_only=closure_only, source=source, resume_phase=start_phase
    )
    start = _first_unproven(sweep, start)
    for plan in sweep.plans:
        if closure_engine.earlier(plan.stage.key, start):
            continue
        if not _run_stage(sweep, plan):
            break
    return sweep.result()


def _set_open_gaps_aside(ctx: WaveContext) -> None:
    """Gaps of earlier attempts stop no stage of this sweep: it judges the stages that reported them anew.

    Otherwise integration could never close the gap that it reported itself, nor run again before documentation does.
    What is still open afterwards counts in the final snapshot. Spec: LAUNCH 10.6.
    """
    records = coordination_store.read_state(ctx.paths, ctx.number).open
    ctx.ignored_gap_record_ids |= {item["id"] for item in records if closure_engine.is_gap_record(item, ctx.number)}


def _first_unproven(sweep: Sweep, start: str) -> str:
    """Stages before the start are judged on stored results; the first that fails becomes the start. LAUNCH 10.2."""
    if start == STAGES[0].key:
        return start
    fact_collection.refresh(sweep.ctx)
    for plan in sweep.plans:
        if not closure_engine.earlier(plan.stage.key, start):
            return start
        gate, advisory = _judge(sweep, plan)
        if not gate.ok and not advisory and (plan.agent_ids or plan.required or plan.stage.key == "security-review"):
            return plan.stage.key
        if plan.agent_ids and closure_engine.auto_satisfied(plan.stage, gate):
            sweep.auto_satisfied.append(plan.stage.key)
    return start


def _run_stage(sweep: Sweep, plan: StagePlan) -> bool:
    """One stage; False ends the sweep. Spec: LAUNCH 10.3."""
    ctx = sweep.ctx
    fact_collection.refresh(ctx)  # 1
    if plan.stage.key in corridor_step.JUDGED_STAGES and not _corridor_allows(sweep, plan):
        return False
    if _fast_path(sweep, plan):  # 2
        return True
    if not plan.agent_ids:  # 3
        verdict = closure_engine.judge_empty_stage(plan, gate_mode(ctx.lane.profile.validation, ctx.number))
        if verdict.step == "next":
            return True
        return _stop(sweep, plan, _missing_run(plan, ctx, verdict))
    if not _run_stage_agents(sweep, plan):  # 4
        return False
    gate, advisory = _judge(sweep, plan)  # 5
    verdict = closure_engine.judge_stage(plan.stage, gate, advisory=advisory)
    return _follow(sweep, plan, gate, verdict)  # 6


def _corridor_allows(sweep: Sweep, plan: StagePlan) -> bool:
    """Corridor is asked once an attempt and judged before any reviewer or later steward. LAUNCH 10.3 step 2."""
    if not corridor_step.enabled(sweep.ctx):
        return True
    corridor_step.materialize(sweep.ctx)
    fact_collection.refresh(sweep.ctx)
    gate = gate_engine.gate_corridor(_facts(sweep))
    return gate.ok or _stop(sweep, plan, gate)


def _fast_path(sweep: Sweep, plan: StagePlan) -> bool:
    """Whether the stage is closed without launching anybody. Spec: LAUNCH 10.4."""
    ctx, stage = sweep.ctx, plan.stage
    if stage.key in ("integration", "documentation") and plan.agent_ids:
        gate, _ = _judge(sweep, plan)
        if closure_engine.auto_satisfied(stage, gate):
            sweep.auto_satisfied.append(stage.key)
            report.event(ctx, "info", f"{stage.label} already satisfied before launch: {gate.detail}")
            return True
    if stage.key == "cont-qa" and closure_engine.may_skip_cont_qa(ctx.lane.profile, ctx.number, sweep.launched_agents):
        sweep.skipped.append(stage.key)
        report.event(ctx, "info", f"{stage.label} skipped: bootstrap mode and no other closure agent was needed.")
        return True
    return False


def _run_stage_agents(sweep: Sweep, plan: StagePlan) -> bool:
    """Launch the stage's agents one after the other; a process failure ends the sweep. Spec: LAUNCH 10.3 step 4."""
    from .wave_pass import run_agents

    ctx, stage = sweep.ctx, plan.stage
    sweep.launched_stages.append(stage.key)
    for run in ctx.declared(plan.agent_ids):
        report.journal(
            ctx, "closure-running", selectedAgentIds=plan.agent_ids, closureStage=stage.key, resumeFromPhase=stage.phase
        )
        waited = run_agents(ctx, [run], stage.key)
        sweep.launched_agents.append(run.agent_id)
        fact_collection.materialise_results(ctx)
        fact_collection.refresh(ctx)
        sweep.timed_out = sweep.timed_out or waited.timed_out
        if waited.failures:
            sweep.failures += waited.failures
            report.closure_failures(ctx, stage.label, waited.failures)
            return False
    return True


def _judge(sweep: Sweep, plan: StagePlan) -> tuple[GateResult, bool]:
    """The first failing gate of the stage, else its last one; and whether bootstrap mode only notes it. LAUNCH 10.5."""
    facts = _facts(sweep)
    gate = None
    for key in plan.stage.gates:
        gate = gate_engine.evaluate_gate(key, facts)
        if not gate.ok:
            return gate, gate_engine.is_advisory(key, gate, facts)
        if closure_engine.auto_satisfied(plan.stage, gate):
            satisfied = gate
            rest = [gate_engine.evaluate_gate(other, facts) for other in plan.stage.gates if other != key]
            failing = next((other for other in rest if not other.ok), None)
            return failing or satisfied, False
    assert gate is not None  # every stage has a gate
    return gate, False


def _facts(sweep: Sweep) -> WaveFacts:
    return fact_collection.collect_wave_facts(
        sweep.ctx,
        auto_satisfied_stages=tuple(sweep.auto_satisfied),
        skipped_stages=tuple(sweep.skipped),
        launched_stages=tuple(sweep.launched_stages),
    )


def _follow(sweep: Sweep, plan: StagePlan, gate: GateResult, verdict: Verdict) -> bool:
    ctx = sweep.ctx
    if verdict.step == "stop":
        return _stop(sweep, plan, gate)
    if verdict.step == "forward":
        _forward(sweep, plan, gate)
        return True
    if verdict.step == "advisory":
        report.event(ctx, "warn", verdict.because, gate.agent_id)
    else:
        _resolve_gaps(sweep, plan)
    return True


def _stop(sweep: Sweep, plan: StagePlan, gate: GateResult) -> bool:
    from .wave_pass import gate_failure

    sweep.failures.append(gate_failure(gate))
    report.gate_blocked(sweep.ctx, plan.stage.gates[0], gate, label=plan.stage.label)
    return False


def _missing_run(plan: StagePlan, ctx: WaveContext, verdict: Verdict) -> GateResult:
    from ..engines.gate_results import GateResult

    bound = {
        "cont-eval": ctx.bindings.cont_eval,
        "integration": ctx.bindings.integration,
        "documentation": ctx.bindings.documentation,
        "cont-qa": ctx.bindings.cont_qa,
    }
    return GateResult(False, "missing-closure-run", verdict.because, bound.get(plan.stage.key))


def _forward(sweep: Sweep, plan: StagePlan, gate: GateResult) -> None:
    """Record the gap for the later stages and go on. Spec: LAUNCH 10.6."""
    from .wave_pass import gate_failure

    ctx = sweep.ctx
    sweep.failures.append(gate_failure(gate))
    agent_id = gate.agent_id or plan.agent_ids[0]
    targets = closure_engine.later_agents(sweep.plans, plan.stage.key)
    record = closure_engine.gap_record(
        wave=ctx.number,
        lane=ctx.paths.lane,
        stage=plan.stage,
        gate=gate,
        agent_id=agent_id,
        attempt=ctx.attempt,
        targets=targets,
    )
    ctx.ignored_gap_record_ids |= {record["id"]}
    coordination_store.append_record(ctx.paths, ctx.number, record)
    report.event(ctx, "warn", f"{plan.stage.label} reported a proof gap; later stages go on: {gate.detail}", agent_id)
    report.board(
        ctx.lane,
        "closure_gap_forwarded",
        [ctx.number],
        "blocked",
        f"agent={agent_id}; reason={gate.status_code}; {gate.detail}",
        f"{agent_id}: close the proof gap that later stages now see.",
    )
    fact_collection.refresh(ctx)


def _resolve_gaps(sweep: Sweep, plan: StagePlan) -> None:
    """A stage that passes closes the gaps it reported in earlier passes. Spec: LAUNCH 10.6, last paragraph."""
    ctx = sweep.ctx
    records = coordination_store.read_state(ctx.paths, ctx.number).latest
    for agent_id in plan.agent_ids:
        for record in closure_engine.open_gap_records(records, ctx.number, plan.stage.key, agent_id):
            coordination_store.append_record(ctx.paths, ctx.number, {**record, "status": "resolved"})
            report.board(
                ctx.lane,
                "closure_gap_resolved",
                [ctx.number],
                "resolved",
                f"agent={agent_id}; reason={closure_engine.PROOF_GAP}; {record.get('detail') or ''}",
            )
