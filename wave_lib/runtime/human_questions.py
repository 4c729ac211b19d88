"""Asking a person and closing the question again: the request file, then the event that tells of it.

Holds:       nothing; the feedback queue's lock while a request is written.
Writes:      `feedback/requests/<id>.json`, `human_input` events in `control-plane/wave-<n>.jsonl`.
When killed: the request is on file and its event may be missing; whoever waits for an answer reads the file.

Spec: COORD 7.2, 11.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import StateError
from ..state.control_plane import append_event
from ..state.feedback_store import Answer, answer_request, create_request

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]


def ask_human(
    paths: LanePaths,
    wave: int,
    agent_id: str,
    question: str,
    context: str = "",
    *,
    orchestrator_id: str = "",
    request_id: str = "",
    operator: str = "",
) -> JsonObject:
    """Create a feedback request; returns its document. `operator` is who asks on behalf of the agent, if somebody does.

    StateError for a `request_id` that exists already.
    """
    document = create_request(
        paths, wave, agent_id, question, context=context, orchestrator_id=orchestrator_id, request_id=request_id
    )
    asked = {"humanInputId": document["id"], "requestId": document["id"], "state": "pending"}
    source = "operator" if operator else "launcher"
    append_event(paths, wave, "human_input", document["id"], "requested", asked, source=source, actor=operator)
    return document


def answer_human(paths: LanePaths, wave: int, request_id: str, answer: Answer, source: str) -> JsonObject:
    """Answer or dismiss a request; returns its document. StateError as `feedback_store.answer_request`."""
    document = answer_request(paths, request_id, answer)
    note_answer(paths, wave, request_id, answer, source)
    return document


def note_answer(paths: LanePaths, wave: int, answered_id: str, answer: Answer, source: str) -> None:
    """Append the event of an answer; `answered_id` is a request's, or that of a record without one."""
    state = "dismissed" if answer.disposition == "dismissed" else "answered"
    told = {"state": state, "operator": answer.operator, "response": answer.text}
    data = {"humanInputId": answered_id, "requestId": answered_id, **told}
    append_event(paths, wave, "human_input", answered_id, state, data, source=source, actor=answer.operator)


def close_question(paths: LanePaths, wave: int, request_id: str, answer: Answer, source: str) -> None:
    """Close a question that nobody has to answer any more; one that was answered meanwhile is left alone."""
    try:
        answer_human(paths, wave, request_id, answer, source)
    except StateError:
        return
