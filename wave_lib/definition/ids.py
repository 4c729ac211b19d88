"""Ids: how free text becomes one, and the check each passes before it becomes part of a path. Spec: CFG 3, SUP 4."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..base.errors import ConfigError, UsageError


class IdForm(NamedTuple):
    """What one kind of id looks like: `pattern` for code, `words` for people."""

    pattern: re.Pattern[str]
    words: str


def _form(pattern: str, words: str) -> IdForm:
    return IdForm(re.compile(pattern), words)


_NAME = _form(r"[a-z0-9][a-z0-9_-]*", "lower-case letters, digits, `_` and `-`")
_DOTTED = _form(r"[a-z0-9][a-z0-9._-]*", "lower-case letters, digits, `.`, `_` and `-`")
_MIXED = _form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "letters, digits, `.`, `_` and `-`, at most 128")
_AGENT = _form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "letters, digits, `.`, `_` and `-`, at most 64")

ID_FORMS = {
    "lane": _NAME,
    "project": _NAME,
    "adhoc-run": _DOTTED,
    "planner-run": _DOTTED,
    "component": _DOTTED,
    "skill": _DOTTED,
    "agent": _AGENT,
    "slug": _DOTTED,
    "run": _MIXED,
    "record": _MIXED,
}
"""Kind of id -> its form. `record` is anything else that names a file (feedback request, task, proof bundle)."""

RESERVED_AGENT_IDS = frozenset({"orch", "launcher", "operator", "human", "shared-summary", "resident-orchestrator"})
"""Names that Wave itself uses where agent ids stand, in lower case. Spec: CFG 8.3."""


def is_id(kind: str, value: object) -> bool:
    """Whether `value` is a well-formed id of this kind."""
    return isinstance(value, str) and ID_FORMS[kind].pattern.fullmatch(value) is not None


def safe_id(kind: str, value: str) -> str:
    """Return `value` when it is a well-formed id of `kind`, so that it cannot leave its directory; else ConfigError."""
    if not is_id(kind, value):
        raise ConfigError(f"invalid {kind} id {value!r}", remedy=f"use {ID_FORMS[kind].words}")
    return value


def check_agent_id(value: str) -> str:
    """Return a declared agent id when it has the right form and is not reserved; else ConfigError. Spec: CFG 8.3."""
    if safe_id("agent", value).lower() in RESERVED_AGENT_IDS:
        raise ConfigError(f"agent id {value!r} is reserved", remedy="choose another id")
    return value


def sanitize_lane(value: object) -> str:
    """A lane id from free text (`API v2` -> `api-v2`); ConfigError when nothing is left. Spec: CFG 3."""
    return _sanitize("lane", value, r"[^a-z0-9_-]+")


def sanitize_project(value: object) -> str:
    """A project id from free text; ConfigError when nothing is left. Spec: CFG 3."""
    return _sanitize("project", value, r"[^a-z0-9_-]+")


def sanitize_adhoc_run(value: object) -> str:
    """An ad-hoc run id from free text; dots stay. Spec: CFG 3."""
    return _sanitize("adhoc-run", value, r"[^a-z0-9._-]+")


def sanitize_orchestrator_id(value: object) -> str:
    """An orchestrator id from free text: case kept, at most 64 characters. UsageError when nothing is left."""
    text = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", str(value).strip())).strip("-")[:64]
    if not text:
        raise UsageError("an orchestrator id needs a letter or digit", where="--orchestrator-id")
    return text


def _sanitize(kind: str, value: object, outside: str) -> str:
    text = re.sub(outside, "-", str(value).strip().lower())
    text = re.sub(r"-{2,}", "-", text).strip("-")
    if not is_id(kind, text):
        raise ConfigError(f"invalid {kind} id {str(value)!r}", remedy=f"use {ID_FORMS[kind].words}")
    return text
