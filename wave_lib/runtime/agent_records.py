"""Files of one agent process: runtime record, status, pid and exit records, and the words that stand in them.

Holds:       nothing.
Writes:      nothing by itself; runner and `agent_sessions` write what is built here.
When killed: nothing is lost.

Spec: SUP 4, 16.1, 16.6, 16.7; LAUNCH 8.3, 8.4.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, NamedTuple

from ..base.files import Outcome, read_json
from ..base.process_identity import boot_id
from ..base.timestamps import iso_of, parse_iso

TERMINAL = frozenset({"completed", "failed", "terminated"})
"""Dispositions after which the runner writes nothing more."""

NONCE = "WAVE_AGENT_NONCE"
"""The variable by which processes of one launch of an agent are known, wherever they went."""

SCHEMA_VERSION = 1
CODE_TIMEOUT, CODE_SPAWN, CODE_SIGTERM, CODE_SIGINT = 124, 71, 143, 130
_ENDING_SIGNALS = frozenset({"SIGTERM", "SIGINT", "SIGKILL", "SIGHUP"})

SHIM = """\
trap : TERM INT HUP
base=$1 try=$2 attempt=$3 nonce=$4
shift 4
printf '{"pid": %s, "tryIndex": %s, "attempt": %s, "nonce": "%s"}\\n' "$$" "$try" "$attempt" "$nonce" >"$base.pid.json"
"$@"
code=$?
printf '{"code": %s, "tryIndex": %s, "attempt": %s, "nonce": "%s"}\\n' "$code" "$try" "$attempt" "$nonce" \\
  >"$base.exit.json.$$" && mv -f "$base.exit.json.$$" "$base.exit.json"
exit "$code"
"""
"""Keeps the exit code although the runner may die. A no-op trap, for the executor would inherit an ignored signal.

The pid record needs no `mv`: that it exists says that the executor may have started, its text is not needed for that.
"""


class AgentFiles(NamedTuple):
    """The files beside a runtime record."""

    base: str
    runtime: str
    tree_lock: str
    runner_lock: str
    pid: str
    exit: str
    stop: str


class Ending(NamedTuple):
    """How an executor ended, as status and record say it. Spec: SUP 16.6."""

    code: int
    exit_reason: str
    disposition: str
    signal: str | None = None


def files_of(runtime_path: str) -> AgentFiles:
    """All paths that belong to a runtime record. Spec: SUP 4."""
    suffix = ".runtime.json"
    base = runtime_path[: -len(suffix)] if runtime_path.endswith(suffix) else runtime_path
    return AgentFiles(
        base,
        runtime_path,
        f"{base}.tree.flock",
        f"{base}.runner.flock",
        f"{base}.pid.json",
        f"{base}.exit.json",
        f"{base}.stop.json",
    )


def read_object(path: str) -> dict[str, Any] | None:
    """The JSON object in a file, None when there is none or it is damaged."""
    reading = read_json(path)
    return reading.value if reading.outcome is Outcome.WHOLE and isinstance(reading.value, dict) else None


def is_terminal(record: dict[str, Any] | None) -> bool:
    """Whether the record says that the agent ended."""
    return record is not None and record.get("terminalDisposition") in TERMINAL


def ending_of_code(code: int, success_codes: tuple[int, ...] = (0,)) -> Ending:
    """The ending that an exit code stands for; `128 + n` is a death by signal n, as shells report it."""
    if code in success_codes:
        return Ending(0, "completed", "completed")
    name = _signal_name(code - 128) if code > 128 else None
    if name is None:
        return Ending(code, "failed", "failed")
    return Ending(code, name.lower(), "terminated" if name in _ENDING_SIGNALS else "failed", name)


def status_record(
    record: dict[str, Any],
    ending: Ending,
    orchestrator_id: str | None,
    offset: int,
    ranges: list[list[int]],
    completed_at: float,
) -> dict[str, Any]:
    """The status file of an ended agent; `completed_at` in seconds since 1970. Spec: LAUNCH 8.4."""
    return {
        "code": ending.code,
        "promptHash": record.get("promptHash"),
        "definitionHash": record.get("definitionHash"),
        "orchestratorId": orchestrator_id,
        "attempt": record.get("attempt"),
        "completedAt": iso_of(completed_at),
        "launchId": record.get("launchId"),
        "logOffset": offset,
        "ignoreRanges": ranges,
        "signal": ending.signal,
        "exitReason": ending.exit_reason,
    }


def status_is_of(status: dict[str, Any] | None, launch_id: str, attempt: int, prompt_hash: str | None) -> bool:
    """Whether a status file was written by this launch (its id; else attempt and prompt hash). Spec: LAUNCH 9.2."""
    if status is None:
        return False
    if status.get("launchId"):
        return bool(status["launchId"] == launch_id)
    return status.get("attempt") == attempt and status.get("promptHash") == prompt_hash


def exit_record_of(record: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The exit record when it belongs to the last try of this runtime record. Spec: SUP 16.8."""
    found = read_object(path)
    if found is None or not isinstance(found.get("code"), int):
        return None
    same = (
        found.get("nonce") == record.get("launchId")
        and found.get("attempt") == record.get("attempt")
        and found.get("tryIndex") == record.get("tryIndex")
    )
    return found if same else None


def seconds_left(record: dict[str, Any]) -> float | None:
    """Seconds until the deadline of an agent, None when it has none yet; negative when it is over.

    Within one boot by the monotonic clock, which all processes share, so that setting the clock moves no deadline.
    Spec: SUP 3.5.
    """
    at, boot = record.get("deadlineMonotonic"), (record.get("runnerIdentity") or {}).get("bootId")
    if isinstance(at, (int, float)) and boot is not None and boot == boot_id():
        return at - time.monotonic()
    ends_at = parse_iso(record.get("deadlineAt"))
    return None if ends_at is None else ends_at - time.time()


def file_time(path: str) -> float | None:
    """Modification time in seconds since 1970, None when the file is missing."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
