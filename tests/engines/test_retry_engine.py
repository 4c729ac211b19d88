"""What runs again and why. Spec: LAUNCH 11, 21 (cases 22, 23, 36-41, 45)."""

from __future__ import annotations

import pytest
from retry_lab import NOW, agent, design, profile, security, wave

from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.engines import retry_engine
from wave_lib.engines.executor_fallback import resolve_fallbacks
from wave_lib.engines.phases import RESUME_PHASES, agents_of_phase, phase_of_gate
from wave_lib.engines.rerun_override import effective_selection, resolve_override
from wave_lib.engines.retry_engine import RetryFacts, annotate_failure, failure_class, resolve_relaunch
from wave_lib.state.coordination_records import normalize_record


def failure(agent_id="A1", code="127", **more):
    return annotate_failure({"agentId": agent_id, "statusCode": code, "logPath": "x.log", "detail": None, **more})


def record(kind, **more):
    return normalize_record({"id": f"r-{kind}", "kind": kind, "wave": 0, "lane": "main", "agentId": "A8", **more}, NOW)


def facts(of=None, **more):
    of = of or wave(agent("A1"), agent("A2"), security(), agent("A8"), agent("A9"), agent("A0"))
    lane = more.pop("profile", None) or profile()
    return RetryFacts(of, resolve_wave_role_bindings(of, lane.roles), lane, 2, **more)


# --- classes and recovery -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, expected",
    [
        ("7", "runtime"),
        ("timeout-no-status", "runtime"),
        ("missing-status", "runtime"),
        ("runtime-failed-before-status", "runtime"),
        ("shared-component-sibling-pending", "sibling"),
        ("awaiting-adjudication", "adjudication"),
        ("wave-proof-gap", "semantic"),
        ("doc-closure-open", "semantic"),
    ],
)
def test_failure_classes(code, expected):
    assert failure_class(code) == expected


@pytest.mark.parametrize(
    "code, summary, exit_reason, because",
    [
        ("timeout-no-status", {}, None, "timeout-no-status"),
        ("missing-status", {}, None, "missing-status"),
        ("1", {"terminationReason": "max-turns"}, None, "max-turns"),
        ("71", {}, "spawn-failed:EAGAIN", "spawn-failed"),
        ("1", {}, "rate-limit-exhausted", "rate-limit"),
        ("1", {"terminationHint": "429 Too Many Requests"}, None, "rate-limit"),
        ("1", {"terminationReason": "exit-code"}, None, None),
        ("127", {}, None, None),
        # A test that timed out inside an agent that reported a gap is no reason to try again by itself (case 23).
        ("wave-proof-gap", {"terminationReason": "timeout", "terminationHint": "rate limit"}, None, None),
    ],
)
def test_recoverable_failures(code, summary, exit_reason, because):
    found = annotate_failure(
        {"agentId": "A1", "statusCode": code, "logPath": None, "detail": None}, summary, exit_reason
    )
    assert (found["recoverable"], found["recoveryReason"]) == (because is not None, because)


# --- executor fallback ----------------------------------------------------------------------------------------------


def executor(executor_id="codex", fallbacks=("claude",), **more):
    history = [{"attempt": 0, "executorId": executor_id, "reason": "initial"}]
    return {
        "id": executor_id,
        "initialExecutorId": executor_id,
        "model": None,
        "selectedBy": "cli-default",
        "fallbacks": list(fallbacks),
        "retryPolicy": "fallback-allowed",
        "allowFallbackOnRetry": True,
        "fallbackUsed": False,
        "fallbackReason": None,
        "executorHistory": history,
        **more,
    }


def fallback(state, available, mix=None, others=()):
    states = {"A1": state, **{f"B{index}": {"id": other} for index, other in enumerate(others)}}
    return resolve_fallbacks({"A1": "127"}, states, {"A1": available}, profile(mix=mix or {}), 2)[0]


def test_fallback_is_applied_within_the_mix():
    outcome = fallback(executor(), {"claude"}, {"claude": 1})
    assert outcome.status_code == "fallback-applied" and not outcome.blocking
    state = outcome.state
    assert (state["id"], state["model"], state["selectedBy"]) == ("claude", "opus", "retry-fallback")
    assert (state["fallbackUsed"], state["fallbackReason"]) == (True, "retry:127")
    assert state["initialExecutorId"] == "codex"
    assert state["executorHistory"][-1] == {"attempt": 2, "executorId": "claude", "reason": "retry:127"}
    assert list(state) == list(executor())  # key order is hashed


@pytest.mark.parametrize(
    "state, available, mix, others, code",
    [
        (executor(), set(), {"claude": 0}, (), "retry-fallback-blocked"),
        (executor(), {"codex", "claude"}, {"claude": 0}, (), "fallback-unavailable"),
        (executor(), {"codex", "claude"}, {"claude": 1}, ("claude",), "fallback-unavailable"),
        (executor(retryPolicy="sticky"), {"codex", "claude"}, {}, (), "no-fallback-configured"),
        (executor(allowFallbackOnRetry=False), {"codex", "claude"}, {}, (), "no-fallback-configured"),
        (executor(fallbacks=()), set(), {}, (), "no-fallback-configured"),
        (None, {"claude"}, {}, (), "no-executor-state"),
    ],
)
def test_when_no_fallback_is_applied(state, available, mix, others, code):
    outcome = fallback(state, available, mix, others)
    assert outcome.status_code == code and outcome.state is None
    assert outcome.blocking is (code == "retry-fallback-blocked")


def test_an_executor_is_never_tried_twice():
    first = fallback(executor(fallbacks=("claude", "opencode")), {"claude", "opencode"}).state
    second = fallback(first, {"claude", "opencode"}).state
    assert second["id"] == "opencode"
    assert fallback(second, {"claude", "opencode", "codex"}).state is None


def test_two_agents_share_one_place_in_the_mix():
    states = {"A1": executor(), "A2": executor()}
    everywhere = {"A1": {"codex", "claude"}, "A2": {"codex", "claude"}}
    found = resolve_fallbacks({"A1": "1", "A2": "1"}, states, everywhere, profile(mix={"claude": 1}), 2)
    assert [item.status_code for item in found] == ["fallback-applied", "fallback-unavailable"]


def test_a_semantic_failure_keeps_its_executor():
    given = facts(
        failures=[failure("A9", "doc-closure-open")], executors={"A9": executor()}, available={"A9": {"claude"}}
    )
    assert resolve_relaunch(given).executor_states == {}


# --- relaunch rules, in order ---------------------------------------------------------------------------------------


def test_nothing_known_relaunches_the_failed_agents():
    found = resolve_relaunch(facts(failures=[failure("A2", "1")]))
    assert (found.cause, found.selected_agent_ids, found.barrier) == ("failed-agents", ("A2",), None)


@pytest.mark.parametrize("blocking, launches", [(True, False), (False, True)])
def test_a_blocking_escalation_stops_the_wave(blocking, launches):
    given = facts(failures=[failure()], records=[record("human-escalation", blocking=blocking)])
    found = resolve_relaunch(given)
    assert found.launches is launches and found.barrier is None


def test_a_blocked_fallback_is_a_barrier():
    given = facts(failures=[failure()], executors={"A1": executor()}, available={"A1": set()})
    found = resolve_relaunch(given)
    assert found.barrier.status_code == "retry-fallback-blocked" and not found.launches
    assert found.barrier.failures[0]["agentId"] == "A1" and found.barrier.failures[0]["logPath"] == "x.log"


def test_clarification_linked_requests_come_first():
    linked = record("request", id="q", targets=["agent:A2"], closureCondition="clarification:c")
    found = resolve_relaunch(facts(failures=[failure("A1", "1")], records=[linked]))
    assert (found.cause, found.selected_agent_ids) == ("clarification", ("A2",))


def test_a_rule_without_an_agent_of_the_wave_is_skipped():
    linked = record("request", id="q", targets=["agent:ZZ"], closureCondition="clarification:c")
    assert resolve_relaunch(facts(failures=[failure("A1", "1")], records=[linked])).cause == "failed-agents"


def test_helper_assignments_relaunch_their_assignees_or_are_a_barrier():
    assigned = {"requestId": "q1", "blocking": True, "assignedAgentId": "A2"}
    unassigned = {"requestId": "q2", "blocking": True, "assignedAgentId": None, "summary": "help"}
    assert resolve_relaunch(facts(failures=[failure()], assignments=[assigned])).selected_agent_ids == ("A2",)
    found = resolve_relaunch(facts(failures=[failure()], assignments=[assigned, unassigned]))
    assert found.barrier.status_code == "helper-assignment-unresolved" and "q2" in found.barrier.detail
    settled = {**unassigned, "blocking": False}
    assert resolve_relaunch(facts(failures=[failure()], assignments=[settled])).cause == "failed-agents"


def test_dependencies():
    unresolved = {"unresolvedInboundAssignments": [{"id": "dep-1", "summary": "s"}]}
    assert resolve_relaunch(facts(dependencies=unresolved)).barrier.status_code == "dependency-assignment-unresolved"
    inbound = {"openInbound": [{"id": "dep-1", "assignedAgentId": "A2"}]}
    assert resolve_relaunch(facts(failures=[failure()], dependencies=inbound)).selected_agent_ids == ("A2",)


def test_blockers_relaunch_author_and_targets_but_forwarded_gaps_do_not():
    blocker = record("blocker", priority="high", agentId="A1", targets=["agent:A2"])
    assert resolve_relaunch(facts(records=[blocker])).selected_agent_ids == ("A1", "A2")
    gap = record("blocker", id="wave-0-closure-gap-security-review-A7-attempt-1", priority="high", agentId="A7")
    assert resolve_relaunch(facts(records=[gap])).cause == "none"


def test_siblings_and_corridor_owners():
    sibling = failure("A2", "shared-component-sibling-pending", waitingOnAgentIds=["A2"], satisfiedAgentIds=["A1"])
    assert resolve_relaunch(facts(failures=[sibling])).selected_agent_ids == ("A2",)
    corridor = failure(None, "corridor-blocked", ownerAgentIds=["A1"])
    assert resolve_relaunch(facts(failures=[corridor])).selected_agent_ids == ("A1",)


@pytest.mark.parametrize(
    "phase, selected, start",
    [
        ("docs-closure", ("A9",), "docs-closure"),
        ("security-review", ("A7",), "security-review"),
        ("cont-qa-closure", ("A0",), "cont-qa-closure"),
        ("implementation", ("A1",), None),
    ],
)
def test_the_resume_plan_names_the_phase(phase, selected, start):
    plan = {"canResume": True, "reason": "gate-failure", "resumeFromPhase": phase, "invalidatedAgentIds": ["A1", "A9"]}
    found = resolve_relaunch(facts(failures=[failure("A9", "x")], resume_plan=plan))
    assert (found.cause, found.selected_agent_ids, found.start_phase) == ("resume-plan", selected, start)


def test_a_corridor_stop_resumes_at_security_with_nobody():
    plan = {"canResume": True, "reason": "gate-failure", "resumeFromPhase": "security-review"}
    found = resolve_relaunch(facts(wave(agent("A1"), agent("A0")), resume_plan=plan))
    assert (found.selected_agent_ids, found.start_phase, found.launches) == ((), "security-review", True)


def test_a_mixed_selection_loses_its_closure_agents():
    found = resolve_relaunch(facts(failures=[failure("A1", "1"), failure("A9", "1")]))
    assert found.selected_agent_ids == ("A1",)


# --- sibling continuation -------------------------------------------------------------------------------------------


def test_sibling_continuation_once_per_set():
    sibling = failure("A2", "shared-component-sibling-pending", waitingOnAgentIds=["A2", "A3"])
    of = wave(agent("A1"), agent("A2"), agent("A3"), agent("A0"))
    resolution = resolve_relaunch(facts(of, failures=[sibling]))
    continued = retry_engine.sibling_continuation
    assert continued([sibling], ("A1",), set(), resolution) == ("A2", "A3")
    assert continued([sibling], ("A2",), set(), resolution) == ()
    assert continued([sibling], ("A1",), {frozenset(("A2", "A3"))}, resolution) == ()
    assert continued([sibling, failure("A1", "1")], ("A1",), set(), resolution) == ()


# --- records of a queued pass ---------------------------------------------------------------------------------------


def test_relaunch_plan_buckets_and_repair_records():
    plan = {"canResume": True, "reason": "gate-failure", "resumeFromPhase": "docs-closure", "reusableAgentIds": ["A1"]}
    given = facts(failures=[failure("A9", "doc-closure-open")], resume_plan=plan, executors={"A9": executor()})
    document = retry_engine.build_relaunch_plan(given, ("A9",), {"A9": executor()}, phase="docs-closure", now=NOW)
    assert document["reasonBuckets"] == {
        "clarification": False,
        "helperAssignment": False,
        "dependency": False,
        "blocker": False,
        "closureGate": True,
        "sharedComponentSiblingWait": False,
    }
    assert (document["attempt"], document["selectedAgentIds"], document["reusableAgentIds"]) == (2, ["A9"], ["A1"])
    assert document["executorStates"]["A9"]["id"] == "codex"
    (repair,) = retry_engine.repair_records(given, ("A9",), "main")
    assert repair["id"] == "repair-wave-0-attempt-2-A9"
    assert (repair["blocking"], repair["blockerSeverity"], repair["targets"]) == (False, "soft", ["agent:A9"])
    assert "doc-closure-open" in repair["summary"] and "docs-closure" in repair["detail"]


def test_recovery_request_keeps_closure_out():
    failures = [failure("A1", "timeout-no-status"), failure("A9", "missing-status")]
    given = facts(failures=failures, resume_plan={"resumeFromPhase": "implementation", "reusableAgentIds": ["A2"]})
    request = retry_engine.recovery_request(given, resolve_relaunch(given))
    assert request["selectedAgentIds"] == ["A1"]
    assert request["clearReusableAgentIds"] == ["A1", "A9"]
    assert request["preserveReusableAgentIds"] == ["A2"]
    assert request["requestedBy"] == "launcher-recovery" and "A1:timeout-no-status" in request["reason"]


# --- rerun requests and phases --------------------------------------------------------------------------------------


def test_phase_implementation_leaves_closure_and_docs_only_design_out():
    of = wave(agent("A1"), agent("A2"), design(), security("S1"), agent("A8"), agent("A9"), agent("A0"))
    given = facts(of)
    assert effective_selection({"resumePhase": "implementation"}, of, given.bindings) == ("A1", "A2")
    assert effective_selection({"selectedAgentIds": ["A2", "A1"]}, of, given.bindings) == ("A2", "A1")
    assert agents_of_phase("design", of, given.bindings) == ("D1",)
    assert {phase_of_gate(gate) for gate in ("contEvalGate", "infraGate", "componentMatrixGate", "nonsense")} == {
        "cont-eval",
        "implementation",
        "docs-closure",
    }
    assert len(RESUME_PHASES) == 7


@pytest.mark.parametrize(
    "request_, outcome, selected",
    [
        (None, "none", ()),
        ({"selectedAgentIds": ["A1", "A77"]}, "unknown-agents", ()),
        ({"selectedAgentIds": ["A9", "A8"]}, "valid", ("A8", "A9")),
        ({"selectedAgentIds": ["A1", "A0"]}, "valid", ("A1",)),
        ({"resumeCursor": "design"}, "selects-nobody", ()),
        ({"resumeCursor": "cont-qa-closure"}, "valid", ("A0",)),
        ({}, "selects-nobody", ()),
    ],
)
def test_override_resolution(request_, outcome, selected):
    given = facts()
    found = resolve_override(request_, given.wave, given.bindings)
    assert (found.outcome, found.selected_agent_ids) == (outcome, selected)
    assert found.because or outcome == "none"
