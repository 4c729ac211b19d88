"""`wave version`: the package's name and version. Spec: WORK 1.3."""

from __future__ import annotations

from .. import PACKAGE_NAME, __version__
from .arguments import JSON, Command, parse, usage

COMMAND = Command("version", "Print the version of this program.", (JSON,))


def run(argv: list[str], root: str) -> int:
    """Print `wave <version>`, or name and version as JSON."""
    parsed = parse(COMMAND, argv)
    if parsed.help:
        print(usage(COMMAND), end="")
    elif parsed.has("json"):
        import json

        print(json.dumps({"packageName": PACKAGE_NAME, "packageVersion": __version__}, indent=2))
    else:
        print(f"wave {__version__}")
    return 0
