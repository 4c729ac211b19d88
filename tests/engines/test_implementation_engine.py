"""Which agents a pass launches. Spec: LAUNCH 7.3, 7.5, 11.1, GATE 12, LAUNCH 21 (24-28, 43, 46)."""

from __future__ import annotations

from retry_lab import agent, design, design_summary, facts, promotes, security, summary, wave

from wave_lib.definition.wave_types import ProofArtifact
from wave_lib.engines.gate_results import GateResult
from wave_lib.engines.implementation_engine import (
    PlanFacts,
    plan_initial_attempt,
    plan_retry_attempt,
    resolve_post_design_pass_transition,
)
from wave_lib.engines.retry_engine import RetryFacts

DONE = {"code": 0, "promptHash": "h", "attempt": 1}


def plan(of, done=(), **more):
    """The initial plan when the agents in `done` have a good earlier result."""
    summaries = more.pop("summaries", {})
    results = {agent_id: summaries.get(agent_id) or summary(agent_id) for agent_id in done}
    statuses = more.pop("statuses", {agent_id: DONE for agent_id in done})
    hashes = {item.agent_id: "h" for item in of.agents}
    return plan_initial_attempt(PlanFacts(facts(of, results), statuses, hashes, **more))


def test_implementation_first_closure_by_the_sweep():
    found = plan(wave())
    assert (found.selected_agent_ids, found.source, found.closure_only) == (("A1",), "initial", False)
    assert found.pre_completed_agent_ids == () and found.because


def test_a_good_earlier_result_is_reused_and_closure_remains():
    found = plan(wave(), done=("A1", "A8"))
    assert found.pre_completed_agent_ids == ("A1",)
    assert found.selected_agent_ids == ("A7", "A8", "A9", "A0") and found.closure_only
    assert found.start_phase == "security-review"
    assert found.stale_completed_agent_ids == ("A8",)


def test_exit_zero_without_proof_is_not_reused():
    found = plan(wave(), done=("A1",), summaries={"A1": summary("A1", "gap")})
    assert found.selected_agent_ids == ("A1",) and found.stale_completed_agent_ids == ("A1",)


def test_another_prompt_is_not_reused_unless_it_is_preserved():
    drifted = {"A1": {**DONE, "promptHash": "other"}}
    assert plan(wave(), done=("A1",), statuses=drifted).pre_completed_agent_ids == ()
    request = {"resumeCursor": "documentation-nobody", "preserveReusableAgentIds": ["A1"]}
    assert plan(wave(), done=("A1",), statuses=drifted, override=request).pre_completed_agent_ids == ("A1",)
    legacy = {"A1": {"code": 0, "promptHash": None}}
    assert plan(wave(), done=("A1",), statuses=legacy).pre_completed_agent_ids == ()


def test_an_override_may_name_a_finished_agent():
    found = plan(wave(), done=("A1",), override={"selectedAgentIds": ["A1"]})
    assert (found.source, found.selected_agent_ids, found.pre_completed_agent_ids) == ("override", ("A1",), ())


def test_override_selectors():
    of = wave(agent("A1", components=("core",)), agent("A2"), agent("A0"))
    both = ("A1", "A2")
    # An override that selects only cont-QA leaves the reuse of the others to the selectors.
    base = {"selectedAgentIds": ["A0"]}

    def reused(**selectors):
        summaries = {"A1": summary("A1", components=[{"componentId": "core", "level": None, "state": "met"}])}
        return plan(of, done=both, summaries=summaries, override={**base, **selectors}).pre_completed_agent_ids

    assert reused() == both
    assert reused(clearReusableAgentIds=["A2"]) == ("A1",)
    assert reused(invalidateComponentIds=["core"]) == ("A2",)
    assert reused(reuseAttemptIds=["wave-0-attempt-9"]) == ()
    assert reused(reuseAttemptIds=["wave-0-attempt-1"]) == both
    assert reused(preserveReusableAgentIds=["A1"], clearReusableAgentIds=["A1"]) == ("A2",)


def test_an_unknown_agent_makes_the_override_void():
    found = plan(wave(), override={"selectedAgentIds": ["A77"]})
    assert found.source == "initial" and found.override.outcome == "unknown-agents"


def test_a_persisted_plan_is_followed_while_it_is_current():
    of = wave(agent("A1"), agent("A2"), agent("A0"))
    persisted = {"selectedAgentIds": ["A2"], "executorStates": {"A2": {"id": "claude"}, "A1": {"id": "x"}}}
    found = plan(of, relaunch_plan=persisted)
    assert (found.source, found.selected_agent_ids) == ("persisted-relaunch", ("A2",))
    assert found.executor_states == {"A2": {"id": "claude"}}
    waiting = GateResult(False, "shared-component-sibling-pending", waiting_on_agent_ids=("A1",))
    moved = plan(of, relaunch_plan=persisted, component_gate=waiting)
    assert (moved.source, moved.should_clear_persisted_plan) == ("initial", True)
    same = waiting._replace(waiting_on_agent_ids=("A2",))
    assert plan(of, relaunch_plan=persisted, component_gate=same).source == "persisted-relaunch"


def test_a_reentered_attempt_stays_on_the_executors_that_its_plan_moved_agents_to():
    persisted = {"selectedAgentIds": ["A2"], "executorStates": {"A2": {"id": "claude"}}}
    of = wave(agent("A1"), agent("A2"), agent("A0"))
    found = plan(of, reentered_agent_ids=("A2",), relaunch_plan=persisted)
    assert found.source == "re-entered" and found.executor_states == {"A2": {"id": "claude"}}


def test_a_reentered_attempt_keeps_its_selection():
    found = plan(wave(), reentered_agent_ids=("A9", "A0"), override={"selectedAgentIds": ["A1"]})
    assert (found.source, found.selected_agent_ids, found.closure_only) == ("re-entered", ("A9", "A0"), True)
    assert found.start_phase == "docs-closure"


def test_design_comes_first_and_is_reused():
    of = wave(design(), agent("A1"), agent("A0"))
    assert plan(of).selected_agent_ids == ("D1",)
    ready = plan(of, done=("D1",), summaries={"D1": design_summary()})
    assert (ready.pre_completed_agent_ids, ready.selected_agent_ids) == (("D1",), ("A1",))
    unclear = plan(of, done=("D1",), summaries={"D1": design_summary(state="needs-clarification")})
    assert unclear.selected_agent_ids == ("D1",)


def test_a_hybrid_designer_with_a_design_pass_goes_on_to_implement():
    of = wave(design(hybrid=True)._replace(exit_contract=agent("A1").exit_contract), agent("A1"), agent("A0"))
    without_proof = {**design_summary(), "proof": None}
    found = plan(of, done=("D1",), summaries={"D1": without_proof})
    assert found.selected_agent_ids == ("D1", "A1")


def test_proof_centric_agents_wait_for_barriers():
    live = agent("A1", proof_artifacts=(ProofArtifact("p.json"),))
    good = summary("A1", proofArtifacts=[{"path": "p.json", "exists": True}])
    of = wave(live, agent("A0"))
    assert plan(of, done=("A1",), summaries={"A1": good}).pre_completed_agent_ids == ("A1",)
    assert plan(of, done=("A1",), summaries={"A1": good}, barriers_open=True).pre_completed_agent_ids == ()
    assert plan(wave(), done=("A1",), barriers_open=True).pre_completed_agent_ids == ("A1",)
    promoted = wave(component_promotions=promotes(level="pilot-live"))
    assert plan(promoted, done=("A1",), barriers_open=True).pre_completed_agent_ids == ()


def test_security_reviewers_are_never_reused():
    found = plan(wave(agent("A1"), security(), agent("A0")), done=("A1", "A7"))
    assert found.pre_completed_agent_ids == ("A1",)


# --- after a design pass --------------------------------------------------------------------------------------------


def transition(of, gate, current, done=(), **more):
    return resolve_post_design_pass_transition(facts(of), gate, current, done, **more)


def test_the_design_is_handed_over():
    of = wave(design(), agent("A1"), agent("A0"))
    found = transition(of, GateResult(True), ("D1",))
    assert (found.step, found.next_agent_ids) == ("continue-implementation", ("A1",))
    assert transition(of, GateResult(True), ("D1",), ("A1",)).step == "no-op"
    assert transition(of, GateResult(True), ("A1",)).step == "no-op"
    assert transition(of, GateResult(True), ("D1", "A1")).step == "no-op"


def test_a_hybrid_designer_runs_once_more_and_not_for_ever():
    of = wave(design(hybrid=True), agent("A0"))
    assert transition(of, GateResult(True), ("D1",)).next_agent_ids == ("D1",)
    assert transition(of, GateResult(True), ("D1",), after_design=True).step == "no-op"


def test_a_design_that_is_not_ready_blocks():
    of = wave(design(), agent("A1"), agent("A0"))
    gate = GateResult(False, "design-needs-clarification", "why", "D1", "d.log")
    found = transition(of, gate, ("D1",))
    assert found.step == "blocked" and found.failure == {
        "agentId": "D1",
        "statusCode": "design-needs-clarification",
        "logPath": "d.log",
        "detail": "why",
    }


# --- retry ----------------------------------------------------------------------------------------------------------


def test_a_valid_override_lifts_a_barrier():
    given = facts(wave())
    blocked = RetryFacts(
        given.wave, given.bindings, given.profile, 2, dependencies={"unresolvedInboundAssignments": [{"id": "d"}]}
    )
    assert plan_retry_attempt(blocked).launches is False
    found = plan_retry_attempt(blocked, {"selectedAgentIds": ["A9"]})
    assert (found.source, found.selected_agent_ids, found.start_phase) == ("override", ("A9",), "docs-closure")
    assert found.launches and plan_retry_attempt(blocked, {"selectedAgentIds": ["A77"]}).launches is False
