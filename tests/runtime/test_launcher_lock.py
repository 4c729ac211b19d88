"""The lane's launcher lock. Spec: LAUNCH 3.3, 21 cases 12, 13."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from wave_lib.runtime.session_supervisor import LaneBusyError, take_launcher_lock

HOLDER = """
import sys, time
from wave_lib.runtime.session_supervisor import take_launcher_lock
lock = take_launcher_lock(sys.argv[1], "launcher.lock", lane="main", mode="launch")
print("held", flush=True)
time.sleep(60)
"""


def test_it_says_who_holds_it_and_stays_empty(tmp_path: Path) -> None:
    path = tmp_path / "launcher.lock"
    lock = take_launcher_lock(str(path), "launcher.lock", lane="main", mode="launch", supervisor_run_id="run-1")
    payload = json.loads(path.read_text())
    assert (payload["pid"], payload["mode"], payload["supervisorRunId"]) == (os.getpid(), "launch", "run-1")
    assert payload["identity"]["pid"] == os.getpid()
    inode = path.stat().st_ino
    lock.release()
    assert (path.read_text().strip(), path.stat().st_ino) == ("{}", inode)
    lock.release()  # a second release does nothing
    take_launcher_lock(str(path), "launcher.lock", lane="main", mode="launch").release()


def test_a_live_holder_refuses_and_a_killed_one_does_not(tmp_path: Path, start: Any) -> None:
    path = tmp_path / "launcher.lock"
    child = start(HOLDER, path)
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(LaneBusyError) as caught:
        take_launcher_lock(str(path), "launcher.lock", lane="main", mode="launch")
    assert f"Another launcher is active (pid {child.pid}, started 2" in str(caught.value)
    assert caught.value.code == 32
    child.kill()
    child.wait()
    take_launcher_lock(str(path), "launcher.lock", lane="main", mode="launch").release()


def test_a_launcher_of_node_is_respected_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "launcher.lock"
    path.write_text(json.dumps({"lane": "main", "pid": os.getppid(), "startedAt": "2026-01-01T00:00:00.000Z"}))
    with pytest.raises(LaneBusyError, match="Another launcher is active"):
        take_launcher_lock(str(path), "launcher.lock", lane="main", mode="launch")
    path.write_text(json.dumps({"lane": "main", "pid": 2**22 - 3, "startedAt": "2026-01-01T00:00:00.000Z"}))
    take_launcher_lock(str(path), "launcher.lock", lane="main", mode="launch").release()


def test_garbage_in_the_file_is_no_holder(tmp_path: Path) -> None:
    path = tmp_path / "launcher.lock"
    path.write_text("{not json")
    take_launcher_lock(str(path), "launcher.lock", lane="main", mode="reconcile").release()
