"""The one table of structured markers: tags, fields, rules, canonical lines.

Parser, validators, `wave signal`, role prompts and the manual all derive from `MARKERS`; nothing else in the package
spells a field list. Pure: no file, no clock. Spec: GATE 2.1, 2.3, 2.4, 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

ENUM, TOKEN, COUNT, CSV, TEXT = "enum", "token", "count", "csv", "text"


class Field(NamedTuple):
    """One field of a marker.

    `name` stands in the line, `key` in summaries. `form` is one of ENUM (one of `values`; `aliases` maps other
    spellings to a value), TOKEN (`values[0]` is the pattern), COUNT, CSV and TEXT. `lower` folds tokens and lists.
    """

    name: str
    key: str
    form: str = TEXT
    values: tuple[str, ...] = ()
    aliases: Mapping[str, str] = {}
    lower: bool = False

    @property
    def hint(self) -> str:
        """What may stand here, for prompts and usage texts; never a value that parses."""
        if self.form == ENUM:
            return f"<{'|'.join(self.values)}>"
        return {COUNT: "<n>", CSV: "<csv>", TOKEN: f"<{self.name}-id>"}.get(self.form, "<text>")


class MarkerKind(NamedTuple):
    """One row of GATE 2.1. `positional` names the field that is written as a bare word."""

    kind: str
    tag: str
    fields: tuple[Field, ...]
    positional: str | None = None

    @property
    def required(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.form not in (CSV, TEXT))

    def field(self, name: str) -> Field | None:
        """The field of this name, hyphens and underscores being the same; verdicts also know `state`."""
        name = name.lower().replace("-", "_")
        if self.kind == "verdict" and name == "state":
            name = "verdict"
        return next((field for field in self.fields if field.name == name), None)


def _enum(name: str, *values: str, **aliases: str) -> Field:
    return Field(name, name, ENUM, values, {key.replace("_", "-"): value for key, value in aliases.items()})


def _count(name: str, key: str = "") -> Field:
    return Field(name, key or name, COUNT)


def _csv(name: str, key: str = "", lower: bool = False) -> Field:
    return Field(name, key or name, CSV, lower=lower)


def _token(name: str, pattern: str, key: str = "", lower: bool = False) -> Field:
    return Field(name, key or name, TOKEN, (pattern,), lower=lower)


_DETAIL = Field("detail", "detail")
_MET = _enum("state", "met", "gap", complete="met")
_WORD = r"[A-Za-z0-9._-]+"
_RESOURCE = r"[A-Za-z0-9_.:-]+"
_JUDGEMENT = ("pass", "concerns", "blocked", "gap")
_ROLLED_BACK = {"rolled-back": "rolledover", "rolledback": "rolledover", "rolled-over": "rolledover"}

GATE_DIMENSIONS = ("architecture", "integration", "durability", "live", "docs")
DEPLOY_STATES = ("deploying", "healthy", "failed", "rolledover")
VERDICTS = ("pass", "concerns", "hold", "blocked")
"""Verdicts from mild to severe."""

_ROWS = (
    MarkerKind(
        "proof",
        "wave-proof",
        (
            _enum("completion", "contract", "integrated", "authoritative", "live"),
            _enum("durability", "none", "ephemeral", "durable"),
            _enum("proof", "unit", "integration", "live"),
            _MET,
            _DETAIL,
        ),
    ),
    MarkerKind(
        "docDelta",
        "wave-doc-delta",
        (_enum("state", "none", "owned", "shared-plan"), _csv("paths"), _DETAIL),
    ),
    MarkerKind(
        "component",
        "wave-component",
        (_token("component", _WORD, key="componentId"), _token("level", _WORD, lower=True), _MET, _DETAIL),
    ),
    MarkerKind(
        "integration",
        "wave-integration",
        (
            _enum("state", "ready-for-doc-closure", "needs-more-work"),
            _count("claims"),
            _count("conflicts"),
            _count("blockers"),
            _DETAIL,
        ),
    ),
    MarkerKind(
        "docClosure",
        "wave-doc-closure",
        (_enum("state", "closed", "no-change", "delta"), _csv("paths"), _DETAIL),
    ),
    MarkerKind(
        "eval",
        "wave-eval",
        (
            _enum("state", "satisfied", "needs-more-work", "blocked"),
            _count("targets"),
            _count("benchmarks"),
            _count("regressions"),
            _csv("target_ids", "targetIds", lower=True),
            _csv("benchmark_ids", "benchmarkIds", lower=True),
            _DETAIL,
        ),
    ),
    MarkerKind(
        "security",
        "wave-security",
        (_enum("state", "clear", "concerns", "blocked"), _count("findings"), _count("approvals"), _DETAIL),
    ),
    MarkerKind(
        "design",
        "wave-design",
        (
            _enum("state", "ready-for-implementation", "needs-clarification", "blocked"),
            _count("decisions"),
            _count("assumptions"),
            _count("open_questions", "openQuestions"),
            _DETAIL,
        ),
    ),
    MarkerKind("gate", "wave-gate", (*(_enum(name, *_JUDGEMENT) for name in GATE_DIMENSIONS), _DETAIL)),
    MarkerKind(
        "gap",
        "wave-gap",
        (_enum("kind", "architecture", "integration", "durability", "ops", "docs"), _DETAIL),
    ),
    MarkerKind(
        "verdict",
        "wave-verdict",
        (_enum("verdict", "pass", "concerns", "blocked", "hold", fail="blocked"), _DETAIL),
        positional="verdict",
    ),
    MarkerKind("phase", "wave-phase", (_token("phase", r"[A-Za-z_][A-Za-z0-9_-]*", lower=True),), positional="phase"),
    MarkerKind(
        "deploy",
        "deploy-status",
        (
            _token("service", _RESOURCE),
            Field("state", "state", ENUM, DEPLOY_STATES, _ROLLED_BACK),
            _DETAIL,
        ),
    ),
    MarkerKind(
        "infra",
        "infra-status",
        (
            _token("kind", _RESOURCE, lower=True),
            _token("target", r"[A-Za-z0-9_.:@/-]+"),
            _token("state", _RESOURCE, lower=True),
            _DETAIL,
        ),
    ),
)

MARKERS: Mapping[str, MarkerKind] = {row.kind: row for row in _ROWS}
KIND_OF_TAG: Mapping[str, str] = {row.tag: row.kind for row in _ROWS}
DASHBOARD_PHASES = (
    "pending",
    "launching",
    "running",
    "coding",
    "validating",
    "deploying",
    "finalizing",
    "completed",
    "failed",
    "timed_out",
)
"""The words of `[wave-phase]` that the dashboard acts on."""

_DIGITS = re.compile(r"[0-9]{1,15}")


class BadValue(ValueError):
    """A value outside its field's rule."""


def read_value(field: Field, raw: str) -> Any:
    """The typed value of one raw field value. Raises BadValue. Spec: GATE 2.1, 2.3."""
    if field.form == TEXT:
        return raw
    if field.form == CSV:
        items = [item.strip() for item in raw.split(",")]
        return [item.lower() if field.lower else item for item in items if item]
    if field.form == COUNT:
        if raw.lower() == "none":
            return 0
        if not _DIGITS.fullmatch(raw):
            raise BadValue(raw)
        return int(raw)
    if field.form == TOKEN:
        if not re.fullmatch(field.values[0], raw):
            raise BadValue(raw)
        return raw.lower() if field.lower else raw
    word = raw.lower()
    word = field.aliases.get(word, word)
    if word not in field.values:
        raise BadValue(raw)
    return word


def canonical_line(kind: str, values: Mapping[str, Any]) -> str:
    """The canonical line of a marker; `values` has summary keys, what is empty or absent is left out. GATE 2.4."""
    row = MARKERS[kind]
    parts = [f"[{row.tag}]"]
    for field in row.fields:
        value = values.get(field.key)
        text = ",".join(value) if isinstance(value, (list, tuple)) else "" if value is None else str(value)
        if text:
            parts.append(text if field.name == row.positional else f"{field.name}={text}")
    return " ".join(parts)


def placeholder_line(kind: str, optional: Iterable[str] = ("detail",)) -> str:
    """A line that shows a marker's shape and that the parser rejects, for prompts and manuals. GATE 2.6."""
    row = MARKERS[kind]
    shown = [field for field in row.fields if field in row.required or field.name in optional]
    words = [field.hint if field.name == row.positional else f"{field.name}={field.hint}" for field in shown]
    return " ".join([f"[{row.tag}]", *words])
