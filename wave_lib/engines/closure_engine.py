"""The closure sweep's decisions: which stages there are, where a sweep starts, what a stage's verdict means.

Pure: the sweep itself (`closure_sweep`, runtime) launches the agents and asks here what follows.

Spec: LAUNCH 10, GATE 9.5, 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.lane_profile import active, closure_mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..definition.lane_profile import LaneProfile
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from .gate_results import GateResult

PROOF_GAP = "wave-proof-gap"
"""The one status code that is forwarded to later stages instead of stopping the sweep. Spec: LAUNCH 10.6."""


class Stage(NamedTuple):
    """One closure stage: its key, the resume phase that names it, its label and the gates that judge it, in order."""

    key: str
    phase: str
    label: str
    gates: tuple[str, ...]


STAGES: tuple[Stage, ...] = (
    Stage("cont-eval", "cont-eval", "cont-EVAL gate", ("contEvalGate",)),
    Stage("security-review", "security-review", "Security review", ("securityGate",)),
    Stage("integration", "integrating", "Integration gate", ("integrationBarrier",)),
    Stage("documentation", "docs-closure", "Documentation closure", ("documentationGate", "componentMatrixGate")),
    Stage("cont-qa", "cont-qa-closure", "cont-QA gate", ("contQaGate",)),
)
"""All stages in their order. Spec: LAUNCH 10.1."""

STAGE_OF_PHASE = {stage.phase: stage.key for stage in STAGES}
PHASE_OF_STAGE = {stage.key: stage.phase for stage in STAGES}
_ORDER = {stage.key: index for index, stage in enumerate(STAGES)}


class StagePlan(NamedTuple):
    """A stage of one wave: who runs in it, one after the other, and whether it may be empty."""

    stage: Stage
    agent_ids: tuple[str, ...]
    required: bool


def plan_stages(wave: Wave, bindings: RoleBindings, profile: LaneProfile) -> list[StagePlan]:
    """Every stage of `wave` with the agents it declares for it. Spec: LAUNCH 10.1, 10.3 step 3."""
    declared = {agent.agent_id for agent in wave.agents}
    validation = profile.validation
    roles: dict[str, Sequence[str]] = {
        "cont-eval": (bindings.cont_eval,),
        "security-review": tuple(
            agent.agent_id for agent in wave.agents if agent.agent_id in set(bindings.security_reviewers)
        ),
        "integration": (bindings.integration,),
        "documentation": (bindings.documentation,),
        "cont-qa": (bindings.cont_qa,),
    }
    thresholds = {
        "integration": validation.require_integration_steward_from_wave,
        "documentation": validation.require_documentation_steward_from_wave,
    }
    plans = []
    for stage in STAGES:
        agent_ids = tuple(agent_id for agent_id in roles[stage.key] if agent_id in declared)
        threshold = thresholds.get(stage.key)
        required = stage.key == "cont-qa" or bool(agent_ids)
        if threshold is not None:
            required = active(threshold, wave.wave)
        plans.append(StagePlan(stage, agent_ids, required))
    return plans


def stages_of_agents(plans: Iterable[StagePlan], agent_ids: Iterable[str]) -> list[str]:
    """Keys of the stages in which any of these agents runs, in stage order."""
    wanted = set(agent_ids)
    return [plan.stage.key for plan in plans if wanted.intersection(plan.agent_ids)]


def start_stage(
    plans: Sequence[StagePlan], selected: Iterable[str], *, closure_only: bool, source: str, resume_phase: str | None
) -> str:
    """Key of the stage a sweep starts from: the first, unless a retry or override asked for closure agents only.

    `source` is where the selection came from (`initial`, `override`, `persisted-relaunch`, `retry`); `resume_phase`
    names the stage of a closure-only pass that has no agent (a Corridor stop). Spec: LAUNCH 10.2, 11.6.
    """
    first = STAGES[0].key
    if not closure_only or source == "initial":
        return first
    keys = stages_of_agents(plans, selected)
    if resume_phase in STAGE_OF_PHASE:
        keys.append(STAGE_OF_PHASE[str(resume_phase)])
    return min(keys, key=_ORDER.__getitem__, default=first)


def earlier(first: str, second: str) -> bool:
    """Whether stage key `first` stands before `second`."""
    return _ORDER[first] < _ORDER[second]


class Verdict(NamedTuple):
    """What follows from a stage's gate: `next`, `advisory` (noted, go on), `forward` or `stop`."""

    step: str
    because: str


def judge_stage(stage: Stage, gate: GateResult, *, advisory: bool) -> Verdict:
    """What the sweep does with a stage's gate result; `advisory`: bootstrap mode does not block on this failure.

    Spec: LAUNCH 10.3 step 6, 10.5, 10.6; GATE 8.3, 10.
    """
    if gate.ok:
        return Verdict("next", gate.status_code)
    if gate.status_code == PROOF_GAP:
        return Verdict("forward", gate.detail)
    if advisory:
        return Verdict("advisory", f"{stage.label} is advisory in bootstrap mode: {gate.detail}")
    return Verdict("stop", gate.detail)


def judge_empty_stage(plan: StagePlan, gate_mode: str) -> Verdict:
    """What the sweep does with a stage nobody runs in. Spec: LAUNCH 10.3 step 3."""
    if gate_mode == "bootstrap" and plan.stage.key != "cont-qa":
        return Verdict("next", "bootstrap mode skips a stage without an agent")
    if plan.required:
        return Verdict("stop", f"{plan.stage.label} needs an agent and the wave has none for it.")
    return Verdict("next", "the wave declares no agent for this stage")


def auto_satisfied(stage: Stage, gate: GateResult) -> bool:
    """Whether integration or documentation is closed without launching its steward. Spec: LAUNCH 10.4, GATE 9.5."""
    if not gate.ok or gate.agent_id is not None:
        return False
    if stage.key == "integration":
        return gate.integration_state == "inferred"
    return stage.key == "documentation" and gate.doc_closure_state in ("no-change", "auto-closed")


def may_skip_cont_qa(profile: LaneProfile, wave: int, launched: Iterable[str]) -> bool:
    """Whether cont-QA may be left out; `launched` = the closure agents this sweep launched. Spec: LAUNCH 10.4."""
    validation = profile.validation
    allowed = validation.auto_closure.allow_skip_cont_qa_in_bootstrap
    return allowed and closure_mode(validation, wave) == "bootstrap" and not list(launched)


def gap_record_id(wave: int, stage_key: str, agent_id: str, attempt: int) -> str:
    """Id of the coordination record of a forwarded proof gap. Spec: LAUNCH 10.6."""
    return f"wave-{wave}-closure-gap-{stage_key}-{agent_id}-attempt-{attempt}"


def gap_record(
    *,
    wave: int,
    lane: str,
    stage: Stage,
    gate: GateResult,
    agent_id: str,
    attempt: int,
    targets: Sequence[str],
    status: str = "open",
) -> dict[str, Any]:
    """The coordination record that carries a proof gap to the later stages, or closes it. Spec: LAUNCH 10.6."""
    return {
        "id": gap_record_id(wave, stage.key, agent_id, attempt),
        "kind": "blocker",
        "lane": lane,
        "wave": wave,
        "agentId": agent_id,
        "targets": [f"agent:{target}" for target in targets],
        "status": status,
        "priority": "high",
        "blocking": True,
        "blockerSeverity": "closure-critical",
        "artifactRefs": [gate.log_path] if gate.log_path else [],
        "summary": f"{stage.label} ({agent_id}) reported a proof gap; later stages go on with it in view.",
        "detail": gate.detail,
        "attempt": attempt,
        "source": "launcher",
    }


def later_agents(plans: Sequence[StagePlan], stage_key: str) -> list[str]:
    """The agents of all stages after `stage_key`, in stage order, each once. Spec: LAUNCH 10.6."""
    found: list[str] = []
    for plan in plans:
        if earlier(stage_key, plan.stage.key):
            found += [agent_id for agent_id in plan.agent_ids if agent_id not in found]
    return found


def is_gap_record(record: dict[str, Any], wave: int) -> bool:
    """Whether a coordination record is a forwarded closure gap of this wave."""
    return str(record.get("id", "")).startswith(f"wave-{wave}-closure-gap-")


def open_gap_records(
    records: Iterable[dict[str, Any]], wave: int, stage_key: str, agent_id: str
) -> list[dict[str, Any]]:
    """The open gap records that `agent_id` reported in this stage, from any attempt. Spec: LAUNCH 10.6 (end)."""
    prefix = f"wave-{wave}-closure-gap-{stage_key}-{agent_id}-attempt-"
    closed = ("resolved", "closed", "superseded", "cancelled")
    return [
        record
        for record in records
        if str(record.get("id", "")).startswith(prefix) and record.get("status") not in closed
    ]
