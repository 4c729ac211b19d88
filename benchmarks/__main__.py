"""`python -m benchmarks [name …]`: prints each budget, what was measured, and whether it was kept.

Times are whole processes, the median of several runs, next to a reference measured in the same run; machines are noisy,
so read the ratios. Exit code 1 when a budget is exceeded.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from . import logs, supervisor
from .workspace import make_workspace

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAVE = [sys.executable, os.path.join(REPOSITORY, "wave.py")]


class Row(NamedTuple):
    """One line of the report. `value` and `budget` have the unit `unit`; no budget means for information only."""

    name: str
    value: float
    unit: str
    budget: float | None = None


def environment() -> dict[str, str]:
    """The caller's, but with compiled modules: some containers switch them off, which doubles every start."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def seconds(argv: list[str], folder: str, runs: int = 11) -> float:
    """The median wall time of a command, after one run that warms the caches."""
    taken = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - begun)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return statistics.median(taken[1:])


def start_up(folder: str) -> list[Row]:
    """`--help` beside the smallest useful Python program; the bundle beside the package."""
    reference = seconds([sys.executable, "-c", "import json"], folder)
    shown = seconds([*WAVE, "--help"], folder)
    launch_help = seconds([*WAVE, "launch", "--help"], folder)
    bundle = os.path.join(folder, "bundle.py")
    seconds([*WAVE, "bundle", bundle], folder, runs=1)
    bundled = seconds([sys.executable, bundle, "launch", "--help"], folder)
    return [
        Row("python3 -c 'import json'", reference * 1000, "ms"),
        Row("wave --help / import json", shown / reference, "x", 1.6),
        Row("wave launch --help / import json", launch_help / reference, "x"),
        Row("bundled / unbundled start", bundled / launch_help, "x", 1.2),
    ]


def small_wave(folder: str) -> list[Row]:
    """One implementation agent and three stewards, from the launch to closure."""
    make_workspace(folder, waves=1, workers=1)
    taken = []
    for _ in range(5):
        shutil.rmtree(os.path.join(folder, ".tmp"), ignore_errors=True)
        taken.append(_launch(folder, "--agent-launch-stagger-ms", "0"))
    return [Row("local wave of four agents, through closure", statistics.median(taken), "s", 1.0)]


def wide_wave(folder: str) -> list[Row]:
    """Two hundred implementation agents at once."""
    make_workspace(folder, waves=1, workers=200, profile="idler")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    whole = _launch(folder, "--agent-launch-stagger-ms", "0")
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    started = _first_to_last_start(folder)
    return [
        Row("200 agents: first to last start", started, "s", 6.0),
        Row("200 agents: through closure", whole, "s"),
        Row("launcher, peak resident memory", peak / 1024, "MiB", 80),
        Row("runner, resident memory", _runner_memory(), "MiB", 14),
    ]


def many_waves(folder: str) -> list[Row]:
    """A dry run of one wave in a lane of three hundred, and of all of them."""
    make_workspace(folder, waves=300, workers=1)
    one = seconds([*WAVE, "launch", "--dry-run", "--start-wave", "299"], folder, runs=3)
    whole = seconds([*WAVE, "launch", "--dry-run"], folder, runs=1)
    return [Row("dry run, last of 300 waves", one, "s", 2.0), Row("dry run, all 300 waves", whole, "s", 2.0)]


def _launch(folder: str, *flags: str) -> float:
    begun = time.perf_counter()
    argv = [*WAVE, "launch", "--no-dashboard", "--terminal-surface", "none", *flags]
    done = subprocess.run(argv, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the launch ended with {done.returncode}:\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")
    return time.perf_counter() - begun


def _first_to_last_start(folder: str) -> float:
    import glob
    import json
    from datetime import datetime

    starts = []
    for path in glob.glob(os.path.join(folder, ".tmp", "*", "status", "*-w[0-9]*.runtime.json")):
        with open(path, encoding="utf-8") as handle:
            starts.append(datetime.fromisoformat(json.load(handle)["startedAt"].replace("Z", "+00:00")).timestamp())
    return max(starts) - min(starts)


def _runner_memory() -> float:
    """The resident memory of a runner while its agent works, in MiB (Linux)."""
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(folder, waves=1, workers=1, profile="idler")
        launch = subprocess.Popen(
            [*WAVE, "launch", "--no-dashboard", "--max-retries-per-wave", "0"],
            cwd=folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sizes = []
        while launch.poll() is None:
            sizes += [_resident(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_runner_of(pid, folder)]
            time.sleep(0.1)
        return max(sizes, default=0.0)


def _is_runner_of(pid: str, folder: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            words = handle.read().decode(errors="replace").split("\0")
        return "agent-runner" in words and any(word.startswith(folder) for word in words)
    except OSError:
        return False


def _resident(pid: str) -> float:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as handle:
            return next((int(line.split()[1]) / 1024 for line in handle if line.startswith("VmRSS")), 0.0)
    except OSError:
        return 0.0


def supervised(folder: str) -> list[Row]:
    """Short clients, the wake-up of `wait`, an idle supervisor, ten thousand finished runs."""
    return [Row(*row) for row in supervisor.rows(folder)]


def long_logs(folder: str) -> list[Row]:
    """A coordination log and a control-plane log of 100,000 records: cold, and after one append."""
    return [Row(*row) for row in logs.rows(folder)]


BENCHMARKS: dict[str, Callable[[str], list[Row]]] = {
    "start-up": start_up,
    "small-wave": small_wave,
    "wide-wave": wide_wave,
    "many-waves": many_waves,
    "supervisor": supervised,
    "logs": long_logs,
}


def main() -> int:
    chosen = sys.argv[1:] or list(BENCHMARKS)
    exceeded = False
    print(f"Python {sys.version.split()[0]} on {os.uname().sysname} {os.uname().machine}, {os.cpu_count()} cores")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for row in BENCHMARKS[name](folder):
                over = row.budget is not None and row.value > row.budget
                exceeded = exceeded or over
                budget = "" if row.budget is None else f"budget {row.budget:g} {row.unit}"
                print(f"{row.name:46} {row.value:9.2f} {row.unit:4} {budget:16} {'EXCEEDED' if over else ''}".rstrip())
    return 1 if exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
