"""Telemetry of a running command: which spool records go to, and when the launcher sends it.

Holds:       nothing.
Writes:      through the Wave Control client the spool of the lane; nothing when telemetry is off.
When killed: what was recorded stays queued and is sent later.

Spec: PROV 1 (sinks), 8.1, 8.7.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..state import telemetry_sink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.lane_paths import LanePaths
    from ..providers.wave_control_client import Telemetry
    from .wave_context import LaneRun, WaveContext

SENDING_ACTIONS = ("completed", "blocked", "failed", "timed_out")
"""Wave-run events after which the launcher sends what is queued."""


def install(paths: LanePaths, orchestrator_id: str | None = None) -> None:
    """Records of this process go to the spool of these paths from now on; costs nothing until there is one."""
    control = paths.profile.wave_control
    if paths.dry_run or not control.get("enabled", True):
        telemetry_sink.install(None)
        return
    spool: list[Telemetry] = []

    def sink(kind: str, records: Sequence[Mapping[str, Any]]) -> None:
        from ..providers import wave_control_feed
        from ..providers.wave_control_client import Telemetry

        if not spool:
            spool.append(Telemetry(paths, orchestrator_id))
        wave_control_feed.record(spool[0], kind, records)

    telemetry_sink.install(sink)


def install_for_launch(lane: LaneRun) -> None:
    """The same for a launcher; `--no-telemetry` also holds for every process that it starts. Spec: PROV 8.1."""
    if not lane.options.telemetry:
        from ..providers.wave_control_client import NO_TELEMETRY

        os.environ[NO_TELEMETRY] = "1"
    install(lane.paths, lane.orchestrator_id)


def trace_written(ctx: WaveContext, recommendation: object, gate: object) -> None:
    """The bundle of the attempt is on disk: tell of it, then send what is queued. Spec: PROV 8.5."""
    from ..providers import wave_control_feed

    spool = _spool(ctx)
    if spool.captures("captureTraceBundles") and ctx.trace_dir:
        spool.record(
            [wave_control_feed.trace_event(spool, ctx.number, ctx.attempt, ctx.trace_dir, recommendation, gate)]
        )
    _send(ctx.lane, spool)


def send(ctx: WaveContext, action: str) -> None:
    """Send what is queued when the wave has come to an end; never while the launcher is being stopped."""
    if action in SENDING_ACTIONS and ctx.lane.interrupt is None:
        _send(ctx.lane, _spool(ctx))


def finish(lane: LaneRun) -> None:
    """The launch is over: send what came after its last wave; not when it was stopped by a signal."""
    if lane.interrupt is None and not lane.options.dry_run:
        from ..providers.wave_control_client import Telemetry

        _send(lane, Telemetry(lane.paths, lane.orchestrator_id))


def _spool(ctx: WaveContext) -> Telemetry:
    from ..providers.wave_control_client import Telemetry

    return Telemetry(ctx.paths, ctx.lane.orchestrator_id)


def _send(lane: LaneRun, spool: Telemetry) -> None:
    """Send beside the event loop; a signal ends the wait, and the sending with the process."""
    from ..base.errors import WaveError
    from ..providers.wave_control_delivery import flush
    from . import off_loop
    from .wave_context import Interrupted

    if not spool.enabled or not spool.control.get("endpoint"):
        return
    try:
        off_loop.call(lane, lambda: flush(spool, launcher=True))
    except (WaveError, Interrupted):
        return  # the spool keeps it; telemetry never decides how a wave ends, and the caller asks for signals itself
