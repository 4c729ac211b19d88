"""Ending an agent: its runner, its process group, and what has left the group.

Holds:       nothing.
Writes:      `<base>.stop.json`: why, for the runner that is told to stop.
When killed: what was signalled goes on ending; whoever asks again finds less to do.

Spec: SUP 16.7; LAUNCH 9.4.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Callable, NamedTuple

from ..base import locks
from ..base.errors import DiskError
from ..base.files import write_json
from ..base.process_identity import same_process
from ..base.processes import (
    Alive,
    Identity,
    alive,
    check,
    group_alive,
    group_members,
    processes_marked,
    signal_process,
)
from ..base.timestamps import now_iso
from .agent_records import NONCE, AgentFiles, files_of, read_object


class Termination(NamedTuple):
    """What `terminate_agent_tree` did. Spec: SUP 16.7."""

    signalled: bool
    escalated: bool
    gone: bool


class _Tree:
    """One agent's processes as its record tells of them."""

    def __init__(self, runtime_path: str) -> None:
        self.files = files_of(runtime_path)
        record = read_object(self.files.runtime) or {}
        self.shim = Identity.from_json(record.get("executorIdentity"))
        self.pgid = int(record.get("pgid") or 0)
        self.nonce = str(record.get("launchId") or "")

    def gone(self) -> bool:
        return not locks.held(self.files.tree_lock) and not _group_is_ours(self.pgid, self.shim, self.nonce)

    def foreign(self) -> bool:
        """A process of another host: nothing here may be signalled."""
        return self.shim is not None and check(self.shim) is Alive.UNKNOWN

    def signal_group(self, *numbers: int) -> bool:
        ours = _group_is_ours(self.pgid, self.shim, self.nonce)
        return ours and any([_signal(self.pgid, number, os.killpg) for number in numbers])

    def ask(self, reason: str) -> bool:
        """SIGTERM to runner and group; False when there is nobody to ask."""
        asked = _ask_to_end(self.files, reason)
        return self.signal_group(signal.SIGTERM, signal.SIGCONT) or asked


def terminate_agents(
    runtime_paths: list[str],
    reason: str,
    grace_seconds: float = 10.0,
    impatient: Callable[[], bool] = lambda: False,
) -> list[Termination]:
    """End several agents within one grace: all are asked before the first is waited for.

    `impatient` is asked while they leave; once it says True the rest of the grace is skipped (LAUNCH 7.9).
    """
    trees = [_Tree(path) for path in runtime_paths]
    for tree in trees:
        if not tree.gone() and not tree.foreign():
            tree.ask(reason)
    _wait_until(lambda: impatient() or all(tree.gone() or tree.foreign() for tree in trees), grace_seconds)
    return [terminate_agent_tree(path, reason, 0.0) for path in runtime_paths]


def terminate_agent_tree(runtime_path: str, reason: str, grace_seconds: float = 10.0) -> Termination:
    """End runner, process group and stragglers of this agent; blocks up to the grace and some seconds.

    Only what is identified (start time, boot, or this launch's nonce in its environment) is signalled, never a bare
    number; a process of another host is left alone. Spec: SUP 16.7.
    """
    tree = _Tree(runtime_path)
    if tree.foreign():
        return Termination(False, False, tree.gone())
    asked = not tree.gone() and tree.ask(reason)
    if _wait_until(tree.gone, grace_seconds if asked else 0.0):
        # What left the group and holds no lock, as the shells of agent CLIs do, is still there.
        left = end_stragglers(tree.files, tree.nonce)
        return Termination(asked or left, False, True)
    escalated = tree.signal_group(signal.SIGKILL)
    # A healthy runner now needs a moment to write down what happened.
    if not _wait_until(tree.gone, 1.0 if escalated or asked else 0.0):
        escalated = _kill_stragglers(tree.files, tree.nonce, tree.gone) or escalated
    end_stragglers(tree.files, tree.nonce)
    return Termination(asked or escalated, escalated, tree.gone())


def _group_is_ours(pgid: int, shim: Identity | None, nonce: str) -> bool:
    """Whether the group lives and is this agent's: by its leader, else by a member that carries the nonce."""
    if pgid <= 1 or not group_alive(pgid):
        return False
    if shim is not None and shim.pid == pgid and same_process(shim):
        return True
    return bool(nonce) and not set(group_members(pgid)).isdisjoint(processes_marked(NONCE, nonce))


def _ask_to_end(files: AgentFiles, reason: str) -> bool:
    """Leave the reason and send SIGTERM to the runner, which ends its group. False when there is no runner."""
    record = read_object(files.runtime) or {}
    runner = Identity.from_json(record.get("runnerIdentity"))
    if runner is None or not alive(runner):
        return False
    try:
        write_json(files.stop, {"launchId": record.get("launchId"), "reason": reason, "at": now_iso()})
    except DiskError:
        pass  # it ends all the same, only the record does not say why
    return any([_signal_identified(runner, number) for number in (signal.SIGTERM, signal.SIGCONT)])


def end_stragglers(files: AgentFiles, nonce: str) -> bool:
    """End what an agent left running without its locks; False when there was nothing. Blocks some seconds at most."""
    if not nonce or not processes_marked(NONCE, nonce):
        return False
    return _kill_stragglers(files, nonce, lambda: not processes_marked(NONCE, nonce))


def _kill_stragglers(files: AgentFiles, nonce: str, gone: Callable[[], bool]) -> bool:
    """What left the group, and then the runner: TERM, a moment, KILL."""
    signalled = False
    for number in (signal.SIGTERM, signal.SIGKILL):
        pids = processes_marked(NONCE, nonce) if nonce else []
        runner = Identity.from_json((read_object(files.runtime) or {}).get("runnerIdentity"))
        for pid in pids:
            signalled = _signal(pid, number) or signalled
        if number == signal.SIGKILL and runner is not None:
            signalled = _signal_identified(runner, number) or signalled
        if _wait_until(gone, 5.0 if number == signal.SIGKILL and signalled else 0.5):
            break
    return signalled


def _signal(pid: int, number: int, send: Callable[[int, int], None] = os.kill) -> bool:
    try:
        send(pid, number)
        return True
    except OSError:
        return False


def _signal_identified(identity: Identity, number: int) -> bool:
    try:
        return signal_process(identity, number)
    except OSError:
        return False


def _wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True
