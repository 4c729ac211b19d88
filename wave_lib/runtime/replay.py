"""Judging a trace bundle again: the gates and the quality of a past attempt, from its bundle alone.

Holds: nothing.
Writes: nothing.
When killed: nothing is lost.

Spec: LAUNCH 18.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..definition.components import load_component_matrix
from ..definition.evals import load_benchmark_catalog
from ..definition.lane_profile import (
    AutoClosure,
    BootstrapPassConditions,
    LanePathsConfig,
    LaneProfile,
    ModeThresholds,
    Roles,
    RuntimePolicy,
    SkillsConfig,
    Validation,
    closure_mode,
    gate_mode,
)
from ..definition.roles import resolve_wave_role_bindings
from ..definition.wave_from_json import wave_from_json
from ..engines.coordination_barriers import (
    assignment_barrier,
    blocker_barrier,
    clarification_barrier,
    dependency_barrier,
)
from ..engines.derived_state import Appends, DerivedState
from ..engines.facts import WaveFacts
from ..engines.gate_engine import evaluate_gates
from ..projections.quality_metrics import QualityInputs, build_quality_metrics
from ..projections.trace_bundle import (
    AGENT_FILES,
    ARTIFACTS,
    TraceBundle,
    normalized_gate_snapshot,
    validate_trace_bundle,
)
from ..projections.traces import VALIDATION_KEYS
from ..state.control_plane import materialize_events, read_event_file
from ..state.coordination_store import materialize, read_record_file
from ..state.result_envelope import EnvelopeReading

if TYPE_CHECKING:
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

JsonObject = dict[str, Any]


def replay_trace_bundle(directory: str) -> JsonObject:
    """Validate a bundle, judge it again, and compare with what was stored. Spec: LAUNCH 18 (result).

    An invalid bundle gives `{ok: false, replayMode, validation, warnings, bundle}`.
    """
    validation = validate_trace_bundle(directory)
    head = {
        "ok": False,
        "replayMode": validation.replay_mode,
        "validation": validation.to_json(),
        "warnings": list(validation.warnings),
        "bundle": directory,
    }
    bundle = TraceBundle(directory)
    manifest = bundle.artifact("manifest")
    if not validation.ok or not isinstance(manifest, dict) or not manifest.get("waves"):
        return head
    wave = wave_from_json(manifest["waves"][0])
    facts = replay_facts(bundle, wave)
    snapshot = evaluate_gates(facts)
    logged = [
        agent["agentId"] for agent in bundle.metadata.get("agents") or [] if agent.get("logPath")
    ]
    gates = normalized_gate_snapshot(snapshot.to_json(), logged)
    quality = build_quality_metrics(_quality_inputs(bundle, facts))
    outcome = bundle.artifact("outcome") or {}
    stored_gates = outcome.get("gateSnapshot") or bundle.metadata.get("gateSnapshot")
    stored_quality = bundle.artifact("quality")
    comparison = {"gateSnapshot": compare(stored_gates, gates), "quality": compare(stored_quality, quality)}
    return {
        **head,
        "ok": validation.ok and snapshot.overall.ok,
        "wave": wave.wave,
        "gateSnapshot": gates,
        "quality": quality,
        "storedGateSnapshot": stored_gates,
        "storedQuality": stored_quality,
        "comparison": comparison,
        "matchesStoredGateSnapshot": comparison["gateSnapshot"]["matches"],
        "matchesStoredQuality": comparison["quality"]["matches"],
    }


def replay_facts(bundle: TraceBundle, wave: Wave) -> WaveFacts:
    """The facts of a bundle, in the form in which the launcher had them."""
    metadata = bundle.metadata
    context = metadata.get("replayContext") or {}
    decisions = metadata.get("closureDecisions") or {}
    profile = replay_profile(context, str(metadata.get("lane") or ""))
    bindings = resolve_wave_role_bindings(wave, profile.roles)
    matrix, matrix_error = _loaded(bundle, "componentMatrix", load_component_matrix, context.get("matrixError"))
    catalog, catalog_error = _loaded(bundle, "benchmarkCatalog", load_benchmark_catalog, context.get("catalogError"))
    agents = metadata.get("agents") or []
    events = read_event_file(bundle.path_of(ARTIFACTS["controlPlane"][0]) or "")
    corridor = bundle.artifact("corridor")
    return WaveFacts(
        wave=wave,
        bindings=bindings,
        profile=profile,
        lane=profile.lane,
        attempt=metadata.get("attempt") or 1,
        readings={agent["agentId"]: _reading(bundle, agent) for agent in agents if agent.get("envelope")},
        summaries={agent["agentId"]: _summary(bundle, wave, agent) for agent in agents},
        logs={agent["agentId"]: agent["sourceLogPath"] for agent in agents if agent.get("sourceLogPath")},
        presence=_presence(bundle, wave, bindings, context),
        matrix=matrix,
        matrix_error=matrix_error,
        catalog=catalog,
        catalog_error=catalog_error,
        derived=replay_derived(bundle, profile, wave.wave),
        corridor=corridor if isinstance(corridor, dict) else None,
        corridor_config=context.get("corridor") or {},
        contradictions=tuple(materialize_events(events.events, events.bad_lines).contradictions.values()),
        bad_log_lines=tuple(context.get("badLogLines") or ()),
        auto_satisfied_stages=tuple(decisions.get("autoSatisfiedStages") or ()),
        skipped_stages=tuple(decisions.get("skippedStages") or ()),
        launched_stages=tuple(decisions.get("launchedStages") or ()),
        ignored_gap_record_ids=frozenset(decisions.get("ignoredGapRecordIds") or ()),
        mode=context.get("mode") or ("live" if metadata.get("traceVersion") == 2 else "compat"),
        now=str(metadata.get("capturedAt") or ""),
    )


def replay_profile(context: Mapping[str, Any], lane: str) -> LaneProfile:
    """A lane profile with the settings that gates depend on; everything else has its default."""
    stored = context.get("validation") or {}
    names = context.get("roles") or {}
    defaults = Roles()
    roles = defaults._replace(
        cont_qa_agent_id=names.get("contQaAgentId") or defaults.cont_qa_agent_id,
        cont_eval_agent_id=names.get("contEvalAgentId") or defaults.cont_eval_agent_id,
        integration_agent_id=names.get("integrationAgentId") or defaults.integration_agent_id,
        documentation_agent_id=names.get("documentationAgentId") or defaults.documentation_agent_id,
        security_role_prompt_path=names.get("securityRolePromptPath") or defaults.security_role_prompt_path,
        design_role_prompt_path=names.get("designRolePromptPath") or defaults.design_role_prompt_path,
    )
    return LaneProfile(
        project_id="",
        project_name="",
        project_root_dir=".",
        explicit_project=False,
        lane=str(context.get("lane") or lane),
        known=True,
        docs_dir="",
        plans_dir="",
        waves_dir="",
        shared_plan_docs=(),
        roles=roles,
        validation=_validation(stored),
        executors={},
        skills=SkillsConfig("", (), {}, {}, {}),
        capability_routing={},
        runtime_policy=RuntimePolicy({}, {}, ()),
        external_providers={"corridor": context.get("corridor") or {"enabled": False}},
        wave_control={},
        planner={},
        supervisor={},
        paths=LanePathsConfig("", "", "", "", "", "", ""),
    )


def _validation(stored: Mapping[str, Any]) -> Validation:
    gate = stored.get("gateModeThresholds")
    auto = stored.get("autoClosure") or {}
    conditions = stored.get("bootstrapPassConditions") or {}
    thresholds: dict[str, Any] = {name: stored.get(key) for name, key in VALIDATION_KEYS.items()}
    return Validation(
        **thresholds,
        gate_mode_thresholds=ModeThresholds(**gate) if gate else None,
        closure_mode_thresholds=ModeThresholds(**(stored.get("closureModeThresholds") or {})),
        auto_closure=AutoClosure(
            bool(auto.get("allowInferredIntegration")),
            bool(auto.get("allowAutoDocNoChange")),
            bool(auto.get("allowAutoDocProjection")),
            bool(auto.get("allowSkipContQaInBootstrap")),
        ),
        bootstrap_pass_conditions=BootstrapPassConditions(require_a0_verdict=bool(conditions.get("requireA0Verdict"))),
    )


def _loaded(bundle: TraceBundle, key: str, load: Any, stored_error: str | None) -> tuple[Any, str | None]:
    path = bundle.path_of(ARTIFACTS[key][0])
    if path is None or not bundle.has(ARTIFACTS[key][0]):
        return None, stored_error
    try:
        return load(path, ARTIFACTS[key][0]), None
    except WaveError as error:
        return None, str(error)


def _reading(bundle: TraceBundle, agent: Mapping[str, Any]) -> EnvelopeReading:
    stored = agent["envelope"]
    envelope = bundle.json(AGENT_FILES["envelope"].format(slug="", agent_id=agent["agentId"]))
    return EnvelopeReading(
        str(stored.get("source")),
        bool(stored.get("valid")),
        tuple(stored.get("errors") or ()),
        str(stored.get("detail") or ""),
        envelope if isinstance(envelope, dict) else None,
    )


def _summary(bundle: TraceBundle, wave: Wave, agent: Mapping[str, Any]) -> JsonObject | None:
    declared = wave.agent(agent["agentId"])
    path = AGENT_FILES["summary"].format(slug=declared.slug if declared else "", agent_id="")
    value = bundle.json(agent.get("summaryPath") or path)
    if value is None and bundle.metadata.get("traceVersion") == 1:
        value = agent.get("summary")
    return value if isinstance(value, dict) else None


def _presence(
    bundle: TraceBundle, wave: Wave, bindings: RoleBindings, context: Mapping[str, Any]
) -> dict[str, bool]:
    """What was there at the end of the pass; reports are judged by the bundle itself."""
    from ..projections.traces import report_name
    from ..state.agent_state import report_path

    found = dict(context.get("presence") or {})
    for agent in wave.agents:
        path = report_path(agent, wave, bindings)
        if path:
            found[path] = bundle.has(report_name(agent.slug, path))
    return found


def replay_derived(bundle: TraceBundle, profile: LaneProfile, wave: int) -> DerivedState:
    """The derived state that the bundle holds, as far as gates and quality read it; barriers are judged again."""
    context = bundle.metadata.get("replayContext") or {}
    decisions = bundle.metadata.get("closureDecisions") or {}
    records = read_record_file(bundle.path_of(ARTIFACTS["coordinationRaw"][0]) or "").records
    state = materialize(records)
    stored = bundle.artifact("capabilityAssignments", [])
    assignments = (stored.get("assignments") if isinstance(stored, dict) else stored) or []
    dependencies = {**_NO_DEPENDENCIES, **bundle.artifact("dependencySnapshot", {})}
    ignored = frozenset(decisions.get("ignoredGapRecordIds") or ())
    return DerivedState(
        wave_number=wave,
        lane=profile.lane,
        attempt=bundle.metadata.get("attempt") or 1,
        now=str(bundle.metadata.get("capturedAt") or ""),
        coordination_state=state,
        capability_assignments=assignments,
        dependency_snapshot=dependencies,
        runtime_assignments=[],
        docs_queue=bundle.artifact("docsQueue"),
        security_summary=bundle.artifact("security") or {},
        contradictions=[],
        integration_summary=bundle.artifact("integration") or {},
        clarification_barrier=clarification_barrier(state),
        helper_assignment_barrier=assignment_barrier(assignments, gate_mode(profile.validation, wave)),
        dependency_barrier=dependency_barrier(dependencies),
        blocker_barrier=blocker_barrier(state, context.get("badLogLines") or (), ignored),
        closure_mode=closure_mode(profile.validation, wave),
        closure_complexity="",
        ledger=bundle.artifact("ledger") or {},
        response_metrics={},
        feedback=[],
        appends=Appends([], [], [], []),
        run_starts={},
    )


_NO_DEPENDENCIES: JsonObject = {
    key: []
    for key in (
        "inbound",
        "outbound",
        "openInbound",
        "openOutbound",
        "requiredInbound",
        "requiredOutbound",
        "unresolvedInboundAssignments",
    )
}


def _quality_inputs(bundle: TraceBundle, facts: WaveFacts) -> QualityInputs:
    derived = facts.derived or replay_derived(bundle, facts.profile, facts.wave_number)
    metadata = bundle.metadata
    return QualityInputs(
        wave=facts.wave,
        bindings=facts.bindings,
        attempt=metadata.get("attempt") or 1,
        coordination=derived.coordination_state,
        history=metadata.get("historySnapshot") or {},
        summaries=facts.summaries,
        presence=facts.presence,
        assignments=derived.capability_assignments,
        dependencies=derived.dependency_snapshot,
        docs_queue=derived.docs_queue or {},
        ledger=derived.ledger,
        integration_summary=derived.integration_summary,
        executor_histories={
            agent["agentId"]: (agent.get("executor") or {}).get("executorHistory") or ()
            for agent in metadata.get("agents") or []
        },
    )


# --- comparison -----------------------------------------------------------------------------------------------------


def compare(stored: object, replayed: object) -> JsonObject:
    """`{matches, diffPaths}`."""
    paths = diff_paths(stored, replayed)
    return {"matches": not paths, "diffPaths": paths}


def diff_paths(stored: object, replayed: object, path: str = "") -> list[str]:
    """Dotted paths at which two JSON values differ; lists of different length are one path, the whole is `<root>`."""
    if isinstance(stored, dict) and isinstance(replayed, dict):
        found = []
        for key in dict.fromkeys([*stored, *replayed]):
            inner = f"{path}.{key}" if path else str(key)
            if key not in stored or key not in replayed:
                found.append(inner)
            else:
                found += diff_paths(stored[key], replayed[key], inner)
        return found
    if isinstance(stored, list) and isinstance(replayed, list) and len(stored) == len(replayed):
        pairs = enumerate(zip(stored, replayed))
        return [item for index, (old, new) in pairs for item in diff_paths(old, new, f"{path}[{index}]")]
    same = stored == replayed and isinstance(stored, bool) == isinstance(replayed, bool)
    return [] if same else [path or "<root>"]
