"""Waiting for something slow from outside while the launcher goes on: agents, people and signals are heard meanwhile.

Holds:       one thread for the length of a wait.
Writes:      nothing.
When killed: what was asked for is asked for again.

Spec: PROV 2.4; LAUNCH 7.9, 9.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from ..base.background import Result, in_background

if TYPE_CHECKING:
    from ..base.event_loop import Timer
    from .wave_context import LaneRun

TICK_SECONDS = 3.0


def call(lane: LaneRun, work: Callable[[], Any], tick: Callable[[], object] = lambda: None) -> Any:
    """What `work` returns or raises; the launcher's loop turns meanwhile, and `tick` comes every three seconds.

    Raises Interrupted as soon as a signal asks for the end; the work is then left to itself. Not for use inside a
    callback of the loop: `AgentWait` has `Fetch` for that.
    """
    results: list[Result] = []
    timers: list[Timer] = []

    def turn() -> None:
        timers[:] = [lane.loop.call_later(TICK_SECONDS, turn)]
        tick()

    timers.append(lane.loop.call_later(TICK_SECONDS, turn))
    job = in_background(lane.loop, work, results.append)
    try:
        while not results:
            lane.check_interrupt()
            lane.loop.run_once()
    finally:
        job.cancel()
        timers[0].cancel()
    return results[0].get()
