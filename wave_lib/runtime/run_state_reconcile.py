"""Reconciling run state with what the files of each wave say.

Holds:       the run-state lock while transitions are written.
Writes:      `run-state.json`; execution summaries that are missing although their log exists (cache).
When killed: every transition written so far stands; the next reconciliation decides the rest from the same files.

Spec: CFG 17.4-17.8, LAUNCH 4.2, 4.3. `analyze_lane` is the read-only part, for dry runs and busy lanes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.files import write_json
from ..base.timestamps import now_iso
from ..definition.components import load_component_matrix
from ..definition.evals import load_benchmark_catalog
from ..definition.prompt_fingerprint import fingerprint_match
from ..definition.roles import resolve_wave_role_bindings
from ..engines.facts import WaveFacts
from ..engines.run_state_reconciler import (
    Analysis,
    BlockedWave,
    CompletionFacts,
    Decision,
    PreservedWave,
    ReconcileResult,
    analyze_wave_completion,
    decide,
)
from ..providers.corridor import read_artifact
from ..state import control_plane, coordination_store, proof_registry, run_state
from ..state.agent_state import (
    build_agent_execution_summary,
    collect_summary_facts,
    read_status_record,
    report_path,
)
from ..state.file_facts import file_fact
from ..state.result_envelope import project_summary, read_run_envelope
from .derived_state import DerivedContext, DerivedFacts, preview_derived_state

if TYPE_CHECKING:
    from ..definition.components import ComponentMatrix
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from ..state.result_envelope import EnvelopeReading

    JsonObject = dict[str, Any]


class WaveAnalysis(NamedTuple):
    """One wave: what its files say, what follows, and the evidence they are."""

    wave: Wave
    analysis: Analysis
    decision: Decision
    evidence: JsonObject
    prior: JsonObject | None


def reconcile_run_state(
    paths: LanePaths,
    waves: Sequence[Wave],
    *,
    state_file: str | None = None,
    supervisor_run_id: str | None = None,
) -> ReconcileResult:
    """Analyse every wave and write the transitions that follow. The caller holds the launcher lock.

    `waves` have their executors, skills, Context7 and role bindings applied. `supervisor_run_id` goes into the
    evidence of waves that are newly completed (SUP 10.5). Raises StateError when the run state is unusable.
    """
    path = state_file or paths.run_state
    before = run_state.read_run_state(path)
    analyses = analyze_lane(paths, waves, before, store_summaries=True, supervisor_run_id=supervisor_run_id)
    state = run_state.update_run_state(path, lambda current: apply_decisions(current, analyses))
    return result_of(analyses, before, state)


def preview_reconciliation(
    paths: LanePaths, waves: Sequence[Wave], *, state_file: str | None = None
) -> ReconcileResult:
    """The same report without writing anything: another launcher holds the lane. Spec: CFG 17.6."""
    before = run_state.read_run_state(state_file or paths.run_state)
    analyses = analyze_lane(paths, waves, before)
    return result_of(analyses, before, before)


def known_completed_waves(paths: LanePaths, waves: Sequence[Wave], *, state_file: str | None = None) -> list[int]:
    """Waves that validation takes as complete: by run state, or by their files. Writes nothing. Spec: CFG 17.8 step 3.

    A dry run gives the live tree's paths here.
    """
    state = run_state.read_run_state(state_file or paths.run_state)
    done = set(state["completedWaves"])
    rest = [wave for wave in waves if wave.wave not in done and _has_any_status(paths, wave)]
    return sorted(done.union(item.wave.wave for item in analyze_lane(paths, rest, state) if item.analysis.ok))


def analyze_lane(
    paths: LanePaths,
    waves: Sequence[Wave],
    state: JsonObject,
    *,
    store_summaries: bool = False,
    supervisor_run_id: str | None = None,
) -> list[WaveAnalysis]:
    """Every wave's analysis and decision against a run state; writes at most missing summaries."""
    matrix = _load_matrix(paths) if any(wave.component_promotions for wave in waves) else (None, None)
    catalog = _load_catalog(paths) if any(wave.eval_targets for wave in waves) else (None, None)
    found = []
    for wave in waves:
        prior = run_state.entry_of(state, wave.wave)
        analysis = _analyze(paths, wave, prior, matrix, catalog, store_summaries)
        evidence = run_state.build_run_state_evidence(paths, wave)
        decision = decide(analysis, prior, evidence)
        if supervisor_run_id and decision.rule == "R2" and decision.evidence is not None:
            decision = decision._replace(evidence={**decision.evidence, "supervisorRunId": supervisor_run_id})
        found.append(WaveAnalysis(wave, analysis, decision, evidence, prior))
    return found


def apply_decisions(state: JsonObject, analyses: Sequence[WaveAnalysis]) -> JsonObject:
    """The run state after all transitions; `state` itself when there are none."""
    now = now_iso()
    for item in analyses:
        decision = item.decision
        # A wave that changed since it was analysed was written by somebody who knew more.
        if decision.to_state is None or run_state.entry_of(state, item.wave.wave) != item.prior:
            continue
        state = run_state.append_transition(
            state,
            item.wave.wave,
            decision.to_state,
            source=run_state.STATUS_RECONCILE,
            reason_code=decision.reason_code,
            detail=decision.detail,
            evidence=decision.evidence,
            at=now,
        )
    return state


def result_of(analyses: Sequence[WaveAnalysis], before: JsonObject, after: JsonObject) -> ReconcileResult:
    """What the report shows. Spec: CFG 17.6."""
    completed = tuple(item.wave.wave for item in analyses if item.analysis.ok)
    blocked = tuple(
        BlockedWave(item.wave.wave, item.analysis.reasons, item.decision.evidence)
        for item in analyses
        if item.decision.rule in ("R6", "R7")
    )
    kept = tuple(
        PreservedWave(item.wave.wave, item.analysis.reasons, str((item.prior or {}).get("currentState")))
        for item in analyses
        if item.decision.rule in ("R3", "R4")
    )
    known = set(before["completedWaves"])
    added = tuple(wave for wave in completed if wave not in known)
    return ReconcileResult(completed, added, blocked, kept, after)


# --- facts ----------------------------------------------------------------------------------------------------------


def _analyze(
    paths: LanePaths,
    wave: Wave,
    prior: Mapping[str, Any] | None,
    matrix: tuple[ComponentMatrix | None, str | None],
    catalog: tuple[BenchmarkCatalog | None, str | None],
    store_summaries: bool,
) -> Analysis:
    statuses = {agent.agent_id: status for agent in wave.agents if (status := _status(paths, wave, agent)) is not None}
    bindings = resolve_wave_role_bindings(wave, paths.profile.roles)
    facts = _stored_facts(paths, wave, bindings, statuses, matrix, catalog, store_summaries)
    fingerprints = {
        agent.agent_id: fingerprint_match(statuses[agent.agent_id], agent)
        for agent in wave.agents
        if agent.agent_id in statuses
    }
    return analyze_wave_completion(CompletionFacts(facts, statuses, fingerprints, prior))


def _status(paths: LanePaths, wave: Wave, agent: Agent) -> JsonObject | None:
    return read_status_record(paths.status_file(wave.wave, agent.slug))


def _has_any_status(paths: LanePaths, wave: Wave) -> bool:
    return any(os.path.exists(paths.status_file(wave.wave, agent.slug)) for agent in wave.agents)


def _stored_facts(
    paths: LanePaths,
    wave: Wave,
    bindings: RoleBindings,
    statuses: Mapping[str, JsonObject],
    matrix: tuple[ComponentMatrix | None, str | None],
    catalog: tuple[BenchmarkCatalog | None, str | None],
    store_summaries: bool,
) -> WaveFacts:
    """The wave's facts from its files. A wave without any file has none, and no log is opened for it."""
    facts = WaveFacts(
        wave=wave,
        bindings=bindings,
        profile=paths.profile,
        lane=paths.lane,
        attempt=max((status.get("attempt") or 1 for status in statuses.values()), default=1),
        matrix=matrix[0],
        matrix_error=matrix[1],
        catalog=catalog[0],
        catalog_error=catalog[1],
        mode="compat",
        now=now_iso(),
    )
    if not statuses and not os.path.exists(paths.coordination_log(wave.wave)):
        return facts
    control = control_plane.read_control_plane(paths, wave.wave)
    log = coordination_store.read_records(paths, wave.wave)
    readings = {
        agent.agent_id: read_run_envelope(paths, wave, agent, statuses.get(agent.agent_id), "compat", bindings=bindings)
        for agent in wave.agents
    }
    summaries = {}
    for agent in wave.agents:
        status, reading = statuses.get(agent.agent_id), readings[agent.agent_id]
        summary = _summary(paths, wave, bindings, agent, status, reading, store_summaries)
        bundles = [bundle for bundle in control.active_proof_bundles if bundle["agentId"] == agent.agent_id]
        vouched = [*agent.deliverables, *proof_registry.bundle_paths(bundles)] if bundles else []
        files = {path: file_fact(paths.root, path) for path in vouched}
        summaries[agent.agent_id] = proof_registry.apply_bundles(agent, summary, bundles, files).summary
    presence = _presence(paths, wave, bindings)
    derived = preview_derived_state(
        DerivedContext(paths, wave, bindings),
        DerivedFacts(
            attempt=facts.attempt,
            summaries=summaries,
            presence=presence,
            catalog=catalog[0],
            catalog_error=catalog[1],
        ),
    )
    return facts._replace(
        readings=readings,
        summaries=summaries,
        logs={agent.agent_id: paths.rel(paths.log_file(wave.wave, agent.slug)) for agent in wave.agents},
        presence=presence,
        derived=derived,
        corridor=read_artifact(paths, wave, bindings),
        corridor_config=paths.profile.external_providers.get("corridor") or {},
        contradictions=tuple(control.contradictions.values()),
        bad_log_lines=tuple(line.shown_by(paths.rel) for line in (*log.bad_lines, *control.bad_lines)),
    )


def _summary(
    paths: LanePaths,
    wave: Wave,
    bindings: RoleBindings,
    agent: Agent,
    status: JsonObject | None,
    reading: EnvelopeReading,
    store: bool,
) -> JsonObject | None:
    """The agent's summary: from its envelope, else built from its log."""
    summary = project_summary(reading.envelope) if reading.valid and reading.envelope is not None else None
    if summary is None and status is not None and os.path.exists(paths.log_file(wave.wave, agent.slug)):
        summary = build_agent_execution_summary(collect_summary_facts(agent, wave, bindings, paths, status))
        if store:
            write_json(paths.summary_file(wave.wave, agent.slug), summary, durable=False)
    return summary


def _presence(paths: LanePaths, wave: Wave, bindings: RoleBindings) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for agent in wave.agents:
        report = report_path(agent, wave, bindings)
        judged = [*agent.deliverables, *(item.path for item in agent.proof_artifacts), *([report] if report else [])]
        found.update((path, os.path.isfile(os.path.join(paths.root, path))) for path in judged)
    return found


def _load_matrix(paths: LanePaths) -> tuple[ComponentMatrix | None, str | None]:
    try:
        return load_component_matrix(paths.component_matrix_json), None
    except WaveError as error:
        return None, str(error)


def _load_catalog(paths: LanePaths) -> tuple[BenchmarkCatalog | None, str | None]:
    try:
        return load_benchmark_catalog(paths.benchmark_catalog), None
    except WaveError as error:
        return None, str(error)
