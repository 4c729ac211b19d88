"""Terminal entries of the editor: one per agent that tails its log. Only projections; no agent lives in them.

Holds:       `<terminalsPath>.lock` while the file is changed.
Writes:      `<terminalsPath>`, and there only entries of this lane.
When killed: entries may stay; the next launch of the lane removes them.

Spec: SUP 18.1, LAUNCH 3.1 step 16, 7.8.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Callable

from ..base.files import read_text, write_json
from ..base.locks import locked
from ..base.processes import self_command

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from .wave_context import LaneRun, WaveContext

Entries = "list[dict[str, Any]]"
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.S)
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(\s*[}\]])', re.S)


def used(lane: LaneRun) -> bool:
    """Whether this launch shows itself in the editor's terminals."""
    return lane.surface == "vscode" and lane.options.dashboard and not lane.options.dry_run


def open_lane(lane: LaneRun) -> None:
    """Remove what an earlier launch left, add the global dashboard; tmux needs nothing from the launcher."""
    if lane.surface == "tmux" and not lane.options.dashboard:
        lane.console.say("[terminal-surface] tmux is only a projection of the dashboards and is not needed here.")
    if used(lane):
        entry = _dashboard(lane.paths, lane.paths.global_dashboard_terminal_name, "global")
        _change(lane, lambda entries: [*_others(entries, lane.paths), entry])


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


def close_wave(ctx: WaveContext) -> None:
    """Temporary entries go, unless they are to be kept. Spec: LAUNCH 7.8."""
    if used(ctx.lane) and not ctx.lane.options.keep_terminals:
        prefix = f"{ctx.paths.terminal_name_prefix}{ctx.number}-"
        _change(ctx.lane, lambda entries: [item for item in entries if not str(item.get("name")).startswith(prefix)])


def close_lane(lane: LaneRun) -> None:
    """All entries of the lane go at the end of the launch."""
    if used(lane) and not lane.options.keep_terminals:
        _change(lane, lambda entries: _others(entries, lane.paths))


def current_dashboard_name(paths: LanePaths) -> str:
    """`Current Wave Dashboard`, with the lane or project where they are not the usual ones. Spec: SUP 18.1."""
    if paths.profile.explicit_project:
        return f"Current Wave Dashboard ({paths.project_id}/{paths.lane})"
    return "Current Wave Dashboard" if paths.lane == "main" else f"Current Wave Dashboard ({paths.lane})"


def _dashboard(paths: LanePaths, name: str, which: str) -> dict[str, Any]:
    words = [*self_command(), "dashboard", "--project", paths.project_id, "--lane", paths.lane, "--attach", which]
    inner = f"cd {_quoted(paths.root)} && {' '.join(map(_quoted, words))}"
    return {"name": name, "icon": "pulse", "color": "terminal.ansiBlue", "command": f'bash -lc "{inner}"'}


def _agent(name: str, log_path: str) -> dict[str, Any]:
    folder, log = _quoted(log_path.rpartition("/")[0]), _quoted(log_path)
    inner = f"mkdir -p {folder} && touch {log} && tail -n 200 -F {log}"
    return {
        "name": name,
        "icon": "circuit-board",
        "color": "terminal.ansiBrightMagenta",
        "command": f'bash -lc "{inner}"',
    }


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
