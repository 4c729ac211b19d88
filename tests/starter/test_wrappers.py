"""The wrapper scripts: how they find the program, what they print, and which code they end with. Spec: WORK 13.6."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wave_lib.definition.starter_data import starter_bytes

STATUS, WATCH = "scripts/wave-status.sh", "scripts/wave-watch.sh"


class Workspace:
    """Both scripts in a folder, and a stand-in for the program that notes its arguments and prints canned payloads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = root / "calls.txt"
        for script in (STATUS, WATCH):
            (root / script).parent.mkdir(parents=True, exist_ok=True)
            (root / script).write_bytes(starter_bytes(script))
            (root / script).chmod(0o755)
        self.stub = self.program(root / "stub" / "wave")

    def program(self, path: Path, code: int = 0) -> Path:
        """Prints payload-1, payload-2 … at successive calls, the last one for ever."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"#!{sys.executable}\n"
            "import os, sys\n"
            f"root = {str(self.root)!r}\n"
            "with open(root + '/calls.txt', 'a') as log: print(*sys.argv[1:], sep='\\t', file=log)\n"
            "count = sum(1 for _ in open(root + '/calls.txt'))\n"
            "while count > 1 and not os.path.exists('%s/payload-%d' % (root, count)): count -= 1\n"
            "print(open('%s/payload-%d' % (root, count)).read())\n"
            f"sys.exit({code})\n"
        )
        path.chmod(0o755)
        return path

    def payload(self, number: int = 1, **signal: Any) -> None:
        wave = {"lane": "main", "wave": 3, "phase": "running", "status": "running", "signal": "waiting", "version": 1,
                "blocking": None, "attempt": 1, "targetAgentIds": [], **signal}  # fmt: skip
        agent = {**wave, "agentId": "A1", "signal": "failed", "shouldWake": True, "version": 9}
        document = {"lane": "main", "wave": 3, "signals": {"wave": wave, "agents": [agent], "resident": None}}
        (self.root / f"payload-{number}").write_text(json.dumps(document))

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        environment.setdefault("WAVE_WRAPPER_ENTRY", str(self.stub))
        return subprocess.run(
            [str(self.root / script), *arguments],
            env={"PATH": os.environ["PATH"], "PYTHON": sys.executable, **environment},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=30,
        )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "a workspace ä"
    root.mkdir()
    return Workspace(root)


@pytest.mark.parametrize(
    ("signal", "code"), [("completed", 0), ("waiting", 10), ("stable", 10), ("feedback-requested", 20), ("failed", 40)]
)
def test_status_prints_one_line_and_ends_with_the_signals_code(workspace: Workspace, signal: str, code: int) -> None:
    workspace.payload(signal=signal, blocking={"kind": "human-input"}, targetAgentIds=["A1", "A2"])
    ended = workspace.run(STATUS, "--lane", "main", "--wave", "3", "--dry-run")
    assert ended.stdout == (
        f"signal={signal} lane=main wave=3 phase=running status=running blocking=human-input attempt=1 agents=A1,A2 "
        "version=1 should_wake=n/a\n"
    )
    assert (ended.returncode, ended.stderr) == (code, "")
    called = workspace.calls.read_text().rstrip("\n").split("\t")
    assert called == ["control", "status", "--lane", "main", "--wave", "3", "--dry-run", "--json", "--repo-root",
                      str(workspace.root)]  # fmt: skip


def test_status_of_an_agent(workspace: Workspace) -> None:
    workspace.payload()
    ended = workspace.run(STATUS, "--agent", "a1")
    assert " agent=A1 version=9 should_wake=yes" in ended.stdout and ended.returncode == 40
    assert workspace.run(STATUS, "--agent", "Z9").returncode == 1


def test_json_is_passed_through(workspace: Workspace) -> None:
    workspace.payload(signal="failed")
    ended = workspace.run(STATUS, "--json")
    assert json.loads(ended.stdout)["wave"] == 3 and ended.returncode == 0


@pytest.mark.parametrize("script", [STATUS, WATCH])
@pytest.mark.parametrize("arguments", [("--bogus",), ("--wave",), ("extra",)])
def test_wrong_usage_is_two_and_calls_nothing(workspace: Workspace, script: str, arguments: tuple[str, ...]) -> None:
    ended = workspace.run(script, *arguments)
    assert ended.returncode == 2 and "usage:" in ended.stderr and ended.stdout == ""
    assert not workspace.calls.exists()


@pytest.mark.parametrize("script", [STATUS, WATCH])
def test_a_failing_program_is_one(workspace: Workspace, script: str) -> None:
    workspace.payload()
    workspace.program(workspace.stub, code=7)
    assert workspace.run(script).returncode == 1
    (workspace.root / "payload-1").write_text("no json")
    workspace.program(workspace.stub)
    assert workspace.run(script).returncode == 1


def test_the_program_is_found_beside_the_scripts_or_not_at_all(workspace: Workspace, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("dirname", "date", "sleep"):
        (tools / name).symlink_to(shutil.which(name) or name)
    workspace.payload(signal="completed")
    bare = {"WAVE_WRAPPER_ENTRY": "", "PATH": str(tools)}
    ended = workspace.run(STATUS, **bare, PYTHON="no-python")  # the test's own may have the package installed
    assert ended.returncode == 2 and "no wave program found" in ended.stderr
    workspace.program(tools / "wave")
    assert workspace.run(STATUS, **bare).returncode == 0
    (tools / "wave").unlink()
    workspace.program(workspace.root / "wave.py")
    assert workspace.run(STATUS, **bare).returncode == 0


def test_watch_follows_until_the_wave_ends(workspace: Workspace) -> None:
    workspace.payload(1)
    workspace.payload(2)
    workspace.payload(3, version=2, phase="validating")
    workspace.payload(4, version=3, signal="completed")
    ended = workspace.run(WATCH, "--wave", "3", "--refresh-ms", "200")
    assert [line.rsplit(" ", 2)[1] for line in ended.stdout.splitlines()] == ["version=1", "version=2", "version=3"]
    assert ended.returncode == 0


def test_watch_until_change(workspace: Workspace) -> None:
    workspace.payload(1)
    workspace.payload(2, version=2)
    ended = workspace.run(WATCH, "--until-change", "--refresh-ms", "200")
    assert ended.returncode == 30 and len(ended.stdout.splitlines()) == 2


@pytest.mark.parametrize(("signal", "code"), [("waiting", 10), ("feedback-requested", 20), ("failed", 40)])
def test_watch_with_no_time_looks_once(workspace: Workspace, signal: str, code: int) -> None:
    workspace.payload(signal=signal)
    ended = workspace.run(WATCH, "--timeout-seconds", "0")
    assert ended.returncode == code and len(ended.stdout.splitlines()) == 1
