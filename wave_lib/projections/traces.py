"""Writing the trace bundle of a pass: everything a later reader needs to judge it again, without this workspace.

A bundle is built in a sibling directory and renamed, so there is a whole one or none. Spec: LAUNCH 17.1-17.3.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import copy_file, publish, read_json, read_text, remove_tree, write_json, write_text
from ..base.redaction import redact
from ..base.text import sha256_file
from ..definition.components import matrix_to_json
from ..definition.wave_types import wave_to_json
from ..state.control_plane import proof_registry, read_control_plane
from ..state.coordination_store import serialize_state
from .dashboard_activity import parse_structured_signals_from_log
from .quality_metrics import QualityInputs, build_quality_metrics
from .trace_bundle import (
    AGENT_FILES,
    ARTIFACTS,
    METADATA,
    TRACE_VERSION,
    TraceBundle,
    descriptor,
    extended_history,
    history_of,
    launch_event,
    normalized_gate_snapshot,
    previous_bundle,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths
    from ..definition.lane_profile import LaneProfile, Validation
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from ..engines.derived_state import DerivedState
    from ..engines.facts import WaveFacts

    JsonObject = dict[str, Any]


class TraceAgent(NamedTuple):
    """One agent as it stands after the pass; `agent` carries the executor it runs on now.

    `launched`: its last launch belongs to this attempt. `envelope_path` is that of its last run, None without one.
    `context7`: `{selection, mode, warning, snippetHash}` or None.
    """

    agent: Agent
    prompt_path: str
    log_path: str
    status_path: str
    launched: bool
    envelope_path: str | None = None
    report_path: str | None = None
    context7: JsonObject | None = None


class TraceInputs(NamedTuple):
    """What a bundle is made from. `launcher`: `{timeoutMinutes, maxRetriesPerWave, dryRun, runVariant}`.

    `facts` are those that `gate_snapshot` was made from. `corridor` are the effective Corridor settings without
    tokens, None when it is off (PROV 4.11). `captured_at` is the moment of the pass's end.
    """

    paths: LanePaths
    wave: Wave
    bindings: RoleBindings
    attempt: int
    agents: tuple[TraceAgent, ...]
    facts: WaveFacts
    derived: DerivedState
    gate_snapshot: JsonObject
    launcher: JsonObject
    captured_at: str
    corridor: JsonObject | None = None
    request_path: str | None = None
    spec_path: str | None = None


class TraceResult(NamedTuple):
    """Where the bundle is and what it says. `written` is False when the attempt already had one, which then stays."""

    trace_dir: str
    quality: JsonObject
    structured_signals: JsonObject
    metadata: JsonObject
    written: bool


def write_trace_bundle(inputs: TraceInputs) -> TraceResult:
    """Write the bundle of one attempt; an existing one is never overwritten. Spec: LAUNCH 17.1."""
    target = inputs.paths.trace_dir(inputs.wave.wave, inputs.attempt)
    if os.path.isdir(target):
        stored = TraceBundle(target)
        signals = stored.artifact("structuredSignals", {})
        return TraceResult(target, stored.artifact("quality", {}), signals, stored.metadata, False)
    stage = os.path.join(os.path.dirname(target), f".attempt-{inputs.attempt}.{os.getpid()}.tmp")
    remove_tree(stage)
    history = _history(inputs)
    quality = build_quality_metrics(_quality_inputs(inputs, history))
    signals = {
        item.agent.agent_id: parse_structured_signals_from_log(item.log_path).to_json()
        for item in inputs.agents
        if os.path.isfile(item.log_path)
    }
    agents = {item.agent.agent_id: _write_agent(stage, item, inputs) for item in inputs.agents}
    logged = [agent_id for agent_id, items in agents.items() if items["log"]["present"]]
    snapshot = normalized_gate_snapshot(inputs.gate_snapshot, logged)
    _write_documents(stage, inputs, quality, signals, snapshot)
    _copy_canonical(stage, inputs)
    metadata = _metadata(stage, inputs, history, snapshot, agents)
    write_json(os.path.join(stage, METADATA), metadata, durable=False)
    publish(stage, target)
    return TraceResult(target, quality, signals, metadata, True)


# --- contents -------------------------------------------------------------------------------------------------------


def _write_documents(
    stage: str, inputs: TraceInputs, quality: JsonObject, signals: JsonObject, snapshot: JsonObject
) -> None:
    derived = inputs.derived
    wave = inputs.wave._replace(agents=tuple(item.agent for item in inputs.agents))
    documents = {
        "manifest": {
            "schemaVersion": 1,
            "kind": "wave-manifest",
            "generatedAt": inputs.captured_at,
            "source": inputs.wave.file,
            "waves": [wave_to_json(wave)],
            "docs": [],
        },
        "coordinationMaterialized": serialize_state(derived.coordination_state),
        "ledger": derived.ledger,
        "docsQueue": derived.docs_queue,
        "capabilityAssignments": {
            "schemaVersion": 1,
            "kind": "wave-assignment-snapshot",
            "lane": inputs.paths.lane,
            "wave": inputs.wave.wave,
            "generatedAt": inputs.captured_at,
            "assignments": list(derived.capability_assignments),
        },
        "dependencySnapshot": derived.dependency_snapshot,
        "security": derived.security_summary,
        "integration": derived.integration_summary,
        "quality": quality,
        "structuredSignals": signals,
        "outcome": {"gateSnapshot": snapshot, "quality": quality},
    }
    registry = proof_registry(
        inputs.paths, inputs.wave.wave, read_control_plane(inputs.paths, inputs.wave.wave)
    ) or read_json(inputs.paths.proof_registry(inputs.wave.wave)).value
    if registry is not None:
        documents["proofRegistry"] = registry
    if inputs.facts.corridor is not None:
        documents["corridor"] = inputs.facts.corridor
    if inputs.facts.matrix is not None:
        documents["componentMatrix"] = matrix_to_json(inputs.facts.matrix)
    for key, document in documents.items():
        write_json(os.path.join(stage, ARTIFACTS[key][0]), document, durable=False)


def _copy_canonical(stage: str, inputs: TraceInputs) -> None:
    paths, number = inputs.paths, inputs.wave.wave
    copied = {
        "coordinationRaw": paths.coordination_log(number),
        "controlPlane": paths.control_plane_log(number),
        "sharedSummary": paths.shared_summary(number),
        "integrationMarkdown": paths.integration_report(number),
        "feedbackTriage": paths.triage_log(number),
        "pendingHuman": paths.pending_human(number),
        "componentMatrixMarkdown": paths.component_matrix_doc,
    }
    if inputs.wave.eval_targets:
        copied["benchmarkCatalog"] = paths.benchmark_catalog
    for key, source in copied.items():
        target = os.path.join(stage, ARTIFACTS[key][0])
        if not _copy_text(source, target) and ARTIFACTS[key][1]:
            # Without a log the records are written one per line; an absent summary is an empty one.
            write_text(target, "", durable=False)


def _copy_text(source: str, target: str) -> bool:
    """Copy as valid UTF-8, so that hashes over bytes and over decoded text agree, and without known secrets."""
    if not os.path.isfile(source):
        return False
    write_text(target, redact(read_text(source)), durable=False)
    return True


def _write_agent(stage: str, item: TraceAgent, inputs: TraceInputs) -> JsonObject:
    """The agent's files; returns their descriptors."""
    agent = item.agent
    names = {key: name.format(slug=agent.slug, agent_id=agent.agent_id) for key, name in AGENT_FILES.items()}
    targets = {key: os.path.join(stage, name) for key, name in names.items()}
    _copy_text(item.prompt_path, targets["prompt"])
    _copy_text(item.log_path, targets["log"])
    _copy_text(item.status_path, targets["status"])
    if not _copy_text(inputs.paths.inbox(inputs.wave.wave, agent.agent_id), targets["inbox"]):
        write_text(targets["inbox"], "", durable=False)
    summary = inputs.facts.summary(agent.agent_id)
    if summary is not None or item.launched:
        write_json(targets["summary"], summary, durable=False)
    if item.envelope_path is not None:
        copy_file(item.envelope_path, targets["envelope"], durable=False)
    found = {key: descriptor(stage, names[key], item.launched) for key in ("prompt", "log", "summary")}
    found["status"] = descriptor(stage, names["status"], item.launched or os.path.isfile(item.status_path))
    found["inbox"] = descriptor(stage, names["inbox"], True)
    if os.path.isfile(targets["envelope"]):
        found["envelope"] = descriptor(stage, names["envelope"], True)
    if item.report_path is not None:
        name = report_name(agent.slug, item.report_path)
        if _copy_text(os.path.join(inputs.paths.root, item.report_path), os.path.join(stage, name)):
            found["report"] = descriptor(stage, name, True)
    return found


def report_name(slug: str, report_path: str) -> str:
    """Where a role's report lies in the bundle."""
    return f"reports/{slug}{os.path.splitext(report_path)[1] or '.md'}"


# --- metadata -------------------------------------------------------------------------------------------------------


def _metadata(
    stage: str, inputs: TraceInputs, history: JsonObject, snapshot: JsonObject, agents: JsonObject
) -> JsonObject:
    paths, wave, facts = inputs.paths, inputs.wave, inputs.facts
    roles = effective_roles(inputs.bindings)
    validation = validation_to_json(paths.profile.validation)
    wave_file = os.path.join(paths.root, wave.file)
    artifacts: JsonObject = {
        key: descriptor(stage, name, required or (key == "componentMatrix" and bool(wave.component_promotions)))
        for key, (name, required) in ARTIFACTS.items()
    }
    artifacts["runMetadata"] = {"path": METADATA, "required": True, "present": True, "sha256": None}
    artifacts["agents"] = agents
    return {
        "traceVersion": TRACE_VERSION,
        "replayMode": "hermetic",
        "runKind": paths.run_kind,
        "runId": paths.run_id,
        "wave": wave.wave,
        "lane": paths.lane,
        "waveFile": wave.file,
        "requestPath": inputs.request_path,
        "specPath": inputs.spec_path,
        "waveFileHash": sha256_file(wave_file) if os.path.isfile(wave_file) else None,
        "attempt": inputs.attempt,
        "cumulativeAttemptCount": inputs.attempt,
        "capturedAt": inputs.captured_at,
        "launcher": inputs.launcher,
        "roles": roles,
        "validation": validation,
        "replayContext": {
            "lane": paths.lane,
            "roles": roles,
            "validation": validation,
            "corridor": inputs.corridor,
            "presence": dict(facts.presence),
            "badLogLines": list(facts.bad_log_lines),
            "matrixError": facts.matrix_error,
            "catalogError": facts.catalog_error,
            "mode": facts.mode,
        },
        "historySnapshot": history,
        "gateSnapshot": snapshot,
        "closureDecisions": {
            "autoSatisfiedStages": list(facts.auto_satisfied_stages),
            "skippedStages": list(facts.skipped_stages),
            "launchedStages": list(facts.launched_stages),
            "ignoredGapRecordIds": sorted(facts.ignored_gap_record_ids),
        },
        "artifacts": artifacts,
        "agents": [_agent_entry(item, agents[item.agent.agent_id], inputs) for item in inputs.agents],
    }


def _agent_entry(item: TraceAgent, descriptors: Mapping[str, Any], inputs: TraceInputs) -> JsonObject:
    agent, facts = item.agent, inputs.facts

    def stored(key: str) -> str | None:
        return descriptors[key]["path"] if descriptors[key]["present"] else None

    reading = facts.readings.get(agent.agent_id)
    return {
        "agentId": agent.agent_id,
        "title": agent.title,
        "launchedInAttempt": item.launched,
        "promptPath": stored("prompt"),
        "promptHash": descriptors["prompt"]["sha256"],
        "logPath": stored("log"),
        "sourceLogPath": facts.log_path(agent.agent_id),
        "statusPath": stored("status"),
        "status": read_json(item.status_path).value,
        "summaryPath": stored("summary"),
        "inboxPath": stored("inbox"),
        "executor": executor_entry(agent.executor_resolved),
        "context7": item.context7,
        "skills": agent.skills_resolved,
        "envelope": {
            "source": reading.source,
            "valid": reading.valid,
            "errors": list(reading.errors),
            "detail": reading.detail,
        }
        if reading
        else None,
    }


def executor_entry(state: Mapping[str, Any] | None) -> JsonObject | None:
    """The executor of an agent as the metadata tells it. Spec: LAUNCH 17.2."""
    if not state:
        return None
    shared = (
        "role",
        "profile",
        "initialExecutorId",
        "selectedBy",
        "budget",
        "fallbacks",
        "fallbackUsed",
        "fallbackReason",
        "executorHistory",
    )
    return {"executorId": state.get("id"), **{key: state.get(key) for key in shared}}


def effective_roles(bindings: RoleBindings) -> JsonObject:
    """Who holds the closure roles of this wave, and the prompts by which other roles are known."""
    return {
        "contQaAgentId": bindings.cont_qa,
        "contEvalAgentId": bindings.cont_eval,
        "integrationAgentId": bindings.integration,
        "documentationAgentId": bindings.documentation,
        "securityRolePromptPath": bindings.roles.security_role_prompt_path,
        "designRolePromptPath": bindings.roles.design_role_prompt_path,
    }


VALIDATION_KEYS = {
    "require_documentation_steward_from_wave": "requireDocumentationStewardFromWave",
    "require_context7_declarations_from_wave": "requireContext7DeclarationsFromWave",
    "require_exit_contracts_from_wave": "requireExitContractsFromWave",
    "require_integration_steward_from_wave": "requireIntegrationStewardFromWave",
    "require_component_promotions_from_wave": "requireComponentPromotionsFromWave",
    "require_agent_components_from_wave": "requireAgentComponentsFromWave",
}


def validation_to_json(validation: Validation) -> JsonObject:
    """The thresholds and switches that gates depend on. Spec: LAUNCH 17.2."""
    gate = validation.gate_mode_thresholds
    auto = validation.auto_closure
    return {
        **{key: getattr(validation, name) for name, key in VALIDATION_KEYS.items()},
        "gateModeThresholds": dict(gate._asdict()) if gate else None,
        "closureModeThresholds": dict(validation.closure_mode_thresholds._asdict()),
        "autoClosure": {
            "allowInferredIntegration": auto.allow_inferred_integration,
            "allowAutoDocNoChange": auto.allow_auto_doc_no_change,
            "allowAutoDocProjection": auto.allow_auto_doc_projection,
            "allowSkipContQaInBootstrap": auto.allow_skip_cont_qa_in_bootstrap,
        },
        "bootstrapPassConditions": {"requireA0Verdict": validation.bootstrap_pass_conditions.require_a0_verdict},
    }


def corridor_settings(profile: LaneProfile) -> JsonObject | None:
    """The effective Corridor settings without tokens, None when it is off. Spec: PROV 4.11."""
    settings = profile.external_providers.get("corridor") or {}
    if not settings.get("enabled"):
        return None
    return {key: value for key, value in settings.items() if "token" not in key.lower() or key.endswith("EnvVar")}


def _history(inputs: TraceInputs) -> JsonObject:
    folder = os.path.dirname(inputs.paths.trace_dir(inputs.wave.wave, inputs.attempt))
    events = [
        launch_event(inputs.attempt, item.agent.agent_id, item.agent.executor_resolved)
        for item in inputs.agents
        if item.launched
    ]
    gate = inputs.gate_snapshot.get("contQaGate") or {}
    status = {"attempt": inputs.attempt, "statusCode": gate.get("statusCode")}
    return extended_history(history_of(previous_bundle(folder, inputs.attempt)), events, status)


def _quality_inputs(inputs: TraceInputs, history: JsonObject) -> QualityInputs:
    derived = inputs.derived
    return QualityInputs(
        wave=inputs.wave,
        bindings=inputs.bindings,
        attempt=inputs.attempt,
        coordination=derived.coordination_state,
        history=history,
        summaries=inputs.facts.summaries,
        presence=inputs.facts.presence,
        assignments=derived.capability_assignments,
        dependencies=derived.dependency_snapshot,
        docs_queue=derived.docs_queue,
        ledger=derived.ledger,
        integration_summary=derived.integration_summary,
        executor_histories={
            item.agent.agent_id: (item.agent.executor_resolved or {}).get("executorHistory") or ()
            for item in inputs.agents
        },
    )
