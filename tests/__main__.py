"""`python -m tests [pytest arguments]`: the whole suite in two processes, for most tests wait more than they work.

Both processes collect everything; whichever is free takes the next module (see `pytest_runtestloop` in conftest.py).
The exit code is that of pytest, the worse of the two.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile


def main(arguments: list[str]) -> int:
    """Run pytest twice beside each other; the second one's output is shown when the first has ended."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    with tempfile.TemporaryDirectory(prefix="wave-tests-") as claims, tempfile.TemporaryFile() as said:
        env = {**os.environ, "TEST_CLAIMS": claims}
        second = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            codes = [subprocess.run(command, env=env, stdin=subprocess.DEVNULL, check=False).returncode, second.wait()]
        finally:
            second.kill()
            second.wait()
        said.seek(0)
        print("\n--- the other process", flush=True)
        sys.stdout.buffer.write(said.read())
        sys.stdout.flush()
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
