from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wave_lib.base import process_identity, processes
from wave_lib.base.errors import SpawnError
from wave_lib.base.event_loop import EventLoop
from wave_lib.base.process_identity import Alive, Identity
from wave_lib.base.processes import alive, check, end_group, group_alive, identity_of, spawn, spawn_once

ROOT = Path(__file__).resolve().parent.parent.parent
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def shell() -> Any:
    """`shell(script)` starts a session; its first line says that it is ready; its group is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(script: str, **keywords: Any) -> subprocess.Popen[bytes]:
        child = spawn(["sh", "-c", script], stdout=subprocess.PIPE, **keywords)
        started.append(child)
        return child

    yield run
    for child in started:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        child.stdout.close()


# --- identity


def test_identity_tells_a_process_from_its_number(shell: Any) -> None:
    child = shell("echo ready; exec sleep 60")
    child.stdout.readline()
    identity = identity_of(child.pid)
    assert identity.start_time and alive(identity)
    assert Identity.from_json(identity.to_json()) == identity
    assert check(identity._replace(start_time="1")) is Alive.DEAD
    assert check(identity._replace(start_time=None)) is Alive.UNKNOWN
    assert check(identity._replace(host_id="elsewhere")) is Alive.UNKNOWN
    assert check(identity._replace(pid_namespace="1")) is Alive.UNKNOWN
    assert check(identity._replace(boot_id="before")) is Alive.DEAD
    assert check(identity._replace(boot_id=None)) is Alive.ALIVE
    child.kill()
    wait_until(lambda: check(identity) is Alive.DEAD, what="the zombie to count as dead")
    assert process_identity.same_process(identity), "unreaped, it keeps its number"
    child.wait()
    assert check(identity) is Alive.DEAD and not process_identity.same_process(identity)
    assert not alive(None)


def test_nobody_else_is_asked_by_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = identity_of(os.getpid())

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "kill", refuse)
    assert check(mine) is Alive.ALIVE, "EPERM says that the process exists"


@pytest.mark.parametrize("value", [None, 5, {}, {"pid": "7"}, {"pid": 0}, {"pid": True}])
def test_what_names_no_process(value: object) -> None:
    assert Identity.from_json(value) is None


@linux_only
def test_a_name_with_brackets_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 ("
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    child = spawn([str(program), "60"])
    try:
        assert alive(identity_of(child.pid))
    finally:
        child.kill()
        child.wait()


# --- starting


def test_a_child_is_a_session_of_its_own_and_inherits_what_is_listed(shell: Any) -> None:
    kept, lost = os.pipe()
    os.set_inheritable(lost, True)
    code = "import os, sys; print(os.getsid(0) == os.getpid(), *[n for n in map(int, sys.argv[1:]) if exists(n)])"
    code = f"exec('''def exists(n):\n  try: os.fstat(n)\n  except OSError: return False\n  return True'''); {code}"
    argv = [sys.executable, "-c", f"import os, sys; {code}", str(kept), str(lost)]
    child = spawn(argv, stdout=subprocess.PIPE, keep_fds=[kept])
    out, _ = child.communicate(timeout=30)
    os.close(kept)
    os.close(lost)
    assert out.split() == [b"True", str(kept).encode()]


@pytest.mark.parametrize(
    ("argv", "keywords", "code", "name"),
    [
        (["/nowhere/program"], {}, 127, "ENOENT"),
        (["sh"], {"cwd": "/nowhere"}, 127, "ENOENT"),
        ([os.path.dirname(__file__)], {}, 126, "EACCES"),
    ],
)
def test_what_cannot_start_is_final(argv: list[str], keywords: Any, code: int, name: str) -> None:
    with pytest.raises(SpawnError) as caught:
        spawn(argv, wait=lambda _: pytest.fail("it must not retry"), **keywords)
    assert (caught.value.code, caught.value.errno_name, caught.value.transient) == (code, name, False)
    assert keywords.get("cwd", argv[0]) in str(caught.value)


def open_files_up(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    real, left = subprocess.Popen, [failures]

    def popen(*arguments: Any, **keywords: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return real(*arguments, **keywords)

    monkeypatch.setattr(subprocess, "Popen", popen)


def test_a_short_shortage_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    open_files_up(monkeypatch, 3)
    told: list[tuple[str, int]] = []
    waits: list[float] = []
    child = spawn(["true"], on_retry=lambda error, tries, _: told.append((error.errno_name, tries)), wait=waits.append)
    assert child.wait() == 0
    assert told == [("EMFILE", 1), ("EMFILE", 2), ("EMFILE", 3)]
    assert all(0.5 <= wait / (0.25 * 2**n) <= 1.0 for n, wait in enumerate(waits))


def test_a_long_shortage_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    open_files_up(monkeypatch, 99)
    waits: list[float] = []
    with pytest.raises(SpawnError, match="EMFILE.*ulimit"):
        spawn(["true"], wait=waits.append)
    assert len(waits) == processes.MAX_TRIES - 1 and max(waits) <= 15


FULL = """
import resource
from wave_lib.base.errors import SpawnError
from wave_lib.base.processes import spawn_once
resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
import os, subprocess
kept = []
try:
    while True:
        kept.append(os.dup(0))
except OSError:
    pass
try:
    spawn_once(["true"], stdout=subprocess.PIPE)
except SpawnError as error:
    os.write(1, f"{error.errno_name} {error.transient}".encode())
"""


def test_a_real_shortage_of_descriptors_is_transient(start: Any) -> None:
    out, _ = start(FULL).communicate(timeout=30)
    assert out == b"EMFILE True"


def test_spawning_on_a_loop_lets_the_loop_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    open_files_up(monkeypatch, 1)
    monkeypatch.setattr(processes, "retry_delay", lambda _: 0.05)
    seen: list[object] = []
    with EventLoop() as loop:
        loop.call_later(0.01, lambda: seen.append("heartbeat"))
        processes.spawn_on(loop, lambda: spawn_once(["true"]), lambda child: seen.append(child.wait()), seen.append)
        processes.spawn_on(loop, lambda: spawn_once(["/nowhere"]), seen.append, lambda e: seen.append(e.errno_name))
        loop.run()
    assert seen == ["ENOENT", "heartbeat", 0]


# --- this very program


@pytest.mark.parametrize("name", ["wave_lib", "vendored_under_another_name"])
def test_the_package_starts_itself_under_any_name(tmp_path: Path, name: str) -> None:
    """By `-m`, by path and from an archive: the same argv prefix starts it again, and no second copy is loaded."""
    package = tmp_path / name
    ignore = shutil.ignore_patterns("__pycache__")
    (package / "base").parent.mkdir()
    shutil.copytree(ROOT / "wave_lib" / "base", package / "base", ignore=ignore)
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "wave_lib" / "__main__.py", package)
    (package / "cli.py").write_text(
        "import sys\n"
        "from .base.processes import self_command, spawn\n"
        "def main():\n"
        "    if sys.argv[1] == 'again':\n"
        "        return spawn([*self_command(), 'end'], stdout=1).wait()\n"
        "    print(__package__, sys.path[0], sum(m.endswith('base.processes') for m in sys.modules))\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ways = [["-m", name], [str(package / "__main__.py")]]
    for way in ways:
        argv = [sys.executable, *way, "again"]
        out = subprocess.run(argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True).stdout
        assert out.decode().split() == [name, str(tmp_path), "1"]
    archive = shutil.make_archive(str(tmp_path / "bundle"), "zip", tmp_path, name)
    import zipfile

    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("__main__.py", f"from {name}.cli import main\nraise SystemExit(main())\n")
    out = subprocess.run([sys.executable, archive, "again"], env=environment, stdout=subprocess.PIPE, check=True).stdout
    assert out.decode().split() == [name, archive, "1"]


# --- ending


def test_a_willing_group_ends_by_term(shell: Any) -> None:
    child = shell("sleep 60 & echo ready; wait")
    child.stdout.readline()
    assert group_alive(child.pid)
    ended = end_group(child.pid, identity_of(child.pid), 10.0)
    assert ended == (True, False, True)
    assert end_group(child.pid, identity_of(child.pid), 10.0) == (False, False, True)


def test_a_stopped_child_is_woken_to_end(shell: Any) -> None:
    child = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    child.stdout.readline()
    os.killpg(child.pid, signal.SIGSTOP)
    assert end_group(child.pid, identity_of(child.pid), 10.0) == (True, False, True)
    assert child.wait() == 7


def test_a_child_that_ignores_term_is_killed(shell: Any) -> None:
    child = shell("trap '' TERM; echo ready; while :; do sleep 1; done")
    child.stdout.readline()
    assert end_group(child.pid, identity_of(child.pid), 0.1) == (True, True, True)
    assert child.wait() == -signal.SIGKILL


@linux_only
def test_a_grandchild_that_stays_behind_is_ended_by_its_mark(shell: Any) -> None:
    """The leader is dead and reaped, so its number proves nothing; what the group's members carry does."""
    env = {**os.environ, "WAVE_AGENT_NONCE": f"n-{os.getpid()}"}
    child = shell("(trap '' TERM; echo ready; while :; do sleep 1; done) & exec sleep 60", env=env)
    child.stdout.readline()
    identity = identity_of(child.pid)
    child.kill()
    child.wait()
    mark = ("WAVE_AGENT_NONCE", env["WAVE_AGENT_NONCE"])
    assert group_alive(child.pid) and processes.processes_marked(*mark)
    assert end_group(child.pid, identity, 0.1) == (False, False, False), "never by number alone"
    assert end_group(child.pid, identity, 0.1, mark=("WAVE_AGENT_NONCE", "another")).signalled is False
    assert end_group(child.pid, identity, 0.1, mark=mark) == (True, True, True)
    assert not processes.processes_marked(*mark)


def test_our_own_group_is_never_ended() -> None:
    assert end_group(os.getpgrp(), None, 0.0) == (False, False, False)
    assert not group_alive(0) and not group_alive(1)


REAPER = """
import os, subprocess, sys
from wave_lib.base.processes import reap_strangers
ours = subprocess.Popen(["sh", "-c", "sleep 0.01 & exit 3"])
stranger = subprocess.Popen(["sh", "-c", "(sleep 0.01; exit 5) & echo $!"], stdout=subprocess.PIPE)
number = int(stranger.stdout.readline())
stranger.wait()
reaped = set()
while number not in reaped:
    reaped.update(reap_strangers([ours.pid]))
print(os.getpid(), ours.wait(), len([n for n in os.listdir("/proc") if n.isdigit()]))
"""


@linux_only
def test_as_pid_1_strangers_are_reaped_and_our_children_are_not() -> None:
    if not shutil.which("unshare"):
        pytest.skip("no unshare")
    argv = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", sys.executable, "-c", REAPER]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=30)
    if b"unshare failed" in done.stderr or b"not permitted" in done.stderr:
        pytest.skip("no pid namespaces here")
    pid, code, _ = done.stdout.split()
    assert (pid, code) == (b"1", b"3")
    assert processes.reap_strangers([]) == []
