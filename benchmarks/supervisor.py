"""`python -m benchmarks supervisor`: what short clients cost, how fast `wait` wakes, what an idle supervisor burns.

Every row is (name, value, unit, budget or None). Linux: processor time is read from `/proc`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time

from .workspace import make_workspace

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAVE = [sys.executable, os.path.join(REPOSITORY, "wave.py")]
CONTEXT = ["--project", "default", "--lane", "main"]
MANY = 10_000
IDLE_SECONDS = 20.0

Row = tuple[str, float, str, "float | None"]


def rows(folder: str) -> list[Row]:
    """All measurements, in one workspace."""
    make_workspace(folder, waves=2, workers=1)
    first = _submit(folder, "--dry-run", "--no-daemon")
    supervisor = _supervisor(folder)
    try:
        _wait(folder, first)
        found = [*_clients(folder, first), *_wake_up(folder), *_idle(supervisor)]
        found += _many_runs(folder, first)
    finally:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(20)
    return found


def _clients(folder: str, run: str) -> list[Row]:
    """Start-up beside the smallest useful Python program, in turns, so that the noise of the machine hits both."""
    status = [*WAVE, "status", "--run-id", run, *CONTEXT, "--json"]
    # The same token again: everything is checked, nothing piles up behind the supervisor.
    again = [*WAVE, "submit", *CONTEXT, "--start-wave", "0", "--dry-run", "--request-id", "bench", "--json"]
    reference, shown, submitted = _in_turns(folder, [sys.executable, "-c", "import json"], status, again)
    fresh = [*WAVE, "submit", *CONTEXT, "--start-wave", "0", "--dry-run", "--json"]
    reference_2, queued = _in_turns(folder, [sys.executable, "-c", "import json"], fresh, runs=7)
    return [
        ("python3 -c 'import json'", reference * 1000, "ms", None),
        ("wave status --json / import json", shown / reference, "x", 1.6),
        ("wave submit (same token) / import json", submitted / reference, "x", 1.6),
        ("wave submit (new run) / import json", queued / reference_2, "x", 1.6),
    ]


def _in_turns(folder: str, *commands: list[str], runs: int = 25) -> list[float]:
    taken: list[list[float]] = [[] for _ in commands]
    for turn in range(runs + 2):
        for place, argv in enumerate(commands):
            begun = time.perf_counter()
            done = subprocess.run(argv, cwd=folder, env=_environment(), capture_output=True, check=False)
            if turn > 1:
                taken[place].append(time.perf_counter() - begun)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode()}")
    return [statistics.median(times) for times in taken]


def _wake_up(folder: str) -> list[Row]:
    """From the launcher status on disk, which is when a run turns terminal, to the return of `wait`."""
    latencies = []
    for _ in range(7):
        run = _submit(folder, "--dry-run", "--start-wave", "0")
        status = os.path.join(_runs_dir(folder), run, "launcher-status.json")
        _wait(folder, run)
        latencies.append(time.time() - os.stat(status).st_mtime)
    return [("wait returns after the run turned terminal", statistics.median(latencies) * 1000, "ms", 50)]


def _idle(supervisor: subprocess.Popen[bytes]) -> list[Row]:
    select.select([], [], [], 2.0)
    before = _processor_seconds(supervisor.pid)
    select.select([], [], [], IDLE_SECONDS)
    share = (_processor_seconds(supervisor.pid) - before) / IDLE_SECONDS * 100
    return [("idle supervisor, share of a core", share, "%", 0.2)]


def _many_runs(folder: str, run: str) -> list[Row]:
    """Status of one run among ten thousand that are over."""
    status = [*WAVE, "status", "--run-id", run, *CONTEXT, "--json"]
    few = _in_turns(folder, status)[0]
    source = os.path.join(_runs_dir(folder), run)
    with open(os.path.join(source, "request.json"), encoding="utf-8") as handle:
        request = json.load(handle)
    with open(os.path.join(source, "state.json"), encoding="utf-8") as handle:
        state = json.load(handle)
    for number in range(MANY):
        name = f"run-{1000000000000 + number}-{number:08x}"
        os.mkdir(os.path.join(_runs_dir(folder), name))
        for kind, document in (("request", request), ("state", state)):
            with open(os.path.join(_runs_dir(folder), name, f"{kind}.json"), "w", encoding="utf-8") as handle:
                json.dump({**document, "runId": name}, handle)
    many, submitted = _in_turns(
        folder,
        status,
        [*WAVE, "submit", *CONTEXT, "--start-wave", "0", "--dry-run", "--request-id", "bench", "--json"],
        runs=11,
    )
    return [
        (f"status of one run, {MANY:,} others / few", many / few, "x", 1.1),
        (f"submit (same token) beside {MANY:,} runs", submitted * 1000, "ms", None),
    ]


# --- small things ---------------------------------------------------------------------------------------------------


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _runs_dir(folder: str) -> str:
    return os.path.join(folder, ".tmp", "main-wave-launcher", "supervisor", "runs")


def _submit(folder: str, *flags: str) -> str:
    done = subprocess.run(
        [*WAVE, "submit", *CONTEXT, *flags, "--json"], cwd=folder, env=_environment(), capture_output=True, check=True
    )
    return str(json.loads(done.stdout)["runId"])


def _wait(folder: str, run: str) -> None:
    argv = [*WAVE, "wait", "--run-id", run, *CONTEXT, "--timeout-seconds", "60"]
    subprocess.run(argv, cwd=folder, env=_environment(), capture_output=True, check=True)


def _supervisor(folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*WAVE, "supervise", *CONTEXT],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as handle:
        fields = handle.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
