"""One run in the hands of its supervisor: what is known, what is written about it, and the launch of its launcher.

Holds:       the run's launcher lock from before the intent is written until the wrapper has inherited it.
Writes:      `state.json` and `events.jsonl` of the run, each write after a look at the lease (fencing).
When killed: the lock tells whether a launcher was started; the next supervisor adopts it or launches again.

Spec: SUP 4.2, 4.4, 8.2, 10.1.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ..base import locks
from ..base.errors import ExitCode, SpawnError, WaveError
from ..base.files import open_log, publish
from ..base.process_identity import identity_of
from ..base.processes import self_command, spawn
from ..base.timestamps import iso_of
from ..state import supervisor_state

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from ..base.event_loop import Watch
    from ..base.lease import Lease
    from ..definition.supervisor_paths import RunPaths, SupervisorPaths
    from .supervisor_log import SupervisorLog

    JsonObject = dict[str, Any]

_HEARTBEAT_WRITE_SECONDS = 30.0


class FencedError(WaveError):
    """Another supervisor owns the root now. Exit 34."""

    default_code = ExitCode.FENCED
    default_key = "fenced"


class Ownership:
    """The lease, asked before every mutation. Spec: SUP 8.2."""

    def __init__(self, lease: Lease, paths: SupervisorPaths) -> None:
        self.lease = lease
        self.paths = paths

    def check(self) -> None:
        """Raises FencedError when the lease is not ours any more; beats first when we slept past it."""
        if not self.lease.ours():
            raise FencedError("another supervisor has taken over", self.paths.rel(self.paths.lock))
        if self.lease.overdue():
            self.lease.beat()

    @property
    def fields(self) -> JsonObject:
        """What every event of ours carries."""
        return {"supervisorId": self.lease.record["supervisorId"], "epoch": self.lease.epoch}


class OwnedRun:
    """A run that is not over, its snapshot in memory, and the timers of its recovery (monotonic seconds)."""

    def __init__(
        self, run: RunPaths, request: JsonObject, state: JsonObject, owner: Ownership, log: SupervisorLog
    ) -> None:
        self.run, self.request, self.state = run, request, state
        self.owner, self.log = owner, log
        self.child: subprocess.Popen[bytes] | None = None
        self.watch: Watch | None = None
        self.watched_pid: int | None = None
        self.due: float | None = None  # not before: launch or resume
        self.cancel_since: float | None = None
        self.escalated = False
        self.drain_since: float | None = None
        self.ending: object | None = None  # a termination that is under way
        self.blocked_by: str | None = None
        self._written_at = 0.0

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.run.run_id

    @property
    def generation(self) -> int:
        """Number of the present launch."""
        number: int = self.state["launchGeneration"]
        return number

    @property
    def running(self) -> bool:
        """Whether it occupies the lane."""
        return bool(self.state["status"] == "running")

    # --- records

    def event(self, kind: str, key: str = "", durable: bool = False, **fields: Any) -> bool:
        """Append an observation under `<kind>:g<generation>[:<key>]`; once, however often the step is repeated."""
        self.owner.check()
        whole = f"{kind}:g{self.generation}{f':{key}' if key else ''}"
        fresh: bool = supervisor_state.append_event(
            self.run, kind, whole, {**self.owner.fields, **fields}, durable=durable
        )
        if fresh:
            shown = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
            self.log.say(f"{kind} {shown}".strip(), self.run_id)
        return fresh

    def write(self, state: JsonObject | None = None, **changes: Any) -> None:
        """Replace the snapshot when it changed; heartbeats alone are written at most every 30 s. Spec: SUP 4.2."""
        new = {**(state or self.state), **changes}
        lease = self.owner.lease
        new["supervisorId"], new["supervisorEpoch"] = lease.record["supervisorId"], lease.epoch
        new["leaseExpiresAt"] = lease.record.get("leaseExpiresAt")
        fresh = supervisor_state.changed(new, self.state)
        if not fresh and time.monotonic() - self._written_at < _HEARTBEAT_WRITE_SECONDS:
            self.state = new
            return
        self.owner.check()
        supervisor_state.write_state(self.run, new, self.state)
        self.state = new
        self._written_at = time.monotonic()

    def put_off(self, seconds: float, **changes: Any) -> None:
        """Nothing is launched before `seconds` from now."""
        self.due = time.monotonic() + seconds
        self.write(notBefore=iso_of(time.time() + seconds), **changes)

    def waits(self) -> bool:
        """Whether a pause before the next launch is still on."""
        return self.due is not None and self.due > time.monotonic()

    # --- launching

    def launch(
        self, argv: list[str], heartbeat: float, resumed: bool, on_retry: Callable[..., None], **counters: Any
    ) -> bool:
        """L1 to L6 of SUP 10.1; False when a launcher holds the lock already (it is adopted). Raises SpawnError.

        `counters` (resumes used) go into the same write as the intent: a crash in between must not cost a resume.
        """
        self.owner.check()
        lock = locks.take(self.run.launcher_flock)
        if lock is None:
            return False
        try:
            self._announce(argv, resumed, counters)
            child = self._spawn(lock, argv, heartbeat, on_retry)
        finally:
            lock.close()
        self.child = child
        self.due = self.drain_since = self.cancel_since = None
        self.escalated = False
        self.write(
            launcherPid=child.pid,
            launcherIdentity=identity_of(child.pid).to_json(),
            terminalDisposition="running",
        )
        self.event("launcher-started", launcherPid=child.pid, launchGeneration=self.generation, resumed=resumed)
        return True

    def _announce(self, argv: list[str], resumed: bool, counters: JsonObject) -> None:
        """L2 and L3: what is about to be started is durable before it is."""
        old = supervisor_state.read_object(self.run.status)
        if old is not None:
            number = old.get("launchGeneration")
            publish(self.run.status, self.run.status_of(number if isinstance(number, int) else self.generation))
        now = iso_of(time.time())
        self.write(
            status="running",
            terminalDisposition="launching",
            recoveryState="resuming" if resumed else "healthy",
            resumeAction=None,
            detail=None,
            startedAt=self.state.get("startedAt") or now,
            launcherArgs=argv,
            launchGeneration=self.generation + 1,
            launcherPid=None,
            launcherIdentity=None,
            launcherStatus=None,
            notBefore=None,
            **counters,
        )
        self.note_intent()

    def note_intent(self) -> None:
        """L3: the event of the launch that the snapshot announces, once."""
        argv = self.state["launcherArgs"]
        self.event("launch-intent", launchGeneration=self.generation, launcherArgs=argv, durable=True)

    def _spawn(
        self, lock: locks.FileLock, argv: list[str], heartbeat: float, on_retry: Callable[..., None]
    ) -> subprocess.Popen[bytes]:
        output = open_log(self.run.log)
        words = [self.run.directory, str(self.generation), str(self.owner.lease.epoch), str(lock.fd), str(heartbeat)]
        try:
            child = spawn(
                [*self_command(), "launcher-wrapper", *words, "--", *argv],
                cwd=self.owner.paths.root,
                stdout=output,
                stderr=output,
                keep_fds=[lock.pass_on()],
                on_retry=on_retry,
                wait=self._wait_with_heartbeat,
            )
        except SpawnError as error:
            self.log.say(f"launcher cannot be started: {error}", self.run_id, "error")
            raise
        finally:
            os.close(output)
        lock.shared_with(child.pid)
        return child

    def _wait_with_heartbeat(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(1.0, max(deadline - time.monotonic(), 0.0)))
            self.owner.lease.beat()
