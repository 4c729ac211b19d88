"""`wave init` as a user meets it. Spec: WORK 2.3, 14 (4, 8-14)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from wave_lib.cli import main


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_init_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[wave:init] mode=fresh"
    assert lines[1].startswith("[wave:init] seeded files: ") and "wave.config.json" in lines[1]
    assert lines[2] == "[wave:init] install state: .wave/install-state.json"
    assert (tmp_path / "docs/plans/waves/wave-0.md").is_file()
    assert main(["init"]) == 0
    assert "[wave:init] mode=already-initialized" in capsys.readouterr().out


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".gitignore").write_text("x\n")
    assert main(["init", "--json"]) == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert list(document) == ["mode", "seededFiles", "adoptedFiles", "installStatePath", "state"]
    assert document["installStatePath"] == str(tmp_path / ".wave/install-state.json")
    assert document["state"] == json.loads((tmp_path / ".wave/install-state.json").read_text())
    assert ".gitignore lacks: .tmp/" in said.err


def test_the_ignore_entries_can_be_added_afterwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ignore = tmp_path / ".gitignore"
    ignore.write_text("*.o\n")
    assert main(["init"]) == 0
    assert "(--write-gitignore adds them)" in capsys.readouterr().err and ignore.read_text() == "*.o\n"
    assert main(["init", "--write-gitignore"]) == 0
    assert capsys.readouterr().err == ""
    text = ignore.read_text()
    assert text.startswith("*.o\n# Wave") and ".tmp/\n.wave/\n" in text
    assert main(["init", "--write-gitignore"]) == 0 and ignore.read_text() == text


@pytest.mark.parametrize(
    ("argv", "text"), [(["--bogus"], "Unknown argument: --bogus"), (["--adopt-existing", "--seed-missing"], "exclude")]
)
def test_usage_errors_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], text: str
) -> None:
    assert main(["init", *argv]) == 2
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wave.config.json").write_text("{}")
    assert main(["init"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert "--adopt-existing" in said.err and "--seed-missing" in said.err
    assert (tmp_path / "wave.config.json").read_text() == "{}"


def test_init_does_not_look_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wave.config.json").write_text("{}")
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert main(["init"]) == 0
    assert (tmp_path / "inner/wave.config.json").is_file()


def test_help_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--help"]) == 0
    assert "--seed-missing" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_seeded_workspace_is_sound_and_can_be_launched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert main(["init"]) == 0
    assert main(["doctor", "--json"]) == 0, capsys.readouterr().out
    assert main(["launch", "--dry-run", "--start-wave", "0", "--end-wave", "0"]) == 0
    assert (tmp_path / ".tmp/main-wave-launcher/dry-run").is_dir()
