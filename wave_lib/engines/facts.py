"""The snapshot that every gate decision is made from.

`runtime/fact_collection.py` reads it from canonical state, tests build it by hand; engines add nothing to it.
Spec: GATE 1, 8; DESIGN 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..definition.components import ComponentMatrix
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_profile import LaneProfile
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..state.result_envelope import EnvelopeReading
    from .derived_state import DerivedState


class WaveFacts(NamedTuple):
    """Everything the gates of one wave may know, at one moment.

    `readings` and `summaries` are by agent id; summaries are projected from the envelopes with proof bundles applied
    and miss for an agent without a usable envelope. `logs` are repo-relative log paths. `presence` says for declared
    and reported paths whether they are regular files now. `corridor` is the valid artifact (PROV 4.9) or None,
    `corridor_config` has `enabled` and `requiredAtClosure`. `contradictions` are materialised `contradiction`
    entities, `bad_log_lines` one sentence per unreadable line of the coordination and control-plane logs.
    `auto_satisfied_stages`, `skipped_stages` and `launched_stages` (closure stage keys) tell what the sweep did;
    `ignored_gap_record_ids` are the gap records it forwarded and is judging later stages without.
    `required_integration` and `required_documentation` override the thresholds of the profile.
    """

    wave: Wave
    bindings: RoleBindings
    profile: LaneProfile
    lane: str
    attempt: int
    readings: Mapping[str, EnvelopeReading] = {}
    summaries: Mapping[str, dict[str, Any] | None] = {}
    logs: Mapping[str, str] = {}
    presence: Mapping[str, bool] = {}
    matrix: ComponentMatrix | None = None
    matrix_error: str | None = None
    catalog: BenchmarkCatalog | None = None
    catalog_error: str | None = None
    derived: DerivedState | None = None
    corridor: dict[str, Any] | None = None
    corridor_config: Mapping[str, Any] = {}
    contradictions: tuple[dict[str, Any], ...] = ()
    bad_log_lines: tuple[str, ...] = ()
    auto_satisfied_stages: tuple[str, ...] = ()
    skipped_stages: tuple[str, ...] = ()
    launched_stages: tuple[str, ...] = ()
    ignored_gap_record_ids: frozenset[str] = frozenset()
    required_integration: bool | None = None
    mode: str = "live"
    now: str = ""

    @property
    def wave_number(self) -> int:
        """The wave's number."""
        return self.wave.wave

    def summary(self, agent_id: str | None) -> dict[str, Any] | None:
        """The projected summary of an agent, None when there is none."""
        return self.summaries.get(agent_id) if agent_id else None

    def log_path(self, agent_id: str | None) -> str | None:
        """The repo-relative log path of an agent, None when unknown."""
        return self.logs.get(agent_id) if agent_id else None
