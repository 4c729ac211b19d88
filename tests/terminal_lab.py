"""A program on a terminal of its own: what it shows, what is typed, how it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path


class Terminal:
    """Runs `argv` on a pseudo terminal; use it as a context. `text` is everything that it has shown so far."""

    def __init__(self, argv: list[str], cwd: Path, columns: int = 80, rows: int = 24, **env: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        environ = {**os.environ, "TERM": "xterm", **env}
        environ.pop("NO_COLOR", None) if "NO_COLOR" not in env else None
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=environ, stdin=slave, stdout=slave, stderr=slave, preexec_fn=_own_terminal
        )
        os.close(slave)
        self.text = ""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def expect(self, words: str, within: float = 20.0) -> None:
        """Wait until these words are shown after those of the last call."""
        deadline = time.monotonic() + within
        while words not in self.text[self._seen :]:
            assert self._read(deadline), f"no {words!r} in {self.text[self._seen :]!r}"
        self._seen = self.text.index(words, self._seen) + len(words)

    def end(self, within: float = 30.0) -> int:
        """Read until the program has ended; its exit code."""
        deadline = time.monotonic() + within
        while self._read(deadline):
            pass
        return self.process.wait(max(deadline - time.monotonic(), 1))

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(deadline - time.monotonic(), 0))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last holder of the other side has gone
            return False
        self.text += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
