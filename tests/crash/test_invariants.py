"""The checker itself: every breach, planted into the files of a sound run, is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .harness import Crash
from .invariants import STATE, Result, Workspace, breaches, result_of, unreadable
from .workspace import PLAIN

Change = Callable[[dict[str, Any]], None]


class Sound(NamedTuple):
    """A workspace in which nothing went wrong."""

    root: Path
    run_id: str
    result: Result


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    root = tmp_path_factory.mktemp("sound")
    outcome = Crash(root, PLAIN, None).run(None)
    assert outcome.problems == [] and outcome.result is not None
    return Sound(root, next((root / STATE / "supervisor/runs").glob("run-*")).name, outcome.result)


class Copy:
    """A copy of it, to be spoilt."""

    def __init__(self, root: Path, sound: Sound) -> None:
        shutil.copytree(sound.root, root, ignore=shutil.ignore_patterns("wake"))
        self.root, self.sound = root, sound
        self.state = root / STATE
        self.run_dir = self.state / "supervisor/runs" / sound.run_id

    def breaches(self, *killed: tuple[str, str, str]) -> list[str]:
        return breaches(Workspace(self.root, self.sound.run_id), PLAIN, set(killed), self.sound.result)

    def log(self, change: Callable[[list[str]], list[str]]) -> None:
        path = self.root / "agents/log"
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))

    def json(self, path: Path, change: Change) -> None:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    def lines(self, path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
        records = [json.loads(line) for line in path.read_text().splitlines()]
        change(records)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def control(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        self.lines(self.state / "control-plane/wave-0.jsonl", change)

    def events(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        self.lines(self.run_dir / "events.jsonl", change)


@pytest.fixture
def copy(sound: Sound, tmp_path: Path) -> Copy:
    return Copy(tmp_path / "copy", sound)


def agent_run(records: list[dict[str, Any]], action: str) -> dict[str, Any]:
    """What the log of wave 0 says about the first attempt of A1."""
    return next(
        record
        for record in records
        if record["entityId"] == "wave-0-attempt-1-agent-A1" and record["action"] == action
    )


def found(copy: Copy, text: str) -> None:
    breach = copy.breaches()
    assert any(text in line for line in breach), breach


def test_a_sound_run_has_no_breach(copy: Copy) -> None:
    assert copy.breaches() == []
    assert result_of(Workspace(copy.root, copy.sound.run_id), PLAIN) == copy.sound.result


# --- what ran


def test_an_attempt_that_ran_twice(copy: Copy) -> None:
    copy.log(lambda lines: [*lines, "start A1 0 1", "end A1 0 1 0"])
    found(copy, "attempts run twice: A1 of wave 0, attempt 1")


def test_two_attempts_of_an_agent_at_once(copy: Copy) -> None:
    copy.log(lambda lines: [*lines, "overlap A2 1 2"])
    found(copy, "two at once: A2 of wave 1, attempt 2")


def test_an_attempt_that_vanished(copy: Copy) -> None:
    copy.log(lambda lines: [line for line in lines if line != "end A1 0 1 0"])
    found(copy, "vanished: A1 of wave 0, attempt 1")


def test_an_attempt_too_many(copy: Copy) -> None:
    copy.log(lambda lines: [*lines, "start A1 0 2", "end A1 0 2 0"])
    found(copy, "A1 of wave 0, attempt 2 is recorded as ended 0 times")


def test_an_exit_code_that_did_not_survive(copy: Copy) -> None:
    copy.control(lambda records: agent_run(records, "completed")["data"].update(exitCode=4))
    found(copy, "exit code of A1 of wave 0, attempt 1 was 0, recorded as [4]")


@pytest.mark.parametrize(("action", "word"), [("started", "started"), ("completed", "ended")])
@pytest.mark.parametrize("times", [0, 2])
def test_a_start_or_an_end_that_is_not_recorded_once(copy: Copy, action: str, word: str, times: int) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        event = agent_run(records, action)
        records.append(dict(event)) if times else records.remove(event)

    copy.control(change)
    found(copy, f"A1 of wave 0, attempt 1 is recorded as {word} {times} times")


def test_a_run_that_nobody_saw(copy: Copy) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        event = agent_run(records, "completed")
        records.append({**event, "data": {**event["data"], "agentId": "A7"}})

    copy.control(change)
    found(copy, "recorded but never run: A7 of wave 0, attempt 1")


def test_a_killed_attempt_is_forgiven_its_end_but_nothing_else(copy: Copy) -> None:
    copy.log(lambda lines: [line for line in lines if line != "end A1 0 1 0"])
    assert copy.breaches(("A1", "0", "1")) == []
    copy.control(lambda records: records.append(dict(agent_run(records, "started"))))
    assert copy.breaches(("A1", "0", "1")) == ["A1 of wave 0, attempt 1 is recorded as started 2 times"]


# --- what the supervisor wrote


def test_a_run_that_ended_otherwise(copy: Copy) -> None:
    copy.json(copy.run_dir / "state.json", lambda state: state.update(status="failed", detail="why"))
    found(copy, "the run ended as ('failed', 'completed', 0, 1): why")


def test_events_of_two_writers(copy: Copy) -> None:
    copy.events(lambda records: records[2].update(seq=2))
    found(copy, "events have a gap or a second writer")


def test_an_event_recorded_twice(copy: Copy) -> None:
    copy.events(lambda records: records[2].update(key=records[1]["key"]))
    found(copy, "an event was recorded twice")


def test_an_older_supervisor_that_still_writes(copy: Copy) -> None:
    copy.events(lambda records: records[1].update(epoch=7))
    found(copy, "an older supervisor wrote after a newer one: [7, 1")


@pytest.mark.parametrize("times", [0, 2])
def test_a_run_that_did_not_finish_once(copy: Copy, times: int) -> None:
    copy.events(lambda records: records.append(dict(records[-1])) if times else records.pop())
    found(copy, "the run did not finish exactly once, at the end")


def test_a_launch_that_is_not_numbered(copy: Copy) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        next(record for record in records if record["type"] == "launch-intent").update(launchGeneration=2)

    copy.events(change)
    found(copy, "launches are not numbered one by one: [2]")


# --- what the launcher wrote


def test_a_wave_that_is_not_recorded(copy: Copy) -> None:
    copy.json(copy.state / "run-state.json", lambda state: state.update(completedWaves=[0]))
    found(copy, "run state says [0]")


def test_a_wave_that_somebody_else_completed(copy: Copy) -> None:
    def change(state: dict[str, Any]) -> None:
        state["waves"]["1"]["lastEvidence"]["supervisorRunId"] = None

    copy.json(copy.state / "run-state.json", change)
    found(copy, "run state of wave 1: completed, not by this run")


def test_an_attempt_that_is_left_open(copy: Copy) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        last = [record for record in records if record["entityType"] == "attempt"][-1]
        last["data"]["state"] = "running"

    copy.control(change)
    found(copy, "wave 0 has an attempt that is still running")


def test_an_attempt_that_is_missing(copy: Copy) -> None:
    copy.control(
        lambda records: records.__setitem__(
            slice(None),
            [record for record in records if record["entityId"] != "wave-0-attempt-1"],
        )
    )
    found(copy, "attempts of wave 0 are numbered [2]")


def test_a_file_that_cannot_be_read(copy: Copy) -> None:
    (copy.state / "run-state.json").write_text('{"half": ')
    assert unreadable(copy.root) == [f"unreadable: {STATE}/run-state.json"]
    found(copy, "unreadable")


# --- another end than that of an undisturbed run


def test_another_selection_of_agents(copy: Copy) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        for record in records:
            if record["entityId"] == "wave-0-attempt-2" and record["data"].get("selectedAgentIds"):
                record["data"]["selectedAgentIds"] = ["A1", "A2"]

    copy.control(change)
    found(copy, "other attempts: 0: more [(2, 'completed', ('A1', 'A2'))]")


def test_a_gate_that_says_something_else(copy: Copy) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        last = [record for record in records if record["entityType"] == "wave_run"][-1]
        last["data"]["gateSnapshot"]["contQaGate"]["ok"] = False

    copy.control(change)
    found(copy, "other gates: 0: contQaGate")
    assert "another end" in copy.breaches(("A1", "0", "1"))[0]


def test_a_record_that_was_left_open(copy: Copy) -> None:
    copy.lines(copy.state / "coordination/wave-1.jsonl", lambda records: records[-1].update(status="open"))
    found(copy, "other coordination: 1")
    assert "another end" in copy.breaches(("A1", "0", "1"))[0]


def test_an_envelope_a_trace_and_a_plan_too_many(copy: Copy) -> None:
    (copy.state / "results/wave-0/attempt-3").mkdir()
    (copy.state / "results/wave-0/attempt-3/A1.json").write_text("{}")
    (copy.state / "traces/wave-0/attempt-3").mkdir()
    (copy.state / "status/relaunch-plan-wave-0.json").write_text("{}")
    found(copy, "other envelopes")
    found(copy, "other traces")
    found(copy, "other plans")
    assert "another end" in copy.breaches(("A1", "0", "1"))[0]
