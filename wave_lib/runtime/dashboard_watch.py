"""Showing a dashboard once, or following it until nothing more will happen.

Holds:       the terminal's cursor, hidden while it follows on a terminal.
Writes:      stdout.
When killed: the cursor may stay hidden; nothing else is touched.

Spec: SUP 19.3.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from ..base.errors import ExitCode
from ..base.event_loop import EventLoop
from ..base.terminal import Style, is_terminal
from ..projections.dashboard_lines import Line, line, painted
from ..projections.dashboard_renderer import ENDED, View, fitted, is_global, render

if TYPE_CHECKING:
    from ..base.event_loop import Watch
    from .dashboard_source import DashboardSource, Frame

QUIET_SECONDS = 15.0
"""A dashboard that is over, or that nobody writes any more, is followed for this long after its last change."""

_HOME, _ERASE_BELOW, _ERASE_LINE, _CLEAR = "\x1b[H", "\x1b[J", "\x1b[K", "\x1b[2J"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Shown(NamedTuple):
    """A frame as lines, and whether its dashboard is over (ended, or without anybody who writes it)."""

    lines: list[Line]
    over: bool


def show_once(source: DashboardSource, style: Style) -> int:
    """Print one frame; exit code 1 when there is no dashboard."""
    frame = source.look()
    columns = os.get_terminal_size(sys.stdout.fileno()).columns if is_terminal(sys.stdout) else None
    print("\n".join(painted(compose(source, frame, columns).lines, style, columns)))
    return int(ExitCode.DONE if frame.state is not None else ExitCode.FAILED)


def compose(source: DashboardSource, frame: Frame, columns: int | None) -> Shown:
    """The lines of a frame."""
    state = frame.state
    if state is None:
        return Shown([line(f"Dashboard file not found or invalid: {frame.path}")], False)
    stale = source.is_stale(state)
    view = View(time.time(), columns, stale=stale)
    if not is_global(state):
        view = view._replace(board=source.board(state))
    return Shown(render(state, view), stale or state.get("status") in ENDED)


def follow(source: DashboardSource, style: Style, refresh_ms: int) -> int:
    """Show the dashboard until it is over and quiet; 0, or 130 after Ctrl-C."""
    with EventLoop() as loop:
        return _Follower(source, style, refresh_ms, loop).run()


class _Follower:
    """Redraws on every change of the file and by a timer."""

    def __init__(self, source: DashboardSource, style: Style, refresh_ms: int, loop: EventLoop) -> None:
        self._source = source
        self._style = style
        self._seconds = refresh_ms / 1000
        self._loop = loop
        self._terminal = is_terminal(sys.stdout)
        self._last = ""
        self._code: int | None = None  # the exit code, once it is over
        self._watched: dict[str, Watch] = {}
        self._clear_next = True

    def run(self) -> int:
        self._loop.on_signal(signal.SIGINT, lambda: self._stop(130))
        self._loop.on_signal(signal.SIGTERM, lambda: self._stop(128 + signal.SIGTERM))
        if self._terminal:
            self._loop.on_signal(signal.SIGWINCH, self._resized)
            self._write(_HIDE_CURSOR)
        try:
            self._tick()
            if self._code is None:
                self._loop.run()
        finally:
            if self._terminal:
                self._write(_SHOW_CURSOR)
        return self._code or int(ExitCode.DONE)

    def _tick(self) -> None:
        """One look by the clock: ages grow even when no file changes."""
        self._draw()
        self._loop.call_later(self._seconds, self._tick)

    def _draw(self) -> None:
        frame = self._source.look()
        self._watch(frame.path)
        if self._terminal:
            size = os.get_terminal_size(sys.stdout.fileno())  # asked anew: it may have been resized
            shown = compose(self._source, frame, size.columns)
            self._redraw(painted(fitted(shown.lines, size.lines), self._style, size.columns))
        else:
            shown = compose(self._source, frame, None)
            self._print("\n".join(painted(shown.lines, self._style)), frame)
        if shown.over and frame.changed_at is not None and time.time() - frame.changed_at >= QUIET_SECONDS:
            self._stop(int(ExitCode.DONE))

    def _redraw(self, lines: list[str]) -> None:
        text = f"{_ERASE_LINE}\r\n".join(lines) + _ERASE_LINE + _ERASE_BELOW
        self._write((_CLEAR if self._clear_next else "") + _HOME + text)
        self._clear_next = False

    def _print(self, text: str, frame: Frame) -> None:
        """Print the frame when it says something new; ages alone are nothing new."""
        signature = f"{frame.path} {frame.state!r} {'(stale:' in text}"
        if signature != self._last:
            self._last = signature
            self._write(text + "\n\n")

    def _watch(self, path: str) -> None:
        if path not in self._watched:
            for watch in self._watched.values():
                watch.cancel()
            self._watched = {path: self._loop.watch_file(path, self._draw)}

    def _resized(self) -> None:
        self._clear_next = True
        self._draw()

    def _stop(self, code: int) -> None:
        self._code = code
        if self._terminal:
            self._write("\r\n")
        self._loop.stop()

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
