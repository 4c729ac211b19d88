"""A few hundred kills in every test run; `python -m tests.crash` does as many as one likes. Spec: DESIGN 8, SUP 12."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .harness import Outcome, Plan, RandomKills, StepKills, batches, kind_of, run_case, steps_by_kind
from .killers import ROLES, WEIGHTS
from .workspace import ADOPTION, FULL, PLAIN, STEPS

SEED = 20260131
AT_ONCE = 8
RANDOM = [*[(PLAIN.name, 8)] * 6, *[(FULL.name, 10)] * 2, *[(ADOPTION.name, 3)] * 4]


def under_fire(plans: Sequence[Plan]) -> list[Outcome]:
    """All of these cases, none of which may show a breach."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(run_case, plans))
    problems = [f"{outcome.plan}: {'; '.join(outcome.problems)}" for outcome in outcomes if outcome.problems]
    assert not problems, "\n".join(problems)
    return outcomes


@pytest.fixture(scope="module")
def kinds() -> dict[str, list[str]]:
    """Every kind of durable step of an undisturbed run."""
    return steps_by_kind(STEPS.name)


def test_the_undisturbed_run_takes_the_steps_of_every_process(kinds: dict[str, list[str]]) -> None:
    """What SUP 12 lists is really a step that can be killed at."""
    assert {
        "client publish run-*-*",
        "supervisor lease daemon.lock",
        "supervisor write state.json",
        "supervisor append events.jsonl",
        "supervisor spawn launcher-wrapper",
        "wrapper write launcher-process.json",
        "wrapper spawn launch",
        "wrapper write launcher-status.json",
        "launcher write A*.runtime.json",
        "launcher write runner-payload.json",
        "launcher spawn agent-runner",
        "launcher append wave-*.jsonl",
        "launcher write launcher-progress.json",
        "launcher write relaunch-plan-wave-*.json",
        "launcher write run-state.json",
        "runner spawn sh",
        "runner write wave-*-*-a*.status",
        "runner write A*.runtime.json",
    } <= kinds.keys()


def test_every_durable_step_is_described(kinds: dict[str, list[str]]) -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs/reliability.md").read_text(encoding="utf-8")
    unnamed = [kind for kind in kinds if f"`{kind}`" not in page]
    assert not unnamed, f"docs/reliability.md says nothing about {unnamed}"


def test_killed_before_and_after_every_kind_of_durable_step(kinds: dict[str, list[str]]) -> None:
    """Once each, somewhere in the run; what a run that was killed before did not reach, where it comes first."""
    dice = random.Random(SEED)
    wanted = {f"{moment}|{dice.choice(steps)}" for steps in kinds.values() for moment in ("before", "after")}
    few = under_fire([StepKills(STEPS.name, steps) for steps in batches(dice, sorted(wanted), 6)])
    missed = wanted.difference(*(outcome.reached for outcome in few))
    stems = sorted(step.rpartition(" ")[0] for step in missed)
    again = under_fire([StepKills(STEPS.name, steps) for steps in batches(dice, stems, 4)])
    never = set(stems).difference(*(outcome.reached for outcome in again))
    assert not never, f"nobody was killed at {sorted(map(kind_of, never))}"


def test_killed_frozen_and_held_up_at_random() -> None:
    """Every kind of process, among them several at once; waves, retries, closure with a forwarded gap."""
    outcomes = under_fire([RandomKills(name, SEED + number, count) for number, (name, count) in enumerate(RANDOM)])
    killed: Counter[str] = sum((outcome.kills for outcome in outcomes), Counter())
    assert set(killed) <= set(ROLES)
    assert sum(killed.values()) >= 0.8 * sum(count for _, count in RANDOM)
    assert {"supervisor", "wrapper", "launcher", "runner", "client"} <= set(killed), killed


def test_every_kind_of_process_may_be_chosen() -> None:
    assert set(ROLES) <= set(WEIGHTS)
