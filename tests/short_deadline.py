"""`wave.py` with a deadline of a blink for one agent: `python short_deadline.py <agent> <wave.py> <arguments>`.

Everything else is the real program; a deadline of whole minutes is no deadline for a test.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SECONDS = 0.4


def main() -> int:
    """Run the command line with the shortened deadline; its exit code."""
    agent_id, program = sys.argv[1], Path(sys.argv[2])
    sys.path.insert(0, str(program.parent))
    from wave_lib import cli
    from wave_lib.runtime import launcher_runtime

    real: Any = launcher_runtime.start_request

    def shortened(ctx: Any, run: Any, spec: Any) -> Any:
        request = real(ctx, run, spec)
        return request._replace(timeout_seconds=SECONDS) if run.agent_id == agent_id else request

    launcher_runtime.start_request = shortened
    return int(cli.main(sys.argv[3:]))


if __name__ == "__main__":
    sys.exit(main())
