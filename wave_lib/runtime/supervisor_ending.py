"""Ending what belongs to a run: its launcher, when it is cancelled, and agents that outlive their launcher.

Holds:       a thread while agents are being ended, for that takes up to their grace and heartbeats must go on.
Writes:      `cancel-*`, `orphan-cleanup-*` events; the last records of agents that are gone.
When killed: what was signalled goes on ending; the next supervisor finds less to do and repeats the rest.

Spec: SUP 11, 14.5.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from ..base.process_identity import Identity, alive
from ..base.processes import signal_process
from ..state.supervisor_state import read_object
from .agent_ending import terminate_agents
from .agent_outcomes import finalise_lost_agent
from .agent_records import is_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .supervisor_facts import Observation, SeenAgent
    from .supervisor_run import OwnedRun

KILL_AFTER_GRACE_SECONDS = 5.0


class Termination:
    """Agents that are being ended in a thread of its own; `done` once all are gone or given up."""

    def __init__(self, paths: list[str], reason: str, grace_seconds: float) -> None:
        self.gone: list[bool] = []
        self.escalated = False
        self._arguments = (paths, reason, grace_seconds)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the thread is through."""
        return not self._thread.is_alive()

    def _work(self) -> None:
        ended = terminate_agents(*self._arguments)
        self.gone = [result.gone for result in ended]
        self.escalated = any(result.escalated for result in ended)


def cancel_launcher(owned: OwnedRun, seen: Observation, launcher_lock: str) -> None:
    """One step of the ladder TERM, grace and five seconds, KILL. Spec: SUP 14.5."""
    cancel = seen.cancel or {}
    grace = 0.0 if cancel.get("force") else _seconds(cancel.get("graceSeconds"), 10.0)
    now = time.monotonic()
    if owned.cancel_since is None:
        owned.event(
            "cancel-requested",
            requestedBy=cancel.get("requestedBy"),
            reason=cancel.get("reason"),
            force=bool(cancel.get("force")),
        )
        owned.cancel_since = now
        for identity in _launchers(owned, seen, launcher_lock)[:1]:
            _signal(identity, signal.SIGTERM)
            _signal(identity, signal.SIGCONT)  # a stopped launcher hears nothing else
    patience = 1.0 if cancel.get("force") else grace + KILL_AFTER_GRACE_SECONDS
    if now - owned.cancel_since >= patience and not owned.escalated:
        owned.escalated = True
        owned.event("cancel-escalated", step="launcher")
        for identity in _launchers(owned, seen, launcher_lock):
            _kill_group(identity)


def _launchers(owned: OwnedRun, seen: Observation, launcher_lock: str) -> list[Identity]:
    """Identified processes of the run's launcher tree: the wrapper, then the launcher."""
    process = seen.process or {}
    holder = read_object(launcher_lock) or {}
    found = [process.get("identity") or owned.state.get("launcherIdentity"), process.get("launcherIdentity")]
    if holder.get("supervisorRunId") == owned.run_id:
        found.append(holder.get("identity"))
    identities = [Identity.from_json(value) for value in found]
    return list({one.pid: one for one in identities if one is not None and alive(one)}.values())


def end_agents(owned: OwnedRun, agents: Sequence[SeenAgent], reason: str, grace_seconds: float) -> bool:
    """Begin, or go on, ending these live agents without blocking; True when nothing of it is under way any more."""
    running = owned.ending
    if isinstance(running, Termination):
        if not running.done:
            return False
        owned.ending = None
        for agent in agents:
            finalise_lost_agent(agent.path)
        owned.event(
            "orphan-cleanup-finished",
            key=_key(agents),
            gone=all(running.gone),
            escalated=running.escalated,
        )
        return True
    live = [agent for agent in agents if agent.live]
    if not live:
        return True
    owned.owner.check()
    ids = [str(agent.record.get("agentId")) for agent in live]
    owned.event(
        "orphan-cleanup-started",
        key=_key(live),
        agentId=ids[0] if len(ids) == 1 else ids,
        pids=[agent.record.get("pid") for agent in live],
        reasons=[reason],
    )
    owned.ending = Termination([agent.path for agent in live], reason, grace_seconds)
    return False


def settle_agents(owned: OwnedRun, agents: Sequence[SeenAgent], final: bool) -> bool:
    """Write the ending of agents whose runner is gone, from their exit records; `final`: mark the lost ones too.

    A lost agent of a run that goes on stays as it is, for its session may be resumed (SUP 17.11). True when any
    record changed.
    """
    wrote = False
    for agent in agents:
        if agent.live or is_terminal(agent.record):
            continue
        owned.owner.check()
        status = finalise_lost_agent(agent.path, mark_lost=final)
        if status is not None or final:
            wrote = True
            owned.event(
                "agent-runtime-finalized",
                key=str(agent.record.get("launchId") or agent.record.get("agentId")),
                agentId=agent.record.get("agentId"),
                exitCode=None if status is None else status.get("code"),
                source="lost" if status is None else "exit-record",
            )
    return wrote


def _key(agents: Sequence[SeenAgent]) -> str:
    return ",".join(sorted(str(agent.record.get("launchId") or "")[:8] for agent in agents))


def _seconds(value: Any, default: float) -> float:
    return float(value) if isinstance(value, (int, float)) else default


def _signal(identity: Identity, number: int) -> None:
    try:
        signal_process(identity, number)
    except OSError:
        pass


def _kill_group(leader: Identity) -> None:
    """A group keeps its number while it has a member, and its leader has just been seen."""
    try:
        os.killpg(leader.pid, signal.SIGKILL)
    except OSError:
        _signal(leader, signal.SIGKILL)
