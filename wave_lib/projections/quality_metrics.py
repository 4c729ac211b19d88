"""Quality of one attempt and of all before it, in numbers. Spec: LAUNCH 17.3. Pure.

The metrics are for people and for replay; no decision reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.timestamps import parse_iso
from ..definition import roles
from ..engines.coordination_metrics import coordination_response_metrics
from ..engines.summary_validation import validate_implementation_summary
from ..state.coordination_records import OPEN_STATUSES, is_assignment_record, linked_requests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

_ACKED = frozenset(("acknowledged", "in_progress", "resolved", "closed"))
_SETTLED = frozenset(("resolved", "closed", "superseded", "cancelled"))
_ASKING_KINDS = frozenset(("request", "clarification-request", "human-feedback", "human-escalation"))
_RESPONSE_KEYS = (
    "oldestOpenCoordinationAgeMs",
    "oldestUnackedRequestAgeMs",
    "overdueAckCount",
    "overdueClarificationCount",
    "openHumanEscalationCount",
)


class QualityInputs(NamedTuple):
    """Facts of one attempt. `history` is the cumulative `historySnapshot` of LAUNCH 17.2, this attempt included.

    `summaries`: agent id -> summary with proof bundles applied; `executor_histories`: agent id -> `executorHistory`.
    """

    wave: Wave
    bindings: RoleBindings
    attempt: int
    coordination: CoordinationState
    history: Mapping[str, Any]
    summaries: Mapping[str, JsonObject | None]
    presence: Mapping[str, bool]
    assignments: Sequence[Mapping[str, Any]]
    dependencies: Mapping[str, Any]
    docs_queue: Mapping[str, Any]
    ledger: Mapping[str, Any]
    integration_summary: Mapping[str, Any]
    executor_histories: Mapping[str, Sequence[Mapping[str, Any]]]


def build_quality_metrics(inputs: QualityInputs) -> JsonObject:
    """The content of `quality.json`."""
    state = inputs.coordination
    launches: Sequence[Mapping[str, Any]] = inputs.history.get("launchEvents") or ()
    fallbacks = sum(max(len(history) - 1, 0) for history in inputs.executor_histories.values())
    return {
        "attempt": inputs.attempt,
        **_coordination_counts(state),
        "contradictionCount": len(inputs.integration_summary.get("conflictingClaims") or ()),
        "documentationDriftCount": _documentation_drift(inputs),
        "proofCompletenessRatio": _proof_completeness(inputs),
        "relaunchCountByRole": _relaunches(launches, "role"),
        "relaunchCountByExecutor": _relaunches(launches, "executorId"),
        "runtimeFallbackCount": fallbacks,
        "runtimeFallbackRate": round(fallbacks / len(launches), 2) if launches else 0,
        "openCapabilityRequestCount": sum(bool(item.get("blocking")) for item in inputs.assignments),
        "helperTaskAssignmentCount": sum(bool(item.get("assignedAgentId")) for item in inputs.assignments),
        "openRequiredDependencyCount": sum(
            len(inputs.dependencies.get(key) or ()) for key in ("requiredInbound", "requiredOutbound")
        ),
        "meanTimeToCapabilityAssignmentMs": _mean(_assignment_spans(state)),
        "meanTimeToDependencyResolutionMs": _mean(_dependency_spans(inputs.dependencies)),
        **_response_metrics(state),
        "meanTimeToFirstAckMs": _mean(_status_spans(state, _ASKING_KINDS, _ACKED)),
        "meanTimeToResolutionMs": _mean(_status_spans(state, _ASKING_KINDS, _SETTLED)),
        "meanTimeToBlockerResolutionMs": _mean(_status_spans(state, ("blocker",), _SETTLED)),
        "contQaReversal": _cont_qa_reversal(inputs),
        "finalRecommendation": inputs.integration_summary.get("recommendation") or "unknown",
    }


def _coordination_counts(state: CoordinationState) -> JsonObject:
    clarifications = state.of_kind("clarification-request")
    open_clarifications = [record for record in clarifications if record["status"] in OPEN_STATUSES]
    linked = {
        request["id"]
        for record in clarifications
        for request in linked_requests(state.latest, record["id"], only_open=True)
    }
    guided = [record for record in state.of_kind("orchestrator-guidance") if record["status"] in ("resolved", "closed")]
    return {
        "unresolvedRequestCount": len(state.open_of_kind("request")),
        "unresolvedClarificationCount": len(open_clarifications) + len(linked),
        "humanEscalationCount": len(state.of_kind("human-escalation")),
        "orchestratorResolvedClarificationCount": len(state.of_kind("resolved-by-policy")) + len(guided),
    }


def _documentation_drift(inputs: QualityInputs) -> int:
    items = inputs.docs_queue.get("items") or ()
    tasks = inputs.ledger.get("tasks") or ()
    return len(items) or sum(
        task.get("kind") == "documentation" and task.get("state") != "done" for task in tasks
    )


def _proof_completeness(inputs: QualityInputs) -> float:
    bindings = inputs.bindings
    owing = [
        agent
        for agent in inputs.wave.agents
        if agent.exit_contract is not None
        and agent.agent_id not in (bindings.cont_qa, bindings.integration, bindings.documentation)
        and not roles.is_security_reviewer(agent, bindings.roles)
        and not roles.is_cont_eval_report_only(agent, bindings)
    ]
    if not owing:
        return 1
    proven = sum(
        validate_implementation_summary(agent, inputs.summaries.get(agent.agent_id), inputs.presence).ok
        for agent in owing
    )
    return round(proven / len(owing), 2)


def _relaunches(launches: Iterable[Mapping[str, Any]], key: str) -> JsonObject:
    """Counts launches of agents that were launched before, by role or executor."""
    seen: set[str] = set()
    counts: JsonObject = {}
    for event in launches:
        if event["agentId"] in seen:
            name = str(event.get(key) or "unknown")
            counts[name] = counts.get(name, 0) + 1
        seen.add(event["agentId"])
    return counts


def _response_metrics(state: CoordinationState) -> JsonObject:
    newest = max(
        (stamp for record in state.latest if (stamp := parse_iso(record["updatedAt"])) is not None), default=0.0
    )
    from ..base.timestamps import iso_of

    metrics = coordination_response_metrics(state, iso_of(newest))
    return {key: metrics.get(key) for key in _RESPONSE_KEYS}


def _cont_qa_reversal(inputs: QualityInputs) -> bool:
    codes = [entry.get("statusCode") for entry in inputs.history.get("contQaStatuses") or ()]
    codes = [code for code in codes if code]
    return bool(codes) and any(code != codes[-1] for code in codes)


# --- spans of time --------------------------------------------------------------------------------------------------


def _span_ms(start: object, end: object) -> float | None:
    first, last = parse_iso(start), parse_iso(end)
    if first is None or last is None or last < first:
        return None
    return (last - first) * 1000


def _mean(spans: Iterable[float | None]) -> int | None:
    known = [span for span in spans if span is not None]
    return int(sum(known) / len(known) + 0.5) if known else None


def _status_spans(state: CoordinationState, kinds: Iterable[str], reached: frozenset[str]) -> list[float | None]:
    """Creation to the first version in one of the statuses, per record of these kinds."""
    wanted = {record["id"]: record["createdAt"] for kind in kinds for record in state.of_kind(kind)}
    first: dict[str, float | None] = {}
    for version in state.records:
        record_id = version["id"]
        if record_id in wanted and record_id not in first and version["status"] in reached:
            first[record_id] = _span_ms(wanted[record_id], version["updatedAt"])
    return list(first.values())


def _assignment_spans(state: CoordinationState) -> list[float | None]:
    requested = {record["id"]: record["createdAt"] for record in state.of_kind("request")}
    first: dict[str, float | None] = {}
    for version in state.records:
        if not is_assignment_record(version):
            continue
        for request_id in version["dependsOn"]:
            if request_id in requested and request_id not in first:
                first[request_id] = _span_ms(requested[request_id], version["createdAt"])
    return list(first.values())


def _dependency_spans(snapshot: Mapping[str, Any]) -> list[float | None]:
    tickets = [*(snapshot.get("inbound") or ()), *(snapshot.get("outbound") or ())]
    return [
        _span_ms(ticket.get("createdAt"), ticket.get("updatedAt"))
        for ticket in tickets
        if ticket.get("status") in _SETTLED
    ]
