"""One line of text -> one marker, a rejection with its reason, or nothing.

Pure. Only the shape of the line decides; who printed it is the business of `structured_signal_parser`.
Spec: GATE 2.2, 2.3.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .marker_grammar import KIND_OF_TAG, MARKERS, BadValue, MarkerKind, canonical_line, read_value

# CSI sequences, OSC sequences (ended by BEL or ST), two-byte escapes
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]|\x9b[0-?]*[ -/]*[@-~]")
_LIST_PREFIX = re.compile(r"(?:[-*+]|[0-9]+\.)\s+")
_BACKTICKS = re.compile(r"`([^`]*)`[.,;]?")
_BOLD = re.compile(r"\*\*((?:(?!\*\*).)*)\*\*[.,;]?")
_TAG = re.compile(r"\[((?:wave-|deploy-status|infra-status)[A-Za-z0-9_-]*)(\s*\])?", re.IGNORECASE)
_FIELD = re.compile(r"(?:(?<=\s)|^)([A-Za-z][A-Za-z0-9_-]*)=")


class ParsedLine(NamedTuple):
    """A candidate line. Accepted when `values` is not None; otherwise `reason` says why it was rejected.

    `kind` is None for an unknown tag. `line` is the trimmed line, `values` has summary keys (`componentId`,
    `openQuestions`, …), `raw_values` the raw text of the known fields, `canonical` the canonical line.
    """

    kind: str | None
    line: str
    values: dict[str, Any] | None = None
    reason: str | None = None
    raw_values: dict[str, str] = {}
    unknown_keys: tuple[str, ...] = ()
    canonical: str = ""

    @property
    def normalized(self) -> bool:
        """Accepted, and not already written in canonical form."""
        return self.values is not None and self.canonical != self.line


def strip_escapes(text: str) -> str:
    """The text without terminal escape sequences."""
    return _ESCAPES.sub("", text) if "\x1b" in text or "\x9b" in text else text


def parse_marker_line(line: str) -> ParsedLine | None:
    """The candidate in a line, or None when the line is no marker at all. Never raises. Spec: GATE 2.2, 2.3."""
    if "[" not in line:
        return None
    line = strip_escapes(line).strip()
    text = _unwrap(line)
    found = _TAG.match(text)
    if found is None:
        return None
    kind = KIND_OF_TAG.get(found[1].lower())
    if found[2] is None:
        return ParsedLine(kind, line, reason="unclosed-tag")
    if kind is None:
        return ParsedLine(None, line)
    return _parse_body(MARKERS[kind], line, text[found.end() :].strip())


def _unwrap(line: str) -> str:
    """The line without one list prefix and one wrapper. A quotation stays as it is and so begins with no tag."""
    prefix = _LIST_PREFIX.match(line)
    text = line[prefix.end() :] if prefix else line
    wrapped = _BACKTICKS.fullmatch(text) or _BOLD.fullmatch(text)
    return wrapped[1].strip() if wrapped else text


def _parse_body(row: MarkerKind, line: str, body: str) -> ParsedLine:
    pairs, unknown = _positional_pairs(row, body) if row.positional else _pairs(row, body)
    raw: dict[str, str] = {}
    conflict = ""
    for name, value in pairs:
        if name in raw and raw[name].lower() != value.lower():
            conflict = conflict or name
        raw.setdefault(name, value)
    rejected = ParsedLine(row.kind, line, raw_values=raw, unknown_keys=unknown)
    if conflict:
        return rejected._replace(reason=f"conflicting-duplicate:{conflict}")
    values: dict[str, Any] = {}
    for field in row.fields:
        value = raw.get(field.name, "")
        if not value and field in row.required:
            return rejected._replace(reason=f"missing-field:{field.name}")
        try:
            values[field.key] = read_value(field, value)
        except BadValue:
            return rejected._replace(reason=f"bad-value:{field.name}")
    return rejected._replace(values=values, canonical=canonical_line(row.kind, values))


def _pairs(row: MarkerKind, body: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """`key=value` pairs of known fields in order, and the names of unknown ones.

    Inside `detail` prose only a field of this kind that was not given yet begins something new.
    """
    starts: list[tuple[str, int, int]] = []
    given: set[str] = set()
    in_detail = False
    for found in _FIELD.finditer(body):
        field = row.field(found[1])
        name = field.name if field else found[1]
        if in_detail and (field is None or name in given):
            continue
        starts.append((name, found.start(), found.end()))
        if field:
            given.add(name)
            in_detail = name == "detail"
    pairs = []
    unknown = []
    for (name, _, begin), (_, end, _) in zip(starts, [*starts[1:], ("", len(body), 0)]):
        if row.field(name):
            pairs.append((name, body[begin:end].strip()))
        else:
            unknown.append(name)
    return pairs, tuple(unknown)


def _positional_pairs(row: MarkerKind, body: str) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Pairs of a kind whose first field is a bare word; what follows the word is the detail."""
    known = [found for found in _FIELD.finditer(body) if row.field(found[1])]
    lead = body[: known[0].start()].strip() if known else body
    pairs, _ = _pairs(row, body[known[0].start() :]) if known else ([], ())
    result: list[tuple[str, str]] = []
    for name, value in [(row.positional or "", lead)] * bool(lead) + pairs:
        if name == row.positional:
            word, *rest = value.split(None, 1) or [""]
            result.append((name, word))
            if rest and row.field("detail") and not any(key == "detail" for key, _ in pairs):
                result.append(("detail", rest[0]))
        else:
            result.append((name, value))
    return result, ()
