"""Starting and ending processes. Every child is a session of its own, so that its parent may die at will.

Spec: SUP 3.2, 3.6, 13, 16.7. Identity is in `base/process_identity.py` and offered here too.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from .durable_steps import DurableStep
from .errors import ExitCode, SpawnError
from .process_identity import (
    Alive,
    Host,
    Identity,
    alive,
    boot_id,
    check,
    identity_of,
    pid_exists,
    same_process,
    stat_fields,
    this_host,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import IO, Union

    from .event_loop import EventLoop

    Stream = Union[int, IO[bytes], None]

__all__ = [
    "Alive",
    "Host",
    "Identity",
    "alive",
    "boot_id",
    "check",
    "end_group",
    "group_alive",
    "group_members",
    "identity_of",
    "pid_exists",
    "processes_marked",
    "reap_strangers",
    "retry_delay",
    "self_command",
    "signal_process",
    "spawn",
    "spawn_on",
    "spawn_once",
    "this_host",
]

MAX_TRIES = 8
_TRANSIENT = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LINUX = sys.platform.startswith("linux")

# What a group hears, in order: the request, then the wake-up for stopped members. KILL follows after the grace.
GENTLE_SIGNALS = (signal.SIGTERM, signal.SIGCONT)


class Ended(NamedTuple):
    """What `end_group` came to: whether anything was signalled, whether KILL was needed, whether nothing is left."""

    signalled: bool
    escalated: bool
    gone: bool


# --- starting --------------------------------------------------------------------------------------------------------


def self_command() -> list[str]:
    """The argv prefix that starts this very program again, whatever the package is called and however it was started.

    An unpacked package is started by the path of its `__main__.py`, a bundle by the path of the archive.
    """
    place = os.path.join(_PACKAGE, "__main__.py")
    if not os.path.exists(place):
        place = _PACKAGE
        while not os.path.exists(place) and place != os.path.dirname(place):
            place = os.path.dirname(place)
    return [sys.executable or "python3", place]


def spawn_once(
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    keep_fds: Iterable[int] = (),
    new_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Starts a process in one try. A stream that is None means `/dev/null`; only `keep_fds` are inherited.

    Raises SpawnError: `transient` when a later try may succeed, else code 127 (missing) or 126 (not executable).
    """
    import subprocess

    streams = [subprocess.DEVNULL if stream is None else stream for stream in (stdin, stdout, stderr)]
    with DurableStep("spawn", _step_word(argv)):
        try:
            return subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=None if env is None else dict(env),
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                pass_fds=tuple(keep_fds),
                close_fds=True,
                start_new_session=new_session,
            )
        except (OSError, ValueError) as error:
            raise _spawn_error(argv, error) from None


def retry_delay(tries: int) -> float:
    """Seconds to wait after the given number of failed tries: growing, bounded, jittered. SUP 3.6."""
    jitter = 0.5 + int.from_bytes(os.urandom(2), "big") / 131070
    return min(15.0, 0.25 * 2.0 ** max(tries - 1, 0)) * jitter


def spawn(
    argv: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    keep_fds: Iterable[int] = (),
    new_session: bool = True,
    on_retry: Callable[[SpawnError, int, float], None] | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> subprocess.Popen[bytes]:
    """Starts a process; what is only short for the moment (EAGAIN, EMFILE, ENFILE, ENOMEM) is tried 8 times.

    `on_retry(error, tries, delay)` is told of each pause; `wait(delay)` makes it. Who has an event loop uses
    `spawn_on`. Raises SpawnError.
    """
    keep = tuple(keep_fds)
    tries = 0
    while True:
        try:
            return spawn_once(
                argv,
                cwd=cwd,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                keep_fds=keep,
                new_session=new_session,
            )
        except SpawnError as error:
            tries += 1
            if not error.transient or tries >= MAX_TRIES:
                raise
            delay = retry_delay(tries)
            if on_retry is not None:
                on_retry(error, tries, delay)
            wait(delay)


def spawn_on(
    loop: EventLoop,
    start: Callable[[], subprocess.Popen[bytes]],
    started: Callable[[subprocess.Popen[bytes]], None],
    failed: Callable[[SpawnError], None],
    on_retry: Callable[[SpawnError, int, float], None] | None = None,
) -> None:
    """Calls `start` (a `spawn_once`) now and, while it fails for the moment only, again by timers of the loop."""

    def attempt(tries: int) -> None:
        try:
            child = start()
        except SpawnError as error:
            if not error.transient or tries >= MAX_TRIES:
                failed(error)
                return
            delay = retry_delay(tries)
            if on_retry is not None:
                on_retry(error, tries, delay)
            loop.call_later(delay, lambda: attempt(tries + 1))
            return
        started(child)

    attempt(1)


def _step_word(argv: Sequence[str]) -> str:
    """How a spawn is called in the list of durable steps: the program, or the verb when it is this very program."""
    prefix = self_command()
    return argv[len(prefix)] if list(argv[: len(prefix)]) == prefix and len(argv) > len(prefix) else argv[0]


def _spawn_error(argv: Sequence[str], error: Exception) -> SpawnError:
    program = argv[0] if argv else "(empty command)"
    if not isinstance(error, OSError) or error.errno is None:
        return SpawnError(f"cannot start {program}: {error}")
    name = errno.errorcode.get(error.errno, str(error.errno))
    # subprocess names the folder when it is the folder that is missing
    subject = os.fsdecode(error.filename) if error.filename else program
    code = {errno.ENOENT: ExitCode.NOT_FOUND, errno.ENOTDIR: ExitCode.NOT_FOUND, errno.EACCES: ExitCode.NOT_EXECUTABLE}
    code[errno.ENOEXEC] = ExitCode.NOT_EXECUTABLE
    transient = error.errno in _TRANSIENT
    remedy = "too many processes or open files; raise the limit (ulimit) or run less at once" if transient else ""
    return SpawnError(
        f"cannot start {subject}: {error.strerror} ({name})",
        remedy=remedy,
        code=code.get(error.errno),
        errno_name=name,
        transient=transient,
    )


# --- one process -----------------------------------------------------------------------------------------------------


def signal_process(identity: Identity, number: int) -> bool:
    """Signals the very process that was recorded, or nobody; True when the signal was delivered.

    The number may pass to a stranger between the look and the signal: a pidfd, opened before the look, does not.
    Raises PermissionError. Spec: SUP 8.1, 16.7.
    """
    fd = -1
    try:
        if hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal"):
            try:
                fd = os.pidfd_open(identity.pid)
            except ProcessLookupError:
                return False
            except OSError:
                pass  # no such call here, or it is forbidden
        if not alive(identity):
            return False
        if fd >= 0:
            signal.pidfd_send_signal(fd, number)
        else:
            os.kill(identity.pid, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        if fd >= 0:
            os.close(fd)


# --- groups of processes ---------------------------------------------------------------------------------------------


def group_alive(pgid: int) -> bool:
    """Whether the group has a member that is more than a dead entry waiting to be reaped."""
    if pgid <= 1:
        return False
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        if not _LINUX:
            return False  # macOS says so of a group of zombies
    return bool(group_members(pgid)) if _LINUX else True


def group_members(pgid: int) -> list[int]:
    """Linux: the pids of the group's living members. Elsewhere empty."""
    members = []
    for pid in _all_pids():
        fields = stat_fields(pid)
        if len(fields) > 2 and fields[2] == str(pgid) and fields[0] not in ("Z", "X", "x"):
            members.append(pid)
    return members


def processes_marked(name: str, value: str) -> list[int]:
    """Linux: living processes of ours whose environment says `name=value`; they may have left their group. SUP 16.7."""
    uid = os.getuid()
    marked = []
    for pid in _all_pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == uid and _carries_mark(pid, name, value):
                marked.append(pid)
        except OSError:
            continue
    return marked


def marked_values(name: str, value: str, wanted: Iterable[str]) -> list[str]:
    """Linux: what these variables hold in the living processes whose environment says `name=value`."""
    prefixes = tuple(f"{variable}=".encode() for variable in wanted)
    found = [line for pid in processes_marked(name, value) for line in _environment_of(pid)]
    return sorted({os.fsdecode(line.partition(b"=")[2]) for line in found if line.startswith(prefixes)})


def end_group(
    pgid: int,
    identity: Identity | None,
    grace_seconds: float,
    *,
    mark: tuple[str, str] | None = None,
    gone: Callable[[], bool] | None = None,
) -> Ended:
    """Ends a process group by the ladder TERM, CONT, grace, KILL, and says what came of it. Blocks.

    Nothing is signalled by number alone: the group is ours when its leader is the recorded process (`identity`, dead
    and unreaped counts), or when a member carries `mark` in its environment. `identity` None says that the leader is a
    child of the caller that it has not reaped. `gone` replaces the question whether anything is left (a lock may know
    more). SUP 16.7, steps 2 to 5.
    """

    def is_gone() -> bool:
        return gone() if gone is not None else not group_alive(pgid)

    if is_gone():
        return Ended(False, False, True)
    if not _identified(pgid, identity, mark):
        return Ended(False, False, False)
    for number in GENTLE_SIGNALS:
        _signal_group(pgid, number)
    if _wait_until(is_gone, grace_seconds):
        return Ended(True, False, True)
    if not _identified(pgid, identity, mark):
        return Ended(True, False, is_gone())
    _signal_group(pgid, signal.SIGKILL)
    return Ended(True, True, _wait_until(is_gone, 5.0))


def _identified(pgid: int, identity: Identity | None, mark: tuple[str, str] | None) -> bool:
    if pgid <= 1 or pgid == os.getpgrp():
        return False
    if identity is None or (identity.pid == pgid and same_process(identity)):
        return True
    return mark is not None and any(_carries_mark(pid, *mark) for pid in group_members(pgid))


def _carries_mark(pid: int, name: str, value: str) -> bool:
    return f"{name}={value}".encode() in _environment_of(pid)


def _environment_of(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _signal_group(pgid: int, number: int) -> None:
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not done():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 0.2)
    return True


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


# --- PID 1 -----------------------------------------------------------------------------------------------------------


def reap_strangers(ours: Iterable[int]) -> list[int]:
    """Reaps dead children that are not ours, which the kernel gave to us as PID 1 of a container; returns their pids.

    Never waits for "any child": that would steal the exit codes of the children in `ours`.
    """
    if os.getpid() != 1:
        return []
    mine = set(ours)
    reaped = []
    for pid in _all_pids():
        fields = stat_fields(pid)
        if pid in mine or len(fields) < 2 or fields[0] != "Z" or fields[1] != "1":
            continue
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                reaped.append(pid)
        except ChildProcessError:
            continue
    return reaped
