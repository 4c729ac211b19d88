"""How long coordination has been waiting: ages, overdue acknowledgements, stale clarification chains.

Pure. Spec: COORD 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base.timestamps import parse_iso
from ..state.coordination_records import closure_clarification, is_seed, record_blocks_wave

if TYPE_CHECKING:
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

ACK_TIMEOUT_MS = 300_000
RESOLUTION_STALE_MS = 1_800_000
LIVE_REFRESH_SECONDS = 15.0
ROUTED_CYCLES = 2
"""Times of the coordination policy. Spec: COORD 6."""

_ALWAYS_TRACKED = ("clarification-request", "human-feedback", "human-escalation")


def age_ms(record: Mapping[str, Any], now: str, key: str = "createdAt") -> int | None:
    """Milliseconds since a record was created (or `key`), never negative; None when no time can be read."""
    current = parse_iso(now)
    since = parse_iso(record.get(key)) or parse_iso(record.get("updatedAt"))
    return None if current is None or since is None else max(0, round((current - since) * 1000))


def age_label(age: int | None) -> str:
    """`45s`, `12m`, `3h 5m`, or `n/a`."""
    if age is None:
        return "n/a"
    seconds = age // 1000
    if seconds < 60:
        return f"{seconds}s"
    minutes = seconds // 60
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h {minutes % 60}m"


def is_ack_tracked(record: Mapping[str, Any]) -> bool:
    """Whether somebody has to acknowledge the record in time."""
    if not record_blocks_wave(record):
        return False
    if record["kind"] in _ALWAYS_TRACKED:
        return True
    if record["kind"] != "request":
        return False
    return record["source"] != "launcher" or closure_clarification(record["closureCondition"]) is not None


def coordination_response_metrics(
    state: CoordinationState,
    now: str,
    ack_timeout: int = ACK_TIMEOUT_MS,
    resolution_stale: int = RESOLUTION_STALE_MS,
) -> JsonObject:
    """The metrics document of the open records; times in milliseconds, seed records left out."""
    by_id: dict[str, JsonObject] = {}
    overdue_acks, overdue_clarifications = set(), set()
    oldest_open: int | None = None
    oldest_unacked: int | None = None
    escalations = 0
    for record in state.open:
        if is_seed(record):
            continue
        entry = _record_metrics(record, now, ack_timeout, resolution_stale)
        by_id[record["id"]] = entry
        age = entry["ageMs"]
        if entry["blocking"] and age is not None:
            oldest_open = age if oldest_open is None else max(oldest_open, age)
            if entry["ackPending"]:
                oldest_unacked = age if oldest_unacked is None else max(oldest_unacked, age)
        if entry["overdueAck"]:
            overdue_acks.add(record["id"])
        if entry["staleClarification"]:
            overdue_clarifications.add(_clarification_of(record))
        escalations += record["kind"] == "human-escalation" and entry["blocking"]
    return {
        "ackTimeoutMs": ack_timeout,
        "resolutionStaleMs": resolution_stale,
        "oldestOpenCoordinationAgeMs": oldest_open,
        "oldestUnackedRequestAgeMs": oldest_unacked,
        "overdueAckCount": len(overdue_acks),
        "overdueClarificationCount": len(overdue_clarifications),
        "overdueAckRecordIds": sorted(overdue_acks),
        "overdueClarificationIds": sorted(overdue_clarifications),
        "openHumanEscalationCount": escalations,
        "recordMetricsById": by_id,
    }


def _clarification_of(record: Mapping[str, Any]) -> str:
    if record["kind"] == "clarification-request":
        return str(record["id"])
    return closure_clarification(record["closureCondition"]) or str(record["id"])


def _record_metrics(record: Mapping[str, Any], now: str, ack_timeout: int, resolution_stale: int) -> JsonObject:
    age = age_ms(record, now)
    blocks = record_blocks_wave(record)
    tracked = is_ack_tracked(record)
    pending = tracked and record["status"] == "open"
    linked = blocks and (
        record["kind"] == "clarification-request" or closure_clarification(record["closureCondition"]) is not None
    )
    return {
        "ageMs": age,
        "ageLabel": age_label(age),
        "ackTracked": tracked,
        "ackPending": pending,
        "overdueAck": pending and age is not None and age >= ack_timeout,
        "clarificationLinked": linked,
        "staleClarification": linked and age is not None and age >= resolution_stale,
        "blocking": blocks,
    }
