"""What is recorded about a pass: the reduced state, the trace bundle, the gate event.

Holds:       nothing.
Writes:      the reducer snapshot (cache), the trace bundle, `gate evaluated`, adjudication records.
When killed: a bundle is there whole or not at all; a re-entered attempt keeps the one it has.

Spec: LAUNCH 7.4 step 8, 17; COORD 22.2; GATE 11.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..base.timestamps import now_iso
from ..engines import gate_engine
from ..projections import traces
from ..projections.traces import TraceAgent, TraceInputs
from ..state import closure_adjudication, control_plane
from ..state.agent_state import report_path
from . import reduced_state, telemetry_step
from . import wave_reporting as report

if TYPE_CHECKING:
    from ..engines.facts import WaveFacts
    from ..engines.gate_results import GateSnapshot
    from .wave_context import AgentRun, WaveContext


def record_pass(ctx: WaveContext, facts: WaveFacts, snapshot: GateSnapshot) -> None:
    """Trace bundle and gate event of the pass at hand. Spec: LAUNCH 7.4 step 8."""
    ctx.reduced = reduced_state.reduce(ctx, facts, snapshot)
    for agent_id, decision in gate_engine.adjudications(facts).items():
        closure_adjudication.write_adjudication(
            ctx.paths, ctx.number, ctx.attempt, agent_id, decision.to_json(), now_iso()
        )
    assert ctx.derived is not None  # a pass begins with a refresh
    gates = snapshot.to_json()
    options = ctx.lane.options
    written = traces.write_trace_bundle(
        TraceInputs(
            paths=ctx.paths,
            wave=ctx.wave,
            bindings=ctx.bindings,
            attempt=ctx.attempt,
            agents=tuple(_trace_agent(ctx, facts, run) for run in ctx.runs.values()),
            facts=facts,
            derived=ctx.derived,
            gate_snapshot=gates,
            launcher={
                "timeoutMinutes": options.timeout_minutes,
                "maxRetriesPerWave": options.max_retries_per_wave,
                "dryRun": False,
                "runVariant": "live",
            },
            captured_at=now_iso(),
            corridor=traces.corridor_settings(ctx.lane.profile),
        )
    )
    ctx.trace_dir = ctx.paths.rel(written.trace_dir)
    control_plane.append_event(
        ctx.paths,
        ctx.number,
        "gate",
        f"wave-{ctx.number}-attempt-{ctx.attempt}-gate",
        "evaluated",
        {
            "attemptNumber": ctx.attempt,
            "traceDir": ctx.trace_dir,
            "gateSnapshot": gates,
            "qualitySummary": {key: written.quality.get(key) for key in ("contradictionCount", "finalRecommendation")},
            **report.supervised(ctx),
        },
        attempt=ctx.attempt,
    )
    telemetry_step.trace_written(ctx, written.quality.get("finalRecommendation"), gates["overall"].get("gate"))


def _trace_agent(ctx: WaveContext, facts: WaveFacts, run: AgentRun) -> TraceAgent:
    reading = facts.readings.get(run.agent_id)
    found = reading is not None and reading.envelope is not None and os.path.exists(reading.path)
    relative = report_path(run.agent, ctx.wave, ctx.bindings)
    return TraceAgent(
        agent=run.agent,
        prompt_path=run.prompt_path,
        log_path=run.log_path,
        status_path=run.status_path,
        launched=run.launched_attempt == ctx.attempt,
        context7=run.documentation.to_json() if run.documentation else None,
        envelope_path=reading.path if reading is not None and found else None,
        report_path=os.path.join(ctx.paths.root, relative) if relative else None,
    )
