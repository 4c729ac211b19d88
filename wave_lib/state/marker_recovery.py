"""Reads once more, generously, a marker line that the parser rejected. Pure. Spec: GATE 11 (recovery of a sample)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from .marker_grammar import ENUM, MARKERS, TEXT, canonical_line
from .marker_line import ParsedLine, parse_marker_line, strip_escapes

_MET_WORDS = frozenset(("complete", "completed", "done", "satisfied"))
_OPENING = "\"'`*([{<"
_CLOSING = "\"'`*)]}>.,;:!"


class Recovery(NamedTuple):
    """`marker` is the accepted marker, None when the line stays unreadable. `gap`: some state in it says gap."""

    marker: ParsedLine | None
    gap: bool


def recover(kind: str, line: str) -> Recovery:
    """Re-split a rejected line, `=` or `:` after a field name, `,` `;` `|` between fields; the detail is dropped.

    A field with two different values stays unreadable, and so does a choice such as `<met|gap>`, which is what an
    agent that repeats its instructions prints: nothing passes by guesswork.
    """
    row = MARKERS[kind]
    text = strip_escapes(line)
    at = text.lower().find(f"[{row.tag}")
    if at < 0:
        return Recovery(None, False)
    body = text[at + len(row.tag) + 1 :].lstrip(" ]")
    names = "|".join(re.escape(field.name).replace("_", "[_-]") for field in row.fields)
    starts = list(re.finditer(rf"(?:^|(?<=[\s,;|]))({names})\s*[=:]", body, re.IGNORECASE))
    values: dict[str, str] = {}
    unclear = gap = False
    for found, following in zip(starts, [*starts[1:], None]):
        field = row.field(found[1])
        if field is None or field.form == TEXT:
            break
        written = body[found.end() : following.start() if following else len(body)]
        word = _first_word(written)
        if field.name != "component":
            word = word.lower()
        if field.name == "state" and field.form == ENUM and word in _MET_WORDS and "met" in field.values:
            word = "met"
        gap = gap or (field.name == "state" and word == "gap")
        unclear = unclear or values.setdefault(field.key, word) != word or _offers_a_choice(written, field.values)
    required = {field.key: values.get(field.key, "") for field in row.required}
    marker = None if unclear else parse_marker_line(canonical_line(kind, required))
    return Recovery(marker if marker and marker.values is not None else None, gap)


def _offers_a_choice(written: str, allowed: Collection[str]) -> bool:
    """Whether the value names two of the words that may stand there, with `|` between them."""
    return len({_first_word(part).lower() for part in written.split("|")} & set(allowed)) > 1


def _first_word(text: str) -> str:
    words = re.split(r"[\s,;|]+", text.strip(), maxsplit=1)
    return words[0].lstrip(_OPENING).rstrip(_CLOSING)
