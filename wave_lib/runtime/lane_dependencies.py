"""Dependency tickets as the commands read them, and telling the waves on both sides that one changed.

Holds:       nothing.
Writes:      `signals/` of the two waves that a ticket ties together.
When killed: the ticket is on file; the next sync brings the signals up to date.

Spec: COORD 15, 26.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..base.timestamps import now_iso
from ..engines.routing_state import build_dependency_snapshot
from ..state.dependency_tickets import TicketReading, read_tickets
from .derived_state import dependency_directories, preview_derived_state
from .wave_scene import derived_context, lane_paths, open_wave

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]


def wave_snapshot(paths: LanePaths, number: int) -> JsonObject:
    """The dependency snapshot of a wave; of one that has no file yet, without assignments. Writes nothing."""
    try:
        scene = open_wave(paths, number)
    except WaveError:
        tickets = read_tickets(dependency_directories(paths)).tickets
        routing = paths.profile.capability_routing
        return build_dependency_snapshot(paths.lane, paths.project_id, number, (), tickets, None, routing, now_iso())
    return preview_derived_state(derived_context(scene)).dependency_snapshot


def lane_tickets(paths: LanePaths) -> TicketReading:
    """Latest tickets that name the lane, as owner or as requester."""
    reading = read_tickets(dependency_directories(paths))
    named = [
        ticket
        for ticket in reading.tickets
        if paths.lane in (ticket["lane"], ticket["ownerLane"], ticket["requesterLane"])
    ]
    return TicketReading(named, reading.bad_lines)


def sync_signals_of(root: str, ticket: Mapping[str, Any], *, dry_run: bool = False) -> None:
    """Signals of the owner's and the requester's wave, where these exist in this workspace."""
    from .control_status import sync_signals

    for side in ("owner", "requester"):
        number = ticket[f"{side}Wave"]
        if number is None:
            continue
        try:
            paths = lane_paths(root, ticket[f"{side}Project"] or None, ticket[f"{side}Lane"], dry_run=dry_run)
            scene = open_wave(paths, number)
        except WaveError:
            continue  # a lane or wave of somewhere else, or one that is still to be written
        sync_signals(scene)
