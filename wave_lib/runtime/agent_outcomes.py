"""What is found of an agent's processes, and how one that lost its runner is brought to its end.

Holds:       the tree lock while it finalises.
Writes:      status and last runtime record of an agent when neither its runner nor its tree lives.
When killed: a status without a terminal record is completed by the next caller.

Spec: SUP 3.4, 10.3, 16.8.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from ..base import locks
from ..base.files import write_json
from ..base.process_identity import Identity, alive
from ..base.timestamps import iso_of, now_iso, parse_iso
from .agent_records import (
    AgentFiles,
    Ending,
    ending_of_code,
    exit_record_of,
    file_time,
    files_of,
    is_terminal,
    read_object,
    status_is_of,
    status_record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Found(enum.Enum):
    """What is found at a runtime record. Spec: SUP 10.3."""

    NONE = "none"
    LIVE = "live"
    FINISHED = "finished"  # a status file of this launch is there
    EXITED = "exited"  # no status, but the shim's exit record
    NEVER_STARTED = "never-started"
    DIED = "died"  # it had started, and nothing says how it ended


def examine_agent(runtime_path: str) -> tuple[Found, dict[str, Any] | None]:
    """What is found at a runtime record, and the record. Signals nothing, writes nothing. Spec: SUP 3.4, 10.3."""
    files = files_of(runtime_path)
    record = read_object(files.runtime)
    if record is None:
        return Found.NONE, None
    if not is_terminal(record) and _alive(files, record):
        return Found.LIVE, record
    if _status_of(record) is not None:
        return Found.FINISHED, record
    if exit_record_of(record, files.exit) is not None:
        return Found.EXITED, record
    started = (read_object(files.pid) or {}).get("nonce") == record.get("launchId")
    # An empty pid record was being written by the shim when it died: the executor had not been started yet.
    return (Found.DIED if started or is_terminal(record) else Found.NEVER_STARTED), record


def executor_ran(runtime_path: str, record: Mapping[str, Any]) -> bool:
    """Whether the executor of this record was started, also when its runner died before it could write that down."""
    return bool(record.get("executorStartedAt")) or read_object(files_of(runtime_path).pid) is not None


def agent_alive(runtime_path: str) -> bool:
    """True while the agent is not over and some process of it lives. Spec: SUP 3.4."""
    return examine_agent(runtime_path)[0] is Found.LIVE


def finalise_lost_agent(runtime_path: str, mark_lost: bool = True) -> dict[str, Any] | None:
    """Write status and last record of an agent whose runner died, from its exit record. Spec: SUP 16.8.

    Returns the status record, or None when there is no exit record (with `mark_lost` the record then says
    `runner-lost`) or when something of the agent still lives.
    """
    files = files_of(runtime_path)
    tree = locks.take(files.tree_lock)
    if tree is None:
        return None
    try:
        record = read_object(files.runtime)
        if record is None or locks.held(files.runner_lock):
            return None
        if not tree.by_kernel and _recorded_processes_live(record):
            return None  # where there is no flock, an executor may live without the lock
        status = _status_of(record)
        if status is not None:
            if not is_terminal(record):
                _close_record(files, record, _ending_of(status), parse_iso(status.get("completedAt")), "runner")
            return status
        exited = exit_record_of(record, files.exit)
        if exited is not None:
            ending = ending_of_code(exited["code"], tuple(record.get("successExitCodes") or (0,)))
            return write_outcome(
                str(record["statusPath"]), files, record, ending, file_time(files.exit) or 0.0, "exit-record"
            )
        if mark_lost and not is_terminal(record):
            _close_record(files, record, Ending(-1, "runner-lost", "failed"), None, "lost")
        return None
    finally:
        tree.close()


def write_outcome(
    status_path: str, files: AgentFiles, record: dict[str, Any], ending: Ending, at: float, source: str
) -> dict[str, Any]:
    """Write status and terminal record of an agent that has no runner; `at` in seconds. Returns the status."""
    from . import agent_output  # readers that only examine need none of it

    offset = int(record.get("logOffset") or 0)
    ranges = agent_output.echo_ranges(str(record.get("logPath")), offset, record.get("promptPath"))
    status = status_record(record, ending, record.get("orchestratorId"), offset, ranges, at)
    write_json(status_path, status)
    _close_record(files, record, ending, at, source)
    return status


def _close_record(files: AgentFiles, record: dict[str, Any], ending: Ending, at: float | None, source: str) -> None:
    record.update(
        exitCode=None if ending.code < 0 else ending.code,
        exitReason=ending.exit_reason,
        signal=ending.signal,
        terminalDisposition=ending.disposition,
        completedAt=now_iso() if at is None else iso_of(at),
        outcomeSource=source,
    )
    write_json(files.runtime, record)


def _ending_of(status: dict[str, Any]) -> Ending:
    code = status.get("code")
    ending = ending_of_code(code if isinstance(code, int) else 1)
    return ending._replace(exit_reason=status.get("exitReason") or ending.exit_reason, signal=status.get("signal"))


def _status_of(record: dict[str, Any]) -> dict[str, Any] | None:
    status = read_object(str(record.get("statusPath") or ""))
    same = status_is_of(
        status, str(record.get("launchId") or ""), int(record.get("attempt") or 0), record.get("promptHash")
    )
    return status if same else None


def _alive(files: AgentFiles, record: dict[str, Any]) -> bool:
    if locks.held(files.tree_lock):
        return True
    if locks.lock_state(files.tree_lock) is locks.LockState.FREE:
        return False
    return _recorded_processes_live(record)


def _recorded_processes_live(record: dict[str, Any]) -> bool:
    identities = [Identity.from_json(record.get(key)) for key in ("runnerIdentity", "executorIdentity")]
    return any(alive(identity) for identity in identities)
