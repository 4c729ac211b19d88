"""Verdict lines of a cont-QA report, and which verdict counts when log and report both have one.

Pure. Spec: GATE 2.5, 4.3.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .marker_grammar import VERDICTS

_LIST_PREFIX = re.compile(r"(?:[-*+]|[0-9]+\.)\s+")
_VERDICT = re.compile(r"Verdict:\s*(?:\*\*)?\s*(PASS|CONCERNS|BLOCKED|HOLD|FAIL)\b(.*)", re.IGNORECASE | re.DOTALL)
_LINE_END = re.compile(r"\r\n|\n|\r")
_SEVERITY = {word: rank for rank, word in enumerate(VERDICTS)}


class ReportVerdict(NamedTuple):
    """The last verdict line of a report and how many verdict lines it has."""

    verdict: str
    detail: str
    lines: int


def report_verdict(text: str) -> ReportVerdict | None:
    """The verdict of a report's text, None without a verdict line. Lines in code fences do not count. GATE 2.5."""
    last: tuple[str, str] | None = None
    count = 0
    fenced = False
    for line in _LINE_END.split(text):
        if line.strip().startswith("```"):
            fenced = not fenced
            continue
        found = None if fenced else _VERDICT.match(_unadorned(line))
        if found:
            word = found[1].lower()
            last = ("blocked" if word == "fail" else word, _detail(found[2]))
            count += 1
    return ReportVerdict(*last, count) if last else None


def _unadorned(line: str) -> str:
    """The line without white space, heading hashes, one list prefix and an opening `**`."""
    text = line.strip().lstrip("#").lstrip()
    prefix = _LIST_PREFIX.match(text)
    text = text[prefix.end() :] if prefix else text
    return text[2:].lstrip() if text.startswith("**") else text


def _detail(rest: str) -> str:
    rest = rest.strip()
    if rest.startswith("**"):
        rest = rest[2:].lstrip()
    if rest[:1] in ("-", ":"):
        rest = rest[1:].lstrip()
    if rest.lower().startswith("detail="):
        rest = rest[len("detail=") :]
    return (rest[:-2] if rest.endswith("**") else rest).strip()


def resolve_verdict(
    log: dict[str, Any] | None, report: ReportVerdict | None, *, fresh: bool | None
) -> tuple[dict[str, Any] | None, str | None]:
    """`({verdict, detail}, source)` of the agent. `fresh`: the report is not older than the attempt's start, None when
    that start is unknown. Spec: GATE 4.3."""
    of_report = {"verdict": report.verdict, "detail": report.detail} if report else None
    if log is not None:
        own = {"verdict": log["verdict"], "detail": log.get("detail") or ""}
        if report and fresh and report.lines == 1 and _SEVERITY[report.verdict] > _SEVERITY[own["verdict"]]:
            return of_report, "report"
        return own, "log"
    if of_report and fresh is not False:
        return of_report, "report"
    return None, None
