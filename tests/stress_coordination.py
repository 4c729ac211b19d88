"""`python -m tests.stress_coordination [--processes 32] [--records 2000]`: a crowd of writers on one wave.

Every writer is a process that posts records (named and unnamed) and now and then updates a shared one; readers reduce
the log all the while, cold, piece by piece and from checkpoints. Exit code 1 when a record was lost, torn, doubled or
attributed to somebody else, or when two readers disagree; prints how fast it was and what the largest process took.
Every append waits for the disk; `--folder /dev/shm` shows what is left without that. Spec: COORD 2; issue 5.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests")) if path not in sys.path]

from coordination_lab import workspace  # noqa: E402
from waiting import wait_until  # noqa: E402

from wave_lib.base.errors import LockHeldError  # noqa: E402
from wave_lib.definition.config import load_wave_config  # noqa: E402
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths  # noqa: E402
from wave_lib.state.coordination_store import (  # noqa: E402
    CoordinationLog,
    CoordinationState,
    append_record,
    materialize,
    read_records,
    update_log,
)

UPDATES = 5
"""Read-modify-append steps of each writer: each reads the whole log."""


def write(paths: LanePaths, name: str, count: int) -> None:
    """One writer: `count` records, every second one with an id of its own, and updates of the shared record."""
    every = max(count // UPDATES, 1)
    for number in range(count):
        own = {"id": f"{name}-{number}"} if number % 2 else {}
        raw = {**own, "kind": "claim", "agentId": name, "summary": f"{name}-{number}"}
        _insist(lambda: append_record(paths, 0, raw))  # noqa: B023 - called at once
        if number % every == 0 and number // every < UPDATES:
            _insist(lambda: update_log(paths.coordination_log(0), lambda state: [_counted(state, name)]))


def _insist(act: Callable[[], object]) -> None:
    """Do it, and do as the error says when the lock could not be had in time: try again."""
    while True:
        try:
            act()
            return
        except LockHeldError as error:
            print(f"[stress] {error}", file=sys.stderr)


def _counted(state: CoordinationState, name: str) -> dict[str, Any]:
    shared = state.by_id["shared"]
    return {**shared, "detail": str(int(shared["detail"]) + 1), "agentId": name}


def read(paths: LanePaths, total: int) -> None:
    """One reader: reduces until all records are there; every view must be that of a cold reading."""
    os.nice(5)  # two readers that never rest would have both cores to themselves
    log, seen = CoordinationLog(paths.coordination_log(0), paths.coordination_checkpoint(0)), 0

    def look() -> bool:
        nonlocal seen
        state = log.refresh()
        assert not log.bad_lines, log.bad_lines
        assert len(state.by_id) >= seen
        seen = len(state.by_id)
        log.save_checkpoint()
        other = CoordinationLog(log.path, paths.coordination_checkpoint(0)).refresh()
        assert all(other.by_id[name]["createdAt"] == record["createdAt"] for name, record in state.by_id.items())
        return seen == total

    wait_until(look, within=3600)
    cold = materialize(read_records(paths, 0).records)
    assert CoordinationLog(log.path, paths.coordination_checkpoint(0)).refresh().by_id == cold.by_id


def judge(paths: LanePaths, writers: int, records: int) -> None:
    """AssertionError unless the log holds exactly what was posted."""
    lines = Path(paths.coordination_log(0)).read_text(encoding="utf-8").splitlines()
    updates = len(range(0, records, max(records // UPDATES, 1))[:UPDATES])
    assert len([json.loads(line) for line in lines]) == writers * (records + updates) + 1
    reading = read_records(paths, 0)
    assert reading.bad_lines == []
    state = materialize(reading.records)
    assert state.by_id["shared"]["detail"] == str(writers * updates)  # each saw the one before it
    said = sorted(record["summary"] for record in state.of_kind("claim"))
    assert said == sorted(f"W{writer}-{number}" for writer in range(writers) for number in range(records))
    assert all(item["agentId"] == item["summary"].rpartition("-")[0] for item in state.of_kind("claim"))
    assert len(state.by_id) == writers * records + 1
    assert not os.path.exists(paths.coordination_log(0) + ".torn")


def run(folder: Path, writers: int, records: int, readers: int) -> float:
    """The whole exercise in a fresh workspace; returns the seconds that it took. AssertionError when it failed."""
    paths = workspace(folder)
    append_record(paths, 0, {"id": "shared", "kind": "decision", "agentId": "A0", "detail": "0"})
    begun = time.monotonic()
    words = [["read", str(writers * records + 1)] for _ in range(readers)]
    words += [["write", f"W{number}", str(records)] for number in range(writers)]
    children = [subprocess.Popen([sys.executable, __file__, "--as", str(folder), *argv]) for argv in words]
    try:
        codes = [child.wait() for child in children[readers:]]
        assert codes == [0] * writers, codes
        codes = [child.wait(timeout=600) for child in children[:readers]]
        assert codes == [0] * readers, codes
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    judge(paths, writers, records)
    return time.monotonic() - begun


def main(argv: list[str]) -> int:
    """Parse the command line and run."""
    if argv[:1] == ["--as"]:
        paths = build_lane_paths(load_wave_config(argv[1]))
        if argv[2] == "write":
            write(paths, argv[3], int(argv[4]))
        else:
            read(paths, int(argv[3]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.stress_coordination")
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--records", type=int, default=2000, help="of each process")
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--folder", help="where to work; a temporary folder in it is removed again")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        taken = run(Path(folder), given.processes, given.records, given.readers)
    total = given.processes * given.records
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{given.processes} processes, {total} records: nothing lost or doubled, readers agree")
    print(f"{taken:.1f} s, {total / taken:.0f} records/s; {used.ru_utime + used.ru_stime:.1f} s of processor time")
    print(f"largest process {used.ru_maxrss // 1024} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
