"""Where a wave goes on. Spec: LAUNCH 11.6, 21 (cases 30, 48, 49)."""

from __future__ import annotations

import pytest
from retry_lab import NOW, profile, wave

from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.engines.resume_plan import build_resume_plan, parse_gap_id


def plan(gap_records=(), **state):
    of = wave()
    bindings = resolve_wave_role_bindings(of, profile().roles)
    return build_resume_plan({"lane": "main", "attempt": 3, **state}, of, bindings, now=NOW, gap_records=gap_records)


def failing(gate, code="x", agent_id="A1"):
    return {"overall": {"ok": False, "gate": gate, "statusCode": code, "detail": "d", "agentId": agent_id}}


PASSED = {"overall": {"ok": True, "gate": "pass", "statusCode": "pass", "detail": "", "agentId": None}}


@pytest.mark.parametrize(
    "gate, phase",
    [
        ("designGate", "design"),
        ("implementationGate", "implementation"),
        ("blockerBarrier", "implementation"),
        ("infraGate", "implementation"),
        ("contEvalGate", "cont-eval"),
        ("securityGate", "security-review"),
        ("integrationBarrier", "integrating"),
        ("documentationGate", "docs-closure"),
        ("componentMatrixGate", "docs-closure"),
        ("contQaGate", "cont-qa-closure"),
    ],
)
def test_phase_by_failing_gate(gate, phase):
    found = plan(gateSnapshot=failing(gate))
    assert (found["resumeFromPhase"], found["reason"], found["canResume"]) == (phase, "gate-failure", True)
    assert found["gateBlockers"] == [{"gate": gate, "statusCode": "x", "detail": "d", "agentId": "A1"}]


def test_everything_passes():
    found = plan(gateSnapshot=PASSED)
    assert (found["reason"], found["canResume"], found["resumeFromPhase"]) == ("all-gates-pass", False, "completed")
    assert found["gateBlockers"] == [] and found["deterministic"] is True and found["createdAt"] == NOW


def test_an_open_blocker_keeps_a_passing_snapshot_from_being_done():
    blocker = {"kind": "coordination-blocker", "id": "b", "blocking": True, "detail": "d"}
    assert plan(gateSnapshot=PASSED, openBlockers=[blocker])["canResume"] is True


def test_people_come_first():
    blocker = {"kind": "human-escalation", "id": "e", "blocking": True, "detail": "why?", "agentId": "A1"}
    found = plan(gateSnapshot=failing("implementationGate"), openBlockers=[blocker])
    assert found["reason"] == "human-request"
    assert found["humanInputBlockers"] == [{"taskId": "e", "title": "why?", "assigneeAgentId": "A1"}]
    quiet = plan(gateSnapshot=failing("implementationGate"), openBlockers=[{**blocker, "blocking": False}])
    assert quiet["reason"] == "gate-failure"


def test_reuse_and_bundles():
    bundles = [
        {"proofBundleId": "b3", "agentId": "A3", "state": "active"},
        {"proofBundleId": "b1", "agentId": "A1", "state": "active"},
        {"proofBundleId": "b2", "agentId": "A2", "state": "active"},
        {"proofBundleId": "b0", "agentId": "A1", "state": "superseded"},
    ]
    eligibility = {"pendingAgentIds": ["A2"], "ownedSliceProvenAgentIds": ["A3", "A1"], "proofBundles": bundles}
    found = plan(gateSnapshot=failing("implementationGate"), closureEligibility=eligibility)
    assert found["invalidatedAgentIds"] == ["A2"] and found["reusableAgentIds"] == ["A1", "A3"]
    assert found["reusableProofBundleIds"] == ["b1", "b3"]


def test_a_forwarded_gap_invalidates_everything_after_it():
    targets = {"targets": [{"agentId": "A7", "gate": "securityGate", "statusCode": "wave-proof-gap", "detail": "g"}]}
    eligibility = {"pendingAgentIds": [], "ownedSliceProvenAgentIds": ["A1", "A8"]}
    record = {"id": "wave-0-closure-gap-security-review-A7-attempt-2", "attempt": 2, "detail": "from the record"}
    found = plan(
        [record],
        gateSnapshot=failing("securityGate", "wave-proof-gap", "A7"),
        closureEligibility=eligibility,
        retryTargetSet=targets,
    )
    assert found["resumeFromPhase"] == "security-review"
    assert found["invalidatedAgentIds"] == ["A0", "A7", "A8", "A9"] and found["reusableAgentIds"] == ["A1"]
    assert found["forwardedClosureGaps"] == [
        {
            "stageKey": "security-review",
            "agentId": "A7",
            "attempt": 2,
            "detail": "from the record",
            "targets": ["A7"],
            "resolved": False,
        }
    ]


def test_gaps_come_earliest_stage_first():
    records = [
        {"id": "wave-0-closure-gap-documentation-A9-attempt-1", "attempt": 1},
        {"id": "wave-0-closure-gap-integration-A8-attempt-1", "attempt": 1},
        {"id": "some-other-blocker"},
    ]
    found = plan(records, gateSnapshot=failing("documentationGate"))
    assert [gap["stageKey"] for gap in found["forwardedClosureGaps"]] == ["integrating", "docs-closure"]
    assert found["resumeFromPhase"] == "integrating"


@pytest.mark.parametrize(
    "record_id, expected",
    [
        ("wave-0-closure-gap-security-review-A7-attempt-12", ("security-review", "A7", 12)),
        ("wave-0-closure-gap-cont-qa-A0-attempt-1", ("cont-qa-closure", "A0", 1)),
        ("wave-0-closure-gap-integration-x-1-attempt-3", ("integrating", "x-1", 3)),
        ("repair-wave-0-attempt-1-A1", None),
    ],
)
def test_gap_ids(record_id, expected):
    assert parse_gap_id(record_id, ["x-1"]) == expected


def test_executor_changes():
    targets = [
        {"agentId": "A1", "reason": "rate-limit"},
        {"agentId": "A2", "retriesExhausted": True},
        {"agentId": "A3"},
    ]
    found = plan(gateSnapshot=failing("implementationGate"), retryTargetSet=targets)
    assert [item["agentId"] for item in found["executorChanges"]] == ["A1", "A2"]
    assert found["executorChanges"][0]["suggestedFallback"] == "claude"
