"""`python -m tests.crash [--kills N] [--seed S] [--steps all|facts|kinds] [--scenario NAME] [--jobs J] [--keep]`.

As many kills as asked for: at random instants, and at every durable step (`all`), at those that decisions rest on
(`facts`), or at one of each kind (`kinds`). Prints a line for every case that failed and a summary with the seed;
exit code 1 when anything failed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from .harness import Outcome, Plan, RandomKills, StepKills, batches, is_of_facts, run_case, steps_by_kind
from .workspace import ADOPTION, FULL, PLAIN, SCENARIOS, STEPS


def plans(dice: random.Random, kills: int, steps: str, scenario: str) -> Iterator[Plan]:
    """Kills at durable steps; then random kills until the number is reached."""
    if steps:
        kinds = steps_by_kind(scenario or STEPS.name)
        chosen = [step for every in kinds.values() for step in (every if steps != "kinds" else dice.sample(every, 1))]
        chosen = [step for step in chosen if steps != "facts" or is_of_facts(step)]
        for few in batches(dice, [f"{moment}|{step}" for step in chosen for moment in ("before", "after")]):
            yield StepKills(scenario or STEPS.name, few)
    while kills > 0:
        name = scenario or dice.choice((PLAIN, FULL, ADOPTION)).name
        count = min(kills, dice.randint(3, 4) if name == ADOPTION.name else dice.randint(5, 12))
        kills -= count
        yield RandomKills(name, dice.randrange(1 << 30), count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="random kills")
    parser.add_argument("--steps", choices=("all", "facts", "kinds"), default="", help="kills at durable steps")
    parser.add_argument("--scenario", choices=SCENARIOS, default="", help="always this one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--jobs", type=int, default=8, help="cases at once")
    parser.add_argument("--keep", action="store_true", help="keep the folders of cases that failed")
    options = parser.parse_args()
    if not options.kills and not options.steps:
        options.kills = 100
    begun = time.monotonic()
    chosen = plans(random.Random(options.seed), options.kills, options.steps, options.scenario)
    outcomes: list[Outcome] = []
    try:
        for outcome in _outcomes(chosen, options):
            outcomes.append(outcome)
    except KeyboardInterrupt:
        print("interrupted; what was done so far:")
    killed: Counter[str] = sum((outcome.kills for outcome in outcomes), Counter())
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    by_role = ", ".join(f"{role} {count}" for role, count in sorted(killed.items()))
    print(
        f"{len(outcomes)} cases, {sum(killed.values())} kills ({by_role}), "
        f"{sum(outcome.freezes for outcome in outcomes)} freezes, {failed} failed, "
        f"{time.monotonic() - begun:.0f} s, seed {options.seed}"
    )
    return 1 if failed else 0


def _outcomes(chosen: Iterator[Plan], options: argparse.Namespace) -> Iterator[Outcome]:
    """One after the other as they end; no more are begun than can run at once, so that this goes on for hours."""
    with ThreadPoolExecutor(options.jobs) as pool:
        running = set()
        for plan in chosen:
            running.add(pool.submit(run_case, plan, keep=options.keep))
            if len(running) >= options.jobs:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (_told(future.result()) for future in done)
        yield from (_told(future.result()) for future in running)


def _told(outcome: Outcome) -> Outcome:
    if outcome.problems:
        print(f"FAILED {outcome.plan}: {'; '.join(outcome.problems)}", flush=True)
    return outcome._replace(result=None, steps=())


if __name__ == "__main__":
    sys.exit(main())
