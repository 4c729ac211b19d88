"""`python -m tests.crash [--kills N] [--seed S] [--steps all|facts|N] [--jobs J] [--keep]`: as many kills as asked for.

Prints a line for every case that failed and a summary with the seed; exit code 1 when anything failed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from .harness import Outcome, RandomKills, StepKill, is_of_facts, recorded_steps, run_case


def plans(dice: random.Random, kills: int, steps: str) -> Iterator[StepKill | RandomKills]:
    """Random kills until the number is reached; then, or instead, kills at durable steps."""
    if steps:
        known = [step for step in recorded_steps() if steps == "all" or is_of_facts(step)]
        every = [StepKill(moment, step) for step in known for moment in ("before", "after")]
        yield from every if not steps.isdigit() else dice.sample(every, min(int(steps), len(every)))
    while kills > 0:
        count = min(kills, dice.randint(3, 6))
        kills -= count
        yield RandomKills(dice.randrange(1 << 30), count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="random kills")
    parser.add_argument("--steps", default="", help="`all`, `facts`, or how many of the latter to sample")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="keep the folders of cases that failed")
    options = parser.parse_args()
    if not options.kills and not options.steps:
        options.kills = 100
    begun = time.monotonic()
    killed: Counter[str] = Counter()
    failed: list[Outcome] = []
    cases = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        chosen = plans(random.Random(options.seed), options.kills, options.steps)
        for future in as_completed([pool.submit(run_case, plan, False, options.keep) for plan in chosen]):
            outcome = future.result()
            cases += 1
            killed += outcome.kills
            if outcome.problems:
                failed.append(outcome)
                print(f"FAILED {outcome.plan}: {'; '.join(outcome.problems)}", flush=True)
    by_role = ", ".join(f"{role} {count}" for role, count in sorted(killed.items()))
    print(
        f"{cases} cases, {sum(killed.values())} kills ({by_role}), {len(failed)} failed, "
        f"{time.monotonic() - begun:.0f} s, seed {options.seed}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
