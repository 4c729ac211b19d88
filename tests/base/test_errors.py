from __future__ import annotations

import pytest

from wave_lib.base import errors
from wave_lib.base.errors import ExitCode, UsageError, WaveError, WaveParseError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (WaveError("broken"), "broken"),
        (WaveError("broken", "a.json:3"), "a.json:3: broken"),
        (WaveError("broken\nbadly", "a.json", "run wave doctor"), "a.json: broken badly; run wave doctor"),
        (WaveError("Nothing found.", remedy="look elsewhere"), "Nothing found. Look elsewhere"),
        (WaveParseError("no title", "wave-1.md", 7), "wave-1.md:7: no title"),
    ],
)
def test_an_error_is_one_line(error: WaveError, line: str) -> None:
    assert str(error) == line


def test_codes_and_keys() -> None:
    assert UsageError("x").code == 2 and UsageError("x").key == "usage"
    assert WaveError("x").code == 1
    assert WaveError("x", code=ExitCode.BLOCKED, key="why").code == 43
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, WaveError)]
    assert len(classes) > 8 and all(issubclass(known, WaveError) for known in classes)


def test_every_exit_code_has_a_meaning_of_its_own() -> None:
    meanings = [code.meaning for code in ExitCode]
    assert all(meanings) and len(set(meanings)) == len(meanings)
