"""Names for the moments at which a crash matters, so that tests can kill a process right before or after each.

Every durable write and every spawn runs inside `DurableStep(verb, subject)`. Its name is
`<role> <verb> <subject> <count>`, such as `launcher append control-plane.jsonl 3`. Inert unless one of these is set:

- `WAVE_STEP_LOG=<file>`: every finished step appends its name to the file (one line).
- `WAVE_CRASH_AT=<before|after>|<name>|<flag file>`: the process that takes this step kills itself with SIGKILL, once:
  whoever creates the flag file dies.

Both are read when this module is imported.
"""

from __future__ import annotations

import os

_LOG = os.environ.get("WAVE_STEP_LOG", "")
_CRASH = tuple(os.environ.get("WAVE_CRASH_AT", "").split("|", 2))
_ACTIVE = bool(_LOG) or len(_CRASH) == 3
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

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.name and kind is None:
            _log(self.name)
            _die_if_asked("after", self.name)


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
    if _CRASH[:2] != (moment, name):
        return
    try:
        os.close(os.open(_CRASH[2], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    os.kill(os.getpid(), 9)
