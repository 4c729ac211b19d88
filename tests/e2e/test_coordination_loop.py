"""People and agents talk while a wave runs: overdue questions, answers, downgrades, tickets. Spec: COORD 6, 12-15."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_lab import DELTA, PROOF, ROOT, LaunchLab
from waiting import wait_until

from wave_lib.base.timestamps import iso_of, now_iso, parse_iso
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.state.coordination_store import append_record, read_state

PLACE = ("--lane", "main", "--wave", "0")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LaunchLab]:
    made = LaunchLab(tmp_path, workers=("A1", "A2"))
    for agent in ("A1", "A2"):
        made.script(agent, f'until [ -e "go-{agent}" ]; do sleep 0.02; done\n' + LaunchLab.echo(PROOF, DELTA))
    yield made
    made.close()


def say(lab: LaunchLab, *words: str) -> Any:
    """The JSON that a command of its own process prints."""
    argv = [sys.executable, str(ROOT / "wave.py"), *words, *PLACE]
    done = subprocess.run(argv, cwd=lab.root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ask_long_ago(paths: LanePaths) -> None:
    """A question and a request that nobody has acknowledged for longer than the time limit."""
    long_ago = iso_of((parse_iso(now_iso()) or 0) - 400)
    question = {"id": "c", "kind": "clarification-request", "agentId": "A1", "status": "in_progress"}
    append_record(paths, 0, {**question, "summary": "What of src/A2.txt?", "createdAt": long_ago})
    route = {"id": "route-c-1", "kind": "request", "agentId": "launcher", "targets": ["agent:A2"], "dependsOn": ["c"]}
    append_record(paths, 0, {**route, "closureCondition": "clarification:c", "summary": "q", "createdAt": long_ago})
    request = {"id": "r1", "kind": "request", "agentId": "A1", "targets": ["agent:A2"], "source": "agent"}
    append_record(paths, 0, {**request, "summary": "Rename it", "createdAt": long_ago})


def test_what_is_settled_while_the_wave_runs_does_not_stop_it(lab: LaunchLab) -> None:
    paths = build_lane_paths(load_wave_config(str(lab.root)))
    ask_long_ago(paths)
    child = lab.start()
    # The silent owner is asked once more, and the operator hears of the request that nobody acknowledged.
    wait_until(lambda: "route-c-2" in read_state(paths, 0).by_id, what="the second route")
    assert read_state(paths, 0).by_id["route-c-1"]["status"] == "superseded"
    wait_until(lambda: len(lab.ran()) == 2, what="the agents")
    asked = say(lab, "feedback", "ask", "--agent", "A2", "--question", "Which?", "--json")  # looked at without delay
    wait_until(lambda: "Event: coordination_ack_overdue." in lab.board(), what="the alert")
    assert "records=r1" in lab.board()

    assert say(lab, "control", "status", "--json")["blockingEdge"]["kind"] == "human-input"
    say(lab, "coord", "act", "resolve", "--id", "route-c-2", "--agent", "A2", "--detail", "It holds seven")
    say(lab, "coord", "act", "ack", "--id", "r1", "--agent", "A2")
    say(lab, "coord", "act", "resolve", "--id", "r1", "--agent", "A2", "--detail", "renamed")
    blocker = say(lab, "coord", "post", "--agent", "A1", "--kind", "blocker", "--priority", "high", "--summary", "No")
    say(lab, "control", "task", "act", "mark-advisory", "--id", blocker["id"])
    answer = ("--response", "Blue", "--operator", "eve")
    say(lab, "control", "task", "act", "answer", "--id", asked["id"], *answer)
    assert say(lab, "control", "rerun", "get")["rerunRequest"] is None  # nothing is scheduled while agents run

    for agent in ("A1", "A2"):
        lab.write(f"go-{agent}", "")
    done = lab.finish(child)
    assert done.returncode == 0, done.stdout
    state = read_state(paths, 0)
    assert state.by_id["c"]["status"] == "resolved" and "It holds seven" in state.by_id["c"]["detail"]
    assert state.by_id[asked["id"]]["detail"] == "Answered by eve: Blue"
    assert [event["action"] for event in lab.events("human_input")][-1] == "answered"


def test_an_answer_after_the_end_is_used_by_the_next_launch_once(lab: LaunchLab) -> None:
    for agent in ("A1", "A2"):
        lab.write(f"go-{agent}", "")
    paths = build_lane_paths(load_wave_config(str(lab.root)))
    asked = say(lab, "feedback", "ask", "--agent", "A2", "--question", "Which?", "--json")
    words = ("--agent", "A1", "--kind", "request", "--target", "agent:A2", "--summary", "Rename it")
    request = say(lab, "coord", "post", *words)
    assert lab.launch().returncode == 43  # nobody did what was requested: the closure sweep does not begin
    assert sorted(lab.ran()) == ["A1", "A2"]
    say(lab, "coord", "act", "resolve", "--id", request["id"], "--agent", "A2")
    say(lab, "control", "task", "act", "answer", "--id", asked["id"], "--response", "Blue")
    request = say(lab, "control", "rerun", "get")
    assert request["rerunRequest"]["applyOnce"] is True and request["effectiveSelectedAgentIds"] == ["A0"]
    before = lab.ran()
    done = lab.launch()
    assert done.returncode == 0, done.stdout
    assert lab.ran()[len(before) :] == ["A0"]
    assert say(lab, "control", "rerun", "get")["rerunRequest"] is None
    assert [event["action"] for event in lab.events("rerun_request")] == ["requested", "applied"]
    assert read_state(paths, 0).by_id[asked["id"]]["status"] == "resolved"
