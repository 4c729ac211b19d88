"""What the launcher says to the person in front of it: plain lines, and on a terminal one live line below them.

Holds:       nothing.
Writes:      stdout and stderr.
When killed: nothing is lost.

Spec: LAUNCH 6 (the lines), WORK 1.3 (a closed pipe is no error).
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from ..base.redaction import redact
from ..base.terminal import Style, is_terminal, printable, width


class Console:
    """Lines on stdout, warnings on stderr, and on a terminal a live line that is wiped before anything else is said."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._terminal = is_terminal(self._out) and os.environ.get("TERM") != "dumb"
        self._style = Style.of(self._out, os.environ)
        self._live = ""

    def say(self, line: str = "", *colours: str) -> None:
        """One line on stdout, coloured where the terminal shows colours."""
        self._wipe()
        self._write(self._out, self._style.paint(printable(redact(line)), *colours) + "\n")

    def warn(self, line: str) -> None:
        """One line on stderr."""
        self._wipe()
        self._write(self._err, printable(redact(line)) + "\n")

    def live(self, text: str) -> None:
        """Replace the live line; nothing at all where nobody watches."""
        if not self._terminal or text == self._live:
            return
        self._write(self._out, f"\r\x1b[K{printable(text)[: max(width(self._out) - 1, 1)]}")
        self._live = text

    def _wipe(self) -> None:
        if self._live:
            self._write(self._out, "\r\x1b[K")
            self._live = ""

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            pass  # the reader has left, or the disk behind a redirection is full; the run goes on
