"""Reading the facts that gates and derived state are decided from, and turning what agents left into results.

Holds:       nothing.
Writes:      summaries (cache) and result envelopes; projections through the projection writer.
When killed: an envelope is there whole or not at all; the next launcher builds what is missing from status and log.

Spec: LAUNCH 7.4 step 4, GATE 4, 6, 8; COORD 20; DESIGN 3 (canonical state only).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..base.files import read_json, write_json
from ..base.timestamps import now_iso
from ..definition.components import load_component_matrix
from ..definition.evals import load_benchmark_catalog
from ..engines.facts import WaveFacts
from ..projections import dashboard_state
from ..projections.projection_writer import write_wave_derived_projections
from ..state import control_plane, proof_registry, retry_state
from ..state.agent_state import (
    build_agent_execution_summary,
    collect_summary_facts,
    read_agent_execution_summary,
    read_status_record,
    report_path,
)
from ..state.file_facts import file_fact
from ..state.result_envelope import attempt_of, build_envelope, project_summary, read_run_envelope, write_envelope_once
from . import corridor_step
from .derived_state import DerivedContext, DerivedFacts, refresh_derived_state

if TYPE_CHECKING:
    from ..definition.components import ComponentMatrix
    from ..definition.evals import BenchmarkCatalog
    from ..definition.wave_types import Agent
    from ..state.result_envelope import EnvelopeReading
    from .wave_context import AgentRun, WaveContext

JsonObject = dict[str, Any]

_EXECUTOR_KEYS = (
    "initialExecutorId",
    "profile",
    "selectedBy",
    "retryPolicy",
    "allowFallbackOnRetry",
    "fallbacks",
    "fallbackUsed",
    "fallbackReason",
    "executorHistory",
    "role",
)


# --- results --------------------------------------------------------------------------------------------------------


def materialise_results(ctx: WaveContext) -> None:
    """Summary and envelope of every agent whose status is newer than its last envelope. Spec: LAUNCH 7.4 step 4."""
    for run in ctx.runs.values():
        status = read_status_record(run.status_path)
        stamp = (status or {}).get("launchId"), (status or {}).get("completedAt")
        if status is not None and stamp != run.materialised:
            materialise_result(ctx, run, status)
            run.materialised = stamp


def materialise_result(ctx: WaveContext, run: AgentRun, status: JsonObject) -> None:
    """Summary and envelope of one agent's last run; an envelope of another launch's run is left as it is. GATE 6.1."""
    attempt = attempt_of(ctx.paths, ctx.number, run.agent_id, status)
    path = ctx.paths.result_envelope(ctx.number, attempt, run.agent_id)
    if run.launched_attempt != attempt and os.path.exists(path):
        return
    runtime = runtime_record(run)
    facts = collect_summary_facts(
        run.agent, ctx.wave, ctx.bindings, ctx.paths, status, runtime=runtime, started_at=runtime.get("startedAt")
    )
    summary = build_agent_execution_summary(facts)
    write_json(run.summary_path, summary, durable=False)
    envelope = build_envelope(summary, run.agent, ctx.bindings, wave_number=ctx.number, attempt=attempt)
    write_envelope_once(path, envelope)


def runtime_record(run: AgentRun) -> JsonObject:
    """The agent's runtime record, empty when there is none."""
    value = read_json(run.runtime_path).value
    return value if isinstance(value, dict) else {}


def exit_reason(run: AgentRun) -> str | None:
    """Why the runner says the agent ended."""
    status = read_status_record(run.status_path) or {}
    reason = status.get("exitReason") or runtime_record(run).get("exitReason")
    return str(reason) if reason else None


def stored_summary(ctx: WaveContext, run: AgentRun) -> JsonObject | None:
    """The agent's execution summary, None when it has none."""
    return read_agent_execution_summary(run.agent, ctx.wave, ctx.bindings, ctx.paths)


# --- facts for the gates --------------------------------------------------------------------------------------------


def collect_wave_facts(ctx: WaveContext, **sweep: Any) -> WaveFacts:
    """The snapshot that gates judge; `sweep` overrides what the pass knows of its stages.

    Reads canonical state only. Spec: GATE 8, DESIGN 3.
    """
    wave = ctx.current_wave()
    readings = envelope_readings(ctx)
    matrix, matrix_error = load_matrix(ctx)
    catalog, catalog_error = load_catalog(ctx)
    logs = wave_logs(ctx)
    state = logs.control.refresh()
    logs.log.refresh()
    provider = ctx.lane.profile.external_providers.get("corridor") or {}
    return WaveFacts(
        wave=wave,
        bindings=ctx.bindings,
        profile=ctx.lane.profile,
        lane=ctx.paths.lane,
        attempt=ctx.attempt,
        readings=readings,
        summaries=summaries(ctx, readings, state),
        logs={run.agent_id: ctx.paths.rel(run.log_path) for run in ctx.runs.values()},
        presence=presence(ctx),
        matrix=matrix,
        matrix_error=matrix_error,
        catalog=catalog,
        catalog_error=catalog_error,
        derived=ctx.derived,
        corridor=corridor_step.current(ctx),
        corridor_config=provider,
        contradictions=tuple(state.contradictions.values()),
        bad_log_lines=tuple(line.shown_by(ctx.paths.rel) for line in (*logs.log.bad_lines, *state.bad_lines)),
        auto_satisfied_stages=sweep.get("auto_satisfied_stages", ctx.auto_satisfied_stages),
        skipped_stages=sweep.get("skipped_stages", ctx.skipped_stages),
        launched_stages=sweep.get("launched_stages", ctx.launched_stages),
        ignored_gap_record_ids=ctx.ignored_gap_record_ids,
        mode="live",
        now=now_iso(),
    )


def envelope_readings(ctx: WaveContext) -> dict[str, EnvelopeReading]:
    """Agent id -> the envelope of its last run."""
    return {
        run.agent_id: read_run_envelope(
            ctx.paths,
            ctx.wave,
            run.agent,
            read_status_record(run.status_path),
            "live",
            bindings=ctx.bindings,
            last_attempt=run.launched_attempt,
        )
        for run in ctx.runs.values()
    }


def summaries(
    ctx: WaveContext, readings: Mapping[str, EnvelopeReading], state: control_plane.ControlPlaneState
) -> dict[str, JsonObject | None]:
    """Agent id -> projected summary with the active proof bundles applied. Spec: GATE 6.5, 13.4; LAUNCH 12.2."""
    request = retry_state.active_request_of(state, ctx.paths, ctx.number) or {}
    wanted = set(request.get("reuseProofBundleIds") or ())
    bundles = [bundle for bundle in state.active_proof_bundles if not wanted or bundle["proofBundleId"] in wanted]
    found: dict[str, JsonObject | None] = {}
    for agent_id, reading in readings.items():
        agent = ctx.runs[agent_id].agent
        usable = reading.envelope if reading.valid else None
        summary = project_summary(usable) if usable is not None else None
        if any(bundle["agentId"] == agent_id for bundle in bundles):
            judged = {*proof_registry.bundle_paths(bundles), *agent.deliverables}
            files = {path: file_fact(ctx.paths.root, path) for path in judged}
            summary = proof_registry.apply_bundles(agent, summary, bundles, files).summary
        found[agent_id] = summary
    return found


def presence(ctx: WaveContext) -> dict[str, bool]:
    """Declared and reported paths -> whether they are regular files now. Spec: GATE 7.3 ("then or now")."""
    root = ctx.paths.root
    return {path: os.path.isfile(os.path.join(root, path)) for path in _judged_paths(ctx, ctx.wave.agents)}


def _judged_paths(ctx: WaveContext, agents: Iterable[Agent]) -> set[str]:
    found: set[str] = set()
    for agent in agents:
        found.update(agent.deliverables)
        found.update(artifact.path for artifact in agent.proof_artifacts)
        report = report_path(agent, ctx.wave, ctx.bindings)
        if report:
            found.add(report)
    return found


def load_matrix(ctx: WaveContext) -> tuple[ComponentMatrix | None, str | None]:
    """The component matrix as it is now, or why it cannot be used."""
    try:
        return load_component_matrix(ctx.paths.component_matrix_json), None
    except WaveError as error:
        return None, str(error)


def load_catalog(ctx: WaveContext) -> tuple[BenchmarkCatalog | None, str | None]:
    """The benchmark catalog, or why it cannot be used; not even looked at without eval targets."""
    if not ctx.wave.eval_targets:
        return None, None
    try:
        return load_benchmark_catalog(ctx.paths.benchmark_catalog), None
    except WaveError as error:
        return None, str(error)


# --- derived state --------------------------------------------------------------------------------------------------


def refresh(ctx: WaveContext) -> None:
    """Derived state anew, its projections written, its counters on the dashboard. Spec: COORD 20, LAUNCH 16."""
    logs = wave_logs(ctx)
    state = logs.control.refresh()
    catalog, catalog_error = load_catalog(ctx)
    facts = DerivedFacts(
        attempt=ctx.attempt,
        summaries=summaries(ctx, envelope_readings(ctx), state),
        runs={run.agent_id: executor_facts(run) for run in ctx.runs.values()},
        presence=presence(ctx),
        catalog=catalog,
        catalog_error=catalog_error,
        ignored_gap_record_ids=ctx.ignored_gap_record_ids,
    )
    ctx.derived = refresh_derived_state(logs, facts)
    write_wave_derived_projections(ctx.paths, ctx.wave, ctx.derived)
    if ctx.dashboard:
        dashboard_state.apply_derived_state(ctx.dashboard, ctx.derived)


def wave_logs(ctx: WaveContext) -> DerivedContext:
    """The wave's logs, of which only what is new is read. Spec: DESIGN 5 (a log of 100,000 records)."""
    if ctx.derived_context is None:
        ctx.derived_context = DerivedContext(ctx.paths, ctx.wave, ctx.bindings, ctx.lane.orchestrator_id)
    return ctx.derived_context


def executor_facts(run: AgentRun) -> JsonObject:
    """What the runtime assignments say about an agent's executor. Spec: COORD 20."""
    executor = run.executor
    return {"executorId": executor.get("id"), **{key: executor.get(key) for key in _EXECUTOR_KEYS if key in executor}}
