"""Real limits: a full disk, a read-only root, too many processes, too many open files. Spec: SUP 13, 21 (29, 40)."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from launch_lab import DELTA, PROOF, ROOT
from supervisor_lab import CONTEXT, SupervisorLab
from waiting import wait_until

from wave_lib.runtime.agent_outcomes import agent_alive

Make = Callable[..., SupervisorLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    made: list[SupervisorLab] = []

    def make(folder: Path = tmp_path, **options: Any) -> SupervisorLab:
        made.append(SupervisorLab(folder, **options))
        return made[-1]

    yield make
    for work in made:
        work.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 3 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_stops_nothing_for_good(small_disk: Path, lab: Make) -> None:
    """The last agent fills the disk of the state: its ending is written once there is space again. SUP 21 case 40."""
    work = lab(small_disk)
    (work.root / ".tmp").mkdir()
    ballast = small_disk / ".tmp/ballast"
    outside = Path(tempfile.mkdtemp(prefix="wave-full-"))
    work.write("agents/run.sh", f'cat > /dev/null\necho "start $1 $2" >> {outside}/log\n. "./agents/$1.sh"\n')
    script = (work.root / "agents/A0.sh").read_text()
    work.script("A0", f"{script}cat /dev/zero > .tmp/ballast 2> /dev/null\ntouch {outside}/full\n")
    run = work.submit()
    child = work.owned()
    wait_until((outside / "full").exists, what="the disk to be full")
    refused = work.wave("submit", *CONTEXT, "--no-daemon", "--json")
    ballast.unlink()
    assert refused.returncode == 1 and json.loads(refused.stdout)["error"]["code"] == "no-space"
    assert not list((work.home / "runs").glob(".staging-*"))
    view = work.finished(run, within=60)
    assert view["status"] == "completed", view["detail"]
    assert child.poll() is None
    assert sorted((outside / "log").read_text().split("\n")) == ["", "start A0 0", "start A1 0"]
    shutil.rmtree(outside)


@pytest.fixture
def filled(small_disk: Path, lab: Make, tmp_path: Path) -> tuple[SupervisorLab, Any, Path]:
    """(workspace, its launcher, the ballast): A1 has filled the disk and waits; the launcher has noticed."""
    work = lab(small_disk)
    (work.root / ".tmp").mkdir()
    os.mkfifo(tmp_path / "gate")
    work.write("agents/run.sh", f'cat > /dev/null\necho "start $1 $2" >> {tmp_path}/log\n. "./agents/$1.sh"\n')
    words = work.echo(PROOF, DELTA)
    work.script("A1", f"{words}cat /dev/zero > .tmp/ballast 2> /dev/null\nread -r _ < {tmp_path}/gate\n")
    child = work.start()
    assert child.stderr is not None
    deadline = threading.Timer(30, child.kill)
    deadline.start()
    assert any("no space on the disk" in line for line in child.stderr)
    deadline.cancel()
    return work, child, small_disk / ".tmp/ballast"


def test_a_launcher_waits_for_space_and_its_agents_go_on(
    filled: tuple[SupervisorLab, Any, Path], tmp_path: Path
) -> None:
    work, child, ballast = filled
    ballast.unlink()
    (tmp_path / "gate").write_text("go\n")
    done = work.finish(child)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((tmp_path / "log").read_text().split("\n")) == ["", "start A0 0", "start A1 0"]


def test_a_launcher_that_waits_for_space_hears_a_signal(filled: tuple[SupervisorLab, Any, Path]) -> None:
    work, child, ballast = filled
    child.send_signal(signal.SIGINT)
    done = work.finish(child)
    assert done.returncode in (1, 130), done.stderr
    ballast.unlink()
    records = [str(path) for path in work.root.glob(".tmp/*/status/*.runtime.json")]
    assert records and not any(agent_alive(record) for record in records)


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_root_that_may_not_be_written(lab: Make) -> None:
    work = lab()
    run = work.submit("--dry-run")
    os.chmod(work.home / "runs", 0o500)
    try:
        assert work.wave("submit", *CONTEXT).returncode == 1
        assert work.of("status", run).returncode == 0
    finally:
        os.chmod(work.home / "runs", 0o700)


def test_a_read_only_mount(small_disk: Path, lab: Make) -> None:
    """SUP 21 case 29."""
    work = lab(small_disk)
    run = work.submit("--dry-run")
    mounted = subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("remounting is not allowed here")
    assert work.of("status", run).returncode == 0
    assert work.of("wait", run, "--timeout-seconds", "0").returncode == 124
    assert work.wave("runs", *CONTEXT).returncode == 0
    for arguments in (("submit", *CONTEXT), ("supervise", *CONTEXT, "--once"), ("cancel", "--run-id", run, *CONTEXT)):
        done = work.wave(*arguments, "--json")
        assert done.returncode == 1, arguments
        assert json.loads(done.stdout)["error"]["code"] == "not-writable", done.stdout
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=False)


_HOG = """
import os, time
try:
    while True:
        if os.fork() == 0:
            time.sleep(300)
except BlockingIOError:
    print("full", flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_too_many_processes_of_another_user(lab: Make) -> None:
    """Root knows no such limit: the supervisor is a user of its own, who may touch root's files all the same."""
    capabilities = "+dac_override,+dac_read_search,+fowner"
    somebody = ["setpriv", "--reuid=54321", f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
    if shutil.which("setpriv") is None or subprocess.run([*somebody, "true"], check=False).returncode != 0:
        pytest.skip("becoming somebody else is not possible here")
    work = lab()
    run = work.submit()

    def start(few: int, *argv: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [*somebody, sys.executable, *argv],
            cwd=work.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (few, few)),
        )
        work.children.append(child)
        return child

    hog = start(40, "-c", _HOG)
    assert hog.stdout is not None and hog.stdout.readline() == "full\n"
    supervisor = start(41, str(ROOT / "wave.py"), "supervise", *CONTEXT, "--until-idle")
    wait_until(lambda: "spawn-retry" in work.observations(run), what="a launch that does not succeed")
    os.killpg(hog.pid, signal.SIGKILL)
    done = work.finish(supervisor)
    assert done.returncode == 0, done.stdout
    state = work.recorded(run)
    assert (state["status"], state["launchGeneration"]) == ("completed", 1), state["detail"]


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_NPROC"])
def test_short_of_descriptors_or_processes(lab: Make, limit: str) -> None:
    """A launcher that cannot be started now is started later; the run is not lost. Spec: SUP 3.6, 13."""
    if limit == "RLIMIT_NPROC" and os.getuid() == 0:
        pytest.skip("root has no limit of processes")
    work = lab()
    run = work.submit()
    which = getattr(resource, limit)
    soft, hard = resource.getrlimit(which)
    few = 18 if limit == "RLIMIT_NOFILE" else 1
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "wave.py"), "supervise", *CONTEXT, "--until-idle"],
        cwd=work.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(which, (few, hard)),
    )
    work.children.append(child)  # type: ignore[arg-type]
    wait_until(lambda: work.lease().get("pid") == child.pid or child.poll() is not None, what="the supervisor")
    resource.prlimit(child.pid, which, (soft, hard))
    view = work.finished(run)
    assert view["status"] == "completed", view["detail"]
    assert child.wait(timeout=20) == 0
