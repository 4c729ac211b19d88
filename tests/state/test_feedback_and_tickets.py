"""Questions to people and tickets between lanes. Spec: COORD 11, 15.1, test cases 32, 34, 36."""

from __future__ import annotations

from pathlib import Path

import pytest
from coordination_lab import AGENTS, NOW, workspace

from wave_lib.base.errors import StateError
from wave_lib.engines.coordination_barriers import dependency_barrier
from wave_lib.engines.routing_state import build_dependency_snapshot
from wave_lib.state.dependency_tickets import post_ticket, read_tickets, resolve_ticket
from wave_lib.state.feedback_store import (
    Answer,
    answer_request,
    create_request,
    feedback_state_signature,
    read_wave_requests,
)


def test_an_answer_is_not_overwritten(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    request = create_request(paths, 0, "A1", "Which port?", context="for " + "x" * 300)
    row = read_wave_requests(paths, 0, ["A1"]).rows[0]
    assert row["status"] == "pending" and len(row["context"]) == 304
    before = feedback_state_signature(row)
    answer_request(paths, request["id"], Answer("USE-PORT-4711"))
    with pytest.raises(StateError, match="already answered"):
        answer_request(paths, request["id"], Answer("other"))
    answer_request(paths, request["id"], Answer("other", force=True))
    row = read_wave_requests(paths, 0, ["A1"]).rows[0]
    assert (row["responseText"], row["disposition"]) == ("other", "answered")
    assert feedback_state_signature(row) != before
    with pytest.raises(StateError, match="not found"):
        answer_request(paths, "nope", Answer("x"))
    with pytest.raises(StateError, match="already exists"):
        create_request(paths, 0, "A1", "again", request_id=request["id"])


def test_questions_of_an_adhoc_run_stay_in_it(tmp_path: Path) -> None:
    roadmap = workspace(tmp_path)
    adhoc = workspace(tmp_path, adhoc_run_id="r1")
    create_request(adhoc, 0, "A1", "adhoc?")
    create_request(roadmap, 0, "launcher", "roadmap?")
    create_request(roadmap, 0, "Z9", "stranger?")
    assert [row["question"] for row in read_wave_requests(adhoc, 0, ["A1"]).rows] == ["adhoc?"]
    assert [row["question"] for row in read_wave_requests(roadmap, 0, ["A1"]).rows] == ["roadmap?"]


def test_unreadable_requests_are_diagnostics(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    create_request(paths, 0, "A1", "fine?")
    broken = Path(paths.feedback_requests_dir) / "broken.json"
    broken.write_text("{", encoding="utf-8")
    reading = read_wave_requests(paths, 0, ["A1"])
    assert len(reading.rows) == 1
    assert [item.path for item in reading.diagnostics] == [str(broken)]


def test_a_resolved_ticket_unblocks(tmp_path: Path) -> None:
    directory = str(tmp_path)
    place = {"lane": "main", "wave": 0, "agentId": "B1", "ownerLane": "main", "ownerWave": 0, "requesterLane": "other"}
    post_ticket(directory, "main", {**place, "id": "t1", "summary": "need it", "required": True})
    post_ticket(directory, "main", {**place, "id": "t2", "summary": "nice to have"})
    with pytest.raises(StateError, match="exists already"):
        post_ticket(directory, "main", {**place, "id": "t1", "summary": "again"})

    def snapshot() -> dict[str, object]:
        tickets = read_tickets([directory]).tickets
        return build_dependency_snapshot("main", "default", 0, AGENTS, tickets, None, {}, NOW)

    found = snapshot()
    assert [len(found[key]) for key in ("openInbound", "requiredInbound")] == [2, 1]  # type: ignore[arg-type]
    assert dependency_barrier(found).status_code == "dependency-assignment-unresolved"
    ticket = resolve_ticket(directory, "main", "t1", "A1")
    assert (ticket["agentId"], ticket["resolvedBy"], ticket["status"]) == ("B1", "A1", "resolved")
    found = snapshot()
    assert [len(found[key]) for key in ("openInbound", "requiredInbound")] == [1, 0]  # type: ignore[arg-type]
    assert dependency_barrier(found).ok
    with pytest.raises(StateError, match="Dependency t9 not found for lane main"):
        resolve_ticket(directory, "main", "t9", "A1")
