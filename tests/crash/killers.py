"""Who is killed, held up or frozen, and when: found in /proc by a mark in the environment of everything in a case."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from wave_lib.base.process_identity import stat_fields

from .invariants import Attempt
from .workspace import Scenario

MARK = "WAVE_CRASH_LAB"
_VERBS = {"supervise": "supervisor", "launcher-wrapper": "wrapper", "launch": "launcher", "agent-runner": "runner"}
ROLES = ("supervisor", "wrapper", "launcher", "runner", "shim", "executor", "client")
_CROWDS = {"launch": ("wrapper", "launcher"), "agent": ("runner", "shim", "executor"), "container": ROLES}
"""Groups that die at once: of a launch, of one agent, everything."""

WEIGHTS = {
    "supervisor": 4,
    "wrapper": 2,
    "launcher": 9,
    "runner": 5,
    "shim": 1,
    "executor": 2,
    "client": 2,
    "launch": 4,
    "agent": 1,
    "container": 2,
}
"""Kinds of victims, and how often each is chosen: most of all whoever decides and resumes."""


class RandomKills(NamedTuple):
    """So many kills at random instants, of random kinds of processes; all of it follows from the seed."""

    scenario: str
    seed: int
    count: int

    def __str__(self) -> str:
        return f"{self.scenario}: {self.count} random kills, seed {self.seed}"


class Process(NamedTuple):
    """A living process of a case; `attempt` for what runs on behalf of an agent."""

    pid: int
    role: str
    parent: int
    attempt: Attempt | None = None


def processes(mark: str) -> list[Process]:
    """Every living process that carries this mark."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            environment = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
            if needle not in environment:
                continue
            words = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        fields = stat_fields(int(name))
        if fields and fields[0] not in "ZX":
            found.append(Process(int(name), role_of(words), int(fields[1]), _attempt_of(environment)))
    return found


def role_of(words: list[str]) -> str:
    """The kind of process that a command line belongs to."""
    for verb, role in _VERBS.items():
        if verb in words:
            return role
    if "wave-exec" in words:
        return "shim"
    if any(word.endswith(("wave.py", "__main__.py")) for word in words):
        return "client"
    return "executor"


def _attempt_of(environment: list[bytes]) -> Attempt | None:
    values = dict(item.decode(errors="replace").split("=", 1) for item in environment if b"=" in item)
    keys = ("WAVE_AGENT_ID", "WAVE_WAVE", "WAVE_ATTEMPT")
    return tuple(values[key] for key in keys) if all(key in values for key in keys) else None


class Killer(threading.Thread):
    """Kills `count` times, at random instants and where the agents begin and end; freezes others for a while."""

    def __init__(self, mark: str, log: Path, plan: RandomKills, scenario: Scenario, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.mark, self.log, self.count, self.over = mark, log, plan.count, over
        self.dice = random.Random(plan.seed)
        self.patient = scenario.patient
        kinds = scenario.victims or tuple(WEIGHTS)
        self.weights = {kind: weight for kind, weight in WEIGHTS.items() if kind in kinds}
        self.kills: Counter[str] = Counter()
        self.spoiled: set[Attempt] = set()  # attempts whose executor or shim was killed
        self.freezes = 0

    def run(self) -> None:
        """Until enough were killed or the run is over."""
        while sum(self.kills.values()) < self.count and not self._pause():
            if self.dice.random() < 0.15:
                self._freeze()
            else:
                self._kill(self.dice.choices(list(self.weights), list(self.weights.values()))[0])

    def _pause(self) -> bool:
        """Wait for the next instant; True when the run is over."""
        if self.dice.random() < 0.5 and not self.patient:
            return self.over.wait(self.dice.uniform(0.02, 0.4))
        size, longest = self._size(), 10.0 if self.patient else self.dice.uniform(0.1, 1.0)
        while longest > 0 and self._size() == size:
            if self.over.wait(0.005):
                return True
            longest -= 0.005
        return self.over.wait(self.dice.uniform(0.0, 0.3 if self.patient else 0.05))

    def _size(self) -> int:
        try:
            return os.stat(self.log).st_size
        except FileNotFoundError:
            return 0

    def _kill(self, kind: str) -> None:
        found = processes(self.mark)
        roles = {one.pid: one.role for one in found}
        # A child that has yet to become another program looks like its parent; whose it will be is not known.
        found = [one for one in found if one.role == "executor" or roles.get(one.parent) != one.role]
        victims = [one for one in found if one.role in _CROWDS.get(kind, (kind,))]
        if kind == "agent" and victims:
            chosen = self.dice.choice(victims).attempt
            victims = [one for one in victims if one.attempt == chosen]
        elif kind not in _CROWDS and victims:
            victims = [self.dice.choice(victims)]
        for victim in victims:
            if victim.role in ("shim", "executor") and victim.attempt is not None:
                self.spoiled.add(victim.attempt)
            if _signal(victim.pid, signal.SIGKILL):
                self.kills[victim.role] += 1

    def _freeze(self) -> None:
        """Somebody stands still for a moment, while the world goes on."""
        found = [one for one in processes(self.mark) if one.role not in ("executor", "client")]
        if not found:
            return
        pid = self.dice.choice(found).pid
        if _signal(pid, signal.SIGSTOP):
            self.freezes += 1
            self.over.wait(self.dice.uniform(0.05, 0.8))
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_all(mark: str) -> None:
    """Everything that is left of a case."""
    for _ in range(20):
        left = processes(mark)
        for one in left:
            _signal(one.pid, signal.SIGKILL)
        if not left:
            return
