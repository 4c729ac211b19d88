"""An answer reaches everything that waits for it. Spec: COORD 12.2, test case 35."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from coordination_lab import bindings_of, wave_of, workspace

from wave_lib.runtime.derived_state import DerivedContext, refresh_derived_state
from wave_lib.runtime.human_input_resolution import Surroundings, answer_human_input_and_reconcile
from wave_lib.state.control_plane import append_event, read_control_plane
from wave_lib.state.coordination_store import append_record, read_record_file, read_state
from wave_lib.state.feedback_store import Answer, read_wave_requests

PLAN = {"canResume": True, "reason": "gate-failure", "resumeFromPhase": "implementation", "invalidatedAgentIds": ["A1"]}


def escalated(tmp_path: Path) -> tuple[DerivedContext, str]:
    """A clarification that went to a person."""
    paths, wave = workspace(tmp_path), wave_of()
    context = DerivedContext(paths, wave, bindings_of(wave, paths))
    append_record(paths, 0, {"id": "c", "kind": "clarification-request", "agentId": "A1", "summary": "Blue or red?"})
    derived = refresh_derived_state(context)
    return context, derived.appends.feedback[0]["id"]


@pytest.mark.parametrize(("disposition", "status"), [("answered", "resolved"), ("dismissed", "cancelled")])
def test_the_whole_chain_is_settled(tmp_path: Path, disposition: str, status: str) -> None:
    context, request_id = escalated(tmp_path)
    answer_human_input_and_reconcile(context, request_id, Answer("blue", disposition=disposition))
    state = read_state(context.paths, 0)
    chain = ("c", request_id, f"escalation-{request_id}")
    assert [state.by_id[record_id]["status"] for record_id in chain] == [status] * 3
    assert "blue" in state.by_id["c"]["detail"]
    assert read_wave_requests(context.paths, 0, ["A1"]).rows[0]["disposition"] == disposition
    assert read_record_file(context.paths.triage_log(0)).records[-1]["status"] == status
    derived = refresh_derived_state(context)
    assert derived.appends.nothing and derived.clarification_barrier.ok


@pytest.mark.parametrize(
    ("ran", "live", "plan", "selected"),
    [
        (False, False, PLAN, None),
        (True, True, PLAN, None),
        (True, False, {**PLAN, "invalidatedAgentIds": []}, None),
        (True, False, {**PLAN, "canResume": False}, None),
        (True, False, PLAN, ["A1"]),
        (True, False, {**PLAN, "resumeFromPhase": "integrating"}, []),
    ],
)
def test_a_rerun_is_asked_for_only_where_work_waits(
    tmp_path: Path, ran: bool, live: bool, plan: dict[str, Any], selected: list[str] | None
) -> None:
    context, request_id = escalated(tmp_path)
    if ran:
        append_event(context.paths, 0, "wave_run", "wave-0", "failed", {})
    around = Surroundings(attempt_is_live=live, resume_plan=lambda: plan)
    answer_human_input_and_reconcile(context, request_id, Answer("blue"), around)
    request = read_control_plane(context.paths, 0).active_rerun_request
    assert (request and request["selectedAgentIds"]) == selected


def test_a_question_that_a_decision_settled_is_told_as_answered(tmp_path: Path) -> None:
    """Every path that closes a request writes its event. Spec: COORD 7.2, 14."""
    context, request_id = escalated(tmp_path)
    said = {"kind": "decision", "agentId": "A2", "source": "agent", "summary": "Blue or red", "detail": "Blue."}
    append_record(context.paths, 0, said)
    refresh_derived_state(context)
    assert read_wave_requests(context.paths, 0, ["A1"]).rows[0]["disposition"] == "resolved"
    told = read_control_plane(context.paths, 0).human_inputs[request_id]
    assert (told["state"], told["operator"], told["response"]) == ("answered", "launcher", "Blue.")
