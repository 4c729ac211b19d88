"""Answering a question and carrying the answer to everything that waits for it.

Holds:       the coordination log's lock from the reading to the append.
Writes:      the feedback request, `coordination/wave-<n>.jsonl`, the triage log, events, their mirrors, signals.
When killed: the answer is on file first; the next refresh of derived state settles the question's record from it.

Spec: COORD 12.2, 25.4 (`answer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import StateError
from ..base.timestamps import now_iso
from ..engines.human_input_resolution import answer_records, auto_resume_request, what_was_said
from ..engines.task_actions import question_of
from ..state.control_plane import event_of, read_control_plane, sync_mirrors, update_events
from ..state.coordination_records import is_open
from ..state.coordination_store import update_log
from ..state.feedback_store import Answer, read_request, read_wave_requests, token
from ..state.retry_state import clear_relaunch_plan, new_request_id
from .derived_state import NO_FACTS, refresh_derived_state
from .human_questions import answer_human, note_answer
from .operator_actions import mirror_escalations, settle
from .wave_scene import derived_context, derived_facts, launcher_is_active, reading_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..definition.lane_paths import LanePaths
    from .derived_state import DerivedContext, DerivedFacts
    from .wave_scene import WaveScene

    JsonObject = dict[str, Any]


class Surroundings(NamedTuple):
    """What an answer meets: the `facts` that agents left, whether an attempt is live, and how the wave would go on.

    `resume_plan` computes that plan from disk; it is asked only when the wave ran before, nothing is live and no rerun
    request is active.
    """

    facts: DerivedFacts = NO_FACTS
    attempt_is_live: bool = False
    resume_plan: Callable[[], Mapping[str, Any] | None] | None = None


NOTHING_AROUND = Surroundings()


def answer_question(scene: WaveScene, target_id: str, answer: Answer) -> JsonObject:
    """Answer (or dismiss) a question, named by itself or by a record; returns the request, or else the record.

    A record without a question is resolved with the text. StateError when nothing has this id. Spec: COORD 25.4.
    """
    context = derived_context(scene)
    around = Surroundings(
        derived_facts(reading_context(scene, context)),
        launcher_is_active(scene.paths),
        lambda: compute_resume_plan(scene, context),
    )
    log = context.log.refresh()
    questions = {row["id"] for row in read_wave_requests(scene.paths, scene.number, scene.agent_ids).rows}
    record = log.by_id.get(target_id)
    question = target_id if target_id in questions or record is None else question_of(record, log, questions)
    if question is not None:
        document = answer_human_input_and_reconcile(context, question, answer, around)
    elif record is None or not is_open(record):
        raise StateError(f"Record is closed already: {target_id}", remedy="`wave control task list` shows what is open")
    else:
        note_answer(scene.paths, scene.number, target_id, answer, "feedback")
        _reconcile(context, target_id, answer, around)
        document = context.log.refresh().by_id[target_id]
    settle(scene, context)
    return document


def answer_human_input_and_reconcile(
    context: DerivedContext, request_id: str, answer: Answer, around: Surroundings = NOTHING_AROUND
) -> JsonObject:
    """Answer or dismiss a request and settle what waits for it; returns its document. StateError as `answer_human`."""
    replaced = _said_before(context.paths, request_id) if answer.force else ""
    document = answer_human(context.paths, context.wave.wave, request_id, answer, "feedback")
    _reconcile(context, request_id, answer, around, replaced)
    return document


def _said_before(paths: LanePaths, request_id: str) -> str:
    """What the answer that is on file left in the records that it closed; empty when there is none."""
    response = (read_request(paths.feedback_request(token(request_id))) or {}).get("response")
    if not isinstance(response, dict):
        return ""
    return what_was_said(*(str(response.get(key) or "") for key in ("text", "operator", "disposition")))


def _reconcile(
    context: DerivedContext, answered_id: str, answer: Answer, around: Surroundings, replaced: str = ""
) -> None:
    """Carry an answer to every record that waits for it, and to those that say what it replaces."""
    paths, number = context.paths, context.wave.wave
    said = answer.text, answer.operator, answer.disposition
    appended = update_log(
        paths.coordination_log(number),
        lambda state: answer_records(state, answered_id, *said, now_iso(), replaced),
    )
    mirror_escalations(paths, number, appended)
    refresh_derived_state(context, around.facts)
    if answer.disposition != "dismissed" and around.resume_plan is not None and not around.attempt_is_live:
        _resume(context, answered_id, answer.operator, around.resume_plan)
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


def compute_resume_plan(scene: WaveScene, logs: DerivedContext) -> JsonObject | None:
    """The resume plan as the facts on disk have it now; `logs` are those of the wave. Spec: LAUNCH 11.6."""
    from ..engines.gate_engine import evaluate_gates
    from .derived_state import preview_derived_state
    from .fact_collection import collect_wave_facts
    from .reduced_state import reduce

    context = reading_context(scene, logs)
    context.derived = preview_derived_state(logs, derived_facts(context))
    facts = collect_wave_facts(context)
    plan = reduce(context, facts, evaluate_gates(facts)).get("resumePlan")
    return plan if isinstance(plan, dict) else None
