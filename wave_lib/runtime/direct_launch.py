"""Ending what a launch by hand left on a wave: its launcher, when it still runs, and its live agents.

Holds:       nothing.
Writes:      `agent_run failed` events and the last records of agents that are gone.
When killed: what was signalled goes on ending; who asks again finds less to do.

Spec: SUP 14.5, 16.7; issue 4 (`cancel --wave`).
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.locks import held
from ..base.process_identity import Identity, alive
from ..base.processes import signal_process
from .agent_ending import terminate_agents
from .agent_outcomes import agent_alive, finalise_lost_agent
from .session_supervisor import lock_holder, unfinished_records

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths


class Ended(NamedTuple):
    """Whom `end_direct_launch` ended, and whether all of them are gone."""

    wave: int
    launcher_pid: int | None
    agent_ids: tuple[str, ...]
    gone: bool

    @property
    def text(self) -> str:
        """For people."""
        if not self.agent_ids and self.launcher_pid is None:
            return "nothing of a direct launch is running"
        parts = [f"launcher {self.launcher_pid}"] if self.launcher_pid else []
        parts += [f"agents {', '.join(self.agent_ids)}"] if self.agent_ids else []
        return f"ended {' and '.join(parts)}" if self.gone else f"{' and '.join(parts)} could not be ended"

    def to_json(self) -> dict[str, Any]:
        """As output shows it."""
        return {
            "wave": self.wave,
            "launcherPid": self.launcher_pid,
            "agentIds": list(self.agent_ids),
            "gone": self.gone,
        }


def end_direct_launch(lane: LanePaths, wave: int, grace_seconds: float) -> Ended:
    """SIGTERM to an unsupervised launcher of the lane, which ends its agents; then whatever of the wave still lives."""
    records = [item for item in unfinished_records(lane) if item.run_id is None and item.wave == wave]
    live = [item for item in records if agent_alive(item.runtime_path)]
    launcher = _launcher(lane) if live or not records else None
    if launcher is not None and signal_process(launcher, signal.SIGTERM):
        deadline = time.monotonic() + grace_seconds + 5.0
        while held(lane.launcher_lock) and time.monotonic() < deadline:
            time.sleep(0.05)
    left = [item.runtime_path for item in live if agent_alive(item.runtime_path)]
    ended = terminate_agents(left, "cancelled", grace_seconds)
    for path in left:
        finalise_lost_agent(path)
    gone = all(result.gone for result in ended) and not (launcher is not None and held(lane.launcher_lock))
    pid = None if launcher is None else launcher.pid
    return Ended(wave, pid, tuple(item.agent_id for item in live), gone)


def _launcher(lane: LanePaths) -> Identity | None:
    """The launcher that holds the lane, when nobody supervises it and it is certainly the recorded process."""
    holder = lock_holder(lane.launcher_lock)
    identity = Identity.from_json(holder.get("identity"))
    if holder.get("supervisorRunId") or identity is None or not held(lane.launcher_lock):
        return None
    return identity if alive(identity) else None
