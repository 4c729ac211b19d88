"""Answering a question and carrying the answer to everything that waits for it.

Holds: the coordination log's lock from the reading to the append.
Writes: the feedback request, `coordination/wave-<n>.jsonl`, the triage log, control-plane events, mirrors.
When killed: the answer is on file first; the next refresh of derived state settles the question's record from it.
Spec: COORD 12.2.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.files import append_jsonl
from ..base.timestamps import now_iso
from ..engines.human_input_resolution import answer_records, auto_resume_request
from ..state.control_plane import append_event, event_of, read_control_plane, sync_mirrors, update_events
from ..state.coordination_store import update_log
from ..state.feedback_store import answer_request
from ..state.retry_state import clear_relaunch_plan, new_request_id
from .derived_state import NO_FACTS, refresh_derived_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .derived_state import DerivedContext, DerivedFacts

    JsonObject = dict[str, Any]


def answer_human_input_and_reconcile(
    context: DerivedContext,
    request_id: str,
    answer: str,
    *,
    operator: str = "human-operator",
    disposition: str = "answered",
    force: bool = False,
    attempt_is_live: bool = False,
    resume_plan: Callable[[], Mapping[str, Any] | None] | None = None,
    facts: DerivedFacts = NO_FACTS,
) -> JsonObject:
    """Answer or dismiss a request; returns its document. StateError as `feedback_store.answer_request`.

    `resume_plan` computes the plan from disk; it is asked only when the wave ran before, nothing is live
    (`attempt_is_live`), and no rerun request is active. `facts` are what the agents left.
    """
    paths = context.paths
    document = answer_request(paths, request_id, answer, operator=operator, disposition=disposition, force=force)
    reconcile_answer(
        context,
        request_id,
        answer,
        operator=operator,
        disposition=disposition,
        attempt_is_live=attempt_is_live,
        resume_plan=resume_plan,
        facts=facts,
    )
    return document


def reconcile_answer(
    context: DerivedContext,
    answered_id: str,
    answer: str,
    *,
    operator: str = "human-operator",
    disposition: str = "answered",
    attempt_is_live: bool = False,
    resume_plan: Callable[[], Mapping[str, Any] | None] | None = None,
    facts: DerivedFacts = NO_FACTS,
) -> None:
    """Carry an answer to every record that waits for it; `answered_id` is a request's, or a record's without one."""
    paths, number = context.paths, context.wave.wave
    appended = update_log(
        paths.coordination_log(number),
        lambda state: answer_records(state, answered_id, answer, operator, disposition, now_iso()),
    )
    triage = paths.triage_log(number)
    escalations = [record for record in appended if record["kind"] == "human-escalation"]
    if escalations and os.path.exists(triage):
        append_jsonl(triage, escalations)
    state = "dismissed" if disposition == "dismissed" else "answered"
    settled = {
        "humanInputId": answered_id,
        "requestId": answered_id,
        "state": state,
        "operator": operator,
        "response": answer,
    }
    append_event(paths, number, "human_input", answered_id, state, settled, source="feedback", actor=operator)
    refresh_derived_state(context, facts)
    if state == "answered" and resume_plan is not None and not attempt_is_live:
        _resume(context, answered_id, operator, resume_plan)
    sync_mirrors(paths, number)


def _resume(
    context: DerivedContext, request_id: str, operator: str, resume_plan: Callable[[], Mapping[str, Any] | None]
) -> None:
    """Ask for a rerun when the wave ran before, nothing else is asked for, and there is something to resume."""
    paths, number = context.paths, context.wave.wave
    control = read_control_plane(paths, number)
    if control.last_wave_run is None or control.active_rerun_request is not None:
        return
    data = auto_resume_request(resume_plan(), request_id, operator)
    if data is None:
        return
    clear_relaunch_plan(paths, number)
    rerun_id = new_request_id(number, now_iso())
    event = event_of(
        "rerun_request", rerun_id, "requested", {**data, "requestId": rerun_id}, source="feedback", actor=operator
    )
    update_events(paths, number, lambda now: [] if now.active_rerun_request else [event])
