"""Reading the facts about one submitted run: locks, processes, journal, launcher status, agents, completed waves.

Holds:       nothing; locks are only probed.
Writes:      nothing: readers and the supervisor share it.
When killed: nothing is lost.

Spec: SUP 3.4, 4.3, 9.2, 10.5 a.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import read_json, read_jsonl
from ..base.liveness import liveness
from ..base.locks import LockState, held, lock_state
from ..base.process_identity import Alive, Identity
from ..base.timestamps import parse_iso
from ..engines.supervisor_decisions import Facts
from ..engines.supervisor_resume import ResumePlan, budget_left, resume_plan
from ..state.launcher_progress import progress_key, read_progress
from ..state.supervisor_state import read_object
from .agent_outcomes import Found, examine_agent
from .agent_records import is_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.supervisor_paths import RunPaths, SupervisorPaths

    JsonObject = dict[str, Any]


class Settings(NamedTuple):
    """The `supervisor` settings that facts depend on; times in seconds. Spec: SUP 5."""

    heartbeat: float = 10.0
    foreign_grace: float = 300.0
    resume_limit: int = 3


DEFAULTS = Settings()


def published(lease: JsonObject) -> Settings:
    """The settings that the last supervisor of a root put into its lease, so that readers need no configuration."""
    stored = lease.get("settings")
    known = {key: value for key, value in stored.items() if key in Settings._fields} if isinstance(stored, dict) else {}
    return DEFAULTS._replace(**known)


class SeenAgent(NamedTuple):
    """One agent of a run: its record, where it lies, and what was found of its processes."""

    path: str
    record: dict[str, Any]
    found: Found

    @property
    def live(self) -> bool:
        """Whether some process of it lives."""
        return self.found is Found.LIVE

    @property
    def settled(self) -> bool:
        """Whether it is known how it ended."""
        return is_terminal(self.record) or self.found in (Found.FINISHED, Found.EXITED)


class Observation(NamedTuple):
    """Everything that was read about a run; `facts` is what decisions are made from."""

    facts: Facts
    agents: tuple[SeenAgent, ...]
    process: dict[str, Any] | None  # launcher-process.json of this generation
    launcher_status: dict[str, Any] | None
    journal: dict[str, Any] | None  # of any generation of this run
    launcher_source: str
    cancel: dict[str, Any] | None
    completed: tuple[int, ...]  # waves of this run, by journal, snapshot and canonical logs
    selected: tuple[int, ...]
    plan: ResumePlan
    progress: tuple[int, ...]


def observe(
    paths: SupervisorPaths,
    run: RunPaths,
    state: JsonObject,
    request: JsonObject | None,
    settings: Settings = DEFAULTS,
    lease_expired: bool = False,
) -> Observation:
    """Read all facts about a run that is not terminal. Spec: SUP 9.2.

    Whether the launcher lives is asked first: what a dead one has written is then there to be read. The other way
    round, one that ended between two looks would seem lost without a word.
    """
    generation = state["launchGeneration"]
    process = _of_generation(read_object(run.process), generation)
    verdict, source = "dead", "none"
    if state["status"] == "running":
        verdict, source = _launcher(run, state, process, settings, lease_expired)
        process = _of_generation(read_object(run.process), generation)
    status = _of_generation(read_object(run.status), generation)
    journal = read_progress(run.progress)
    agents = read_agents(run)
    cancel = read_object(run.cancel)
    exit_code, signal = _ending(status)
    final = _journal_word(journal, generation)
    selected = _selected(state, request, journal)
    completed = set(state["completedWaves"]) | set((journal or {}).get("completedWaves") or ())
    key = (*progress_key(journal or {}), sum(is_terminal(agent.record) for agent in agents))
    budget = budget_left(state, key, settings.resume_limit)
    canonical = "unknown"
    gone = verdict == "dead" or signal is not None
    if state["status"] == "running" and (gone or exit_code is not None) and not (request or {}).get("dryRun"):
        recorded, announced = completed_in_run(paths, run.run_id, selected, request)
        # A wave that was announced as completed and is in no run state yet is completed by the next launcher, which
        # then launches nobody; only when no launcher may be started any more, the announcement has to do.
        completed |= recorded if budget else recorded | announced
        canonical = "all" if selected and completed.issuperset(selected) else "open"
    live = tuple(str(agent.record.get("agentId")) for agent in agents if agent.live)
    plan = resume_plan(request or state, journal, selected, completed, bool(live))
    facts = Facts(
        status=state["status"],
        disposition=str(state.get("terminalDisposition") or "pending"),
        recovery=str(state.get("recoveryState") or "pending"),
        cancel=cancel is not None,
        launcher=verdict,
        exit_code=exit_code,
        signal=signal,
        journal=final,
        journal_code=(journal or {}).get("exitCode"),
        agents=_agents_word(agents),
        live_agent_ids=live,
        canonical=canonical,
        budget=budget,
        resume_action=plan.action or "relaunch-from-start",
        never_launched=state.get("terminalDisposition") == "launching" and verdict == "dead" and process is None,
    )
    return Observation(
        facts, agents, process, status, journal, source, cancel, tuple(sorted(completed)), selected, plan, key
    )


def read_agents(run: RunPaths) -> tuple[SeenAgent, ...]:
    """The runtime records of a run, sorted by file name."""
    try:
        names = sorted(name for name in os.listdir(run.agents_dir) if name.endswith(".runtime.json"))
    except OSError:
        return ()
    seen = []
    for name in names:
        path = os.path.join(run.agents_dir, name)
        found, record = examine_agent(path)
        if record is not None:
            seen.append(SeenAgent(path, record, found))
    return tuple(seen)


def holds_locks(run: RunPaths) -> bool:
    """Whether a process of any agent of the run lives, by the locks alone: quick enough to ask thousands of runs."""
    try:
        names = os.listdir(run.agents_dir)
    except OSError:
        return False
    return any(name.endswith(".tree.flock") and held(os.path.join(run.agents_dir, name)) for name in names)


def agent_row(agent: SeenAgent) -> JsonObject:
    """One item of `agentRuntimeSummary`. Spec: SUP 4.3."""
    record = agent.record
    pid = next((record[key] for key in ("pid", "executorPid", "runnerPid") if record.get(key) is not None), None)
    return {
        "agentId": record.get("agentId"),
        "waveNumber": record.get("waveNumber"),
        "attempt": record.get("attempt"),
        "pid": pid,
        "pgid": record.get("pgid"),
        "runnerPid": record.get("runnerPid"),
        "executorPid": record.get("executorPid"),
        "lastHeartbeatAt": record.get("lastHeartbeatAt"),
        "exitCode": record.get("exitCode"),
        "terminalDisposition": record.get("terminalDisposition"),
        "sessionBackend": record.get("sessionBackend") or "process",
        "attachMode": record.get("attachMode") or "log-tail",
        "live": agent.live,
    }


def completed_in_run(
    paths: SupervisorPaths, run_id: str, waves: Sequence[int], request: JsonObject | None
) -> tuple[set[int], set[int]]:
    """Waves that this very run completed: as the run state records it, and as the control plane announced it.

    Entries of other runs do not count. Spec: SUP 10.5 a.
    """
    value = read_json(_state_file(paths, request)).value if waves else None
    entries = value.get("waves") if isinstance(value, dict) else None
    recorded = {wave for wave in waves if isinstance(entries, dict) and _recorded(entries.get(str(wave)), run_id)}
    announced = {
        wave
        for wave in waves
        if any(_completes(event, run_id) for event in read_jsonl(paths.control_plane_log(wave)).records)
    }
    return recorded, announced


def _recorded(entry: object, run_id: str) -> bool:
    """Whether a run-state entry says that this run completed its wave."""
    if not isinstance(entry, dict) or entry.get("currentState") != "completed":
        return False
    evidence = entry.get("lastEvidence")
    return isinstance(evidence, dict) and evidence.get("supervisorRunId") == run_id


def _completes(event: JsonObject, run_id: str) -> bool:
    data = event.get("data")
    return (
        event.get("entityType") == "wave_run"
        and event.get("action") == "completed"
        and isinstance(data, dict)
        and data.get("supervisorRunId") == run_id
    )


def _state_file(paths: SupervisorPaths, request: JsonObject | None) -> str:
    argv = list((request or {}).get("launcherArgs") or ())
    if "--state-file" in argv[:-1]:
        return os.path.join(paths.root, argv[argv.index("--state-file") + 1])
    return paths.run_state


def _selected(state: JsonObject, request: JsonObject | None, journal: JsonObject | None) -> tuple[int, ...]:
    waves = ((request or {}).get("waveSelection") or {}).get("waves")
    if waves:
        return tuple(waves)
    return tuple(sorted({*state["selectedWaves"], *((journal or {}).get("selectedWaves") or ())}))


def _of_generation(record: JsonObject | None, generation: int) -> JsonObject | None:
    """A record of the present launch; a missing generation counts as the present one. Spec: SUP 4.5."""
    return record if record is not None and record.get("launchGeneration", generation) == generation else None


def _ending(status: JsonObject | None) -> tuple[int | None, str | None]:
    if status is None:
        return None, None
    if status.get("terminal") is False:
        return None, str(status.get("signal") or "unknown")
    code = status.get("exitCode")
    return (code if isinstance(code, int) else 1), None


def _journal_word(journal: JsonObject | None, generation: int) -> str:
    if journal is None or journal.get("launchGeneration") not in (generation, None):
        return "none"
    if not journal["finalized"]:
        return "open"
    return str(journal.get("finalDisposition") or "failed")


def _agents_word(agents: tuple[SeenAgent, ...]) -> str:
    if not agents:
        return "none"
    if any(agent.live for agent in agents):
        return "live"
    return "settled" if all(agent.settled for agent in agents) else "lost"


def _launcher(
    run: RunPaths, state: JsonObject, process: JsonObject | None, settings: Settings, lease_expired: bool
) -> tuple[str, str]:
    identity = Identity.from_json((process or {}).get("identity") or state.get("launcherIdentity"))
    if identity is None and lock_state(run.launcher_flock) is LockState.ABSENT:
        return "dead", "none"  # the lock comes before everything else: nothing was ever started
    beat = parse_iso((process or {}).get("heartbeatAt"))
    verdict = liveness(
        run.launcher_flock,
        identity,
        None if beat is None else time.time() - beat,
        settings.heartbeat,
        settings.foreign_grace,
        lease_expired,
    )
    words = {Alive.ALIVE: "alive", Alive.DEAD: "dead", Alive.UNKNOWN: "unknown"}
    return words[verdict.verdict], verdict.source
