"""`python -m <package> …`: the same as `wave.py` beside the package."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
