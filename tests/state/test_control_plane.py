"""Control-plane events, what they add up to, mirrors, contradictions. Spec: COORD 7, 10, test cases 18, 45, 50."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from coordination_lab import at, rec, state_of, workspace

from wave_lib.base.errors import StateError
from wave_lib.base.files import load_json
from wave_lib.state import contradiction_entity
from wave_lib.state.control_plane import (
    append_event,
    append_events,
    event_of,
    materialize_events,
    normalize_event,
    read_control_plane,
    read_events,
    sync_mirrors,
)


def event(entity_type: str, entity_id: str, action: str, **more: object) -> dict[str, object]:
    data = more.pop("data", {})
    raw = {"lane": "main", "wave": 0, "entityType": entity_type, "entityId": entity_id, "action": action}
    return normalize_event({**raw, "recordedAt": at(0), "data": data, **more})


def test_file_position_breaks_ties(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    place = {"attemptId": "x", "attemptNumber": 1}
    append_events(
        paths,
        0,
        [
            {**event_of("attempt", "x", "running", {**place, "state": "running"}), "recordedAt": at(0), "id": "z"},
            {**event_of("attempt", "x", "completed", {**place, "state": "completed"}), "recordedAt": at(0), "id": "a"},
        ],
    )
    state = read_control_plane(paths, 0)
    assert state.active_attempt is None
    assert state.attempts["x"]["state"] == "completed"


def test_times_come_from_the_events() -> None:
    state = materialize_events([event("rerun_request", "r", "requested", data={"selectedAgentIds": ["A1"]})])
    request = state.active_rerun_request
    assert request is not None
    assert request["createdAt"] == request["updatedAt"] == at(0)
    assert request["applyOnce"] is True and request["reuseDerivedSummaries"] is True


def test_bad_events_are_bad_lines(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    append_event(paths, 0, "attempt", "x", "running", {"state": "nonsense"})
    append_event(paths, 0, "attempt", "y", "running", {"state": "running", "attemptNumber": 1})
    with Path(paths.control_plane_log(0)).open("a", encoding="utf-8") as file:
        file.write('{"entityType": "weird"}\n')
    reading = read_events(paths, 0)
    assert [item["entityId"] for item in reading.events] == ["y"]
    assert [bad.line for bad in reading.bad_lines] == [1, 3]


def test_mirrors_follow_the_log(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    append_event(paths, 0, "proof_bundle", "p", "registered", {"agentId": "A1", "state": "active"})
    append_event(paths, 0, "rerun_request", "r1", "requested", {"selectedAgentIds": ["A1"], "state": "active"})
    append_event(paths, 0, "rerun_request", "r2", "requested", {"resumePhase": "integrating", "state": "active"})
    sync_mirrors(paths, 0)
    assert load_json(paths.proof_registry(0))["entries"][0]["id"] == "p"
    assert load_json(paths.retry_override(0))["resumePhase"] == "integrating"
    for request in ("r1", "r2"):
        append_event(paths, 0, "rerun_request", request, "cleared", {"state": "cleared"})
    sync_mirrors(paths, 0)
    assert read_control_plane(paths, 0).active_rerun_request is None
    assert not os.path.exists(paths.retry_override(0))


def test_a_bad_contradiction_counts_as_open() -> None:
    state = materialize_events([event("contradiction", "c", "reported", data={"status": "nonsense"})])
    assert [item["contradictionId"] for item in state.unresolved_contradictions] == ["c"]
    assert contradiction_entity.blocks_gate(state.contradictions["c"], "integrationBarrier")
    assert state.bad_lines


def test_contradictions_cannot_be_reopened() -> None:
    found = contradiction_entity.normalize_contradiction({"contradictionId": "c"}, blocking=True)
    resolved = contradiction_entity.resolve(found, {"kind": "waived"}, "operator", at(1))
    assert not contradiction_entity.is_unresolved(resolved)
    with pytest.raises(StateError):
        contradiction_entity.acknowledge(resolved, at(2))


def test_detection_pairs_only_latest_versions_of_different_agents() -> None:
    claim = {"kind": "claim", "artifactRefs": ["src/one.js"]}
    state = state_of(
        rec(id="a", **claim),
        rec(id="b", agentId="A2", **claim),
        rec(id="b", agentId="A2", status="resolved", **claim),
        rec(id="c", agentId="A3", status="cancelled", **claim),
    )
    found = contradiction_entity.detect_contradictions(state)
    assert [[party["evidence"] for party in item["parties"]] for item in found] == [["a", "b"]]
    assert found[0]["severity"] == "advisory"
