"""Kernel locks: held by an open file description, freed by the kernel with its last holder. Spec: SUP 3.3, COORD 2.

A lock file is never unlinked or replaced, and its existence means nothing. Children inherit a lock through its
descriptor (`pass_on`), so a lock travels with the work. Where the file system knows no `flock`, `base/owner_files.py`
takes over: owner records with process identity, after one warning.
"""

from __future__ import annotations

import enum
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from .durable_steps import looked
from .errors import DiskError, LockHeldError

if TYPE_CHECKING:
    from .owner_files import Owner

UNSUPPORTED = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_BUSY = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_PROBE_PATIENCE_SECONDS = 2.0
_CROWD_PATIENCE_SECONDS = 600.0
_warned = False
_foreign_grace = 300.0


class LockState(enum.Enum):
    HELD = "held"
    FREE = "free"
    ABSENT = "absent"
    UNSUPPORTED = "unsupported"


class FileLock:
    """A lock that this process holds. Close it; never unlock it, for children may share it."""

    def __init__(self, path: str, fd: int, owner: Owner | None = None) -> None:
        self.path = path
        self.fd = fd
        self._owner = owner

    def close(self) -> None:
        """Lets go. The lock stays held while a child that inherited it lives. Calling it twice does no harm."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
            if self._owner is not None:
                self._owner.release()

    def pass_on(self) -> int:
        """The descriptor to hand to a child (`keep_fds`); afterwards `close` our copy."""
        return self.fd

    def shared_with(self, pid: int) -> None:
        """Tells that the child `pid` inherited the lock. Needed where there is no flock; the kernel knows otherwise."""
        if self._owner is not None:
            self._owner.add(pid)

    def beat(self) -> None:
        """Says that the holder lives, to those who cannot see its processes. Nothing to do where there is flock."""
        if self._owner is not None:
            self._owner.beat()

    @property
    def by_kernel(self) -> bool:
        """Whether the kernel keeps the lock, and so knows everybody who inherited it."""
        return self._owner is None

    def write(self, content: bytes) -> None:
        """Replaces the content of the locked file in place: a record of the holder, for people and probes to read."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, content, 0)

    def still_in_place(self) -> bool:
        """False when the file at the path is no longer the locked one (removed or replaced): ownership is lost."""
        return self.fd >= 0 and _same_file(self.fd, self.path)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take(
    path: str, *, blocking: bool = False, timeout: float | None = None, record: bytes | None = None
) -> FileLock | None:
    """The lock, or None when somebody else holds it.

    `blocking` waits for the holder, for ever or up to `timeout` seconds. Without it only probes are waited out, which
    hold a lock for an instant. `record` is written into the locked file. Raises DiskError when it cannot be opened.
    """
    patience = _PROBE_PATIENCE_SECONDS if not blocking else timeout
    deadline = None if patience is None else time.monotonic() + patience
    pause = 0.001
    while True:
        fd = _open_lock_file(path)
        kept = False
        try:
            lock = _try_lock(path, fd)
            if lock is not None:
                kept = True
                if record is not None:
                    lock.write(record)
                return lock
            exclusive = not _only_probed(fd)
        finally:
            if not kept:
                os.close(fd)
        if (exclusive and not blocking) or (deadline is not None and time.monotonic() >= deadline):
            return None
        queued = _wait_in_line(path, deadline) if blocking else None
        if queued is not None:
            if record is not None:
                queued.write(record)
            return queued
        time.sleep(pause * (0.5 + os.urandom(1)[0] / 255))
        pause = min(pause * 2, 0.05)


def _wait_in_line(path: str, deadline: float | None) -> FileLock | None:
    """The lock when its turn comes, None at the deadline or where the kernel keeps no queue.

    Looking again and again is not enough: in a crowd whoever looks at the wrong moments is passed over until too late.
    The kernel's queue is fair, but its wait cannot be bounded, so that a thread does the waiting.
    """
    import threading

    fd = _open_lock_file(path)
    decided = threading.Lock()
    granted, left = threading.Event(), False

    def wait() -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:  # noqa: SIM105 - whoever waits then finds no lock and looks for itself
            pass
        with decided:
            granted.set()
            if left:
                os.close(fd)

    threading.Thread(target=wait, name="lock-queue", daemon=True).start()
    granted.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    with decided:
        left = not granted.is_set()
    if left:
        return None  # the thread closes the descriptor when it gets that far
    lock = None
    try:
        lock = _try_lock(path, fd)  # held already; this tells whether the file is still the one at the path
    finally:
        if lock is None:
            os.close(fd)
    return lock


def adopt(path: str, fd: int) -> FileLock:
    """The lock behind a descriptor that the parent passed on; our own children inherit it only if listed."""
    os.set_inheritable(fd, False)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ours already; this only tells whether the kernel knows of it
    except OSError as error:
        if error.errno in UNSUPPORTED:
            from . import owner_files

            return FileLock(path, fd, owner_files.adopt(path))
    return FileLock(path, fd)


def lock_state(path: str) -> LockState:
    """Asks without taking: works on read-only mounts, and disturbs nobody for longer than an instant."""
    state = _ask(path)
    looked(path)
    return state


def _ask(path: str) -> LockState:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return LockState.ABSENT
    except OSError as error:
        raise _disk_error(path, error) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return LockState.FREE
    except OSError as error:
        if error.errno in _BUSY:
            return LockState.HELD
        if error.errno in UNSUPPORTED:
            return LockState.UNSUPPORTED
        raise _disk_error(path, error) from None
    finally:
        os.close(fd)  # frees the shared lock: nobody else has this open file description


def held(path: str) -> bool:
    """Whether somebody holds the lock; asks the owner records where there is no flock."""
    state = lock_state(path)
    return state is LockState.HELD or (state is LockState.UNSUPPORTED and held_by_record(path))


def held_by_record(path: str) -> bool:
    """`held` where there is no flock."""
    from . import owner_files

    return owner_files.held(path, _foreign_grace)


def strangers_trusted() -> float:
    """What `trust_strangers` was told last, for processes that are started from here."""
    return _foreign_grace


def trust_strangers(seconds: float) -> None:
    """How long silent holders of other hosts and pid namespaces count as alive where there is no flock. SUP 3.4, 5."""
    global _foreign_grace
    _foreign_grace = seconds


class locked:  # noqa: N801 - used like a function; a generator would make every client load contextlib
    """Holds the lock for a block. Raises LockHeldError after `timeout` seconds; `shown` is the path for people.

    While the `guarded` file keeps changing, others are being served and nobody is stuck: then the wait goes on for up
    to ten minutes, so that a crowd of writers costs time and never a record.
    """

    def __init__(self, path: str, timeout: float = 5.0, shown: str = "", guarded: str = "") -> None:
        self._path, self._timeout, self._shown, self._guarded = path, timeout, shown or path, guarded
        self._lock: FileLock | None = None

    def __enter__(self) -> FileLock:
        patience = time.monotonic() + _CROWD_PATIENCE_SECONDS
        before = _changes_of(self._guarded)
        lock = take(self._path, blocking=True, timeout=self._timeout)
        while lock is None and self._guarded and time.monotonic() < patience and before != _changes_of(self._guarded):
            before = _changes_of(self._guarded)
            lock = take(self._path, blocking=True, timeout=self._timeout)
        if lock is None:
            raise LockHeldError(
                f"Timed out waiting for lock {self._shown}", remedy="another wave command is using it; try again"
            )
        self._lock = lock
        return lock

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()


def _changes_of(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _try_lock(path: str, fd: int) -> FileLock | None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return None
        if error.errno in UNSUPPORTED:
            return _take_without_flock(path, fd)
        raise _disk_error(path, error) from None
    # Somebody may have removed the file between our open and our lock: then this lock excludes nobody.
    return FileLock(path, fd) if _same_file(fd, path) else None


def _only_probed(fd: int) -> bool:
    """True when no exclusive holder stands in the way, only probes (or nobody any more)."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True  # closing the descriptor lets go of the shared lock


def _take_without_flock(path: str, fd: int) -> FileLock | None:
    global _warned
    from . import owner_files

    if not _warned:
        _warned = True
        os.write(2, f"[wave] warning: {path}: this file system knows no locks; using owner records instead\n".encode())
    owner = owner_files.take(path, _foreign_grace)
    return None if owner is None else FileLock(path, fd, owner)


def _open_lock_file(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)
    except OSError as error:
        raise _disk_error(path, error) from None


def _same_file(fd: int, path: str) -> bool:
    try:
        mine, there = os.fstat(fd), os.stat(path)
    except OSError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _disk_error(path: str, error: OSError) -> DiskError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and try again" if full else "check that the state folder is writable"
    key = "no-space" if full else "not-writable"
    return DiskError(f"cannot use lock file: {error.strerror}", path, remedy, key=key)
