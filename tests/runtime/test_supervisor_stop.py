"""Telling a supervisor to stop: once, twice, with --stop-agents, while another waits. Spec: SUP 8.3, 8.4, 10.1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from agent_lab import Lab
from launch_lab import DELTA, PROOF, labs
from supervisor_lab import CONTEXT, SupervisorLab
from waiting import wait_until

from wave_lib.base.processes import group_alive
from wave_lib.runtime.agent_outcomes import agent_alive

Make = Callable[..., SupervisorLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(SupervisorLab, tmp_path) as make:
        yield make


def with_an_agent(work: SupervisorLab, *flags: str) -> tuple[str, subprocess.Popen[str], Path]:
    """(run, supervisor, the gate its agent waits at); a second run is queued behind it."""
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit()
    child = work.owned(*flags)
    work.runtime(run, "A1")
    return run, child, gate


def stopping(work: SupervisorLab) -> None:
    wait_until(lambda: work.lease()["state"] == "stopping", what="the first signal to be heard")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_one_signal_leaves_the_agents_alone(lab: Make, number: int, code: int) -> None:
    work = lab()
    run, child, gate = with_an_agent(work)
    child.send_signal(number)
    assert work.finish(child).returncode == code
    assert work.lease()["state"] == "released"
    assert agent_alive(str(work.run_dir(run) / "agents/A1.runtime.json"))
    assert not (work.run_dir(run) / "cancel.json").exists()
    work.owned()
    gate.write_text("go\n")
    assert work.finished(run)["status"] == "completed"
    assert work.starts() == ["A0 0", "A1 0"]


def test_a_second_signal_ends_the_agents_and_the_queue_stays(lab: Make) -> None:
    work = lab()
    run, child, _ = with_an_agent(work)
    later = work.submit()
    record = work.runtime(run, "A1")
    child.send_signal(signal.SIGTERM)
    stopping(work)
    child.send_signal(signal.SIGTERM)
    assert work.finish(child).returncode == 0
    state = work.recorded(run)
    assert (state["status"], state["terminalDisposition"], state["exitCode"]) == ("failed", "cancelled", 130)
    assert work.observations(run)[-2:] == ["run-cancelled", "run-finished"]
    assert not group_alive(record["pgid"])
    assert work.recorded(later)["status"] == "pending"  # told to leave, it starts nothing more
    work.prints("A1", PROOF, DELTA)
    assert work.finish(work.supervise("--until-idle")).returncode == 0
    assert work.recorded(later)["status"] == "completed"
    assert work.recorded(run) == state


def test_a_second_interrupt_leaves_at_once_and_the_launcher_ends_the_agents(lab: Make) -> None:
    work = lab(supervisor={"terminationGraceSeconds": 5})
    work.script("A1", "trap 'read -r _ < bye; exit 1' TERM\nread -r _ < never\n")
    for name in ("never", "bye"):
        os.mkfifo(work.root / name)
    run = work.submit()
    child = work.owned()
    work.runtime(run, "A1")
    child.send_signal(signal.SIGINT)
    stopping(work)
    child.send_signal(signal.SIGINT)
    assert work.finish(child).returncode == 130
    assert agent_alive(str(work.run_dir(run) / "agents/A1.runtime.json"))  # it is still saying good-bye
    (work.root / "bye").write_text("\n")
    assert work.finished(run)["terminalDisposition"] == "cancelled"  # as readers see it
    assert work.wave("supervise", *CONTEXT, "--once").returncode == 0
    assert (work.recorded(run)["terminalDisposition"], work.recorded(run)["exitCode"]) == ("cancelled", 130)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_stop_agents(lab: Make, number: int, code: int) -> None:
    work = lab()
    run, child, _ = with_an_agent(work, "--stop-agents")
    later = work.submit()
    child.send_signal(number)
    assert work.finish(child).returncode == code
    assert work.recorded(run)["terminalDisposition"] == "cancelled"
    assert work.recorded(later)["status"] == "pending"


def test_stop_with_stop_agents_is_refused(lab: Make) -> None:
    done = lab().wave("supervise", *CONTEXT, "--stop", "--stop-agents")
    assert (done.returncode, "--stop and --stop-agents" in done.stderr) == (2, True), done.stderr


def test_a_supervisor_started_while_another_leaves_takes_its_place(lab: Make) -> None:
    """It must not answer that one is running already."""
    work = lab()
    run, child, gate = with_an_agent(work)
    child.send_signal(signal.SIGTERM)
    stopping(work)
    second = work.submit(daemon=True)  # reaches for a supervisor just then
    assert work.finish(child).returncode == 0
    wait_until(lambda: work.lease()["epoch"] == 2 and work.lease()["state"] == "active", what="the next one")
    gate.write_text("go\n")
    work.finished(run)
    work.prints("A1", PROOF, DELTA)
    assert work.finished(second)["status"] == "completed"


def test_an_orphan_of_a_long_finished_run_is_ended_before_a_new_one_starts(lab: Make, tmp_path: Path) -> None:
    """However many runs were finished since. SUP 10.1: every run of the root is asked."""
    work = lab()
    oldest = work.submit("--dry-run")
    newest = work.submit()
    for number in range(60):
        folder = work.home / "runs" / f"run-9{number:012d}-00000000"
        folder.mkdir()
        request = {**json.loads((work.run_dir(oldest) / "request.json").read_text()), "runId": folder.name}
        (folder / "request.json").write_text(json.dumps(request))
        (folder / "state.json").write_text(json.dumps({**work.recorded(oldest), "status": "completed"}))
    (work.run_dir(oldest) / "state.json").write_text(
        json.dumps({**work.recorded(oldest), "status": "completed", "terminalDisposition": "completed"})
    )
    agents = Lab(tmp_path)
    orphan = agents.start(
        "sleep 60", "A7", runtime_path=str(work.run_dir(oldest) / "agents/A7.runtime.json"), run_id=oldest
    )
    try:
        pgid = agents.running(orphan)["pgid"]
        done = work.finish(work.supervise("--until-idle"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert not group_alive(pgid)
        assert work.recorded(newest)["status"] == "completed"
        assert work.observations(newest)[1:3] == ["orphan-cleanup-started", "orphan-cleanup-finished"]
    finally:
        agents.clean_up()
        if orphan.child is not None:
            orphan.child.wait()
