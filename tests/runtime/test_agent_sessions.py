"""Starting, adopting, ending, finalising and resuming agents, with real kills. Spec: SUP 10.3, 16.7, 16.8, 17.11."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_lab import Lab, load, session
from waiting import wait_until

from wave_lib.base import locks
from wave_lib.base.processes import pid_exists, processes_marked
from wave_lib.runtime import agent_sessions
from wave_lib.runtime.agent_records import files_of
from wave_lib.runtime.agent_sessions import (
    AgentHandle,
    Found,
    Termination,
    agent_alive,
    examine_agent,
    finalise_lost_agent,
    start_agent,
    take_up,
    terminate_agent_tree,
    terminate_agents,
)
from wave_lib.runtime.executors.launch_spec import LaunchSpec
from wave_lib.runtime.session_resume import write_resume_prompts


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.clean_up()


def kill_runner(record: dict[str, Any]) -> None:
    os.kill(record["runnerPid"], signal.SIGKILL)


def kill_everything(lab: Lab, handle: AgentHandle) -> dict[str, Any]:
    """SIGKILL runner, shim and executor: nothing is left that could record an exit code."""
    record = lab.running(handle)
    pid_record = Path(files_of(handle.runtime_path).pid)
    wait_until(lambda: pid_record.exists() and pid_record.read_text(), what="the executor to begin")
    os.kill(record["runnerPid"], signal.SIGKILL)
    os.killpg(record["pgid"], signal.SIGKILL)
    wait_until(lambda: not locks.held(files_of(handle.runtime_path).tree_lock), what="the tree to be gone")
    return record


def test_the_tree_lock_is_held_from_before_the_spawn_until_the_last_process_is_gone(lab: Lab) -> None:
    handle = lab.start("sleep 60")
    tree = files_of(handle.runtime_path).tree_lock
    assert locks.held(tree)
    record = lab.running(handle)
    kill_runner(record)
    assert locks.held(tree) and agent_alive(handle.runtime_path)
    os.killpg(record["pgid"], signal.SIGKILL)
    wait_until(lambda: not locks.held(tree), what="the tree lock to be free")
    assert not agent_alive(handle.runtime_path)


def test_runner_killed_executor_ends_zero_later(lab: Lab) -> None:
    os.mkfifo(lab.root / "gate")
    handle = lab.start("read -r _ < gate; echo late")
    kill_runner(lab.running(handle))
    (lab.root / "gate").write_text("go\n")
    result = lab.wait(handle)
    assert result.failures == []
    status = load(handle.status_path)
    assert (status["code"], status["launchId"]) == (0, handle.launch_id)
    assert load(handle.runtime_path)["outcomeSource"] == "exit-record"


def test_finalise_without_exit_record_marks_the_agent_lost(lab: Lab) -> None:
    handle = lab.start("sleep 60")
    kill_everything(lab, handle)
    assert examine_agent(handle.runtime_path)[0] is Found.DIED
    assert finalise_lost_agent(handle.runtime_path) is None
    record = load(handle.runtime_path)
    assert (record["terminalDisposition"], record["exitReason"], record["exitCode"]) == ("failed", "runner-lost", None)
    assert not os.path.exists(handle.status_path)


def test_an_exit_record_of_another_launch_is_not_taken(lab: Lab) -> None:
    handle = lab.start("sleep 60")
    record = kill_everything(lab, handle)
    files = files_of(handle.runtime_path)
    foreign = {"code": 0, "tryIndex": record["tryIndex"], "attempt": record["attempt"], "nonce": "other"}
    Path(files.exit).write_text(json.dumps(foreign))
    assert finalise_lost_agent(handle.runtime_path) is None


def test_a_status_without_a_terminal_record_is_completed(lab: Lab) -> None:
    handle = lab.start("exit 3")
    lab.wait(handle)
    record = load(handle.runtime_path)
    record.update(terminalDisposition="running", exitCode=None)
    Path(handle.runtime_path).write_text(json.dumps(record))
    status = finalise_lost_agent(handle.runtime_path)
    assert status is not None and status["code"] == 3
    assert load(handle.runtime_path)["terminalDisposition"] == "failed"


def test_adopt_waits_for_a_live_agent_and_runs_nothing_twice(lab: Lab) -> None:
    os.mkfifo(lab.root / "gate")
    handle = lab.start("echo run >> runs; read -r _ < gate")
    lab.running(handle)
    adopted = take_up(lab.started[0])
    assert adopted is not None and adopted.adopted and adopted.launch_id == handle.launch_id
    (lab.root / "gate").write_text("go\n")
    result = lab.wait(adopted)
    assert result.failures == [] and (lab.root / "runs").read_text() == "run\n"


def test_an_agent_that_ends_right_after_the_look_is_not_started_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(lab.root / "gate")
    handle = lab.start("read -r _ < gate")
    lab.running(handle)

    def look_and_let_it_end(path: str) -> tuple[Found, dict[str, Any] | None]:
        seen = examine_agent(path)
        if seen[0] is Found.LIVE:
            (lab.root / "gate").write_text("go\n")
            wait_until(lambda: not agent_alive(path), what="the agent to end")
        return seen

    monkeypatch.setattr(agent_sessions, "examine_agent", look_and_let_it_end)
    taken = take_up(lab.started[0])
    assert taken is not None and taken.launch_id == handle.launch_id
    assert lab.wait(taken).failures == []


def test_take_up_follows_the_table(lab: Lab) -> None:
    request = lab.request("sleep 60")
    assert take_up(request) is None  # nothing there
    handle = start_agent(request)
    record = lab.running(handle)
    taken = take_up(request)
    assert taken is not None and taken.launch_id == handle.launch_id
    assert take_up(request._replace(prompt_hash="edited")) is None  # another definition: ended
    assert not pid_exists(record["executorPid"]) or not agent_alive(request.runtime_path)
    assert handle.child is not None
    handle.child.wait()


def test_take_up_of_a_finished_and_of_a_lost_agent(lab: Lab) -> None:
    request = lab.request("exit 4")
    lab.wait(start_agent(request))
    finished = take_up(request)
    assert finished is not None
    assert lab.wait(finished).failures[0]["statusCode"] == "4"
    assert take_up(request._replace(attempt=2)) is None
    request = lab.request("sleep 60", "A2")
    kill_everything(lab, start_agent(request))
    lost = take_up(request)
    assert lost is not None
    assert lab.wait(lost).failures[0] == {
        "agentId": "A2", "statusCode": "missing-status", "logPath": request.log_path, "detail": "runner-lost",
    }  # fmt: skip


def test_an_agent_that_never_started_is_launched_again(lab: Lab) -> None:
    handle = lab.start("true")
    lab.wait(handle)
    files = files_of(handle.runtime_path)
    record = load(handle.runtime_path)
    record["terminalDisposition"] = "launching"
    Path(files.runtime).write_text(json.dumps(record))
    for path in (handle.status_path, files.exit, files.pid):
        os.unlink(path)
    assert examine_agent(handle.runtime_path)[0] is Found.NEVER_STARTED
    assert take_up(lab.started[0]) is None


def test_starting_again_ends_what_is_left_and_keeps_the_log(lab: Lab) -> None:
    history = str(lab.root / "history")
    first = lab.start("echo one; sleep 60 & wait")
    old = lab.running(first)
    wait_until(lambda: "one" in (lab.root / "logs/a1.log").read_text(), what="output")
    second = lab.start("echo two", history_dir=history)
    assert lab.wait(second).failures == []
    assert not pid_exists(old["executorPid"]) or not agent_alive(first.runtime_path)
    assert (lab.root / "logs/a1.log").read_text().startswith("two\n")
    assert (lab.root / "logs/a1.log.prev").read_text().startswith("one\n")
    assert os.listdir(history) == ["A1.wave-0.attempt-1.1.runtime.json"]
    assert first.child is not None
    first.child.wait()


def test_left_over_children_of_a_finished_agent_do_not_stand_in_the_way(lab: Lab) -> None:
    lab.wait(lab.start("sleep 60 > /dev/null 2>&1 & echo $! > child"))
    assert lab.wait(lab.start("true")).failures == []
    child = int((lab.root / "child").read_text())
    wait_until(lambda: not pid_exists(child), what="the left-over child to be gone")


@pytest.mark.parametrize("runner", [True, False])
def test_terminate_ends_stubborn_and_stopped_and_escaped_processes(lab: Lab, runner: bool) -> None:
    script = "trap '' TERM; setsid sh -c \"trap '' TERM; echo \\$\\$ > away; sleep 60\" & sleep 61"
    handle = lab.start(script, grace_seconds=0.3)
    record = lab.running(handle)
    wait_until(lambda: (lab.root / "away").exists() and (lab.root / "away").read_text(), what="the escaped child")
    os.killpg(record["pgid"], signal.SIGSTOP)
    if not runner:
        kill_runner(record)
    outcome = terminate_agent_tree(handle.runtime_path, "cancelled", 0.3)
    assert outcome.signalled and outcome.gone
    assert outcome.escalated or runner, "with a runner, either of the two comes first"
    away = int((lab.root / "away").read_text())
    wait_until(lambda: not pid_exists(away), what="the escaped child to be gone")
    assert lab.wait(handle).failures[0]["statusCode"] == ("143" if runner else "missing-status")
    assert load(handle.runtime_path)["detail"] == ("cancelled" if runner else None)


def test_terminate_several_at_once(lab: Lab) -> None:
    handles = [lab.start("sleep 60", f"A{number}") for number in (1, 2, 3)]
    for handle in handles:
        lab.running(handle)
    outcomes = terminate_agents([handle.runtime_path for handle in handles], "cancelled", 2.0)
    assert [outcome.gone for outcome in outcomes] == [True, True, True]
    assert {load(handle.status_path)["exitReason"] for handle in handles} == {"sigterm"}
    lab.wait(*handles)


def test_a_stranger_with_the_recorded_number_is_not_signalled(lab: Lab) -> None:
    stranger = lab.start("sleep 60", "A2")
    living = lab.running(stranger)
    handle = lab.start("true")
    lab.wait(handle)
    record = load(handle.runtime_path)
    record.update(pgid=living["pgid"], pid=living["pgid"], terminalDisposition="running")
    for key in ("executorIdentity", "runnerIdentity"):
        record[key].update(pid=living["pgid"], startTime="1")
    Path(handle.runtime_path).write_text(json.dumps(record))
    assert not terminate_agent_tree(handle.runtime_path, "cancelled", 0.1).signalled
    assert agent_alive(stranger.runtime_path)
    terminate_agent_tree(stranger.runtime_path, "done", 1.0)
    lab.wait(stranger)


RESUMABLE = "echo begun; echo start $1 >> calls; sleep 60"


def resumable(lab: Lab, resume: str, **plan: str) -> LaunchSpec:
    spec = lab.spec("", argv=("sh", "-c", RESUMABLE, "sh", "{sessionId}"))
    return spec._replace(session=session(resume, **plan))


def test_a_killed_session_is_resumed_in_the_same_attempt(lab: Lab) -> None:
    spec = resumable(lab, "echo resume $1 >> calls; cat; echo '[wave-proof] rest'")
    handle = lab.start(spec=spec)
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    record = kill_everything(lab, handle)
    result = lab.wait(handle)
    assert result.failures == []
    status, now = load(handle.status_path), load(handle.runtime_path)
    calls = [line.split() for line in (lab.root / "calls").read_text().splitlines()]
    assert [call[0] for call in calls] == ["start", "resume"] and calls[0][1] == calls[1][1]
    assert now["launchId"] != handle.launch_id and now["attempt"] == 1 and now["tryIndex"] == 2
    assert now["agentSession"]["resumes"] == 1 and now["deadlineAt"] == record["deadlineAt"]
    log = (lab.root / "logs/a1.log").read_bytes()
    assert log.startswith(b"begun\n") and status["logOffset"] == 0
    told = log[slice(*status["ignoreRanges"][0])].decode()
    assert "killed from outside" in told and "unknown" in told


def test_a_session_is_resumed_again_when_it_is_killed_again(lab: Lab) -> None:
    """Its first words stay its own, and a call that an earlier kill cut off is not named as under way now."""
    item = {"id": "i1", "type": "command_execution", "command": "make all"}
    begun, turn = json.dumps({"type": "item.started", "item": item}), json.dumps({"type": "thread.started"})
    spec = lab.spec("", argv=("sh", "-c", f"echo '{begun}'; echo start $1 >> calls; sleep 60", "sh", "{sessionId}"))
    again = f"echo '{turn}'; echo resume $1 >> calls; cat; [ -e third ] || {{ touch third; sleep 60; }}"
    handle = lab.start(spec=spec._replace(session=session(again)))
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    kill_everything(lab, handle)
    told = [write_resume_prompts(lab.started[0], load(handle.runtime_path))[0]]
    texts = [Path(told[0]).read_text()]
    second = agent_sessions.take_up(lab.started[0])
    assert second is not None
    wait_until(lambda: (lab.root / "third").exists(), what="the second try")
    kill_everything(lab, second)
    assert lab.wait(second).failures == []
    texts.append(Path(told[0]).read_text())
    assert ["make all" in text for text in texts] == [True, False]
    calls = [line.split() for line in (lab.root / "calls").read_text().splitlines()]
    assert [call[0] for call in calls] == ["start", "resume", "resume"] and len({call[1] for call in calls}) == 1
    record, status = load(handle.runtime_path), load(handle.status_path)
    assert (record["agentSession"]["resumes"], record["attempt"], status["logOffset"]) == (2, 1, 0)


def test_a_session_that_the_cli_forgot_starts_again_with_the_whole_prompt(lab: Lab) -> None:
    script = "echo $0 $1 >> calls; cat; if [ -e again ]; then exit 0; fi; touch again; sleep 60"
    spec = lab.spec("", argv=("sh", "-c", script, "start", "{sessionId}"))
    spec = spec._replace(session=session("echo No conversation found; exit 1", lost="No conversation found"))
    handle = lab.start(spec=spec)
    wait_until(lambda: (lab.root / "again").exists(), what="the first start")
    kill_everything(lab, handle)
    before = os.stat(handle.log_path).st_size
    assert lab.wait(handle).failures == []
    calls = [line.split() for line in (lab.root / "calls").read_text().splitlines()]
    assert [call[0] for call in calls] == ["start", "start"] and calls[0][1] != calls[1][1]
    status, log = load(handle.status_path), Path(handle.log_path).read_bytes()
    assert status["logOffset"] >= before, "what the lost conversation said is no longer the agent's word"
    told = log[status["logOffset"] :].decode()
    assert told.startswith(Path(lab.started[0].prompt_path).read_text())
    assert "An earlier try of this task was killed" in told and "Look before you repeat it" in told


@pytest.mark.parametrize(
    "words", ["echo 'It says: No conversation found'", "yes | head -c 9000; echo No conversation found"]
)
def test_an_agent_that_says_such_words_itself_is_not_started_again(lab: Lab, words: str) -> None:
    spec = resumable(lab, f"{words}; exit 3")._replace(use_rate_limit_retries=False)
    assert spec.session is not None
    handle = lab.start(spec=spec._replace(session=spec.session._replace(lost_pattern="(?m)^No conversation found")))
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    kill_everything(lab, handle)
    assert [failure["statusCode"] for failure in lab.wait(handle).failures] == ["3"]
    assert (lab.root / "calls").read_text().split()[::2] == ["start"]


def test_a_kill_in_the_middle_of_resuming_costs_no_conversation(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file is there when the launcher dies: the session goes on, nothing is started a second time."""
    handle = lab.start(spec=resumable(lab, "echo resume $1 >> calls"))
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    kill_everything(lab, handle)

    class Killed(BaseException):
        pass

    def die(path: str) -> None:
        raise Killed(path)

    real = agent_sessions.remove
    for number in range(3):
        left = iter([real] * number + [die])
        monkeypatch.setattr(agent_sessions, "remove", lambda path, left=left: next(left)(path))
        with pytest.raises(Killed):
            agent_sessions.take_up(lab.started[0])
    monkeypatch.setattr(agent_sessions, "remove", real)
    again = agent_sessions.take_up(lab.started[0]._replace(resume_limit=9))
    assert again is not None and lab.wait(again).failures == []
    assert [line.split()[0] for line in (lab.root / "calls").read_text().splitlines()] == ["start", "resume"]


# An executor that runs a shell in a session of its own without any of its descriptors, as claude and codex do.
SHELL_APART = """import subprocess, sys, time
subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
open("calls", "a").write("start\\n")
time.sleep(60 if "stay" in sys.argv else 0)
"""


def shells(handle: AgentHandle) -> list[int]:
    return processes_marked("WAVE_AGENT_NONCE", handle.launch_id)


def test_a_shell_that_outlives_its_cli_is_ended_before_the_session_goes_on(lab: Lab) -> None:
    spec = lab.spec("", argv=(sys.executable, "-c", SHELL_APART, "stay", "{sessionId}"))
    handle = lab.start(spec=spec._replace(session=session("echo resumed >> calls")))
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    record = load(handle.runtime_path)
    shell = [pid for pid in shells(handle) if os.getpgid(pid) != record["pgid"] and pid != record["runnerPid"]]
    assert len(shell) == 1
    os.kill(record["runnerPid"], signal.SIGKILL)
    os.killpg(record["pgid"], signal.SIGKILL)
    begun = time.monotonic()
    assert lab.wait(handle).failures == []
    assert shells(handle) == [] and time.monotonic() - begun < 4, "nobody waits longer than the shell takes to end"
    assert (lab.root / "calls").read_text().split() == ["start", "resumed"]


def test_ending_an_agent_ends_its_shells_too(lab: Lab) -> None:
    """Cancelled in the middle of a shell call: the command must not go on. SUP 16.7 (step 6)."""
    handle = lab.start(spec=lab.spec("", argv=(sys.executable, "-c", SHELL_APART, "stay")))
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    assert terminate_agent_tree(handle.runtime_path, "cancelled", 5.0).gone
    assert shells(handle) == []
    lab.wait(handle)


@pytest.mark.parametrize("settled", [True, False])
def test_a_shell_whose_runner_is_gone_is_ended_too(lab: Lab, settled: bool) -> None:
    handle = lab.start(spec=lab.spec("", argv=(sys.executable, "-c", SHELL_APART, *([] if settled else ["stay"]))))
    wait_until(lambda: (lab.root / "calls").exists(), what="the first start")
    if settled:
        lab.wait(handle)
    else:
        kill_runner(lab.running(handle))
    assert shells(handle)
    assert terminate_agent_tree(handle.runtime_path, "cancelled", 5.0) == Termination(True, False, True)
    assert shells(handle) == []


def test_a_shell_that_outlives_its_agent_is_ended_by_the_next_launch(lab: Lab) -> None:
    first = lab.start(spec=lab.spec("", argv=(sys.executable, "-c", SHELL_APART)))
    lab.wait(first)
    assert len(shells(first)) == 1
    second = lab.start("true", attempt=2)
    assert shells(first) == [], "it would go on beside the next attempt"
    assert lab.wait(second).failures == []


@pytest.mark.parametrize("reason", ["switched-off", "limit", "edited"])
def test_a_session_that_may_not_go_on_is_lost(lab: Lab, reason: str) -> None:
    spec = resumable(lab, "echo resumed >> calls")
    changes = {"switched-off": {"resume_sessions": False}, "limit": {"resume_limit": 0}, "edited": {}}[reason]
    handle = lab.start(spec=spec, **changes)
    kill_everything(lab, handle)
    if reason == "edited":
        handle = handle._replace(request=lab.started[0]._replace(prompt_hash="other"))
    assert lab.wait(handle).failures[0]["statusCode"] == "missing-status"
    assert "resumed" not in ((lab.root / "calls").read_text() if (lab.root / "calls").exists() else "")


def test_the_resume_prompt_names_the_command_in_flight_and_the_changes(lab: Lab) -> None:
    item = {"id": "i2", "type": "command_execution", "command": "git push\nmake tag"}
    assert os.system(f"git init -q {lab.root} 2>/dev/null") == 0
    (lab.root / "mine.txt").write_text("x")
    (lab.root / "log").write_text(json.dumps({"type": "item.started", "item": item}))
    request = lab.request(owned_paths=("mine.txt",))
    paths = write_resume_prompts(request, {"logPath": str(lab.root / "log")})
    text = Path(paths[0]).read_text()
    assert "\n    git push\n    make tag\n" in text and "?? mine.txt" in text and "?? prompt.md" not in text
    assert request.prompt_path in text, "a CLI that lost the task as well can read it"
