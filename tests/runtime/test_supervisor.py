"""The supervisor with real processes: launch, adoption, recovery, cancellation, deferral. Spec: SUP 8-14, 21."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from launch_lab import DELTA, GAP, PROOF, labs
from supervisor_lab import CONTEXT, SupervisorLab
from waiting import wait_until

from wave_lib.base.processes import group_alive
from wave_lib.base.timestamps import parse_iso

Make = Callable[..., SupervisorLab]
KILL_LAUNCHER = (
    r"""kill -9 $(sed -n 's/.*"launcherPid": \([0-9]*\).*/\1/p' .tmp/*/supervisor/runs/*/launcher-process.json)"""
    "\n"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(SupervisorLab, tmp_path) as make:
        yield make


def test_once_launches_and_leaves_and_the_run_ends_without_a_supervisor(lab: Make) -> None:
    """SUP 21 case 6, 5: nobody is needed to watch; the request never changes."""
    work = lab()
    run = work.submit()
    request = (work.run_dir(run) / "request.json").read_bytes()
    once = work.wave("supervise", *CONTEXT, "--once")
    assert once.returncode == 0, once.stderr
    view = work.finished(run)
    assert (view["status"], view["exitCode"], view["daemon"]["state"]) == ("completed", 0, "stopped")
    assert work.recorded(run)["status"] == "running"  # no supervisor has seen the end yet
    assert work.wave("supervise", *CONTEXT, "--once").returncode == 0
    assert work.recorded(run)["status"] == "completed"
    assert work.observations(run)[-1] == "run-finished"
    assert (work.run_dir(run) / "request.json").read_bytes() == request


def test_until_idle_does_the_queue_in_order(lab: Make) -> None:
    """SUP 21 case 7."""
    work = lab(waves=2)
    first = work.submit("--start-wave", "0", "--end-wave", "0")
    second = work.submit("--start-wave", "1", "--end-wave", "1")
    done = work.finish(work.supervise("--until-idle"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [work.recorded(run)["status"] for run in (first, second)] == ["completed", "completed"]
    assert [line.split()[2] for line in work.log()] == sorted(line.split()[2] for line in work.log())


def test_one_of_many_supervisors_wins(lab: Make) -> None:
    """SUP 21 case 8."""
    work = lab()
    children = [work.supervise("--idle-exit-seconds", "30") for _ in range(6)]
    wait_until(lambda: sum(child.poll() is None for child in children) == 1, what="all but one to leave")
    assert {child.returncode for child in children} == {None, 0}
    assert work.lease()["epoch"] == 1


def test_a_killed_supervisor_is_succeeded_and_nothing_is_started_again(lab: Make) -> None:
    """SUP 21 case 11."""
    work = lab()
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit()
    first = work.owned()
    work.runtime(run, "A1")
    wait_until(lambda: work.recorded(run)["launcherPid"], what="the launcher's pid")
    pid = work.recorded(run)["launcherPid"]
    first.kill()
    first.wait()
    work.owned()
    wait_until(lambda: work.recorded(run)["supervisorEpoch"] == 2, what="adoption")
    assert work.recorded(run)["launcherPid"] == pid
    assert "daemon-adopted" in work.observations(run)
    gate.write_text("go\n")
    assert work.finished(run)["status"] == "completed"
    assert work.starts() == ["A0 0", "A1 0"]


@pytest.mark.parametrize("whom", ["launcher", "launcher and wrapper"])
def test_a_lost_launcher_is_resumed_and_adopts(lab: Make, whom: str) -> None:
    """SUP 21 case 12."""
    work = lab()
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit()
    work.owned()
    work.runtime(run, "A1")
    process = work.process(run)
    if whom != "launcher":
        os.kill(process["pid"], signal.SIGKILL)
    os.kill(process["launcherPid"], signal.SIGKILL)
    wait_until(lambda: "resume-scheduled" in work.observations(run), what="the loss to be seen")
    assert work.view(run)["status"] == "running"
    wait_until(lambda: work.recorded(run)["launchGeneration"] == 2, what="the second launcher")
    gate.write_text("go\n")
    view = work.finished(run)
    assert (view["status"], view["exitCode"], view["resumeAttempts"]) == ("completed", 0, 1)
    assert work.starts() == ["A0 0", "A1 0"]
    assert "launcher-lost" in work.observations(run)


def test_everything_killed_at_once_goes_on_where_it_was(lab: Make) -> None:
    """A container that was killed: the agent of the first wave is not run again. SUP 13 (reboot, container restart)."""
    work = lab(waves=2)
    work.script("A1", f'[ "$2" = 1 ] && read -r _ < gate\n{work.echo(PROOF, DELTA)}')
    os.mkfifo(work.root / "gate")
    run = work.submit()
    supervisor = work.owned()
    wait_until(lambda: "start A1 1" in work.log(), what="the second wave")
    record = work.runtime(run, "A1")
    process = work.process(run)
    supervisor.kill()
    for pid in (process["pid"], process["launcherPid"], record["runnerPid"]):
        os.kill(pid, signal.SIGKILL)
    os.killpg(record["pgid"], signal.SIGKILL)
    supervisor.wait()
    work.script("A1", work.echo(PROOF, DELTA))
    work.owned()
    assert work.finished(run)["status"] == "completed"
    assert [name for name in work.starts() if name.endswith(" 0")] == ["A0 0", "A1 0"]
    argv = work.recorded(run)["launcherArgs"]
    assert argv[-3:] == ["--start-wave", "1", "--resume-control-state"]


def test_a_launcher_that_makes_no_progress_is_given_up(lab: Make) -> None:
    """SUP 21 case 16, first half."""
    work = lab(supervisor={"resumeLimit": 1})
    work.gate("A1", PROOF, DELTA)
    run = work.submit()
    work.owned()
    work.runtime(run, "A1")
    for generation in (1, 2, 3):  # the second adopts, which counts as progress; the third adds nothing to that
        wait_until(lambda wanted=generation: _adopting(work, run, wanted), what=f"launcher {generation}")
        os.kill(work.process(run)["launcherPid"], signal.SIGKILL)
    wait_until(lambda: work.recorded(run)["resumeAction"] == "wait-for-live-agents", what="no resume to be left")
    assert work.view(run)["resumeAction"] == "wait-for-live-agents"
    record = work.runtime(run, "A1")
    os.kill(record["runnerPid"], signal.SIGKILL)
    os.killpg(record["pgid"], signal.SIGKILL)
    view = work.finished(run)
    assert (view["status"], view["terminalDisposition"]) == ("failed", "launcher-lost-before-status")
    assert view["exitCode"] is None
    assert work.of("wait", run).returncode == 1


def test_success_is_inferred_when_no_resume_is_left(lab: Make) -> None:
    """SUP 9.3 row 16: every agent of the last wave succeeded, the gates pass, and nobody was there to say so."""
    work = lab(supervisor={"resumeLimit": 0})
    work.script("A0", KILL_LAUNCHER + (work.root / "agents/A0.sh").read_text())
    run = work.submit()
    work.owned()
    view = work.finished(run)
    assert (view["status"], view["recoveryState"]) == ("completed", "recovered-from-runtime-facts")
    assert (work.starts(), view["launchGeneration"]) == (["A0 0", "A1 0"], 1)
    entry = work.state("run-state.json")["waves"]["0"]
    assert (entry["currentState"], entry["lastEvidence"]["supervisorRunId"]) == ("completed", run)


def test_nothing_is_inferred_when_a_gate_fails(lab: Make) -> None:
    work = lab(supervisor={"resumeLimit": 0})
    work.script("A0", KILL_LAUNCHER + work.echo("nothing that counts"))
    run = work.submit()
    work.owned()
    assert work.finished(run)["terminalDisposition"] == "launcher-lost-before-status"


def _adopting(work: SupervisorLab, run: str, generation: int) -> bool:
    """Whether this launcher has begun to wait for the agent, its own or an adopted one."""
    journal = json.loads((work.run_dir(run) / "launcher-progress.json").read_text())
    begun = journal["phase"] == ("attempt-running" if generation == 1 else "adopting")
    return begun and journal["launchGeneration"] == work.process(run)["launchGeneration"] == generation


def test_cancel_ends_launcher_and_agents_that_ignore_it(lab: Make) -> None:
    """SUP 21 case 37."""
    work = lab(supervisor={"terminationGraceSeconds": 1})
    work.script("A1", "trap '' TERM\nwhile :; do read -r _ < never; done\n")
    os.mkfifo(work.root / "never")
    run = work.submit()
    later = work.submit()
    work.owned()
    record = work.runtime(run, "A1")
    assert work.of("cancel", later).stdout.strip() == f"run_id={later} cancel=requested"
    assert work.finished(later)["terminalDisposition"] == "cancelled"
    done = work.of("cancel", run, "--wait", "--reason", "enough")
    assert done.returncode == 0, done.stderr
    view = work.view(run)
    assert (view["status"], view["terminalDisposition"], view["exitCode"]) == ("failed", "cancelled", 130)
    assert work.of("wait", run).returncode == 130
    assert not group_alive(record["pgid"])
    again = json.loads(work.of("cancel", run, "--json").stdout)
    assert again["alreadyTerminal"] is True
    assert "A1 0" in work.starts() and len(work.starts()) == 1


def test_a_launch_by_hand_defers_a_submitted_run(lab: Make) -> None:
    """SUP 21 case 24: busy is not failed, and costs no resume."""
    work = lab()
    gate = work.gate("A1", PROOF, DELTA)
    by_hand = work.start()
    wait_until(lambda: work.ran() == ["A1"], what="the launch by hand")
    run = work.submit()
    work.owned()
    wait_until(lambda: work.recorded(run)["deferrals"], what="the deferral")
    state = work.recorded(run)
    assert (state["status"], state["resumeAttempts"], state["deferrals"]) == ("pending", 0, 1)
    work.script("A1", work.echo(PROOF, DELTA))
    gate.write_text("go\n")
    assert work.finish(by_hand).returncode == 0
    assert work.finished(run)["status"] == "completed"


def test_a_failing_run_keeps_its_exit_code(lab: Make) -> None:
    """SUP 21 case 32."""
    work = lab()
    work.prints("A1", GAP, DELTA)
    run = work.submit("--max-retries-per-wave", "0", daemon=True)
    view = work.finished(run)
    assert view["status"] == "failed" and view["exitCode"] in (1, 43)
    assert work.of("wait", run).returncode == view["exitCode"]


def test_a_frozen_supervisor_is_replaced_and_never_writes_again(lab: Make) -> None:
    """SUP 21 case 9."""
    work = lab(supervisor={"leaseSeconds": 1, "heartbeatSeconds": 0.3})
    frozen = work.owned()
    frozen.send_signal(signal.SIGSTOP)
    run = work.submit()
    wait_until(lambda: (parse_iso(work.lease()["leaseExpiresAt"]) or 0) < time.time(), what="the lease to expire")
    refused = work.supervise("--no-takeover")
    assert work.finish(refused).returncode == 1
    done = work.finish(work.supervise("--until-idle"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert frozen.wait(timeout=10) == -signal.SIGKILL
    assert (work.lease()["epoch"], work.recorded(run)["status"]) == (2, "completed")
    assert work.starts() == ["A0 0", "A1 0"]


def test_a_replaced_lock_fences_the_supervisor(lab: Make) -> None:
    """SUP 21 case 10."""
    work = lab()
    child = work.owned()
    lock = work.home / "daemon.lock"
    copy = lock.read_bytes()
    lock.unlink()
    lock.write_bytes(copy)
    assert work.finish(child).returncode == 34
    assert lock.read_bytes() == copy


def test_a_damaged_snapshot_is_rebuilt(lab: Make) -> None:
    """SUP 13: request and events are enough; the damaged file is kept aside."""
    work = lab()
    run = work.submit()
    (work.run_dir(run) / "state.json").write_text('{"status": "pen')
    assert work.view(run)["status"] == "pending"
    assert work.finish(work.supervise("--until-idle")).returncode == 0
    assert work.recorded(run)["status"] == "completed"
    assert list(work.run_dir(run).glob("state.json.corrupt-*"))


def test_an_idle_supervisor_leaves_and_sigterm_leaves_runs_alone(lab: Make) -> None:
    work = lab()
    assert work.finish(work.supervise("--idle-exit-seconds", "1")).returncode == 0
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit()
    child = work.owned()
    work.runtime(run, "A1")
    child.send_signal(signal.SIGTERM)
    assert work.finish(child).returncode == 0
    assert work.lease()["state"] == "released"
    gate.write_text("go\n")
    assert work.finished(run)["status"] == "completed"
