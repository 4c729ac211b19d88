"""Other hosts, other pid namespaces, other boots, a clock that is set, file systems without flock. Spec: SUP 3, 13.

Hosts and boots are real where the kernel helps: `unshare` gives a pid namespace, and a mount namespace with another
machine id and boot id. A missing flock and a clock that steps come from a `sitecustomize` that the processes load.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from launch_lab import DELTA, PROOF, ROOT, labs
from supervisor_lab import CONTEXT, SupervisorLab
from waiting import wait_until

from wave_lib.base.process_identity import identity_of, pid_exists, this_host
from wave_lib.base.processes import group_members
from wave_lib.base.timestamps import parse_iso

Make = Callable[..., SupervisorLab]
NO_FLOCK = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""
CLOCK = """
import os, time
def hours():
    try:
        with open({path!r}) as file:
            return float(file.read() or 0)
    except OSError:
        return 0.0
seconds, nanoseconds = time.time, time.time_ns
time.time = lambda: seconds() + 3600 * hours()
time.time_ns = lambda: nanoseconds() + int(3600e9 * hours())
"""


@functools.cache
def unshared(*flags: str) -> bool:
    """Whether this machine lets us have namespaces of our own."""
    try:
        return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_pid_namespaces = pytest.mark.skipif(
    not unshared("--pid", "--fork", "--mount-proc"), reason="no pid namespaces here"
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(ContainerLab, tmp_path) as make:
        yield make


class ContainerLab(SupervisorLab):
    """Ends what works in the workspace wherever it runs: recorded process numbers may be those of other namespaces."""

    def close(self) -> None:
        end_all(self)
        super().close()


def end_all(work: SupervisorLab) -> None:
    """SIGKILL to everything that works in the workspace: a container that is killed."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        ours = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_in(pid, str(work.root))]
        if not ours:
            return
        for pid in ours:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for child in work.children:
            child.poll()


def _works_in(pid: int, root: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            dead = file.read().rpartition(")")[2].split()[0] in "ZX"
        return pid != os.getpid() and not dead and os.readlink(f"/proc/{pid}/cwd") == root
    except OSError:
        return False


def taught(work: SupervisorLab, lesson: str) -> dict[str, str]:
    """The environment of processes that have learnt this before they begin."""
    folder = work.root / "lessons"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(lesson)
    return {"PYTHONPATH": str(folder)}


def elsewhere(work: SupervisorLab, command: str, machine: str = "", boot: str = "", pid: bool = True) -> Any:
    """A shell command in namespaces of its own: another container, another host, another boot. Not waited for."""
    flags = ["--mount", *(["--pid", "--fork", "--mount-proc", "--kill-child"] if pid else [])]
    steps = []
    for text, place in ((machine, "/etc/machine-id"), (boot, "/proc/sys/kernel/random/boot_id")):
        if text:
            source = work.root / f"id-{text}"
            source.write_text(text + "\n")
            steps.append(f"mount --bind {source} {place}")
    return work.run_beside(["unshare", *flags, "sh", "-c", " && ".join([*steps, command])])


def wave(*arguments: str, env: dict[str, str] | None = None) -> str:
    """A command line of ours."""
    words = [f"{name}={value}" for name, value in (env or {}).items()]
    return " ".join([*words, sys.executable, str(ROOT / "wave.py"), *arguments])


# --- the clock


def test_a_clock_that_is_set_changes_nothing(lab: Make) -> None:
    """SUP 21 case 28: an hour back, then hours ahead, with a launcher that is lost in between."""
    work = lab(supervisor={"leaseSeconds": 1, "heartbeatSeconds": 0.3})
    clock = work.root / "hours"
    env = taught(work, CLOCK.format(path=str(clock)))
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit(env=env)
    first = work.owned(env=env)
    work.runtime(run, "A1")
    log = work.home / "daemon.log"
    for step, hours in enumerate((-1, 30), 1):
        clock.write_text(str(hours))
        assert "already running" in work.finish(work.supervise(env=env)).stdout  # nobody takes over
        wait_until(lambda wanted=step: log.read_text().count("clock-jump") == wanted, what="the step to be noticed")
        assert work.view(run)["terminalDisposition"] == "running"
    os.kill(work.process(run)["launcherPid"], signal.SIGKILL)
    wait_until(lambda: work.recorded(run)["launchGeneration"] == 2, what="the launcher to be resumed")
    wait_until(lambda: "adopting" in (work.run_dir(run) / "launcher-progress.json").read_text(), what="the adoption")
    clock.write_text("-3")
    gate.write_text("go\n")
    done = work.finish(work.begin("wait", "--run-id", run, *CONTEXT, "--timeout-seconds", "30", "--json", env=env))
    view = json.loads(done.stdout)
    assert (view["status"], view["resumeAttempts"]) == ("completed", 1)
    assert work.starts() == ["A0 0", "A1 0"]
    assert (work.lease()["epoch"], first.poll()) == (1, None)


# --- no flock


def test_without_flock_nothing_runs_twice(lab: Make) -> None:
    """Everything but the executor is killed: its tree is known to live, and it is waited for."""
    work = lab()
    env = taught(work, NO_FLOCK)
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit(env=env)
    first = work.owned(env=env)
    assert "already running" in work.finish(work.supervise(env=env)).stdout
    record, process = work.runtime(run, "A1"), work.process(run)
    wait_until(lambda: group_members(record["pgid"]), what="the executor")
    first.kill()
    for pid in (process["pid"], process["launcherPid"], record["runnerPid"]):
        os.kill(pid, signal.SIGKILL)
    first.wait()
    work.owned(env=env)
    wait_until(lambda: work.recorded(run)["launchGeneration"] == 2, what="the launcher to be resumed")
    wait_until(lambda: "adopting" in (work.run_dir(run) / "launcher-progress.json").read_text(), what="the adoption")
    gate.write_text("go\n")
    done = work.finish(work.begin("wait", "--run-id", run, *CONTEXT, "--timeout-seconds", "30", "--json", env=env))
    view = json.loads(done.stdout)
    assert (view["status"], view["resumeAttempts"]) == ("completed", 1), view["detail"]
    assert work.starts() == ["A0 0", "A1 0"]


def test_without_flock_a_headless_launcher_is_alive(lab: Make) -> None:
    """Its wrapper is gone, and the launcher still holds the run."""
    work = lab()
    env = taught(work, NO_FLOCK)
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit(env=env)
    work.owned(env=env)
    work.runtime(run, "A1")
    process = work.process(run)
    os.kill(process["pid"], signal.SIGKILL)
    wait_until(lambda: not pid_exists(process["pid"]), what="the wrapper to be gone")
    seen = work.finish(work.begin("status", "--run-id", run, *CONTEXT, "--json", env=env))
    view = json.loads(seen.stdout)
    assert (view["terminalDisposition"], view["observed"]["launcherSource"]) == ("running", "lock")
    gate.write_text("go\n")
    done = work.finish(work.begin("wait", "--run-id", run, *CONTEXT, "--timeout-seconds", "30", "--json", env=env))
    assert json.loads(done.stdout)["recoveryState"] == "recovered-from-progress"
    assert work.starts() == ["A0 0", "A1 0"]


# --- other namespaces, hosts, boots


def started_elsewhere(work: SupervisorLab, run: str, **place: Any) -> Any:
    """A container in which a supervisor runs an agent that waits; kill it to kill the container."""
    env = place.pop("env", None)
    container = elsewhere(work, wave("supervise", *CONTEXT, env=env), **place)
    work.runtime(run, "A1")
    work.process(run)
    return container


def kill_container(work: SupervisorLab, container: Any) -> None:
    container.kill()
    container.wait()
    end_all(work)


@needs_pid_namespaces
def test_a_new_pid_namespace_goes_on_and_signals_no_stranger(lab: Make) -> None:
    """The container was killed and started again: every recorded pid is now somebody else's."""
    work = lab()
    work.gate("A1", PROOF, DELTA)
    run = work.submit()
    kill_container(work, started_elsewhere(work, run))
    record, process = work.runtime(run, "A1"), work.process(run)
    assert record["runnerIdentity"]["pidNs"] != this_host().pid_namespace
    assert record["runnerIdentity"]["bootId"] == this_host().boot_id
    highest = max(record["pgid"], record["runnerPid"], process["pid"], process["launcherPid"])
    assert highest < 1000
    work.prints("A1", PROOF, DELTA)
    # Strangers take all numbers up to the highest recorded one before the new supervisor begins.
    strangers = (
        f"while :; do sleep 300 & echo $! >> strangers; [ $! -gt {highest} ] && break; done; "
        f"{wave('supervise', *CONTEXT, '--until-idle')}; echo code=$?; "
        "for pid in $(cat strangers); do kill -0 $pid || echo killed $pid; done; kill $(cat strangers)"
    )
    out, err = elsewhere(work, strangers).communicate(timeout=60)
    assert "code=0" in out and "killed" not in out, out + err
    taken = set((work.root / "strangers").read_text().split())
    assert {str(record["pgid"]), str(record["runnerPid"]), str(process["launcherPid"])} <= taken
    state = work.recorded(run)
    assert (state["status"], state["supervisorEpoch"], state["resumeAttempts"]) == ("completed", 2, 1)


@needs_pid_namespaces
@pytest.mark.parametrize("machine", ["", "another-host"])
def test_a_dead_holder_that_cannot_be_seen_is_succeeded_after_the_grace(lab: Make, machine: str) -> None:
    """No flock, and the pids mean nothing here: first refused by name, then, when silent for long, taken over."""
    work = lab(supervisor={"foreignHostGraceSeconds": 300, "leaseSeconds": 1, "heartbeatSeconds": 0.3})
    env = taught(work, NO_FLOCK)
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit(env=env)
    container = started_elsewhere(work, run, env=env, machine=machine)
    assert (work.lease()["identity"]["hostId"] == this_host().host_id) is not bool(machine)
    assert "already running" in work.finish(work.supervise(env=env)).stdout  # it lives, by its heartbeat
    kill_container(work, container)
    wait_until(lambda: (parse_iso(work.lease()["leaseExpiresAt"]) or 0) < time.time(), what="the lease to expire")
    refused = work.finish(work.supervise(env=env))
    assert (refused.returncode, "cannot be identified here" in refused.stderr) == (1, True), refused.stderr
    config = json.loads((work.root / "wave.config.json").read_text())
    config["supervisor"]["foreignHostGraceSeconds"] = 1
    work.write("wave.config.json", json.dumps(config))
    work.prints("A1", PROOF, DELTA)
    gate.unlink()
    done = work.finish(work.supervise("--until-idle", env=env))
    assert done.returncode == 0, done.stdout + done.stderr
    state = work.recorded(run)
    assert (state["status"], state["supervisorEpoch"]) == ("completed", 2), state["detail"]


@needs_pid_namespaces
def test_a_live_host_elsewhere_is_seen_by_its_locks(lab: Make) -> None:
    """With flock the kernel answers for processes of other namespaces: nothing is launched beside them."""
    work = lab()
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit()
    started_elsewhere(work, run, machine="another-host")
    assert "already running" in work.finish(work.supervise()).stdout
    view = work.view(run)
    assert (view["terminalDisposition"], view["observed"]["launcherSource"]) == ("running", "lock")
    assert (view["observed"]["liveAgentIds"], view["daemon"]["state"]) == (["A1"], "active")
    gate.write_text("go\n")
    assert work.finished(run)["status"] == "completed"
    assert work.starts() == ["A0 0", "A1 0"]


@pytest.mark.skipif(not unshared("--mount"), reason="no mount namespaces here")
def test_after_a_reboot_no_recorded_process_is_signalled(lab: Make) -> None:
    """Another boot id, and every recorded pid belongs to a stranger, who even looks the same."""
    work = lab()
    work.gate("A1", PROOF, DELTA)
    run = work.submit()
    first = work.owned()
    work.runtime(run, "A1")
    work.process(run)
    first.kill()
    end_all(work)
    stranger = subprocess.Popen(["sleep", "300"], cwd="/", start_new_session=True)
    try:
        same = identity_of(stranger.pid).to_json()
        folder = work.run_dir(run)
        agent = folder / "agents/A1.runtime.json"
        rewrite(agent, same, "runnerIdentity", "executorIdentity", "pid", "pgid", "runnerPid")
        rewrite(folder / "launcher-process.json", same, "identity", "launcherIdentity", "pid", "launcherPid")
        rewrite(folder / "state.json", same, "launcherIdentity", "launcherPid")
        work.prints("A1", PROOF, DELTA)
        out, err = elsewhere(
            work, wave("supervise", *CONTEXT, "--until-idle"), boot="another-boot", pid=False
        ).communicate(timeout=60)
        assert "daemon-adopted" in work.observations(run) and "host-changed" in work.observations(run), out + err
        assert work.recorded(run)["status"] == "completed"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def rewrite(path: Path, identity: dict[str, Any], *keys: str) -> None:
    record = json.loads(path.read_text())
    for key in keys:
        record[key] = identity if key.lower().endswith("identity") else identity["pid"]
    path.write_text(json.dumps(record))
