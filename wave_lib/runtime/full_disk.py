"""A launcher that finds the disk full waits for space: its agents go on, and nothing of their work is thrown away.

Holds:       nothing.
Writes:      nothing but the notice on stderr.
When killed: as any launcher: agents go on, the next one adopts them.

Spec: SUP 13 (disk full).
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from .wave_context import Interrupted

if TYPE_CHECKING:
    from ..base.errors import DiskError
    from .wave_context import LaneRun

PATIENCE_SECONDS = 600.0
_LONGEST_PAUSE = 5.0


class Patience:
    """What `files.on_full_disk` asks, while a launcher works on a lane."""

    def __init__(self, lane: LaneRun) -> None:
        self._lane = lane
        self._until = 0.0

    def __call__(self, error: DiskError, tries: int) -> bool:
        """Pause; True to try again. Raises Interrupted for a signal, and when the patience is over: agents go on."""
        lane = self._lane
        if lane.interrupt is not None or not _in_main_thread():
            return False  # on the way out nothing is waited for
        if tries == 1:
            self._until = time.monotonic() + PATIENCE_SECONDS
            minutes = f"{PATIENCE_SECONDS / 60:g} minutes"
            lane.console.warn(f"[wave] no space on the disk ({error.where}); waiting up to {minutes}, agents go on")
        if time.monotonic() >= self._until:
            lane.console.warn("[wave] still no space; leaving. Agents go on, and the same command goes on with them.")
            lane.interrupt = Interrupted(signal.SIGTERM, keep_agents=True)
            raise lane.interrupt
        lane.loop.sleep_until_signal(min(0.25 * 2.0 ** min(tries, 8), _LONGEST_PAUSE))
        lane.check_interrupt()
        return True


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
