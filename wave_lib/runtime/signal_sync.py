"""Signals of the wave at hand, brought up to date by the launcher, and an event for each that changed.

Holds:       the signals' lock while they are compared and written.
Writes:      `signals/`, `wave_signal` and `agent_signal` events, board entries for the resident orchestrator.
When killed: signals are older than the facts, or an event is missing; the next sync brings the signals up to date.

Spec: COORD 7.2, 26.3; LAUNCH 6 (`resident_signal_updated`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..projections.signals import RESIDENT, without_comparable
from ..state import control_plane
from . import wave_reporting as report
from .derived_state import dependency_directories

if TYPE_CHECKING:
    from ..projections.signals import SignalSet
    from .wave_context import WaveContext

    JsonObject = dict[str, Any]


def sync(ctx: WaveContext) -> None:
    """Compute and write the signals, unless nothing they follow from has changed since the last sync.

    A signal is a projection: a failure to compute one is a warning and ends nothing.
    """
    if ctx.paths.dry_run:
        return
    stamps = _stamps(ctx)
    if stamps == ctx.signals_seen:
        return
    try:
        signals = _synced(ctx)
        _tell(ctx, signals)
    except WaveError as error:
        ctx.lane.console.warn(f"[wave] warning: signals of wave {ctx.number} could not be brought up to date: {error}")
    ctx.signals_seen = _stamps(ctx)  # with the events just written: they change no signal


def _synced(ctx: WaveContext) -> SignalSet:
    # Only a live launch needs these, so a dry run does not load them.
    from .control_status import sync_signals
    from .wave_scene import WaveScene, derived_facts

    scene = WaveScene(ctx.paths, ctx.wave, ctx.bindings)
    return sync_signals(scene, ctx.derived_context, derived_facts(ctx), resident=ctx.resident is not None)


def _tell(ctx: WaveContext, signals: SignalSet) -> None:
    """One event for each signal whose version grew; on the board when the resident is to wake."""
    events = []
    for name in signals.changed:
        snapshot = _snapshot(signals, name)
        kind, entity = "wave_signal", f"wave-{ctx.number}"
        if name != "wave":
            kind, entity = "agent_signal", f"{entity}-agent-{name}"
        data = without_comparable(snapshot, snapshot["version"])
        events.append(control_plane.event_of(kind, entity, "updated", data, attempt=ctx.attempt or None))
    if events:
        control_plane.append_events(ctx.paths, ctx.number, events)
    resident = signals.resident
    if resident is not None and RESIDENT in signals.changed and resident["shouldWake"]:
        report.board(ctx.lane, "resident_signal_updated", [ctx.number], "running", str(resident["reason"]))


def _snapshot(signals: SignalSet, name: str) -> JsonObject:
    if name == "wave":
        return signals.wave
    if name == RESIDENT and signals.resident is not None:
        return signals.resident
    return signals.agents[name]


def _stamps(ctx: WaveContext) -> tuple[object, ...]:
    """What changes whenever a fact changes that a signal follows from. Files are replaced, so folders tell too.

    Not the folder of status files: the agents' heartbeats go there as well.
    """
    paths, number = ctx.paths, ctx.number
    looked_at = (
        paths.control_plane_log(number),
        paths.coordination_log(number),
        paths.run_state,
        paths.relaunch_plan(number),
        *(run.status_path for run in ctx.runs.values()),
        paths.feedback_requests_dir,
        os.path.dirname(paths.signal_ack(number, RESIDENT)),
        *dependency_directories(paths),
    )
    return tuple(_stamp(path) for path in looked_at)


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
