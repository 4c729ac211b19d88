"""Records, the coordination log and its materialised state. Spec: COORD 2-5, test cases 1-17."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from coordination_lab import AGENTS, at, bindings_of, rec, state_of, wave_of, workspace

from wave_lib.base.errors import StateError
from wave_lib.engines.coordination_seeds import completion_records, seed_records, seeds_to_append
from wave_lib.state import coordination_records as records
from wave_lib.state.coordination_store import CoordinationLog, append_record, materialize, read_records, read_state


def test_request_defaults() -> None:
    record = rec(kind="request")
    assert record["blocking"] is True
    assert record["blockerSeverity"] == "closure-critical"
    assert record["status"] == "open"
    assert record["id"].startswith("coord-request-") and len(record["id"]) == len("coord-request-") + 8
    assert list(record) == list(records.FIELDS)
    assert records.is_normal(record)


@pytest.mark.parametrize(
    ("raw", "severity", "blocks"),
    [
        ({"priority": "urgent"}, "hard", True),
        ({"priority": "normal"}, "soft", True),
        ({"blocking": False}, "advisory", False),
        ({"blocking": "off"}, "advisory", False),
        ({"blockerSeverity": "stale"}, "stale", False),
    ],
)
def test_blocker_severity(raw: dict[str, object], severity: str, blocks: bool) -> None:
    record = rec(kind="blocker", **raw)
    assert record["blockerSeverity"] == severity
    assert records.record_blocks_wave(record) is blocks
    assert records.is_open(record)


def test_policy_record_is_resolved() -> None:
    assert rec(kind="resolved-by-policy")["status"] == "resolved"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"kind": "weird"}, "got: weird"),
        ({"kind": "request", "wave": -1}, "non-negative integer (got: -1)"),
        ({"kind": "request", "lane": ""}, "lane is required"),
        ({"kind": "request", "agentId": " "}, "agentId is required"),
    ],
)
def test_bad_records_are_refused(raw: dict[str, object], words: str) -> None:
    with pytest.raises(StateError) as caught:
        rec(**raw)
    assert words in str(caught.value)
    if raw["kind"] == "weird":
        assert all(kind in str(caught.value) for kind in records.KINDS)


def test_required_false_is_false() -> None:
    assert rec(kind="request", required="false")["required"] is False


def test_log_order_decides_not_time() -> None:
    base = rec(id="X", kind="request")
    versions = [
        {**base, "updatedAt": at(0)},
        {**base, "status": "in_progress", "updatedAt": at(2)},
        {**base, "status": "resolved", "updatedAt": at(1)},
    ]
    assert materialize(versions).by_id["X"]["status"] == "resolved"


def test_an_update_is_later_than_what_it_updates() -> None:
    record = rec(kind="request", createdAt=at(5))
    assert records.updated_record(record, at(1))["updatedAt"] == "2026-01-01T00:05:00.001Z"
    assert records.updated_record(record, at(9))["updatedAt"] == at(9)
    assert records.updated_record(record, at(9))["createdAt"] == at(5)


def test_torn_and_bad_lines(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    append_record(paths, 0, {"kind": "claim", "agentId": "A1", "summary": "one"})
    log = Path(paths.coordination_log(0))
    with log.open("a", encoding="utf-8") as file:
        file.write("garbage\n" + json.dumps({"kind": "nonsense"}) + "\n" + '{"half":')
    reading = read_records(paths, 0)
    assert [record["summary"] for record in reading.records] == ["one"]
    assert [bad.line for bad in reading.bad_lines] == [2, 3]
    first = reading.bad_lines[0]
    assert str(first) == f"{first.path}:2: {first.reason}"  # people read it as the detail of a gate
    append_record(paths, 0, {"kind": "claim", "agentId": "A1", "summary": "two"})
    assert [record["summary"] for record in read_records(paths, 0).records] == ["one", "two"]
    assert Path(str(log) + ".torn").read_text(encoding="utf-8").startswith('{"half":')


def test_incremental_reader_sees_what_a_cold_one_sees(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    reader = CoordinationLog(paths.coordination_log(0))
    assert reader.refresh().records == []
    for number in range(5):
        append_record(paths, 0, {"id": f"r{number % 3}", "kind": "claim", "agentId": "A1", "summary": str(number)})
        assert reader.refresh() == read_state(paths, 0)
    assert reader.refresh() is reader.refresh()
    Path(paths.coordination_log(0)).write_text("", encoding="utf-8")
    assert reader.refresh().records == []


def test_clarification_links() -> None:
    record = rec(kind="request", closureCondition="clarification:b", dependsOn=["a"])
    assert not records.is_linked(record, {"a"})
    assert records.is_linked(record, {"b"})
    assert records.is_linked(rec(kind="request", dependsOn=["a"]), {"a"})


@pytest.mark.parametrize(("author", "status"), [("A2", "acknowledged"), ("A1", "open")])
def test_ack_of_a_target(tmp_path: Path, author: str, status: str) -> None:
    paths = workspace(tmp_path)
    append_record(paths, 0, {"id": "X", "kind": "request", "agentId": "A1", "targets": ["capability:runtime"]})
    agents = (AGENTS[1],)
    append_record(paths, 0, {"kind": "ack", "agentId": author, "dependsOn": ["X"]}, agents=agents)
    state = read_state(paths, 0)
    assert state.by_id["X"]["status"] == status
    assert len(state.of_kind("ack")) == 1


def test_many_writers_at_once(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    program = (
        "import sys; from coordination_lab import *; from wave_lib.runtime.derived_state import *\n"
        "from wave_lib.state.coordination_store import append_record\n"
        "paths = build_lane_paths(load_wave_config(sys.argv[1])); wave = wave_of()\n"
        "refresh_derived_state(DerivedContext(paths, wave, bindings_of(wave, paths)))\n"
        "append_record(paths, 0, {'kind': 'claim', 'agentId': 'A1', 'summary': sys.argv[2]})\n"
    )
    repository = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'tests'}"}
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)], env=env) for number in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    reading = read_records(paths, 0)
    ids = [record["id"] for record in reading.records]
    assert not reading.bad_lines
    assert len(ids) == len(set(ids))
    assert sum(1 for record in reading.records if record["kind"] == "claim") == 4


# --- seeds ----------------------------------------------------------------------------------------------------------


def test_seeds_are_left_alone_once_touched(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    bindings = bindings_of(wave, paths)
    seeds = seed_records(wave, bindings, "main", "default", ["docs/a.md"], [], at(0))
    assert all(records.is_seed(seed) for seed in seeds)
    resolved = records.updated_record(seeds[0], at(1), status="resolved")
    plan = next(seed for seed in seeds if seed["id"] == "wave-0-shared-plan-docs")
    advisory = records.updated_record(plan, at(1), blocking=False, blockerSeverity="advisory")
    state = state_of(*seeds, resolved, advisory)
    assert seeds_to_append(state, seeds, at(2)) == []


def test_a_changed_definition_reopens_an_agent_request(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    bindings = bindings_of(wave, paths)
    seeds = seed_records(wave, bindings, "main", "default", [], [], at(0))
    state = state_of(*seeds, records.updated_record(seeds[0], at(1), status="resolved"))
    renamed = wave_of(AGENTS[0]._replace(title="Renamed"), *AGENTS[1:])
    changed = seeds_to_append(state, seed_records(renamed, bindings, "main", "default", [], [], at(2)), at(2))
    assert [(record["id"], record["status"]) for record in changed] == [("wave-0-agent-A1-request", "open")]
    assert "Renamed" in changed[0]["summary"]


def test_completion_closes_the_open_seeds(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    seeds = seed_records(wave, bindings_of(wave, paths), "main", "default", [], [], at(0))
    closed = completion_records(state_of(*seeds, rec(kind="blocker")), 0, at(3))
    assert {record["status"] for record in closed} == {"closed"}
    assert len(closed) == len(seeds)


def test_seeds_that_ended_with_their_wave_stay_closed(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    bindings = bindings_of(wave, paths)
    seeds = seed_records(wave, bindings, "main", "default", ["docs/a.md"], [], at(0))
    state = state_of(*seeds, *completion_records(state_of(*seeds), 0, at(3)))
    assert seeds_to_append(state, seeds, at(4)) == []
    renamed = wave_of(AGENTS[0]._replace(title="Renamed"), *AGENTS[1:])
    anew = seed_records(renamed, bindings, "main", "default", ["docs/a.md"], [], at(5))
    assert [record["status"] for record in seeds_to_append(state, anew, at(5))] == ["open"]  # new work for A1
