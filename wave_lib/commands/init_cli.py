"""`wave init`: makes a folder a wave workspace. Spec: WORK 2.3."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..base.errors import UsageError
from .arguments import JSON, SWITCH, Command, Flag, read

if TYPE_CHECKING:
    from ..runtime.install import Initialized

COMMAND = Command(
    "init",
    "Make this folder a wave workspace: configuration, role prompts, skills, plans and a first wave.",
    (
        Flag("--adopt-existing", SWITCH, "record the wave files that are already here, add none"),
        Flag("--seed-missing", SWITCH, "add the starter files that are missing, keep all others; works at any time"),
        Flag("--write-gitignore", SWITCH, "append the recommended entries to an existing .gitignore"),
        JSON,
    ),
    notes="No existing file is ever overwritten. The workspace is the current folder unless --repo-root names another.",
)


def run(argv: list[str], root: str) -> int:
    """Seed the workspace and say what was done."""
    parsed = read(COMMAND, argv)
    if parsed is None:
        return 0
    if parsed.has("adopt-existing") and parsed.has("seed-missing"):
        raise UsageError("--adopt-existing and --seed-missing exclude each other", remedy="choose one")
    from ..runtime import install

    mode = next((name for name in (install.ADOPT, install.SEED) if parsed.has(name)), install.FRESH)
    done = install.initialize(root, mode, write_gitignore=parsed.has("write-gitignore"))
    if parsed.has("json"):
        import json

        document = {
            "mode": done.mode,
            "seededFiles": done.seeded_files,
            "adoptedFiles": done.adopted_files,
            "installStatePath": os.path.join(root, install.STATE_FILE),
            "state": done.state,
        }
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _report(done, install.STATE_FILE)
    if done.missing_ignores:
        missing = ", ".join(done.missing_ignores)
        print(f"[wave:init] .gitignore lacks: {missing} (--write-gitignore adds them)", file=sys.stderr)
    return 0


def _report(done: Initialized, state_file: str) -> None:
    print(f"[wave:init] mode={done.mode}")
    if done.seeded_files:
        print(f"[wave:init] seeded files: {', '.join(done.seeded_files)}")
    if done.adopted_files:
        print(f"[wave:init] adopted files: {', '.join(done.adopted_files)}")
    print(f"[wave:init] install state: {state_file}")
    if done.seeded_files:
        print("[wave:init] next: `wave doctor` checks the workspace, `wave launch --dry-run` shows every prompt")
