"""The journal of all launchers of a repository, for people. Spec: COORD 21.5, LAUNCH 6.

Holds: the board's lock (`<board>.flock`) while it appends.
Writes: `<orchState>/messageboards/orchestrator.md`.
When killed: the board may lack its last entry; nothing reads it back.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..base.files import append_text, ensure_dir
from ..base.locks import locked
from ..base.text import compact
from ..base.timestamps import now_iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..definition.lane_paths import LanePaths

_HEADER = """# Orchestrator Board

Purpose: what the launchers of this repository do and what they wait for.

Rules:

- Entries are appended by launchers and never changed.
- An entry that asks for action names who has to act and what resolves it.

Entry format: event, waves, status, details, action requested.

## Entries
"""


def orchestrator_token(orchestrator_id: str) -> str:
    """An orchestrator id as it stands in the board and in requests: at most 64 characters of `[A-Za-z0-9._-]`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", orchestrator_id)[:64]


def board_entry(
    lane: str, orchestrator_id: str, event: str, status: str, details: str, action: str, waves: Iterable[int], stamp: str
) -> str:
    """The text of one entry."""
    numbers = ", ".join(str(number) for number in waves)
    return (
        f"\n## {stamp} | Lane {lane} | Orchestrator {orchestrator_token(orchestrator_id) or 'n/a'}\n"
        f"- Event: {event}.\n"
        f"- Waves: {numbers or 'n/a'}.\n"
        f"- Status: {status}.\n"
        f"- Details: {compact(details, 1000) or 'n/a'}\n"
        f"- Action requested (if any): {' '.join(action.split()) or 'None.'}\n"
    )


def append_board_entry(
    paths: LanePaths,
    event: str,
    status: str,
    details: str = "",
    *,
    waves: Iterable[int] = (),
    action: str = "",
    orchestrator_id: str = "",
) -> None:
    """Append one entry in one locked write; the board is created on first use."""
    path = paths.orchestrator_board
    who = orchestrator_id or paths.orchestrator_id or ""
    entry = board_entry(paths.lane, who, event, status, details, action, waves, now_iso())
    ensure_dir(os.path.dirname(path))
    with locked(path + ".flock"):
        append_text(path, entry if os.path.exists(path) else _HEADER + entry)
