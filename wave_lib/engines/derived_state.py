"""Records of the derived-state engine: what it reads and what it answers.

Spec: COORD 20. The engine is `derived_state_engine.build_derived_state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_profile import LaneProfile
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..state.control_plane import ControlPlaneState
    from ..state.coordination_records import LogDiagnostic
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]


class DerivedInputs(NamedTuple):
    """A snapshot of everything derived state is made from.

    `coordination` and `control_plane` are the logs as they stand, `bad_lines` their unreadable lines. `feedback` are
    the rows of `feedback_store`, `tickets` the latest dependency tickets. `summaries` (agent id -> projected summary or
    None) and `presence` (path -> is there now) as in `WaveFacts`. `runs` says per agent what runtime it uses:
    `{initialExecutorId, executorId, profile, selectedBy, retryPolicy, allowFallbackOnRetry, fallbacks, fallbackUsed,
    fallbackReason, executorHistory}`, any of them missing. `seed_time` is the wave file's modification time (ISO),
    `previous_docs_queue_created_at` keeps that time over rewrites. `ignored_gap_record_ids`: see `WaveFacts`.
    """

    wave: Wave
    bindings: RoleBindings
    profile: LaneProfile
    attempt: int
    coordination: CoordinationState
    control_plane: ControlPlaneState
    feedback: Sequence[JsonObject]
    tickets: Sequence[JsonObject]
    now: str
    summaries: Mapping[str, JsonObject | None] = {}
    runs: Mapping[str, JsonObject] = {}
    presence: Mapping[str, bool] = {}
    catalog: BenchmarkCatalog | None = None
    catalog_error: str | None = None
    corridor: JsonObject | None = None
    corridor_config: Mapping[str, Any] = {}
    previous_docs_queue_created_at: str | None = None
    bad_lines: Sequence[LogDiagnostic] = ()
    seed_time: str = ""
    orchestrator_id: str = ""
    ignored_gap_record_ids: frozenset[str] = frozenset()


class Barrier(NamedTuple):
    """Whether something holds closure back: `detail` lists the ids. Gates render it as `{ok, statusCode, detail}`."""

    ok: bool
    status_code: str = "pass"
    detail: str = ""

    def to_json(self) -> JsonObject:
        """`{ok, statusCode, detail}`."""
        return {"ok": self.ok, "statusCode": self.status_code, "detail": self.detail}


class FeedbackToClose(NamedTuple):
    """A question whose answer came from elsewhere: close it with this disposition and text."""

    request_id: str
    text: str
    disposition: str = "resolved"


class Appends(NamedTuple):
    """What a refresh wants to be written, in this order: questions, then the log (one write), then the triage log.

    `feedback` are the requests to create (`{id, agentId, question, context}`); `records` and `triage` are whole
    coordination records.
    """

    feedback: list[JsonObject]
    feedback_to_close: list[FeedbackToClose]
    records: list[JsonObject]
    triage: list[JsonObject]

    @property
    def nothing(self) -> bool:
        """Whether the logs already say all of it."""
        return not (self.feedback or self.feedback_to_close or self.records or self.triage)


class DerivedState(NamedTuple):
    """What follows from the facts, as if `appends` had been written already.

    Documents (`docs_queue`, `ledger`, summaries, snapshot, `response_metrics`) are in their on-disk form; summaries
    and gates read `coordination_state`. `run_starts` (agent id -> ISO time) says when the run
    before the present one started. The four barriers are those of the gates of the same name. Spec: COORD 20.
    """

    wave_number: int
    lane: str
    attempt: int
    now: str
    coordination_state: CoordinationState
    capability_assignments: list[JsonObject]
    dependency_snapshot: JsonObject
    runtime_assignments: list[JsonObject]
    docs_queue: JsonObject
    security_summary: JsonObject
    contradictions: list[JsonObject]
    integration_summary: JsonObject
    clarification_barrier: Barrier
    helper_assignment_barrier: Barrier
    dependency_barrier: Barrier
    blocker_barrier: Barrier
    closure_mode: str
    closure_complexity: str
    ledger: JsonObject
    response_metrics: JsonObject
    feedback: list[JsonObject]
    run_starts: dict[str, str]
    appends: Appends
