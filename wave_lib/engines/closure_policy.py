"""What closure may conclude without asking a steward: how entangled the wave is, inferred integration, automatic
documentation closure, the skipped cont-QA.

Pure. Every automatism is off unless the configuration allows it, and a steward's own word always counts more.
Spec: GATE 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.lane_profile import closure_mode
from .gate_results import PROOF_GAP, GateResult
from .summary_validation import raw_but_rejected, validate_documentation_summary

if TYPE_CHECKING:
    from .facts import WaveFacts

JsonObject = dict[str, Any]

READY = "ready-for-doc-closure"
STRICT, SEMANTIC_INTEGRATION, SEMANTIC_DOCS, LOW_ENTROPY = (
    "strict-full-closure",
    "semantic-integration",
    "semantic-docs",
    "low-entropy",
)
_INTEGRATION_LISTS = (
    "openClaims",
    "conflictingClaims",
    "unresolvedBlockers",
    "changedInterfaces",
    "crossComponentImpacts",
    "proofGaps",
    "deployRisks",
    "inboundDependencies",
    "outboundDependencies",
    "helperAssignments",
)
_DEPENDENCY_LISTS = ("openInbound", "openOutbound", "unresolvedInboundAssignments")
_OPEN_KINDS = ("clarification-request", "human-escalation", "human-feedback")


class ClosureSignals(NamedTuple):
    """Names of what stands against a simple closure, and what the docs queue holds. Spec: GATE 9.2.

    `strict` and `integration` name the reasons for the two most demanding classes. `docs_queue_known` is False when no
    docs queue was computed.
    """

    strict: tuple[str, ...]
    integration: tuple[str, ...]
    shared_plan: bool
    component_matrix: bool
    docs_queue_known: bool


def closure_signals(
    *,
    integration_summary: Mapping[str, Any] | None,
    docs_queue: Mapping[str, Any] | None,
    contradictions: Iterable[Mapping[str, Any]] = (),
    open_records: Iterable[Mapping[str, Any]] = (),
    assignments: Iterable[Mapping[str, Any]] = (),
    dependencies: Mapping[str, Any] | None = None,
    barriers_ok: bool = True,
    security_state: str | None = None,
    corridor_stops: bool = False,
) -> ClosureSignals:
    """Collect the signals. `open_records` are the open coordination records, `barriers_ok` tells whether the
    clarification, helper-assignment and dependency barriers are, `corridor_stops` whether Corridor blocks or failed
    while required."""
    strict = [f"contradiction {item.get('contradictionId')}" for item in contradictions if contradiction_counts(item)]
    strict += [f"{item['kind']} {item.get('id')}" for item in open_records if item.get("kind") in _OPEN_KINDS]
    if not barriers_ok:
        strict.append("barrier")
    if security_state == "blocked":
        strict.append("security")
    if corridor_stops:
        strict.append("corridor")
    summary, tickets = integration_summary or {}, dependencies or {}
    integration = [name for name in _INTEGRATION_LISTS if summary.get(name)]
    integration += [name for name in _DEPENDENCY_LISTS if tickets.get(name)]
    integration += [
        f"assignment {item.get('id') or item.get('requestId')}"
        for item in assignments
        if item.get("blocking") is not False
    ]
    items = (docs_queue or {}).get("items")
    kinds = {item.get("kind") for item in items if isinstance(item, dict)} if isinstance(items, list) else set()
    return ClosureSignals(
        tuple(strict), tuple(integration), "shared-plan" in kinds, "component-matrix" in kinds, isinstance(items, list)
    )


def contradiction_counts(contradiction: Mapping[str, Any]) -> bool:
    """Whether a contradiction stands against closure: unresolved, weighty and about integration. Spec: GATE 9.2."""
    gates = contradiction.get("impactedGates") or ()
    return (
        contradiction.get("status") not in ("resolved", "waived")
        and contradiction.get("severity") in ("blocking", "high")
        and (not gates or "integrationBarrier" in gates)
    )


def classify_closure_complexity(signals: ClosureSignals) -> str:
    """`strict-full-closure`, `semantic-integration`, `semantic-docs` or `low-entropy`. Spec: GATE 9.2."""
    if signals.strict:
        return STRICT
    if signals.integration:
        return SEMANTIC_INTEGRATION
    return SEMANTIC_DOCS if signals.shared_plan else LOW_ENTROPY


def signals_of(facts: WaveFacts, *, corridor_stops: bool) -> ClosureSignals:
    """The signals of one set of facts. Without derived state nothing may be inferred."""
    derived = facts.derived
    if derived is None:
        return ClosureSignals(("no derived state",), (), False, False, False)
    barriers = (
        derived.clarification_barrier,
        derived.helper_assignment_barrier,
        derived.dependency_barrier,
    )
    return closure_signals(
        integration_summary=derived.integration_summary,
        docs_queue=derived.docs_queue,
        contradictions=facts.contradictions,
        open_records=derived.coordination_state.open,
        assignments=derived.capability_assignments,
        dependencies=derived.dependency_snapshot,
        barriers_ok=all(barrier.ok for barrier in barriers),
        security_state=(derived.security_summary or {}).get("overallState"),
        corridor_stops=corridor_stops,
    )


def ran_in_this_attempt(facts: WaveFacts, agent_id: str) -> bool:
    """Whether the agent has an envelope of the current attempt: then its own word counts."""
    reading = facts.readings.get(agent_id)
    return reading is not None and reading.envelope is not None and reading.attempt == facts.attempt


def recommendation(facts: WaveFacts) -> str | None:
    """The derived integration recommendation, None when there is none."""
    summary = facts.derived.integration_summary if facts.derived else None
    return (summary or {}).get("recommendation")


def infer_integration_closure(facts: WaveFacts, *, corridor_stops: bool) -> GateResult | None:
    """Integration closed without its steward, or None when that may not be inferred. Spec: GATE 9.3."""
    if not facts.profile.validation.auto_closure.allow_inferred_integration:
        return None
    if recommendation(facts) != READY or ran_in_this_attempt(facts, facts.bindings.integration):
        return None
    signals = signals_of(facts, corridor_stops=corridor_stops)
    if signals.strict or signals.integration:
        return None
    detail = "Integration is inferred: no claim, conflict, blocker, gap, risk or dependency is open."
    return GateResult(True, "pass", detail, integration_state="inferred")


def auto_document_closure(facts: WaveFacts, *, matrix_ok: bool) -> GateResult | None:
    """Documentation closed without its steward, or None when that is not allowed. Spec: GATE 9.4."""
    auto = facts.profile.validation.auto_closure
    signals = signals_of(facts, corridor_stops=False)
    if not signals.docs_queue_known or signals.shared_plan or _steward_objects(facts):
        return None
    if auto.allow_auto_doc_no_change and not signals.component_matrix:
        return GateResult(
            True, "pass", "Nothing in the docs queue concerns shared documents.", doc_closure_state="no-change"
        )
    if auto.allow_auto_doc_projection and signals.component_matrix and matrix_ok:
        return GateResult(
            True, "pass", "The component matrix already shows every promotion.", doc_closure_state="auto-closed"
        )
    return None


def _steward_objects(facts: WaveFacts) -> bool:
    """Whether the documentation steward ran in this attempt and said no, or something unreadable."""
    agent = facts.wave.agent(facts.bindings.documentation)
    if agent is None or not ran_in_this_attempt(facts, agent.agent_id):
        return False
    summary = facts.summary(agent.agent_id)
    verdict = validate_documentation_summary(agent, summary)
    return (
        not facts.readings[agent.agent_id].valid
        or verdict.status_code in ("doc-closure-open", PROOF_GAP)
        or raw_but_rejected(summary, "docClosure")
    )


def may_fall_back_after_empty_run(facts: WaveFacts, *, matrix_ok: bool) -> bool:
    """Whether a documentation run without any marker counts as "no change". Spec: GATE 9.4."""
    signals = signals_of(facts, corridor_stops=False)
    return (
        facts.profile.validation.auto_closure.allow_auto_doc_no_change
        and signals.docs_queue_known
        and not signals.shared_plan
        and matrix_ok
        and recommendation(facts) == READY
    )


def skips_cont_qa(facts: WaveFacts) -> bool:
    """Whether cont-QA may be left out: allowed, bootstrap closure, and no other closure agent was needed. GATE 9.5."""
    validation = facts.profile.validation
    if not validation.auto_closure.allow_skip_cont_qa_in_bootstrap:
        return False
    if closure_mode(validation, facts.wave_number) != "bootstrap" or facts.launched_stages:
        return False
    return not any(ran_in_this_attempt(facts, agent_id) for agent_id in facts.bindings.closure_agents)
