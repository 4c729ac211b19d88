"""The operator's view of records and questions: one task each, and what blocks the wave. Pure. Spec: COORD 8, 25.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.timestamps import iso_of, parse_iso
from ..state.coordination_records import (
    closure_clarification,
    is_agent_request_seed,
    is_open,
    is_seed,
    record_blocks_wave,
    record_is_hard_blocker,
    severity_of,
)
from .coordination_metrics import ACK_TIMEOUT_MS, RESOLUTION_STALE_MS, coordination_response_metrics, is_ack_tracked

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

_TYPES = {
    "clarification-request": "clarification",
    "human-feedback": "human-input",
    "human-escalation": "escalation",
    "request": "request",
    "blocker": "blocker",
    "handoff": "handoff",
    "evidence": "evidence",
    "claim": "claim",
    "decision": "decision",
}
_STATES = {
    "open": "open",
    "acknowledged": "working",
    "in_progress": "working",
    "resolved": "resolved",
    "closed": "resolved",
    "cancelled": "cancelled",
    "superseded": "superseded",
}
OPEN_STATES = frozenset(("open", "working", "input-required"))


def build_task_snapshots(
    state: CoordinationState,
    feedback: Sequence[Mapping[str, Any]],
    agent_ids: Collection[str],
    now: str,
    *,
    only_open: bool = False,
) -> list[JsonObject]:
    """Tasks sorted by creation; questions without a record become tasks too. Spec: COORD 8.

    `only_open` leaves out the tasks of closed records.
    """
    rows = {row["id"]: row for row in feedback}
    metrics = coordination_response_metrics(state, now)["recordMetricsById"]
    tasks = [
        _record_task(record, _linked_feedback(record, rows), metrics.get(record["id"], {}), agent_ids)
        for record in (state.open if only_open else state.latest)
        if record["kind"] in _TYPES and not is_agent_request_seed(record)
    ]
    linked = {record["id"] for record in state.of_kind("human-feedback")}
    tasks += [_question_task(row) for row_id, row in rows.items() if row_id not in linked]
    return sorted(tasks, key=lambda task: _sortable(task["createdAt"]))


def _sortable(stamp: str) -> str:
    """A time stamp as text that sorts by time: as this program writes it, or made so; what is none comes first."""
    if len(stamp) == 24 and stamp[-1] == "Z":
        return stamp
    seconds = parse_iso(stamp)
    return "" if seconds is None else iso_of(seconds)


def _linked_feedback(record: JsonObject, rows: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    if record["kind"] == "human-feedback":
        return rows.get(record["id"])
    if record["kind"] == "human-escalation":
        return next((rows[ref] for ref in record["artifactRefs"] if ref in rows), None)
    return None


def _record_task(
    record: JsonObject, row: Mapping[str, Any] | None, entry: Mapping[str, Any], agent_ids: Collection[str]
) -> JsonObject:
    kind = record["kind"]
    state = _STATES[record["status"]]
    if kind == "human-feedback" and state == "open":
        state = "input-required"
    if row is not None and row["status"] == "answered" and is_open(record):
        state = "resolved"
    named = closure_clarification(record["closureCondition"])
    clarification = record["id"] if kind == "clarification-request" else named
    pending = row is not None and row["status"] == "pending"
    working = state == "working"
    assignee = _assignee(record, agent_ids)
    said = record["detail"] or record["summary"]
    updated = row["updatedAt"] if row is not None else record["updatedAt"]
    return {
        "taskId": record["id"],
        "sourceRecordId": record["id"],
        "taskType": _TYPES[kind],
        "state": state,
        "title": record["summary"] or record["detail"] or "Untitled task",
        "detail": said,
        "priority": record["priority"],
        "ownerAgentId": record["agentId"],
        "assigneeAgentId": assignee,
        "leaseOwnerAgentId": assignee if record["status"] in ("acknowledged", "in_progress") else None,
        "blocking": record_blocks_wave(record),
        "blockerSeverity": severity_of(record),
        "needsHuman": kind == "human-feedback" or pending or state == "input-required",
        "dependsOn": record["dependsOn"],
        "evidenceRefs": record["artifactRefs"],
        "blockerReason": said if kind == "blocker" else None,
        "retryReason": said if kind == "request" else None,
        "supersedes": record["id"] if record["status"] == "superseded" else None,
        "clarificationId": clarification,
        "createdAt": record["createdAt"],
        "updatedAt": updated,
        "ackDeadlineAt": _deadline(record, ACK_TIMEOUT_MS) if is_ack_tracked(record) and state == "open" else None,
        "resolveDeadlineAt": _deadline(record, RESOLUTION_STALE_MS) if clarification and state in OPEN_STATES else None,
        "lastHeartbeatAt": updated if working else None,
        "overdueAck": bool(entry.get("overdueAck")),
        "stale": bool(entry.get("staleClarification")) or severity_of(record) == "stale",
        "feedbackRequestId": row["id"] if row is not None else None,
        "humanResponse": (row["responseText"] or None) if row is not None else None,
        "humanOperator": (row["responseOperator"] or None) if row is not None else None,
        "seed": is_seed(record),
    }


def _assignee(record: JsonObject, agent_ids: Collection[str]) -> str | None:
    bare = None
    for target in record["targets"]:
        if target.startswith("agent:"):
            return str(target[6:])
        if bare is None and target in agent_ids:
            bare = str(target)
    return bare


def _deadline(record: Mapping[str, Any], milliseconds: int) -> str | None:
    created = parse_iso(record["createdAt"])
    return None if created is None else iso_of(created + milliseconds / 1000)


def _question_task(row: Mapping[str, Any]) -> JsonObject:
    record = {
        "id": row["id"],
        "kind": "human-feedback",
        "agentId": row["agentId"],
        "targets": [f"agent:{row['agentId']}"],
        "status": "open",
        "priority": "high",
        "blocking": row["status"] == "pending",
        "blockerSeverity": "hard",
        "artifactRefs": [],
        "dependsOn": [],
        "closureCondition": "",
        "createdAt": row["createdAt"],
        "updatedAt": row["updatedAt"],
        "summary": row["question"],
        "detail": row["context"],
        "source": "feedback",
    }
    task = _record_task(record, row, {}, ())
    pending = row["status"] == "pending"
    return {**task, "resolveDeadlineAt": _deadline(row, RESOLUTION_STALE_MS) if pending else None}


def next_task_deadline(tasks: Sequence[Mapping[str, Any]]) -> JsonObject | None:
    """The earliest deadline of a blocking task: `{kind, taskId, at, title, assigneeAgentId}`."""
    found = []
    for task in tasks:
        for kind, key in (("ack", "ackDeadlineAt"), ("resolve", "resolveDeadlineAt")):
            if task["blocking"] and task[key]:
                found.append((parse_iso(task[key]) or 0.0, kind, task))
    if not found:
        return None
    _, kind, task = min(found, key=lambda item: item[0])
    return {
        "kind": kind,
        "taskId": task["taskId"],
        "at": task["ackDeadlineAt" if kind == "ack" else "resolveDeadlineAt"],
        "title": task["title"],
        "assigneeAgentId": task["assigneeAgentId"],
    }


# --- the blocking edge ----------------------------------------------------------------------------------------------


class EdgeFacts(NamedTuple):
    """What the blocking edge is found among. `rerun_agents` and `relaunch_agents` are None without such a plan;
    `only` restricts to what involves these agents."""

    wave: int
    phase: str
    tasks: Sequence[JsonObject]
    state: CoordinationState
    assignments: Sequence[JsonObject]
    dependencies: JsonObject | None
    contradictions: Sequence[JsonObject] = ()
    rerun_request: JsonObject | None = None
    relaunch_agents: Sequence[str] = ()
    live_agents: Sequence[str] | None = None
    only: str | None = None


def blocking_edge(facts: EdgeFacts) -> JsonObject | None:
    """`{kind, id, agentId, detail}` of the first thing that stands in the way, or None. Spec: COORD 25.2."""
    if facts.phase == "completed":
        return None
    involved = [facts.only] if facts.only else (list(facts.live_agents) if facts.live_agents is not None else None)
    tasks = [
        task
        for task in facts.tasks
        if task["blocking"]
        and task["state"] in OPEN_STATES
        and not task["seed"]
        and _involves(involved, task["assigneeAgentId"], task["ownerAgentId"])
    ]
    hard = {record["id"] for record in facts.state.open_of_kind("blocker") if record_is_hard_blocker(record)}
    assignments = [
        item
        for item in facts.assignments
        if item["blocking"] and _involves(involved, item["assignedAgentId"], item["sourceAgentId"])
    ]
    candidates = [
        _task_edge("human-input", tasks, lambda task: task["state"] == "input-required"),
        _task_edge("human-escalation", tasks, lambda task: task["taskType"] == "escalation"),
        _task_edge("clarification", tasks, lambda task: task["taskType"] == "clarification"),
        _task_edge("blocker", tasks, lambda task: task["taskId"] in hard),
        _contradiction_edge(facts, involved),
        _assignment_edge("helper-assignment-unresolved", [row for row in assignments if not row["assignedAgentId"]]),
        _assignment_edge("helper-assignment", assignments),
        _dependency_edge(facts.dependencies, involved),
        *(_plan_edges(facts) if facts.live_agents is None else ()),
        _task_edge("blocker", tasks, lambda task: task["taskType"] == "blocker"),
        _task_edge("request", tasks, lambda task: task["taskType"] == "request"),
    ]
    return next((edge for edge in candidates if edge is not None), None)


def _involves(involved: Sequence[str] | None, *agents: str | None) -> bool:
    return involved is None or any(agent in involved for agent in agents if agent)


def _edge(kind: str, edge_id: str, agent_id: str | None, detail: str) -> JsonObject:
    return {"kind": kind, "id": edge_id, "agentId": agent_id, "detail": detail}


def _task_edge(kind: str, tasks: Sequence[JsonObject], fits: Any) -> JsonObject | None:
    task = next((task for task in tasks if fits(task)), None)
    if task is None:
        return None
    agent = task["ownerAgentId"] if kind == "blocker" else task["assigneeAgentId"] or task["ownerAgentId"]
    asked = kind in ("human-input", "human-escalation", "clarification")  # the detail is only the background
    return _edge(kind, task["taskId"], agent, task["title"] if asked else task["detail"] or task["title"])


def _contradiction_edge(facts: EdgeFacts, involved: Sequence[str] | None) -> JsonObject | None:
    for item in facts.contradictions:
        parties = [party["agentId"] for party in item["parties"] if party.get("agentId")]
        blocks = item["severity"] == "blocking" and item["status"] not in ("resolved", "waived")
        if blocks and (not parties or _involves(involved, *parties)):
            return _edge("contradiction", item["contradictionId"], parties[0] if parties else None, item["kind"])
    return None


def _assignment_edge(kind: str, assignments: Sequence[JsonObject]) -> JsonObject | None:
    if not assignments:
        return None
    item = assignments[0]
    agent = item["assignedAgentId"] or item["sourceAgentId"]
    return _edge(kind, item["requestId"], agent, item["summary"] or item["detail"])


def _dependency_edge(dependencies: Mapping[str, Any] | None, involved: Sequence[str] | None) -> JsonObject | None:
    for item in [*(dependencies or {}).get("requiredInbound", ()), *(dependencies or {}).get("requiredOutbound", ())]:
        if _involves(involved, item["assignedAgentId"], item["agentId"]):
            return _edge("dependency", item["id"], item["assignedAgentId"] or item["agentId"], item["summary"])
    return None


def _plan_edges(facts: EdgeFacts) -> tuple[JsonObject | None, ...]:
    request = facts.rerun_request
    rerun = None
    if request is not None and (facts.only is None or facts.only in request["selectedAgentIds"]):
        rerun = _edge("rerun-request", request["requestId"], None, request["reason"] or "A rerun was requested.")
    relaunch = None
    if facts.relaunch_agents and (facts.only is None or facts.only in facts.relaunch_agents):
        named = ", ".join(facts.relaunch_agents)
        relaunch = _edge("relaunch-plan", f"wave-{facts.wave}-relaunch-plan", None, f"Next to launch: {named}")
    return rerun, relaunch
