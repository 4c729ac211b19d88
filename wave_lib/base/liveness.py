"""Whether a recorded process lives, from its lock, its identity and its heartbeat, in that order. Spec: SUP 3.4.

Never a terminal, never a pid alone; and UNKNOWN never means dead.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from .locks import LockState, held_by_record, lock_state
from .process_identity import Alive, boot_id, check, is_foreign

if TYPE_CHECKING:
    from .process_identity import Identity

_LOCAL_FILE_SYSTEMS = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "apfs", "hfs"}
)


class Liveness(NamedTuple):
    """The verdict, and what it rests on: `lock`, `pid`, `heartbeat`, `foreign-grace`, or `none`."""

    verdict: Alive
    source: str


def liveness(
    lock_path: str,
    identity: Identity | None,
    heartbeat_age: float | None = None,
    heartbeat_seconds: float = 5.0,
    foreign_grace_seconds: float | None = None,
    lease_expired: bool = True,
) -> Liveness:
    """Judges one process. Ages are in seconds; an age below -60 (a stamp far in the future) counts as stale.

    `foreign_grace_seconds` is the silence after which the process of another host, whose owner's lease has expired too,
    counts as dead; None means never.
    """
    state = lock_state(lock_path)
    if state is LockState.HELD or (state is LockState.UNSUPPORTED and held_by_record(lock_path)):
        return Liveness(Alive.ALIVE, "lock")
    same_boot = identity is not None and identity.boot_id is not None and identity.boot_id == boot_id()
    if state is LockState.FREE and (same_boot or on_local_file_system(lock_path)):
        return Liveness(Alive.DEAD, "lock")
    by_pid = Alive.UNKNOWN if identity is None else check(identity)
    if by_pid is not Alive.UNKNOWN:
        return Liveness(by_pid, "pid")
    if heartbeat_age is not None and -60.0 <= heartbeat_age < 3 * heartbeat_seconds:
        return Liveness(Alive.ALIVE, "heartbeat")
    silent = heartbeat_age is not None and foreign_grace_seconds is not None and heartbeat_age >= foreign_grace_seconds
    if silent and lease_expired and identity is not None and is_foreign(identity):
        return Liveness(Alive.DEAD, "foreign-grace")
    return Liveness(Alive.UNKNOWN, "none")


def on_local_file_system(path: str) -> bool:
    """Whether the file lies where a free lock proves something; False when the type cannot be told."""
    if not sys.platform.startswith("linux"):
        return _mac_file_system(path) in _LOCAL_FILE_SYSTEMS
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    return _file_system_type(os.path.realpath(path), f"{os.major(device)}:{os.minor(device)}", lines) in (
        _LOCAL_FILE_SYSTEMS
    )


def _file_system_type(path: str, device: str, mountinfo: list[str]) -> str:
    """The type of the mount with this device, or else (btrfs has numbers of its own) of the longest mount point."""
    best, best_length = "", -1
    for line in mountinfo:
        fields, _, rest = line.partition(" - ")
        words, kind = fields.split(), rest.split(" ", 1)[0]
        if len(words) < 5:
            continue
        if words[2] == device:
            return kind
        point = words[4].replace("\\040", " ").rstrip("/")
        if (path == point or path.startswith(point + "/")) and len(point) >= best_length:
            best, best_length = kind, len(point)
    return best


def _mac_file_system(path: str) -> str:
    import subprocess

    try:
        done = subprocess.run(["mount"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    best, best_length = "", -1
    for line in done.stdout.decode("utf-8", "replace").splitlines():  # /dev/disk1s1 on / (apfs, local, journaled)
        place, _, options = line.partition(" on ")[2].rpartition(" (")
        if (place == "/" or path == place or path.startswith(place + "/")) and len(place) > best_length:
            best, best_length = options.split(",")[0].rstrip(")"), len(place)
    return best
