"""Which dashboard file is meant, what is in it, and whether anybody still writes it. Reads only.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: SUP 19.1, 19.3 (staleness), 19.4 (`current` is resolved at every refresh).
"""

from __future__ import annotations

import glob
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import Outcome, read_json, tail
from ..base.terminal import printable
from ..base.timestamps import iso_of, parse_iso
from ..engines.coordination_metrics import coordination_response_metrics
from ..projections.boards import analyze_text_board, board_health
from ..projections.dashboard_renderer import BOARD_LINES, ENDED, Board, is_global
from ..state.coordination_store import CoordinationLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

_WAVE_FILE = re.compile(r"wave-(\d+)\.json$")
_BOARD_CHARACTERS = 12_000
_OLD_BOARD_CHARACTERS = 1_000_000


class Frame(NamedTuple):
    """One look: the file that was chosen, its content (None: absent or no dashboard), when it last changed."""

    path: str
    state: JsonObject | None
    changed_at: float | None


class DashboardSource:
    """A file, or a target (`current`, `global`) of a lane that is resolved anew at every look.

    `paths` is None when no lane is known; then nothing can be said about launchers and coordination.
    """

    def __init__(self, paths: LanePaths | None, file: str | None, target: str, board: str | None = None) -> None:
        self.paths = paths
        self._file = file
        self._target = target
        self._board = board
        self._logs: dict[str, CoordinationLog] = {}
        if file is not None and paths is not None and os.path.dirname(file) != paths.dashboards_dir:
            self.paths = None  # some other tree's file: its launcher and its coordination log are unknown

    def look(self) -> Frame:
        """Read the dashboard as it is now."""
        path = self.path()
        return Frame(path, read_dashboard(path), _changed_at(path))

    def path(self) -> str:
        """The file meant now."""
        if self._file is not None or self.paths is None:
            return self._file or ""
        return self.paths.global_dashboard if self._target == "global" else current_dashboard(self.paths)

    def board(self, state: Mapping[str, Any]) -> Board:
        """The message board of a wave dashboard, with its health."""
        shown = self._board or state.get("messageBoardPath")
        if is_global(state) or not isinstance(shown, str) or not shown:
            return Board(problem="message board path unavailable")
        path = shown if os.path.isabs(shown) else os.path.join(self._root(), shown)
        health = self._health(state)
        if not os.path.isfile(path):
            return Board(shown, problem="message board missing", health=health)
        text = tail(path, _BOARD_CHARACTERS)
        lines = [printable(line).expandtabs(4).rstrip() for line in text.splitlines()]
        if not any(lines):
            return Board(shown, problem="message board currently empty", health=health)
        own_health = analyze_text_board(tail(path, _OLD_BOARD_CHARACTERS))  # None for a generated board
        return Board(shown, lines[-BOARD_LINES:], health=own_health or health)

    def is_stale(self, state: Mapping[str, Any]) -> bool:
        """Whether the document says that something goes on while nobody is there to go on. Spec: SUP 19.3."""
        if self.paths is None or state.get("status") in ENDED:
            return False
        from .wave_scene import launcher_is_active

        return not launcher_is_active(self.paths) and not _run_is_due(self.paths)

    def _root(self) -> str:
        return self.paths.root if self.paths is not None else os.getcwd()

    def _health(self, state: Mapping[str, Any]) -> JsonObject | None:
        wave = state.get("wave")
        if self.paths is None or not isinstance(wave, int) or wave < 0:
            return None
        path = self.paths.coordination_log(wave)
        if not os.path.isfile(path):
            return None
        log = self._logs.setdefault(path, CoordinationLog(path)).refresh()
        stamp = _now_of(state)
        return board_health(log, coordination_response_metrics(log, stamp))


def read_dashboard(path: str) -> JsonObject | None:
    """The document, None when the file is absent, torn or no dashboard."""
    reading = read_json(path)
    value = reading.value
    if reading.outcome is not Outcome.WHOLE or not isinstance(value, dict):
        return None
    return value if isinstance(value.get("agents"), list) or isinstance(value.get("waves"), list) else None


def current_dashboard(paths: LanePaths) -> str:
    """The wave dashboard that matters now, else the global one. Spec: SUP 19.4."""
    overall = read_dashboard(paths.global_dashboard) or {}
    entries = (wave for wave in overall.get("waves") or () if isinstance(wave, dict))
    waves = [wave for wave in entries if isinstance(wave.get("wave"), int) and wave["wave"] >= 0]
    if waves:
        chosen = paths.dashboard_wave(max(waves, key=_weight)["wave"])
        if os.path.isfile(chosen):
            return chosen
    found = [(path, _WAVE_FILE.search(path)) for path in glob.glob(f"{glob.escape(paths.dashboards_dir)}/wave-*.json")]
    rows = [(_changed_at(path) or 0.0, int(match[1]), path) for path, match in found if match]
    return max(rows)[2] if rows else paths.global_dashboard


def _weight(wave: Mapping[str, Any]) -> tuple[bool, float, int]:
    """Non-terminal first, then the one that changed last, then the highest number."""
    stamps = (parse_iso(wave.get(key)) for key in ("updatedAt", "completedAt", "startedAt"))
    return wave.get("status") not in ENDED, next((at for at in stamps if at is not None), 0.0), wave["wave"]


def _changed_at(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _now_of(state: Mapping[str, Any]) -> str:
    import time

    updated = parse_iso(state.get("updatedAt"))
    return iso_of(updated if state.get("status") in ENDED and updated is not None else time.time())


def _run_is_due(paths: LanePaths) -> bool:
    """Whether a supervised run of this root waits for its launcher: queued, or about to be resumed."""
    for path in glob.glob(f"{glob.escape(paths.supervisor_runs_dir)}/*/state.json"):
        run = read_json(path).value
        if not isinstance(run, dict):
            continue
        if run.get("status") == "pending" or run.get("recoveryState") == "resuming":
            return True
        if run.get("terminalDisposition") in ("launching", "launcher-lost", "launcher-lost-agents-running"):
            return True
    return False
