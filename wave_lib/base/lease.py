"""The lease: one JSON object in a locked file, padded and written in place, with a fencing epoch. Spec: SUP 4.7, 8.2.

Holds:       the lock of the file, for as long as the owner lives.
Writes:      the file's content, in place (replacing the file would change the locked inode).
When killed: the lock is free at once; the text still names the dead owner, and the successor counts its epoch up.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from .durable_steps import DurableStep
from .errors import StateError
from .locks import FileLock, take
from .timestamps import iso_of, now_iso

if TYPE_CHECKING:
    from typing import Any

_SIZE = 4096


class Lease:
    """An ownership: the lock, the record, and the epoch that stands in every write of the owner."""

    def __init__(self, lock: FileLock, record: dict[str, Any], seconds: float) -> None:
        self.lock = lock
        self.record = record
        self.seconds = seconds
        self.last_beat = time.monotonic()

    @property
    def epoch(self) -> int:
        epoch: int = self.record["epoch"]
        return epoch

    def beat(self, **changes: Any) -> None:
        """Writes the record again: the given keys changed, heartbeat and expiry moved, `heartbeatSeq` counted up."""
        self.record.update(changes)
        self.record["heartbeatSeq"] = self.record.get("heartbeatSeq", 0) + 1
        self.record["heartbeatAt"] = now_iso()
        self.record["leaseExpiresAt"] = iso_of(time.time() + self.seconds)
        _write(self.lock.fd, self.record)
        self.lock.beat()
        self.last_beat = time.monotonic()

    def ours(self) -> bool:
        """Reads back: the locked file is the one in place, and it carries our epoch and our id. Else we are fenced."""
        if not self.lock.still_in_place():
            return False
        # Through our own descriptor: one more could not be opened when there are too many, and that is no loss.
        there = _read_fd(self.lock.fd) or {}
        return all(there.get(key) == self.record.get(key) for key in ("epoch", "supervisorId"))

    def overdue(self) -> bool:
        """More than the lease's length passed since our last heartbeat (stopped, suspended): beat before you act."""
        return time.monotonic() - self.last_beat > self.seconds

    def release(self) -> None:
        """Says `released` and lets go of the lock."""
        try:
            if self.ours():
                self.beat(state="released")
        finally:
            self.lock.close()


def acquire_lease(path: str, record: dict[str, Any], seconds: float, epoch_floor: int = 0) -> Lease | None:
    """The lease with the next epoch, or None when somebody holds the lock.

    `record` gives the owner's fields (`supervisorId`, `pid`, `identity`, ...). The epoch follows the one in the file;
    where that cannot be read, `epoch_floor` (the highest epoch seen in the runs).
    """
    lock = take(path)
    if lock is None:
        return None
    previous = (read_lease(path) or {}).get("epoch")
    epoch = (previous if isinstance(previous, int) else epoch_floor) + 1
    lease = Lease(lock, {**record, "acquiredAt": now_iso(), "heartbeatSeq": 0, "epoch": epoch}, seconds)
    try:
        lease.beat(state="active")
    except BaseException:
        lock.close()
        raise
    return lease


def read_lease(path: str) -> dict[str, Any] | None:
    """The record, None when there is none. A reader that met a writer half-way reads again, up to five times."""
    for _ in range(6):
        try:
            with open(path, "rb") as file:
                text = file.read(_SIZE * 2)
        except OSError:
            return None
        try:
            record = json.loads(text) if text.strip() else None
        except ValueError:
            time.sleep(0.002)
            continue
        return record if isinstance(record, dict) else None
    return None


def _read_fd(fd: int) -> dict[str, Any] | None:
    try:
        record = json.loads(os.pread(fd, _SIZE * 2, 0))
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def lease_is_fresh(record: dict[str, Any]) -> bool:
    """Whether the text promises more time. Stamps of one form are compared as texts, which costs a client nothing."""
    expires = record.get("leaseExpiresAt")
    return isinstance(expires, str) and expires > now_iso()


def _write(fd: int, record: dict[str, Any]) -> None:
    line = json.dumps(record, ensure_ascii=True).encode()
    if len(line) >= _SIZE:
        raise StateError(f"lease record of {len(line)} bytes does not fit into {_SIZE}", key="lease-too-long")
    with DurableStep("lease", "daemon.lock"):
        os.pwrite(fd, line.ljust(_SIZE - 1) + b"\n", 0)
        os.fsync(fd)
