"""`wave project` with piped answers and on a terminal, and the first launch of a project. Spec: WORK 4, LAUNCH 3.2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launch_lab import ROOT, LaunchLab
from terminal_lab import Terminal

from wave_lib.cli import main

ANSWERS = "yes\nDark-Factory\ntmux\nqa\n\n2\n\nProd\naws\n\nsome note\nStaging\n\n\ny\n\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wave.config.json").write_text('{"version": 1}')


def wave(root: Path, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(ROOT / "wave.py"), *arguments]
    return subprocess.run(argv, cwd=root, input=answers, capture_output=True, text=True, timeout=30, check=False)


def saved(root: Path) -> dict[str, Any]:
    return json.loads((root / ".wave/project-profile.json").read_text())


def test_show_without_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["project", "show"]) == 0
    assert capsys.readouterr().out == "[wave:project] no saved profile at .wave/project-profile.json\n"
    assert main(["project", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"profilePath": ".wave/project-profile.json", "profile": None}


def test_answers_from_a_pipe_in_the_order_of_the_questions(tmp_path: Path) -> None:
    done = wave(tmp_path, "project", "setup", "--json", answers=ANSWERS)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)  # questions are on stderr alone
    assert document["profile"] == saved(tmp_path)
    profile = document["profile"]
    assert profile["newProject"] is True and profile["defaultOversightMode"] == "dark-factory"
    assert profile["defaultTerminalSurface"] == "tmux"
    assert profile["plannerDefaults"] == {"template": "qa", "lane": "main"}
    assert profile["deployEnvironments"] == [
        {"id": "default", "name": "Prod", "kind": "aws", "isDefault": True, "notes": "some note"},
        {"id": "staging", "name": "staging", "kind": "custom", "isDefault": False, "notes": None},
    ]
    for promise in ("detached processes", "only viewing", "0 environments is fine", "dark-factory", "`infra`"):
        assert promise in done.stderr
    assert "Is this a new project? [n]: " in done.stderr


def test_the_end_of_the_input_takes_the_defaults_that_were_saved(tmp_path: Path) -> None:
    assert wave(tmp_path, "project", "setup", answers=ANSWERS).returncode == 0
    before = saved(tmp_path)
    done = wave(tmp_path, "project", "setup", answers="no")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "[wave:project] profile: .wave/project-profile.json",
        "[wave:project] project_id=default",
        "[wave:project] lane=main",
        "[wave:project] template=qa",
        "[wave:project] oversight=dark-factory",
        "[wave:project] terminal_surface=tmux",
    ]
    after = saved(tmp_path)
    assert after == {**before, "newProject": False, "updatedAt": after["updatedAt"]}


@pytest.mark.parametrize("answers, question", [("maybe\n", "new project"), ("\n\n\n\n\n-1\n", "How many deploy")])
def test_a_wrong_piped_answer_names_its_question_and_changes_nothing(
    tmp_path: Path, answers: str, question: str
) -> None:
    done = wave(tmp_path, "project", "setup", answers=answers)
    assert done.returncode == 1 and done.stdout == ""
    assert question in done.stderr.splitlines()[-1]
    assert not (tmp_path / ".wave").exists()


def test_defaults_asks_nothing_and_mends_a_lane_that_has_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["project", "setup", "--defaults"]) == 0
    assert capsys.readouterr().err == ""
    profile = saved(tmp_path)
    profile["plannerDefaults"]["lane"] = "gone"
    (tmp_path / ".wave/project-profile.json").write_text(json.dumps(profile))
    assert main(["project", "setup", "--defaults"]) == 0
    assert "'gone' is no longer among main" in capsys.readouterr().err
    assert saved(tmp_path)["plannerDefaults"]["lane"] == "main"
    assert main(["project", "show"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "[wave:project] project_id=default",
        "[wave:project] project=Wave Orchestrator",
        "[wave:project] lane=main",
        "[wave:project] template=implementation",
        "[wave:project] new_project=no",
        "[wave:project] deploy_envs=0",
    ]


def test_every_project_has_its_own_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wave.config.json").write_text('{"defaultProject": "app", "projects": {"app": {}, "api": {}}}')
    assert main(["project", "setup", "--project", "api", "--defaults"]) == 0
    path = tmp_path / ".wave/projects/api/project-profile.json"
    assert json.loads(path.read_text())["source"]["projectId"] == "api"
    assert main(["project", "show", "--project", "app"]) == 0
    assert "no saved profile at .wave/projects/app/" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, code",
    [(["show", "--project", "nope"], 1), (["mend"], 2), (["show", "--defaults"], 2), (["setup", "--bogus"], 2)],
)
def test_wrong_use_changes_nothing(tmp_path: Path, argv: list[str], code: int) -> None:
    assert main(["project", *argv]) == code
    assert not (tmp_path / ".wave").exists()


def test_a_terminal_is_asked_again(tmp_path: Path) -> None:
    with Terminal([sys.executable, str(ROOT / "wave.py"), "project", "setup"], tmp_path) as terminal:
        terminal.expect("Is this a new project? [n]: ")
        terminal.send("perhaps\n")
        terminal.expect("Expected y or n.")
        terminal.send("y\n" + "\n" * 5)
        assert terminal.end() == 0
    assert saved(tmp_path)["newProject"] is True


def test_a_launch_on_a_terminal_sets_the_project_up_once(tmp_path: Path) -> None:
    lab = LaunchLab(tmp_path)
    argv = [sys.executable, str(ROOT / "wave.py"), "launch", "--no-dashboard", "--agent-launch-stagger-ms", "0"]
    with Terminal(argv, tmp_path) as terminal:
        terminal.expect("Is this a new project?")
        terminal.send("\n\ntmux\n\n\n\n")
        terminal.expect("[terminal-surface]")  # the surface that was just chosen
        assert terminal.end() == 0
    assert saved(tmp_path)["defaultTerminalSurface"] == "tmux"
    with Terminal([*argv, "--start-wave", "0"], tmp_path) as terminal:
        assert terminal.end() == 0
        assert "new project" not in terminal.text
    assert lab.ran()


def test_a_launch_without_a_terminal_says_so_and_runs(tmp_path: Path) -> None:
    LaunchLab(tmp_path)
    done = wave(tmp_path, "launch", "--no-dashboard", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "notice" in line][1].endswith("creates one.")
    assert not os.path.exists(tmp_path / ".wave/project-profile.json")
