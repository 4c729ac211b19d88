"""The world moves on between two looks: what the supervisor, its readers and the runner then decide. Spec: SUP 9, 14.

Each test patches one look so that something happens right before or right after it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from agent_lab import Lab, load
from launch_lab import labs
from supervisor_lab import SupervisorLab
from waiting import wait_until

from wave_lib.base.event_loop import EventLoop
from wave_lib.base.files import write_json
from wave_lib.base.lease import acquire_lease
from wave_lib.base.liveness import Liveness
from wave_lib.base.process_identity import Alive, identity_of
from wave_lib.base.processes import signal_process
from wave_lib.commands import attach_cli
from wave_lib.definition.supervisor_paths import SupervisorPaths
from wave_lib.engines.supervisor_decisions import decide
from wave_lib.runtime import agent_sessions, agent_waiting, resident_orchestrator, supervisor_facts
from wave_lib.runtime.agent_outcomes import agent_alive, examine_agent
from wave_lib.runtime.agent_process_runner import AgentRunner
from wave_lib.runtime.agent_records import files_of
from wave_lib.runtime.agent_waiting import AgentWait
from wave_lib.runtime.supervisor import Supervisor

Make = Callable[..., SupervisorLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.clean_up()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Make]:
    with labs(SupervisorLab, tmp_path) as make:
        yield make


def running(work: SupervisorLab, run: str) -> dict[str, Any]:
    """The snapshot of a run whose first launcher was started; nothing of it exists but the files."""
    folder = work.run_dir(run)
    (folder / "launcher.flock").touch()
    state = {
        **work.recorded(run),
        "status": "running",
        "terminalDisposition": "running",
        "recoveryState": "healthy",
        "launchGeneration": 1,
        "launcherIdentity": identity_of(os.getpid()).to_json(),
        "startedAt": "2026-01-01T00:00:00.000Z",
    }
    (folder / "state.json").write_text(json.dumps(state))
    return state


def paths_of(work: SupervisorLab) -> SupervisorPaths:
    return SupervisorPaths(str(work.root), str(work.home.parent))


def test_a_launcher_that_ends_while_it_is_looked_at_is_over_and_not_lost(
    work: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a resume left it was given up as failed, although its last word was there to be read."""
    place = work(supervisor={"resumeLimit": 0})
    run = place.submit()
    state, paths = running(place, run), paths_of(place)
    status = {"launchGeneration": 1, "exitCode": 0, "signal": None, "terminal": True}

    def dies_in_this_moment(*_: object) -> Liveness:
        (place.run_dir(run) / "launcher-status.json").write_text(json.dumps(status))
        return Liveness(Alive.DEAD, "lock")

    monkeypatch.setattr(supervisor_facts, "liveness", dies_in_this_moment)
    request = json.loads((place.run_dir(run) / "request.json").read_text())
    settings = supervisor_facts.Settings(resume_limit=0)
    seen = supervisor_facts.observe(paths, paths.run(run), state, request, settings)
    decision = decide(seen.facts)
    assert (decision.row, decision.disposition) == (9, "completed")


def test_an_agent_that_is_launched_while_its_launcher_is_looked_at_is_seen(
    work: Make, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = work()
    run = place.submit()
    state, paths = running(place, run), paths_of(place)
    runtime = str(place.run_dir(run) / "agents/A1.runtime.json")

    def starts_an_agent_and_dies(*_: object) -> Liveness:
        handle = lab.start("sleep 60", runtime_path=runtime, run_id=run)
        lab.running(handle)
        return Liveness(Alive.DEAD, "lock")

    monkeypatch.setattr(supervisor_facts, "liveness", starts_an_agent_and_dies)
    seen = supervisor_facts.observe(paths, paths.run(run), state, None, supervisor_facts.DEFAULTS)
    assert seen.facts.live_agent_ids == ("A1",)
    assert decide(seen.facts).disposition == "launcher-lost-agents-running"


def test_an_agent_that_ended_in_time_is_no_timeout(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher slept over the deadline (a frozen container): what the runner wrote meanwhile counts."""
    handle = lab.start("echo done")
    assert handle.child is not None
    wait_until(lambda: load(handle.status_path), what="the status")
    handle.child.wait()
    with EventLoop() as loop:
        wait = AgentWait(loop, grace_seconds=0.2)
        monkeypatch.setattr(wait, "_watch_runner", lambda active: None)  # that news has not been heard yet
        wait.add(handle)
        wait._overdue(wait._active["A1"])
        result = wait.run()
    assert (result.failures, result.timed_out) == ([], False)


def test_an_executor_that_ended_before_the_order_to_stop_has_ended_by_itself(lab: Lab) -> None:
    os.mkfifo(lab.root / "gate")
    handle = lab.start("read -r _ < gate; echo done")
    record = lab.running(handle)
    os.kill(record["runnerPid"], signal.SIGSTOP)
    (lab.root / "gate").write_text("go\n")
    wait_until(lambda: load(files_of(handle.runtime_path).exit), what="the exit record")
    os.kill(record["runnerPid"], signal.SIGTERM)  # both are there to be noticed when the runner wakes
    os.kill(record["runnerPid"], signal.SIGCONT)
    status = wait_until(lambda: load(handle.status_path), what="the status")
    assert (status["code"], status["exitReason"]) == (0, "completed")


def test_a_tree_whose_runner_is_only_just_going_is_looked_at_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dying runner lets go of one lock before the other; its agent is not lost in between."""
    handle = lab.start("exit 7")
    assert handle.child is not None
    wait_until(lambda: load(handle.status_path), what="the status")
    handle.child.wait()
    record = load(handle.runtime_path)
    record["terminalDisposition"] = "running"
    Path(handle.runtime_path).write_text(json.dumps(record))
    os.unlink(handle.status_path)  # as if the runner had been killed before it wrote it
    going = [True]
    really_held = agent_waiting.locks.held

    def held(path: str) -> bool:
        return going[0] if path.endswith(".runner.flock") else bool(really_held(path))

    monkeypatch.setattr(agent_waiting.locks, "held", held)
    monkeypatch.setattr(agent_waiting, "_LOCK_POLL_SECONDS", 0.05)
    with EventLoop() as loop:
        loop.call_later(0.02, lambda: going.clear() or going.append(False))
        wait = AgentWait(loop)
        wait.add(handle)
        result = wait.run()
    assert [failure["statusCode"] for failure in result.failures] == ["7"]


def test_an_order_to_stop_that_overtakes_the_news_of_the_end(lab: Lab) -> None:
    """Where processes are polled, the runner hears of a signal long before it hears that its executor ended."""
    request = lab.request("true")
    record = agent_sessions._first_record(request)
    write_json(request.runtime_path, record)
    with EventLoop(use_pidfd=False) as loop:
        runner = AgentRunner(agent_sessions._payload(request, record, {}, None), loop)
        runner.begin()
        wait_until(lambda: load(files_of(request.runtime_path).exit), what="the exit record")
        assert runner.child is not None
        wait_until(lambda: runner.child is not None and runner.child.poll() is not None, what="the shim to end")
        loop.call_later(0, lambda: runner._told_to_stop(143, "sigterm"))
        loop.run()
    assert load(request.status_path)["code"] == 0


def test_a_resident_that_ends_well_between_two_looks_ended_well(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(lab.root / "gate")
    handle = lab.start("read -r _ < gate")
    lab.running(handle)
    said: list[str] = []

    def alive_until_asked(path: str) -> bool:
        (lab.root / "gate").write_text("go\n")
        wait_until(lambda: not agent_alive(path), what="the agent to end")
        return False

    monkeypatch.setattr(agent_sessions, "agent_alive", alive_until_asked)
    for name in ("event", "board"):
        monkeypatch.setattr(resident_orchestrator.report, name, lambda *words: said.append(str(words)))
    ctx: Any = types.SimpleNamespace(resident=handle, resident_reported=False, lane=None, number=0)
    assert resident_orchestrator.watch(ctx)
    assert "ended (exit 0)" in said[0] and "resident_orchestrator_exit" in said[1]


def test_what_is_printed_while_attach_reads_the_tail_is_not_lost(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    handle = lab.start("echo before")
    lab.wait(handle)
    log = Path(handle.log_path)
    tail = attach_cli._tail_lines

    def tail_and_more(*arguments: Any) -> bytes:
        seen = tail(*arguments)
        with log.open("a") as file:
            file.write("in between\n")
        return bytes(seen)

    monkeypatch.setattr(attach_cli, "_tail_lines", tail_and_more)
    attach_cli._Follower(handle.log_path, handle.runtime_path, 10).run()
    lines = capfdbinary.readouterr().out.splitlines()
    assert (lines[0], lines[-1], lines.count(b"in between")) == (b"before", b"in between", 1)


def test_attach_ends_when_an_agent_died_and_nobody_takes_it_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach_cli, "_LIFELESS_SECONDS", 0.1)
    handle = lab.start("echo here; sleep 60")
    record = lab.running(handle)
    pid_record = Path(files_of(handle.runtime_path).pid)
    wait_until(lambda: pid_record.exists() and pid_record.read_text(), what="the executor to begin")
    os.kill(record["runnerPid"], signal.SIGKILL)
    os.killpg(record["pgid"], signal.SIGKILL)
    wait_until(lambda: not agent_alive(handle.runtime_path), what="its death")
    attach_cli._Follower(handle.log_path, handle.runtime_path, 10).run()
    found, left = examine_agent(handle.runtime_path)
    assert "nobody has recorded how it ended" in attach_cli._how_it_ended(found, left or {})


def test_a_run_that_appears_in_the_tick_of_the_last_look_is_found(work: Make) -> None:
    """File systems stamp folders coarsely: a second change within a tick does not move the stamp."""
    place = work()
    place.submit("--dry-run")
    supervisor = Supervisor.__new__(Supervisor)
    supervisor.paths, supervisor._seen_folder, supervisor._adopted = paths_of(place), None, True
    supervisor.runs, supervisor.over, taken = {}, set(), []  # type: ignore[var-annotated]
    supervisor._take_over = lambda run_id: taken.append(run_id)  # type: ignore[method-assign]
    supervisor._discover()
    before = os.stat(place.home / "runs")
    second = place.submit("--dry-run")
    os.utime(place.home / "runs", ns=(before.st_atime_ns, before.st_mtime_ns))
    supervisor._discover()
    assert second in taken


def test_a_lease_is_read_back_when_no_file_can_be_opened(tmp_path: Path) -> None:
    """Short of descriptors is not fenced."""
    lease = acquire_lease(str(tmp_path / "daemon.lock"), {"supervisorId": "s"}, 5.0)
    assert lease is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert lease.ours()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        lease.release()


def test_a_signal_goes_to_the_recorded_process_or_to_nobody() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        identity = identity_of(child.pid)
        assert not signal_process(identity._replace(start_time="1"), signal.SIGKILL)
        assert not signal_process(identity._replace(pid_namespace="1"), signal.SIGKILL)
        assert child.poll() is None
        assert signal_process(identity, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert not signal_process(identity, signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
