from __future__ import annotations

from pathlib import Path

import pytest

from wave_lib.base.env_file import load_env_file


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("WAVE_API_TOKEN=abc", "abc"),
        ("export  WAVE_API_TOKEN = abc ", "abc"),
        ('WAVE_API_TOKEN="a b # c"', "a b # c"),
        ("WAVE_API_TOKEN='a$b\\n'", "a$b\\n"),
        ("WAVE_API_TOKEN=abc # comment", "abc"),
        ("WAVE_API_TOKEN=abc#part", "abc#part"),
        ('WAVE_API_TOKEN="', '"'),
        ("# WAVE_API_TOKEN=abc", None),
        ("WAVE_API_TOKEN", None),
        ("=WAVE_API_TOKEN", None),
        ("WAVE_API_TOKEN=a\nWAVE_API_TOKEN=b", "a"),
    ],
)
def test_line_forms(tmp_path: Path, line: str, value: str | None) -> None:
    (tmp_path / ".env.local").write_text(line + "\n")
    environ: dict[str, str] = {}
    assert load_env_file(str(tmp_path / ".env.local"), environ) == []
    assert environ.get("WAVE_API_TOKEN") == value


def test_allowlist_and_precedence(tmp_path: Path) -> None:
    path = tmp_path / ".env.local"
    path.write_text("PATH=/evil\nWAVE_API_TOKEN=file\nCORRIDOR_API_KEY=file\n")
    environ = {"WAVE_API_TOKEN": "", "CORRIDOR_API_KEY": "caller", "PATH": "/bin"}
    load_env_file(str(path), environ)
    assert environ == {"WAVE_API_TOKEN": "file", "CORRIDOR_API_KEY": "caller", "PATH": "/bin"}


def test_failures_are_no_errors(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    assert load_env_file(str(tmp_path / "missing"), environ) == []
    (tmp_path / "bad").write_bytes(b"WAVE_API_TOKEN=\xff\n")
    assert len(load_env_file(str(tmp_path / "bad"), environ)) == 1
    assert len(load_env_file(str(tmp_path), environ)) == 1
    assert environ == {}
