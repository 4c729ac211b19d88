"""Becoming the supervisor of a root: the lease, and what is done about a holder that does not move.

Holds:       the lease, once acquired.
Writes:      `daemon.lock`, in place.
When killed: the lock is free; the next supervisor counts the epoch up.

Spec: SUP 8.1, 4.7.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import LockHeldError
from ..base.lease import Lease, acquire_lease, read_lease
from ..base.locks import take
from ..base.process_identity import Identity, alive, identity_of, this_host
from ..base.processes import signal_process
from ..base.timestamps import parse_iso
from ..state.supervisor_state import read_state, run_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..definition.supervisor_paths import SupervisorPaths

_KILL_PATIENCE_SECONDS = 5.0
_LEAVING = ("stopping", "released")


class LeaseHeldError(LockHeldError):
    """The lease belongs to somebody that may not, or cannot, be replaced."""

    default_key = "lease-held"


class Acquired(NamedTuple):
    """The lease, or the record of the live supervisor that holds it."""

    lease: Lease | None
    holder: dict[str, Any]


def acquire(
    paths: SupervisorPaths, facts: dict[str, Any], seconds: float, takeover: bool, say: Callable[[str], None]
) -> Acquired:
    """The lease, if need be after ending a holder that is stopped or hung. Raises LeaseHeldError.

    `facts` are the record's project, lane and such; `seconds` is the length of the lease.
    """
    while True:
        lease = _try(paths, facts, seconds)
        if lease is not None:
            return Acquired(lease, {})
        holder = read_lease(paths.lock) or {}
        if holder.get("state") in _LEAVING and _fresh(holder):
            say(f"supervisor pid {holder.get('pid')} is leaving; waiting for it")
            left = take(paths.lock, blocking=True, timeout=seconds)
            if left is not None:
                left.close()
            continue
        if _fresh(holder) or _moves(paths.lock, holder, seconds, say):
            return Acquired(None, read_lease(paths.lock) or holder)
        if _try_is_free(paths):
            continue
        _end_holder(paths, holder, takeover, say)


def _try(paths: SupervisorPaths, facts: dict[str, Any], seconds: float) -> Lease | None:
    pid = os.getpid()
    record = {
        "supervisorId": f"supervisor-{pid}-{os.urandom(4).hex()}",
        "pid": pid,
        **facts,
        "identity": identity_of(pid).to_json(),
        "hostname": this_host().hostname,
        "activeRunId": None,
        "idleSince": None,
    }
    floor = 0
    if read_lease(paths.lock) is None and os.path.exists(paths.lock):
        floor = highest_epoch(paths)
    return acquire_lease(paths.lock, record, seconds, floor)


def highest_epoch(paths: SupervisorPaths) -> int:
    """The largest epoch that any run has seen, for a lease record that cannot be read. Spec: SUP 4.7."""
    states = (read_state(paths.run(run_id)) for run_id in run_ids(paths))
    epochs = (state.get("supervisorEpoch") for state in states if state is not None)
    return max((epoch for epoch in epochs if isinstance(epoch, int)), default=0)


def _fresh(holder: dict[str, Any]) -> bool:
    """Whether the text promises more time. A stamp far in the future is no promise, the clock was set back."""
    expires, beat = parse_iso(holder.get("leaseExpiresAt")), parse_iso(holder.get("heartbeatAt"))
    now = time.time()
    return expires is not None and beat is not None and expires > now and beat - now <= 60.0


def _moves(lock: str, holder: dict[str, Any], seconds: float, say: Callable[[str], None]) -> bool:
    """Watch the heartbeat for one lease length of our own clock. Spec: SUP 8.1 point 2."""
    say(f"the lease of supervisor pid {holder.get('pid')} has expired; watching it for {seconds:g} s")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(min(0.25, max(deadline - time.monotonic(), 0.0)))
        seen = read_lease(lock) or {}
        if any(seen.get(key) != holder.get(key) for key in ("heartbeatSeq", "supervisorId", "epoch")):
            return True
        if not _held_still(lock):
            return False
    return False


def _held_still(lock: str) -> bool:
    from ..base.locks import held

    return held(lock)


def _try_is_free(paths: SupervisorPaths) -> bool:
    lock = take(paths.lock)
    if lock is None:
        return False
    lock.close()
    return True


def _end_holder(paths: SupervisorPaths, holder: dict[str, Any], takeover: bool, say: Callable[[str], None]) -> None:
    """Fence by kill: only the very process that the lease names, on this host. Raises LeaseHeldError."""
    identity = Identity.from_json(holder.get("identity"))
    who = f"pid {holder.get('pid')} on {holder.get('hostname')}"
    if not takeover:
        raise LeaseHeldError(
            f"a supervisor that does not move holds the lease ({who})",
            paths.rel(paths.lock),
            "end it, or allow `supervisor.takeover`",
        )
    if identity is None or not alive(identity):
        raise LeaseHeldError(
            f"the lease is held by a process that cannot be identified here ({who})",
            paths.rel(paths.lock),
            "end it where it runs",
        )
    say(f"ending the supervisor that does not move ({who})")
    try:
        if not signal_process(identity, signal.SIGKILL):
            return
    except PermissionError:
        raise LeaseHeldError(f"no permission to end {who}", paths.rel(paths.lock), "end it by hand") from None
    lock = take(paths.lock, blocking=True, timeout=_KILL_PATIENCE_SECONDS)
    if lock is None:
        raise LeaseHeldError(f"{who} was killed and the lock is still held", paths.rel(paths.lock))
    lock.close()
