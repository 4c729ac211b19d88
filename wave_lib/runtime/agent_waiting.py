"""Waiting for agents: launches them one after the other and waits until each has settled.

Holds:       nothing of its own; it watches processes, locks and deadlines of agents through the launcher's event loop.
Writes:      nothing (a lost agent is finalised by `agent_outcomes`, a session resumed by `agent_sessions`).
When killed: the agents go on; the next launcher adopts them.

Spec: LAUNCH 8.1, 9; SUP 15.5.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base import locks
from ..base.background import Result, in_background
from ..base.errors import SpawnError, WaveError
from ..base.processes import MAX_TRIES, Identity, alive, retry_delay
from .agent_outcomes import executor_ran
from .agent_records import files_of, read_object, seconds_left
from .agent_sessions import (
    AgentHandle,
    Found,
    agent_alive,
    examine_agent,
    finalise_lost_agent,
    read_status,
    resume_agent,
    terminate_agent_tree,
)

if TYPE_CHECKING:
    from ..base.event_loop import EventLoop, Timer, Watch


class Fetch(NamedTuple):
    """What a starter needs from outside first: `work` runs beside the loop, `then` goes on with what it returned.

    Raising in `work` is like raising in the starter. `work` may take long, and may be given up at any time.
    """

    work: Callable[[], Any]
    then: Callable[[Any], AgentHandle | Fetch | None]


Starter = Callable[[], "AgentHandle | Fetch | None"]
"""Starts or adopts one agent; None when there is nothing to wait for. May raise WaveError (SpawnError, …)."""

HEARTBEAT_CHECK_SECONDS = 30.0
BACKSTOP_SECONDS = 5.0  # on top of the grace: the runner enforces the deadline itself, this is for one that cannot
_LOCK_POLL_SECONDS = 1.0


class AgentEnd(NamedTuple):
    """How one agent settled. `status_code` is None for success (LAUNCH 9.3); `status` and `record` as on disk."""

    agent_id: str
    handle: AgentHandle | None
    status: dict[str, Any] | None
    record: dict[str, Any] | None
    status_code: str | None
    detail: str | None
    timed_out: bool


class WaitResult(NamedTuple):
    """`failures`: `{agentId, statusCode, logPath, detail}` each; `ends` in the order in which the agents settled."""

    failures: list[dict[str, Any]]
    timed_out: bool
    ends: tuple[AgentEnd, ...]


class WaitHooks(NamedTuple):
    """What the launcher wants to hear. Every hook runs inside the event loop and must return quickly.

    `on_running` gets the runtime record, once for each launch and not for adopted agents; `on_progress` comes every
    few seconds and at every change, `on_refresh` more rarely; both get the ids of the agents that are pending.
    """

    on_running: Callable[[AgentHandle, dict[str, Any]], None] = lambda handle, record: None
    on_settled: Callable[[AgentEnd], None] = lambda end: None
    on_resumed: Callable[[AgentHandle], None] = lambda handle: None
    on_progress: Callable[[Sequence[str]], None] = lambda pending: None
    on_refresh: Callable[[Sequence[str]], None] = lambda pending: None


NO_HOOKS = WaitHooks()


class _Active:
    """One agent that has not settled: its handle and what watches it."""

    __slots__ = ("handle", "watches", "deadline", "timed_out", "running")

    def __init__(self, handle: AgentHandle) -> None:
        self.handle = handle
        self.watches: list[Watch | Timer] = []
        self.deadline: Timer | None = None
        self.timed_out = False
        self.running = False

    def unwatch(self) -> None:
        for watch in self.watches:
            watch.cancel()
        self.watches.clear()
        if self.deadline is not None:
            self.deadline.cancel()


class AgentWait:
    """One wait for a set of agents; `run` returns when all of them have settled or `stop` was called."""

    def __init__(
        self,
        loop: EventLoop,
        hooks: WaitHooks = NO_HOOKS,
        *,
        progress_seconds: float = 3.0,
        refresh_seconds: float = 15.0,
        grace_seconds: float = 10.0,
        relative: Callable[[str], str] = lambda path: path,
    ) -> None:
        self.loop = loop
        self.hooks = hooks
        self.progress_seconds = progress_seconds
        self.refresh_seconds = refresh_seconds
        self.grace_seconds = grace_seconds
        self.relative = relative
        self._queue: list[tuple[str, Starter]] = []
        self._active: dict[str, _Active] = {}
        self._ends: list[AgentEnd] = []
        self._stagger = 0.0
        self._max_parallel = 0
        self._next_launch: Timer | None = None
        self._fetching: tuple[str, Watch] | None = None  # the agent whose turn it is, while it waits for its Fetch
        self._never_started: dict[str, int] = {}  # runners of an agent that died before its executor began
        self._not_before = 0.0
        self._stopped = False

    # --- what to wait for

    def launch(
        self, starters: Sequence[tuple[str, Starter]], *, stagger_seconds: float = 0.0, max_parallel: int = 0
    ) -> None:
        """Start (agent id, starter) pairs in order, paced; those started are already waited for. Spec: LAUNCH 8.1.

        `stagger_seconds` lie between two launches; with `max_parallel` a launch waits until fewer agents are active.
        """
        self._queue += starters
        self._stagger, self._max_parallel = stagger_seconds, max_parallel
        self._plan_launch()

    def add(self, handle: AgentHandle) -> None:
        """Wait for this agent too; it may have settled already."""
        active = _Active(handle)
        self._active[handle.agent_id] = active
        if handle.ready_fd is not None:
            active.watches.append(self.loop.watch_fd(handle.ready_fd, lambda: self._ready(active)))
        else:
            self._watch_deadline(active, read_object(handle.runtime_path) or {})
        self._watch_runner(active)

    def pending(self) -> list[str]:
        """Ids of the agents that have not settled, in order: first those started, then those still queued."""
        fetching = [self._fetching[0]] if self._fetching is not None else []
        return [*self._active, *fetching, *(agent_id for agent_id, _ in self._queue)]

    def handles(self) -> list[AgentHandle]:
        """The handles of the agents that were started and have not settled."""
        return [active.handle for active in self._active.values()]

    def stop(self) -> None:
        """End `run` early (a signal): nothing more is launched or terminated; the result holds what settled."""
        self._stopped = True

    def run(self) -> WaitResult:
        """Wait for all. Failures follow LAUNCH 9.3; their `logPath` passes through `relative`."""
        timers = [
            self._every(self.progress_seconds, lambda: self.hooks.on_progress(self.pending())),
            self._every(self.refresh_seconds, lambda: self.hooks.on_refresh(self.pending())),
            self._every(HEARTBEAT_CHECK_SECONDS, self._check_runners),
        ]
        try:
            while not self._stopped and self.pending():
                self.loop.run_once()
        finally:
            for cancel in timers:
                cancel()
            if self._next_launch is not None:
                self._next_launch.cancel()
            if self._fetching is not None:
                self._fetching[1].cancel()
            for active in self._active.values():
                active.unwatch()
        failures = [self._failure(end) for end in self._ends if end.status_code is not None]
        return WaitResult(failures, any(end.timed_out for end in self._ends), tuple(self._ends))

    def _failure(self, end: AgentEnd) -> dict[str, Any]:
        log_path = self.relative(end.handle.log_path) if end.handle else None
        return {"agentId": end.agent_id, "statusCode": end.status_code, "logPath": log_path, "detail": end.detail}

    def _every(self, seconds: float, call: Callable[[], object]) -> Callable[[], None]:
        timers: list[Timer] = []

        def turn() -> None:
            timers[:] = [self.loop.call_later(seconds, turn)]
            call()

        timers.append(self.loop.call_later(seconds, turn))
        return lambda: timers[0].cancel()

    # --- launching

    def _plan_launch(self) -> None:
        if self._queue and self._next_launch is None and self._fetching is None and not self._full():
            self._next_launch = self.loop.call_at(max(self._not_before, time.monotonic()), self._launch_next)

    def _full(self) -> bool:
        return 0 < self._max_parallel <= len(self._active)

    def _launch_next(self) -> None:
        self._next_launch = None
        if self._stopped or not self._queue or self._full():
            return
        agent_id, starter = self._queue.pop(0)
        self._not_before = time.monotonic() + self._stagger
        self._go_on(agent_id, starter)

    def _go_on(self, agent_id: str, starter: Starter) -> None:
        """Start the agent, or have fetched what it needs first; the next one waits for its turn meanwhile."""
        try:
            made = starter()
        except WaveError as error:
            self._not_launched(agent_id, error)
        else:
            if isinstance(made, Fetch):
                fetch = made
                watch = in_background(self.loop, fetch.work, lambda result: self._fetched(agent_id, fetch, result))
                self._fetching = (agent_id, watch)
            elif made is not None:
                self.add(made)
        self._plan_launch()

    def _fetched(self, agent_id: str, fetch: Fetch, result: Result) -> None:
        self._fetching = None
        if not self._stopped:
            self._go_on(agent_id, lambda: fetch.then(result.get()))

    def _not_launched(self, agent_id: str, error: WaveError) -> None:
        """The agent fails; the others go on. A status code of its own: codes are for executors that ran."""
        code = str(int(error.code)) if isinstance(error, SpawnError) else error.key
        name = f"spawn-failed:{error.errno_name or 'unknown'}" if isinstance(error, SpawnError) else str(error)
        self._note_end(AgentEnd(agent_id, None, None, None, code, name, False))

    # --- watching one agent

    def _ready(self, active: _Active) -> None:
        """The runner says that the executor runs, or it ended before that."""
        fd = active.handle.ready_fd
        assert fd is not None
        said = os.read(fd, 16)
        active.watches.pop(0).cancel()
        os.close(fd)
        active.handle = active.handle._replace(ready_fd=None)
        if said:
            self._now_running(active)

    def _now_running(self, active: _Active) -> None:
        if active.running:
            return
        active.running = True
        record = read_object(active.handle.runtime_path) or {}
        self._watch_deadline(active, record)
        self.hooks.on_running(active.handle, record)
        self.hooks.on_progress(self.pending())

    def _watch_deadline(self, active: _Active, record: dict[str, Any]) -> None:
        left = seconds_left(record)
        if left is not None and active.deadline is None:
            grace = active.handle.request.grace_seconds if active.handle.request else self.grace_seconds
            seconds = max(left, 0.0) + grace + BACKSTOP_SECONDS
            active.deadline = self.loop.call_later(seconds, lambda: self._overdue(active))

    def _overdue(self, active: _Active) -> None:
        """The runner did not end the agent at its deadline: it hangs, or it is gone and the executor lives."""
        if read_status(active.handle) is not None:  # it did, and this process slept over the news
            self._settle(active)
            return
        active.timed_out = True
        terminate_agent_tree(active.handle.runtime_path, "timeout", self.grace_seconds)
        finalise_lost_agent(active.handle.runtime_path)
        self._settle(active)

    def _watch_runner(self, active: _Active) -> None:
        handle = active.handle
        if handle.child is not None:
            active.watches.append(self.loop.watch_process(handle.child.pid, lambda: self._look(active)))
            return
        runner = Identity.from_json((read_object(handle.runtime_path) or {}).get("runnerIdentity"))
        if runner is not None and alive(runner):
            active.watches.append(self.loop.watch_process(runner.pid, lambda: self._look(active)))
        else:
            active.watches.append(self.loop.call_later(0.0, lambda: self._look(active)))

    def _look(self, active: _Active) -> None:
        """The runner is gone, or may be: settle, watch the executor that outlived it, or take up what was lost."""
        handle = active.handle
        if self._active.get(handle.agent_id) is not active:
            return
        if handle.child is not None and handle.child.poll() is None:
            return
        if read_status(handle) is not None:
            self._settle(active)
        elif self._held(handle):
            self._watch_executor(active)
        elif finalise_lost_agent(handle.runtime_path, mark_lost=False) is not None:
            self._settle(active)
        elif not self._pauses_before_restart(active):
            self._go_on_or_give_up(active)

    def _pauses_before_restart(self, active: _Active) -> bool:
        """Whether what never started is started again only after a pause: pauses grow, and there is an end to them."""
        if examine_agent(active.handle.runtime_path)[0] is not Found.NEVER_STARTED:
            return False
        agent_id = active.handle.agent_id
        tries = self._never_started[agent_id] = self._never_started.get(agent_id, 0) + 1
        if tries == 1 or tries > MAX_TRIES:
            return False
        active.watches.append(self.loop.call_later(retry_delay(tries - 1), lambda: self._go_on_or_give_up(active)))
        return True

    def _go_on_or_give_up(self, active: _Active) -> None:
        given_up = self._never_started.get(active.handle.agent_id, 0) > MAX_TRIES
        if given_up or not self._resume(active):
            finalise_lost_agent(active.handle.runtime_path)
            self._settle(active)

    @staticmethod
    def _held(handle: AgentHandle) -> bool:
        """Whether something of the agent lives; a dying runner lets go of its two locks one after the other."""
        files = files_of(handle.runtime_path)
        return agent_alive(handle.runtime_path) or locks.held(files.tree_lock) or locks.held(files.runner_lock)

    def _watch_executor(self, active: _Active) -> None:
        shim = Identity.from_json((read_object(active.handle.runtime_path) or {}).get("executorIdentity"))
        if shim is not None and alive(shim):
            active.watches.append(self.loop.watch_process(shim.pid, lambda: self._look(active)))
        else:
            active.watches.append(self.loop.call_later(_LOCK_POLL_SECONDS, lambda: self._look(active)))

    def _resume(self, active: _Active) -> bool:
        """Go on with the session of a lost agent. The wait goes on with the new handle. Spec: SUP 17.11."""
        request = active.handle.request
        if request is None:
            return False
        try:
            handle = resume_agent(request, active.handle.runtime_path)
        except WaveError:
            return False
        if handle is None:
            return False
        active.unwatch()
        self._close_ready(active)
        self.add(handle)
        self.hooks.on_resumed(handle)
        return True

    def _check_runners(self) -> None:
        """A safety net for agents whose end no event told of."""
        for active in list(self._active.values()):
            record = read_object(active.handle.runtime_path) or {}
            if record.get("terminalDisposition") == "running" and active.handle.ready_fd is not None:
                self._now_running(active)  # the runner froze before it could tell: its deadline runs all the same
            if not locks.held(files_of(active.handle.runtime_path).runner_lock):
                self._look(active)

    # --- the end of one agent

    def _settle(self, active: _Active) -> None:
        handle = active.handle
        active.unwatch()
        self._close_ready(active)
        if self._active.pop(handle.agent_id, None) is None:
            return
        status = read_status(handle)
        record = read_object(handle.runtime_path)
        if handle.child is not None and not active.running and executor_ran(handle.runtime_path, record or {}):
            active.running = True  # the executor was quicker than our look at the pipe, or its runner died
            self.hooks.on_running(handle, record or {})
        timed_out = active.timed_out or (status or {}).get("exitReason") == "timeout"
        code = failure_code(status, record, timed_out)
        detail = (status or record or {}).get("exitReason") if code is not None else None
        if detail and (record or {}).get("limitedUntil"):
            detail = f"{detail}; the allowance is back at {(record or {})['limitedUntil']}"
        self._note_end(AgentEnd(handle.agent_id, handle, status, record, code, detail, timed_out))
        self._plan_launch()

    def _close_ready(self, active: _Active) -> None:
        if active.handle.ready_fd is not None:
            os.close(active.handle.ready_fd)
            active.handle = active.handle._replace(ready_fd=None)

    def _note_end(self, end: AgentEnd) -> None:
        self._ends.append(end)
        self.hooks.on_settled(end)
        self.hooks.on_progress(self.pending())


def failure_code(status: dict[str, Any] | None, record: dict[str, Any] | None, timed_out: bool) -> str | None:
    """The `statusCode` of a settled agent, None for success. Spec: LAUNCH 9.3."""
    if timed_out:
        return "timeout-no-status"
    if status is not None:
        return None if status.get("code") == 0 else str(status.get("code"))
    lost = (record or {}).get("exitReason") == "runner-lost"
    if (record or {}).get("terminalDisposition") == "failed" and not lost:
        return "runtime-failed-before-status"
    return "missing-status"
