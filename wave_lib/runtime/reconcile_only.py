"""`wave launch --reconcile-status`: bring the run state in line with the status files, and report.

Holds:       the lane's launcher lock, if it is free.
Writes:      the run state and stale dashboards; nothing at all beside a live launcher.
When killed: every transition written so far stands.

Spec: LAUNCH 4.3, CFG 17.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..projections.reconcile_format import reconcile_lines, wave_list
from . import launch_selection, run_state_reconcile, session_supervisor
from .session_supervisor import LaneBusyError, lock_holder, take_launcher_lock

if TYPE_CHECKING:
    from .wave_context import LaneRun


def reconcile_only(lane: LaneRun) -> int:
    """Reconcile and print; exit 0 in every case that is not an invalid wave or configuration."""
    paths, console = lane.paths, lane.console
    holder = lock_holder(paths.launcher_lock)
    try:
        lock = take_launcher_lock(
            paths.launcher_lock, paths.rel(paths.launcher_lock), lane=paths.lane, mode="reconcile"
        )
    except LaneBusyError:
        console.say(f"[reconcile] launcher active (pid {holder.get('pid', 'unknown')}); run-state left unchanged")
        launch_selection.load(lane)
        result = run_state_reconcile.preview_reconciliation(
            paths, launch_selection.resolved_waves(lane), state_file=lane.state_file
        )
        for line in reconcile_lines(result):
            console.say(line)
        return 0
    try:
        if holder.get("pid"):
            console.say(f"[reconcile] removed stale launcher lock: {paths.rel(paths.launcher_lock)}")
        stale = session_supervisor.mark_stale_dashboards(paths, ())
        if stale:
            files, waves = ", ".join(paths.rel(path) for _, path in stale), wave_list(wave for wave, _ in stale)
            console.say(f"[reconcile] marked stale dashboard artifacts for wave(s) {waves}: {files}")
        launch_selection.load(lane)
        launch_selection.readable_run_state(lane)
        launch_selection.validate(lane)
        result = launch_selection.reconcile(lane)
        for line in reconcile_lines(result):
            console.say(line)
        return 0
    finally:
        lock.release()
