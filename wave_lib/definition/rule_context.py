"""What every validation rule looks at: the wave, its lane, its role bindings, and what the lane's files say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .lane_profile import LaneProfile, active
from .roles import RoleBindings
from .wave_types import Agent, Wave

if TYPE_CHECKING:
    from .components import ComponentMatrix
    from .context7_bundles import BundleIndex
    from .evals import BenchmarkCatalog
    from .skills import SkillLibrary

Finding = tuple[str, str, int]
"""`(rule, one clause, line)`: what a rule yields for each breach."""

Findings = Iterator[Finding]


class References(NamedTuple):
    """What waves refer to, loaded once a lane. A part that cannot be read is None and its problem says why; the
    problem counts only for waves that need the part. Without `library` skills are not checked."""

    root: str
    matrix: ComponentMatrix | None = None
    matrix_problem: str = ""
    catalog: BenchmarkCatalog | None = None
    catalog_problem: str = ""
    bundles: BundleIndex | None = None
    bundles_problem: str = ""
    library: SkillLibrary | None = None


class RuleContext(NamedTuple):
    """One wave under examination. `completed` says whether the wave has completed before."""

    wave: Wave
    profile: LaneProfile
    bindings: RoleBindings
    references: References
    completed: bool

    def active(self, threshold: int | None) -> bool:
        """Whether a rule with this threshold holds for the wave."""
        return active(threshold, self.wave.wave)

    def agent(self, agent_id: str) -> Agent | None:
        """The wave's agent with this id, or None."""
        return self.wave.agent(agent_id)
