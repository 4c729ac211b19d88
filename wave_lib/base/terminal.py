"""What a terminal can show: colours, width, a line that is written over. Plain text everywhere else.

`NO_COLOR` (any non-empty value) turns colours off, `FORCE_COLOR` turns them on, `TERM=dumb` counts as no terminal.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}
_ESCAPE = r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"


def is_terminal(stream: TextIO) -> bool:
    """Whether people look at the stream directly."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):  # replaced or closed streams
        return False


def use_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether colours may go to the stream."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and environ.get("TERM", "") != "dumb"


def width(stream: TextIO, default: int = 80) -> int:
    """Columns of the stream's terminal, `default` when it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or default
    except (OSError, ValueError, AttributeError):
        return default


def printable(text: str) -> str:
    """Text of others without escape sequences and control characters: it cannot repaint the reader's terminal."""
    return re.sub(_ESCAPE, "", text)


class Style:
    """Paints words, or leaves them as they are: `style.paint("failed", "red", "bold")`."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str]) -> Style:
        return cls(use_colour(stream, environ))

    def paint(self, text: str, *colours: str) -> str:
        if not self.enabled or not colours or not text:
            return text
        return f"\x1b[{';'.join(str(_CODES[colour]) for colour in colours)}m{text}\x1b[0m"


class ProgressLine:
    """One line that is written over on a terminal; elsewhere each new text is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = is_terminal(stream)
        self._shown = ""

    def update(self, text: str) -> None:
        """Shows the text unless it is shown already."""
        line = " ".join(printable(text).split())
        if line == self._shown:
            return
        self._shown = line
        if self._live:
            self._stream.write("\r\x1b[K" + line[: max(width(self._stream) - 1, 1)])
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Takes the line away, so that something else can be printed."""
        if self._live and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._shown = ""
