"""Signals while a wave runs: written by the launcher, told as events, acknowledged by watchers. Spec: COORD 26."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from launch_lab import DELTA, PROOF, LaunchLab
from waiting import wait_until

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.state import coordination_store, feedback_store

GO = 'until [ -e "go-{agent}" ]; do sleep 0.02; done\n'


@pytest.fixture
def lab(tmp_path: Path):
    made = LaunchLab(tmp_path, workers=("A1", "A2"))
    for agent in ("A1", "A2"):
        made.script(agent, GO.format(agent=agent) + LaunchLab.echo(PROOF, DELTA))
    yield made
    made.close()


def signal_of(lab: LaunchLab, agent: str | None = None) -> dict[str, Any]:
    path = lab.root / ".tmp/main-wave-launcher/signals" / (f"wave-0/{agent}.json" if agent else "wave-0.json")
    return json.loads(path.read_text()) if path.exists() else {"signal": None}


def until(lab: LaunchLab, name: str, agent: str | None = None) -> dict[str, Any]:
    wait_until(lambda: signal_of(lab, agent)["signal"] == name, what=f"signal {name} of {agent or 'the wave'}")
    return signal_of(lab, agent)


def test_signals_follow_a_question_a_request_and_the_end(lab: LaunchLab) -> None:
    paths = build_lane_paths(load_wave_config(str(lab.root)))
    child = lab.start()
    first = until(lab, "waiting")
    assert first["attempt"] == 1 and first["targetAgentIds"] == ["A1", "A2"] and first["version"] == 1
    assert until(lab, "waiting", "A1")["shouldWake"] is False

    request = feedback_store.create_request(paths, 0, agent_id="A1", question="Which colour?")
    asked = until(lab, "feedback-requested")
    assert (asked["reason"], asked["status"], asked["targetAgentIds"]) == ("Which colour?", "blocked", ["A1"])
    mine = until(lab, "feedback-requested", "A1")
    assert mine["shouldWake"] is True and mine["openFeedbackRequestIds"] == [request["id"]]

    feedback_store.answer_request(paths, request["id"], feedback_store.Answer("Blue.", "me"))
    assert until(lab, "feedback-answered", "A1")["reason"] == "Blue."
    record = {"id": "r1", "kind": "request", "agentId": "A1", "targets": ["agent:A2"], "source": "agent"}
    coordination_store.append_record(paths, 0, {**record, "summary": "Rename it", "priority": "high"})
    action = until(lab, "coordination-action", "A2")
    assert action["pendingCoordinationAction"]["title"] == "Rename it"
    assert signal_of(lab)["pendingTaskIds"] == action["pendingTaskIds"]
    coordination_store.append_record(paths, 0, {**record, "summary": "Rename it", "status": "resolved"})
    for agent in ("A1", "A2"):
        lab.write(f"go-{agent}", "")
    done = lab.finish(child)
    assert done.returncode == 0, done.stderr
    assert signal_of(lab)["signal"] == "completed"
    assert {signal_of(lab, agent)["signal"] for agent in ("A0", "A1", "A2")} == {"completed"}

    events = lab.events("wave_signal")
    assert {(event["entityId"], event["action"]) for event in events} == {("wave-0", "updated")}
    versions = [event["data"]["version"] for event in events]
    assert versions == list(range(1, signal_of(lab)["version"] + 1))
    told = [event["data"]["signal"] for event in events]
    assert told[0] == "waiting" and told[-1] == "completed" and "feedback-requested" in told
    of_a1 = [event["data"]["signal"] for event in lab.events("agent_signal") if event["entityId"].endswith("-agent-A1")]
    assert of_a1[0] == "waiting" and of_a1[-1] == "completed" and "feedback-answered" in of_a1


def test_the_resident_hears_on_the_board_when_it_is_to_wake(lab: LaunchLab) -> None:
    lab.script("ORCH", "while :; do sleep 0.05; done\n")
    paths = build_lane_paths(load_wave_config(str(lab.root)))
    child = lab.start("--resident-orchestrator")
    until(lab, "waiting", "resident-orchestrator")
    feedback_store.create_request(paths, 0, agent_id="A1", question="Which colour?")
    asked = until(lab, "feedback-requested", "resident-orchestrator")
    assert asked["shouldWake"] is True
    # It says that it saw this version: nothing changes but that it need not wake again.
    ack = {"agentId": "resident-orchestrator", "version": asked["version"], "signal": asked["signal"]}
    ack_path = Path(paths.signal_ack(0, "resident-orchestrator"))
    ack_path.parent.mkdir(parents=True, exist_ok=True)
    ack_path.write_text(json.dumps({**ack, "observedAt": asked["changedAt"]}))
    wait_until(lambda: signal_of(lab, "resident-orchestrator").get("shouldWake") is False, what="the acknowledgement")
    assert signal_of(lab, "resident-orchestrator")["version"] == asked["version"]
    for agent in ("A1", "A2"):
        lab.write(f"go-{agent}", "")
    lab.finish(child)
    entry = next(part for part in lab.board().split("\n## ") if "Event: resident_signal_updated." in part)
    assert "Status: running." in entry and "Which colour?" in entry


def test_a_failed_wave_ends_as_failed(lab: LaunchLab) -> None:
    for agent in ("A1", "A2"):
        lab.script(agent, "exit 3\n")
    done = lab.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1, done.stderr
    assert signal_of(lab)["signal"] == "failed"
    assert signal_of(lab, "A1")["signal"] == "failed"


def test_a_dry_run_gives_no_signals(lab: LaunchLab) -> None:
    assert lab.launch("--dry-run").returncode == 0
    assert not list(lab.root.glob(".tmp/**/signals/*.json"))
