"""The errors a user can cause, and the exit codes of every command.

An error says what is wrong, where (file and line, or the flag) and what helps. A command prints it as one line on
stderr and exits with its code. Spec: CFG 1, SUP 6.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Every exit code of every command; `meaning` is the text the manual shows."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CHANGED = 30
    LANE_BUSY = 32
    FENCED = 34
    QA_BLOCKED = 42
    BLOCKED = 43
    SPAWN_FAILED = 71
    TIMED_OUT = 124
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done; for `wait`: the run completed",
    ExitCode.FAILED: "failed, or invalid configuration, wave or state",
    ExitCode.USAGE: "usage error: unknown flag, missing or malformed value, conflicting flags",
    ExitCode.CHANGED: "`wait --until-change`: something changed, the run is not terminal",
    ExitCode.LANE_BUSY: "another launcher holds the lane, or live agents of another run stand in the way",
    ExitCode.FENCED: "the supervisor lost its ownership to a successor",
    ExitCode.QA_BLOCKED: "the wave failed and only cont-QA stands in the way",
    ExitCode.BLOCKED: "the wave is blocked and needs something from outside this run",
    ExitCode.SPAWN_FAILED: "a process could not be started",
    ExitCode.TIMED_OUT: "the time limit was reached and the run is not terminal",
    ExitCode.NOT_EXECUTABLE: "a program exists and cannot be executed",
    ExitCode.NOT_FOUND: "a program does not exist",
    ExitCode.HANGUP: "stopped by SIGHUP",
    ExitCode.INTERRUPTED: "interrupted; for `wait`: the run was cancelled",
    ExitCode.TERMINATED: "stopped by SIGTERM",
}


class WaveError(Exception):
    """Something the reader of the message can mend.

    `what` is wrong, `where` (path with line, or flag), `remedy` (the command or edit that helps), `code` for the exit,
    `key` the stable word that `--json` output carries (`usage`, `run-not-found`, `no-space`, ...).
    `str(error)` is one line: `<where>: <what>; <remedy>`.
    """

    default_code = ExitCode.FAILED
    default_key = "failed"

    def __init__(
        self, what: str, where: str = "", remedy: str = "", code: ExitCode | int | None = None, key: str = ""
    ) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.code: ExitCode | int = self.default_code if code is None else code
        self.key = key or self.default_key

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.remedy:  # some texts are fixed whole sentences, those of the supervisor's clients
            line += f" {self.remedy[0].upper()}{self.remedy[1:]}" if line.endswith(".") else f"; {self.remedy}"
        return " ".join(line.splitlines())


class UsageError(WaveError):
    """The command line is wrong; nothing was done."""

    default_code = ExitCode.USAGE
    default_key = "usage"


class ConfigError(WaveError):
    """`wave.config.json` or another configuration file is wrong."""

    default_key = "config"


class WaveParseError(WaveError):
    """A wave file does not follow the grammar. Rendered as `<file>:<line>: <message>`."""

    default_key = "invalid-wave"

    def __init__(self, what: str, file: str, line: int, remedy: str = "") -> None:
        super().__init__(what, f"{file}:{line}" if line else file, remedy)
        self.file = file
        self.line = line


class WaveValidationError(WaveError):
    """A wave file is well formed and breaks a rule."""

    default_key = "invalid-wave"


class StateError(WaveError):
    """A state file is torn, foreign, or newer than this program."""

    default_key = "state"


class LockHeldError(WaveError):
    """Somebody else holds the lock."""

    default_key = "lock-held"


class SpawnError(WaveError):
    """A process could not be started. `errno_name` is `ENOENT`, `EAGAIN`, ...; `transient` says a retry may help."""

    default_code = ExitCode.SPAWN_FAILED
    default_key = "spawn-failed"

    def __init__(
        self,
        what: str,
        where: str = "",
        remedy: str = "",
        code: ExitCode | int | None = None,
        errno_name: str = "",
        transient: bool = False,
    ) -> None:
        super().__init__(what, where, remedy, code)
        self.errno_name = errno_name
        self.transient = transient


class DiskError(WaveError):
    """The file system refused: full, read-only, no permission, input/output error. `key` tells which."""

    default_key = "disk"
