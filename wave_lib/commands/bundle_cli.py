"""`wave bundle OUT`: writes this program as one file. Spec: DESIGN 1, 2."""

from __future__ import annotations

from ..runtime.packaging import bundle
from .arguments import JSON, Command, read

COMMAND = Command(
    "bundle",
    "Write this program as one file that runs alone on any Python from 3.9 on.",
    (JSON,),
    positionals=("out",),
    required=1,
    notes="The first start of a bundle unpacks it into a private cache folder ($XDG_CACHE_HOME, ~/.cache or $TMPDIR);\n"
    "where there is none it runs from the file itself, only slower. The same source gives the same bytes.",
)


def run(argv: list[str], root: str) -> int:
    """Write the bundle and say where it lies."""
    parsed = read(COMMAND, argv)
    if parsed is None:
        return 0
    written = bundle(parsed.positionals[0])
    if parsed.has("json"):
        import json

        print(json.dumps({"path": written.path, "files": written.files}, indent=2, ensure_ascii=False))
    else:
        print(f"[wave:bundle] {written.files} files in {written.path}")
    return 0
