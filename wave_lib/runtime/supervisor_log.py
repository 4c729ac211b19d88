"""The supervisor's log: one line per event, rotated, echoed on the terminal of a foreground supervisor.

Holds:       nothing between lines.
Writes:      `daemon.log`, `daemon.log.1`, `daemon.log.2`.
When killed: the last lines may be missing; nothing is decided from them.

Spec: SUP 8.4.
"""

from __future__ import annotations

import os
import sys

from ..base.errors import DiskError
from ..base.files import append_text, open_log, publish
from ..base.timestamps import now_iso

ROTATE_BYTES = 5 * 1024 * 1024
_KEPT = 2


class SupervisorLog:
    """Appends lines `<iso> <level> [supervise] run=<id|-> <message>`."""

    def __init__(self, path: str, echo: bool) -> None:
        self.path = path
        self._echo = echo
        self._own_output = not echo  # an auto-started supervisor's stdout is the log itself

    def say(self, message: str, run_id: str = "-", level: str = "info") -> None:
        """One line; a full disk costs the line, never the supervisor."""
        line = f"{now_iso()} {level} [supervise] run={run_id} {' '.join(message.split())}\n"
        if self._echo:
            try:
                sys.stdout.write(line)
                sys.stdout.flush()
            except (BrokenPipeError, ValueError, OSError):
                self._echo = False  # whoever watched has left
        try:
            self._rotate()
            append_text(self.path, line)
        except DiskError:
            pass

    def reopen(self) -> None:
        """Point stdout and stderr of an auto-started supervisor to the file that is at the path now."""
        if not self._own_output:
            return
        try:
            fd = open_log(self.path)
        except DiskError:
            return
        for number in (1, 2):
            os.dup2(fd, number)
        os.close(fd)

    def _rotate(self) -> None:
        try:
            if os.stat(self.path).st_size < ROTATE_BYTES:
                return
        except OSError:
            return
        for number in range(_KEPT, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            if os.path.exists(older):
                publish(older, f"{self.path}.{number}")
        self.reopen()
