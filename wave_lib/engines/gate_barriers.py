"""The gates that no single agent answers for: Corridor, the component matrix, infra, and the coordination barriers.

Pure. Spec: GATE 8.4; CFG 12.3 (matrix); PROV 4.10 (Corridor).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..definition.components import compare_levels
from ..definition.lane_profile import gate_mode
from .corridor_policy import finding_owners
from .gate_results import STATE, GateResult, from_verdict, passed
from .summary_validation import validate_deploy_summary, validate_infra_summary

if TYPE_CHECKING:
    from .derived_state import Barrier
    from .facts import WaveFacts

JsonObject = dict[str, Any]


def gate_corridor(facts: WaveFacts) -> GateResult:
    """Corridor's word, before any reviewer's; ok without a verdict when disabled or content. Spec: PROV 4.10."""
    config, artifact = facts.corridor_config, facts.corridor
    if not config.get("enabled"):
        return passed("Corridor is not configured.")
    required = config.get("requiredAtClosure") is not False
    if artifact is None:
        if not required:
            return passed("No Corridor result exists; it is not required at closure.")
        detail = "No Corridor result exists for this wave."
        return GateResult(False, "corridor-fetch-failed", detail, failure_class=STATE, pending=True)
    if artifact.get("ok") is not True or artifact.get("error") is not None:
        if not required:
            return passed("The Corridor fetch failed; it is not required at closure.")
        detail = artifact.get("error") or "The Corridor result could not be fetched."
        return GateResult(False, "corridor-fetch-failed", str(detail), failure_class=STATE)
    if artifact.get("blocking"):
        findings = [item for item in artifact.get("blockingFindings") or [] if isinstance(item, dict)]
        noun = "finding" if len(findings) == 1 else "findings"
        return GateResult(
            False,
            "corridor-blocked",
            f"Corridor reports {len(findings)} blocking {noun}.",
            owner_agent_ids=finding_owners(facts.wave, facts.bindings, findings),
            failure_class=STATE,
        )
    return passed("Corridor has no blocking finding.")


def gate_component_matrix(facts: WaveFacts) -> GateResult:
    """The cutover matrix shows every promotion at its target or above. Spec: CFG 12.3."""
    promotions = facts.wave.component_promotions
    if not promotions:
        return passed("The wave promotes no component.")
    steward = facts.bindings.documentation
    log = facts.log_path(steward)
    matrix = facts.matrix
    if matrix is None:
        detail = facts.matrix_error or "The component cutover matrix is missing."
        return GateResult(False, "component-matrix-invalid", detail, steward, log, failure_class=STATE)
    for promotion in promotions:
        component = matrix.components.get(promotion.component_id)
        if component is None:
            detail = f"Component {promotion.component_id} is not in {matrix.path}."
            return GateResult(False, "unknown-component", detail, steward, log, component_id=promotion.component_id)
        if compare_levels(matrix.levels, component.current_level, promotion.target_level) < 0:
            return GateResult(
                False,
                "component-current-level-stale",
                f"Component {promotion.component_id} stands at {component.current_level} in {matrix.path}, "
                f"the wave promotes it to {promotion.target_level}.",
                steward,
                log,
                component_id=promotion.component_id,
            )
    return passed("The component matrix shows every promotion.")


def gate_infra(facts: WaveFacts) -> GateResult:
    """The last word on every service and every infra check, over all agents. Spec: GATE 7.10, 8.4."""
    order = sorted(
        (agent.agent_id for agent in facts.wave.agents if facts.summary(agent.agent_id)),
        key=lambda agent_id: str((facts.summary(agent_id) or {}).get("completedAt") or ""),
    )
    services: dict[Any, tuple[str, JsonObject]] = {}
    checks: dict[Any, tuple[str, JsonObject]] = {}
    for agent_id in order:
        summary = facts.summary(agent_id) or {}
        for item in summary.get("deployments") or []:
            services[item.get("service")] = (agent_id, item)
        for item in summary.get("infra") or []:
            checks[item.get("kind"), item.get("target")] = (agent_id, item)
    attention = ""
    for entries, validate in ((services, validate_deploy_summary), (checks, validate_infra_summary)):
        for agent_id, item in entries.values():
            verdict = validate([item])
            if not verdict.ok:
                return from_verdict(verdict, agent_id, facts.log_path(agent_id))
            attention = attention or (verdict.detail if verdict.status_code == "deploy-attention" else "")
    if attention:
        return GateResult(True, "deploy-attention", attention)
    return passed("No deployment or infra check blocks.")


def gate_helper_assignment(facts: WaveFacts) -> GateResult:
    """Requests to capabilities are assigned and closed; bootstrap mode only notes assigned ones. Spec: GATE 8.3."""
    barrier = facts.derived.helper_assignment_barrier if facts.derived else None
    result = _barrier(barrier)
    bootstrap = gate_mode(facts.profile.validation, facts.wave_number) == "bootstrap"
    if result.status_code == "helper-assignment-open" and bootstrap:
        return GateResult(True, "helper-assignment-open-advisory", result.detail)
    return result


def gate_dependency(facts: WaveFacts) -> GateResult:
    """No required dependency ticket is open. Spec: GATE 8.4."""
    return _barrier(facts.derived.dependency_barrier if facts.derived else None)


def gate_blocker(facts: WaveFacts) -> GateResult:
    """No hard blocker is open and every log line can be read. Spec: GATE 8.4."""
    if facts.bad_log_lines:
        detail = "; ".join(facts.bad_log_lines[:3])
        return GateResult(False, "coordination-log-corrupt", detail, failure_class=STATE)
    return _barrier(facts.derived.blocker_barrier if facts.derived else None)


def gate_clarification(facts: WaveFacts) -> GateResult:
    """No clarification, follow-up or human question blocks. Spec: GATE 8.4."""
    return _barrier(facts.derived.clarification_barrier if facts.derived else None)


def _barrier(barrier: Barrier | None) -> GateResult:
    if barrier is None:
        return passed()
    return GateResult(barrier.ok, barrier.status_code, barrier.detail, failure_class=None if barrier.ok else STATE)
