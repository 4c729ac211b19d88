"""Generated logs and damaged marker lines; `python -m tests.fuzz_markers --lines 1000000` does more. Spec: GATE 2."""

from __future__ import annotations

import fuzz_markers
import pytest


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_and_nothing_invented(seed: int) -> None:
    assert fuzz_markers.run(25_000, seed) >= 25_000


def test_the_oracle_notices_a_lost_and_an_invented_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_markers, "extract_markers", lambda *_: fuzz_markers.Signals({}, [], [], [], [], {}))
    with pytest.raises(AssertionError):
        fuzz_markers.run(200, 1)
