"""Locks for file systems without `flock`: numbered owner records beside the lock file.

`<lock>.owner-<n>` names the processes that hold the lock. The highest number rules; the lock is free when all its
processes are dead or it says so. Who wants the lock creates number n + 1 exclusively, so that exactly one wins, and
nobody ever removes the highest record: there is no moment in which two takers could both see a free lock.
"""

from __future__ import annotations

import glob
import json
import os
import time

from .process_identity import Alive, Identity, check, identity_of

_HALF_WRITTEN_SECONDS = 10.0


class Owner:
    """Our record: the processes that hold the lock through us."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._pids = [os.getpid()]

    def add(self, pid: int) -> None:
        """A child took over the lock and keeps it after us."""
        self._pids.append(pid)
        _write(self.path, self._pids)

    def release(self) -> None:
        """We are no holder any more; children that were added still are."""
        _write(self.path, [pid for pid in self._pids if pid != os.getpid()])


def take(lock_path: str) -> Owner | None:
    """Our record, or None when a living process holds the lock."""
    number = _highest(lock_path)
    if number and _rules(_record(lock_path, number)):
        return None
    mine = _record(lock_path, number + 1)
    try:
        fd = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    os.write(fd, _encoded([os.getpid()]))
    os.close(fd)
    if _highest(lock_path) != number + 1:  # we slept, and a later owner has cleaned up below us meanwhile
        os.unlink(mine)
        return None
    for older in _numbers(lock_path):
        if older <= number:
            _unlink(_record(lock_path, older))
    return Owner(mine)


def held(lock_path: str) -> bool:
    """Whether a living process, or one we cannot judge, holds the lock."""
    number = _highest(lock_path)
    return bool(number) and _rules(_record(lock_path, number))


def _rules(record: str) -> bool:
    try:
        with open(record, "rb") as file:
            owners = [Identity.from_json(item) for item in json.loads(file.read())]
    except FileNotFoundError:
        return True  # replaced by a newer one this very moment
    except (OSError, ValueError, TypeError):
        # Its writer died half-way, or is writing right now: only time can tell.
        try:
            return time.time() - os.stat(record).st_mtime < _HALF_WRITTEN_SECONDS
        except OSError:
            return True
    return any(owner is None or check(owner) is not Alive.DEAD for owner in owners)


def _write(record: str, pids: list[int]) -> None:
    fresh = f"{record}.{os.getpid()}.tmp"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(fd, _encoded(pids))
    os.close(fd)
    os.replace(fresh, record)


def _encoded(pids: list[int]) -> bytes:
    return json.dumps([identity_of(pid).to_json() for pid in pids]).encode()


def _record(lock_path: str, number: int) -> str:
    return f"{lock_path}.owner-{number}"


def _numbers(lock_path: str) -> list[int]:
    tails = (name.rpartition("-")[2] for name in glob.glob(glob.escape(lock_path) + ".owner-*"))
    return [int(tail) for tail in tails if tail.isdigit()]


def _highest(lock_path: str) -> int:
    return max(_numbers(lock_path), default=0)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
