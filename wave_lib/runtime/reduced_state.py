"""The reduced state of a wave, as the launcher sees it after a pass: computed, compared, stored.

Holds:       nothing.
Writes:      `reducer/wave-<n>.json` (a cache).
When killed: the snapshot is the old one or the new one.

Spec: COORD 22, LAUNCH 11.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.timestamps import now_iso
from ..engines.closure_engine import is_gap_record
from ..engines.resume_plan import build_resume_plan
from ..engines.wave_state_reducer import ReducerInputs, reduce_wave_state
from ..projections.reducer_snapshot import comparable_gate, compute_reducer_snapshot, write_reducer_snapshot
from ..state import feedback_store
from . import fact_collection

if TYPE_CHECKING:
    from ..engines.facts import WaveFacts
    from ..engines.gate_results import GateSnapshot
    from .wave_context import WaveContext

    JsonObject = dict[str, Any]


def reduce(ctx: WaveContext, facts: WaveFacts, snapshot: GateSnapshot) -> JsonObject:
    """The stored snapshot: the reduced state with its `resumePlan`. Spec: COORD 22.2."""
    now = now_iso()
    state = reduce_wave_state(
        ReducerInputs(
            facts=facts,
            derived=ctx.derived,
            control_plane=fact_collection.wave_logs(ctx).control.refresh(),
            gates=snapshot,
            feedback=feedback_store.read_wave_requests(ctx.paths, ctx.number, [*ctx.runs]).rows,
            now=now,
        )
    )
    records = ctx.derived.coordination_state.open if ctx.derived else []
    plan = build_resume_plan(
        state,
        ctx.wave,
        ctx.bindings,
        now=now,
        gap_records=[record for record in records if is_gap_record(record, ctx.number)],
        executors={run.agent_id: str(run.executor.get("id")) for run in ctx.runs.values()},
    )
    gates = snapshot.to_json()
    live = {
        "helperAssignmentBarrier": comparable_gate(gates["helperAssignmentBarrier"]),
        "dependencyBarrier": comparable_gate(gates["dependencyBarrier"]),
        "overallGate": comparable_gate(gates["overall"]),
    }
    document = compute_reducer_snapshot(ctx.paths.lane, ctx.number, state, plan, live, now)
    write_reducer_snapshot(ctx.paths, ctx.number, document)
    return document
