"""Questions to a person: one file a request, asked by agents, answered by operators.

Holds: `<orchState>/feedback/requests.flock` while it creates or answers.
Writes: `<orchState>/feedback/requests/<id>.json`.
When killed: a request exists whole or not at all; an answer is there or not.
Spec: COORD 11.1, 11.2.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import StateError
from ..base.files import Outcome, read_json, write_json
from ..base.locks import locked
from ..base.timestamps import compact_stamp, now_iso
from . import telemetry_sink
from .coordination_records import NON_AGENT_AUTHORS, LogDiagnostic, parse_int, text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

DISPOSITIONS = ("answered", "dismissed", "resolved")
_NOT_TOKEN = re.compile(r"[^A-Za-z0-9._-]+")


class FeedbackReading(NamedTuple):
    """Rows of the requests that concern a wave, and the files that could not be read."""

    rows: list[JsonObject]
    diagnostics: list[LogDiagnostic]


def token(value: str) -> str:
    """A part of a request id: runs outside `[A-Za-z0-9._-]` become `-`. StateError when nothing is left."""
    part = _NOT_TOKEN.sub("-", value.strip()).strip("-")
    if not part:
        raise StateError("Invalid token")
    return part


def new_request_id(lane: str, wave: int, agent_id: str) -> str:
    """`<UTC time as 17 digits>-<lane>-w<n>-<agentId>-<6 hex>`."""
    stamp = "".join(char for char in compact_stamp(time.time()) if char.isdigit())[:17]
    return f"{stamp}-{token(lane)}-w{wave}-{token(agent_id)}-{os.urandom(3).hex()}"


def create_request(
    paths: LanePaths,
    wave: int,
    agent_id: str,
    question: str,
    *,
    context: str = "",
    orchestrator_id: str = "",
    request_id: str = "",
) -> JsonObject:
    """Create a pending request and return its document. StateError when the id exists already."""
    now = now_iso()
    request_id = request_id or new_request_id(paths.lane, wave, agent_id)
    document = {
        "id": request_id,
        "project": paths.project_id,
        "runId": paths.run_id,
        "runVariant": paths.run_variant or None,
        "createdAt": now,
        "updatedAt": now,
        "lane": paths.lane,
        "wave": wave,
        "agentId": agent_id,
        "orchestratorId": orchestrator_id,
        "status": "pending",
        "question": question,
        "context": context,
        "response": None,
    }
    path = paths.feedback_request(request_id)
    with locked(paths.feedback_lock):
        if os.path.lexists(path):
            raise StateError(f"Request already exists: {request_id}")
        write_json(path, document)
    telemetry_sink.emit(telemetry_sink.FEEDBACK, [document])
    return document


class Answer(NamedTuple):
    """What closes a question: words (`answered`), or none (`dismissed`, `resolved`); `force` replaces earlier ones."""

    text: str
    operator: str = "human-operator"
    disposition: str = "answered"
    force: bool = False


def answer_request(paths: LanePaths, request_id: str, answer: Answer) -> JsonObject:
    """Close a request; unknown keys of its file are kept.

    StateError: `Request not found`, or `Request already answered` unless `answer.force`.
    """
    path = paths.feedback_request(token(request_id))
    with locked(paths.feedback_lock):
        document = read_request(path)
        if document is None:
            raise StateError(f"Request not found: {request_id}")
        if document.get("status") == "answered" and not answer.force:
            raise StateError(f"Request already answered: {request_id} (use --force to override)")
        now = now_iso()
        response = {"operator": answer.operator, "text": answer.text, "answeredAt": now}
        response["disposition"] = answer.disposition
        document = {**document, "status": "answered", "updatedAt": now, "response": response}
        write_json(path, document)
    telemetry_sink.emit(telemetry_sink.FEEDBACK, [document])
    return document


def read_request(path: str) -> JsonObject | None:
    """The request in a file, None when there is none. StateError when the file cannot be understood."""
    reading = read_json(path)
    if reading.outcome is Outcome.ABSENT:
        return None
    if reading.outcome is not Outcome.WHOLE or not isinstance(reading.value, dict):
        raise StateError("feedback request cannot be read", path, reading.detail)
    return reading.value


def read_all_requests(directory: str) -> tuple[list[JsonObject], list[LogDiagnostic]]:
    """Every request of a directory (with `__filePath`), sorted by creation; unreadable files as diagnostics."""
    documents = []
    diagnostics = []
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return [], []
    for name in names:
        if not name.endswith(".json"):
            continue
        path = os.path.join(directory, name)
        try:
            document = read_request(path)
        except StateError as error:
            diagnostics.append(LogDiagnostic(path, 0, str(error)))
            continue
        if document is not None:
            documents.append({**document, "__filePath": path})
    documents.sort(key=lambda document: (text(document.get("createdAt")), text(document.get("id"))))
    return documents, diagnostics


def read_wave_human_feedback_requests(
    directory: str,
    lane: str,
    wave: int,
    agent_ids: Collection[str],
    orchestrator_id: str = "",
    run_id: str | None = None,
) -> FeedbackReading:
    """Rows of the requests that concern one wave of one run, sorted by creation; texts in full. Spec: COORD 11.2."""
    documents, diagnostics = read_all_requests(directory)
    rows = []
    for document in documents:
        if text(document.get("lane")).lower() != lane.lower() or parse_int(document.get("wave")) != wave:
            continue
        if (text(document.get("runId")) or None) != (run_id or None):
            continue
        agent_id = text(document.get("agentId"))
        if agent_id not in agent_ids and agent_id not in NON_AGENT_AUTHORS:
            continue
        asked_by = text(document.get("orchestratorId"))
        if asked_by and orchestrator_id and asked_by != orchestrator_id:
            continue
        rows.append(request_row(document))
    return FeedbackReading(rows, diagnostics)


def read_wave_requests(
    paths: LanePaths, wave: int, agent_ids: Collection[str], orchestrator_id: str = ""
) -> FeedbackReading:
    """`read_wave_human_feedback_requests` with everything that `paths` knows."""
    return read_wave_human_feedback_requests(
        paths.feedback_requests_dir, paths.lane, wave, agent_ids, orchestrator_id, paths.run_id
    )


def request_row(document: Mapping[str, Any]) -> JsonObject:
    """One request as the engines see it."""
    response = document.get("response")
    answer: Mapping[str, Any] = response if isinstance(response, dict) else {}
    answered = text(document.get("status")) == "answered"
    return {
        "id": text(document.get("id")),
        "agentId": text(document.get("agentId")),
        "status": text(document.get("status")) or "pending",
        "question": text(document.get("question")),
        "context": text(document.get("context")),
        "orchestratorId": text(document.get("orchestratorId")),
        "createdAt": text(document.get("createdAt")),
        "updatedAt": text(document.get("updatedAt")),
        "responseOperator": text(answer.get("operator")),
        "responseText": text(answer.get("text")),
        "answeredAt": text(answer.get("answeredAt")),
        "disposition": text(answer.get("disposition")) or ("answered" if answered else ""),
    }


def feedback_state_signature(row: Mapping[str, Any]) -> str:
    """Changes whenever a request changes in a way that somebody must be told."""
    return "|".join(text(row.get(key)) for key in ("status", "updatedAt", "responseOperator", "responseText"))
