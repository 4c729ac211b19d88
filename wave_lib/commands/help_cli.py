"""`wave help [command]`: the command list, or one command's own help. Spec: WORK 1.3."""

from __future__ import annotations

from ..cli import general_help, run_command


def run(argv: list[str], root: str) -> int:
    """Print the general help, or that of the command named first."""
    if argv and argv[0] not in ("help", "-h", "--help"):
        return run_command(argv[0].lower(), ["--help"], root)
    print(general_help(), end="")
    return 0
