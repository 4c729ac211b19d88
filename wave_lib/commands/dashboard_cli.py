"""`wave dashboard`: look at a wave or a launch, once or until it is over. Spec: SUP 19."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import LANE, POSITIVE, PROJECT, SWITCH, TEXT, Command, Flag, Parsed, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.lane_paths import LanePaths

TARGETS = ("current", "global")
REFRESH_MS = 2000

COMMAND = Command(
    "dashboard",
    "Show the dashboard of a wave or of a launch.",
    (
        Flag("--dashboard-file", TEXT, "show this file", metavar="path"),
        # TEXT, because its error has a wording of its own (SUP 19.1).
        Flag("--attach", TEXT, "follow the wave at work, or the whole launch", metavar="|".join(TARGETS)),
        PROJECT,
        LANE,
        Flag("--adhoc-run", TEXT, "the lane's ad-hoc run", metavar="id"),
        Flag("--message-board", TEXT, "show the end of this board", metavar="path", default="the wave's own"),
        Flag("--watch", SWITCH, "follow the file until nothing more happens"),
        Flag("--refresh-ms", POSITIVE, "longest pause between two looks", default=str(REFRESH_MS)),
        Flag("--no-color", SWITCH, "no colours"),
        Flag("--tmux", SWITCH, "attach to the launch's tmux session, if there is one"),
        Flag("--no-tmux", SWITCH, "never use tmux"),
    ),
    notes="Ctrl-C leaves; agents are not touched. --attach needs no tmux.",
)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave dashboard`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    file, target = given.text("dashboard-file"), given.text("attach")
    if target is not None and target not in TARGETS:
        raise UsageError(f"--attach must be one of: {', '.join(TARGETS)}")
    if file is None and target is None:
        raise UsageError("--dashboard-file is required unless --attach is used")
    if file is not None and target is not None:
        raise UsageError("--dashboard-file and --attach exclude each other")
    if given.has("tmux") and given.has("no-tmux"):
        raise UsageError("--tmux and --no-tmux exclude each other")
    from ..base.terminal import Style
    from ..runtime import dashboard_watch
    from ..runtime.dashboard_source import DashboardSource

    style = Style(False) if given.has("no-color") else Style.of(sys.stdout, os.environ)
    board = given.text("message-board")
    if board is not None:
        board = os.path.abspath(board)
    if target is None:
        source = DashboardSource(_paths_of_file(given, root), os.path.abspath(file or ""), "", board)
        if not given.has("watch"):
            return dashboard_watch.show_once(source, style)
    else:
        paths = _paths(given, root)
        source = DashboardSource(paths, None, target, board)
        if source.look().state is None:
            raise WaveError(
                f"No {target} dashboard has been written for lane {paths.lane}.",
                remedy=f"looked in {paths.rel(paths.dashboards_dir)}",
            )
        if _attached_to_tmux(given, paths, target):
            return ExitCode.DONE
    return dashboard_watch.follow(source, style, given.number("refresh-ms", REFRESH_MS))


def _paths(given: Parsed, root: str) -> LanePaths:
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths

    return build_lane_paths(
        load_wave_config(root), given.text("lane"), given.text("project"), adhoc_run_id=given.text("adhoc-run")
    )


def _paths_of_file(given: Parsed, root: str) -> LanePaths | None:
    """The lane that a named file may belong to. A file can be shown without any workspace around it."""
    named = any(given.has(name) for name in ("lane", "project", "adhoc-run"))
    try:
        return _paths(given, root)
    except WaveError:
        if named:
            raise
        return None


def _attached_to_tmux(given: Parsed, paths: LanePaths, target: str) -> bool:
    """Attach where the caller wants it, or where the project lives in tmux; False when it did not work out."""
    from ..base.terminal import is_terminal

    if given.has("no-tmux") or not is_terminal(sys.stdin) or not is_terminal(sys.stdout):
        return False
    from ..runtime import tmux_adapter

    if not given.has("tmux") and not _prefers_tmux(paths):
        return False
    session = paths.tmux_dashboard_session(target)
    if not tmux_adapter.installed() or not tmux_adapter.has_session(paths.tmux_socket_name, session):
        if given.has("tmux"):
            print(f"[wave] no tmux session {session}; following here instead", file=sys.stderr)
        return False
    return tmux_adapter.attach(paths.tmux_socket_name, session)


def _prefers_tmux(paths: LanePaths) -> bool:
    from ..definition.config import load_wave_config
    from ..definition.project_profile import read_profile

    profile = read_profile(load_wave_config(paths.root, paths.config_path), paths.project_id)
    return profile is not None and profile.default_terminal_surface == "tmux"
