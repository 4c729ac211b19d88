"""Collecting what a retry is decided from: failures, open records, the reduced state, which executors can be run.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: LAUNCH 11.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..engines.executor_fallback import fallback_chain
from ..engines.retry_engine import RetryFacts
from . import fact_collection
from .executor_preflight import command_available, executor_command

if TYPE_CHECKING:
    from .wave_context import AgentRun, WaveContext


def collect_retry_facts(ctx: WaveContext, failures: Sequence[dict[str, Any]]) -> RetryFacts:
    """The snapshot for the pass that would follow. Spec: LAUNCH 11.3."""
    fact_collection.refresh(ctx)
    derived = ctx.derived
    assert derived is not None  # `refresh` has set it
    reduced = ctx.reduced or {}
    return RetryFacts(
        wave=ctx.current_wave(),
        bindings=ctx.bindings,
        profile=ctx.lane.profile,
        attempt=ctx.attempt + 1,
        failures=tuple(failures),
        records=derived.coordination_state.open,
        assignments=derived.capability_assignments,
        dependencies=derived.dependency_snapshot,
        resume_plan=reduced.get("resumePlan") or {},
        retry_target_set=reduced.get("retryTargetSet") or (),
        executors={run.agent_id: run.executor for run in ctx.runs.values()},
        available={run.agent_id: available_executors(ctx, run) for run in ctx.runs.values()},
    )


def available_executors(ctx: WaveContext, run: AgentRun) -> list[str]:
    """Executors among the agent's own and its fallbacks whose command can be run here. Spec: LAUNCH 3.7."""
    profile, root = ctx.lane.profile, ctx.paths.root
    chain = dict.fromkeys((str(run.executor.get("id")), *fallback_chain(run.executor)))
    return [
        executor_id
        for executor_id in chain
        if command_available(executor_command(executor_id, run.executor, profile), root)
    ]
