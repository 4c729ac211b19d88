from __future__ import annotations

import io
import os

import pytest

from wave_lib.base.terminal import ProgressLine, Style, printable, use_colour, width


@pytest.fixture
def terminal():
    """(what a person sees, the stream of a real pseudo terminal)"""
    seen, end = os.openpty()
    with open(end, "w", encoding="utf-8") as stream:
        yield seen, stream
    os.close(seen)


def test_colours_follow_terminal_and_variables(terminal) -> None:
    _, stream = terminal
    assert use_colour(stream, {})
    assert not use_colour(stream, {"NO_COLOR": "1"})
    assert not use_colour(stream, {"TERM": "dumb"})
    assert not use_colour(io.StringIO(), {})
    assert use_colour(io.StringIO(), {"FORCE_COLOR": "1"})
    assert Style(True).paint("x", "red", "bold") == "\x1b[31;1mx\x1b[0m"
    assert Style(False).paint("x", "red") == "x"


def test_progress_line_writes_over_itself_on_a_terminal_only(terminal) -> None:
    seen, stream = terminal
    line = ProgressLine(stream)
    line.update("one")
    line.update("one")
    line.clear()
    wanted, shown = b"\r\x1b[Kone\r\x1b[K", b""
    while len(shown) < len(wanted):  # a terminal may hand over what was written in pieces
        shown += os.read(seen, 999)
    assert shown == wanted
    plain = io.StringIO()
    line = ProgressLine(plain)
    for text in ("one", "one", "two"):
        line.update(text)
    line.clear()
    assert plain.getvalue() == "one\ntwo\n"
    assert width(plain, 99) == 99


def test_printable_drops_what_repaints_a_terminal() -> None:
    assert printable("a\x1b[31mb\x1b]0;title\x07c\x1b[2J\x9b\td\n") == "abc\td\n"
