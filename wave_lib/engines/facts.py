"""The snapshot that every gate decision is made from.

`runtime/fact_collection.py` reads it from canonical state, tests build it by hand; engines add nothing to it.
Spec: GATE 1, 8; DESIGN 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Optional

if TYPE_CHECKING:
    from typing import Protocol

    from ..definition.components import ComponentMatrix
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_profile import LaneProfile
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..state.coordination_store import CoordinationState
    from ..state.result_envelope import EnvelopeReading

    class DerivedView(Protocol):
        """What the gates read of the derived state (`derived_state_engine.DerivedState`). Spec: COORD 13-19."""

        @property
        def coordination_state(self) -> CoordinationState: ...

        @property
        def docs_queue(self) -> Optional[dict[str, Any]]: ...

        @property
        def capability_assignments(self) -> Any: ...

        @property
        def dependency_snapshot(self) -> Optional[dict[str, Any]]: ...

        @property
        def integration_summary(self) -> Optional[dict[str, Any]]: ...

        @property
        def security_summary(self) -> Optional[dict[str, Any]]: ...


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
    summaries: Mapping[str, Optional[dict[str, Any]]] = {}
    logs: Mapping[str, str] = {}
    presence: Mapping[str, bool] = {}
    matrix: Optional[ComponentMatrix] = None
    matrix_error: Optional[str] = None
    catalog: Optional[BenchmarkCatalog] = None
    catalog_error: Optional[str] = None
    derived: Optional[DerivedView] = None
    corridor: Optional[dict[str, Any]] = None
    corridor_config: Mapping[str, Any] = {}
    contradictions: tuple[dict[str, Any], ...] = ()
    bad_log_lines: tuple[str, ...] = ()
    auto_satisfied_stages: tuple[str, ...] = ()
    skipped_stages: tuple[str, ...] = ()
    launched_stages: tuple[str, ...] = ()
    ignored_gap_record_ids: frozenset[str] = frozenset()
    required_integration: Optional[bool] = None
    mode: str = "live"
    now: str = ""

    @property
    def wave_number(self) -> int:
        """The wave's number."""
        return self.wave.wave

    def summary(self, agent_id: Optional[str]) -> Optional[dict[str, Any]]:
        """The projected summary of an agent, None when there is none."""
        return self.summaries.get(agent_id) if agent_id else None

    def log_path(self, agent_id: Optional[str]) -> Optional[str]:
        """The repo-relative log path of an agent, None when unknown."""
        return self.logs.get(agent_id) if agent_id else None
