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
    # As it was before the sync: what came in meanwhile counts next time (our own events do too, and change nothing).
    ctx.signals_seen = stamps


def _synced(ctx: WaveContext) -> SignalSet:
    # Only a live launch needs these, so a dry run does not load them.
    from .control_status import sync_signals
    from .wave_scene import WaveScene, derived_facts

    scene = WaveScene(ctx.paths, ctx.wave, ctx.bindings)
    return sync_signals(scene, ctx.derived_context, derived_facts(ctx), resident=ctx.resident is not None)


def _tell(ctx: WaveContext, signals: SignalSet) -> None:
    """One event for each signal whose version grew; on the board when the resident is to wake.

    Commands sync too and write no events, so what counts is the version that was told last.
    """
    snapshots = {"wave": signals.wave, **signals.agents}
    if signals.resident is not None:
        snapshots[RESIDENT] = signals.resident
    grown = {
        name: snapshot
        for name, snapshot in snapshots.items()
        if name in signals.changed or snapshot["version"] != ctx.signals_told.get(name, snapshot["version"])
    }
    if grown:
        events = [_event(ctx, name, snapshot) for name, snapshot in grown.items()]
        control_plane.append_events(ctx.paths, ctx.number, events)
    ctx.signals_told = {name: snapshot["version"] for name, snapshot in snapshots.items()}
    if RESIDENT in grown and grown[RESIDENT]["shouldWake"]:
        report.board(ctx.lane, "resident_signal_updated", [ctx.number], "running", str(grown[RESIDENT]["reason"]))


def _event(ctx: WaveContext, name: str, snapshot: JsonObject) -> JsonObject:
    kind, entity = "wave_signal", f"wave-{ctx.number}"
    if name != "wave":
        kind, entity = "agent_signal", f"{entity}-agent-{name}"
    data = without_comparable(snapshot, snapshot["version"])
    return control_plane.event_of(kind, entity, "updated", data, attempt=ctx.attempt or None)


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
