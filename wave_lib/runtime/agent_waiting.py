"""Waiting for agents: launches them one after the other and waits until each has settled.

Holds:       nothing of its own; it watches processes, locks and deadlines of agents through the launcher's event loop.
Writes:      nothing (a lost agent is finalised by `agent_sessions`).
When killed: the agents go on; the next launcher adopts them.

Spec: LAUNCH 8.1, 9; SUP 15.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from ..base.event_loop import EventLoop
    from .agent_sessions import AgentHandle

Starter = Callable[[], "Optional[AgentHandle]"]
"""Starts or adopts one agent; None when there is nothing to wait for. May raise WaveError (SpawnError, …)."""


class AgentEnd(NamedTuple):
    """How one agent settled. `status_code` is None for success (LAUNCH 9.3); `status` and `record` as on disk."""

    agent_id: str
    handle: Optional[AgentHandle]
    status: Optional[dict[str, Any]]
    record: Optional[dict[str, Any]]
    status_code: Optional[str]
    detail: Optional[str]
    timed_out: bool


class WaitResult(NamedTuple):
    """`failures`: `{agentId, statusCode, logPath, detail}` each; `ends` in the order the agents settled."""

    failures: list[dict[str, Any]]
    timed_out: bool
    ends: tuple[AgentEnd, ...]


class WaitHooks(NamedTuple):
    """What the launcher wants to hear. Every hook runs inside the event loop and must return quickly."""

    on_running: Callable[[AgentHandle, dict[str, Any]], None] = lambda handle, record: None
    on_settled: Callable[[AgentEnd], None] = lambda end: None
    on_resumed: Callable[[AgentHandle], None] = lambda handle: None
    on_progress: Callable[[Sequence[str]], None] = lambda pending: None
    on_refresh: Callable[[Sequence[str]], None] = lambda pending: None


class AgentWait:
    """One wait for a set of agents; `run` returns when all of them have settled or `stop` was called."""

    def __init__(
        self,
        loop: EventLoop,
        hooks: WaitHooks = WaitHooks(),
        *,
        progress_seconds: float = 3.0,
        refresh_seconds: float = 15.0,
        relative: Callable[[str], str] = lambda path: path,
    ) -> None:
        raise NotImplementedError

    def launch(
        self, starters: Sequence[tuple[str, Starter]], *, stagger_seconds: float = 0.0, max_parallel: int = 0
    ) -> None:
        """Start (agent id, starter) pairs in order, paced; the wait is already active for those started. Spec: LAUNCH 8.1."""
        raise NotImplementedError

    def add(self, handle: AgentHandle) -> None:
        """Wait for this agent too."""
        raise NotImplementedError

    def pending(self) -> list[str]:
        """Ids of agents that are queued or have not settled, in order."""
        raise NotImplementedError

    def run(self) -> WaitResult:
        """Wait for all. Failures follow LAUNCH 9.3; `logPath` passes through `relative`."""
        raise NotImplementedError

    def stop(self) -> None:
        """End `run` early (a signal): nothing more is launched, nothing is terminated; the result holds what settled."""
        raise NotImplementedError
