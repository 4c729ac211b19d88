"""The router: global options, help, versions, errors and exit codes, run as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wave_lib import __version__, cli

ROOT = Path(__file__).resolve().parents[1]


def wave(*argv: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "wave.py"), *argv],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("argv", [[], ["help"], ["-h"], ["--help"]])
def test_help_lists_every_command_on_stdout(tmp_path: Path, argv: list[str]) -> None:
    done = wave(*argv, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage:\n  wave ") and "--repo-root <path>" in done.stdout
    assert all(f"\n  wave {entry.synopsis}\n" in done.stdout for entry in cli.COMMANDS if not entry.hidden)


@pytest.mark.parametrize("name", [entry.name for entry in cli.COMMANDS if not entry.hidden])
def test_every_command_explains_itself_before_any_side_effect(tmp_path: Path, name: str) -> None:
    done = wave(name, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage:")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [["version"], ["-V"], ["--version"]])
def test_version(tmp_path: Path, argv: list[str]) -> None:
    assert wave(*argv, cwd=tmp_path).stdout == f"wave {__version__}\n"
    assert json.loads(wave("version", "--json", cwd=tmp_path).stdout)["packageVersion"] == __version__


@pytest.mark.parametrize(("word", "hint"), [("lanch", "did you mean `wave launch`?"), ("zzzzzz", "")])
def test_an_unknown_command_is_a_usage_error_with_the_likely_one(tmp_path: Path, word: str, hint: str) -> None:
    done = wave(word, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"[wave] Unknown subcommand: {word}") and first.endswith(hint or word)


@pytest.mark.parametrize("argv", [["--repo-root"], ["--repo-root="], ["--repo-root", "nowhere"]])
def test_a_repository_that_is_none_is_a_usage_error(tmp_path: Path, argv: list[str]) -> None:
    done = wave("doctor", *argv, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("[wave] ") and done.stderr.count("\n") == 1


def test_a_command_works_from_any_folder_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "wave.config.json").write_text("{}")
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    shown = json.loads(wave("doctor", "--json", cwd=below).stdout)
    assert shown["workspaceRoot"] == str(tmp_path)
    elsewhere = json.loads(wave("doctor", "--json", "--repo-root", str(tmp_path), cwd=ROOT).stdout)
    assert elsewhere["workspaceRoot"] == str(tmp_path)


def test_init_makes_a_workspace_here_even_inside_another(tmp_path: Path) -> None:
    (tmp_path / "wave.config.json").write_text("{}")
    inner = tmp_path / "inner"
    inner.mkdir()
    assert wave("init", cwd=inner).returncode == 0
    assert (inner / "wave.config.json").exists() and (inner / ".wave" / "install-state.json").exists()


def test_an_unexpected_error_is_one_line_and_a_traceback_on_request(tmp_path: Path) -> None:
    code = "from wave_lib import cli; cli._dispatch = lambda words: 1 / 0; raise SystemExit(cli.main(['help']))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("[wave] unexpected ZeroDivisionError") and done.stderr.count("\n") == 1
    env["WAVE_DEBUG"] = "1"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
