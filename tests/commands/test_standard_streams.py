"""Standard streams that are closed, full, or cannot show a character: no traceback, the right code, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

WAVE = [sys.executable, str(ROOT / "wave.py")]


def shell(line: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """One line of sh; `$@` is the command `wave`."""
    environment = {"PATH": os.defpath, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        ["sh", "-c", line, "sh", *WAVE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "<&-"])
@pytest.mark.parametrize("command", ["--help", "version --json", "demo"])
def test_a_closed_stream_is_no_error(tmp_path: Path, command: str, closed: str) -> None:
    done = shell(f'"$@" {command} {closed}', tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == []


def test_an_error_does_not_go_to_stdout_when_stderr_is_closed(tmp_path: Path) -> None:
    done = shell('"$@" version --bogus 2>&-', tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("command", ["--help", "version --json", "demo"])
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, command: str) -> None:
    done = shell(f'"$@" {command} >/dev/full', tmp_path)
    assert done.returncode == 1
    assert done.stderr == "[wave] stdout: cannot be written: No space left on device\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_run_goes_on_when_its_output_goes_nowhere(tmp_path: Path) -> None:
    assert shell('"$@" demo --keep kept >/dev/full 2>&1', tmp_path).returncode == 1
    assert '"completedWaves": [\n    0\n  ]' in (tmp_path / "kept/.tmp/main-wave-launcher/run-state.json").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="such names are possible on Linux only")
def test_a_folder_whose_name_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    assert subprocess.run([*WAVE, "init"], cwd=folder, capture_output=True, timeout=60).returncode == 0
    done = subprocess.run([*WAVE, "launch", "--dry-run"], cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 1 and b"unexpected" not in done.stderr
    assert b"caf\\udce9" in done.stderr.splitlines()[-1] and b"rename" in done.stderr


def test_a_stream_that_knows_only_ascii_shows_the_rest_escaped(tmp_path: Path) -> None:
    done = shell('"$@" demo --keep "ü ✓"', tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u2713" in done.stdout
