#!/usr/bin/env python3
"""`python3 wave.py …`: runs the wave package that lies beside this file, and nothing else."""

import sys

from wave_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
