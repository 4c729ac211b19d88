"""The reducer, task entities, human input, the snapshot. Spec: COORD 9, 12, 22, test cases 19, 20, 42-45, 49, 57."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from coordination_lab import AGENTS, NOW, at, bindings_of, inputs_of, rec, state_of, wave_of, workspace

from wave_lib.base.errors import StateError
from wave_lib.engines import human_input_workflow as human
from wave_lib.engines import task_entity
from wave_lib.engines.derived_state_engine import build_derived_state
from wave_lib.engines.facts import WaveFacts
from wave_lib.engines.gate_results import SNAPSHOT_KEYS, GateResult, GateSnapshot, Overall
from wave_lib.engines.task_snapshots import EdgeFacts, blocking_edge, build_task_snapshots, next_task_deadline
from wave_lib.engines.wave_signals import AgentFacts, SignalFacts, agent_decision, wave_decision
from wave_lib.engines.wave_state_reducer import ReducerInputs, reduce_wave_state
from wave_lib.projections.reducer_snapshot import compute_reducer_snapshot
from wave_lib.state.control_plane import materialize_events, normalize_event
from wave_lib.state.feedback_store import request_row


def gates(failing: str = "", code: str = "", agent: str | None = None) -> GateSnapshot:
    results = {key: GateResult(True) for key in SNAPSHOT_KEYS}
    if failing:
        results[failing] = GateResult(False, code, agent_id=agent)
    overall = Overall(not failing, failing or "pass", code or "pass", "", agent)
    return GateSnapshot(results, "strict", (), overall)


def reduce(tmp_path: Path, *records: dict[str, Any], snapshot: GateSnapshot, events: list[Any] | None = None,
           agents: tuple[Any, ...] = AGENTS[:2]) -> dict[str, Any]:
    paths, wave = workspace(tmp_path), wave_of(*agents)
    summaries = {agent.agent_id: {"agentId": agent.agent_id, "exitCode": 0} for agent in agents}
    inputs = inputs_of(paths, wave, *records, summaries=summaries, events=events or [])
    derived = build_derived_state(inputs)
    facts = WaveFacts(wave, bindings_of(wave, paths), paths.profile, "main", 1, summaries=summaries, derived=derived)
    return reduce_wave_state(ReducerInputs(facts, derived, inputs.control_plane, snapshot, [], NOW))


def test_nothing_known() -> None:
    state = reduce_wave_state(ReducerInputs())
    assert (state["reducerVersion"], state["wave"], state["lane"], state["phase"]) == (2, 0, "main", "running")
    assert state["tasks"] == [] and state["dependencySnapshot"] is None


def test_a_passing_wave_may_close_and_a_completed_one_is_closed(tmp_path: Path) -> None:
    state = reduce(tmp_path, snapshot=gates())
    assert {task["closureState"] for task in state["tasks"]} == {"wave_closure_ready"}
    assert state["closureEligibility"]["waveMayClose"] is True
    assert (state["phase"], state["waveState"]) == ("completed", "completed")
    completed = normalize_event({"lane": "main", "wave": 0, "entityType": "wave_run", "entityId": "wave-0",
                                 "action": "completed", "recordedAt": at(5)})
    closed = reduce(tmp_path, snapshot=gates(), events=[completed])
    assert closed["closureEligibility"]["allTasksClosed"] is True


def test_a_failed_gate_names_its_agent(tmp_path: Path) -> None:
    state = reduce(tmp_path, snapshot=gates("implementationGate", "missing-wave-proof", "A1"))
    assert state["retryTargetSet"]["agentIds"] == ["A1"]
    assert state["retryTargetSet"]["targets"][0]["statusCode"] == "missing-wave-proof"
    failure = next(item for item in state["openBlockers"] if item["kind"] == "gate-failure")
    assert (failure["id"], failure["blockerSeverity"]) == ("implementationGate", "proof-critical")


def test_an_open_question_does_not_undo_proven_work(tmp_path: Path) -> None:
    asked = rec(id="c", kind="clarification-request", agentId="A1", summary="What of src/two.js?")
    state = reduce(tmp_path, asked, snapshot=gates("clarificationBarrier", "clarification-open"))
    assert state["closureEligibility"]["ownedSliceProvenAgentIds"] == ["A1", "A2"]
    assert (state["phase"], state["waveState"]) == ("clarifying", "blocked")
    assert [task["taskType"] for task in state["tasks"]] == ["implementation", "implementation", "clarification"]


def test_reduction_is_deterministic_and_survives_the_disk(tmp_path: Path) -> None:
    contradiction = normalize_event({"lane": "main", "wave": 0, "entityType": "contradiction", "entityId": "x",
                                     "action": "reported", "recordedAt": at(1), "data": {}})
    asked = rec(id="c", kind="clarification-request", agentId="A1", summary="What of src/two.js?")
    states = [reduce(tmp_path, asked, snapshot=gates(), events=[contradiction]) for _ in range(2)]
    assert json.dumps(states[0]) == json.dumps(states[1])
    snapshot = compute_reducer_snapshot("main", 0, states[0], {"canResume": False}, {}, NOW)
    stored = json.loads(json.dumps(snapshot))
    assert stored["contradictions"]["x"]["severity"] == "blocking"
    assert stored["humanInputs"]["c"]["state"] == "pending"
    assert stored["shadowDiff"]["comparedSliceCount"] == 0 and stored["shadowDiff"]["matches"] is True


def test_closure_transitions() -> None:
    task = task_entity.normalize_task({"title": "x"})
    with pytest.raises(StateError, match="from open to closed"):
        task_entity.transition_closure_state(task, "closed")
    proven = task_entity.transition_closure_state(task, "owned_slice_proven")
    assert task_entity.transition_closure_state(proven, "open")["closureState"] == "open"
    with pytest.raises(StateError, match="must be an object"):
        task_entity.normalize_task(["x"])


def test_an_expired_lease_may_be_taken_over() -> None:
    task = task_entity.acquire_lease(task_entity.normalize_task({"title": "x"}), "A1", at(0), 60)
    with pytest.raises(StateError, match="already leased by A1"):
        task_entity.acquire_lease(task, "A2", at(0.5))
    assert task_entity.acquire_lease(task, "A2", at(1))["leaseOwnerAgentId"] == "A2"
    with pytest.raises(StateError, match="not leased"):
        task_entity.heartbeat_lease(task_entity.release_lease(task, at(1)), at(2))


def test_withdrawn_questions_block_nobody() -> None:
    state = state_of(rec(id="e", kind="human-escalation", status="superseded"), rec(id="f", kind="human-feedback"))
    requests = {item["requestId"]: item for item in human.build_human_input_requests(state, [])}
    assert (requests["e"]["state"], requests["e"]["resolution"]) == ("resolved", "superseded")
    assert human.is_blocking(requests["f"]) and not human.is_blocking(requests["e"])
    metrics = human.compute_human_input_metrics(requests.values(), at(10))
    assert (metrics["total"], metrics["blocking"], metrics["overdueCount"]) == (2, 1, 1)
    with pytest.raises(StateError, match=r'Invalid transition from "resolved" to "open"'):
        human.transition(requests["e"], "open", at(1))


# --- task snapshots, edge, signals ----------------------------------------------------------------------------------


def answered(request_id: str, **more: Any) -> dict[str, Any]:
    response = {"operator": "me", "text": "USE-PORT-4711 " + "y" * 300, "answeredAt": at(3)}
    raw = {"id": request_id, "agentId": "A1", "status": "answered", "response": response, "createdAt": at(0)}
    return request_row({**raw, **more})


def test_an_answered_question_is_resolved_in_full() -> None:
    tasks = build_task_snapshots(state_of(rec(id="f", kind="human-feedback")), [answered("f")], ["A1"], NOW)
    assert [(task["taskId"], task["state"]) for task in tasks] == [("f", "resolved")]
    assert len(tasks[0]["humanResponse"]) > 240


def test_the_next_deadline_is_that_of_blocking_work() -> None:
    advisory = rec(id="c", kind="clarification-request", blocking=False)
    state = state_of(advisory, rec(id="r", kind="request", createdAt=at(10)))
    tasks = build_task_snapshots(state, [], ["A1"], NOW)
    assert [task["taskId"] for task in tasks] == ["c", "r"]
    deadline = next_task_deadline(tasks)
    assert deadline is not None and (deadline["kind"], deadline["taskId"], deadline["at"]) == ("ack", "r", at(15))


def test_a_hard_blocker_comes_before_a_rerun() -> None:
    state = state_of(rec(id="b", kind="blocker", priority="high"), rec(id="s", kind="blocker"))
    tasks = build_task_snapshots(state, [], ["A1"], NOW)
    rerun = {"requestId": "r", "reason": None, "selectedAgentIds": ["A1"]}
    edge = blocking_edge(EdgeFacts(0, "blocked", tasks, state, [], None, rerun_request=rerun))
    assert edge is not None and (edge["kind"], edge["id"]) == ("blocker", "b")
    only_soft = [task for task in tasks if task["taskId"] == "s"]
    edge = blocking_edge(EdgeFacts(0, "running", only_soft, state, [], None, rerun_request=rerun))
    assert edge is not None and edge["kind"] == "rerun-request"
    assert blocking_edge(EdgeFacts(0, "completed", tasks, state, [], None)) is None


def signals(**more: Any) -> SignalFacts:
    base: dict[str, Any] = {"lane": "main", "wave": 0, "phase": "running", "attempt": 0, "launcher_active": False,
                            "edge": None, "tasks": [], "feedback": [], "agents": []}
    return SignalFacts(**{**base, **more})


def test_work_comes_before_a_fresh_answer() -> None:
    row = answered("f")
    assert wave_decision(signals(feedback=[row])).signal == "feedback-answered"
    assert wave_decision(signals(feedback=[row], attempt_started=at(4))).signal == "stable"
    tasks = build_task_snapshots(state_of(rec(id="r", kind="request", targets=["agent:A2"])), [row], ["A1", "A2"], NOW)
    assert wave_decision(signals(feedback=[row], tasks=tasks)).signal == "coordination-action"


@pytest.mark.parametrize(
    ("agent", "more", "signal"),
    [
        (AgentFacts("A1", "needs-rerun", selected_for_rerun=True, run_failed=True), {}, "resume-ready"),
        (AgentFacts("A1", "needs-rerun", run_failed=True), {}, "failed"),
        (AgentFacts("A1", "needs-rerun", run_failed=True), {"launcher_active": True}, "waiting"),
        (AgentFacts("A1", "planned"), {"phase": "timed_out"}, "failed"),
        (AgentFacts("A1", "planned"), {"phase": "completed"}, "completed"),
        (AgentFacts("A1", "planned"), {}, "stable"),
        (AgentFacts("A1", "working", in_attempt=True), {"attempt": 1}, "waiting"),
    ],
)
def test_agent_signals(agent: AgentFacts, more: dict[str, Any], signal: str) -> None:
    assert agent_decision(signals(**more), agent).signal == signal


def test_materialised_events_are_enough_for_the_attempt() -> None:
    event = normalize_event({"lane": "main", "wave": 0, "entityType": "attempt", "entityId": "wave-0-attempt-2",
                             "action": "running", "recordedAt": at(0), "data": {"attemptNumber": 2}})
    state = reduce_wave_state(ReducerInputs(control_plane=materialize_events([event])))
    assert state["attempt"] == 2
