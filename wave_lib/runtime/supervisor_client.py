"""How a client reaches the supervisor: wakes the one that runs, or starts one and waits until it holds the lease.

Holds:       nothing.
Writes:      nothing but a byte into the wake FIFO; the started supervisor appends its output to `daemon.log`.
When killed: a supervisor that was started goes on; a run that was published waits for the next one.

Spec: SUP 7.5.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ..base.lease import lease_is_fresh, read_lease
from ..base.locks import held

if TYPE_CHECKING:
    from typing import Any

    from ..definition.supervisor_paths import SupervisorPaths

_READY_SECONDS = 2.0


class Reached:
    """`state` is `running`, `started`, `unavailable` or `skipped`; `problem` says why it is unavailable."""

    def __init__(self, state: str, pid: int | None = None, supervisor_id: str | None = None, problem: str = "") -> None:
        self.state, self.pid, self.supervisor_id, self.problem = state, pid, supervisor_id, problem

    def to_json(self) -> dict[str, Any]:
        """As output shows it."""
        return {"state": self.state, "pid": self.pid, "supervisorId": self.supervisor_id}


def reach_supervisor(paths: SupervisorPaths, project: str, lane: str, adhoc_run: str | None) -> Reached:
    """Wake the supervisor of a root or start one; never raises."""
    lease = read_lease(paths.lock) or {}
    if held(paths.lock) and lease_is_fresh(lease) and lease.get("state") == "active":
        wake(paths.wake)
        return Reached("running", lease.get("pid"), lease.get("supervisorId"))
    return start_daemon(paths, project, lane, adhoc_run)


def prepare_root(paths: SupervisorPaths) -> None:
    """The folders of a supervisor root. Raises DiskError (`not-writable`, `no-space`)."""
    from ..base.files import disk_error, ensure_dir

    try:
        ensure_dir(paths.runs_dir)
        # Asked as the one who will write, who under sudo and the like is not the one who called.
        effective = os.access in os.supports_effective_ids
        if not os.access(paths.runs_dir, os.W_OK | os.X_OK, effective_ids=effective):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise disk_error(paths.runs_dir, error) from None


def wake(path: str) -> None:
    """One byte into the FIFO; nobody listening is no error."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.write(fd, b"\n")
    except OSError:
        pass
    finally:
        os.close(fd)


def start_supervisor(lane: Any) -> Reached:
    """Start the supervisor of a lane from its `LanePaths`."""
    from ..definition.supervisor_paths import SupervisorPaths

    paths = SupervisorPaths(lane.root, lane.live_state_dir)
    return start_daemon(paths, lane.project_id, lane.lane, lane.run_id)


def start_daemon(paths: SupervisorPaths, project: str, lane: str, adhoc_run: str | None) -> Reached:
    """Start a supervisor in a session of its own; waits up to two seconds until it says that it holds the lease."""
    from ..base.errors import WaveError
    from ..base.files import open_log
    from ..base.processes import self_command, spawn

    ready, said = os.pipe()
    flags = ["--project", project, "--lane", lane, *(["--adhoc-run", adhoc_run] if adhoc_run else [])]
    argv = [*self_command(), "supervise", *flags, "--auto-started", "--ready-fd", str(said)]
    try:
        output = open_log(paths.log)
        try:
            child = spawn(argv, cwd=paths.root, stdout=output, stderr=output, keep_fds=[said])
        finally:
            os.close(output)
    except WaveError as error:
        os.close(ready)
        return Reached("unavailable", problem=str(error))
    finally:
        os.close(said)
    child.returncode = 0  # it is meant to outlive us; without this the interpreter warns at exit
    return _wait_ready(paths, ready, child.pid)


def _wait_ready(paths: SupervisorPaths, ready: int, pid: int) -> Reached:
    import select

    try:
        readable, _, _ = select.select([ready], [], [], _READY_SECONDS)
        line = os.read(ready, 1) if readable else None
    finally:
        os.close(ready)
    lease = read_lease(paths.lock) or {}
    if line == b"\n":
        return Reached("started", lease.get("pid", pid), lease.get("supervisorId"))
    if held(paths.lock):  # somebody was faster, or a takeover is under way in the background
        return Reached("running", lease.get("pid"), lease.get("supervisorId"))
    if line is None:
        return Reached("started", pid)
    return Reached("unavailable", problem=f"the supervisor ended at once; see {paths.rel(paths.log)}")
