"""Runs under fire; see `docs/reliability.md`. Under `python -m tests.crash` nobody else puts the labs on the path."""

import sys
from pathlib import Path

for _folder in (Path(__file__).parent.parent, Path(__file__).parent.parent.parent):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))
