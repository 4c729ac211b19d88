"""Run state: normalisation, transitions, the cap, the lock. Spec: CFG 17.1-17.3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wave_lib.base.errors import StateError
from wave_lib.state import run_state

AT = "2026-01-01T00:00:00.000Z"


def step(state, wave, to="blocked", *, code="x", at=AT, evidence=None, source="live-launcher"):
    return run_state.append_transition(
        state, wave, to, source=source, reason_code=code, detail=" d ", evidence=evidence, at=at
    )


def test_absent_file_is_an_empty_state(tmp_path):
    state = run_state.read_run_state(str(tmp_path / "run-state.json"))
    assert (state["completedWaves"], state["waves"], state["history"]) == ([], {}, [])
    assert os.listdir(tmp_path) == []


def test_legacy_list_becomes_entries_and_junk_is_dropped(tmp_path):
    path = tmp_path / "run-state.json"
    path.write_text(
        json.dumps(
            {
                "completedWaves": [3, "1", -1, "x", 3, True],
                "waves": {"2": {"currentState": " Blocked ", "updatedAt": AT}, "-1": {}, "a": {}},
                "history": [{"wave": 2}, {"toState": "completed"}],
            }
        )
    )
    state = run_state.read_run_state(str(path))
    assert state["completedWaves"] == [1, 3]
    assert state["waves"]["1"]["lastSource"] == "legacy-run-state"
    assert state["waves"]["1"]["lastReasonCode"] == "legacy-completed-wave"
    assert state["waves"]["2"]["currentState"] == "blocked"
    assert state["waves"]["2"]["lastTransitionAt"] == AT
    assert [(item["seq"], item["wave"]) for item in state["history"]] == [(1, 2)]


def test_completed_waves_are_derived_never_trusted(tmp_path):
    path = tmp_path / "run-state.json"
    entry = {"currentState": "blocked", "lastSource": "live-launcher"}
    path.write_text(json.dumps({"schemaVersion": 2, "completedWaves": [0], "waves": {"0": entry}}))
    assert run_state.read_run_state(str(path))["completedWaves"] == []


@pytest.mark.parametrize("content, moved", [("{torn", True), ('{"schemaVersion": 3}', False)])
def test_damaged_is_put_aside_and_newer_is_not(tmp_path, content, moved):
    path = tmp_path / "run-state.json"
    path.write_text(content)
    with pytest.raises(StateError):
        run_state.read_run_state(str(path))
    with pytest.raises(StateError):
        run_state.mark_wave_completed(str(path), 0, detail="d")
    assert path.read_text() == content
    kept = run_state.quarantine_run_state(str(path))
    assert (kept is not None) is moved
    if kept:
        assert Path(kept).read_text() == content
        assert kept.startswith(f"{path}.corrupt-") and kept.endswith("Z")
        assert run_state.mark_wave_completed(str(path), 0, detail="d")["completedWaves"] == [0]


def test_a_transition_that_says_nothing_new_is_skipped():
    files = [{"agentId": "A1", "code": 0, "completedAt": "1"}]
    first = step(run_state.empty_run_state(), 0, evidence={"statusFiles": files})
    later = [{"agentId": "A1", "code": 0, "completedAt": "2"}]
    assert step(first, 0, evidence={"statusFiles": later}) is first
    assert step(first, 0, code="y", evidence={"statusFiles": later}) is not first
    assert step(first, 0, evidence={"statusFiles": [{**files[0], "code": 1}]}) is not first


def test_history_never_runs_backwards_and_knows_where_it_came_from():
    state = step(run_state.empty_run_state(), 0, at="2026-05-01T00:00:00.000Z")
    state = step(state, 1, "completed", at=AT)
    state = step(state, 0, "completed", at=AT)
    assert [item["seq"] for item in state["history"]] == [1, 2, 3]
    assert [item["at"] for item in state["history"]] == ["2026-05-01T00:00:00.000Z"] * 3
    assert [item["fromState"] for item in state["history"]] == [None, None, "blocked"]
    assert state["history"][0]["detail"] == "d"
    assert state["completedWaves"] == [0, 1]


@pytest.mark.parametrize("waves", [1, 4, 50])
def test_history_is_capped_and_keeps_the_newest_of_each_wave(waves):
    state = run_state.empty_run_state()
    for turn in range(300 // waves + 2):
        for wave in range(waves):
            state = step(state, wave, code=f"c{turn}", evidence={"turn": turn})
    history = state["history"]
    assert len(history) <= run_state.HISTORY_LIMIT
    assert [item["seq"] for item in history] == sorted(item["seq"] for item in history)
    for wave in range(waves):
        own = [item for item in history if item["wave"] == wave]
        assert own[-1]["reasonCode"] == f"c{300 // waves + 1}" and own[-1]["evidence"] is not None


def test_next_wave():
    state = step(run_state.empty_run_state(), 1, "completed_with_drift")
    assert run_state.next_wave([0, 1, 2], state) == 0
    assert run_state.next_wave([0, 1, 2], state, start=1) == 2
    assert run_state.next_wave([1], state) is None


def test_many_writers_lose_nothing(tmp_path):
    path = str(tmp_path / "run-state.json")
    script = (
        "import sys; from wave_lib.state.run_state import mark_wave_completed\n"
        "[mark_wave_completed(sys.argv[1], int(n), detail='d') for n in sys.argv[2:]]"
    )
    root = str(Path(run_state.__file__).parents[2])
    numbers = [[str(base + offset) for offset in range(10)] for base in (0, 10, 20, 30)]
    writers = [subprocess.Popen([sys.executable, "-c", script, path, *part], cwd=root) for part in numbers]
    assert [writer.wait(timeout=30) for writer in writers] == [0, 0, 0, 0]
    state = run_state.read_run_state(path)
    assert state["completedWaves"] == list(range(40))
    assert [item["seq"] for item in state["history"]] == list(range(1, 41))


def test_authority():
    state = step(run_state.empty_run_state(), 0, "completed", source="legacy-run-state")
    assert not run_state.is_authoritative(run_state.entry_of(state, 0))
    assert run_state.is_authoritative(run_state.entry_of(step(state, 0, "completed"), 0))
    assert not run_state.is_authoritative(run_state.entry_of(step(state, 0, "blocked"), 0))
    assert not run_state.is_authoritative(None)
