"""A few dozen kills in every test run; `python -m tests.crash` does as many as one likes. Spec: DESIGN 8, SUP 12."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from .harness import RandomKills, StepKill, is_of_facts, recorded_steps, run_case

SEED = 20260131
STEP_KILLS = 14
RANDOM_CASES = 5


@pytest.fixture(scope="module")
def steps() -> list[str]:
    """The steps of an undisturbed run."""
    return recorded_steps()


def test_the_undisturbed_run_takes_the_steps_of_every_process(steps: list[str]) -> None:
    """What SUP 12 lists is really a step that can be killed at."""
    for step in (
        "client publish run-*-* 1",
        "supervisor write state.json 1",
        "supervisor spawn launcher-wrapper 1",
        "wrapper write launcher-process.json 1",
        "wrapper spawn launch 1",
        "wrapper write launcher-status.json 1",
        "launcher spawn agent-runner 1",
        "launcher write run-state.json 1",
        "runner spawn sh 1",
    ):
        assert step in steps


def test_killed_at_durable_steps(steps: list[str]) -> None:
    dice = random.Random(SEED)
    known = [StepKill(moment, step) for step in steps if is_of_facts(step) for moment in ("before", "after")]
    small = [plan for plan in known if not plan.step.startswith("launcher ")]
    large = [plan for plan in known if plan.step.startswith("launcher ")]
    chosen = dice.sample(small, STEP_KILLS // 2) + dice.sample(large, STEP_KILLS // 2)
    _all_well(chosen)


def test_killed_at_random() -> None:
    _all_well([RandomKills(SEED + number, 4) for number in range(RANDOM_CASES)])


def _all_well(plans: list[StepKill] | list[RandomKills]) -> None:
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(run_case, plans))
    problems = [f"{outcome.plan}: {'; '.join(outcome.problems)}" for outcome in outcomes if outcome.problems]
    assert not problems, "\n".join(problems)
