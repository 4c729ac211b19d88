"""What an answer settles: records, the clarification behind them, its follow-ups. Pure. Spec: COORD 12.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.coordination_records import (
    clarification_closure_condition,
    closure_clarification,
    is_open,
    linked_requests,
)
from .working_log import WorkingLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]


def answer_records(
    state: CoordinationState, request_id: str, answer: str, operator: str, disposition: str, now: str
) -> list[JsonObject]:
    """Updates that an answer (or, with disposition `dismissed`, its refusal) brings about, in order.

    Also settles the clarification of a linked escalation that was superseded meanwhile.
    """
    dismissed = disposition == "dismissed"
    status = "cancelled" if dismissed else "resolved"
    told = f"Dismissed by {operator}: {answer}" if dismissed else f"Answered by {operator}: {answer}"
    log = WorkingLog(state, {}, now)
    linked = [record for record in state.latest if _names(record, request_id)]
    clarifications = []
    for record in linked:
        named = record["id"] if record["kind"] == "clarification-request" else _clarification_of(record)
        clarification = state.by_id.get(named or "")
        if clarification is not None and is_open(clarification):
            clarifications.append(clarification["id"])
        if is_open(record) and record["kind"] != "clarification-request":
            _close(log, record, operator, status, told)
    for clarification_id in dict.fromkeys(clarifications):
        _close(log, log.state.by_id[clarification_id], operator, status, told)
        behind = f"Settled with {clarification_id}. {told}"
        for request in linked_requests(log.state.of_kind("request"), clarification_id, only_open=True):
            _close(log, request, operator, status, behind)
        for escalation in log.open_escalations(clarification_closure_condition(clarification_id)):
            _close(log, escalation, operator, status, behind)
    return log.appended


def _names(record: Mapping[str, Any], request_id: str) -> bool:
    return request_id == record["id"] or request_id in record["artifactRefs"] or request_id in record["dependsOn"]


def _clarification_of(record: Mapping[str, Any]) -> str | None:
    return closure_clarification(record["closureCondition"])


def _close(log: WorkingLog, record: JsonObject, operator: str, status: str, detail: str) -> None:
    changes = {"status": status, "detail": detail, "source": "operator", "resolvedBy": operator}
    log.update(record, attempt=record["attempt"], **changes)


def auto_resume_request(plan: Mapping[str, Any] | None, request_id: str, operator: str) -> JsonObject | None:
    """Data of the rerun request that goes on after an answer, or None when nothing is to run. Spec: COORD 12.2."""
    if not plan or not plan.get("canResume") or plan.get("reason") == "human-request":
        return None
    phase = plan.get("resumeFromPhase")
    if not phase or phase == "completed":
        return None
    selected: Sequence[str] = plan.get("invalidatedAgentIds") or ()
    if phase == "implementation" and not selected:
        return None
    return {
        "state": "active",
        "selectedAgentIds": list(selected) if phase == "implementation" else [],
        "resumeCursor": None if phase == "implementation" else phase,
        "preserveReusableAgentIds": list(plan.get("reusableAgentIds") or ()),
        "reuseProofBundleIds": list(plan.get("reusableProofBundleIds") or ()),
        "requestedBy": operator,
        "reason": f"Human input {request_id} was answered.",
        "applyOnce": True,
    }
