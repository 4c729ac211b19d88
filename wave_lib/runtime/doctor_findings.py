"""The words of `wave doctor`: findings, and the rows of its table of checks. Spec: WORK 3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

ERROR, WARNING, OK = "error", "warning", "ok"
WORKSPACE, PROJECT, LANE = "workspace", "project", "lane"


class Finding(NamedTuple):
    """One thing that is wrong, or, with severity OK, one that is worth knowing.

    `severity` is given where it differs from that of the check; `path` is repo-relative.
    """

    message: str
    path: str | None = None
    severity: str | None = None
    project: str | None = None
    lane: str | None = None


Findings = Iterator[Finding]


class Check(NamedTuple):
    """One row of the table: `look` gets a Workspace, ProjectView or LaneView, as `scope` says, and yields findings."""

    id: str
    severity: str
    scope: str
    look: Callable[[Any], Iterable[Finding]]
