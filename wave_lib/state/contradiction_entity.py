"""Contradictions between agents: their fields, states and transitions, and how claims that disagree are found.

Pure functions over plain dicts. Spec: COORD 10.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

from ..base.errors import StateError
from .coordination_records import WITHDRAWN_STATUSES, random_id, string_list, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .coordination_store import CoordinationState

    JsonObject = dict[str, Any]

KINDS = ("proof_conflict", "integration_conflict", "claim_conflict", "evidence_conflict", "component_conflict")
SEVERITIES = ("blocking", "advisory")
RESOLUTION_KINDS = ("party_accepted", "all_revised", "irrelevant", "waived", "repair_completed")
TRANSITIONS = {
    "detected": ("acknowledged", "resolved", "waived"),
    "acknowledged": ("repair_in_progress", "resolved", "waived"),
    "repair_in_progress": ("resolved", "waived"),
    "resolved": (),
    "waived": (),
}
BROKEN: Mapping[str, Any] = {
    "waveNumber": None,
    "lane": None,
    "kind": "claim_conflict",
    "status": "detected",
    "severity": "blocking",
    "reportedBy": "system",
    "parties": [],
    "affectedTasks": [],
    "affectedFacts": [],
    "impactedGates": ["integrationBarrier"],
}
"""What an unreadable contradiction counts as: open and blocking (fail closed)."""


def normalize_contradiction(raw: Mapping[str, Any], *, blocking: bool = False, now: str = "") -> JsonObject:
    """A whole contradiction. With `blocking` the defaults of control-plane events hold. StateError for a bad enum."""
    parties = [
        {key: text(item.get(key)) for key in ("agentId", "claim", "evidence")}
        for item in raw.get("parties") or ()
        if isinstance(item, dict)
    ]
    repair = raw.get("repairWork")
    resolution = raw.get("resolution")
    gates = raw.get("impactedGates")
    if isinstance(resolution, dict):
        _member("resolution kind", resolution.get("kind"), RESOLUTION_KINDS, "irrelevant")
    return {
        "contradictionId": text(raw.get("contradictionId")) or random_id("contra"),
        "waveNumber": raw.get("waveNumber"),
        "lane": raw.get("lane"),
        "kind": _member("kind", raw.get("kind"), KINDS, "claim_conflict"),
        "status": _member("status", raw.get("status"), tuple(TRANSITIONS), "detected"),
        "severity": _member("severity", raw.get("severity"), SEVERITIES, "blocking" if blocking else "advisory"),
        "reportedBy": text(raw.get("reportedBy")) or "system",
        "reportedAt": raw.get("reportedAt") or raw.get("createdAt") or now,
        "resolvedBy": raw.get("resolvedBy"),
        "resolvedAt": raw.get("resolvedAt"),
        "parties": parties,
        "affectedTasks": string_list(raw.get("affectedTasks")),
        "affectedFacts": string_list(raw.get("affectedFacts")),
        "repairWork": repair if isinstance(repair, list) else None,
        "resolution": resolution if isinstance(resolution, dict) else None,
        "supersedes": raw.get("supersedes"),
        "impactedGates": ["integrationBarrier"] if blocking and gates is None else string_list(gates),
        "updatedAt": raw.get("updatedAt") or now,
    }


def _member(field: str, value: object, allowed: tuple[str, ...], default: str) -> str:
    word = text(value) or default
    if word not in allowed:
        raise StateError(f"Contradiction {field} must be one of: {', '.join(allowed)} (got: {word})")
    return word


def is_unresolved(contradiction: Mapping[str, Any]) -> bool:
    """Neither resolved nor waived."""
    return contradiction.get("status") not in ("resolved", "waived")


def blocks_gate(contradiction: Mapping[str, Any], gate: str) -> bool:
    """Unresolved, blocking, and the gate is among the impacted ones."""
    return (
        is_unresolved(contradiction)
        and contradiction.get("severity") == "blocking"
        and gate in (contradiction.get("impactedGates") or ())
    )


def _moved(contradiction: Mapping[str, Any], status: str, now: str, **changes: Any) -> JsonObject:
    """The contradiction in a new state; StateError when the transition table does not allow it."""
    current = text(contradiction.get("status"))
    if current not in TRANSITIONS:
        raise StateError(f"Invalid contradiction status: {current}")
    if status not in TRANSITIONS[current]:
        raise StateError(f"Invalid contradiction transition from {current} to {status}")
    return {**contradiction, **changes, "status": status, "updatedAt": now}


def acknowledge(contradiction: Mapping[str, Any], now: str) -> JsonObject:
    """Somebody has seen it."""
    return _moved(contradiction, "acknowledged", now)


def start_repair(contradiction: Mapping[str, Any], work: list[JsonObject], now: str) -> JsonObject:
    """Work that settles it has begun; `work` is `[{taskId, status}]`."""
    return _moved(contradiction, "repair_in_progress", now, repairWork=work)


def resolve(contradiction: Mapping[str, Any], resolution: JsonObject, by: str, now: str) -> JsonObject:
    """Settled; `resolution` is `{kind, detail, evidence}`."""
    _member("resolution kind", resolution.get("kind"), RESOLUTION_KINDS, "irrelevant")
    return _moved(contradiction, "resolved", now, resolution=resolution, resolvedBy=by, resolvedAt=now)


def waive(contradiction: Mapping[str, Any], detail: str, by: str, now: str) -> JsonObject:
    """Accepted as it is."""
    resolution = {"kind": "waived", "detail": detail, "evidence": None}
    return _moved(contradiction, "waived", now, resolution=resolution, resolvedBy=by, resolvedAt=now)


def detect_contradictions(state: CoordinationState) -> list[JsonObject]:
    """Pairs of claims, evidence and decisions of different agents about one subject that disagree; advisory only."""
    subjects: dict[str, list[JsonObject]] = {}
    for record in state.latest:
        if record["kind"] in ("claim", "evidence", "decision") and record["status"] not in WITHDRAWN_STATUSES:
            subjects.setdefault(_subject(record), []).append(record)
    found = []
    for records in subjects.values():
        for left, right in combinations(records, 2):
            if left["agentId"] == right["agentId"] or _claimed(left) == _claimed(right):
                continue
            found.append(
                normalize_contradiction(
                    {
                        "contradictionId": f"contra-{left['id']}-{right['id']}",
                        "waveNumber": left["wave"],
                        "lane": left["lane"],
                        "reportedAt": max(left["updatedAt"], right["updatedAt"]),
                        "parties": [
                            {"agentId": record["agentId"], "claim": record["summary"], "evidence": record["id"]}
                            for record in (left, right)
                        ],
                    }
                )
            )
    return found


def _subject(record: JsonObject) -> str:
    for candidates in ([record.get("component")], record["artifactRefs"], record["targets"]):
        if candidates and candidates[0]:
            return str(candidates[0])
    return str(record["summary"]).lower()


def _claimed(record: JsonObject) -> str:
    return str(record.get("state") or record["status"])
