"""tmux, for people who want dashboards in it. Nothing depends on it: a missing or failing tmux is a False or a warning.

Holds:       nothing; sessions belong to the tmux server of the lane's socket.
Writes:      nothing.
When killed: sessions may stay; the next launch of the lane ends them.

Spec: SUP 18.2. Never called while a launcher or supervisor waits for agents.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from ..base.errors import SpawnError
from ..base.processes import spawn_once

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_SECONDS = 15.0
TRIES = 4
_NO_SESSION = ("can't find session", "no current target")
_NO_SERVER = ("no server running", "failed to connect", "error connecting")


class TmuxResult(NamedTuple):
    """How a tmux command ended. `missing`: the session or the server is not there, or tmux itself is not."""

    ok: bool
    output: str
    missing: bool = False


def installed() -> bool:
    """Whether there is a tmux on PATH."""
    from shutil import which

    return which("tmux") is not None


def tmux(socket: str, *arguments: str) -> TmuxResult:
    """Run one tmux command on the lane's socket and wait for it, at most 15 seconds."""
    argv = ["tmux", "-L", socket, *arguments]
    for attempt in range(TRIES):
        try:
            return _run(argv)
        except SpawnError as error:
            if not error.transient:
                return TmuxResult(False, error.what, missing=True)
            last = error.what
            jitter = os.urandom(1)[0] % 25
            time.sleep((min(250, 25 * 2**attempt) + jitter) / 1000)
    return TmuxResult(False, last)


def _run(argv: Sequence[str]) -> TmuxResult:
    from subprocess import PIPE, STDOUT, TimeoutExpired

    child = spawn_once(argv, env={**os.environ, "TMUX": ""}, stdout=PIPE, stderr=STDOUT)
    try:
        output = child.communicate(timeout=TIMEOUT_SECONDS)[0].decode("utf-8", "replace").strip()
    except TimeoutExpired:
        child.kill()
        child.communicate()
        return TmuxResult(False, f"tmux did not answer within {TIMEOUT_SECONDS:.0f} s")
    missing = child.returncode != 0 and any(words in output for words in (*_NO_SESSION, *_NO_SERVER))
    return TmuxResult(child.returncode == 0, output, missing)


def list_sessions(socket: str) -> list[str]:
    """Names of the sessions on the socket; none without a server or without tmux."""
    found = tmux(socket, "list-sessions", "-F", "#{session_name}")
    return found.output.splitlines() if found.ok else []


def has_session(socket: str, session: str) -> bool:
    """Whether the session is there."""
    return tmux(socket, "has-session", "-t", f"={session}").ok


def new_session(socket: str, session: str, cwd: str, argv: Sequence[str]) -> TmuxResult:
    """A detached session that runs `argv`; an older one of the same name is ended first."""
    kill_session(socket, session)
    return tmux(socket, "new-session", "-d", "-s", session, "-c", cwd, *argv)


def kill_session(socket: str, session: str) -> bool:
    """End the session; False when there was none."""
    return tmux(socket, "kill-session", "-t", f"={session}").ok


def attach(socket: str, session: str) -> bool:
    """Show the session in the caller's terminal until it is left; False when that was not possible."""
    import subprocess  # its own terminal is the point here, so the session of the caller is kept

    try:
        child = spawn_once(
            ["tmux", "-L", socket, "attach-session", "-t", f"={session}"],
            env={**os.environ, "TMUX": ""},
            stdin=0,
            stdout=1,
            stderr=subprocess.PIPE,
            new_session=False,
        )
    except SpawnError:
        return False
    child.communicate()
    return child.returncode == 0
