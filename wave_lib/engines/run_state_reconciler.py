"""Is a wave complete by what its files say, and what does the run state learn from that? Pure.

Spec: CFG 17.4 (analysis), 17.5 (decision), 17.6 (result).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition import roles
from ..definition.lane_profile import active
from ..state.coordination_records import linked_requests, record_blocks_wave
from ..state.run_state import (
    BLOCKED,
    COMPLETED,
    COMPLETED_WITH_DRIFT,
    is_authoritative,
    not_required_agent_ids,
)
from .cont_eval_validation import validate_cont_eval_summary
from .gate_engine import evaluate_gate, evaluate_gates
from .gates_implementation import report_of
from .summary_validation import (
    validate_cont_qa_summary,
    validate_design_summary,
    validate_documentation_summary,
    validate_implementation_summary,
    validate_integration_summary,
    validate_security_summary,
)

if TYPE_CHECKING:
    from ..definition.wave_types import Agent
    from .facts import WaveFacts
    from .gate_results import Verdict

JsonObject = dict[str, Any]

DRIFT_CODES = frozenset(("prompt-hash-missing", "prompt-hash-mismatch"))
_STORED_GATE_CODES = frozenset(
    (
        "blocker-open",
        "coordination-log-corrupt",
        "corridor-fetch-failed",
        "corridor-blocked",
        "integration-contradiction-open",
        "deploy-failed",
    )
)


class Reason(NamedTuple):
    """One thing that keeps a wave from being complete."""

    code: str
    detail: str

    def to_json(self) -> JsonObject:
        """`{code, detail}`."""
        return {"code": self.code, "detail": self.detail}


class CompletionFacts(NamedTuple):
    """What an analysis is made from.

    `statuses`: agent id -> status record (absent: none). `fingerprints`: agent id -> `match`, `missing`, `mismatch`
    for agents with a status. `prior` is the wave's run-state entry.
    """

    facts: WaveFacts
    statuses: Mapping[str, Mapping[str, Any]]
    fingerprints: Mapping[str, str]
    prior: Mapping[str, Any] | None = None


class Analysis(NamedTuple):
    """Whether a wave is complete by its files, and if not, everything that says so."""

    wave: int
    ok: bool
    reasons: tuple[Reason, ...]
    missing_agent_ids: tuple[str, ...]
    has_status: bool

    @property
    def codes(self) -> set[str]:
        """The reasons' codes."""
        return {reason.code for reason in self.reasons}


class Decision(NamedTuple):
    """The row of CFG 17.5 that applies; `to_state` None means no transition."""

    rule: str
    to_state: str | None = None
    reason_code: str = ""
    detail: str = ""
    evidence: JsonObject | None = None


class BlockedWave(NamedTuple):
    """A wave that status files do not show as complete."""

    wave: int
    reasons: tuple[Reason, ...]
    evidence: JsonObject | None


class PreservedWave(NamedTuple):
    """A completed wave whose files drifted since."""

    wave: int
    reasons: tuple[Reason, ...]
    previous_state: str


class ReconcileResult(NamedTuple):
    """What a reconciliation found and left behind. Spec: CFG 17.6."""

    completed_from_status: tuple[int, ...]
    added_from_before: tuple[int, ...]
    blocked_from_status: tuple[BlockedWave, ...]
    preserved_with_drift: tuple[PreservedWave, ...]
    state: JsonObject


# --- analysis -------------------------------------------------------------------------------------------------------


def analyze_wave_completion(given: CompletionFacts) -> Analysis:
    """All reasons, in the order of the table of CFG 17.4; empty ones and doubles dropped."""
    wave = given.facts.wave
    not_required = set(not_required_agent_ids(given.prior))
    missing: list[str] = []
    found: list[Reason] = []
    all_zero = True
    for agent in wave.agents:
        status = given.statuses.get(agent.agent_id)
        if status is None:
            if agent.agent_id not in not_required:
                missing.append(agent.agent_id)
            continue
        if status["code"] != 0:
            all_zero = False
            found.append(Reason("nonzero-status", f"{agent.agent_id} exited with code {status['code']}"))
            continue
        fingerprint = given.fingerprints.get(agent.agent_id, "missing")
        if fingerprint != "match":
            found.append(Reason(f"prompt-hash-{fingerprint}", f"{agent.agent_id}: its definition changed since it ran"))
        found += _role_reasons(agent, given.facts)
    if missing:
        found.append(Reason("missing-status", f"no status of {', '.join(missing)}"))
    settled = all_zero and not missing
    if settled:
        found += _component_reasons(given.facts)
    found += _coordination_reasons(given.facts)
    if settled and not is_authoritative(given.prior):
        found += _stored_gate_reasons(given.facts)
    reasons = tuple(dict.fromkeys(reason for reason in found if reason.code))
    return Analysis(
        wave.wave, not reasons and bool(wave.agents), reasons, tuple(missing), bool(given.statuses)
    )


def _role_reasons(agent: Agent, facts: WaveFacts) -> list[Reason]:
    return [
        Reason(code, f"{agent.agent_id}: {verdict.status_code}: {verdict.detail}")
        for code, verdict in role_verdicts(agent, facts)
        if not verdict.ok
    ]


def role_verdicts(agent: Agent, facts: WaveFacts) -> list[tuple[str, Verdict]]:
    """(reason code, verdict) of every check that the agent's role asks for. Spec: CFG 17.4."""
    bindings, presence = facts.bindings, facts.presence
    summary = facts.summary(agent.agent_id)
    report = report_of(facts, agent)

    def implementation(code: str) -> tuple[str, Verdict]:
        return code, validate_implementation_summary(agent, summary, presence)

    if agent.agent_id == bindings.cont_qa:
        return [("invalid-cont-qa-summary", validate_cont_qa_summary(agent, summary, report))]
    if agent.agent_id == bindings.cont_eval:
        checks = [("invalid-cont-eval-summary", _cont_eval(agent, facts))]
        if roles.is_cont_eval_implementing(agent, bindings):
            checks.append(implementation("invalid-cont-eval-implementation-summary"))
        return checks
    if agent.agent_id == bindings.integration:
        return [("invalid-integration-summary", validate_integration_summary(agent, summary))]
    if agent.agent_id == bindings.documentation:
        return [("invalid-documentation-summary", validate_documentation_summary(agent, summary))]
    if roles.is_security_reviewer(agent, bindings.roles):
        return [("invalid-security-summary", validate_security_summary(agent, summary, report))]
    if roles.is_design_agent(agent, bindings.roles):
        checks = [("invalid-design-summary", validate_design_summary(agent, summary, report))]
        if roles.is_hybrid_design(agent, bindings.roles):
            checks.append(implementation("invalid-implementation-summary"))
        return checks
    return [implementation("invalid-implementation-summary")]


def _cont_eval(agent: Agent, facts: WaveFacts) -> Verdict:
    return validate_cont_eval_summary(
        agent,
        facts.summary(agent.agent_id),
        report_of(facts, agent),
        targets=facts.wave.eval_targets,
        catalog=facts.catalog,
        catalog_error=facts.catalog_error,
    )


def _component_reasons(facts: WaveFacts) -> list[Reason]:
    if not active(facts.profile.validation.require_component_promotions_from_wave, facts.wave_number):
        return []
    promotions = evaluate_gate("componentGate", facts)
    levels = evaluate_gate("componentMatrixGate", facts)
    return [
        Reason(code, f"{gate.status_code}: {gate.detail}")
        for code, gate in (("component-promotions-invalid", promotions), ("component-matrix-invalid", levels))
        if not gate.ok
    ]


def _coordination_reasons(facts: WaveFacts) -> list[Reason]:
    derived = facts.derived
    if derived is None:
        return []
    state = derived.coordination_state

    def blocking(kind: str) -> list[str]:
        return [record["id"] for record in state.open_of_kind(kind) if record_blocks_wave(record)]

    requests = {
        request["id"]: request
        for record in state.of_kind("clarification-request")
        for request in linked_requests(state.latest, record["id"], only_open=True)
        if record_blocks_wave(request)
    }
    found = [
        ("open-clarification", blocking("clarification-request")),
        ("open-clarification-request", list(requests)),
        ("open-human-escalation", blocking("human-escalation")),
        ("open-human-feedback", blocking("human-feedback")),
    ]
    assignments = [item for item in derived.capability_assignments or () if item.get("blocking")]
    unassigned = _ids((item for item in assignments if not item.get("assignedAgentId")), "requestId")
    if unassigned:
        found.append(("helper-assignment-unresolved", unassigned))
    else:
        found.append(("helper-assignment-open", _ids(assignments, "requestId")))
    snapshot = derived.dependency_snapshot or {}
    found.append(("dependency-assignment-unresolved", _ids(snapshot.get("unresolvedInboundAssignments") or (), "id")))
    required = [*(snapshot.get("requiredInbound") or ()), *(snapshot.get("requiredOutbound") or ())]
    found.append(("dependency-open", _ids(required, "id")))
    return [Reason(code, ", ".join(ids)) for code, ids in found if ids]


def _ids(items: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({str(item.get(key)) for item in items})


def _stored_gate_reasons(facts: WaveFacts) -> list[Reason]:
    """Verdicts of the live gates on the stored facts that no agent's own result shows."""
    gates = evaluate_gates(facts).gates
    return [
        Reason(gate.status_code, gate.detail)
        for gate in gates.values()
        if not gate.ok and (gate.status_code in _STORED_GATE_CODES or gate.status_code.startswith("infra-"))
    ]


# --- decision -------------------------------------------------------------------------------------------------------


def decide(analysis: Analysis, prior: Mapping[str, Any] | None, evidence: JsonObject) -> Decision:
    """The first row of CFG 17.5 that applies. `evidence` is what the wave's files look like now."""
    trusted = is_authoritative(prior)
    if analysis.ok:
        if trusted and prior is not None and prior["currentState"] == COMPLETED:
            return Decision("R1")
        carried = carry_not_required(evidence, prior)
        return Decision("R2", COMPLETED, "status-reconcile-complete", "All status files prove completion.", carried)
    only_missing = analysis.codes == {"missing-status"}
    if trusted and prior is not None:
        drifted = analysis.codes <= DRIFT_CODES
        if drifted or (only_missing and not analysis.has_status):
            kept = preserved_evidence(carry_not_required(evidence, prior), prior, analysis.reasons)
            detail = joined(analysis.reasons)
            rule = "R3" if drifted else "R4"
            return Decision(rule, COMPLETED_WITH_DRIFT, "status-reconcile-completed-with-drift", detail, kept)
        if unchanged_since(prior.get("lastEvidence"), evidence):
            return Decision("R5")
    if prior is None and only_missing and not analysis.has_status:
        return Decision("R6")
    code = analysis.reasons[0].code if analysis.reasons else "status-reconcile-blocked"
    reasons = [reason.to_json() for reason in analysis.reasons]
    return Decision("R7", BLOCKED, code, joined(analysis.reasons), {**evidence, "blockedReasons": reasons})


def joined(reasons: Sequence[Reason]) -> str:
    """The reasons' details in one line."""
    return "; ".join(reason.detail for reason in reasons)


def carry_not_required(evidence: JsonObject, prior: Mapping[str, Any] | None) -> JsonObject:
    """Evidence that keeps naming the agents whose stage was not needed. Spec: LAUNCH 4.1."""
    ids = not_required_agent_ids(prior)
    return {**evidence, "notRequiredAgentIds": ids} if ids and "notRequiredAgentIds" not in evidence else evidence


def preserved_evidence(evidence: JsonObject, prior: Mapping[str, Any], reasons: Sequence[Reason]) -> JsonObject:
    """Evidence of a drifted completion; what it preserves is the last completion without drift, nested once."""
    previous = prior.get("lastEvidence")
    earlier = (previous or {}).get("preservedCompletion")
    kept = {
        "preserved": True,
        "preservedFromState": prior["currentState"],
        "preservedFromSource": prior["lastSource"],
        "preservedFromReasonCode": prior["lastReasonCode"],
        "driftReasons": [reason.to_json() for reason in reasons],
        "previousEvidence": previous,
    }
    if prior["currentState"] == COMPLETED_WITH_DRIFT and isinstance(earlier, dict):
        kept = {**earlier, "driftReasons": kept["driftReasons"]}
    return {**evidence, "preservedCompletion": kept}


def unchanged_since(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Whether nothing that decides about the wave changed between two pieces of evidence (rule R5).

    Summaries, assignments and the dependency snapshot are caches: one that was deleted has not changed.
    """
    if not before:
        return False
    if any(before.get(key) != now.get(key) for key in ("waveFileHash", "coordinationLogSha256")):
        return False
    if _hashes(before, "statusFiles") != _hashes(now, "statusFiles"):
        return False
    caches = [(before.get(key), now.get(key)) for key in ("assignmentsSha256", "dependencySnapshotSha256")]
    old, new = _hashes(before, "summaryFiles"), _hashes(now, "summaryFiles")
    caches += [(old.get(agent_id), new.get(agent_id)) for agent_id in {*old, *new}]
    return all(then == today for then, today in caches if then and today)


def _hashes(evidence: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {str(item.get("agentId")): item.get("sha256") for item in evidence.get(key) or ()}
