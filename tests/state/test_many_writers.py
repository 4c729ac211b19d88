"""Many processes append to the same logs while others reduce them: nothing lost, nothing torn. COORD 2, issue 5."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from coordination_lab import workspace

from wave_lib.state.control_plane import read_control_plane, read_events
from wave_lib.state.coordination_store import CoordinationLog, materialize, read_records

ROOT = Path(__file__).resolve().parent.parent.parent
WRITERS, RECORDS = 8, 20  # the same holds for 32 writers of 2,000 records each; this is what CI can afford

_WRITE = """
import sys
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.state.control_plane import append_event
from wave_lib.state.coordination_store import append_record, update_log
root, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
paths = build_lane_paths(load_wave_config(root))
for number in range(count):
    append_record(paths, 0, {"id": f"{name}-{number}", "kind": "claim", "agentId": name, "summary": "x" * 200})
    append_record(paths, 0, {"kind": "evidence", "agentId": name, "summary": f"{name}-{number}"})
    append_event(paths, 0, "fact", f"{name}-{number}", "noted", {"content": name}, actor=name)
    update_log(paths.coordination_log(0), lambda state: [
        {**state.by_id["shared"], "detail": str(int(state.by_id["shared"]["detail"]) + 1), "agentId": name}])
"""

_READ = """
import sys, time
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.state.coordination_store import CoordinationLog, materialize, read_records
root, total = sys.argv[1], int(sys.argv[2])
paths = build_lane_paths(load_wave_config(root))
log, seen, deadline = CoordinationLog(paths.coordination_log(0)), 0, time.monotonic() + 100
while time.monotonic() < deadline:
    state = log.refresh()
    assert not log.bad_lines, log.bad_lines
    assert len(state.by_id) >= seen
    seen = len(state.by_id)
    assert materialize(state.records).by_id == state.by_id
    if seen == total and state.by_id["shared"]["detail"] == str(total // 2):
        print("done")
        break
"""


def test_writers_lose_nothing_and_readers_agree(tmp_path, start):
    paths = workspace(tmp_path)
    from wave_lib.state.coordination_store import append_record

    append_record(paths, 0, {"id": "shared", "kind": "decision", "agentId": "A0", "detail": "0"})
    total = 2 * WRITERS * RECORDS + 1
    readers = [start(_READ, tmp_path, total) for _ in range(2)]
    writers = [start(_WRITE, tmp_path, f"W{number}", RECORDS) for number in range(WRITERS)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * WRITERS
    assert [reader.communicate(timeout=120)[0] for reader in readers] == [b"done\n"] * 2
    lines = Path(paths.coordination_log(0)).read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 3 * WRITERS * RECORDS + 1
    reading = read_records(paths, 0)
    assert reading.bad_lines == []
    state = materialize(reading.records)
    ids = {f"W{number}-{index}" for number in range(WRITERS) for index in range(RECORDS)}
    unnamed = state.of_kind("evidence")
    assert {record["summary"] for record in unnamed} == ids and len(state.by_id) == 2 * len(ids) + 1
    assert set(state.by_id) >= ids | {"shared"}
    assert state.by_id["shared"]["detail"] == str(WRITERS * RECORDS)  # every read-modify-append saw the one before it
    assert all(state.by_id[name]["agentId"] == name.rpartition("-")[0] for name in ids)
    assert CoordinationLog(paths.coordination_log(0)).refresh() == state
    control = read_control_plane(paths, 0)
    events = read_events(paths, 0).events
    assert set(control.facts) == ids and len({event["id"] for event in events}) == len(ids)
    assert all(event["actor"] == event["entityId"].rpartition("-")[0] for event in events)


def test_the_stress_run_at_a_small_size(tmp_path):
    """`python -m tests.stress_coordination` does the same with 32 writers of 2,000 records."""
    command = [sys.executable, str(ROOT / "tests" / "stress_coordination.py"), "--processes", "4", "--records", "40"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "nothing lost or doubled" in done.stdout, done.stderr


def test_ids_do_not_repeat_in_a_long_log(tmp_path, monkeypatch):
    """Eight random digits repeat within some ten thousand records: once in a stress run one record hid another."""
    from wave_lib.state import coordination_records
    from wave_lib.state.coordination_store import append_record

    monkeypatch.setattr(coordination_records.os, "urandom", lambda count: b"\0" * count)
    paths = workspace(tmp_path)
    made = [append_record(paths, 0, {"kind": "claim", "agentId": "A1", "summary": str(n)})["id"] for n in range(50)]
    assert len(set(made)) == 50 and all(re.fullmatch("coord-claim-[0-9a-f]{8}", name) for name in made)
