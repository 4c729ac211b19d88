"""`wave proof`: the older form of `wave control proof`. Spec: GATE 13.3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .control_proof_cli import GET, REGISTER, register, show
from .subcommands import Verb, commands_of, run_verb

if TYPE_CHECKING:
    from collections.abc import Sequence

VERBS = {
    "show": Verb(GET._replace(name="proof show"), show),
    "register": Verb(REGISTER._replace(name="proof register"), register),
}
COMMANDS = commands_of(VERBS)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave proof`."""
    return run_verb("proof", "Show or register proof bundles; `wave control proof` can do more.", VERBS, argv, root)
