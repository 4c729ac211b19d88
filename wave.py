#!/usr/bin/env python3
"""`python3 wave.py …`: runs the wave package that lies beside this file, and nothing else."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # Python itself may be told not to look here (-I)

from wave_lib.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
