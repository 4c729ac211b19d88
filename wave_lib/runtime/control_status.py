"""Reading how a wave stands: the facts of `control status`, its payload, and the signals that follow.

Holds:       nothing; `sync_signals` holds the signals' lock while it writes.
Writes:      nothing but `signals/` and checkpoints of long logs, and that only in `sync_signals`.
When killed: some signals are older than others; the next sync brings them up to date.

Spec: COORD 2 (readers never write), 25.1, 26.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.timestamps import now_iso
from ..engines.closure_adjudicator import adjudicate
from ..engines.control_state import StatusFacts, signal_facts, wave_status
from ..engines.gate_results import Verdict
from ..engines.rerun_override import effective_selection
from ..engines.role_verdicts import VerdictFacts, agent_verdicts
from ..engines.task_snapshots import build_task_snapshots
from ..engines.working_log import with_records
from ..projections.control_status import status_payload
from ..projections.signals import RESIDENT, SignalSet, build_wave_signals, sync_wave_signals, without_comparable
from ..state import control_plane, dependency_tickets, feedback_store, retry_state, run_state
from ..state.agent_state import read_status_record
from ..state.artifact_schemas import read_normalized
from ..state.closure_adjudication import read_adjudications
from .derived_state import dependency_directories, preview_derived_state
from .operator_actions import missing_seeds
from .wave_scene import derived_context, derived_facts, launcher_is_active, reading_context

if TYPE_CHECKING:
    from ..state.coordination_records import LogDiagnostic
    from ..state.coordination_store import CoordinationState
    from .derived_state import DerivedContext, DerivedFacts
    from .wave_scene import WaveScene

    JsonObject = dict[str, Any]


class StatusReading(NamedTuple):
    """The facts, and the lines and files that could not be read (paths as they are shown)."""

    facts: StatusFacts
    diagnostics: list[JsonObject]


def read_status(
    scene: WaveScene,
    logs: DerivedContext | None = None,
    found: DerivedFacts | None = None,
    *,
    only_open: bool = False,
) -> StatusReading:
    """The facts as they are on disk now. `logs` keeps what was read of the logs between two readings.

    `found` is what agents left, when the caller (a launcher) knows it already. `only_open`: tasks that are closed may
    be left out; nothing but the list of all tasks tells the difference.
    """
    paths, wave, number = scene.paths, scene.wave, scene.number
    logs = logs or derived_context(scene)
    control = logs.control.refresh()
    found = found or derived_facts(reading_context(scene, logs))
    derived = preview_derived_state(logs, found)
    entry, problems = _run_state_entry(scene)
    records, rows = read_records_and_questions(scene, logs)
    request = retry_state.active_request_of(control, paths, number)
    statuses = {agent.agent_id: read_status_record(paths.status_file(number, agent.slug)) for agent in wave.agents}
    verdicts = _verdicts(scene, found)
    facts = StatusFacts(
        lane=paths.lane,
        wave=wave,
        bindings=scene.bindings,
        derived=derived,
        control=control,
        records=records,
        feedback=rows,
        tasks=build_task_snapshots(records, rows, scene.agent_ids, derived.now, only_open=only_open),
        statuses=statuses,
        verdicts=verdicts,
        adjudications=_adjudications(scene, records, found, statuses, verdicts),
        run_state_entry=entry,
        rerun_request=request,
        rerun_agents=effective_selection(request, wave, scene.bindings) if request else (),
        relaunch_plan=retry_state.read_relaunch_plan(paths, number),
        launcher_active=launcher_is_active(paths),
        **_supervision(scene),
    )
    shown = [_shown(scene, line) for line in (*logs.log.bad_lines, *control.bad_lines, *_other_problems(scene))]
    return StatusReading(facts, shown + problems)


def read_records_and_questions(scene: WaveScene, logs: DerivedContext) -> tuple[CoordinationState, list[JsonObject]]:
    """The coordination log with missing seeds overlaid, and the rows of the feedback queue. Spec: COORD 5."""
    state = logs.log.refresh()
    rows = feedback_store.read_wave_requests(scene.paths, scene.number, scene.agent_ids).rows
    return with_records(state, missing_seeds(scene, state)), rows


def read_tasks(scene: WaveScene) -> list[JsonObject]:
    """The task snapshots of the wave. Writes nothing. Spec: COORD 8."""
    records, rows = read_records_and_questions(scene, derived_context(scene))
    return build_task_snapshots(records, rows, scene.agent_ids, now_iso())


def read_payload(
    scene: WaveScene, agent_id: str | None = None, logs: DerivedContext | None = None, *, only_open: bool = False
) -> JsonObject:
    """The document of `control status --json`, with `only_open` without the closed tasks. Writes nothing."""
    facts, diagnostics = read_status(scene, logs, only_open=only_open)
    only = None if agent_id == RESIDENT else agent_id
    return status_payload(
        facts,
        wave_status(facts, only),
        _shown_signals(scene, facts, agent_id),
        agent_id=agent_id,
        proof_bundles=proof_entries(scene, facts.control),
        diagnostics=diagnostics,
    )


def sync_signals(
    scene: WaveScene,
    logs: DerivedContext | None = None,
    found: DerivedFacts | None = None,
    *,
    resident: bool = False,
) -> SignalSet:
    """Compute the signals of the wave and write those that changed. Spec: COORD 26.3.

    `resident`: there is a resident orchestrator, even if it never had a signal.
    """
    logs = logs or derived_context(scene)
    facts = read_status(scene, logs, found, only_open=True).facts
    logs.save_checkpoints()
    return sync_wave_signals(scene.paths, signal_facts(facts), now_iso(), resident=resident or _has_resident(scene))


def chosen_signal(payload: JsonObject) -> JsonObject:
    """The signal that a payload is about: the filtered agent's, else the wave's."""
    signals, agent_id = payload["signals"], payload["agentId"]
    if agent_id is None:
        return dict(signals["wave"])
    if agent_id == RESIDENT:
        return dict(signals["resident"] or signals["wave"])
    return dict(next((item for item in signals["agents"] if item["agentId"] == agent_id), signals["wave"]))


def proof_entries(scene: WaveScene, control: control_plane.ControlPlaneState) -> list[JsonObject]:
    """Proof registry entries, of any state; those of the file in a tree without bundle events. Spec: COORD 7.4."""
    registry = control_plane.proof_registry(scene.paths, scene.number, control)
    if registry is None:
        registry = read_normalized("wave-proof-registry", scene.paths.proof_registry(scene.number), now=now_iso())
    return list(registry["entries"]) if registry is not None else []


# --- parts of the facts ---------------------------------------------------------------------------------------------


def _verdicts(scene: WaveScene, found: DerivedFacts) -> dict[str, Verdict]:
    """Agent id -> the first refusal of its roles' validators, else their approval."""
    facts = VerdictFacts(
        scene.wave, scene.bindings, found.summaries, found.presence, found.catalog, found.catalog_error
    )
    return {
        agent_id: next((verdict for verdict in by_kind.values() if not verdict.ok), next(iter(by_kind.values())))
        for agent_id, by_kind in agent_verdicts(facts).items()
    }


def _adjudications(
    scene: WaveScene,
    log: CoordinationState,
    found: DerivedFacts,
    statuses: dict[str, JsonObject | None],
    verdicts: dict[str, Verdict],
) -> dict[str, JsonObject | None]:
    """Agent id -> its stored adjudication, else the one that follows from the facts now. Spec: COORD 25.3."""
    result: dict[str, JsonObject | None] = {}
    stored = read_adjudications(scene.paths, scene.number)
    for agent in scene.wave.agents:
        agent_id, status = agent.agent_id, statuses[agent.agent_id]
        own = [item for item in stored if item.get("agentId") == agent_id]
        attempt = (status or {}).get("attempt")
        fitting = [item for item in own if item.get("attempt") == attempt] if attempt else own
        newest = max(fitting, key=lambda item: int(item.get("attempt") or 0), default=None)
        verdict = verdicts[agent_id]
        if newest is None and status and status["code"] == 0 and verdict.eligible_for_adjudication:
            newest = adjudicate(
                verdict,
                found.summaries.get(agent_id),
                agent,
                records=log.latest,
                presence=found.presence,
            ).to_json()
        result[agent_id] = newest
    return result


def _run_state_entry(scene: WaveScene) -> tuple[JsonObject | None, list[JsonObject]]:
    path = scene.paths.run_state
    try:
        return run_state.entry_of(run_state.read_run_state(path), scene.number), []
    except WaveError as error:
        return None, [{"path": scene.paths.rel(path), "line": 0, "reason": error.what}]


def _other_problems(scene: WaveScene) -> list[LogDiagnostic]:
    tickets = dependency_tickets.read_tickets(dependency_directories(scene.paths))
    requests = feedback_store.read_wave_requests(scene.paths, scene.number, scene.agent_ids)
    return [*tickets.bad_lines, *requests.diagnostics]


def _shown(scene: WaveScene, line: LogDiagnostic) -> JsonObject:
    return {**line.to_json(), "path": scene.paths.rel(line.path) if os.path.isabs(line.path) else line.path}


def _supervision(scene: WaveScene) -> dict[str, Any]:
    """The supervised run of the wave, and whether one of its agents lives. Spec: SUP 14.7, COORD 25.1 (Live)."""
    paths = scene.paths
    if paths.dry_run or not os.path.isdir(paths.supervisor_runs_dir):
        return {}
    from ..definition.supervisor_paths import SupervisorPaths
    from .supervisor_facts import read_agents
    from .supervisor_view import summarize_supervisor_for_wave

    supervised = SupervisorPaths(paths.root, paths.live_state_dir)
    summary = summarize_supervisor_for_wave(supervised, scene.number)
    if summary is None:
        return {}
    agents = read_agents(supervised.run(str(summary["runId"])))
    return {"supervisor": summary, "runtime_live": any(agent.live for agent in agents)}


def _has_resident(scene: WaveScene) -> bool:
    return os.path.exists(scene.paths.signal_agent(scene.number, RESIDENT))


def _shown_signals(scene: WaveScene, facts: StatusFacts, agent_id: str | None) -> JsonObject:
    found = build_wave_signals(scene.paths, signal_facts(facts), now_iso(), resident=_has_resident(scene))

    def shown(name: str, snapshot: JsonObject) -> JsonObject:
        return without_comparable(snapshot, None if name in found.changed else snapshot["version"])

    return {
        "wave": shown("wave", found.wave),
        "agents": [
            shown(name, snapshot) for name, snapshot in found.agents.items() if agent_id in (None, RESIDENT, name)
        ],
        "resident": shown(RESIDENT, found.resident) if found.resident is not None else None,
    }
