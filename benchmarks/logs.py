"""Logs of 100,000 records: reading them cold, and refreshing after one append. Budgets: DESIGN 5."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from wave_lib.base.timestamps import iso_of
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_files import parse_wave_file
from wave_lib.runtime.derived_state import DerivedContext, refresh_derived_state
from wave_lib.state.control_plane import ControlPlaneLog, normalize_event
from wave_lib.state.coordination_records import normalize_record
from wave_lib.state.coordination_store import CoordinationLog

from .workspace import make_workspace

WAVE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "wave.py")
RECORDS = 100_000
EVENTS = 2_000
"""What a launcher notes of a wave with a few hundred runs of agents."""
IDS = 2_000
"""Records of a long-lived wave are mostly versions of a few thousand questions, claims and decisions."""

Row = tuple[str, float, str, "float | None"]


def rows(folder: str) -> list[Row]:
    """(name, value, unit, budget) of each measurement."""
    make_workspace(folder, waves=1, workers=2)
    paths = build_lane_paths(load_wave_config(folder))
    coordination, control = paths.coordination_log(0), paths.control_plane_log(0)
    _write(coordination, [_record(number, number % IDS) for number in range(RECORDS)])
    _write(control, [_event(number) for number in range(RECORDS)])
    found: list[Row] = []
    for name, path, log, line in (
        ("coordination log", coordination, CoordinationLog, _record),
        ("control-plane log", control, ControlPlaneLog, lambda number, _: _event(number)),
    ):
        reader = log(path)
        found.append((f"100,000 records: {name}, cold", _seconds(reader.refresh), "s", 2.0))
        taken = []
        for number in range(9):
            _append(path, line(RECORDS + number, RECORDS + number))
            taken.append(_seconds(reader.refresh))
        found.append((f"100,000 records: {name}, after one append", statistics.median(taken) * 1000, "ms", 20.0))
    return [*found, _derived(paths), *_status(folder, paths)]


def _status(folder: str, paths: LanePaths) -> list[Row]:
    """`control status` as a process of its own, after a command that wrote checkpoints; as many ids is the worst."""
    found: list[Row] = []
    for name, records, ids, events in (
        ("100,000 events", IDS, IDS, RECORDS),
        (f"100,000 records of {IDS:,} ids", RECORDS, IDS, EVENTS),
        ("100,000 records of 100,000 ids", RECORDS, RECORDS, EVENTS),
    ):
        _write(paths.control_plane_log(0), [_event(number) for number in range(events)])
        _write(paths.coordination_log(0), [_record(number, number % ids) for number in range(records)])
        _run(folder, "coord", "post", "--wave", "0", "--agent", "W1", "--kind", "claim", "--summary", "done")
        taken = [_seconds(lambda: _run(folder, "control", "status", "--wave", "0")) for _ in range(3)]
        found.append((f"{name}: control status", statistics.median(taken), "s", 2.0))
    return found


def _run(folder: str, *words: str) -> None:
    subprocess.run([sys.executable, WAVE, *words, "--lane", "main"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _derived(paths: LanePaths) -> Row:
    """Everything that follows from the logs, anew after one append: what a launcher does once in 15 s."""
    wave = parse_wave_file(paths.wave_file(0), paths.profile, paths.root)
    context = DerivedContext(paths, wave, resolve_wave_role_bindings(wave, paths.profile.roles))
    refresh_derived_state(context)
    taken = []
    for number in range(5):
        _append(paths.coordination_log(0), _record(RECORDS + number, number))
        taken.append(_seconds(lambda: refresh_derived_state(context)))
    return ("100,000 records: derived state after one append", statistics.median(taken) * 1000, "ms", None)


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _record(number: int, record_id: int) -> str:
    stamp = _stamp(number)
    raw = {
        "id": f"r{record_id}",
        "kind": ("request", "claim", "evidence", "decision", "handoff", "blocker")[record_id % 6],
        "lane": "main",
        "wave": 0,
        "agentId": f"W{record_id % 2 + 1}",
        "targets": ["agent:A8"],
        "status": "open" if record_id % 50 == 0 else "resolved",
        "summary": f"What of part {record_id}?",
        "detail": "It was looked at again and is as it should be. " * 3,
    }
    return json.dumps(normalize_record({**raw, "createdAt": stamp}, stamp))


def _event(number: int) -> str:
    raw = {
        "id": f"e{number}",
        "lane": "main",
        "wave": 0,
        "entityType": ("agent_run", "gate", "task", "attempt", "fact")[number % 5],
        "entityId": f"x{number % IDS}",
        "action": "changed",
        "recordedAt": _stamp(number),
        "data": {"agentId": "W1", "attemptNumber": number % 9, "detail": "as expected"},
    }
    return json.dumps(normalize_event(raw))


def _stamp(number: int) -> str:
    return iso_of(1_767_225_600 + number / 10)


def _write(path: str, lines: list[str]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _append(path: str, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")
