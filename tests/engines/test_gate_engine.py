"""All gates over one set of facts: GATE 8 and the cases 42 to 54 of GATE 17."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gate_scenes import (
    CORE,
    DELTA,
    DESIGNER,
    EVALUATOR,
    GAP,
    GOOD,
    PROOF,
    REVIEWER,
    STEWARDS,
    agent,
    derived,
    facts_of,
    matrix,
    profile,
    wave_of,
    worker,
)

from wave_lib.definition.evals import BenchmarkCatalog
from wave_lib.engines.derived_state import Barrier
from wave_lib.engines.facts import WaveFacts
from wave_lib.engines.gate_engine import GATES, evaluate_gate, evaluate_gates, is_advisory, shared_component_waits
from wave_lib.engines.gate_results import GATE_LABELS, GATE_ORDER, SNAPSHOT_KEYS
from wave_lib.state.result_envelope import EnvelopeReading

STANDARD = wave_of(worker(), *STEWARDS)
BOOTSTRAP = profile(gateModeThresholds={"bootstrap": 0, "standard": 4, "strict": 10})
CATALOG = BenchmarkCatalog("c", 1, {"golden": {"benchmarks": {"smoke": {}}}}, {"smoke": "golden"}, {})


def overall(facts: WaveFacts) -> tuple[str, str, str | None]:
    end = evaluate_gates(facts).overall
    return end.gate, end.status_code, end.agent_id


def test_a_good_wave_passes_and_its_snapshot_is_json() -> None:
    everybody = wave_of(DESIGNER, worker(), EVALUATOR, REVIEWER, *STEWARDS)
    snapshot = evaluate_gates(facts_of(everybody, catalog=CATALOG))
    assert snapshot.overall.ok, snapshot.overall
    document = json.loads(json.dumps(snapshot.to_json()))
    assert list(document) == [*SNAPSHOT_KEYS, "gateMode", "advisoryFailures", "overall"]
    assert document["gateMode"] == "strict" and document["advisoryFailures"] == []
    assert document["overall"] == {
        "ok": True,
        "gate": "pass",
        "statusCode": "pass",
        "detail": "Every gate passed.",
        "agentId": None,
    }
    assert set(document["blockerBarrier"]) == {"ok", "statusCode", "detail"}


def test_the_tables_name_the_same_gates() -> None:
    assert list(GATES) == list(GATE_LABELS)
    assert set(GATES) == set(SNAPSHOT_KEYS) == {*GATE_ORDER, "integrationGate"}


BLOCKED: list[tuple[dict[str, str], dict[str, Any], tuple[str, str, str | None]]] = [
    ({"A1": GAP}, {}, ("implementationGate", "wave-proof-gap", "A1")),
    ({"A1": "-"}, {}, ("implementationGate", "missing-result-envelope", "A1")),
    ({"A8": f"{GOOD['A8']}\n{GAP}"}, {}, ("integrationBarrier", "wave-proof-gap", "A8")),
    ({"A8": ""}, {}, ("integrationBarrier", "missing-wave-integration", "A8")),
    ({"A9": "[wave-doc-closure] state=delta"}, {}, ("documentationGate", "doc-closure-open", "A9")),
    ({"A0": f"{GOOD['A0']}\n[wave-verdict] blocked"}, {}, ("contQaGate", "cont-qa-blocked", "A0")),
    ({}, {"matrix": None, "matrix_error": "no matrix"}, ("componentMatrixGate", "component-matrix-invalid", "A9")),
    ({}, {"bad_log_lines": ("log:3 is no JSON",)}, ("blockerBarrier", "coordination-log-corrupt", None)),
    (
        {},
        {"derived": derived(blocker_barrier=Barrier(False, "blocker-open", "b1"))},
        ("blockerBarrier", "blocker-open", None),
    ),
    (
        {},
        {"derived": derived(clarification_barrier=Barrier(False, "clarification-open", "c1"))},
        ("clarificationBarrier", "clarification-open", None),
    ),
    (
        {},
        {"derived": derived(dependency_barrier=Barrier(False, "dependency-open", "t1"))},
        ("dependencyBarrier", "dependency-open", None),
    ),
    ({}, {"derived": None}, ("integrationBarrier", "missing-integration-summary", "A8")),
    (
        {},
        {"derived": derived(integration_summary={"recommendation": "needs-more-work", "detail": "x"})},
        ("integrationBarrier", "integration-needs-more-work", "A8"),
    ),
    (
        {},
        {
            "contradictions": (
                {
                    "contradictionId": "k1",
                    "status": "detected",
                    "severity": "blocking",
                    "impactedGates": ["integrationBarrier"],
                },
            )
        },
        ("integrationBarrier", "integration-contradiction-open", "A8"),
    ),
    ({"A1": f"{GOOD['A1']}\n[deploy-status] service=a state=failed"}, {}, ("infraGate", "deploy-failed", "A1")),
    (
        {"A9": f"{GOOD['A9']}\n[infra-status] kind=identity target=x state=failed"},
        {},
        ("infraGate", "infra-failed", "A9"),
    ),
    (
        {},
        {"corridor_config": {"enabled": True}},
        ("securityGate", "corridor-fetch-failed", None),
    ),
    (
        {},
        {
            "corridor_config": {"enabled": True, "requiredAtClosure": False},
            "corridor": {"ok": True, "error": None, "blocking": True, "blockingFindings": [{}]},
        },
        ("securityGate", "corridor-blocked", None),
    ),
]


@pytest.mark.parametrize(("logs", "members", "expected"), BLOCKED, ids=[row[2][1] for row in BLOCKED])
def test_the_first_failing_gate_decides(
    logs: dict[str, str], members: dict[str, Any], expected: tuple[str, str, str | None]
) -> None:
    assert overall(facts_of(STANDARD, logs, **members)) == expected


@pytest.mark.parametrize(
    "logs",
    [
        {"A1": f"{GOOD['A1']}\n[infra-status] kind=dependency target=x state=setup-required"},
        {"A1": f"{GOOD['A1']}\n[deploy-status] service=a state=rolledover"},
        {"A0": GOOD["A0"].replace("live=pass", "live=gap")},
    ],
)
def test_what_passes_with_a_remark(logs: dict[str, str]) -> None:
    assert evaluate_gates(facts_of(STANDARD, logs)).overall.ok


def test_a_later_agent_may_report_the_repair() -> None:
    failed = "[deploy-status] service=a state=failed"
    logs = {"A1": f"{GOOD['A1']}\n{failed}", "A9": f"{GOOD['A9']}\n{failed.replace('failed', 'healthy')}"}
    assert evaluate_gates(facts_of(STANDARD, logs)).gates["infraGate"].ok
    swapped = {"A1": logs["A1"].replace("failed", "healthy"), "A9": logs["A9"].replace("healthy", "failed")}
    assert evaluate_gates(facts_of(STANDARD, swapped)).gates["infraGate"].agent_id == "A9"


@pytest.mark.parametrize(
    ("config", "artifact", "code", "pending"),
    [
        ({"enabled": True}, None, "corridor-fetch-failed", True),
        ({"enabled": True}, {"ok": False, "error": "down"}, "corridor-fetch-failed", False),
        ({"enabled": True}, {"ok": True, "error": "partial"}, "corridor-fetch-failed", False),
        ({"enabled": True, "requiredAtClosure": False}, {"ok": False, "error": "down"}, "pass", False),
        ({"enabled": True, "requiredAtClosure": False}, None, "pass", False),
        ({}, {"ok": True, "blocking": True}, "pass", False),
        ({"enabled": True}, {"ok": True, "error": None, "blocking": False}, "pass", False),
    ],
)
def test_corridor(config: dict[str, Any], artifact: dict[str, Any] | None, code: str, pending: bool) -> None:
    wave = wave_of(worker(), REVIEWER, *STEWARDS)
    gate = evaluate_gate("securityGate", facts_of(wave, corridor_config=config, corridor=artifact))
    assert (gate.status_code, gate.pending) == (code, pending)


def test_corridor_names_the_owners_of_what_it_blocks() -> None:
    finding = {"matchedOwnedPaths": ["src/"]}
    artifact = {"ok": True, "error": None, "blocking": True, "blockingFindings": [finding]}
    gate = evaluate_gate("securityGate", facts_of(STANDARD, corridor_config={"enabled": True}, corridor=artifact))
    assert gate.owner_agent_ids == ("A1",)


MALFORMED = GOOD["A1"].replace("state=met", "state=met,", 1)


def test_an_adjudicated_agent_does_not_hide_the_next_one() -> None:
    wave = wave_of(worker("A1"), worker("A2", components=(), component_targets={}), *STEWARDS)
    snapshot = evaluate_gates(facts_of(wave, {"A1": MALFORMED, "A2": DELTA}))
    gate = snapshot.gates["implementationGate"]
    assert (gate.agent_id, gate.status_code) == ("A2", "missing-wave-proof")


def test_adjudication_satisfies_contract_and_component() -> None:
    snapshot = evaluate_gates(facts_of(STANDARD, {"A1": f"{MALFORMED.replace(CORE, CORE + '.')}"}))
    gate = snapshot.gates["implementationGate"]
    assert gate.ok and gate.adjudicated and gate.adjudicated_agent_ids == ("A1",)
    assert snapshot.gates["componentGate"].ok and snapshot.overall.ok
    assert gate.to_json()["adjudicationStatus"] == "pass"


def blocker(target: str) -> dict[str, Any]:
    return {
        "id": "r1",
        "kind": "request",
        "wave": 0,
        "lane": "main",
        "agentId": "A9",
        "targets": [target],
        "status": "open",
        "priority": "normal",
        "blocking": True,
        "blockerSeverity": "closure-critical",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "source": "agent",
    }


def test_a_record_about_the_agent_leaves_adjudication_to_a_human() -> None:
    concerned = facts_of(STANDARD, {"A1": MALFORMED}, derived=derived((blocker("agent:A1"),)))
    assert overall(concerned)[1] == "awaiting-adjudication"
    other = facts_of(STANDARD, {"A1": MALFORMED}, derived=derived((blocker("agent:A8"),)))
    assert evaluate_gates(other).gates["implementationGate"].ok


def test_a_missing_file_makes_a_malformed_marker_final() -> None:
    wave = wave_of(worker(deliverables=("a.py",)), *STEWARDS)
    facts = facts_of(wave, {"A1": MALFORMED}, summaries={"A1": {"missing": ("a.py",)}})
    assert overall(facts)[1] == "invalid-wave-proof-format"


def test_a_plain_failure_outranks_one_that_awaits_adjudication() -> None:
    wave = wave_of(worker("A1"), worker("A2"), *STEWARDS)
    facts = facts_of(wave, {"A1": MALFORMED, "A2": GAP}, derived=derived((blocker("agent:A1"),)))
    assert overall(facts) == ("implementationGate", "wave-proof-gap", "A2")


def test_siblings_of_a_shared_component_are_waited_for() -> None:
    wave = wave_of(worker("A1"), worker("A2"), *STEWARDS)
    facts = facts_of(wave, {"A2": GAP})
    (gate,) = shared_component_waits(facts)
    assert gate == evaluate_gate("componentGate", facts)
    assert (gate.status_code, gate.agent_id, gate.component_id) == ("shared-component-sibling-pending", "A2", "core")
    assert (gate.owner_agent_ids, gate.satisfied_agent_ids) == (("A1", "A2"), ("A1",))
    assert (gate.waiting_on_agent_ids, gate.failed_own_contract_agent_ids) == (("A2",), ("A2",))
    inactive = profile(requireComponentPromotionsFromWave=None)
    assert shared_component_waits(facts_of(wave, {"A2": GAP}, lane=inactive))


@pytest.mark.parametrize(
    ("wave", "logs", "code"),
    [
        (wave_of(worker(), *STEWARDS, promotions={}), {}, "missing-component-promotions"),
        (wave_of(*STEWARDS, promotions={}), {}, "pass"),
        (wave_of(worker(), *STEWARDS, promotions={"else": "repo-landed"}), {}, "component-promotion-gap"),
        (wave_of(worker(), *STEWARDS, promotions={"core": "pilot-live"}), {}, "component-promotion-gap"),
        (STANDARD, {"A1": f"{PROOF}\n{DELTA}"}, "component-promotion-gap"),
        (STANDARD, {}, "pass"),
    ],
)
def test_component_promotions(wave: Any, logs: dict[str, str], code: str) -> None:
    assert evaluate_gate("componentGate", facts_of(wave, logs)).status_code == code


@pytest.mark.parametrize(
    ("level", "code"),
    [
        ("repo-landed", "pass"),
        ("pilot-live", "pass"),
        ("contract-frozen", "component-current-level-stale"),
        (None, "unknown-component"),
    ],
)
def test_component_matrix(level: str | None, code: str) -> None:
    shown = matrix(wave_of(promotions={"core": level} if level else {}))
    assert evaluate_gate("componentMatrixGate", facts_of(STANDARD, matrix=shown)).status_code == code


def test_cont_eval_that_implements_is_judged_in_its_own_stage() -> None:
    owner = worker("E0", owned_paths=("src/", "docs/reviews/eval.md"))
    wave = wave_of(owner, *STEWARDS)
    facts = facts_of(wave, {"E0": GOOD["E0"]}, catalog=CATALOG)
    assert evaluate_gate("implementationGate", facts, before_closure=True).ok
    assert evaluate_gate("componentGate", facts, before_closure=True).ok
    assert evaluate_gate("contEvalGate", facts).status_code == "missing-wave-proof"
    assert overall(facts)[:2] == ("implementationGate", "missing-wave-proof")
    whole = facts_of(wave, {"E0": f"{GOOD['E0']}\n{GOOD['A1']}"}, catalog=CATALOG)
    assert evaluate_gates(whole).overall.ok


def test_bootstrap_only_notes_what_is_missing() -> None:
    facts = facts_of(STANDARD, {"A0": "-", "A9": ""}, lane=BOOTSTRAP)
    snapshot = evaluate_gates(facts)
    assert snapshot.overall.ok and snapshot.gate_mode == "bootstrap"
    assert [key for key, _ in snapshot.advisory_failures] == ["documentationGate", "contQaGate"]
    assert "2 advisory" in snapshot.overall.detail
    assert snapshot.to_json()["advisoryFailures"][1] == {
        "gate": "contQaGate",
        "ok": False,
        "statusCode": "missing-result-envelope",
    }


@pytest.mark.parametrize(
    "logs",
    [
        {"A0": f"{GOOD['A0']}\n[wave-verdict] blocked"},
        {"A0": f"{GOOD['A0']}\n[wave-verdict] hold"},
        {"A0": GOOD["A0"].replace("docs=pass", "docs=blocked")},
        {"A9": "[wave-doc-closure] state=delta"},
        {"A8": GOOD["A8"].replace("blockers=0", "blockers=1")},
        {"A8": f"{GOOD['A8']}\n{GAP}"},
        {"A1": GAP},
    ],
)
def test_bootstrap_hears_an_explicit_no(logs: dict[str, str]) -> None:
    assert not evaluate_gates(facts_of(STANDARD, logs, lane=BOOTSTRAP)).overall.ok


def test_bootstrap_may_still_demand_the_verdict() -> None:
    strict = profile(
        gateModeThresholds={"bootstrap": 0, "standard": 4, "strict": 10},
        bootstrapPassConditions={"requireA0Verdict": True},
    )
    facts = facts_of(STANDARD, {"A0": "-"}, lane=strict)
    gate = evaluate_gate("contQaGate", facts)
    assert not is_advisory("contQaGate", gate, facts) and overall(facts)[0] == "contQaGate"


def test_an_assigned_helper_request_is_advisory_in_bootstrap_only() -> None:
    waiting = derived(helper_assignment_barrier=Barrier(False, "helper-assignment-open", "r1"))
    gate = evaluate_gate("helperAssignmentBarrier", facts_of(STANDARD, lane=BOOTSTRAP, derived=waiting))
    assert gate.ok and gate.status_code == "helper-assignment-open-advisory"
    assert not evaluate_gate("helperAssignmentBarrier", facts_of(STANDARD, derived=waiting)).ok
    unassigned = derived(helper_assignment_barrier=Barrier(False, "helper-assignment-unresolved", "r1"))
    assert not evaluate_gate("helperAssignmentBarrier", facts_of(STANDARD, lane=BOOTSTRAP, derived=unassigned)).ok


def test_an_invalid_envelope_blocks_with_its_errors() -> None:
    facts = facts_of(STANDARD)
    readings = {**facts.readings, "A0": EnvelopeReading("run-envelope", False, ("schemaVersion is 1",), envelope={})}
    gate = evaluate_gate("contQaGate", facts._replace(readings=readings))
    assert (gate.status_code, gate.detail) == ("invalid-result-envelope", "schemaVersion is 1")


def test_compat_mode_needs_no_envelope_and_names_a_missing_cont_qa() -> None:
    facts = facts_of(STANDARD, {"A0": "-"}, mode="compat")
    assert evaluate_gate("contQaGate", facts).status_code == "missing-cont-qa"
    alone = facts_of(wave_of(worker()))
    assert evaluate_gate("contQaGate", alone).status_code == "missing-cont-qa"


def test_a_required_integration_steward_may_not_be_missing() -> None:
    wave = wave_of(worker(), *STEWARDS[1:])
    assert evaluate_gate("integrationBarrier", facts_of(wave)).ok
    strict = profile(requireIntegrationStewardFromWave=0)
    assert evaluate_gate("integrationBarrier", facts_of(wave, lane=strict)).status_code == "missing-integration"


def test_a_custom_reviewer_is_no_implementation_agent() -> None:
    reviewer = agent("Z9", role_prompt_paths=("x/wave-security-role.md",), owned_paths=("docs/security.md",))
    wave = wave_of(worker(), reviewer, *STEWARDS)
    facts = facts_of(wave, {"Z9": ""})
    assert evaluate_gate("implementationGate", facts).ok
    assert evaluate_gate("securityGate", facts).status_code == "missing-wave-security"


def test_a_reviewers_gap_hides_no_other_reviewers_refusal() -> None:
    second = REVIEWER._replace(agent_id="S2", slug="0-s2", owned_paths=("docs/reviews/security-2.md",))
    wave = wave_of(worker(), REVIEWER, second, *STEWARDS)
    refusal = GOOD["S1"].replace("state=clear findings=0", "state=blocked findings=1")
    gap = f"{GOOD['S1']}\n{GAP}"
    both = evaluate_gate("securityGate", facts_of(wave, {"S1": gap, "S2": refusal}))
    assert (both.agent_id, both.status_code) == ("S2", "security-blocked")
    one = evaluate_gate("securityGate", facts_of(wave, {"S1": gap, "S2": GOOD["S1"]}))
    assert (one.agent_id, one.status_code) == ("S1", "wave-proof-gap")


@pytest.mark.parametrize(
    "agent_id, gate",
    [("S1", "securityGate"), ("A8", "integrationBarrier"), ("A9", "documentationGate"), ("A0", "contQaGate")],
)
def test_a_stewards_good_markers_do_not_undo_its_failed_process(agent_id: str, gate: str) -> None:
    wave = wave_of(worker(), REVIEWER, *STEWARDS)
    failed = evaluate_gate(gate, facts_of(wave, summaries={agent_id: {"exit_code": 7}}))
    assert (failed.ok, failed.agent_id, failed.status_code) == (False, agent_id, "nonzero-exit")
    assert evaluate_gate(gate, facts_of(wave)).ok
