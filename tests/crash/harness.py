"""Kills everything that can be killed, and checks that nothing is lost or done twice. See `docs/reliability.md`.

One case is one workspace with one submitted run of two waves: two workers, one of which fails once in every wave, and
cont-QA. A driver repeats what a user would do: submit with the same token until it is answered, keep a supervisor
running, wait. Somebody kills meanwhile: at a named durable step (`StepKill`) or at random instants (`RandomKills`).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
for folder in (HERE.parent, HERE.parent.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from launch_lab import DELTA, PROOF  # noqa: E402
from supervisor_lab import CONTEXT, SupervisorLab  # noqa: E402

from wave_lib.base.process_identity import stat_fields  # noqa: E402

MARK = "WAVE_CRASH_LAB"
WAVES = 2
ROLES = {"supervisor": 2, "wrapper": 1, "launcher": 2, "runner": 8, "executor": 8, "client": 1}
"""Kinds of victims, and how often each is chosen."""

CASE_SECONDS = 90.0
_VERBS = {"supervise": "supervisor", "launcher-wrapper": "wrapper", "launch": "launcher", "agent-runner": "runner"}
_RUN = """cat > /dev/null
echo "start $1 $2 $WAVE_ATTEMPT" >> agents/log
. "./agents/$1.sh"
echo "end $1 $2 $WAVE_ATTEMPT" >> agents/log
"""


class StepKill(NamedTuple):
    """SIGKILL, once, to the process that takes this durable step; `moment` is `before` or `after`."""

    moment: str
    step: str

    def __str__(self) -> str:
        return f"{self.moment} {self.step}"


class RandomKills(NamedTuple):
    """So many kills at random instants, of random kinds of processes."""

    seed: int
    count: int

    def __str__(self) -> str:
        return f"{self.count} random kills, seed {self.seed}"


class Outcome(NamedTuple):
    """What became of one case: how many processes were killed, by role, and what went wrong (nothing, one hopes)."""

    plan: str
    kills: Counter[str]
    problems: list[str]
    seconds: float
    steps: list[str]


class Crash:
    """One case in a workspace of its own."""

    def __init__(self, folder: Path, plan: StepKill | RandomKills | None, record: bool = False) -> None:
        self.plan = plan
        self.mark = os.urandom(8).hex()
        self.kills: Counter[str] = Counter()
        self.problems: list[str] = []
        # Many kills in a row before anything could progress are this test's doing, no reason to give up.
        self.lab = SupervisorLab(folder, workers=("A1", "A2"), waves=WAVES, supervisor={"resumeLimit": 40})
        self.step_log = folder / "steps"
        self.flag = folder / "killed"
        self.env = {MARK: self.mark}
        if record:
            self.env["WAVE_STEP_LOG"] = str(self.step_log)
        if isinstance(plan, StepKill):
            self.env["WAVE_CRASH_AT"] = f"{plan.moment}|{plan.step}|{self.flag}"
        self.lab.write("agents/run.sh", _RUN)
        self.lab.script("A1", "sleep 0.6\n" + self.lab.echo(PROOF, DELTA))
        fails_once = 'mkdir "agents/failed-$2" 2>/dev/null && exit 3\n'
        self.lab.script("A2", "sleep 0.1\n" + fails_once + self.lab.echo(PROOF, DELTA))
        self._over = threading.Event()
        self._supervisor: subprocess.Popen[str] | None = None

    def run(self) -> Outcome:
        """Drive the run to its end under fire, then look at what is there."""
        begun = time.monotonic()
        killer = None
        if isinstance(self.plan, RandomKills):
            killer = threading.Thread(target=self._fire, args=(self.plan,), daemon=True)
            killer.start()
        try:
            run_id = self._submit(begun)
            if run_id is not None:
                self._drive(run_id, begun)
            self._over.set()
            if killer is not None:
                killer.join(10)
            if run_id is not None and not self.problems:
                self._check(run_id)
        finally:
            self._over.set()
            self._clean_up()
        if isinstance(self.plan, StepKill):
            self.kills["step"] = int(self.flag.exists())
        steps = self.step_log.read_text().splitlines() if self.step_log.exists() else []
        return Outcome(str(self.plan), self.kills, self.problems, time.monotonic() - begun, steps)

    # --- what a user does

    def _submit(self, begun: float) -> str | None:
        flags = ("--request-id", "crash", "--max-retries-per-wave", "40", "--no-dashboard", "--no-daemon", "--json")
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
                self._supervisor = self.lab.supervise("--until-idle", "--poll-ms", "300", env=self.env)
            waiting = self.lab.wave(
                "wait", "--run-id", run_id, *CONTEXT, "--timeout-seconds", "1", "--json", env=self.env
            )
            self._all_readable()
            if waiting.returncode not in (124, -signal.SIGKILL):
                if waiting.returncode != 0:
                    self.problems.append(f"wait ended with {waiting.returncode}: {waiting.stdout[-600:]}")
                break
        else:
            self.problems.append(f"not over after {CASE_SECONDS:.0f} s: {self.lab.recorded(run_id)}")
        self._settle(run_id)

    def _settle(self, run_id: str) -> None:
        """A last, undisturbed supervisor writes down what the clients saw."""
        self._over.set()
        if self._supervisor is not None:
            self.lab.finish(self._supervisor)
        done = self.lab.finish(self.lab.supervise("--until-idle", "--poll-ms", "300", env={MARK: self.mark}))
        if done.returncode != 0:
            self.problems.append(f"supervise ended with {done.returncode}: {done.stderr.strip()}")

    # --- what goes wrong

    def _fire(self, plan: RandomKills) -> None:
        dice = random.Random(plan.seed)
        while sum(self.kills.values()) < plan.count and not self._over.wait(dice.uniform(0.05, 0.6)):
            role = dice.choices(list(ROLES), list(ROLES.values()))[0]
            victims = sorted(pid for pid, found in self._processes() if found == role)
            if not victims:
                continue
            try:
                os.kill(dice.choice(victims), signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.kills[role] += 1

    def _processes(self) -> list[tuple[int, str]]:
        """Pid and role of every living process of this case."""
        found = []
        needle = f"{MARK}={self.mark}".encode()
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                if needle not in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    continue
                words = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            fields = stat_fields(int(name))
            if fields and fields[0] not in "ZX":
                found.append((int(name), role_of(words)))
        return found

    # --- what must hold

    def _all_readable(self) -> None:
        found = (Path(at) / name for at, _, names in os.walk(self.lab.root / ".tmp") for name in names)
        for path in found:
            if path.suffix != ".json" or path.name.startswith("."):
                continue
            try:
                json.loads(path.read_text())
            except FileNotFoundError:
                continue
            except ValueError:
                if path.name.endswith((".pid.json", ".exit.json")):
                    continue  # a shell's redirection; that it exists is all that counts
                self.problems.append(f"unreadable: {path}")

    def _check(self, run_id: str) -> None:
        state = self.lab.recorded(run_id)
        end = (state["status"], state["terminalDisposition"], state["exitCode"], state["activeWave"])
        if end != ("completed", "completed", 0, WAVES - 1):
            self.problems.append(f"the run ended as {end}: {state['detail']}")
        done = self.lab.state("run-state.json")["completedWaves"]
        if done != list(range(WAVES)):
            self.problems.append(f"run state says {done}")
        started = Counter(line.split(" ", 1)[1] for line in self.lab.log() if line.startswith("start"))
        twice = [name for name, times in started.items() if times > 1]
        if twice:
            self.problems.append(f"attempts run twice: {twice}")
        ran = {tuple(name.split()[:2]) for name in started}
        wanted = {(agent, str(wave)) for agent in ("A0", "A1", "A2") for wave in range(WAVES)}
        if ran != wanted:
            self.problems.append(f"agents that ran: {sorted(ran)}")
        self._check_events(run_id)
        left = self._processes()
        if left:
            self.problems.append(f"processes left: {left}")

    def _check_events(self, run_id: str) -> None:
        lines = (self.lab.run_dir(run_id) / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
            self.problems.append("events have a gap or a second writer")
        epochs = [event["epoch"] for event in events if event["epoch"] is not None]
        if epochs != sorted(epochs):
            self.problems.append(f"an older supervisor wrote after a newer one: {epochs}")
        keys = [event["key"] for event in events]
        if len(set(keys)) != len(keys):
            self.problems.append("an event was recorded twice")
        if [event["type"] for event in events].count("run-finished") != 1:
            self.problems.append("the run did not finish exactly once")

    def _clean_up(self) -> None:
        for pid, _ in self._processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.lab.close()


def role_of(words: list[str]) -> str:
    """The kind of process that a command line belongs to."""
    for verb, role in _VERBS.items():
        if verb in words:
            return role
    if any(word.endswith(("wave.py", "__main__.py")) for word in words):
        return "client"
    return "executor"


def run_case(plan: StepKill | RandomKills | None, record: bool = False, keep: bool = False) -> Outcome:
    """One case in a temporary folder, which is kept when something went wrong and `keep` is set."""
    folder = Path(tempfile.mkdtemp(prefix="wave-crash-"))
    outcome = Crash(folder, plan, record).run()
    if outcome.problems and keep:
        outcome.problems.append(f"kept: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def recorded_steps() -> list[str]:
    """The durable steps of an undisturbed run, in the order in which they were first taken."""
    outcome = run_case(None, record=True)
    if outcome.problems:
        raise AssertionError(f"the undisturbed run failed: {outcome.problems}")
    return list(dict.fromkeys(outcome.steps))


_FACTS = re.compile(
    r"spawn|wave-\d+\.jsonl|run-state|launcher-progress|relaunch-plan|payload"
    r"|\.status |\.(?:runtime|exit|pid)\.json"
)


def is_of_facts(step: str) -> bool:
    """Whether a step touches what decisions are made from; every step of the small processes counts."""
    return not step.startswith("launcher ") or _FACTS.search(step) is not None
