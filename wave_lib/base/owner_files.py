"""Locks for file systems without `flock`: numbered owner records beside the lock file.

`<lock>.owner-<n>` names the process that took the lock, `<lock>.owner-<n>+<pid>` each process that keeps it too. The
highest number rules; the lock is free when all its processes are dead or it says so. Who wants the lock creates number
n + 1 exclusively, so that exactly one wins, and nobody ever removes the highest record: there is no moment in which two
takers could both see a free lock. No file has two writers.

Processes of another host or pid namespace cannot be asked whether they live. They count as long as one of their files
was touched lately (`beat`), for a container may have been killed with all of them. Spec: SUP 3.3, 3.4, 3.5.
"""

from __future__ import annotations

import glob
import json
import os
import time

from .process_identity import Alive, Identity, check, identity_of, is_foreign

_HALF_WRITTEN_SECONDS = 10.0
_FUTURE_SECONDS = 60.0


class Owner:
    """Our part of a lock: the whole record when this process took it, else the line of one that keeps it too."""

    def __init__(self, record: str, took: bool = True) -> None:
        self.path = record
        self._own = record if took else f"{record}+{os.getpid()}"
        self._took = took

    def add(self, pid: int) -> None:
        """A child got the lock too and keeps it after us."""
        _write(f"{self.path}+{pid}", [identity_of(pid)])

    def beat(self) -> None:
        """For those who cannot see our processes: they live."""
        try:
            os.utime(self._own)
        except OSError:
            pass

    def release(self) -> None:
        """We are no holder any more; children that were added still are."""
        if self._took:
            _write(self.path, [])
        else:
            _unlink(self._own)


def take(lock_path: str, foreign_grace: float) -> Owner | None:
    """Our record, or None when a living process holds the lock."""
    number = _highest(lock_path)
    if number and _rules(_record(lock_path, number), foreign_grace):
        return None
    mine = _record(lock_path, number + 1)
    try:
        fd = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    os.write(fd, _encoded([identity_of(os.getpid())]))
    os.close(fd)
    if _highest(lock_path) != number + 1:  # we slept, and a later owner has cleaned up below us meanwhile
        os.unlink(mine)
        return None
    for older in _numbers(lock_path):
        if older <= number:
            for path in _files(_record(lock_path, older)):
                _unlink(path)
    return Owner(mine)


def adopt(lock_path: str) -> Owner | None:
    """Our part of a lock that the parent took and passed on to us."""
    number = _highest(lock_path)
    return Owner(_record(lock_path, number), took=False) if number else None


def held(lock_path: str, foreign_grace: float) -> bool:
    """Whether a living process, or one we cannot judge, holds the lock. `foreign_grace` in seconds."""
    number = _highest(lock_path)
    return bool(number) and _rules(_record(lock_path, number), foreign_grace)


def _rules(record: str, foreign_grace: float) -> bool:
    if not os.path.exists(record):
        return True  # replaced by a newer one this very moment
    foreign, youngest = False, float("inf")
    for path in _files(record):
        try:
            with open(path, "rb") as file:
                age = time.time() - os.fstat(file.fileno()).st_mtime
                owners = [Identity.from_json(item) for item in json.loads(file.read())]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError):
            # Its writer died half-way, or is writing right now: only time can tell.
            if _age(path) < _HALF_WRITTEN_SECONDS:
                return True
            continue
        if age >= -_FUTURE_SECONDS:
            youngest = min(youngest, age)
        for owner in owners:
            if owner is None or (check(owner) is not Alive.DEAD and not is_foreign(owner)):
                return True
            foreign = foreign or check(owner) is not Alive.DEAD
    return foreign and youngest < foreign_grace


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _write(path: str, owners: list[Identity]) -> None:
    fresh = f"{path}.{os.getpid()}.tmp"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(fd, _encoded(owners))
    os.close(fd)
    os.replace(fresh, path)


def _encoded(owners: list[Identity]) -> bytes:
    return json.dumps([owner.to_json() for owner in owners]).encode()


def _record(lock_path: str, number: int) -> str:
    return f"{lock_path}.owner-{number}"


def _files(record: str) -> list[str]:
    more = (path for path in glob.glob(glob.escape(record) + "+*") if path[len(record) + 1 :].isdigit())
    return [record, *more]


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
