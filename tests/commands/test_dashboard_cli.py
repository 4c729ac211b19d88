"""`wave dashboard`: which file, once or followed, on a terminal and off it. Spec: SUP 19.1, 19.3, 19.4."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from launch_lab import ROOT
from terminal_lab import Terminal

from wave_lib.base.locks import take
from wave_lib.base.timestamps import now_iso
from wave_lib.cli import main
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.runtime import tmux_adapter
from wave_lib.runtime.dashboard_source import DashboardSource, current_dashboard
from wave_lib.state import coordination_store

DASHBOARD = [sys.executable, str(ROOT / "wave.py"), "dashboard"]


class Lane:
    """Dashboards of a lane as a launcher would have left them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "wave.config.json").write_text('{"version": 1}')
        (root / "docs/plans/waves").mkdir(parents=True)
        self.paths = build_lane_paths(load_wave_config(str(root)))
        os.makedirs(self.paths.dashboards_dir)

    def wave(self, number: int, status: str = "running", age: float = 0, **fields: Any) -> str:
        """A wave dashboard that changed `age` seconds ago."""
        document = {"wave": number, "lane": "main", "status": status, "agents": [], "updatedAt": now_iso(), **fields}
        return self._put(self.paths.dashboard_wave(number), document, age)

    def overall(self, *waves: dict[str, Any], status: str = "running", age: float = 0) -> str:
        """The global dashboard."""
        return self._put(self.paths.global_dashboard, {"lane": "main", "status": status, "waves": list(waves)}, age)

    def _put(self, path: str, document: dict[str, Any], age: float) -> str:
        draft = Path(f"{path}.new")
        draft.write_text(json.dumps(document))
        at = time.time() - age
        os.utime(draft, (at, at))
        os.replace(draft, path)
        return path


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    monkeypatch.chdir(tmp_path)
    return Lane(tmp_path)


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "--dashboard-file is required unless --attach is used"),
        (["--attach", "all"], "--attach must be one of: current, global"),
        (["--attach", "current", "--refresh-ms", "abc"], "--refresh-ms must be a positive integer"),
        (["--attach", "current", "--tmux", "--no-tmux"], "exclude each other"),
        (["--bogus"], "Unknown argument: --bogus"),
    ],
)
def test_usage_errors(lane: Lane, capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert main(["dashboard", *argv]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"kind": "other"}'])
def test_a_file_that_is_no_dashboard(lane: Lane, capsys: pytest.CaptureFixture[str], content: str | None) -> None:
    path = lane.root / "d.json"
    if content is not None:
        path.write_text(content)
    assert main(["dashboard", "--dashboard-file", "d.json"]) == 1
    assert capsys.readouterr().out == f"Dashboard file not found or invalid: {path}\n"


def test_nothing_written_yet(lane: Lane, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("current", "global"):
        assert main(["dashboard", "--attach", target]) == 1
        error = capsys.readouterr().err
        assert f"No {target} dashboard has been written for lane main." in error
        assert ".tmp/main-wave-launcher/dashboards" in error


def test_one_look_at_a_file_with_its_board(lane: Lane, capsys: pytest.CaptureFixture[str]) -> None:
    (lane.root / "board.md").write_text("# Board\n\x1b[2Jnasty\n")
    path = lane.wave(0, messageBoardPath="board.md")
    record = {"id": "r1", "kind": "request", "agentId": "A1", "source": "agent", "targets": ["agent:A2"]}
    coordination_store.append_record(lane.paths, 0, {**record, "summary": "please", "priority": "high"})
    before = sorted(map(str, lane.root.rglob("*")))
    assert main(["dashboard", "--dashboard-file", path]) == 0
    said = capsys.readouterr().out
    assert "Board comms: requests=1 unresolved=1 unacknowledged=1" in said
    assert said.endswith("Path: board.md\n# Board\nnasty\n") and "\x1b" not in said
    assert "status=running (stale: no launcher running)" in said
    assert sorted(map(str, lane.root.rglob("*"))) == before  # a reader writes nothing


def test_a_file_needs_no_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.json").write_text('{"agents": [], "wave": 1, "status": "running"}')
    assert main(["dashboard", "--dashboard-file", "d.json"]) == 0
    assert "wave=1 | status=running | attempt" in capsys.readouterr().out


# --- which dashboard is current -------------------------------------------------------------------------------------


def test_current_is_the_wave_at_work(lane: Lane) -> None:
    for number in range(4):
        lane.wave(number)
    done = {"wave": 3, "status": "completed", "completedAt": "2026-01-09T00:00:00.000Z"}
    first = {"wave": 0, "status": "running", "startedAt": "2026-01-02T00:00:00.000Z"}
    later = {"wave": 1, "status": "running", "startedAt": "2026-01-03T00:00:00.000Z"}
    waiting = {"wave": 2, "status": "pending", "startedAt": None}
    lane.overall(done, first, later, waiting)
    assert current_dashboard(lane.paths) == lane.paths.dashboard_wave(1)
    lane.overall(done, {**later, "status": "blocked"})
    assert current_dashboard(lane.paths) == lane.paths.dashboard_wave(3)


def test_without_its_file_the_newest_one_counts(lane: Lane) -> None:
    lane.overall({"wave": 9, "status": "running"})
    assert current_dashboard(lane.paths) == lane.paths.global_dashboard
    lane.wave(2, age=50)
    lane.wave(1, age=20)
    assert current_dashboard(lane.paths) == lane.paths.dashboard_wave(1)


def test_stale_only_without_launcher_and_waiting_run(lane: Lane) -> None:
    lane.wave(0)
    source = DashboardSource(lane.paths, None, "current")
    assert source.is_stale(source.look().state or {})
    assert not source.is_stale({"status": "blocked"})
    lock = take(lane.paths.launcher_lock)
    assert lock is not None and not source.is_stale({"status": "running"})
    lock.close()
    run = Path(lane.paths.supervisor_runs_dir) / "r1"
    run.mkdir(parents=True)
    for state, stale in (
        ({"status": "pending"}, False),
        ({"status": "running", "recoveryState": "resuming"}, False),
        ({"status": "completed", "terminalDisposition": "completed"}, True),
    ):
        (run / "state.json").write_text(json.dumps(state))
        assert source.is_stale({"status": "running"}) is stale


# --- following ------------------------------------------------------------------------------------------------------


def follow(lane: Lane, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DASHBOARD, *arguments], cwd=lane.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("status", ["completed", "failed", "timed_out", "blocked", "running"])
def test_what_is_over_and_quiet_is_shown_once(lane: Lane, status: str) -> None:
    lane.wave(0, status, age=16)  # a running one without a launcher is over as well
    with follow(lane, "--attach", "current") as child:
        out, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    assert out.count("Wave Dashboard") == 1 and f"status={status}" in out


def test_off_a_terminal_a_frame_is_printed_when_something_changed(lane: Lane) -> None:
    lock = take(lane.paths.launcher_lock)  # somebody runs, so nothing is stale
    assert lock is not None
    lane.wave(0)
    lane.overall({"wave": 0, "status": "running"})
    with follow(lane, "--attach", "current", "--refresh-ms", "20") as child:
        assert child.stdout is not None
        assert "wave=0" in child.stdout.readline()
        lane.wave(1, "running")
        lane.overall({"wave": 0, "status": "completed"}, {"wave": 1, "status": "running"})  # it moves on
        seen = [child.stdout.readline()]
        while "wave=1" not in seen[-1]:
            seen.append(child.stdout.readline())
            assert seen[-1]
        lane.overall({"wave": 0, "status": "completed"}, {"wave": 1, "status": "completed"}, age=20)
        lane.wave(1, "completed", age=20)
        rest = child.stdout.read()
        assert child.wait(20) == 0
    lock.close()
    assert sum("wave=0" in item for item in seen) == 0
    assert rest.count("status=completed") == 1


def test_a_terminal_is_redrawn_in_place_until_ctrl_c(lane: Lane) -> None:
    lock = take(lane.paths.launcher_lock)
    assert lock is not None
    path = lane.wave(0, events=[{"at": now_iso(), "level": "info", "message": f"m{n}"} for n in range(30)])
    argv = [*DASHBOARD, "--dashboard-file", path, "--watch", "--refresh-ms", "50"]
    with Terminal(argv, lane.root, columns=60, rows=12) as terminal:
        terminal.expect("\x1b[?25l\x1b[2J\x1b[H")
        terminal.expect("\x1b[36mrunning")
        terminal.expect("more lines")
        terminal.expect("\x1b[H")
        assert terminal.text.count("\x1b[2J") == 1  # cleared once, then written over
        terminal.resize(100, 40)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.expect("\x1b[2J")
        terminal.expect("Rolling message board")
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.end() == 130
        assert terminal.text.rstrip().endswith("\x1b[?25h")
    lock.close()


def test_no_color(lane: Lane) -> None:
    path = lane.wave(0, "completed", age=16)
    for argv, env in (([*DASHBOARD, "--no-color"], {}), (DASHBOARD, {"NO_COLOR": "1"})):
        with Terminal([*argv, "--dashboard-file", path], lane.root, **env) as terminal:
            assert terminal.end() == 0
            assert "status=completed" in terminal.text and "\x1b" not in terminal.text


@pytest.mark.skipif(not tmux_adapter.installed(), reason="no tmux here")
def test_tmux_is_attached_to_where_there_is_a_session(lane: Lane) -> None:
    lane.wave(0, "completed", age=16)
    lane.overall({"wave": 0, "status": "completed"}, status="completed", age=16)
    with Terminal([*DASHBOARD, "--attach", "global", "--tmux"], lane.root) as terminal:
        terminal.expect("following here instead")
        assert terminal.end() == 0 and "Wave Global Dashboard" in terminal.text
    socket, session = lane.paths.tmux_socket_name, lane.paths.tmux_dashboard_session("global")
    assert tmux_adapter.new_session(socket, session, str(lane.root), ["sh", "-c", "echo in the session; read x"]).ok
    try:
        with Terminal([*DASHBOARD, "--attach", "global", "--tmux"], lane.root) as terminal:
            terminal.expect("in the session")
            terminal.send("\n")  # the session's program ends, and with it the session
            assert terminal.end() == 0
    finally:
        tmux_adapter.tmux(socket, "kill-server")
