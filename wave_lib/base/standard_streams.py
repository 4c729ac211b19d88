"""The three standard streams as a program wants them: always there, never a reason to stop.

Holds:       what it opens in place of a closed descriptor 0, 1 or 2.
Writes:      nothing.
When killed: nothing is lost.

Spec: WORK 1.3.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def complete() -> None:
    """Put the null device where a standard descriptor is closed, and let no character fail to be printed.

    Otherwise the next file that is opened (a lock, a log) would take the number of a closed stream, and hand itself
    to children as their stdout.
    """
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - for the whole process
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "")
        if hasattr(stream, "reconfigure"):  # not so for what tests put in its place
            stream.reconfigure(errors="surrogateescape" if encoding == "utf8" else "backslashreplace")


def drop(stream: TextIO) -> None:
    """Send what a stream still holds, and whatever follows, nowhere: the interpreter must not complain at exit."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # no such descriptor: then nothing complains either
        pass


def stdout_error() -> str:
    """Why stdout takes nothing any more; empty when it does."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def say_error(line: str) -> None:
    """One line on stderr; where even that is not possible, the exit code alone has to tell."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        drop(sys.stderr)
