"""`wave demo` as a new user meets it: nothing but Python, a real wave, an account, nothing left behind."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT
from waiting import wait_until

from wave_lib.cli import main
from wave_lib.runtime import demo
from wave_lib.runtime.demo_files import demo_files

AGENTS = ["A1", "A2", "A7", "A8", "A9", "A0"]
ARGV = [sys.executable, str(ROOT / "wave.py"), "demo"]


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment without HOME and programs, and a temporary folder with an awkward name."""
    folder = tmp_path / "tmp ö ✓"
    folder.mkdir()
    return {"TMPDIR": str(folder), "PATH": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}


def processes_in(folder: str) -> list[str]:
    """Command lines of processes that have to do with a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline") if os.path.isdir("/proc") else ():
        try:
            text = entry.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if folder in text:
            found.append(text)
    return found


def test_it_needs_nothing_and_leaves_nothing(tmp_path: Path, bare: dict[str, str]) -> None:
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(ARGV, cwd=here, env=bare, capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "\r" not in done.stdout and "\x1b" not in done.stdout
    started = [line.split()[2] for line in lines if " started on local" in line]
    assert sorted(started[:2]) + started[2:] == AGENTS
    ran = lines[lines.index("What ran") + 1 :][: len(AGENTS)]
    assert [line.split()[0] for line in ran] == AGENTS and all("exit 0" in line for line in ran)
    for label in ("Security review", "Integration gate", "Documentation closure", "cont-QA gate"):
        assert any(line.startswith(f"  pass  {label}") for line in lines)
    assert any(line.startswith("The wave is closed: 6 agents") for line in lines)
    assert list(here.iterdir()) == []
    wait_until(lambda: not processes_in(bare["TMPDIR"]), what="the agents to be gone")
    assert os.listdir(bare["TMPDIR"]) == []


def test_kept_it_shows_its_evidence_and_is_a_sound_workspace(tmp_path: Path, bare: dict[str, str]) -> None:
    keep = tmp_path / "kept ü"
    foreign = {"WAVE_SUPERVISOR_RUN_ID": "r1", "WAVE_SUPERVISOR_RUN_DIR": str(tmp_path / "other"), "WAVE_CLI": "x"}
    done = subprocess.run(
        [*ARGV, "--keep", keep.name, "--json"], cwd=tmp_path, env={**bare, **foreign}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is True and document["workspace"] == str(keep)
    assert [agent["agentId"] for agent in document["agents"]] == AGENTS
    roles = ["implementation", "implementation", "security", "integration", "documentation", "cont-qa"]
    assert [agent["role"] for agent in document["agents"]] == roles
    for agent in document["agents"]:
        assert agent["exitCode"] == 0 and agent["seconds"] > 0
        assert "[wave-" in (keep / agent["logPath"]).read_text(encoding="utf-8")
        assert json.loads((keep / agent["resultPath"]).read_text(encoding="utf-8"))["agentId"] == agent["agentId"]
    assert len(document["gates"]) >= 10 and all(gate["ok"] for gate in document["gates"])
    assert len(document["evidence"]) == 7 and all((keep / path).exists() for path in document["evidence"].values())
    assert (keep / "src/greeting.py").is_file()
    assert json.loads((keep / document["evidence"]["what is completed"]).read_text())["completedWaves"] == [0]
    assert not (tmp_path / "other").exists()
    assert main(["--repo-root", str(keep), "doctor"]) == 0
    again = subprocess.run([*ARGV, "--keep", str(keep)], cwd=tmp_path, env=bare, capture_output=True, text=True)
    assert again.returncode == 2 and "is not empty" in again.stderr and again.stdout == ""


def test_on_a_terminal_one_line_is_written_over(tmp_path: Path, bare: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        ARGV, cwd=tmp_path, env={**bare, "TERM": "xterm"}, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert child.wait(timeout=30) == 0
    text = shown.decode("utf-8")
    assert "\r\x1b[Kwave 0 attempt 1" in text
    assert "\x1b[32mpass\x1b[0m" in text


def test_a_wave_that_does_not_close_is_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    matrix = "docs/plans/component-cutover-matrix.json"

    def unproven(config: dict[str, object]) -> dict[str, str]:
        files = demo_files(config)
        behind = files[matrix].replace('"currentLevel": "repo-landed"', '"currentLevel": "inventoried"')
        return {**files, matrix: behind}

    monkeypatch.setattr(demo, "demo_files", unproven)
    assert main(["demo"]) != 0
    said = capsys.readouterr().out
    kept = list(tmp_path.glob("wave-demo-*"))
    assert len(kept) == 1
    assert "The wave is not closed" in said and f"Look around: {kept[0]}" in said
    assert "component-current-level-stale  Component matrix update" in said


def test_a_launch_that_fails_names_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(demo, "demo_files", lambda config: {"docs/plans/waves/wave-0.md": "# Wave 1\n"})
    assert main(["demo"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "the workspace is kept: " in line]
    assert len(errors) == 1 and "wave-0.md" in errors[0]
    assert [str(path) in errors[0] for path in tmp_path.glob("wave-demo-*")] == [True]


def test_a_file_is_no_place_for_a_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["demo", "--keep", str(tmp_path / "file")]) == 2
    assert "--keep" in capsys.readouterr().err
    assert main(["demo", "--help"]) == 0
