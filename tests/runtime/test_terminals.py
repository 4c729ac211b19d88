"""Editor terminals and tmux sessions: projections that come and go, and never stop a launch. Spec: SUP 18."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from launch_lab import LaunchLab
from waiting import wait_until

from wave_lib.base.event_loop import EventLoop
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_files import parse_wave_file
from wave_lib.runtime import terminals, tmux_adapter
from wave_lib.runtime.console import Console
from wave_lib.runtime.launcher_options import LauncherOptions
from wave_lib.runtime.wave_context import LaneRun, WaveContext

needs_tmux = pytest.mark.skipif(not tmux_adapter.installed(), reason="no tmux here")


def opened(root: Path, surface: str = "vscode", **options: Any) -> WaveContext:
    """Wave 0 of a lane, as the launcher holds it."""
    root.mkdir(exist_ok=True)
    LaunchLab(root)
    paths = build_lane_paths(load_wave_config(str(root)))
    with EventLoop() as loop:
        lane = LaneRun(paths, LauncherOptions(**options), Console(), loop)
    lane.surface = surface
    wave = parse_wave_file(paths.wave_file(0), paths.profile, paths.root)
    return WaveContext(lane, wave, resolve_wave_role_bindings(wave, paths.profile.roles))


def document(root: Path) -> dict[str, Any]:
    return json.loads((root / ".vscode/terminals.json").read_text())


def names(root: Path) -> list[str]:
    return [item["name"] for item in document(root)["terminals"]]


def test_entries_come_and_go_and_leave_the_rest_alone(tmp_path: Path) -> None:
    ctx = opened(tmp_path)
    kept = ["mine", "default-main-wave-notes", "default-main-wavelet-wave0-x", "default-main2-wave1-a1"]
    left_over = "default-main-wave7-a1"
    own = {"terminals": [{"name": name} for name in [*kept, left_over]], "autorun": False, "other": 1}
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/terminals.json").write_text("// mine\n" + json.dumps(own)[:-1] + ",}")
    terminals.open_lane(ctx.lane)
    terminals.add_agents(ctx)
    terminals.open_dashboard(ctx)
    added = [f"default-main-wave0-{run.agent.slug}" for run in ctx.runs.values()]
    assert names(tmp_path) == [*kept, "default-main-wave-dashboard-global", *added, "Current Wave Dashboard"]
    terminals.add_agents(ctx)
    assert len(names(tmp_path)) == len(set(names(tmp_path)))
    assert {key: document(tmp_path)[key] for key in ("autorun", "other", "env")} == {
        "autorun": False,
        "other": 1,
        "env": {},
    }
    terminals.close_wave(ctx)
    terminals.close_lane(ctx.lane)
    assert names(tmp_path) == kept


def test_commands_survive_every_name_of_a_folder(tmp_path: Path) -> None:
    root = tmp_path / """it's "$HOME" `x` \\ here"""
    ctx = opened(root)
    terminals.open_lane(ctx.lane)
    terminals.add_agents(ctx)
    by_name = {item["name"]: item["command"] for item in document(root)["terminals"]}
    # What bash is given to run, as the editor's shell hands it over.
    echoing = by_name["default-main-wave-dashboard-global"].replace("bash -lc", "printf %s")
    shown = shlex.split(subprocess.run(echoing, shell=True, capture_output=True, text=True, check=True).stdout)
    assert shown[:2] == ["cd", str(root)] and shown[-2:] == ["--attach", "global"]
    agent = next(command for name, command in by_name.items() if "-wave0-" in name)
    # What the editor's shell makes of it: the log's folder is made, the log is there and followed.
    shell = subprocess.Popen(agent, shell=True, stdout=subprocess.PIPE, text=True, start_new_session=True)
    log = Path(next(iter(ctx.runs.values())).log_path)
    try:
        wait_until(log.exists, what=str(log))
        log.write_text("hello\n")
        assert shell.stdout is not None and shell.stdout.readline() == "hello\n"
    finally:
        os.killpg(shell.pid, 9)
        shell.communicate()


@pytest.mark.parametrize("text", ["{", "[1]", '{"terminals": [}'])
def test_a_file_that_does_not_parse_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    ctx = opened(tmp_path)
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/terminals.json").write_text(text)
    terminals.open_lane(ctx.lane)
    assert (tmp_path / ".vscode/terminals.json").read_text() == text
    assert "terminals.json cannot be read as JSON" in capsys.readouterr().err


def test_wrong_members_are_replaced(tmp_path: Path) -> None:
    ctx = opened(tmp_path)
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/terminals.json").write_text('{"terminals": "x", "env": [], "keep": true}')
    terminals.open_lane(ctx.lane)
    assert names(tmp_path) == ["default-main-wave-dashboard-global"]
    assert {key: document(tmp_path)[key] for key in ("autorun", "env", "keep")} == {
        "autorun": True,
        "env": {},
        "keep": True,
    }


@pytest.mark.parametrize(
    "surface, options", [("none", {}), ("tmux", {}), ("vscode", {"dashboard": False}), ("vscode", {"dry_run": True})]
)
def test_other_surfaces_do_not_touch_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, surface: str, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # and no tmux is found either
    ctx = opened(tmp_path, surface, **options)
    terminals.open_lane(ctx.lane)
    terminals.add_agents(ctx)
    terminals.open_dashboard(ctx)
    terminals.close_wave(ctx)
    terminals.close_lane(ctx.lane)
    assert not (tmp_path / ".vscode").exists()


def test_without_tmux_there_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ctx = opened(tmp_path, "tmux")
    terminals.open_lane(ctx.lane)
    terminals.open_dashboard(ctx)
    terminals.close_wave(ctx)
    terminals.close_lane(ctx.lane)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "wave dashboard --attach global" in said[0]
    socket = ctx.paths.tmux_socket_name
    assert tmux_adapter.list_sessions(socket) == [] and not tmux_adapter.kill_session(socket, "x")
    assert tmux_adapter.tmux(socket, "ls").missing


def test_a_failing_tmux_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "tmux").write_text("#!/bin/sh\necho no room; exit 1\n")
    (programs / "tmux").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    ctx = opened(tmp_path / "repo", "tmux")
    terminals.open_lane(ctx.lane)
    assert "no tmux session for the global dashboard: no room" in capsys.readouterr().err


@needs_tmux
def test_tmux_sessions_show_the_dashboards(tmp_path: Path) -> None:
    ctx = opened(tmp_path, "tmux")
    socket = ctx.paths.tmux_socket_name
    current, overall = (ctx.paths.tmux_dashboard_session(target) for target in ("current", "global"))
    try:
        # A session of somebody else keeps the server, and with it the option, when the lane's own sessions end.
        assert tmux_adapter.new_session(socket, "other", str(tmp_path), ["sleep", "100"]).ok
        # What the sessions run ends at once, there being no dashboard; they are kept for the look at them.
        assert tmux_adapter.tmux(socket, "set-option", "-g", "remain-on-exit", "on").ok
        assert tmux_adapter.new_session(socket, current, str(tmp_path), ["sleep", "100"]).ok  # left by a killed launch
        terminals.open_lane(ctx.lane)
        assert sorted(tmux_adapter.list_sessions(socket)) == sorted(["other", overall])
        terminals.open_dashboard(ctx)
        assert sorted(tmux_adapter.list_sessions(socket)) == sorted(["other", current, overall])
        started = tmux_adapter.tmux(socket, "list-panes", "-a", "-F", "#{pane_start_command}").output
        assert "--attach current --no-tmux" in started and "--attach global --no-tmux" in started
        terminals.close_wave(ctx)
        assert sorted(tmux_adapter.list_sessions(socket)) == sorted(["other", overall])
        terminals.close_lane(ctx.lane)
        assert tmux_adapter.list_sessions(socket) == ["other"]
    finally:
        tmux_adapter.tmux(socket, "kill-server")


@needs_tmux
def test_sessions_may_be_kept(tmp_path: Path) -> None:
    ctx = opened(tmp_path, "tmux", cleanup_sessions=False)
    socket = ctx.paths.tmux_socket_name
    session = ctx.paths.tmux_dashboard_session("current")
    try:
        assert tmux_adapter.new_session(socket, session, str(tmp_path), ["sleep", "100"]).ok
        terminals.close_wave(ctx)
        terminals.close_lane(ctx.lane)
        assert tmux_adapter.has_session(socket, session)
        assert not tmux_adapter.has_session(socket, session[:-1])  # names count as a whole
    finally:
        tmux_adapter.tmux(socket, "kill-server")
