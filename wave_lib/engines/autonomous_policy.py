"""What `wave autonomous` stops for, and when it tries a wave again. Pure. Spec: LAUNCH 19.3, 19.4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..state.coordination_records import is_open, record_blocks_wave

if TYPE_CHECKING:
    from ..state.coordination_store import CoordinationState

JsonObject = dict[str, Any]

BLOCKED_CODE = 43
NEVER_RETRIED = (32, 130)  # the lane is busy; the run was cancelled


class AutonomousBarrier(NamedTuple):
    """Why no wave is launched. `kind` is `dependencies` or `human-input`."""

    kind: str
    dependency_blockers: tuple[str, ...]
    pending_human_items: tuple[str, ...]
    message: str


def barrier(
    lane: str,
    wave: int | None,
    tickets: Sequence[Mapping[str, Any]],
    human: Mapping[int, Sequence[str]],
) -> AutonomousBarrier | None:
    """The barrier before `wave`, or before finishing when it is None.

    `tickets` are required inbound tickets that are open; `human` the blocking human items of each wave looked at.
    """
    subject = f"Stopping finalization for lane {lane}" if wave is None else f"Stopping before wave {wave}"
    ids = tuple(dict.fromkeys(str(ticket["id"]) for ticket in tickets))
    if ids:
        text = f"{subject}: unresolved required inbound dependencies remain ({', '.join(ids)})."
        return AutonomousBarrier("dependencies", ids, (), text)
    items = [(number, item) for number in sorted(human) for item in dict.fromkeys(human[number])]
    if not items:
        return None
    shown = [item if wave is not None else f"wave {number}: {item}" for number, item in items]
    text = f"{subject}: pending human input remains in the ledger ({', '.join(shown)})."
    return AutonomousBarrier("human-input", (), tuple(item for _, item in items), text)


def open_inbound(tickets: Sequence[Mapping[str, Any]], lane: str, project: str) -> list[Mapping[str, Any]]:
    """Required open tickets that other lanes have posted for this one."""
    return [
        ticket
        for ticket in tickets
        if (ticket["ownerLane"] or ticket["lane"]) == lane
        and (not ticket["ownerProject"] or ticket["ownerProject"] == project)
        and is_open(ticket)
        and (ticket.get("required") is True or "required=true" in str(ticket.get("closureCondition") or ""))
    ]


def human_items(state: CoordinationState, feedback: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ids of questions and escalations of a wave that wait for a person and block it."""
    records = [
        record["id"]
        for kind in ("human-feedback", "human-escalation")
        for record in state.open_of_kind(kind)
        if record_blocks_wave(record)
    ]
    return [*records, *(str(row["id"]) for row in feedback if row["status"] == "pending")]


def tries_again(code: int, recovery_requested: bool, attempt: int, attempts: int) -> bool:
    """Whether a failed wave is submitted once more: not what waits for people, and within the budget."""
    if attempt >= attempts or code in NEVER_RETRIED:
        return False
    return recovery_requested if code == BLOCKED_CODE else True
