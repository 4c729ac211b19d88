"""What must hold after a run, whoever was killed meanwhile: read from the files alone, each breach in plain words.

`tests/crash/test_invariants.py` plants every breach in a sound workspace and sees it found.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from .workspace import Scenario

STATE = ".tmp/main-wave-launcher"
Attempt = tuple[str, ...]
"""(agent, wave, attempt), as the agents' own log names them."""

_RANDOM = re.compile(r"[0-9a-f]{6,}|[0-9]{8}T[0-9]+Z?")
_ENDS = ("completed", "failed", "timed_out")


class Result(NamedTuple):
    """What a run came to, without times and random ids."""

    started: Counter[Attempt]
    codes: dict[Attempt, int]
    attempts: dict[int, list[tuple[Any, ...]]]
    gates: dict[int, dict[str, tuple[bool, str]]]
    coordination: dict[int, dict[str, str]]
    envelopes: list[str]
    traces: list[str]
    plans: list[str]

    def essence(self) -> tuple[Any, ...]:
        """The part that stays the same when executors were killed and their attempts repeated."""
        unresolved = {
            wave: [name for name, status in records.items() if status in ("open", "in_progress")]
            for wave, records in self.coordination.items()
        }
        return (self.gates, unresolved, self.plans, {wave: items[-1][1] for wave, items in self.attempts.items()})


class Workspace:
    """The files that a finished run left."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.root = root
        self.state = root / STATE
        self.run_dir = self.state / "supervisor/runs" / run_id
        self.run_id = run_id

    def json(self, path: str) -> Any:
        """A JSON file of the lane's state."""
        return json.loads((self.state / path).read_text())

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """The records of a log."""
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def control(self, wave: int, entity: str) -> list[dict[str, Any]]:
        """Control-plane events of one entity type."""
        events = self.lines(self.state / f"control-plane/wave-{wave}.jsonl")
        return [event for event in events if event["entityType"] == entity]

    def log(self, word: str) -> list[Attempt]:
        """What the agents noted: the rest of the lines that begin with `start`, `end` or `overlap`."""
        path = self.root / "agents/log"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [tuple(line[1:]) for line in lines if line[0] == word]


def unreadable(root: Path) -> list[str]:
    """JSON files that cannot be parsed; may be asked at any instant of a run."""
    found = []
    every = (Path(at) / name for at, _, names in os.walk(root / ".tmp") for name in names)
    for path in every:
        if path.suffix != ".json" or path.name.startswith(".") or path.name.endswith((".pid.json", ".exit.json")):
            continue  # a temporary file; a shell's redirection, of which only its existence counts
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            continue
        except ValueError:
            found.append(f"unreadable: {path.relative_to(root)}")
    return found


def result_of(work: Workspace, scenario: Scenario) -> Result:
    """What the run came to."""
    waves = range(scenario.waves)
    return Result(
        Counter(work.log("start")),
        {row[:3]: int(row[3]) for row in work.log("end")},
        {wave: _attempts(work, wave) for wave in waves},
        {wave: _gates(work, wave) for wave in waves},
        {wave: _coordination(work, wave) for wave in waves},
        _names(work, f"{STATE}/results/**/*.json"),
        _names(work, f"{STATE}/traces/wave-*/attempt-*"),
        _names(work, f"{STATE}/**/relaunch-plan-*.json"),
    )


def _attempts(work: Workspace, wave: int) -> list[tuple[Any, ...]]:
    """(number, last state, selected agents) of each attempt."""
    found: dict[int, tuple[Any, ...]] = {}
    for event in work.control(wave, "attempt"):
        data = event["data"]
        number, old = data["attemptNumber"], found.get(data["attemptNumber"])
        selected = tuple(data.get("selectedAgentIds") or (old[2] if old else ()))
        found[number] = (number, data["state"], selected)
    return [found[number] for number in sorted(found)]


def _gates(work: Workspace, wave: int) -> dict[str, tuple[bool, str]]:
    runs = [event for event in work.control(wave, "wave_run") if event["action"] == "completed"]
    snapshot = (runs[-1]["data"].get("gateSnapshot") or {}) if runs else {}
    return {
        name: (gate["ok"], gate["statusCode"])
        for name, gate in snapshot.items()
        if isinstance(gate, dict) and "ok" in gate
    }


def _coordination(work: Workspace, wave: int) -> dict[str, str]:
    """The last status of each record."""
    records = work.lines(work.state / f"coordination/wave-{wave}.jsonl")
    return {_RANDOM.sub("*", record["id"]): record["status"] for record in records}


def _names(work: Workspace, pattern: str) -> list[str]:
    return sorted(_RANDOM.sub("*", str(path.relative_to(work.root))) for path in work.root.glob(pattern))


# --- invariants -------------------------------------------------------------------------------------------------------


def breaches(work: Workspace, scenario: Scenario, killed: set[Attempt], expected: Result | None) -> list[str]:
    """Everything that does not hold. `killed`: attempts whose executor or shim was killed; `expected`: the result of
    an undisturbed run."""
    found = unreadable(work.root) or [
        *_end(work, scenario),
        *_events(work),
        *_runs(work, killed),
        *_recorded(work, scenario, killed),
    ]
    return found or ([] if expected is None else _compared(result_of(work, scenario), expected, bool(killed)))


def _end(work: Workspace, scenario: Scenario) -> list[str]:
    """The run is completed, and so is every wave, by this very run."""
    found = []
    state = json.loads((work.run_dir / "state.json").read_text())
    end = (state["status"], state["terminalDisposition"], state["exitCode"], state["activeWave"])
    if end != ("completed", "completed", 0, scenario.waves - 1):
        found.append(f"the run ended as {end}: {state['detail']}")
    waves = work.json("run-state.json")
    if waves["completedWaves"] != list(range(scenario.waves)):
        found.append(f"run state says {waves['completedWaves']}")
    for wave, entry in waves["waves"].items():
        if entry["currentState"] != "completed" or entry["lastEvidence"].get("supervisorRunId") != work.run_id:
            found.append(f"run state of wave {wave}: {entry['currentState']}, not by this run")
    return found


def _events(work: Workspace) -> list[str]:
    """One supervisor at a time wrote the run's events, each once."""
    events = work.lines(work.run_dir / "events.jsonl")
    found = []
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        found.append("events have a gap or a second writer")
    epochs = [event["epoch"] for event in events if event["epoch"] is not None]
    if epochs != sorted(epochs):
        found.append(f"an older supervisor wrote after a newer one: {epochs}")
    keys = [event["key"] for event in events]
    if len(set(keys)) != len(keys):
        found.append("an event was recorded twice")
    if [event["type"] for event in events].count("run-finished") != 1 or events[-1]["type"] != "run-finished":
        found.append("the run did not finish exactly once, at the end")
    launches = [event["launchGeneration"] for event in events if event["type"] == "launch-intent"]
    if launches != list(range(1, len(launches) + 1)):
        found.append(f"launches are not numbered one by one: {launches}")
    return found


def _runs(work: Workspace, killed: set[Attempt]) -> list[str]:
    """No attempt ran twice, none at the same time as another of its agent, none vanished."""
    started, ended = Counter(work.log("start")), {row[:3] for row in work.log("end")}
    found = [f"attempts run twice: {_shown(name)}" for name, times in started.items() if times > 1]
    found += [f"two at once: {_shown(name)}" for name in work.log("overlap")]
    found += [f"vanished: {_shown(name)}" for name in started if name not in ended and name not in killed]
    return found


def _recorded(work: Workspace, scenario: Scenario, killed: set[Attempt]) -> list[str]:
    """Every run of an agent is in the log of its wave, once as started, with the exit code it really had."""
    codes = {row[:3]: int(row[3]) for row in work.log("end")}
    found = []
    told: dict[Attempt, list[dict[str, Any]]] = {}
    for wave in range(scenario.waves):
        for event in work.control(wave, "agent_run"):
            name = (event["data"]["agentId"], str(wave), str(event["data"]["attemptNumber"]))
            told.setdefault(name, []).append(event)
    for name in dict.fromkeys([*work.log("start"), *told]):
        events = told.get(name, [])
        starts = [event for event in events if event["action"] == "started"]
        ends = [event for event in events if event["action"] in _ENDS]
        if name not in killed:
            if name not in codes:
                found.append(f"recorded but never run: {_shown(name)}")
            if any(event["data"]["exitCode"] != codes.get(name) for event in ends):
                noted = [event["data"]["exitCode"] for event in ends]
                found.append(f"exit code of {_shown(name)} was {codes.get(name)}, recorded as {noted}")
            if len(starts) != 1:
                found.append(f"{_shown(name)} is recorded as started {len(starts)} times")
        elif len(starts) > 1:
            found.append(f"{_shown(name)} is recorded as started {len(starts)} times")
        if len(ends) != 1:
            found.append(f"{_shown(name)} is recorded as ended {len(ends)} times")
    for wave in range(scenario.waves):
        numbers = [item[0] for item in _attempts(work, wave)]
        if numbers != list(range(1, len(numbers) + 1)):
            found.append(f"attempts of wave {wave} are numbered {numbers}")
        if any(item[1] == "running" for item in _attempts(work, wave)):
            found.append(f"wave {wave} has an attempt that is still running")
    return found


def _compared(result: Result, expected: Result, killed: bool) -> list[str]:
    """The same end as an undisturbed run; to the letter, unless attempts had to be repeated."""
    if killed:
        same = result.essence() == expected.essence()
        return [] if same else [f"another end: {result.essence()} instead of {expected.essence()}"]
    return [
        f"other {field}: {_difference(ours, theirs)}"
        for field, ours, theirs in zip(Result._fields, result, expected)
        if ours != theirs
    ]


def _difference(ours: Any, theirs: Any) -> str:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        return "; ".join(f"{key}: {_difference(ours.get(key), theirs.get(key))}" for key in keys)
    if isinstance(ours, list) and isinstance(theirs, list):
        more, less = [item for item in ours if item not in theirs], [item for item in theirs if item not in ours]
        return f"more {more}, less {less}"
    return f"{ours} instead of {theirs}"


def _shown(name: Attempt) -> str:
    return f"{name[0]} of wave {name[1]}, attempt {name[2]}"
