"""The lane belongs to one launcher at a time: its lock, and what a lost predecessor left behind.

Holds:       `launcher.lock`, from before anything in the lane state is written until the process ends.
Writes:      the lock's content, in place; last records of agents whose runner is gone; `launcher lost` events.
When killed: the kernel frees the lock; the content names the dead launcher and is overwritten by the next one.

Spec: LAUNCH 3.3, 3.4; SUP 10.3, 15.1, 15.3.
"""

from __future__ import annotations

import glob
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import ExitCode, LockHeldError
from ..base.files import read_json, write_json
from ..base.locks import FileLock, take
from ..base.process_identity import identity_of, pid_exists
from ..base.timestamps import now_iso
from ..projections.dashboard_state import mark_stale
from ..state import control_plane
from . import agent_sessions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ..base.event_loop import EventLoop
    from ..definition.lane_paths import LanePaths
    from .wave_context import Supervision

_BEAT_SECONDS = 10.0
TERMINAL = ("completed", "failed", "terminated")
"""Terminal values of `terminalDisposition`. Spec: SUP 16.7."""


class LaneBusyError(LockHeldError):
    """Another launcher, or agents that another launch left running, own the lane."""

    default_code = ExitCode.LANE_BUSY
    default_key = "lease-held"


class LauncherLock:
    """The lane's launcher lock, held."""

    def __init__(self, lock: FileLock, path: str) -> None:
        self.path = path
        self._lock = lock

    def keep(self, loop: EventLoop) -> None:
        """Say from time to time that the holder lives, for file systems without flock."""
        if not self._lock.by_kernel:
            self._lock.beat()
            loop.call_later(_BEAT_SECONDS, lambda: self.keep(loop))

    def release(self) -> None:
        """Empty the content to `{}` and let go; the file stays. Spec: LAUNCH 3.3."""
        if self._lock.fd >= 0:
            _write_in_place(self._lock, {})
            self._lock.close()


def take_launcher_lock(
    path: str, shown: str, *, lane: str, mode: str, supervisor_run_id: str | None = None
) -> LauncherLock:
    """The launcher lock of a lane. LaneBusyError (exit 32) when a launcher holds it, also one of Node's.

    `shown` is the path in the message; `mode` is `launch` or `reconcile`. Spec: LAUNCH 3.3, SUP 15.1.
    """
    lock = take(path)
    holder = lock_holder(path)
    if lock is None or _foreign_and_alive(holder):
        if lock is not None:
            lock.close()
        pid = holder.get("pid", "unknown")
        started = holder.get("startedAt") or "unknown"
        raise LaneBusyError(f"Another launcher is active (pid {pid}, started {started}). Lock: {shown}")
    _write_in_place(
        lock,
        {
            "lane": lane,
            "pid": os.getpid(),
            "startedAt": now_iso(),
            "argv": sys.argv[1:],
            "cwd": os.getcwd(),
            "mode": mode,
            "identity": identity_of(os.getpid()).to_json(),
            "supervisorRunId": supervisor_run_id,
        },
    )
    return LauncherLock(lock, path)


def lock_holder(path: str) -> dict[str, Any]:
    """What the lock file says about its holder; empty when it says nothing usable."""
    value = read_json(path).value
    return value if isinstance(value, dict) else {}


def _foreign_and_alive(holder: dict[str, Any]) -> bool:
    """A live launcher of an implementation that takes no kernel lock: it writes no `identity`. Spec: LAUNCH 3.3."""
    pid = holder.get("pid")
    return isinstance(pid, int) and "identity" not in holder and pid_exists(pid)


def _write_in_place(lock: FileLock, content: dict[str, Any]) -> None:
    # In place, for replacing the file would change the locked inode (a named exception to base/files.py).
    lock.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")


class Leftover(NamedTuple):
    """A runtime record that an earlier launcher did not see to its end."""

    runtime_path: str
    wave: int | None
    agent_id: str
    run_id: str | None
    prompt_hash: str | None
    attempt: int | None


def inspect_leftovers(paths: LanePaths, selected: Collection[int], supervision: Supervision | None) -> list[Leftover]:
    """Judge every unfinished runtime record of the lane; returns the live agents that this launch may adopt.

    Agents that are gone are finalised, but for those of this launch's own run, whose session may still go on when
    their turn comes. LaneBusyError (exit 32) when agents of somebody else live. Spec: LAUNCH 3.4, SUP 10.3, 15.1.
    """
    ours = supervision.run_id if supervision else None
    live: list[Leftover] = []
    strangers: list[Leftover] = []
    for item in unfinished_records(paths):
        mine = item.run_id == ours and (ours is not None or item.wave in selected)
        if agent_sessions.agent_alive(item.runtime_path):
            (live if mine else strangers).append(item)
        elif not mine or ours is None:
            agent_sessions.finalise_lost_agent(item.runtime_path)
    if strangers:
        owner = strangers[0].run_id or "an earlier launch"
        ids = ", ".join(sorted(item.agent_id for item in strangers))
        raise LaneBusyError(f"Agents of {owner} are still running: {ids}", remedy="wait for them or end them first")
    return live


def unfinished_records(paths: LanePaths) -> list[Leftover]:
    """Every runtime record of the lane that is not terminal, of supervised runs and of plain launches."""
    patterns = [
        (os.path.join(glob.escape(paths.status_dir), "*.runtime.json"), False),
        (os.path.join(glob.escape(paths.supervisor_runs_dir), "*", "agents", "*.runtime.json"), True),
    ]
    found = []
    for pattern, supervised in patterns:
        for runtime_path in sorted(glob.glob(pattern)):
            record = read_json(runtime_path).value
            if not isinstance(record, dict) or record.get("terminalDisposition") in TERMINAL:
                continue
            run_id = record.get("runId")
            if supervised and not run_id:
                run_id = os.path.basename(os.path.dirname(os.path.dirname(runtime_path)))
            found.append(
                Leftover(
                    runtime_path,
                    record.get("waveNumber"),
                    str(record.get("agentId") or "?"),
                    run_id if supervised else None,
                    record.get("promptHash"),
                    record.get("attempt"),
                )
            )
    return found


def cancel_lost_attempts(paths: LanePaths, waves: Iterable[int], supervision: Supervision | None) -> None:
    """An attempt still `running` was lost with its launcher, unless this launch re-enters it. Spec: LAUNCH 3.4."""
    for wave in waves:
        for attempt in control_plane.read_control_plane(paths, wave).attempts.values():
            if attempt["state"] != "running":
                continue
            if supervision and attempt.get("supervisorRunId") == supervision.run_id:
                continue
            control_plane.append_event(
                paths,
                wave,
                "attempt",
                attempt["attemptId"],
                "cancelled",
                {"state": "cancelled", "detail": "launcher lost", "attemptNumber": attempt["attemptNumber"]},
                attempt=attempt["attemptNumber"],
            )


def mark_stale_dashboards(paths: LanePaths, taken_up: Collection[int]) -> list[tuple[int, str]]:
    """Non-terminal dashboards of waves that nobody works on any more become `failed` / `stale`. LAUNCH 3.4, SUP 15.3.

    Returns (wave, path) of those rewritten.
    """
    stale = []
    for path in sorted(glob.glob(os.path.join(glob.escape(paths.dashboards_dir), "wave-*.json"))):
        number = os.path.basename(path)[len("wave-") : -len(".json")]
        if not number.isdigit() or int(number) in taken_up:
            continue
        dashboard = read_json(path).value
        if isinstance(dashboard, dict) and mark_stale(dashboard, now_iso(), "The launcher of this wave was lost."):
            write_json(path, dashboard, durable=False)
            stale.append((int(number), path))
    return stale
