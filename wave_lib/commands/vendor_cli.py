"""`wave vendor DIR`: copies this program into another repository. Spec: DESIGN 1, 2."""

from __future__ import annotations

from ..runtime.packaging import package_name, vendor
from .arguments import JSON, TEXT, Command, Flag, read

COMMAND = Command(
    "vendor",
    "Copy wave.py and the package beside it into another folder; an earlier copy there is replaced.",
    (Flag("--name", TEXT, "what the package is called there", metavar="package", default="its name here"), JSON),
    positionals=("dir",),
    required=1,
)


def run(argv: list[str], root: str) -> int:
    """Copy the program and say where it lies."""
    parsed = read(COMMAND, argv)
    if parsed is None:
        return 0
    copied = vendor(parsed.positionals[0], parsed.text("name") or package_name())
    if parsed.has("json"):
        import json

        print(json.dumps({"path": copied.path, "files": copied.files}, indent=2, ensure_ascii=False))
    else:
        print(f"[wave:vendor] {copied.files} files: {copied.path}")
    return 0
