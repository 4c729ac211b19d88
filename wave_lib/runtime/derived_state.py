"""Refreshing the derived state of a wave: read the facts, let the engine decide, append what the logs lack.

Holds: the coordination log's lock from the reading to the append.
Writes: `coordination/wave-<n>.jsonl`, checkpoints, the triage log, feedback requests that triage asks or closes.
When killed: questions are written before the records that name them, and asked only once: the next refresh goes on.
Spec: COORD 2, 5, 14, 20.
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import StateError
from ..base.files import append_jsonl, load_json
from ..base.timestamps import iso_of, now_iso
from ..engines.derived_state import Appends, DerivedInputs, DerivedState
from ..engines.derived_state_engine import build_derived_state
from ..providers.corridor import read_artifact
from ..state import telemetry_sink
from ..state.control_plane import control_plane_reader
from ..state.coordination_store import CoordinationLog
from ..state.dependency_tickets import read_tickets
from ..state.feedback_store import Answer, read_wave_requests
from ..state.log_access import locked_log
from .human_questions import ask_human, close_question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

    JsonObject = dict[str, Any]


class DerivedFacts(NamedTuple):
    """What the launcher knows and the logs do not; see `DerivedInputs` for the members."""

    attempt: int = 0
    summaries: Mapping[str, JsonObject | None] = {}
    runs: Mapping[str, JsonObject] = {}
    presence: Mapping[str, bool] = {}
    catalog: BenchmarkCatalog | None = None
    catalog_error: str | None = None
    ignored_gap_record_ids: frozenset[str] = frozenset()


class DerivedContext:
    """One wave whose derived state is refreshed again and again; its logs read only what was appended since."""

    def __init__(self, paths: LanePaths, wave: Wave, bindings: RoleBindings, orchestrator_id: str = "") -> None:
        self.paths = paths
        self.wave = wave
        self.bindings = bindings
        self.orchestrator_id = orchestrator_id
        self.log = CoordinationLog(paths.coordination_log(wave.wave), paths.coordination_checkpoint(wave.wave))
        self.control = control_plane_reader(paths, wave.wave)
        created = load_json_quietly(paths.docs_queue(wave.wave)).get("createdAt")
        self.docs_queue_created_at = str(created) if created else None

    def save_checkpoints(self) -> None:
        """Let the next process begin where this one has read to. For writers only."""
        self.log.save_checkpoint()
        self.control.save_checkpoint()


NO_FACTS = DerivedFacts()


def refresh_derived_state(context: DerivedContext, facts: DerivedFacts = NO_FACTS) -> DerivedState:
    """Read, decide, append what is new (seeds, triage, assignments), and return the state. Spec: COORD 20."""
    with locked_log(context.log.path) as lock:
        derived = build_derived_state(_inputs(context, facts, ""))
        _write(context, derived.appends, lock)
    context.save_checkpoints()
    context.docs_queue_created_at = derived.docs_queue["createdAt"]
    return derived


def preview_derived_state(context: DerivedContext, facts: DerivedFacts = NO_FACTS) -> DerivedState:
    """The same for readers: nothing is written, missing seeds are overlaid in memory. Spec: COORD 5, 20."""
    return build_derived_state(_inputs(context, facts, _modified_at(context)))


def _inputs(context: DerivedContext, facts: DerivedFacts, seed_time: str) -> DerivedInputs:
    paths, wave = context.paths, context.wave
    number = wave.wave
    profile = paths.profile
    control = context.control.refresh()
    coordination = context.log.refresh()
    agent_ids = {agent.agent_id for agent in wave.agents}
    return DerivedInputs(
        wave=wave,
        bindings=context.bindings,
        profile=profile,
        attempt=facts.attempt,
        coordination=coordination,
        control_plane=control,
        feedback=read_wave_requests(paths, number, agent_ids, context.orchestrator_id).rows,
        tickets=read_tickets(dependency_directories(paths)).tickets,
        now=now_iso(),
        summaries=facts.summaries,
        runs=facts.runs,
        presence=facts.presence,
        catalog=facts.catalog,
        catalog_error=facts.catalog_error,
        corridor=read_artifact(paths, wave, context.bindings),
        corridor_config=profile.external_providers.get("corridor") or {},
        previous_docs_queue_created_at=context.docs_queue_created_at,
        bad_lines=[*context.log.bad_lines, *control.bad_lines],
        seed_time=seed_time,
        orchestrator_id=context.orchestrator_id,
        ignored_gap_record_ids=facts.ignored_gap_record_ids,
    )


def dependency_directories(paths: LanePaths) -> list[str]:
    """Dependency directories of all projects: this one's first, then those of the workspace. Spec: COORD 15.1."""
    own = paths.dependencies_dir
    if paths.dry_run:
        return [own]
    workspace = paths.workspace_orchestrator_dir
    others = [os.path.join(workspace, "dependencies"), *sorted(glob.glob(f"{workspace}/projects/*/dependencies"))]
    return list(dict.fromkeys([own, *others]))


def _modified_at(context: DerivedContext) -> str:
    """When the wave file was last changed; now for waves that come from no file."""
    try:
        return iso_of(os.stat(context.paths.absolute(context.wave.file)).st_mtime)
    except OSError:
        return now_iso()


def _write(context: DerivedContext, appends: Appends, lock: Any) -> None:
    if appends.nothing:
        return
    paths, number = context.paths, context.wave.wave
    for request in appends.feedback:
        question, more = request["question"], request["context"]
        asker, asked_by = request["agentId"], context.orchestrator_id
        ask_human(paths, number, asker, question, more, orchestrator_id=asked_by, request_id=request["id"])
    for closing in appends.feedback_to_close:
        # Somebody may have answered in the meantime: either way nobody waits for it.
        answer = Answer(closing.text, "launcher", closing.disposition)
        close_question(paths, number, closing.request_id, answer, "launcher")
    if appends.records:
        append_jsonl(context.log.path, appends.records, lock=lock)
        telemetry_sink.emit(telemetry_sink.COORDINATION, appends.records)
    if appends.triage:
        append_jsonl(paths.triage_log(number), appends.triage)


def load_json_quietly(path: str) -> JsonObject:
    """A projection's document, empty when it is missing or broken."""
    try:
        value = load_json(path, {})
    except StateError:
        return {}
    return value if isinstance(value, dict) else {}
