"""docs/reliability.md names tests that exist; that it names every durable step is checked where they are recorded."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_test_it_names_exists() -> None:
    named = set(re.findall(r"\btest_\w+(?!\.py)\b", PAGE)) - set(re.findall(r"\btest_\w+(?=\.py)", PAGE))
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"(?m)^def (test_\w+)\(", source)}
    assert len(named) > 20
    assert named <= there, named - there


def test_every_file_of_the_tests_it_names_exists() -> None:
    for path in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path


def test_every_row_of_a_step_names_its_proof() -> None:
    section = PAGE.split("## Every durable step")[1].split("### Files that nothing is decided from")[0]
    rows = [line for line in section.splitlines() if line.startswith("|") and not line.startswith(("| ---", "| Step"))]
    assert len(rows) > 25
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 5 and all(cells), row
        assert "test_" in cells[4], row
