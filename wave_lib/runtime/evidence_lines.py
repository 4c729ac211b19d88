"""Where the evidence for a refusal stands: the line of a log or report that a gate went by.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base.files import read_text
from ..projections.explanations import hint_for
from ..state.agent_state import report_path
from ..state.marker_grammar import KIND_OF_TAG

if TYPE_CHECKING:
    from .wave_context import AgentRun, WaveContext

_TOO_LARGE_BYTES = 4 << 20


def find(ctx: WaveContext, failures: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """(agent id, status code) -> `<file>:<line>` of what explains the failure, the failure's own file where none does.

    A failure of nobody's has `the wave` in place of the agent. A file that is not there, like the log of an agent that
    never ran, is not named.
    """
    found = {}
    for failure in failures:
        run, code = ctx.runs.get(str(failure.get("agentId"))), str(failure.get("statusCode"))
        place = _of_agent(ctx, run, code) if run else _of_wave(ctx, str(failure.get("detail") or ""))
        key, file = (run.agent_id if run else "the wave", code), str(failure.get("logPath") or "")
        if place is not None:
            found[key] = f"{ctx.paths.rel(place[0])}:{place[1]}"
        elif file and os.path.exists(os.path.join(ctx.paths.root, file)):
            found[key] = file
    return found


def _of_agent(ctx: WaveContext, run: AgentRun, code: str) -> tuple[str, int] | None:
    """The marker that the code is about, a verdict in the report, else the end of the log: the agent said nothing."""
    tag = _tag_of(code)
    line = last_line_with(run.log_path, f"[{tag}") if tag else None
    if line is None and code.startswith("cont-qa-"):
        report = report_path(run.agent, ctx.wave, ctx.bindings)
        path = os.path.join(ctx.paths.root, report or "")
        line = last_line_with(path, "verdict:") if report else None
        if line is not None:
            return path, line
    line = line or last_line_with(run.log_path, "")
    return (run.log_path, line) if line else None


def _tag_of(code: str) -> str:
    """The tag of the marker that a status code speaks of, empty for none."""
    if code.startswith("cont-qa-"):
        return "wave-verdict"
    hint = hint_for(code)
    if hint is not None and hint.marker:
        return hint.marker
    return next((tag for tag in KIND_OF_TAG if tag in code or tag.replace("wave-", "") in code), "")


def _of_wave(ctx: WaveContext, detail: str) -> tuple[str, int] | None:
    """The latest version of the open coordination record that the detail names."""
    path = ctx.paths.coordination_log(ctx.number)
    for record in ctx.derived.coordination_state.open if ctx.derived else ():
        if record["id"] in detail:
            line = last_line_with(path, json.dumps(record["id"]))
            return (path, line) if line else None
    return None


def last_line_with(path: str, text: str) -> int | None:
    """Number of the last line that holds `text` in any case, None when there is none (or the file is very large)."""
    try:
        if os.path.getsize(path) > _TOO_LARGE_BYTES:
            return None
    except OSError:
        return None
    wanted = text.lower()
    numbers = [number for number, line in enumerate(read_text(path).splitlines(), 1) if wanted in line.lower()]
    return numbers[-1] if numbers else None
