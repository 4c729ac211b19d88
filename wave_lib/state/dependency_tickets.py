"""Tickets between lanes: coordination records in the owner lane's file, read by both sides.

Holds: `<lane>.jsonl.flock` in the dependencies directory while it appends.
Writes: `<orchState>/dependencies/<ownerLane>.jsonl`.
When killed: as every log, a ticket's version is there whole or not at all.
Spec: COORD 15.1.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import StateError
from ..base.timestamps import now_iso
from .coordination_records import LogDiagnostic, text, updated_record
from .coordination_store import append_versions, materialize, read_record_file
from .log_access import locked_log

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    JsonObject = dict[str, Any]

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class TicketReading(NamedTuple):
    """The latest version of every ticket found, and the lines that are none."""

    tickets: list[JsonObject]
    bad_lines: list[LogDiagnostic]


def lane_token(lane: str) -> str:
    """A lane name as a file name: lower case, `[a-z0-9_-]`. StateError when nothing is left."""
    name = re.sub(r"[^a-z0-9_-]+", "", lane.strip().lower())
    if not name:
        raise StateError(f"Invalid lane name: {lane!r}")
    return name


def new_ticket_id() -> str:
    """`dep-<base36 ms>-<4 hex>`."""
    number, digits = time.time_ns() // 1_000_000, ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return f"dep-{digits}-{os.urandom(2).hex()}"


def ticket_file(directory: str, owner_lane: str) -> str:
    """The file that holds the tickets of an owner lane."""
    return os.path.join(directory, lane_token(owner_lane) + ".jsonl")


def is_required(ticket: Mapping[str, Any]) -> bool:
    """Whether the requester's wave may not close without it."""
    return ticket.get("required") is True or "required=true" in text(ticket.get("closureCondition"))


def post_ticket(directory: str, owner_lane: str, raw: Mapping[str, Any]) -> JsonObject:
    """Append a new ticket and return it. StateError when its id exists already."""
    path = ticket_file(directory, owner_lane)
    with locked_log(path) as log:
        state = materialize(read_record_file(path).records)
        record = {"kind": "request", "priority": "high", "source": "launcher", **raw}
        record["id"] = text(raw.get("id")) or new_ticket_id()
        if record["id"] in state.by_id:
            raise StateError(f"Dependency {record['id']} exists already for lane {owner_lane}")
        return append_versions(path, state.by_id, [record], log)[0]


def resolve_ticket(
    directory: str, owner_lane: str, ticket_id: str, by: str, *, detail: str = "", status: str = "resolved"
) -> JsonObject:
    """Append the closing version of a ticket; its author stays. StateError for an unknown ticket."""
    path = ticket_file(directory, owner_lane)
    with locked_log(path) as log:
        state = materialize(read_record_file(path).records)
        ticket = state.by_id.get(ticket_id)
        if ticket is None:
            raise StateError(f"Dependency {ticket_id} not found for lane {owner_lane}")
        changes = {"status": status, "resolvedBy": by, **({"detail": detail} if detail else {})}
        closed = updated_record(ticket, now_iso(), **changes)
        return append_versions(path, state.by_id, [closed], log)[0]


def read_tickets(directories: Iterable[str]) -> TicketReading:
    """Latest tickets of the dependency directories of all projects, one a (project, lane, id), by update time."""
    found: dict[tuple[str, str, str], JsonObject] = {}
    bad: list[LogDiagnostic] = []
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if not name.endswith(".jsonl"):
                continue
            reading = read_record_file(os.path.join(directory, name))
            bad += reading.bad_lines
            for ticket in materialize(reading.records).latest:
                key = (ticket["ownerProject"], ticket["ownerLane"] or ticket["lane"], ticket["id"])
                if key not in found or found[key]["updatedAt"] < ticket["updatedAt"]:
                    found[key] = ticket
    return TicketReading(sorted(found.values(), key=lambda item: (item["updatedAt"], item["id"])), bad)
