"""Where a lost launcher goes on, and how often. Spec: SUP 10.3, 10.4, 21 (cases 16 to 19)."""

from __future__ import annotations

from typing import Any

import pytest

from wave_lib.engines.supervisor_resume import (
    active_wave,
    budget_left,
    key_text,
    parse_key,
    resume_delay,
    resume_plan,
    resumes_since_progress,
)


def request(argv: str, start: int | None = None, end: int | None = None, auto: bool = False) -> dict[str, Any]:
    selection = {"startWave": start, "endWave": end, "autoNext": auto}
    return {"launcherArgs": argv.split(), "waveSelection": selection, "dryRun": False}


RANGE = request("--lane main --start-wave 1 --end-wave 3 --no-dashboard", 1, 3)


@pytest.mark.parametrize(
    ("journal", "completed", "live", "action", "tail"),
    [
        (None, (), False, "relaunch-from-start", "--start-wave 1 --end-wave 3 --no-dashboard"),
        ({"phase": "starting"}, (), False, "relaunch-from-start", "--start-wave 1 --end-wave 3 --no-dashboard"),
        (
            {"phase": "attempt-running", "waveNumber": 2},
            (1,),
            False,
            "resume-current-wave",
            "--start-wave 2 --end-wave 3",
        ),
        ({"phase": "attempt-running", "waveNumber": 2}, (1,), True, "resume-and-adopt", "--start-wave 2 --end-wave 3"),
        ({"phase": "wave-completed", "waveNumber": 1}, (1,), False, "resume-next-wave", "--start-wave 2 --end-wave 3"),
        # Lost again before the second launcher knew its wave: what the first one completed still counts.
        ({"phase": "starting"}, (1, 2), False, "resume-next-wave", "--start-wave 3 --end-wave 3"),
    ],
)
def test_an_explicit_range(
    journal: dict[str, Any] | None, completed: tuple[int, ...], live: bool, action: str, tail: str
) -> None:
    plan = resume_plan(RANGE, journal, (1, 2, 3), completed, live)
    assert (plan.action, " ".join(plan.argv[-len(tail.split()) - 1 :])) == (action, f"{tail} --resume-control-state")
    assert plan.argv.count("--no-dashboard") == 1 and plan.argv.count("--start-wave") == 1


def test_auto_next_stays_auto_next() -> None:
    auto = request("--auto-next --no-dashboard", auto=True)
    plan = resume_plan(auto, {"phase": "attempt-running", "waveNumber": 1}, (1, 2), (), False)
    assert plan.argv == ("--no-dashboard", "--auto-next", "--resume-control-state")
    assert resume_plan(auto, {"phase": "starting"}, (), (), False).action == "relaunch-from-start"


def test_nothing_remains() -> None:
    assert resume_plan(RANGE, {"phase": "wave-completed", "waveNumber": 3}, (1, 2, 3), (1, 2, 3), False).action is None


def test_only_resumes_without_progress_are_limited() -> None:
    state = {"resumeAttempts": 0, "resumeAttemptsSinceProgress": 0, "lastProgressKey": None}
    key = (0, 1, 1, 3, 0, 0)
    for _ in range(3):
        assert budget_left(state, key, 3)
        since = resumes_since_progress(state, key) + 1
        state = {"resumeAttempts": state["resumeAttempts"] + 1, "resumeAttemptsSinceProgress": since}
        state["lastProgressKey"] = key_text(key)
    assert not budget_left(state, key, 3)
    assert budget_left(state, (1, 2, 1, 0, 0, 0), 3)  # a wave was completed since
    assert not budget_left({**state, "resumeAttempts": 50}, (1, 2, 1, 0, 0, 0), 3)


def test_keys_and_delays() -> None:
    assert parse_key(key_text((0, -1, 2))) == (0, -1, 2)
    assert parse_key("x:1") is None and parse_key(None) is None
    assert [resume_delay(resumes, 1.0) for resumes in (0, 1, 2, 20)] == [1.0, 2.0, 4.0, 60.0]
    assert resume_delay(0, 0.0) == 0.5


def test_the_active_wave() -> None:
    assert active_wave({"activeWave": 1}, {"waveNumber": 2}, False, None) == 2
    assert active_wave({"activeWave": 1, "selectedWaves": [1, 2, 3]}, None, True, 3) == 3
    assert active_wave({"activeWave": 1}, None, False, 3) == 1
