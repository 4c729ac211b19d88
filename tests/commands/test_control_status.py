"""`wave control status`: what it says, and that it writes nothing. Spec: COORD 25.1-25.3, 26; cases 14, 20, 46-55."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from control_lab import ControlLab
from lane_lab import LOGS

from wave_lib.base.locks import take
from wave_lib.engines.task_snapshots import OPEN_STATES
from wave_lib.engines.wave_signals import SIGNALS
from wave_lib.runtime.control_status import read_payload
from wave_lib.state import log_checkpoint

FIELDS = [
    "lane", "wave", "agentId", "phase", "waveRunState", "executionState", "closureState", "controllerState",
    "blockingEdge", "logicalAgents", "tasks", "helperAssignments", "dependencies", "proofBundles",
    "feedbackRequests", "selectionSource", "rerunRequest", "relaunchPlan", "forwardedClosureGaps", "corridor",
    "supervisor", "nextTimer", "activeAttempt", "contradictions", "logDiagnostics", "signals",
]  # fmt: skip


@pytest.fixture
def lab(tmp_path, capsys):
    return ControlLab(tmp_path, capsys)


@pytest.fixture
def launcher(lab):
    """A launcher holds the lane."""
    lock = take(lab.paths.launcher_lock)
    yield lock
    lock.close()


def test_a_fresh_wave_is_planned_and_looking_at_it_writes_nothing(lab):
    before = lab.tree()
    payload = lab.status()
    assert list(payload) == FIELDS
    assert payload["phase"] == "planned" and payload["blockingEdge"] is None
    states = [payload[key] for key in ("executionState", "closureState", "controllerState", "selectionSource")]
    assert states == ["pending", "pending", "idle", "none"]
    signal = payload["signals"]["wave"]
    assert (signal["signal"], signal["version"], signal["pendingPersist"]) == ("stable", 1, True)
    assert "comparable" not in signal and payload["signals"]["resident"] is None
    assert {row["state"] for row in payload["logicalAgents"]} == {"planned"}
    assert lab.tree() == before


def test_reading_works_where_nothing_can_be_written(lab):
    lab.post("request", "A1", "--target", "agent:A2")
    folders = [lab.root / ".tmp", *(path for path in (lab.root / ".tmp").rglob("*") if path.is_dir())]
    before = lab.tree()
    for folder in folders:
        folder.chmod(0o500)
    try:
        for words in (["control", "status"], ["control", "task", "list"], ["coord", "show"], ["coord", "explain"]):
            code, _, err = lab.call(*words, "--lane", "main", "--wave", "0")
            assert code == 0, err
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert lab.tree() == before


def test_an_unknown_agent_and_an_unknown_wave_are_refused(lab):
    assert lab.fails("control", "status", "--agent", "NOPE") == (1, "[wave] Unknown wave agent id: NOPE\n")
    code, _, err = lab.call("control", "status", "--wave", "7")
    assert code == 1 and "Wave 7 not found in docs/plans/waves" in err
    assert lab.call("control", "frobnicate")[0] == 2
    assert lab.call("control", "status", "--wave", "0", "--frobnicate")[0] == 2


def test_a_running_attempt_without_a_launcher_is_stale(lab):
    lab.attempt("A1")
    payload = lab.status()
    assert payload["activeAttempt"]["live"] is False
    assert payload["executionState"] != "active" and payload["controllerState"] == "stale"
    assert payload["selectionSource"] == "none"


def test_while_an_attempt_lives_only_its_own_agents_can_be_blocked(lab, launcher):
    lab.attempt("A1")
    lab.plan("A0")
    lab.say("control", "task", "create", "--agent", "A0", "--kind", "human-input", "--summary", "May I?")
    payload = lab.status()
    assert payload["activeAttempt"]["live"] is True and payload["executionState"] == "active"
    assert payload["selectionSource"] == "active-attempt" and payload["blockingEdge"] is None
    assert lab.agent(payload, "A1")["state"] == "working"
    assert lab.agent(payload, "A0")["state"] == "blocked"
    assert payload["signals"]["wave"]["signal"] == "feedback-requested"


def test_a_hard_blocker_comes_before_a_rerun_request(lab):
    lab.say("control", "rerun", "request", "--agent", "A1")
    assert lab.status()["blockingEdge"]["kind"] == "rerun-request"
    blocker = lab.post("blocker", "A1", "--priority", "urgent")
    edge = lab.status()["blockingEdge"]
    assert (edge["kind"], edge["id"], edge["agentId"]) == ("blocker", blocker, "A1")


def test_a_failed_wave_is_failed(lab):
    lab.event("wave_run", "wave-0", "failed", waveId="wave-0")
    payload = lab.status()
    assert (payload["phase"], payload["closureState"]) == ("failed", "failed")
    assert payload["signals"]["wave"]["signal"] == "failed"
    assert payload["nextTimer"] is None and payload["waveRunState"]["action"] == "failed"
    assert lab.call("control", "status", "--wave", "0", "--exit-code")[0] == 40


def test_a_failed_agent_that_is_selected_is_ready_to_resume(lab):
    lab.ran("A1", code=1)
    assert lab.agent(lab.status(), "A1")["state"] == "needs-rerun"
    lab.say("control", "rerun", "request", "--agent", "A1")
    payload = lab.status()
    assert lab.agent(payload, "A1")["selectedForRerun"] is True
    signal = next(item for item in payload["signals"]["agents"] if item["agentId"] == "A1")
    assert signal["signal"] == "resume-ready"
    assert lab.call("control", "status", "--wave", "0", "--exit-code")[0] == 10


def test_every_role_is_judged_by_its_own_validator(lab):
    lab.ran("A1")
    lab.ran("A0", log=[LOGS["A0"][0].replace("docs=pass", "docs=blocked"), "[wave-verdict] blocked detail=no"])
    payload = lab.status()
    assert lab.agent(payload, "A1")["closureState"] == "passed"
    judge = lab.agent(payload, "A0")
    assert (judge["state"], judge["closureState"]) == ("needs-rerun", "failed") and judge["reason"]


def test_an_agent_without_its_marker_needs_another_run(lab):
    lab.ran("A1", log=["nothing"])
    row = lab.agent(lab.status(), "A1")
    assert (row["state"], row["executionState"]) == ("needs-rerun", "settled")
    assert "missing-wave-proof" in row["reason"]


def test_a_filtered_view_leaves_the_wave_signal_alone(lab):
    lab.post("request", "A1", "--target", "agent:A2")
    first, filtered, again = lab.status(), lab.status("--agent", "A1"), lab.status()
    versions = [payload["signals"]["wave"]["version"] for payload in (first, filtered, again)]
    assert len(set(versions)) == 1 and "pendingPersist" not in again["signals"]["wave"]
    assert filtered["agentId"] == "A1" and [row["agentId"] for row in filtered["logicalAgents"]] == ["A1"]
    assert [item["agentId"] for item in filtered["signals"]["agents"]] == ["A1"]


def test_the_next_deadline_is_that_of_blocking_work(lab):
    lab.post("clarification-request", "A1", "--blocking", "false")
    asked = lab.post("request", "A1", "--target", "agent:A2")
    timer = lab.status()["nextTimer"]
    assert (timer["kind"], timer["taskId"], timer["assigneeAgentId"]) == ("ack", asked, "A2")


def test_a_garbage_line_is_shown_with_its_place(lab):
    lab.post("claim")
    with open(lab.paths.coordination_log(0), "a", encoding="utf-8") as log:
        log.write("garbage\n")
    (line,) = lab.status()["logDiagnostics"]
    assert line["path"] == ".tmp/main-wave-launcher/coordination/wave-0.jsonl" and line["line"] > 1


def test_forwarded_gaps_are_sorted_by_stage_and_shown_as_text(lab):
    gap = {"agentId": "A1", "attempt": 1, "detail": "not\nyet", "targets": ["A0", "A1"], "resolved": False}
    gaps = [{**gap, "stageKey": "cont-qa-closure"}, {**gap, "stageKey": "security-review"}]
    lab.plan("A1")
    plan = json.loads(Path(lab.paths.relaunch_plan(0)).read_text())
    lab.write(lab.paths.relaunch_plan(0), json.dumps({**plan, "forwardedClosureGaps": gaps}))
    payload = lab.status()
    assert [item["stageKey"] for item in payload["forwardedClosureGaps"]] == ["security-review", "cont-qa-closure"]
    assert payload["closureState"] == "blocked" and payload["controllerState"] == "relaunch-planned"
    _, out, _ = lab.call("control", "status", "--lane", "main", "--wave", "0")
    assert "forwarded-closure-gaps:\n- security-review agent=A1 attempt=1 targets=A0,A1 detail=not yet" in out
    assert "\x1b" not in out


def test_the_text_is_aligned_and_plain_without_a_terminal(lab):
    lab.post("blocker", "A1", "--priority", "urgent", "--detail", "\x1b[31mred")
    _, out, _ = lab.call("control", "status", "--lane", "main", "--wave", "0")
    lines = out.splitlines()
    assert lines[0] == "lane=main wave=0 phase=planned"
    assert lines[2].startswith("signal=coordination-action lane=main wave=0 ")
    assert lines[3].startswith("blocking=blocker ") and "\x1b" not in out
    rows = [line for line in lines[lines.index("logical-agents:") + 1 :]]
    assert len({row.index("execution=") for row in rows}) == 1 and len(rows) == 3


def test_without_a_wave_the_one_that_matters_is_shown(lab):
    assert json.loads(lab.call("control", "status", "--json")[1])["wave"] == 0
    lab.write("docs/plans/waves/wave-3.md", (lab.root / "docs/plans/waves/wave-0.md").read_text().replace("e 0", "e 3"))
    waves = {"0": {"currentState": "completed"}, "3": {"currentState": "blocked"}}
    lab.write(lab.paths.run_state, json.dumps({"schemaVersion": 2, "kind": "wave-run-state", "waves": waves}))
    assert json.loads(lab.call("control", "status", "--json")[1])["wave"] == 3


def test_the_text_is_made_without_the_closed_tasks_and_says_the_same(lab):
    """What is closed matters to the list of tasks only; leaving it out keeps long-lived waves quick to look at."""
    for kind in ("request", "blocker", "claim", "clarification-request"):
        lab.post(kind)
        lab.say("control", "task", "act", "resolve", "--id", lab.post(kind, "A2"))
    question = lab.say("feedback", "ask", "--agent", "A1", "--question", "Which?", "--json")["id"]
    lab.say("feedback", "ask", "--agent", "A2", "--question", "What?", "--json")
    lab.say("control", "task", "act", "dismiss", "--id", question)
    whole, part = read_payload(lab.scene), read_payload(lab.scene, only_open=True)
    closed = [task["taskId"] for task in whole["tasks"] if task["state"] not in OPEN_STATES]
    assert len(closed) == 5 and [task for task in whole["tasks"] if task["taskId"] not in closed] == part["tasks"]
    for agent in (*whole["logicalAgents"], *part["logicalAgents"]):
        agent["taskIds"] = [task for task in agent["taskIds"] if task not in closed]
    assert {**whole, "tasks": []} == {**part, "tasks": []}


def test_checkpoints_are_written_by_who_changes_something_and_decide_nothing(lab, monkeypatch):
    monkeypatch.setattr(log_checkpoint, "LEAST", 1)
    lab.attempt("A1")
    lab.post("request", "A1", "--target", "agent:A2")
    files = [Path(lab.paths.coordination_checkpoint(0)), Path(lab.paths.control_plane_checkpoint(0))]
    assert all(file.exists() for file in files)
    with_them = lab.status()
    for file in files:
        file.unlink()
    before = lab.tree()
    assert lab.status() == with_them
    assert lab.tree() == before  # a reader makes no new ones


def test_the_edge_of_a_question_names_the_question_and_not_its_background(lab):
    asked = ("--kind", "human-input", "--agent", "A1", "--summary", "Which port?", "--detail", "4711 is taken")
    lab.say("control", "task", "create", *asked)
    assert lab.status()["blockingEdge"]["detail"] == "Which port?"
    _, out, _ = lab.call("control", "status", "--wave", "0")
    assert any(line.startswith("blocking=human-input") and line.endswith(": Which port?") for line in out.splitlines())


def test_signals_are_of_the_known_kinds(lab):
    lab.post("request", "A1", "--target", "agent:A2")
    payload = lab.status()
    found = {payload["signals"]["wave"]["signal"], *(item["signal"] for item in payload["signals"]["agents"])}
    assert found <= set(SIGNALS) and "coordination-action" in found


def test_adjudications_and_telemetry_are_shown_without_writing(lab):
    record = {"kind": "wave-closure-adjudication", "agentId": "A1", "attempt": 2, "status": "pass", "createdAt": "x"}
    lab.write(lab.paths.closure_record(0, 2, "A1"), json.dumps(record))
    before = lab.tree()
    shown = lab.say("control", "adjudication", "get", "--agent", "A1")
    assert [item["attempt"] for item in shown["adjudications"]] == [2]
    assert shown["adjudications"][0]["filePath"] == lab.paths.rel(lab.paths.closure_record(0, 2, "A1"))
    code, out, _ = lab.call("control", "telemetry", "status", "--lane", "main", "--json")
    telemetry = json.loads(out)
    assert code == 0 and telemetry["pendingCount"] == 0 and telemetry["telemetryDir"]
    assert lab.call("control", "telemetry", "send")[0] == 2
    assert lab.tree() == before
