"""What closure may conclude without a steward: GATE 9, cases 53 and 54."""

from __future__ import annotations

from typing import Any

import pytest
from gate_scenes import GAP, STEWARDS, derived, facts_of, profile, wave_of, worker

from wave_lib.definition.lane_profile import LaneProfile
from wave_lib.engines.closure_policy import classify_closure_complexity, closure_signals
from wave_lib.engines.derived_state import Barrier
from wave_lib.engines.gate_engine import evaluate_gate, evaluate_gates

WAVE = wave_of(worker(), *STEWARDS, promotions={})
MATRIX_WAVE = wave_of(worker(), *STEWARDS)
NOBODY = {"A8": "-", "A9": "-", "A0": "-"}


def lane(*switches: str, bootstrap: bool = True) -> LaneProfile:
    thresholds = {"bootstrap": 0, "standard": 4 if bootstrap else 0, "strict": 10 if bootstrap else 0}
    return profile(
        autoClosure={name: True for name in switches},
        closureModeThresholds=thresholds,
        requireComponentPromotionsFromWave=None,
    )


ALL = ("allowInferredIntegration", "allowAutoDocNoChange", "allowAutoDocProjection", "allowSkipContQaInBootstrap")


def test_everything_may_be_concluded_when_allowed_and_quiet() -> None:
    snapshot = evaluate_gates(facts_of(WAVE, NOBODY, lane=lane(*ALL)))
    assert snapshot.overall.ok
    shown = snapshot.to_json()
    assert shown["integrationGate"]["integrationState"] == "inferred"
    assert shown["integrationBarrier"]["integrationState"] == "inferred"
    assert shown["documentationGate"]["docClosureState"] == "no-change"
    assert shown["contQaGate"]["contQaState"] == "skipped"
    assert all(shown[key]["agentId"] is None for key in ("integrationBarrier", "documentationGate", "contQaGate"))


@pytest.mark.parametrize("switch", ALL)
def test_nothing_is_concluded_without_its_switch(switch: str) -> None:
    facts = facts_of(WAVE, NOBODY, lane=lane(*(name for name in ALL if name != switch)))
    overall = evaluate_gates(facts).overall
    assert overall.ok is (switch == "allowAutoDocProjection")


def test_a_stewards_own_word_counts() -> None:
    denied = facts_of(WAVE, {**NOBODY, "A9": "[wave-doc-closure] state=delta"}, lane=lane(*ALL))
    assert evaluate_gate("documentationGate", denied).status_code == "doc-closure-open"
    unreadable = facts_of(WAVE, {**NOBODY, "A9": "[wave-doc-closure] state=maybe"}, lane=lane(*ALL))
    assert evaluate_gate("documentationGate", unreadable).status_code == "missing-doc-closure"
    gap = facts_of(WAVE, {**NOBODY, "A8": GAP}, lane=lane(*ALL))
    assert evaluate_gate("integrationBarrier", gap).status_code == "wave-proof-gap"
    earlier = facts_of(WAVE, {**NOBODY, "A8": GAP}, lane=lane(*ALL), attempt=2, summaries={"A8": {"attempt": 1}})
    assert evaluate_gate("integrationBarrier", earlier).integration_state == "inferred"


STOPPING: list[dict[str, Any]] = [
    {"derived": derived(integration_summary={"recommendation": "ready-for-doc-closure", "openClaims": ["c"]})},
    {"derived": derived(integration_summary={"recommendation": "needs-more-work"})},
    {"derived": derived(clarification_barrier=Barrier(False, "clarification-open"))},
    {"derived": derived(dependency_snapshot={"openInbound": [{}]})},
    {"derived": derived(capability_assignments=[{"id": "a", "blocking": True}])},
    {"derived": derived(security_summary={"overallState": "blocked"})},
    {"contradictions": ({"contradictionId": "k", "status": "detected", "severity": "high"},)},
    {"corridor_config": {"enabled": True}},
]


@pytest.mark.parametrize("members", STOPPING)
def test_any_signal_forbids_inferred_integration(members: dict[str, Any]) -> None:
    gate = evaluate_gate("integrationGate", facts_of(WAVE, NOBODY, lane=lane(*ALL), **members))
    assert gate.status_code == "missing-result-envelope"


def test_a_waived_contradiction_is_settled() -> None:
    waived = ({"contradictionId": "k", "status": "waived", "severity": "blocking"},)
    facts = facts_of(WAVE, NOBODY, lane=lane(*ALL), contradictions=waived)
    assert evaluate_gate("integrationBarrier", facts).integration_state == "inferred"


def test_documentation_needs_a_docs_queue_that_was_computed() -> None:
    unknown = facts_of(WAVE, NOBODY, lane=lane(*ALL), derived=derived(docs_queue=None))
    assert not evaluate_gate("documentationGate", unknown).ok
    shared = derived(docs_queue={"items": [{"kind": "shared-plan"}]})
    assert not evaluate_gate("documentationGate", facts_of(WAVE, NOBODY, lane=lane(*ALL), derived=shared)).ok


def test_the_projected_matrix_closes_documentation() -> None:
    queue = derived(docs_queue={"items": [{"kind": "component-matrix"}]})
    facts = facts_of(MATRIX_WAVE, NOBODY, lane=lane(*ALL), derived=queue)
    assert evaluate_gate("documentationGate", facts).doc_closure_state == "auto-closed"
    assert not evaluate_gate("documentationGate", facts._replace(matrix=None)).ok


def test_an_empty_documentation_run_falls_back_only_where_allowed() -> None:
    queue = derived(docs_queue={"items": [{"kind": "component-matrix"}]})
    logs = {"A9": "nothing to say"}
    allowed = facts_of(MATRIX_WAVE, logs, lane=lane("allowAutoDocNoChange"), derived=queue)
    gate = evaluate_gate("documentationGate", allowed)
    assert gate.ok and (gate.status_code, gate.doc_closure_state) == ("fallback-auto-closed", "no-change")
    refused = evaluate_gate("documentationGate", facts_of(MATRIX_WAVE, logs, lane=lane(), derived=queue))
    assert refused.status_code == "missing-doc-closure-empty-run"


def test_cont_qa_is_only_skipped_when_no_other_steward_was_needed() -> None:
    assert evaluate_gate("contQaGate", facts_of(WAVE, NOBODY, lane=lane(*ALL))).cont_qa_state == "skipped"
    for members in ({"launched_stages": ("documentation",)}, {"lane": lane(*ALL, bootstrap=False)}):
        given: dict[str, Any] = {"lane": lane(*ALL), **members}
        assert not evaluate_gate("contQaGate", facts_of(WAVE, NOBODY, **given)).ok
    ran = facts_of(WAVE, {"A8": "-", "A0": "-"}, lane=lane(*ALL))
    assert not evaluate_gate("contQaGate", ran).ok


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "low-entropy"),
        ({"docs_queue": {"items": [{"kind": "shared-plan"}]}}, "semantic-docs"),
        ({"integration_summary": {"deployRisks": ["x"]}}, "semantic-integration"),
        ({"open_records": [{"kind": "human-feedback", "id": "h"}]}, "strict-full-closure"),
        ({"corridor_stops": True}, "strict-full-closure"),
    ],
)
def test_complexity(members: dict[str, Any], expected: str) -> None:
    given: dict[str, Any] = {"integration_summary": {}, "docs_queue": {"items": []}, **members}
    assert classify_closure_complexity(closure_signals(**given)) == expected
