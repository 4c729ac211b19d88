from __future__ import annotations

import os
from pathlib import Path

import pytest

from wave_lib.base import liveness as module
from wave_lib.base.liveness import liveness
from wave_lib.base.locks import locked
from wave_lib.base.process_identity import Alive, Identity, identity_of

FOREIGN = Identity(os.getpid(), "1", "their boot", "their host", "7", 0)
NAMELESS = Identity(os.getpid(), None, None)


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The state folder lies on a file system whose locks others may not see."""
    monkeypatch.setattr(module, "on_local_file_system", lambda _: False)


def test_a_held_lock_outranks_everything(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    with locked(path):
        assert liveness(path, FOREIGN, 10**6, foreign_grace_seconds=1) == (Alive.ALIVE, "lock")


def test_a_free_lock_proves_death_where_locks_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.lock"
    path.touch()
    mine = identity_of(os.getpid())
    assert liveness(str(path), mine, 0.0) == (Alive.DEAD, "lock")
    monkeypatch.setattr(module, "on_local_file_system", lambda _: False)
    assert liveness(str(path), mine, 0.0) == (Alive.DEAD, "lock"), "the same boot has the same kernel"
    assert liveness(str(path), FOREIGN, 0.0) == (Alive.ALIVE, "heartbeat")


def test_without_a_lock_the_identity_decides(tmp_path: Path) -> None:
    path, mine = str(tmp_path / "none"), identity_of(os.getpid())
    assert liveness(path, mine, 10**6) == (Alive.ALIVE, "pid")
    assert liveness(path, mine._replace(start_time="1"), 0.0) == (Alive.DEAD, "pid")


@pytest.mark.parametrize(
    ("identity", "age", "grace", "expired", "wanted"),
    [
        (FOREIGN, 14.9, 100.0, True, (Alive.ALIVE, "heartbeat")),
        (FOREIGN, 15.0, 100.0, True, (Alive.UNKNOWN, "none")),
        (FOREIGN, 100.0, 100.0, True, (Alive.DEAD, "foreign-grace")),
        (FOREIGN, 100.0, 100.0, False, (Alive.UNKNOWN, "none")),
        (FOREIGN, 100.0, None, True, (Alive.UNKNOWN, "none")),
        (FOREIGN, -61.0, 100.0, True, (Alive.UNKNOWN, "none")),
        (FOREIGN, None, 100.0, True, (Alive.UNKNOWN, "none")),
        (NAMELESS, 1000.0, 100.0, True, (Alive.UNKNOWN, "none")),
        (None, 1000.0, 100.0, True, (Alive.UNKNOWN, "none")),
    ],
)
def test_heartbeats_and_grace(
    tmp_path: Path,
    far_away: None,
    identity: Identity | None,
    age: float | None,
    grace: float | None,
    expired: bool,
    wanted: tuple[Alive, str],
) -> None:
    (tmp_path / "x.lock").touch()
    seen = liveness(str(tmp_path / "x.lock"), identity, age, 5.0, grace, expired)
    assert seen == wanted


def test_file_system_types() -> None:
    mounts = [
        "22 1 254:0 / / rw - ext4 /dev/vda rw",
        "23 22 0:50 / /net\\040share rw - nfs4 host:/x rw",
        "24 22 0:60 / /data rw shared:1 - btrfs /dev/vdb rw",
        "broken",
    ]
    assert module._file_system_type("/net share/x", "0:50", mounts) == "nfs4"
    assert module._file_system_type("/net share/x", "9:9", mounts) == "nfs4"
    assert module._file_system_type("/data/x", "0:61", mounts) == "btrfs"
    assert module._file_system_type("/database", "9:9", mounts) == "ext4"
    assert not module.on_local_file_system("/nowhere/at/all")
    assert not module.on_local_file_system("/proc/self/stat")
