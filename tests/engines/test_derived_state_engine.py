"""Metrics, routing, triage, summaries, ledger and the engine over all of them. Spec: COORD 6, 13-20, cases 15-40."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coordination_lab import (
    AGENTS,
    NOW,
    READY,
    at,
    bindings_of,
    inputs_of,
    rec,
    state_of,
    summary_of,
    wave_of,
    workspace,
)

from wave_lib.definition.wave_types import ComponentPromotion
from wave_lib.engines.coordination_metrics import age_label, coordination_response_metrics
from wave_lib.engines.derived_state import DerivedState
from wave_lib.engines.derived_state_engine import build_derived_state
from wave_lib.engines.docs_queue import build_docs_queue
from wave_lib.engines.routing_state import build_request_assignments, has_token, resolve_target
from wave_lib.state.coordination_store import materialize
from wave_lib.state.feedback_store import request_row


def derive(tmp_path: Path, *records: dict[str, Any], **more: Any) -> DerivedState:
    wave = more.pop("wave", wave_of())
    return build_derived_state(inputs_of(workspace(tmp_path), wave, *records, **more))


def appended(derived: DerivedState, record_id: str) -> dict[str, Any]:
    return derived.coordination_state.by_id[record_id]


# --- metrics --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [True, False])
def test_overdue_chain(blocking: bool) -> None:
    state = state_of(
        rec(id="c", kind="clarification-request", status="in_progress", blocking=blocking),
        rec(id="r", kind="request", source="launcher", closureCondition="clarification:c", createdAt=at(0.5),
            blocking=blocking),
    )
    metrics = coordination_response_metrics(state, at(12), 300_000, 600_000)
    assert metrics["overdueAckRecordIds"] == (["r"] if blocking else [])
    assert metrics["overdueClarificationIds"] == (["c"] if blocking else [])
    assert metrics["oldestUnackedRequestAgeMs"] == (690_000 if blocking else None)


def test_age_labels() -> None:
    ages = (None, 59_000, 60_000, 3_600_000, 7_500_000)
    assert [age_label(age) for age in ages] == ["n/a", "59s", "1m", "1h 0m", "2h 5m"]


# --- routing --------------------------------------------------------------------------------------------------------


def test_capability_goes_to_the_least_busy_then_to_experience() -> None:
    tasks = [{"owner": "A1", "state": "planned"}] * 2 + [{"owner": "A2", "state": "planned"}]
    ledger: dict[str, Any] = {"tasks": tasks}
    assert resolve_target("capability:runtime", AGENTS, ledger, {})[:3:2] == ("A2", "least-busy-capability")
    done = {"assignedAgentId": "A2", "capability": "runtime", "state": "resolved"}
    found = resolve_target("capability:RUNTIME", AGENTS, {"tasks": tasks[:2], "capabilityAssignments": [done]}, {})
    assert (found.agent_id, found.reason) == ("A2", "same-wave-capability-owner")
    routing = {"preferredAgents": {"runtime": ["A1"]}}
    assert resolve_target("capability:runtime", AGENTS, ledger, routing).reason == "preferred-agent"
    assert resolve_target("capability:runtime", AGENTS, ledger, routing, asker="A1").agent_id == "A2"


@pytest.mark.parametrize(
    ("target", "agent", "reason"),
    [
        ("", None, "empty-target"),
        ("agent:A1", "A1", "explicit-agent"),
        ("agent:Z1", None, "missing-agent"),
        ("A9", "A9", "exact-agent-id"),
        ("capability:none", None, "missing-capability-owner"),
        ("team:x", None, "unsupported-target"),
    ],
)
def test_targets(target: str, agent: str | None, reason: str) -> None:
    found = resolve_target(target, AGENTS, None, {})
    assert (found.agent_id, found.reason) == (agent, reason)


def test_policy_settles_whole_assignments_only() -> None:
    request = rec(id="req-1", kind="request", targets=["agent:A1", "agent:A2"])

    def open_targets(policy: dict[str, Any]) -> list[str]:
        rows = build_request_assignments(state_of(request, rec(kind="resolved-by-policy", **policy)), AGENTS, None, {})
        return [row["target"] for row in rows if row["blocking"]]

    assert open_targets({"dependsOn": ["req-1"]}) == ["agent:A1", "agent:A2"]
    assert open_targets({"dependsOn": ["assignment:req-1:agent:a1"]}) == ["agent:A2"]
    assert not has_token("about req-10", "req-1") and has_token("about req-1.", "req-1")


def test_barriers_of_assignments(tmp_path: Path) -> None:
    unowned = derive(tmp_path, rec(id="r", kind="request", targets=["capability:none"]))
    assert unowned.helper_assignment_barrier.status_code == "helper-assignment-unresolved"
    untargeted = derive(tmp_path, rec(id="r", kind="request"))
    assert untargeted.capability_assignments[0]["assignedAgentId"] == "A8"
    assert untargeted.helper_assignment_barrier.status_code == "helper-assignment-open"
    advisory = derive(tmp_path, rec(id="r", kind="request", targets=["agent:A2"], blocking=False))
    assert advisory.helper_assignment_barrier.ok
    record = appended(unowned, "assignment:r:capability:none")
    assert (record["status"], record["targets"]) == ("open", [])


def test_a_vanished_assignment_is_superseded(tmp_path: Path) -> None:
    first = derive(tmp_path, rec(id="r", kind="request", targets=["agent:A2"]))
    rerouted = rec(id="r", kind="request", targets=["agent:A9"])
    second = derive(tmp_path, *first.coordination_state.records, rerouted)
    assert appended(second, "assignment:r:agent:a2")["status"] == "superseded"
    assert appended(second, "assignment:r:agent:a9")["status"] == "open"


# --- triage ---------------------------------------------------------------------------------------------------------


def question(**more: Any) -> dict[str, Any]:
    raw = {"id": "c", "kind": "clarification-request", "agentId": "A9", "summary": "What of src/one.js?"}
    return rec(**{**raw, **more})


def test_a_question_about_an_owned_path_goes_to_its_owner(tmp_path: Path) -> None:
    derived = derive(tmp_path, question())
    assert appended(derived, "route-c-1")["targets"] == ["agent:A1"]
    assert appended(derived, "c")["status"] == "in_progress"
    assert not derived.appends.feedback
    assert derived.clarification_barrier.status_code == "clarification-open"
    assert derived.ledger["phase"] == "clarifying"
    again = derive(tmp_path, *derived.coordination_state.records)
    assert again.appends.nothing


def test_a_question_that_only_its_asker_could_answer_goes_to_a_person(tmp_path: Path) -> None:
    derived = derive(tmp_path, question(agentId="A1"))
    asked = derived.appends.feedback
    assert [(item["agentId"], item["question"]) for item in asked] == [("A1", "What of src/one.js?")]
    escalation = appended(derived, f"escalation-{asked[0]['id']}")
    assert (escalation["kind"], escalation["closureCondition"]) == ("human-escalation", "clarification:c")
    assert appended(derived, asked[0]["id"])["kind"] == "human-feedback"


def test_decisions_answer_only_what_they_speak_of(tmp_path: Path) -> None:
    unrelated = rec(id="d", kind="decision", agentId="A2", summary="Use tabs everywhere")
    assert appended(derive(tmp_path, unrelated, question()), "c")["status"] == "in_progress"
    about = rec(id="d", kind="decision", agentId="A1", summary="x", detail="It returns 7", artifactRefs=["src/one.js"])
    derived = derive(tmp_path, about, question(artifactRefs=["src/one.js"]))
    assert (appended(derived, "c")["status"], appended(derived, "c")["detail"]) == ("resolved", "It returns 7")
    assert "triage-c-policy" in [record["id"] for record in derived.appends.triage]
    assert appended(derived, "triage-c-policy")["targets"] == ["agent:A9"]


def test_a_silent_owner_is_asked_once_more_and_then_a_person_exactly_once(tmp_path: Path) -> None:
    records = derive(tmp_path, question(), now=at(0)).coordination_state.records
    feedback: list[dict[str, Any]] = []
    for minute in (6, 12, 13, 14, 45, 46):
        derived = derive(tmp_path, *records, now=at(minute), feedback=feedback)
        records = derived.coordination_state.records
        for item in derived.appends.feedback:
            document = {**item, "status": "pending", "createdAt": at(minute), "updatedAt": at(minute)}
            feedback.append(request_row(document))
    state = materialize(records)
    assert state.by_id["route-c-1"]["status"] == "superseded"
    assert state.by_id["route-c-2"]["status"] == "open"
    assert len(feedback) == 1
    assert len([record for record in state.open if record["kind"] == "human-escalation"]) == 1


def test_an_answered_route_resolves_the_question_after_an_operator_touched_it(tmp_path: Path) -> None:
    records = derive(tmp_path, question()).coordination_state.records
    touched = {**materialize(records).by_id["c"], "status": "in_progress", "updatedAt": at(30)}
    answer = {**materialize(records).by_id["route-c-1"], "status": "resolved", "detail": "Seven", "updatedAt": at(31)}
    derived = derive(tmp_path, *records, touched, answer, now=at(20))
    assert appended(derived, "c")["status"] == "resolved"
    assert "Seven" in appended(derived, "c")["detail"]
    assert not [item for item in derive(tmp_path, *derived.coordination_state.records, now=at(21)).appends.records
                if item["id"] == "c"]


# --- summaries, ledger ----------------------------------------------------------------------------------------------


def test_docs_queue_of_shared_plan_docs(tmp_path: Path) -> None:
    wave = wave_of()
    summaries = {"A1": summary_of("A1", docDelta={"state": "shared-plan", "paths": []})}
    bindings = bindings_of(wave, workspace(tmp_path))
    queue = build_docs_queue(wave, bindings, "main", ["a.md", "b.md"], summaries, [], NOW)
    assert [item["id"] for item in queue["items"]] == ["A1:shared:a.md", "A1:shared:b.md"]
    assert {item["ownerAgentId"] for item in queue["items"]} == {"A9"}
    assert queue["releaseNotesRequired"] is True and queue["wave"] == 0


def test_a_ready_steward_does_not_outvote_an_open_blocker(tmp_path: Path) -> None:
    summaries = {"A8": summary_of("A8", integration=READY)}
    blocker = rec(id="b", kind="blocker", priority="urgent", summary="do not ship")
    derived = derive(tmp_path, blocker, summaries=summaries)
    assert derived.integration_summary["recommendation"] == "needs-more-work"
    assert "b" in derived.integration_summary["detail"]
    assert derived.blocker_barrier.status_code == "blocker-open"
    assert derived.ledger["phase"] == "blocked"
    forwarded = derive(tmp_path, blocker, summaries=summaries, ignored_gap_record_ids=frozenset(["b"]))
    assert forwarded.integration_summary["recommendation"] == "ready-for-doc-closure"
    assert forwarded.integration_summary["unresolvedBlockers"] == []


def test_a_ready_steward_accepts_the_gaps(tmp_path: Path) -> None:
    gap = summary_of("A1", gaps=[{"kind": "durability", "detail": "later"}, {"kind": "docs", "detail": "words"}])
    inferred = derive(tmp_path, summaries={"A1": gap}).integration_summary
    assert (inferred["recommendation"], len(inferred["proofGaps"])) == ("needs-more-work", 1)
    accepted = derive(tmp_path, summaries={"A1": gap, "A8": summary_of("A8", integration=READY)}).integration_summary
    assert accepted["recommendation"] == "ready-for-doc-closure"
    assert accepted["proofGaps"] == accepted["docGaps"] == []
    counted = {**READY, "state": "needs-more-work", "blockers": 2}
    listed = derive(tmp_path, summaries={"A8": summary_of("A8", integration=counted)}).integration_summary
    assert len(listed["unresolvedBlockers"]) == 2


def test_seeds_and_plan_docs_change_no_interface(tmp_path: Path) -> None:
    derived = derive(tmp_path, rec(id="x", kind="claim", summary="the api is new"))
    assert derived.integration_summary["changedInterfaces"] == ["x: the api is new"]
    assert derive(tmp_path).integration_summary["changedInterfaces"] == []


def test_corridor_counts_without_a_reviewer(tmp_path: Path) -> None:
    finding = {"severity": "high", "affectedFile": "src/one.js", "title": "injection"}
    artifact = {"ok": True, "blocking": True, "blockingFindings": [finding], "matchedFindings": [finding],
                "requiredAtClosure": True, "fetchedAt": NOW}
    derived = derive(tmp_path, corridor=artifact, corridor_config={"enabled": True})
    assert derived.security_summary["overallState"] == "blocked"
    assert derived.integration_summary["corridorState"] == "blocked"
    assert derived.integration_summary["securityFindings"] == ["corridor: high src/one.js: injection"]
    pending = derive(tmp_path, corridor_config={"enabled": True})
    assert pending.security_summary["overallState"] == "pending"
    assert derive(tmp_path).security_summary["overallState"] == "not-applicable"


def test_a_design_steward_may_review_for_security_too(tmp_path: Path) -> None:
    both = AGENTS[0]._replace(agent_id="D1", capabilities=("design", "security-review"))
    derived = derive(tmp_path, wave=wave_of(both, *AGENTS[1:]))
    assert [(item["agentId"], item["state"]) for item in derived.security_summary["agents"]] == [("D1", "pending")]


def test_component_tasks_need_the_level(tmp_path: Path) -> None:
    agent = AGENTS[0]._replace(components=("core",), component_targets={"core": "repo-landed"})
    wave = wave_of(agent, *AGENTS[1:], promotions=(ComponentPromotion("core", "repo-landed"),))
    for level, state in (("repo-landed", "done"), ("inventoried", "blocked")):
        reported = summary_of("A1", components=[{"componentId": "core", "state": "met", "level": level}])
        tasks = derive(tmp_path, wave=wave, summaries={"A1": reported}).ledger["tasks"]
        assert next(task["state"] for task in tasks if task["id"] == "component:core") == state


def test_unreadable_lines_fail_closed(tmp_path: Path) -> None:
    assert derive(tmp_path, bad_lines=["x"]).blocker_barrier.status_code == "coordination-log-corrupt"


def test_agents_that_never_ran_are_planned(tmp_path: Path) -> None:
    tasks = derive(tmp_path).ledger["tasks"]
    assert {task["state"] for task in tasks if task["kind"] == "implementation"} == {"planned"}
