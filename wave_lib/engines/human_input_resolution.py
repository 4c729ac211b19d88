"""What an answer settles: records, the clarification behind them, its follow-ups. Pure. Spec: COORD 12.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.coordination_records import (
    clarification_closure_condition,
    closure_clarification,
    is_linked,
    is_open,
    linked_requests,
)
from .working_log import WorkingLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]


def what_was_said(answer: str, operator: str, disposition: str) -> str:
    """The sentence that an answer leaves in every record that it closes."""
    return f"{'Dismissed' if disposition == 'dismissed' else 'Answered'} by {operator}: {answer}"


def answer_records(
    state: CoordinationState,
    request_id: str,
    answer: str,
    operator: str,
    disposition: str,
    now: str,
    replaced: str = "",
) -> list[JsonObject]:
    """Updates that an answer (or, with disposition `dismissed`, its refusal) brings about, in order.

    Also settles the clarification of a linked escalation that was superseded meanwhile. `replaced` is what an earlier
    answer to the same question said (`what_was_said`): records that it closed say the new one instead.
    """
    status = "cancelled" if disposition == "dismissed" else "resolved"
    told = what_was_said(answer, operator, disposition)
    log = WorkingLog(state, {}, now)
    linked = [record for record in state.latest if _names(record, request_id)]
    if replaced:
        _correct(log, linked, replaced, told, operator)
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


def _correct(log: WorkingLog, linked: Sequence[JsonObject], wrong: str, told: str, operator: str) -> None:
    """Put the words of the new answer in the place of the old ones, in all that the old one had closed."""
    chain = {record["id"] for record in linked}
    chain |= {named for record in linked for named in [_clarification_of(record)] if named}
    for record in log.state.latest:
        behind = record["id"] in chain or is_linked(record, chain)
        if behind and not is_open(record) and record["detail"].endswith(wrong):
            detail = record["detail"][: -len(wrong)] + told
            log.update(record, attempt=record["attempt"], detail=detail, resolvedBy=operator)


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
