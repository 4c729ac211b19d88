"""Kills everything that can be killed, and checks that nothing is lost or done twice. See `docs/reliability.md`.

One case is one workspace with one submitted run (`workspace.Scenario`). A driver repeats what a user would do: submit
with the same token until it is answered, keep a supervisor running, wait. Meanwhile processes are killed: at named
durable steps (`StepKills`) or at random instants while others are held up or frozen (`RandomKills`). What must hold is
in `invariants`.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Union

from supervisor_lab import CONTEXT

from .invariants import Result, Workspace, breaches, result_of, unreadable
from .killers import MARK, Killer, RandomKills, kill_all, processes
from .workspace import SCENARIOS, Scenario, build

CASE_SECONDS = 240.0
_EAGER = str(Path(__file__).with_name("eager_supervisor.py"))


class StepKills(NamedTuple):
    """SIGKILL, once for each, to whoever takes one of these steps; each is `<before|after>|<name or stem>`."""

    scenario: str
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.scenario}: kills at {', '.join(self.steps)}"


Plan = Union[StepKills, RandomKills]


class Outcome(NamedTuple):
    """What became of one case: how many processes were killed, by role, and what went wrong (nothing, one hopes)."""

    plan: Plan | None
    kills: Counter[str]
    problems: list[str]
    seconds: float
    steps: tuple[str, ...] = ()  # recorded, of an undisturbed run
    reached: tuple[str, ...] = ()  # those of a StepKills at which somebody was killed
    result: Result | None = None
    freezes: int = 0


class Crash:
    """One case in a workspace of its own."""

    def __init__(self, folder: Path, scenario: Scenario, plan: Plan | None) -> None:
        self.plan, self.scenario, self.folder = plan, scenario, folder
        self.mark = os.urandom(8).hex()
        self.problems: list[str] = []
        self.lab = build(folder, scenario, None if plan is None else random.Random(str(plan)))
        self.over = threading.Event()
        self.killer: Killer | None = None
        self.env = {MARK: self.mark}
        if plan is None:
            self.env["WAVE_STEP_LOG"] = str(folder / "steps")
        elif isinstance(plan, StepKills):
            self.env["WAVE_CRASH_AT"] = "\n".join(
                f"{step}|{self._flag(number)}" for number, step in enumerate(plan.steps)
            )
        else:
            self.env["WAVE_SLOW_AT"] = "\n".join(f"{line}|{plan.seed}" for line in scenario.held_up)
            self.killer = Killer(self.mark, folder / "agents/log", plan, scenario, self.over)
        self._supervisor: subprocess.Popen[str] | None = None

    def _flag(self, number: int) -> Path:
        return self.folder / f"killed-{number}"

    def run(self, expected: Result | None) -> Outcome:
        """Drive the run to its end under fire, then look at what is there."""
        begun = time.monotonic()
        result = None
        try:
            if self.killer is not None:
                self.killer.start()
            run_id = self._submit(begun)
            if run_id is not None:
                self._drive(run_id, begun)
            if self.killer is not None:
                self.killer.join(10)
            if run_id is not None and not self.problems:
                result = self._check(run_id, expected)
        except Exception as error:  # one broken case must not end the others, and is a finding of its own
            self.problems.append(f"the harness stumbled: {error!r}")
        finally:
            self.over.set()
            kill_all(self.mark)
            self.lab.close()
        return self._outcome(begun, result)

    def _outcome(self, begun: float, result: Result | None) -> Outcome:
        kills, steps, reached = Counter[str](), (), ()
        if self.killer is not None:
            kills = self.killer.kills
        if isinstance(self.plan, StepKills):
            reached = tuple(step for number, step in enumerate(self.plan.steps) if self._flag(number).exists())
            kills = Counter(step.split("|")[1].split(" ")[0] for step in reached)
        if self.plan is None:
            steps = tuple((self.folder / "steps").read_text().splitlines())
        freezes = self.killer.freezes if self.killer is not None else 0
        return Outcome(
            self.plan, kills, self.problems, time.monotonic() - begun, steps, reached, result, freezes
        )

    # --- what a user does

    def _submit(self, begun: float) -> str | None:
        flags = ["--request-id", "crash", "--max-retries-per-wave", "40", "--no-dashboard", "--no-daemon", "--json"]
        if self.scenario.auto_next:
            flags.append("--auto-next")
        while time.monotonic() - begun < CASE_SECONDS:
            done = self.lab.wave("submit", *CONTEXT, "--agent-launch-stagger-ms", "0", *flags, env=self.env)
            if done.returncode == 0:
                return str(json.loads(done.stdout)["runId"])
            if done.returncode != -signal.SIGKILL:
                self.problems.append(f"submit ended with {done.returncode}: {done.stderr.strip()}")
                return None
        self.problems.append("never submitted")
        return None

    def _drive(self, run_id: str, begun: float) -> None:
        while time.monotonic() - begun < CASE_SECONDS:
            if self._supervisor is None or self._supervisor.poll() is not None:
                self._supervisor = self._supervise(self.env)
            waiting = self.lab.wave(
                "wait", "--run-id", run_id, *CONTEXT, "--timeout-seconds", "2", "--json", env=self.env
            )
            self.problems += unreadable(self.lab.root)
            self._one_of_each()
            if waiting.returncode not in (124, -signal.SIGKILL):
                if waiting.returncode != 0:
                    self.problems.append(f"wait ended with {waiting.returncode}: {waiting.stdout[-600:]}")
                break
        else:
            self.problems.append(f"not over after {CASE_SECONDS:.0f} s: {self.lab.recorded(run_id)}")
        self._settle()

    def _supervise(self, env: dict[str, str]) -> subprocess.Popen[str]:
        return self.lab.start_python(_EAGER, "supervise", *CONTEXT, "--until-idle", "--poll-ms", "300", env=env)

    def _settle(self) -> None:
        """A last, undisturbed supervisor writes down what the clients saw."""
        self.over.set()
        if self._supervisor is not None:
            self.lab.finish(self._supervisor)
        done = self.lab.finish(self._supervise({MARK: self.mark}))
        if done.returncode != 0:
            self.problems.append(f"supervise ended with {done.returncode}: {done.stderr.strip()}")

    # --- what must hold

    def _one_of_each(self) -> None:
        """At most one launcher and one wrapper live; what two looks in a row see was there at the same time."""
        first, second = processes(self.mark), processes(self.mark)
        for role in ("launcher", "wrapper"):
            both = [one for one in first if one.role == role and one in second]
            both = [one for one in both if one.parent not in [other.pid for other in both]]  # forked, yet to become one
            if len(both) > 1:
                self.problems.append(f"more than one {role} at the same time: {[one.pid for one in both]}")

    def _check(self, run_id: str, expected: Result | None) -> Result:
        work = Workspace(self.lab.root, run_id)
        spoiled = self.killer.spoiled if self.killer is not None else set()
        self.problems += breaches(work, self.scenario, spoiled, expected)
        left = processes(self.mark)
        if left:
            self.problems.append(f"processes left: {left}")
        return result_of(work, self.scenario)


def run_case(plan: Plan | None, scenario: str = "", keep: bool = False) -> Outcome:
    """One case in a temporary folder, which is kept when something went wrong and `keep` is set."""
    which = SCENARIOS[plan.scenario if plan is not None else scenario]
    expected = None if plan is None else undisturbed(which.name).result
    folder = Path(tempfile.mkdtemp(prefix="wave-crash-"))
    outcome = Crash(folder, which, plan).run(expected)
    if outcome.problems and keep:
        outcome.problems.append(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


@functools.cache
def undisturbed(scenario: str) -> Outcome:
    """A run that nobody disturbs: its result, and its durable steps in order."""
    outcome = run_case(None, scenario)
    if outcome.problems:
        raise AssertionError(f"the undisturbed run failed: {outcome.problems}")
    return outcome


# --- durable steps ----------------------------------------------------------------------------------------------------

_AGENT = re.compile(r"\b[Aa]\d\b")


def kind_of(step: str) -> str:
    """A step without its count, its agent and its wave: `launcher write A*.runtime.json`."""
    stem = step.rpartition(" ")[0]
    return _AGENT.sub("A*", re.sub(r"\b(wave|attempt)-\d+(-\d+)*", r"\1-*", re.sub(r"\d+-a\d", "*-a*", stem)))


def steps_by_kind(scenario: str) -> dict[str, list[str]]:
    """Every kind of step of the undisturbed run, with the steps of that kind in order."""
    found: dict[str, list[str]] = {}
    for step in dict.fromkeys(undisturbed(scenario).steps):
        found.setdefault(kind_of(step), []).append(step)
    return found


_FACTS = re.compile(
    r"spawn|wave-\d+\.jsonl|run-state|launcher-progress|relaunch-plan|payload"
    r"|\.status |\.(?:runtime|exit|pid)\.json"
)


def is_of_facts(step: str) -> bool:
    """Whether a step touches what decisions are made from; every step of the small processes counts."""
    return not step.startswith("launcher ") or _FACTS.search(step) is not None


def batches(dice: random.Random, steps: list[str], size: int = 5) -> list[tuple[str, ...]]:
    """The steps in mixed order, some for each case."""
    mixed = dice.sample(steps, len(steps))
    return [tuple(mixed[start : start + size]) for start in range(0, len(mixed), size)]
