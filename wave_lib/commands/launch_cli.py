"""`wave launch`: the command line in front of the launcher. Spec: LAUNCH 2."""

from __future__ import annotations

import sys

from ..base.durable_steps import set_step_role
from .arguments import usage
from .launch_flags import LAUNCH, parse_launch_args


def run(argv: list[str], root: str) -> int:
    """Parse and launch; the exit code of LAUNCH 2.5."""
    set_step_role("launcher")
    options = parse_launch_args(argv)
    if options is None:
        sys.stdout.write(usage(LAUNCH))
        return 0
    from ..runtime.launcher import launch  # heavy: only once the command line is known to be good

    return launch(options, root)
