"""Where the evidence for a refusal stands: the line of an agent's log that a gate went by.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base.files import read_text
from ..projections.explanations import hint_for

if TYPE_CHECKING:
    from .wave_context import WaveContext

_TOO_LARGE_BYTES = 4 << 20


def find(ctx: WaveContext, failures: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Agent id -> `<log>:<line>` of the marker that explains its failure, where one is found."""
    found = {}
    for failure in failures:
        agent_id, hint = str(failure.get("agentId")), hint_for(str(failure.get("statusCode")))
        if agent_id not in ctx.runs or hint is None or not hint.marker:
            continue
        path = ctx.runs[agent_id].log_path
        line = last_line_with(path, f"[{hint.marker}]")
        if line is not None:
            found[agent_id] = f"{ctx.paths.rel(path)}:{line}"
    return found


def last_line_with(path: str, text: str) -> int | None:
    """Number of the last line that holds `text`, None when there is none (or the file is very large)."""
    try:
        if os.path.getsize(path) > _TOO_LARGE_BYTES:
            return None
    except OSError:
        return None
    numbers = [number for number, line in enumerate(read_text(path).split("\n"), 1) if text in line]
    return numbers[-1] if numbers else None
