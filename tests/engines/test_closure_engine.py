"""Stages, start stage and verdicts of the closure sweep. Spec: LAUNCH 10, GATE 10."""

from __future__ import annotations

import pytest

from wave_lib.definition.lane_profile import AutoClosure, ModeThresholds, Roles, Validation
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, Wave
from wave_lib.engines import closure_engine
from wave_lib.engines.closure_engine import STAGES, StagePlan
from wave_lib.engines.gate_results import GateResult

ROLES = Roles()


class Profile:
    """What the engine reads of a lane."""

    def __init__(self, **validation: object) -> None:
        self.validation = Validation(**validation)  # type: ignore[arg-type]


def wave(*agent_ids: str, number: int = 0) -> Wave:
    agents = []
    for agent_id in agent_ids:
        capabilities = ("security-review",) if agent_id == "A7" else ()
        agents.append(Agent(agent_id, agent_id, f"{number}-{agent_id.lower()}", capabilities=capabilities))
    return Wave(number, "wave-0.md", agents=tuple(agents))


def plans(*agent_ids: str, number: int = 0, **validation: object) -> list[StagePlan]:
    built = wave(*agent_ids, number=number)
    bindings = resolve_wave_role_bindings(built, ROLES)
    return closure_engine.plan_stages(built, bindings, Profile(**validation))  # type: ignore[arg-type]


EVERYBODY = ("A1", "E0", "A7", "A8", "A9", "A0")


def test_stages_come_in_their_order_with_their_agents() -> None:
    shown = [(plan.stage.key, plan.agent_ids) for plan in plans(*EVERYBODY)]
    assert shown == [
        ("cont-eval", ("E0",)),
        ("security-review", ("A7",)),
        ("integration", ("A8",)),
        ("documentation", ("A9",)),
        ("cont-qa", ("A0",)),
    ]


@pytest.mark.parametrize(
    ("threshold", "number", "declared", "required"),
    [(None, 5, True, True), (None, 5, False, False), (3, 2, True, False), (3, 3, False, True)],
)
def test_who_must_integrate(threshold: int | None, number: int, declared: bool, required: bool) -> None:
    agents = ("A1", "A8", "A0") if declared else ("A1", "A0")
    found = plans(*agents, number=number, require_integration_steward_from_wave=threshold)
    assert next(plan for plan in found if plan.stage.key == "integration").required is required


@pytest.mark.parametrize(
    ("selected", "closure_only", "source", "phase", "expected"),
    [
        (("A1",), False, "initial", None, "cont-eval"),
        (("A9",), True, "retry", None, "documentation"),
        (("A9",), True, "initial", None, "cont-eval"),
        (("A0", "A8"), True, "override", None, "integration"),
        ((), True, "retry", "security-review", "security-review"),
        (("A9",), False, "retry", None, "cont-eval"),
    ],
)
def test_where_a_sweep_starts(
    selected: tuple[str, ...], closure_only: bool, source: str, phase: str | None, expected: str
) -> None:
    found = plans(*EVERYBODY)
    start = closure_engine.start_stage(found, selected, closure_only=closure_only, source=source, resume_phase=phase)
    assert start == expected


@pytest.mark.parametrize(
    ("gate", "advisory", "step"),
    [
        (GateResult(True), False, "next"),
        (GateResult(False, "wave-proof-gap", "open"), False, "forward"),
        (GateResult(False, "wave-proof-gap", "open"), True, "forward"),
        (GateResult(False, "integration-needs-more-work", "no"), False, "stop"),
        (GateResult(False, "missing-wave-integration", "no"), True, "advisory"),
    ],
)
def test_what_a_verdict_means(gate: GateResult, advisory: bool, step: str) -> None:
    assert closure_engine.judge_stage(STAGES[2], gate, advisory=advisory).step == step


@pytest.mark.parametrize(
    ("key", "required", "mode", "step"),
    [
        ("integration", True, "strict", "stop"),
        ("integration", True, "bootstrap", "next"),
        ("integration", False, "strict", "next"),
        ("cont-qa", True, "bootstrap", "stop"),
    ],
)
def test_an_empty_stage(key: str, required: bool, mode: str, step: str) -> None:
    stage = next(stage for stage in STAGES if stage.key == key)
    assert closure_engine.judge_empty_stage(StagePlan(stage, (), required), mode).step == step


def test_only_an_answer_without_an_agent_is_automatic() -> None:
    integration, documentation = STAGES[2], STAGES[3]
    assert closure_engine.auto_satisfied(integration, GateResult(True, integration_state="inferred"))
    assert not closure_engine.auto_satisfied(integration, GateResult(True, agent_id="A8", integration_state="inferred"))
    assert not closure_engine.auto_satisfied(integration, GateResult(True))
    assert closure_engine.auto_satisfied(documentation, GateResult(True, doc_closure_state="no-change"))
    assert not closure_engine.auto_satisfied(STAGES[4], GateResult(True, cont_qa_state="skipped"))


def test_cont_qa_is_skipped_only_when_nobody_else_ran() -> None:
    lenient = Profile(
        auto_closure=AutoClosure(allow_skip_cont_qa_in_bootstrap=True), closure_mode_thresholds=ModeThresholds(0, 4, 10)
    )
    assert closure_engine.may_skip_cont_qa(lenient, 0, [])  # type: ignore[arg-type]
    assert not closure_engine.may_skip_cont_qa(lenient, 0, ["A8"])  # type: ignore[arg-type]
    assert not closure_engine.may_skip_cont_qa(lenient, 4, [])  # type: ignore[arg-type]
    assert not closure_engine.may_skip_cont_qa(Profile(), 0, [])  # type: ignore[arg-type]


def test_a_gap_record_names_everybody_later() -> None:
    found = plans(*EVERYBODY)
    targets = closure_engine.later_agents(found, "security-review")
    gate = GateResult(False, "wave-proof-gap", "cannot prove yet", "A7", "logs/a7.log")
    record = closure_engine.gap_record(
        wave=0, lane="main", stage=STAGES[1], gate=gate, agent_id="A7", attempt=3, targets=targets
    )
    assert record["id"] == "wave-0-closure-gap-security-review-A7-attempt-3"
    assert record["targets"] == ["agent:A8", "agent:A9", "agent:A0"]
    assert (record["kind"], record["blocking"], record["artifactRefs"]) == ("blocker", True, ["logs/a7.log"])
    assert closure_engine.is_gap_record(record, 0) and not closure_engine.is_gap_record(record, 1)
    assert closure_engine.open_gap_records([record], 0, "security-review", "A7") == [record]
    assert closure_engine.open_gap_records([{**record, "status": "resolved"}], 0, "security-review", "A7") == []
