"""The lexical layer of wave files: lines, fences, headings, sections, lists and quoted values.

Headings count outside code fences only, so a prompt may hold any markdown. Every text keeps the number of its line.

Spec: CFG 8.2 (lexical rules), 8.6 (fences), 8.8 (quotes and lists).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..base.text import compact

_FENCE_OPEN = re.compile(r" {0,3}(`{3,})[^`]*$| {0,3}(~{3,}).*$")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*$")
_TRAILING_HASHES = re.compile(r"(^|[ \t])#+$")
_COMMENT = re.compile(r"\s*<!--.*-->\s*$")
_BULLET = re.compile(r"\s*-[ \t]+(.*?)\s*$")
_KEY_VALUE = re.compile(r"([A-Za-z0-9_.-]+)[ \t]*:[ \t]*(.*)$")


class Note(NamedTuple):
    """A finding at a line of a wave file."""

    line: int
    message: str


class Findings:
    """Collects errors and warnings of one file, so that all are reported at once.

    Reports separate problems by `;`, so a message holds none.
    """

    def __init__(self) -> None:
        self.errors: list[Note] = []
        self.warnings: list[Note] = []
        self.nested_fence = False  # a prompt's inner fence was reported; it explains a later unclosed one

    def error(self, line: int, message: str) -> None:
        self.errors.append(Note(line, message.replace(";", ",")))

    def warn(self, line: int, message: str) -> None:
        self.warnings.append(Note(line, message.replace(";", ",")))


class Fence(NamedTuple):
    """A fenced block: line numbers of its delimiters and the text between them. `last` is 0 when it never closes."""

    first: int
    last: int
    text: str


class Section(NamedTuple):
    """A heading and what follows: `name` is the form that is compared, `text` the words as written.

    `first` and `last` delimit the body (1-based, inclusive; empty when `last < first`).
    """

    name: str
    text: str
    level: int
    line: int
    first: int
    last: int


class Source(NamedTuple):
    """A wave file cut into lines. `fenced[i]` says whether line `i + 1` lies in a fence (delimiters included)."""

    lines: tuple[str, ...]
    fenced: tuple[bool, ...]
    fences: tuple[Fence, ...]
    headings: tuple[Section, ...]

    def body(self, section: Section) -> list[tuple[int, str]]:
        """`(line number, text)` of every line of the section's body."""
        return list(enumerate(self.lines[section.first - 1 : section.last], section.first))

    def fences_in(self, section: Section) -> list[Fence]:
        """The fences that open in the section's body."""
        return [fence for fence in self.fences if section.first <= fence.first <= section.last]


def heading_name(text: str) -> str:
    """The form in which headings are compared: no trailing `#`s, one trailing `:` dropped, spaces collapsed, folded."""
    name = _TRAILING_HASHES.sub("", text.strip()).rstrip()
    return " ".join(name.removesuffix(":").split()).casefold()


def split_lines(text: str) -> list[str]:
    """Lines without their ends; CRLF and CR count as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def find_fences(lines: list[str]) -> list[Fence]:
    """Every fenced block, in order. Only the last one can be open."""
    fences: list[Fence] = []
    marker, first = "", 0
    for number, line in enumerate(lines, 1):
        if marker:
            closing = line.strip()
            if closing and len(closing) >= len(marker) and not closing.strip(marker[0]) and _indent(line) < 4:
                fences.append(Fence(first, number, "\n".join(lines[first : number - 1])))
                marker = ""
            continue
        found = _FENCE_OPEN.match(line) if "```" in line or "~~~" in line else None
        if found:
            marker, first = found[1] or found[2], number
    if marker:
        fences.append(Fence(first, 0, "\n".join(lines[first:])))
    return fences


def read_source(text: str) -> Source:
    """Cut a decoded wave file into lines, fences and headings. Section bodies end before a heading of any level up to
    their own (CFG 8.2); a level-two heading ends before level one or two, and so on."""
    lines = split_lines(text)
    fences = find_fences(lines)
    fenced = [False] * len(lines)
    for fence in fences:
        last = fence.last or len(lines)
        fenced[fence.first - 1 : last] = [True] * (last - fence.first + 1)
    found: list[tuple[int, int, str]] = []
    for number, line in enumerate(lines, 1):
        match = _HEADING.match(line) if "#" in line and not fenced[number - 1] else None
        if match:
            found.append((number, len(match[1]), match[2]))
    headings = []
    ends = [len(lines) + 1] * 7  # by level: the line of the next heading of any level up to it
    for number, level, words in reversed(found):
        text_ = _TRAILING_HASHES.sub("", words).rstrip()
        headings.append(Section(heading_name(words), text_, level, number, number + 1, ends[level] - 1))
        ends[level:] = [number] * (7 - level)
    return Source(tuple(lines), tuple(fenced), tuple(fences), tuple(reversed(headings)))


def bullets(source: Source, section: Section, findings: Findings, label: str) -> list[tuple[int, str]]:
    """`(line, entry)` of a list section; a line that is no bullet, blank or one-line comment is an error."""
    entries: list[tuple[int, str]] = []
    for number, line in source.body(section):
        if not line.strip() or _COMMENT.match(line):
            continue
        found = None if source.fenced[number - 1] else _BULLET.match(line)
        if found and found[1]:
            entries.append((number, found[1]))
        else:
            findings.error(number, f'{label} entry is malformed: "{shown(line)}" (wanted `- …`)')
    return entries


def pairs(
    source: Source, section: Section, findings: Findings, label: str, separate: str = ""
) -> dict[str, tuple[int, str]]:
    """`key -> (line, value)` of a section of `- <key>: <value>` bullets. Keys are folded to lower case.

    A repeated key and a malformed entry are errors. `separate` is set by sections whose values may not be empty.
    """
    found: dict[str, tuple[int, str]] = {}
    for number, entry in bullets(source, section, findings, label):
        match = _KEY_VALUE.match(entry)
        if match is None or (separate and not match[2]):
            problem = "has an empty value" if match else "is malformed"
            findings.error(number, f'{label} entry {problem}: "{shown(entry)}" (wanted `- <key>: <value>`)')
            continue
        key = match[1].lower()
        if key in found:
            findings.error(number, f'{label} has the duplicate key "{match[1]}" (first on line {found[key][0]})')
            continue
        found[key] = (number, match[2])
    return found


def shown(text: str) -> str:
    """A source text inside an error message: one line, at most 80 characters."""
    return compact(text, 80)


def unquote(value: str, quotes: str = "\"'`") -> str:
    """Remove one pair of surrounding identical quotes, unless the same character occurs inside (CFG 8.8)."""
    text = value.strip()
    if len(text) >= 2 and text[0] in quotes and text[-1] == text[0] and text[0] not in text[1:-1]:
        return text[1:-1].strip()
    return text


def bare(value: str) -> str:
    """A path or id entry: all backticks and double and single quotes around it removed."""
    return value.replace("`", "").strip().strip("\"'").strip()


def split_list(value: str) -> list[str]:
    """Split at commas outside quotes and brackets; items trimmed, unquoted, empties dropped (CFG 8.8)."""
    items, start, depth, quote = [], 0, 0, ""
    for at, char in enumerate(value):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'`" and not value[at - 1 : at].isalnum() and char in value[at + 1 :]:
            quote = char  # an apostrophe inside a word opens nothing
        elif char in "[{(":
            depth += 1
        elif char in "]})":
            depth = max(depth - 1, 0)
        elif char == "," and depth == 0:
            items.append(value[start:at])
            start = at + 1
    items.append(value[start:])
    return [item for item in (unquote(part) for part in items) if item]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
