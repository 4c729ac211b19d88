"""A submitted run as it is at this moment, decided from the facts without acting on them.

Holds:       nothing.
Writes:      nothing: works on a read-only mount.
When killed: nothing is lost.

Spec: SUP 14.1, 14.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.lease import lease_is_fresh, read_lease
from ..base.locks import held
from ..base.timestamps import now_iso
from ..state.supervisor_state import queue_order, read_object, read_state, rebuilt_state, recent_states

if TYPE_CHECKING:
    from typing import Any

    from ..definition.supervisor_paths import RunPaths, SupervisorPaths
    from ..engines.supervisor_decisions import Decision
    from .supervisor_facts import Observation

    JsonObject = dict[str, Any]

_QUEUE_LOOKS_BACK = 300


class Daemon:
    """Who supervises a root: `state` is `active`, `stopped`, `absent` or `foreign`; `lease` as last written."""

    def __init__(self, state: str, lease: JsonObject) -> None:
        self.state = state
        self.lease = lease

    @property
    def active(self) -> bool:
        """Whether somebody holds the lock."""
        return self.state == "active"

    def to_json(self) -> JsonObject:
        """As output shows it."""
        keys = ("supervisorId", "pid", "epoch", "leaseExpiresAt")
        return {"state": self.state, **{key: self.lease.get(key) for key in keys}}


def read_daemon(paths: SupervisorPaths) -> Daemon:
    """The supervisor of a root, by its lock; where locks say nothing, by the identity in the lease."""
    lease = read_lease(paths.lock) or {}
    if held(paths.lock):
        return Daemon("active", lease)
    if not lease:
        return Daemon("absent", {})
    if lease.get("state") != "active" or not lease_is_fresh(lease):
        return Daemon("stopped", lease)
    from ..base.process_identity import Alive, Identity, check

    identity = Identity.from_json(lease.get("identity"))
    elsewhere = identity is not None and check(identity) is Alive.UNKNOWN
    return Daemon("foreign" if elsewhere else "stopped", lease)


class View:
    """What `status` and `wait` show; `document` is the JSON, `observation` what it rests on (None: the run is over)."""

    def __init__(self, document: JsonObject, observation: Observation | None, daemon: Daemon) -> None:
        self.document = document
        self.observation = observation
        self.daemon = daemon

    @property
    def terminal(self) -> bool:
        """Whether the run is over."""
        return self.document["status"] in ("completed", "failed")

    def shape(self) -> tuple[object, ...]:
        """What `wait --until-change` compares. Spec: SUP 14.3."""
        keys = ("status", "terminalDisposition", "recoveryState", "activeWave")
        agents = sorted(
            (str(row["agentId"]), str(row["attempt"]), str(row["terminalDisposition"]))
            for row in self.document["agentRuntimeSummary"]
        )
        return (*(self.document[key] for key in keys), tuple(self.document["completedWaves"]), tuple(agents))


def run_view(paths: SupervisorPaths, run: RunPaths) -> View | None:
    """The view of SUP 14.1, None when there is no such run."""
    request = read_object(run.request)
    state = read_state(run)
    if state is None:
        if request is None:
            return None
        state = rebuilt_state(run, request)
    daemon = read_daemon(paths)
    if state["status"] in ("completed", "failed"):
        return View(_finished(state, daemon), None, daemon)
    # What follows is needed for runs that are not over only; a client that asks for others does not load it.
    from ..engines.supervisor_decisions import GIVEN_UP_ROW, decide
    from .supervisor_facts import observe, published

    seen = observe(paths, run, state, request, published(daemon.lease))
    decision = decide(seen.facts)
    if decision.row == GIVEN_UP_ROW:  # only a supervisor gives a run up, for it may still find it complete (SUP 10.5 b)
        decision = decide(seen.facts._replace(budget=True))._replace(resume_action=None)
    shown = decided_state(state, decision, seen, request)
    return View(_document(paths, shown, state, daemon, seen, decision), seen, daemon)


def decided_state(state: JsonObject, decision: Decision, seen: Observation, request: JsonObject | None) -> JsonObject:
    """The snapshot with what was decided in it; the supervisor writes exactly this, readers show it."""
    from ..engines.supervisor_resume import active_wave
    from .supervisor_facts import agent_row

    end = ((request or {}).get("waveSelection") or {}).get("endWave")
    shown = {
        **state,
        "status": decision.status,
        "terminalDisposition": decision.disposition,
        "recoveryState": decision.recovery,
        "resumeAction": decision.resume_action,
        "detail": decision.because,
        "selectedWaves": list(seen.selected),
        "completedWaves": list(seen.completed),
        "agentRuntimeSummary": [agent_row(agent) for agent in seen.agents],
        "launcherStatus": seen.launcher_status or state.get("launcherStatus"),
    }
    shown["activeWave"] = active_wave(shown, seen.journal, decision.status == "completed", end)
    if decision.terminal:
        status = seen.launcher_status or {}
        shown["exitCode"] = decision.exit_code
        shown["completedAt"] = state.get("completedAt") or status.get("completedAt") or now_iso()
    if seen.cancel is not None:
        shown["cancelRequestedAt"] = seen.cancel.get("requestedAt")
    return shown


def _finished(state: JsonObject, daemon: Daemon) -> JsonObject:
    """The document of a run that is over: its snapshot is final."""
    live = [str(row.get("agentId")) for row in state["agentRuntimeSummary"] if row.get("live")]
    observed = {"launcher": "dead", "launcherSource": "none", "liveAgentIds": live, "at": now_iso()}
    return {**_owned(state, daemon), "observed": observed, "recorded": {}}


def _document(
    paths: SupervisorPaths,
    shown: JsonObject,
    recorded: JsonObject,
    daemon: Daemon,
    seen: Observation,
    decision: Decision,
) -> JsonObject:
    document = _owned(shown, daemon)
    document["observed"] = {
        "launcher": seen.facts.launcher,
        "launcherSource": seen.launcher_source,
        "liveAgentIds": list(seen.facts.live_agent_ids),
        "at": now_iso(),
    }
    keys = ("status", "terminalDisposition", "recoveryState", "resumeAction", "exitCode", "activeWave")
    document["recorded"] = {key: recorded.get(key) for key in keys if recorded.get(key) != shown.get(key)}
    if decision.needs_supervisor and not daemon.active:
        document["resumeAction"] = "start-daemon"
        document["detail"] = f"{decision.because}; no supervisor is running (start one: wave supervise)"
    if shown["status"] == "pending":
        document["queuePosition"] = _queue_position(paths, shown)
    return document


def _owned(state: JsonObject, daemon: Daemon) -> JsonObject:
    """The snapshot with the present lease in place of the one at the last write."""
    document = dict(state)
    if daemon.active:
        document["supervisorId"] = daemon.lease.get("supervisorId")
        document["leaseExpiresAt"] = daemon.lease.get("leaseExpiresAt")
    document["daemon"] = daemon.to_json()
    return document


def _queue_position(paths: SupervisorPaths, state: JsonObject) -> int:
    states = recent_states(paths, _QUEUE_LOOKS_BACK)
    ahead = [other for other in states if other["status"] == "pending" and queue_order(other) < queue_order(state)]
    return 1 + len(ahead)


_RANK = {"running": 0, "pending": 1, "failed": 2, "completed": 3}
_SUMMARY_KEYS = (
    "runId",
    "status",
    "terminalDisposition",
    "launcherPid",
    "exitCode",
    "detail",
    "updatedAt",
    "leaseExpiresAt",
    "supervisorId",
    "sessionBackend",
    "recoveryState",
    "resumeAction",
    "agentRuntimeSummary",
)


def summarize_supervisor_for_wave(paths: SupervisorPaths, wave: int, agent_id: str = "") -> JsonObject | None:
    """The run that `wave control status` shows for a wave, None when no run knows it. Spec: SUP 14.7."""
    candidates = []
    for state in recent_states(paths, _QUEUE_LOOKS_BACK):
        waiting = state["status"] in ("running", "pending") and wave in state["selectedWaves"]
        if state.get("activeWave") == wave or waiting:
            candidates.append(state)
    candidates.sort(key=lambda state: str(state.get("updatedAt") or ""), reverse=True)
    candidates.sort(key=lambda state: _RANK[state["status"]])
    for state in candidates:
        view = run_view(paths, paths.run(str(state["runId"])))
        if view is None:
            continue
        summary = {key: view.document.get(key) for key in _SUMMARY_KEYS}
        if agent_id:
            rows = summary["agentRuntimeSummary"] or []
            summary["agentRuntimeSummary"] = [row for row in rows if row["agentId"] == agent_id]
        return summary
    return None
