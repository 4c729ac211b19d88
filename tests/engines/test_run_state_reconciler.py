"""Analysis and decision of the reconciler. Spec: CFG 17.4, 17.5."""

from __future__ import annotations

import pytest
from retry_lab import agent, design, design_summary, facts, summary, wave

from wave_lib.engines.run_state_reconciler import (
    Analysis,
    BlockedWave,
    CompletionFacts,
    PreservedWave,
    Reason,
    ReconcileResult,
    analyze_wave_completion,
    decide,
)
from wave_lib.projections.reconcile_format import reconcile_lines, wave_list

OK = {"code": 0}
EVIDENCE = {
    "waveFileHash": "w",
    "statusFiles": [{"agentId": "A1", "sha256": "s", "completedAt": "1"}],
    "summaryFiles": [{"agentId": "A1", "sha256": "m"}],
    "coordinationLogSha256": "c",
    "assignmentsSha256": "a",
    "dependencySnapshotSha256": "d",
}


def entry(state="completed", source="live-launcher", evidence=None):
    return {
        "currentState": state,
        "lastSource": source,
        "lastReasonCode": "wave-complete",
        "lastEvidence": EVIDENCE if evidence is None else evidence,
    }


def analyze(of, summaries=None, statuses=None, fingerprints=None, prior=None):
    statuses = statuses if statuses is not None else {item.agent_id: OK for item in of.agents}
    fingerprints = fingerprints or {agent_id: "match" for agent_id in statuses}
    given = facts(of, summaries or {}, mode="compat")
    return analyze_wave_completion(CompletionFacts(given, statuses, fingerprints, prior))


ONE = wave(agent("A1"))
GOOD = {"A1": summary("A1")}


def codes(analysis):
    return [reason.code for reason in analysis.reasons]


def test_a_complete_wave():
    assert analyze(ONE, GOOD).ok


def test_a_wave_nobody_ran():
    found = analyze(ONE, statuses={})
    assert (found.ok, codes(found), found.missing_agent_ids, found.has_status) == (
        False,
        ["missing-status"],
        ("A1",),
        False,
    )


@pytest.mark.parametrize(
    "change, code",
    [
        ({"statuses": {"A1": {"code": 7}}}, "nonzero-status"),
        ({"fingerprints": {"A1": "missing"}}, "prompt-hash-missing"),
        ({"fingerprints": {"A1": "mismatch"}}, "prompt-hash-mismatch"),
        ({"summaries": {"A1": summary("A1", "gap")}}, "invalid-implementation-summary"),
        ({"summaries": {}}, "invalid-implementation-summary"),
    ],
)
def test_what_keeps_an_agent_from_counting(change, code):
    assert codes(analyze(ONE, **{"summaries": GOOD, **change})) == [code]


@pytest.mark.parametrize(
    "agent_id, code",
    [
        ("A0", "invalid-cont-qa-summary"),
        ("E0", "invalid-cont-eval-summary"),
        ("A8", "invalid-integration-summary"),
        ("A9", "invalid-documentation-summary"),
    ],
)
def test_every_closure_role_is_checked(agent_id, code):
    found = analyze(wave(agent(agent_id)), {agent_id: summary(agent_id)})
    assert codes(found) == [code] and found.reasons[0].detail.startswith(f"{agent_id}: ")


def test_design_packets_are_checked_too():
    of = wave(design())
    assert analyze(of, {"D1": design_summary()}).ok
    assert codes(analyze(of, {"D1": design_summary(state="blocked")})) == ["invalid-design-summary"]
    hybrid = wave(design(hybrid=True)._replace(exit_contract=agent("A1").exit_contract))
    unproven = {"D1": {**design_summary(), "proof": None}}
    assert codes(analyze(hybrid, unproven)) == ["invalid-implementation-summary"]


def test_agents_whose_stage_was_not_needed_may_be_missing():
    of = wave(agent("A1"), agent("A9"))
    statuses = {"A1": OK}
    assert codes(analyze(of, GOOD, statuses)) == ["missing-status"]
    prior = entry(evidence={**EVIDENCE, "notRequiredAgentIds": ["A9"]})
    assert analyze(of, GOOD, statuses, prior=prior).ok
    drifted = entry(
        "completed_with_drift", evidence={"preservedCompletion": {"previousEvidence": prior["lastEvidence"]}}
    )
    assert analyze(of, GOOD, statuses, prior=drifted).ok


# --- decision -------------------------------------------------------------------------------------------------------


def analysis(*reason_codes, has_status=True, missing=()):
    reasons = tuple(Reason(code, f"why {code}") for code in reason_codes)
    return Analysis(0, not reasons, reasons, tuple(missing), has_status)


CHANGED = {**EVIDENCE, "coordinationLogSha256": "other"}


@pytest.mark.parametrize(
    "found, prior, evidence, rule, to_state",
    [
        (analysis(), entry(), EVIDENCE, "R1", None),
        (analysis(), None, EVIDENCE, "R2", "completed"),
        (analysis(), entry("blocked"), EVIDENCE, "R2", "completed"),
        (analysis(), entry("completed_with_drift"), EVIDENCE, "R2", "completed"),
        (analysis(), entry(source="legacy-run-state"), EVIDENCE, "R2", "completed"),
        (analysis("prompt-hash-mismatch"), entry(), CHANGED, "R3", "completed_with_drift"),
        (analysis("missing-status", has_status=False), entry(), CHANGED, "R4", "completed_with_drift"),
        (analysis("missing-status"), entry(), CHANGED, "R7", "blocked"),
        (analysis("invalid-security-summary"), entry(), EVIDENCE, "R5", None),
        (analysis("open-clarification"), entry(), CHANGED, "R7", "blocked"),
        (analysis("prompt-hash-mismatch"), entry(source="legacy-run-state"), EVIDENCE, "R7", "blocked"),
        (analysis("missing-status", has_status=False), None, EVIDENCE, "R6", None),
        (analysis("missing-status"), None, EVIDENCE, "R7", "blocked"),
        (analysis("missing-status", "open-clarification", has_status=False), None, EVIDENCE, "R7", "blocked"),
    ],
)
def test_decision_table(found, prior, evidence, rule, to_state):
    decision = decide(found, prior, evidence)
    assert (decision.rule, decision.to_state) == (rule, to_state)


def test_blocked_carries_its_reasons():
    decision = decide(analysis("nonzero-status", "open-clarification"), None, EVIDENCE)
    assert decision.reason_code == "nonzero-status"
    assert decision.detail == "why nonzero-status; why open-clarification"
    assert [item["code"] for item in decision.evidence["blockedReasons"]] == ["nonzero-status", "open-clarification"]


def test_deleted_caches_change_nothing():
    without_caches = {**EVIDENCE, "assignmentsSha256": None, "dependencySnapshotSha256": None, "summaryFiles": []}
    assert decide(analysis("invalid-security-summary"), entry(), without_caches).rule == "R5"
    other = {**EVIDENCE, "summaryFiles": [{"agentId": "A1", "sha256": "x"}]}
    assert decide(analysis("invalid-security-summary"), entry(), other).rule == "R7"


def test_preserved_completions_nest_once():
    drift = analysis("prompt-hash-mismatch")
    first = decide(drift, entry(), CHANGED)
    preserved = first.evidence["preservedCompletion"]
    assert preserved["previousEvidence"] == EVIDENCE and preserved["preservedFromState"] == "completed"
    again = decide(
        drift, entry("completed_with_drift", "status-reconcile", first.evidence), {**CHANGED, "waveFileHash": "z"}
    )
    assert again.rule == "R3"
    assert again.evidence["preservedCompletion"]["previousEvidence"] == EVIDENCE
    assert again.evidence["preservedCompletion"]["preservedFromSource"] == "live-launcher"


def test_not_required_agents_are_carried_on():
    prior = entry("completed_with_drift", evidence={**EVIDENCE, "notRequiredAgentIds": ["A9"]})
    assert decide(analysis(), prior, EVIDENCE).evidence["notRequiredAgentIds"] == ["A9"]
    assert decide(analysis("prompt-hash-missing"), prior, CHANGED).evidence["notRequiredAgentIds"] == ["A9"]


# --- report ---------------------------------------------------------------------------------------------------------


def test_report_lines():
    result = ReconcileResult(
        (0, 2),
        (2,),
        (BlockedWave(3, (Reason("nonzero-status", "A1  exited\nwith 7"), Reason("x", "y" * 300)), None),),
        (PreservedWave(0, (), "completed"),),
        {"completedWaves": [0, 2]},
    )
    lines = reconcile_lines(result)
    assert lines[0] == "[reconcile] added from status files: 2"
    assert lines[1].startswith("[reconcile] wave 3 not reconstructable: nonzero-status=A1 exited with 7; x=yyy")
    assert lines[1].endswith("…") and len(lines[1]) < 350
    assert lines[2] == "[reconcile] wave 0 preserved as completed: unknown reason"
    assert lines[3] == "[reconcile] completed waves now: 0, 2"
    assert wave_list([]) == "none"
