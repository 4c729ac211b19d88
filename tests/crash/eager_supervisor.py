"""`wave.py supervise` that waits a blink before it resumes a lost launcher, so that a test can lose it often.

Started as `python eager_supervisor.py supervise …`. Whatever it starts is the real program.
"""

from __future__ import annotations

import sys
from pathlib import Path

SECONDS = 0.05


def main() -> int:
    """Run the command line with the shortened pause; its exit code."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))
    from wave_lib import cli
    from wave_lib.runtime import supervisor

    supervisor.resume_delay = lambda resumes, random: SECONDS * (1 + random)
    return int(cli.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
