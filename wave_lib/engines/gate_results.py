"""What validators and gates answer, the order of the gates, and how the snapshot is written.

Spec: GATE 7.2 (verdicts), 8.1 (gate results), 8.4 (order), 8.5 (snapshot), 8.6 (names).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

TRANSPORT = "transport-failure"
SEMANTIC = "semantic-failure"
ARTIFACT = "artifact-failure"
STATE = "state-failure"
PROOF_GAP = "wave-proof-gap"

GATE_LABELS: Mapping[str, str] = {
    "designGate": "Design packet",
    "implementationGate": "Implementation exit contract",
    "componentGate": "Component promotion",
    "helperAssignmentBarrier": "Helper assignment barrier",
    "dependencyBarrier": "Dependency barrier",
    "blockerBarrier": "Blocker barrier",
    "contEvalGate": "cont-EVAL",
    "securityGate": "Security review",
    "integrationGate": "Integration gate",
    "integrationBarrier": "Integration gate",
    "documentationGate": "Documentation closure",
    "componentMatrixGate": "Component matrix update",
    "contQaGate": "cont-QA gate",
    "infraGate": "Infra gate",
    "clarificationBarrier": "Clarification barrier",
}
"""Names in messages, in the order in which gates decide. Spec: GATE 8.4, 8.6."""

GATE_ORDER: tuple[str, ...] = tuple(key for key in GATE_LABELS if key != "integrationGate")
"""The gates that may stop a wave; the first failure in this order is `overall`. Spec: GATE 8.4."""

SNAPSHOT_KEYS: tuple[str, ...] = (
    "designGate",
    "implementationGate",
    "componentGate",
    "integrationGate",
    "integrationBarrier",
    "documentationGate",
    "componentMatrixGate",
    "contEvalGate",
    "securityGate",
    "contQaGate",
    "infraGate",
    "clarificationBarrier",
    "helperAssignmentBarrier",
    "dependencyBarrier",
    "blockerBarrier",
)
"""Key order of the stored snapshot. Spec: GATE 8.5."""

BARRIERS = frozenset(("helperAssignmentBarrier", "dependencyBarrier", "blockerBarrier", "clarificationBarrier"))


class Verdict(NamedTuple):
    """A validator's answer. `adjudication_hint` names the marker to recover (`proof`, `docDelta`, `component:<id>`).

    Spec: GATE 7.2.
    """

    ok: bool
    status_code: str
    detail: str = ""
    failure_class: str | None = None
    eligible_for_adjudication: bool = False
    adjudication_hint: str | None = None
    component_id: str | None = None
    eligible_for_fallback: bool = False

    def to_json(self) -> dict[str, Any]:
        """`{ok, statusCode, detail, failureClass, eligibleForAdjudication, adjudicationHint}`."""
        return {
            "ok": self.ok,
            "statusCode": self.status_code,
            "detail": self.detail,
            "failureClass": self.failure_class,
            "eligibleForAdjudication": self.eligible_for_adjudication,
            "adjudicationHint": self.adjudication_hint,
        }


class GateResult(NamedTuple):
    """One gate's answer. None and empty in the optional fields mean "not given" and are left out of the JSON form.

    Spec: GATE 8.1.
    """

    ok: bool
    status_code: str = "pass"
    detail: str = ""
    agent_id: str | None = None
    log_path: str | None = None
    component_id: str | None = None
    owner_agent_ids: tuple[str, ...] = ()
    satisfied_agent_ids: tuple[str, ...] = ()
    waiting_on_agent_ids: tuple[str, ...] = ()
    failed_own_contract_agent_ids: tuple[str, ...] = ()
    failure_class: str | None = None
    eligible_for_adjudication: bool = False
    adjudication_hint: str | None = None
    adjudicated: bool = False
    adjudicated_agent_ids: tuple[str, ...] = ()
    adjudication_status: str | None = None
    adjudication_artifact_path: str | None = None
    integration_state: str | None = None
    doc_closure_state: str | None = None
    cont_qa_state: str | None = None
    pending: bool = False

    def to_json(self, barrier: bool = False) -> dict[str, Any]:
        """The stored form; a barrier has `{ok, statusCode, detail}` only."""
        if barrier:
            return {"ok": self.ok, "statusCode": self.status_code, "detail": self.detail}
        payload: dict[str, Any] = {
            "ok": self.ok,
            "agentId": self.agent_id,
            "statusCode": self.status_code,
            "detail": self.detail,
            "logPath": self.log_path,
        }
        for name, key in _OPTIONAL_KEYS.items():
            value = getattr(self, name)
            if value not in (None, (), False):
                payload[key] = list(value) if isinstance(value, tuple) else value
        return payload


_OPTIONAL_KEYS = {
    "component_id": "componentId",
    "owner_agent_ids": "ownerAgentIds",
    "satisfied_agent_ids": "satisfiedAgentIds",
    "waiting_on_agent_ids": "waitingOnAgentIds",
    "failed_own_contract_agent_ids": "failedOwnContractAgentIds",
    "failure_class": "failureClass",
    "eligible_for_adjudication": "eligibleForAdjudication",
    "adjudication_hint": "adjudicationHint",
    "adjudicated": "adjudicated",
    "adjudicated_agent_ids": "adjudicatedAgentIds",
    "adjudication_status": "adjudicationStatus",
    "adjudication_artifact_path": "adjudicationArtifactPath",
    "integration_state": "integrationState",
    "doc_closure_state": "docClosureState",
    "cont_qa_state": "contQaState",
    "pending": "pending",
}


class Overall(NamedTuple):
    """The snapshot's conclusion: the first blocking failure, or `pass`."""

    ok: bool
    gate: str
    status_code: str
    detail: str
    agent_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """`{ok, gate, statusCode, detail, agentId}`."""
        return {
            "ok": self.ok,
            "gate": self.gate,
            "statusCode": self.status_code,
            "detail": self.detail,
            "agentId": self.agent_id,
        }


class GateSnapshot(NamedTuple):
    """All gates of one evaluation. `gates` has every key of `SNAPSHOT_KEYS`. Spec: GATE 8.5."""

    gates: Mapping[str, GateResult]
    gate_mode: str
    advisory_failures: tuple[tuple[str, GateResult], ...]
    overall: Overall

    def to_json(self) -> dict[str, Any]:
        """The object that the control-plane `gate` event, the trace and the reducer store."""
        payload: dict[str, Any] = {
            key: self.gates[key].to_json(key in BARRIERS) for key in SNAPSHOT_KEYS if key in self.gates
        }
        payload["gateMode"] = self.gate_mode
        payload["advisoryFailures"] = [
            {"gate": key, "ok": False, "statusCode": gate.status_code} for key, gate in self.advisory_failures
        ]
        payload["overall"] = self.overall.to_json()
        return payload


def passed(detail: str = "", agent_id: str | None = None, log_path: str | None = None) -> GateResult:
    """An ok result with status code `pass`."""
    return GateResult(True, "pass", detail, agent_id, log_path)


def from_verdict(verdict: Verdict, agent_id: str | None, log_path: str | None = None) -> GateResult:
    """The gate result that says what a validator said about an agent."""
    return GateResult(
        verdict.ok,
        verdict.status_code,
        verdict.detail,
        agent_id,
        log_path,
        component_id=verdict.component_id,
        failure_class=verdict.failure_class,
        eligible_for_adjudication=verdict.eligible_for_adjudication,
        adjudication_hint=verdict.adjudication_hint,
    )
