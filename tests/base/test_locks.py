from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from wave_lib.base import lease, locks, owner_files
from wave_lib.base.errors import LockHeldError
from wave_lib.base.locks import LockState, held, lock_state, take
from wave_lib.base.process_identity import identity_of


@pytest.fixture(params=["flock", "owner records"])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every promise of a lock holds on file systems with and without flock."""
    if request.param != "flock":

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(locks, "_warned", False)
    return str(request.param)


TAKER = """
import errno, fcntl, sys, time
def refuse(*_):
    raise OSError(errno.ENOLCK, "No locks available")
if sys.argv[2] != "flock":
    fcntl.flock = refuse
from wave_lib.base.locks import take
lock = take(sys.argv[1])
print("taken" if lock else "refused", flush=True)
sys.stdin.read()
"""


def test_one_holder_and_free_after_close(tmp_path: Path, mechanism: str) -> None:
    path = str(tmp_path / "deep" / "x.lock")
    assert not held(path)
    first = take(path)
    assert first is not None and held(path) and first.still_in_place()
    assert take(path) is None
    first.close()
    first.close()
    assert not held(path) and os.path.exists(path)
    for _ in range(3):
        again = take(path, record=b"mine")
        assert again is not None and Path(path).read_bytes() == b"mine"
        again.close()


def test_a_killed_holder_lets_go(tmp_path: Path, mechanism: str, start: Any) -> None:
    path = str(tmp_path / "x.lock")
    holder = start(TAKER, path, mechanism, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == b"taken\n"
    assert held(path) and take(path) is None
    holder.kill()
    holder.wait()
    assert not held(path)
    mine = take(path)
    assert mine is not None
    mine.close()


def test_exactly_one_of_many_wins(tmp_path: Path, mechanism: str, start: Any) -> None:
    path = str(tmp_path / "x.lock")
    dead = start(TAKER, path, mechanism, stdin=subprocess.DEVNULL)
    dead.wait(30)
    takers = [start(TAKER, path, mechanism, stdin=subprocess.PIPE) for _ in range(6)]
    assert sorted(taker.stdout.readline() for taker in takers) == [b"refused\n"] * 5 + [b"taken\n"]


def test_a_lock_travels_with_the_work(tmp_path: Path, mechanism: str) -> None:
    """The child keeps what the parent took, and the parent's going changes nothing; kill -9 of the child frees it."""
    path = str(tmp_path / "tree.flock")
    lock = take(path)
    assert lock is not None
    child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.pass_on()], start_new_session=True)
    lock.shared_with(child.pid)
    lock.close()
    try:
        assert held(path) and take(path) is None
    finally:
        child.kill()
        child.wait()
    assert not held(path)


def test_a_grandchild_keeps_the_lock_of_a_killed_runner(tmp_path: Path) -> None:
    path = str(tmp_path / "tree.flock")
    lock = take(path)
    assert lock is not None
    runner = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"],
        pass_fds=[lock.fd],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    lock.close()
    assert runner.stdout is not None
    grandchild = int(runner.stdout.readline())
    runner.kill()
    runner.wait()
    runner.stdout.close()
    assert held(path)
    os.kill(grandchild, 9)
    assert wait_until(lambda: not held(path), what="the lock to be free")


def test_states_of_a_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "x.lock")
    assert lock_state(path) is LockState.ABSENT
    Path(path).touch(mode=0o400)
    assert lock_state(path) is LockState.FREE
    with locks.locked(path):
        assert lock_state(path) is LockState.HELD
    assert lock_state(path) is LockState.FREE

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert lock_state(path) is LockState.UNSUPPORTED


def test_a_probe_does_not_keep_a_taker_out(tmp_path: Path, start: Any) -> None:
    path = str(tmp_path / "x.lock")
    Path(path).touch()
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    taker = start(TAKER, path, "flock", stdin=subprocess.DEVNULL)
    assert taker.poll() is None
    os.close(fd)
    assert taker.stdout.readline() == b"taken\n"


def test_waiting_has_a_deadline(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    with locks.locked(path):
        with pytest.raises(LockHeldError, match="lock shown-path"), locks.locked(path, 0.05, shown="shown-path"):
            pass
        assert take(path, blocking=True, timeout=0.05) is None


def test_a_crowd_that_is_being_served_is_waited_for_and_a_stuck_holder_is_not(tmp_path: Path, start: Any) -> None:
    path, log = str(tmp_path / "lock"), tmp_path / "log"
    busy = start(
        "import sys, time; from wave_lib.base.locks import take; lock = take(sys.argv[1]); print(flush=True)\n"
        "for _ in range(20):\n    open(sys.argv[2], 'a').write('x'); time.sleep(0.05)\n"
        "lock.close(); sys.stdin.read()",
        path,
        log,
        stdin=subprocess.PIPE,
    )
    busy.stdout.readline()
    with locks.locked(path, timeout=0.3, guarded=str(log)):
        assert log.read_text() == "x" * 20
    with take(path) as held_elsewhere, pytest.raises(LockHeldError):  # type: ignore[union-attr]
        assert held_elsewhere.fd >= 0
        with locks.locked(path, timeout=0.3, guarded=str(log)):
            raise AssertionError("the lock was taken twice")
    busy.stdin.close()


def test_a_replaced_lock_file_is_noticed(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    lock = take(path)
    assert lock is not None
    os.unlink(path)
    assert not lock.still_in_place()
    other = take(path)
    assert other is not None and other.still_in_place()
    lock.close()
    other.close()


def test_without_flock_there_is_one_warning(tmp_path: Path, start: Any) -> None:
    code = TAKER.replace("sys.stdin.read()", "take(sys.argv[1] + '2')")
    child = start(code, tmp_path / "x.lock", "none", stderr=subprocess.PIPE)
    _, warnings = child.communicate(timeout=30)
    assert warnings.count(b"warning") == 1


def test_owner_records_half_written_or_unknown_hold(tmp_path: Path) -> None:
    path = str(tmp_path / "x.lock")
    record = Path(path + ".owner-3")
    record.write_text('[{"pid"')
    assert owner_files.held(path, 300) and owner_files.take(path, 300) is None
    os.utime(record, (1, 1))
    assert not owner_files.held(path, 300)
    foreign = {**identity_of(os.getpid()).to_json(), "hostId": "elsewhere"}
    record.write_text(json.dumps([foreign]))
    assert owner_files.held(path, 300)
    now = time.time()
    for age, holds in ((299, True), (301, False), (-50, True), (-61, False)):
        os.utime(record, (now - age, now - age))
        assert owner_files.held(path, 300) is holds, age
    keeper = Path(f"{record}+7")  # a child of it that is heard of
    keeper.write_text(json.dumps([foreign]))
    assert owner_files.held(path, 300)
    keeper.write_text("[]")
    record.write_text(json.dumps([{**foreign, "hostId": None, "bootId": "before"}]))
    owner = owner_files.take(path, 300)
    assert owner is not None and owner.path.endswith("-4") and not record.exists() and not keeper.exists()


# --- the lease


def test_lease_counts_epochs_and_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.lock")
    first = lease.acquire_lease(path, {"supervisorId": "supervisor-1-aaaaaaaa", "pid": 1}, 15.0, epoch_floor=4)
    assert first is not None and first.epoch == 5 and first.ours() and not first.overdue()
    assert lease.acquire_lease(path, {"supervisorId": "other"}, 15.0) is None
    first.beat(activeRunId="run-1")
    seen = lease.read_lease(path)
    assert seen is not None and (seen["heartbeatSeq"], seen["activeRunId"], seen["state"]) == (2, "run-1", "active")
    assert os.path.getsize(path) == 4096
    first.release()
    assert (lease.read_lease(path) or {})["state"] == "released"
    second = lease.acquire_lease(path, {"supervisorId": "supervisor-2-bbbbbbbb"}, 15.0)
    assert second is not None and second.epoch == 6
    second.release()


def test_lease_knows_that_it_was_fenced(tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.lock")
    mine = lease.acquire_lease(path, {"supervisorId": "a"}, 15.0)
    assert mine is not None
    os.pwrite(mine.lock.fd, json.dumps({"supervisorId": "b", "epoch": 2}).encode().ljust(4095) + b"\n", 0)
    assert not mine.ours()
    mine.release()
    assert (lease.read_lease(path) or {})["supervisorId"] == "b", "a fenced owner writes nothing"
    again = lease.acquire_lease(path, {"supervisorId": "c"}, 15.0)
    assert again is not None and again.epoch == 3
    os.unlink(path)
    assert not again.ours()
    again.release()
    assert not os.path.exists(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_locks_are_not_inherited_by_chance(tmp_path: Path) -> None:
    lock = take(str(tmp_path / "x.lock"))
    assert lock is not None
    done = subprocess.run(["sh", "-c", "ls -l /proc/self/fd"], stdout=subprocess.PIPE, close_fds=False, check=True)
    assert b"x.lock" not in done.stdout
    lock.close()
