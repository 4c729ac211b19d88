"""One evaluation of all gates, used by the launcher, the reducer, `control status` and replay alike.

Pure. Spec: GATE 8.3 (modes), 8.4 (order), 8.5 (snapshot), 8.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..definition.lane_profile import gate_mode
from .gate_barriers import (
    gate_blocker,
    gate_clarification,
    gate_component_matrix,
    gate_corridor,
    gate_dependency,
    gate_helper_assignment,
    gate_infra,
)
from .gate_results import GATE_LABELS, GATE_ORDER, PROOF_GAP, SNAPSHOT_KEYS, GateResult, GateSnapshot, Overall
from .gates_closure import (
    gate_cont_eval,
    gate_cont_qa,
    gate_documentation,
    gate_integration,
    gate_integration_barrier,
    gate_security,
)
from .gates_implementation import (
    adjudications,
    gate_component,
    gate_design,
    gate_implementation,
    shared_component_waits,
)

if TYPE_CHECKING:
    from .facts import WaveFacts

__all__ = [
    "GATES",
    "GATE_LABELS",
    "GATE_ORDER",
    "adjudications",
    "evaluate_gate",
    "evaluate_gates",
    "gate_corridor",
    "gate_design",
    "is_advisory",
    "shared_component_waits",
]

GATES: Mapping[str, Callable[[WaveFacts], GateResult]] = {
    "designGate": gate_design,
    "implementationGate": gate_implementation,
    "componentGate": gate_component,
    "helperAssignmentBarrier": gate_helper_assignment,
    "dependencyBarrier": gate_dependency,
    "blockerBarrier": gate_blocker,
    "contEvalGate": gate_cont_eval,
    "securityGate": gate_security,
    "integrationGate": gate_integration,
    "integrationBarrier": gate_integration_barrier,
    "documentationGate": gate_documentation,
    "componentMatrixGate": gate_component_matrix,
    "contQaGate": gate_cont_qa,
    "infraGate": gate_infra,
    "clarificationBarrier": gate_clarification,
}
"""Gate key -> gate, in the order of GATE 8.4."""

_ADVISORY_IN_BOOTSTRAP = frozenset(
    ("documentationGate", "contQaGate", "integrationBarrier", "componentMatrixGate", "componentGate")
)
_EXPLICIT_NEGATIVES = frozenset(
    ("cont-qa-blocked", "cont-qa-hold", "integration-contradiction-open", "doc-closure-open", PROOF_GAP)
)


def evaluate_gate(key: str, facts: WaveFacts, *, before_closure: bool = False) -> GateResult:
    """One gate by its key. `before_closure`: a cont-EVAL agent that owns implementation files has not run yet."""
    if before_closure and key == "implementationGate":
        return gate_implementation(facts, before_closure=True)
    if before_closure and key == "componentGate":
        return gate_component(facts, before_closure=True)
    return GATES[key](facts)


def is_advisory(key: str, gate: GateResult, facts: WaveFacts) -> bool:
    """Whether bootstrap mode only notes this failure; an explicit negative always blocks. Spec: GATE 8.3."""
    validation = facts.profile.validation
    if gate.ok or key not in _ADVISORY_IN_BOOTSTRAP or gate_mode(validation, facts.wave_number) != "bootstrap":
        return False
    code = gate.status_code
    if code in _EXPLICIT_NEGATIVES or (code.startswith("gate-") and code.endswith("-blocked")):
        return False
    if code == "integration-needs-more-work" and _has_spoken(facts, facts.bindings.integration):
        return False
    return not (key == "contQaGate" and validation.bootstrap_pass_conditions.require_a0_verdict)


def _has_spoken(facts: WaveFacts, agent_id: str) -> bool:
    """Whether the agent ran and left a usable result."""
    return facts.wave.agent(agent_id) is not None and facts.summary(agent_id) is not None


def evaluate_gates(facts: WaveFacts) -> GateSnapshot:
    """Every gate, what bootstrap mode only notes, and the first failure that decides. Spec: GATE 8.4, 8.5."""
    results = {key: gate(facts) for key, gate in GATES.items()}
    mode = gate_mode(facts.profile.validation, facts.wave_number)
    advisory = tuple((key, results[key]) for key in GATE_ORDER if is_advisory(key, results[key], facts))
    noted = {key for key, _ in advisory}
    failed = next((key for key in GATE_ORDER if not results[key].ok and key not in noted), None)
    if failed:
        gate = results[failed]
        overall = Overall(False, failed, gate.status_code, gate.detail, gate.agent_id)
    else:
        extra = f" ({len(advisory)} advisory in bootstrap mode)" if advisory else ""
        overall = Overall(True, "pass", "pass", f"Every gate passed{extra}.")
    return GateSnapshot({key: results[key] for key in SNAPSHOT_KEYS}, mode, advisory, overall)
