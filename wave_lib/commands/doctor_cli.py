"""`wave doctor`: what is wrong with the workspace, and what mends it. Spec: WORK 3."""

from __future__ import annotations

import os
import sys

from .. import PACKAGE_NAME, __version__
from ..base.errors import ExitCode, WaveError
from .arguments import JSON, LANE, PROJECT, Command, read

COMMAND = Command(
    "doctor",
    "Check configuration, documents, waves, skills and tools of this workspace. Writes nothing.",
    (
        PROJECT._replace(help="check this project only", default="all"),
        LANE._replace(help="check this lane only", default="all"),
        JSON,
    ),
    notes="Exit code 0 when there are no errors, else 1. Warnings do not count.",
)


def run(argv: list[str], root: str) -> int:
    """Examine the workspace and print what was found."""
    parsed = read(COMMAND, argv)
    if parsed is None:
        return 0
    from ..runtime.doctor import examine

    found = examine(root, os.environ, parsed.text("project"), parsed.text("lane"))
    if parsed.has("json"):
        import json

        document = {
            "ok": found.ok,
            "workspaceRoot": root,
            "packageName": PACKAGE_NAME,
            "packageVersion": __version__,
            "errors": found.errors,
            "warnings": found.warnings,
            "checks": found.checks,
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.DONE if found.ok else ExitCode.FAILED
    print(f"[wave:doctor] workspace={root}")
    print(f"[wave:doctor] package={PACKAGE_NAME}@{__version__}")
    if not found.errors and not found.warnings:
        print("[wave:doctor] ok")
    for text in found.notes:
        print(f"[wave:doctor] {text}")
    sys.stdout.flush()  # what follows goes to stderr and belongs below it
    for text in found.errors:
        print(f"[wave:doctor] error: {text}", file=sys.stderr)
    for text in found.warnings:
        print(f"[wave:doctor] warning: {text}", file=sys.stderr)
    if found.errors:
        raise WaveError(f"doctor found {_count(found.errors, 'error')} and {_count(found.warnings, 'warning')}")
    return ExitCode.DONE


def _count(texts: list[str], word: str) -> str:
    return f"{len(texts)} {word}{'' if len(texts) == 1 else 's'}"
