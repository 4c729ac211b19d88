"""Lines of coloured spans: cells, columns and cuts that count what a terminal shows, not bytes or escape codes.

Spec: SUP 19.2 (columns are padded, longer text is cut).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from unicodedata import combining, east_asian_width

from ..base.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..base.terminal import Style


class Span(NamedTuple):
    """A piece of a line in one colour (`""`: the terminal's own)."""

    text: str
    colour: str = ""


class Column(NamedTuple):
    """One column of a table."""

    title: str
    width: int


Line = list[Span]


def line(*parts: Span | str) -> Line:
    """A line of spans and plain strings."""
    return [Span(part) if isinstance(part, str) else part for part in parts]


def clean(value: object) -> str:
    """Text of others as one line that cannot drive the reader's terminal."""
    return " ".join(printable("" if value is None else str(value)).split())


def cells(text: str) -> int:
    """How many columns the text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(char) for char in text)


def _cells_of(char: str) -> int:
    return 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text, or its beginning with `…` as the last character."""
    if cells(text) <= width:
        return text
    return _head(text, width - 1) + "…" if width > 0 else ""


def _head(text: str, width: int) -> str:
    used = 0
    for at, char in enumerate(text):
        used += _cells_of(char)
        if used > width:
            return text[:at]
    return text


def padded(text: str, width: int) -> str:
    """The text cut or filled up to exactly `width` columns."""
    short = cut(text, width)
    return short + " " * (width - cells(short))


def row(columns: Sequence[Column], spans: Iterable[Span]) -> Line:
    """One row of a table; the last column is cut but not filled."""
    parts: Line = []
    last = len(columns) - 1
    for at, (column, span) in enumerate(zip(columns, spans)):
        fit = cut if at == last else padded
        parts += [*([Span(" ")] if at else []), Span(fit(span.text, column.width), span.colour)]
    return parts


def header(columns: Sequence[Column]) -> list[Line]:
    """Titles, and a dashed rule below them."""
    titles = row(columns, [Span(column.title, "bold") for column in columns])
    return [titles, row(columns, [Span("-" * column.width, "dim") for column in columns])]


def painted(lines: Iterable[Line], style: Style, width: int | None = None) -> list[str]:
    """The lines as text, each cut to `width` columns when there is a limit."""
    return [_painted(spans, style, width) for spans in lines]


def _painted(spans: Line, style: Style, width: int | None) -> str:
    text = ""
    left = sum(cells(span.text) for span in spans)
    too_long = width is not None and left > width
    if too_long:
        left = max((width or 0) - 1, 0)
    for span in spans:
        shown = span.text if cells(span.text) <= left else _head(span.text, left) + "…"
        left -= cells(span.text)
        text += style.paint(shown, span.colour) if span.colour and shown.strip() else shown
        if left < 0:
            break
    return text.rstrip()
