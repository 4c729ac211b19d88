"""States of questions to people, out of records and feedback requests. Pure. Spec: COORD 12.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import StateError
from ..base.timestamps import parse_iso
from ..state.coordination_records import WITHDRAWN_STATUSES, is_open, parse_int

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

TRANSITIONS = {
    "open": ("pending", "escalated", "resolved"),
    "pending": ("answered", "escalated", "resolved"),
    "answered": ("resolved",),
    "escalated": ("answered", "resolved"),
    "resolved": (),
}
BLOCKING_STATES = frozenset(("open", "pending", "escalated"))
MAX_WAIT_MS = 300_000
ESCALATE_AFTER_MS = 120_000


def normalize_request(raw: Mapping[str, Any]) -> JsonObject:
    """A whole request; an unknown state becomes `open`."""
    state = raw.get("state")
    timeout = raw.get("timeoutPolicy") or {}
    reroute = raw.get("reroutePolicy") or {}
    return {
        "requestId": raw.get("requestId"),
        "kind": raw.get("kind") or "human-input",
        "state": state if state in TRANSITIONS else "open",
        "title": raw.get("title") or "",
        "detail": raw.get("detail") or "",
        "requestedBy": raw.get("requestedBy"),
        "assignedTo": raw.get("assignedTo"),
        "timeoutPolicy": {
            "maxWaitMs": parse_int(timeout.get("maxWaitMs")) or MAX_WAIT_MS,
            "escalateAfterMs": parse_int(timeout.get("escalateAfterMs")) or ESCALATE_AFTER_MS,
        },
        "reroutePolicy": {
            "rerouteOnTimeout": reroute.get("rerouteOnTimeout") is not False,
            "rerouteTo": reroute.get("rerouteTo") or "operator",
        },
        **{
            key: raw.get(key)
            for key in ("createdAt", "updatedAt", "answeredAt", "resolvedAt", "escalatedAt", "answer", "resolution")
        },
    }


def transition(request: Mapping[str, Any], to_state: str, now: str) -> JsonObject:
    """The request in a new state. StateError when the table does not allow it."""
    current = str(request.get("state"))
    if current not in TRANSITIONS:
        raise StateError(f"Invalid current state: {current}")
    if to_state not in TRANSITIONS:
        raise StateError(f"Invalid target state: {to_state}")
    if to_state not in TRANSITIONS[current]:
        allowed = ", ".join(TRANSITIONS[current])
        raise StateError(f'Invalid transition from "{current}" to "{to_state}". Allowed: [{allowed}]')
    return {**request, "state": to_state, "updatedAt": now, f"{to_state}At": now}


def is_blocking(request: Mapping[str, Any]) -> bool:
    """Whether somebody still waits; a missing state counts as open."""
    return (request.get("state") or "open") in BLOCKING_STATES


def build_human_input_requests(state: CoordinationState, feedback: Sequence[Mapping[str, Any]]) -> list[JsonObject]:
    """All questions of a wave: clarifications, escalations, feedback requests, and feedback records without a file."""
    requests = [_from_record(record, "clarification", None) for record in state.of_kind("clarification-request")]
    requests += [_from_record(record, "escalation", "operator") for record in state.of_kind("human-escalation")]
    requests += [_from_feedback(row) for row in feedback]
    files = {row["id"] for row in feedback}
    requests += [
        _from_record(record, "feedback", "operator")
        for record in state.of_kind("human-feedback")
        if record["id"] not in files
    ]
    return requests


def _from_record(record: Mapping[str, Any], kind: str, assigned: str | None) -> JsonObject:
    status = record["status"]
    if not is_open(record):
        state = "resolved"
    elif kind == "escalation":
        state = "escalated"
    elif kind == "feedback":
        state = "pending"
    else:
        state = "open" if status == "open" else "pending"
    closed = state == "resolved"
    return normalize_request(
        {
            "requestId": record["id"],
            "kind": kind,
            "state": state,
            "title": record["summary"],
            "detail": record["detail"],
            "requestedBy": record["agentId"],
            "assignedTo": assigned,
            "createdAt": record["createdAt"],
            "updatedAt": record["updatedAt"],
            "resolvedAt": record["updatedAt"] if closed else None,
            "escalatedAt": record["createdAt"] if kind == "escalation" else None,
            "resolution": status if status in WITHDRAWN_STATUSES else (record["detail"] if closed else None),
        }
    )


def _from_feedback(row: Mapping[str, Any]) -> JsonObject:
    answered = row["status"] == "answered"
    return normalize_request(
        {
            "requestId": row["id"],
            "kind": "feedback",
            "state": "answered" if answered else "pending",
            "title": row["question"],
            "detail": row["context"],
            "requestedBy": row["agentId"],
            "assignedTo": "operator",
            "createdAt": row["createdAt"],
            "updatedAt": row["updatedAt"],
            "answeredAt": row["answeredAt"] if answered else None,
            "answer": row["responseText"] if answered else None,
        }
    )


def evaluate_human_input_timeout(request: Mapping[str, Any], now: str) -> JsonObject:
    """`{expired, shouldEscalate, elapsedMs}`; all false and 0 without a valid `createdAt`."""
    created, current = parse_iso(request.get("createdAt")), parse_iso(now)
    if created is None or current is None:
        return {"expired": False, "shouldEscalate": False, "elapsedMs": 0}
    elapsed = max(0, round((current - created) * 1000))
    policy = request.get("timeoutPolicy") or {}
    return {
        "expired": elapsed >= policy.get("maxWaitMs", MAX_WAIT_MS),
        "shouldEscalate": elapsed >= policy.get("escalateAfterMs", ESCALATE_AFTER_MS),
        "elapsedMs": elapsed,
    }


def compute_human_input_metrics(requests: Iterable[Mapping[str, Any]], now: str) -> JsonObject:
    """Counts by state, overdue ones, and the average time to resolution in milliseconds (null without any)."""
    rows = list(requests)
    counts = {state: sum(1 for row in rows if row["state"] == state) for state in TRANSITIONS}
    waits = []
    for row in rows:
        start, end = parse_iso(row.get("createdAt")), parse_iso(row.get("resolvedAt"))
        if start is not None and end is not None:
            waits.append((end - start) * 1000)
    overdue = [row for row in rows if is_blocking(row) and evaluate_human_input_timeout(row, now)["expired"]]
    return {
        "total": len(rows),
        **{state: counts[state] for state in ("open", "pending", "answered", "escalated", "resolved")},
        "blocking": sum(1 for row in rows if is_blocking(row)),
        "overdueCount": len(overdue),
        "avgResolutionMs": round(sum(waits) / len(waits)) if waits else None,
    }
