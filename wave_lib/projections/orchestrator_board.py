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

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def append_board_entry(
    path: str,
    *,
    lane: str,
    orchestrator_id: str,
    event: str,
    status: str,
    now: str,
    waves: Iterable[int] = (),
    details: str = "",
    action: str = "",
) -> None:
    """Append one entry to the board at `path` in one locked write; the board is created on first use."""
    numbers = ", ".join(str(number) for number in waves)
    entry = (
        f"\n## {now} | Lane {lane} | Orchestrator {orchestrator_token(orchestrator_id) or 'n/a'}\n"
        f"- Event: {event}.\n"
        f"- Waves: {numbers or 'n/a'}.\n"
        f"- Status: {status}.\n"
        f"- Details: {compact(details, 1000) or 'n/a'}\n"
        f"- Action requested (if any): {' '.join(action.split()) or 'None.'}\n"
    )
    ensure_dir(os.path.dirname(path))
    with locked(path + ".flock"):
        append_text(path, entry if os.path.exists(path) else _HEADER + entry)
