"""Single kills of the supervisor whose traces are told apart here. Spec: SUP 12."""

from __future__ import annotations

import json
from pathlib import Path

from supervisor_lab import SupervisorLab


def test_a_launch_whose_intent_was_not_recorded_is_recorded_and_repeated(tmp_path: Path) -> None:
    """Killed between L2 and L3: the snapshot says `launching`, the events say nothing of it."""
    work = SupervisorLab(tmp_path)
    try:
        run = work.submit()
        crash = f"before|supervisor append events.jsonl 2|{tmp_path / 'died'}"
        assert work.finish(work.supervise("--until-idle", env={"WAVE_CRASH_AT": crash})).returncode == -9
        recorded = work.recorded(run)
        assert (recorded["terminalDisposition"], recorded["launchGeneration"]) == ("launching", 1)
        assert "launch-intent" not in work.observations(run)
        assert work.finish(work.supervise("--until-idle")).returncode == 0
        events = [json.loads(line) for line in (work.run_dir(run) / "events.jsonl").read_text().splitlines()]
        assert [event["launchGeneration"] for event in events if event["type"] == "launch-intent"] == [1, 2]
        assert work.recorded(run)["status"] == "completed"
        assert work.starts() == ["A0 0", "A1 0"]
    finally:
        work.close()
