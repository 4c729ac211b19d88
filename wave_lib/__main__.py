"""`python -m <package> …` and `python <path of this file> …`: the same as `wave.py` beside the package."""

import os
import sys

if __package__:
    from .cli import main
else:  # started by its path, as child processes are: the package is the folder of this file, whatever it is called
    _folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[0] = os.path.dirname(_folder)
    main = __import__(os.path.basename(_folder) + ".cli", fromlist=["main"]).main

if __name__ == "__main__":
    sys.exit(main())
