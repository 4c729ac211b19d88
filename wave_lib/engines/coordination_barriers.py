"""Barriers that open coordination puts before closure. Pure. Spec: COORD 3.3, 13.2, 15.1, 20; GATE 8.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.coordination_records import closure_clarification, record_blocks_wave, record_is_hard_blocker
from .derived_state import Barrier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

PASS = Barrier(True)


def _blocked(code: str, ids: Iterable[str]) -> Barrier:
    return Barrier(False, code, ", ".join(dict.fromkeys(ids)))


def clarification_barrier(state: CoordinationState) -> Barrier:
    """Clarifications that block, then their follow-ups, then what waits for a person."""
    clarifications = [item["id"] for item in state.open_of_kind("clarification-request") if record_blocks_wave(item)]
    if clarifications:
        return _blocked("clarification-open", clarifications)
    ids = {item["id"] for item in state.of_kind("clarification-request")}
    follow_ups = [
        item["id"]
        for item in state.open_of_kind("request")
        if record_blocks_wave(item)
        and (
            closure_clarification(item["closureCondition"]) is not None
            or (not item["closureCondition"] and any(dependency in ids for dependency in item["dependsOn"]))
        )
    ]
    if follow_ups:
        return _blocked("clarification-follow-up-open", follow_ups)
    human = [
        item["id"]
        for kind in ("human-escalation", "human-feedback")
        for item in state.open_of_kind(kind)
        if record_blocks_wave(item)
    ]
    return _blocked("human-feedback-open", human) if human else PASS


def assignment_barrier(assignments: Iterable[Mapping[str, Any]], gate_mode: str) -> Barrier:
    """Requests that somebody else has to fulfil first; in bootstrap an assigned one is only advice."""
    blocking = [item for item in assignments if item["blocking"]]
    unresolved = [item["requestId"] for item in blocking if not item["assignedAgentId"]]
    if unresolved:
        return _blocked("helper-assignment-unresolved", unresolved)
    if not blocking:
        return PASS
    barrier = _blocked("helper-assignment-open", (item["requestId"] for item in blocking))
    if gate_mode == "bootstrap":
        return Barrier(True, "helper-assignment-open-advisory", barrier.detail)
    return barrier


def dependency_barrier(snapshot: Mapping[str, Any]) -> Barrier:
    """Required tickets between lanes that are open."""
    unresolved = snapshot["unresolvedInboundAssignments"]
    if unresolved:
        return _blocked("dependency-assignment-unresolved", (item["id"] for item in unresolved))
    required = [*snapshot["requiredInbound"], *snapshot["requiredOutbound"]]
    return _blocked("dependency-open", (item["id"] for item in required)) if required else PASS


def blocker_barrier(
    state: CoordinationState, bad_lines: Sequence[object], ignored_ids: frozenset[str] = frozenset()
) -> Barrier:
    """Unreadable lines of a log (fail closed), then hard blocker records."""
    if bad_lines:
        return Barrier(False, "coordination-log-corrupt", f"{len(bad_lines)} line(s) of the logs cannot be read")
    blockers = [
        item["id"]
        for item in state.open_of_kind("blocker")
        if record_is_hard_blocker(item) and item["id"] not in ignored_ids
    ]
    return _blocked("blocker-open", blockers) if blockers else PASS
