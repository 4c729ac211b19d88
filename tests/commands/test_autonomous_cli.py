"""`wave autonomous`: wave after wave through the supervisor, and what it stops for. Spec: LAUNCH 19."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from launch_lab import DELTA, GAP, PROOF, labs
from supervisor_lab import CONTEXT, SupervisorLab
from waiting import wait_until

from wave_lib.engines.autonomous_policy import barrier, tries_again

Make = Callable[..., SupervisorLab]
QUICK = ("--agent-launch-stagger-ms", "0")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(SupervisorLab, tmp_path) as make:
        yield make


def runs(work: SupervisorLab) -> list[dict[str, Any]]:
    return list(json.loads(work.wave("runs", *CONTEXT, "--json").stdout)["runs"])


def test_every_wave_is_submitted_on_its_own(lab: Make) -> None:
    work = lab(waves=2)
    done = work.wave("autonomous", *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["status"] for row in runs(work)] == ["completed", "completed"]
    assert [row["activeWave"] for row in reversed(runs(work))] == [0, 1]
    lines = done.stdout.splitlines()
    assert "[autonomous] wave 0 completed." in lines
    assert "[autonomous] launched waves=2; completed=0, 1" in lines
    argv = runs(work)[0]["launcherArgs"]
    assert argv[:8] == ["--project", "default", "--lane", "main", "--start-wave", "1", "--end-wave", "1"]
    assert "autonomous single-wave run wave=1 attempt=1" in argv and "--no-dashboard" in argv
    again = work.wave("autonomous", *QUICK)
    assert "[autonomous] launched waves=0; completed=0, 1" in again.stdout


def test_a_wave_that_fails_is_tried_again_within_the_budget(lab: Make) -> None:
    work = lab()
    once = f"if mkdir agents/once 2>/dev/null; then {work.echo(GAP, DELTA)}else {work.echo(PROOF, DELTA)}fi\n"
    work.script("A1", once)
    done = work.wave("autonomous", *QUICK, "--max-retries-per-wave", "0", "--max-attempts-per-wave", "2")
    if done.returncode == 43:  # what waits for somebody is not tried again
        assert "Stopping after repeated failures on wave 0." in done.stderr
    else:
        assert done.returncode == 0 and "[autonomous] retrying wave 0." in done.stdout


def test_an_open_question_stops_before_the_wave(lab: Make) -> None:
    work = lab()
    asked = work.wave("feedback", "ask", "--lane", "main", "--wave", "0", "--agent", "A1", "--question", "Blue?")
    assert asked.returncode == 0, asked.stderr
    done = work.wave("autonomous", *QUICK)
    assert done.returncode == 43
    assert "Stopping before wave 0: pending human input remains" in done.stderr
    assert runs(work) == []


def test_interrupting_leaves_the_run_alone(lab: Make) -> None:
    work = lab()
    gate = work.gate("A1", PROOF, DELTA)
    child = work.begin("autonomous", *QUICK)
    wait_until(lambda: work.ran() == ["A1"], what="the agent")
    child.send_signal(signal.SIGINT)
    done = work.finish(child)
    assert done.returncode == 130 and "wave wait --run-id" in done.stderr
    gate.write_text("go\n")
    assert work.finished(runs(work)[0]["runId"])["status"] == "completed"


def test_local_is_refused(lab: Make) -> None:
    done = lab().wave("autonomous", "--executor", "local")
    assert done.returncode == 1 and "does not support --executor local" in done.stderr


def test_policy() -> None:
    assert barrier("main", 1, [], {1: []}) is None
    found = barrier("main", None, [], {1: ["q1", "q1"], 0: ["q0"]})
    assert found is not None and found.message.endswith("(wave 0: q0, wave 1: q1).")
    both = barrier("main", 1, [{"id": "d1"}], {1: ["q1"]})
    assert both is not None and (both.kind, both.dependency_blockers) == ("dependencies", ("d1",))
    assert tries_again(1, False, 1, 2) and not tries_again(1, False, 2, 2)
    assert not tries_again(32, True, 1, 2) and not tries_again(130, False, 1, 2)
    assert tries_again(43, True, 1, 2) and not tries_again(43, False, 1, 2)
