"""Refreshing the derived state of a wave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional

if TYPE_CHECKING:
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..engines.derived_state import DerivedState

    JsonObject = dict[str, Any]


class DerivedFacts(NamedTuple):
    """What the launcher knows and the logs do not; see `DerivedInputs` for the members."""

    attempt: int = 0
    summaries: Mapping[str, Optional[JsonObject]] = {}
    runs: Mapping[str, JsonObject] = {}
    presence: Mapping[str, bool] = {}
    catalog: Optional[BenchmarkCatalog] = None
    catalog_error: Optional[str] = None
    ignored_gap_record_ids: frozenset[str] = frozenset()


class DerivedContext:
    """One wave whose derived state is refreshed again and again; keeps the incremental log readers."""

    def __init__(self, paths: LanePaths, wave: Wave, bindings: RoleBindings, orchestrator_id: str = "") -> None:
        self.paths = paths
        self.wave = wave
        self.bindings = bindings
        self.orchestrator_id = orchestrator_id


def refresh_derived_state(context: DerivedContext, facts: DerivedFacts = DerivedFacts()) -> DerivedState:
    """Read, decide, append what is new (seeds, triage, assignments), and return the state. Spec: COORD 20."""
    raise NotImplementedError


def preview_derived_state(context: DerivedContext, facts: DerivedFacts = DerivedFacts()) -> DerivedState:
    """The same for readers: nothing is written, missing seeds are overlaid in memory. Spec: COORD 5, 20."""
    raise NotImplementedError
