"""Names for the moments at which a crash or a delay matters, so that tests can kill or hold up a process right there.

Every durable write and every spawn runs inside `DurableStep(verb, subject)`; every look at a lock that somebody else
may hold ends with `looked(path)`, for what was seen may be untrue at the next line. A name is
`<role> <verb> <subject> <count>`, such as `launcher append control-plane.jsonl 3`; its stem is the name without the
count. Inert unless one of these is set:

- `WAVE_STEP_LOG=<file>`: every finished step appends its name to the file (one line).
- `WAVE_CRASH_AT=<before|after>|<name or stem>|<flag file>`: the process that takes this step kills itself with SIGKILL,
  once: whoever creates the flag file dies. Several, one a line.
- `WAVE_SLOW_AT=<pattern>|<per mille>|<longest pause in ms>|<seed>`: at so many of the steps and looks whose names match
  the pattern the process pauses for a while, so that all others get ahead of it. Which ones and how long follows from
  the seed and the name. Several, one a line; the first that matches counts.

All are read when this module is imported.
"""

from __future__ import annotations

import os

_LOG = os.environ.get("WAVE_STEP_LOG", "")
_CRASHES = [line.split("|") for line in os.environ.get("WAVE_CRASH_AT", "").splitlines() if line.count("|") == 2]
_PAUSES = [
    line.rsplit("|", 3) for line in os.environ.get("WAVE_SLOW_AT", "").splitlines() if line.count("|") >= 3
]
_ACTIVE = bool(_LOG or _CRASHES or _PAUSES)
_RANDOM_PART = r"(?<![0-9A-Za-z])(?=[0-9a-f]*[0-9])[0-9a-f]{6,}(?![0-9A-Za-z])|[0-9]{8}T[0-9]{6,}Z?"

_role = os.environ.get("WAVE_STEP_ROLE", "client")
_counts: dict[str, int] = {}


def set_step_role(role: str) -> None:
    """Names the process in its steps: `supervisor`, `launcher`, `runner`, ... Children do not inherit it."""
    global _role
    _role = role


class DurableStep:
    """Context of one durable step. `subject` is a path (its last part counts) or a word; random ids are masked."""

    __slots__ = ("name",)

    def __init__(self, verb: str, subject: str) -> None:
        self.name = _next_name(verb, subject) if _ACTIVE else ""

    def __enter__(self) -> None:
        if self.name:
            _die_if_asked("before", self.name)
            _pause_if_asked(self.name)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.name and kind is None:
            _log(self.name)
            _die_if_asked("after", self.name)


def looked(path: str) -> None:
    """Called right after a look at a lock; what was seen is acted upon next."""
    if _PAUSES:
        _pause_if_asked(_next_name("look", path))


def _next_name(verb: str, subject: str) -> str:
    import re

    stem = f"{_role} {verb} {re.sub(_RANDOM_PART, '*', os.path.basename(subject))}"
    _counts[stem] = _counts.get(stem, 0) + 1
    return f"{stem} {_counts[stem]}"


def _log(name: str) -> None:
    if _LOG:
        fd = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.write(fd, name.encode() + b"\n")
        os.close(fd)


def _die_if_asked(moment: str, name: str) -> None:
    for wanted, step, flag in _CRASHES:
        if wanted != moment or step not in (name, name.rpartition(" ")[0]):
            continue
        try:
            os.close(os.open(flag, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            continue
        os.kill(os.getpid(), 9)


def _pause_if_asked(name: str) -> None:
    if not _PAUSES:
        return
    import re
    import time
    import zlib

    for pattern, per_mille, longest, seed in _PAUSES:
        if re.search(pattern, name):
            dice = zlib.crc32(f"{seed} {name}".encode())
            if dice % 1000 < int(per_mille):
                time.sleep(int(longest) / 1000 * (zlib.crc32(f"{dice}".encode()) % 1000) / 1000)
            return
