"""`wave explain`: why a wave is not closed: each failing gate, its evidence, the next useful step.

Spec: GATE 8.5, 16; the texts are those of a blocked launch (`projections/explanations.py`).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode
from .arguments import JSON, Command, read
from .subcommands import PLACE, print_json, scene_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..runtime.wave_explanation import Explanation

    JsonObject = dict[str, Any]

COMMAND = Command(
    "explain",
    "Say in plain words why a wave is not closed, on what evidence, and what to do next.",
    (*PLACE, JSON),
    notes="Without --wave: the wave at work, else the last one. Exit code: 0 when nothing stands in the way, else 1.",
)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave explain`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    from ..runtime.wave_explanation import explain_wave

    explanation = explain_wave(scene_of(given, root, default_wave=True))
    if given.has("json"):
        print_json(explanation.to_json())
    else:
        print("\n".join(_lines(explanation)))
    return ExitCode.DONE if explanation.ok else ExitCode.FAILED


def _lines(explanation: Explanation) -> list[str]:
    from ..base.terminal import Style, printable

    style = Style.of(sys.stdout, os.environ)
    lines = [printable(line) for line in explanation.lines]
    return [style.paint(lines[0], "green" if explanation.ok else "yellow", "bold"), *lines[1:]]
