"""Where people watch: terminal entries of the editor, or tmux sessions. Only projections; no agent lives in them.

Holds:       `<terminalsPath>.lock` while the file is changed.
Writes:      `<terminalsPath>`, and there only entries of this lane; tmux sessions on the lane's own socket.
When killed: entries and sessions may stay; the next launch of the lane removes them.

Spec: SUP 18, LAUNCH 3.1 step 16, 7.8.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Callable

from ..base.files import read_text, write_json
from ..base.locks import locked
from ..base.processes import self_command
from . import tmux_adapter

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from .wave_context import LaneRun, WaveContext

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.S)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(\s*[}\]])', re.S)


def used(lane: LaneRun) -> bool:
    """Whether this launch shows itself in the editor's terminals."""
    return lane.surface == "vscode" and lane.options.dashboard and not lane.options.dry_run


def tmux_used(lane: LaneRun) -> bool:
    """Whether this launch shows itself in tmux, if there is one."""
    return lane.surface == "tmux" and lane.options.dashboard and not lane.options.dry_run


def open_lane(lane: LaneRun) -> None:
    """Remove what an earlier launch left, add the global dashboard."""
    if lane.surface == "tmux" and not lane.options.dashboard:
        lane.console.say("[terminal-surface] tmux is only a projection of the dashboards and is not needed here.")
    if used(lane):
        entry = _dashboard(lane.paths, lane.paths.global_dashboard_terminal_name, "global")
        _change(lane, lambda entries: [*_others(entries, lane.paths), entry])
    if tmux_used(lane):
        if tmux_adapter.installed():
            _end_sessions(lane)
            _open_session(lane, "global")
        else:
            lane.console.warn("[wave] warning: there is no tmux here; `wave dashboard --attach global` shows the same")


def add_agents(ctx: WaveContext) -> None:
    """An entry for every agent of the wave. Spec: LAUNCH 7.2 step 4."""
    if not used(ctx.lane):
        return
    paths = ctx.paths
    added = [
        _agent(f"{paths.terminal_name_prefix}{ctx.number}-{run.agent.slug}", run.log_path) for run in ctx.runs.values()
    ]
    _change(ctx.lane, lambda entries: _replaced(entries, added))


def open_dashboard(ctx: WaveContext) -> None:
    """The entry of the current dashboard. Spec: LAUNCH 7.2 step 8."""
    if used(ctx.lane):
        entry = _dashboard(ctx.paths, current_dashboard_name(ctx.paths), "current")
        _change(ctx.lane, lambda entries: _replaced(entries, [entry]))
    if tmux_used(ctx.lane) and tmux_adapter.installed():
        _open_session(ctx.lane, "current")


def close_wave(ctx: WaveContext) -> None:
    """Temporary entries go, unless they are to be kept. Spec: LAUNCH 7.8."""
    if used(ctx.lane) and not ctx.lane.options.keep_terminals:
        prefix = f"{ctx.paths.terminal_name_prefix}{ctx.number}-"
        _change(ctx.lane, lambda entries: [item for item in entries if not str(item.get("name")).startswith(prefix)])
    if tmux_used(ctx.lane) and ctx.lane.options.cleanup_sessions and tmux_adapter.installed():
        tmux_adapter.kill_session(ctx.paths.tmux_socket_name, ctx.paths.tmux_dashboard_session("current"))


def close_lane(lane: LaneRun) -> None:
    """All entries of the lane go at the end of the launch."""
    if used(lane) and not lane.options.keep_terminals:
        _change(lane, lambda entries: _others(entries, lane.paths))
    if tmux_used(lane) and lane.options.cleanup_sessions and tmux_adapter.installed():
        _end_sessions(lane)


def _open_session(lane: LaneRun, which: str) -> None:
    """A tmux session with a dashboard; a tmux that fails is worth one warning and nothing else. Spec: SUP 18.2."""
    paths = lane.paths
    argv = [*_dashboard_words(paths, which), "--no-tmux"]
    result = tmux_adapter.new_session(paths.tmux_socket_name, paths.tmux_dashboard_session(which), paths.root, argv)
    if not result.ok:
        lane.console.warn(f"[wave] warning: no tmux session for the {which} dashboard: {result.output}")


def _end_sessions(lane: LaneRun) -> None:
    for which in ("current", "global"):
        tmux_adapter.kill_session(lane.paths.tmux_socket_name, lane.paths.tmux_dashboard_session(which))


def current_dashboard_name(paths: LanePaths) -> str:
    """`Current Wave Dashboard`, with the lane or project where they are not the usual ones. Spec: SUP 18.1."""
    if paths.profile.explicit_project:
        return f"Current Wave Dashboard ({paths.project_id}/{paths.lane})"
    return "Current Wave Dashboard" if paths.lane == "main" else f"Current Wave Dashboard ({paths.lane})"


def _dashboard_words(paths: LanePaths, which: str) -> list[str]:
    words = [*self_command(), "dashboard", "--project", paths.project_id, "--lane", paths.lane, "--attach", which]
    return [*words, "--adhoc-run", paths.run_id] if paths.run_id else words


def _dashboard(paths: LanePaths, name: str, which: str) -> dict[str, Any]:
    inner = f"cd {_quoted(paths.root)} && {' '.join(map(_quoted, _dashboard_words(paths, which)))}"
    return {"name": name, "icon": "pulse", "color": "terminal.ansiBlue", "command": _in_bash(inner)}


def _agent(name: str, log_path: str) -> dict[str, Any]:
    folder, log = _quoted(log_path.rpartition("/")[0]), _quoted(log_path)
    inner = f"mkdir -p {folder} && touch {log} && tail -n 200 -F {log}"
    return {
        "name": name,
        "icon": "circuit-board",
        "color": "terminal.ansiBrightMagenta",
        "command": _in_bash(inner),
    }


def _in_bash(inner: str) -> str:
    """The whole as one word in double quotes; what a shell would expand inside them is kept as it is."""
    return 'bash -lc "' + re.sub(r'(["\\$`])', r"\\\1", inner) + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _replaced(entries: list[dict[str, Any]], added: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {item["name"] for item in added}
    return [*(item for item in entries if item.get("name") not in names), *added]


def _others(entries: list[dict[str, Any]], paths: LanePaths) -> list[dict[str, Any]]:
    """Entries that are not of this lane. Spec: SUP 18.1 (removal)."""
    ours = re.compile(rf"{re.escape(paths.terminal_name_prefix)}\d+-")
    dashboards = (current_dashboard_name(paths), paths.global_dashboard_terminal_name)
    return [item for item in entries if item.get("name") not in dashboards and not ours.match(str(item.get("name")))]


def _change(lane: LaneRun, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    path = lane.paths.terminals
    with locked(path + ".lock"):
        document = _read(path)
        if document is None:
            lane.console.warn(f"[wave] warning: {lane.paths.rel(path)} cannot be read as JSON; it is left as it is")
            return
        terminals = document.get("terminals")
        entries = [item for item in terminals if isinstance(item, dict)] if isinstance(terminals, list) else []
        changed = change(entries)
        if changed != entries:
            autorun, env = document.get("autorun", True), document.get("env")
            write_json(
                path,
                {**document, "terminals": changed, "autorun": autorun, "env": env if isinstance(env, dict) else {}},
                durable=False,
                mode=0o644,
            )


def _read(path: str) -> dict[str, Any] | None:
    """The document, comments and trailing commas tolerated; None when it still does not parse."""
    text = read_text(path)
    if not text.strip():
        return {}
    text = _COMMENT.sub(lambda found: found[1] or "", text)
    text = _TRAILING_COMMA.sub(lambda found: found[1] or found[2], text)
    try:
        document = json.loads(text)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
