"""Success from canonical facts alone: the last wave of a lost run is judged without launching anything.

Holds:       the lane's launcher lock while it judges and records.
Writes:      result envelopes and summaries that are missing, projections, the run state of the wave that is complete.
When killed: nothing was decided; the next supervisor asks again.

Asked when no resume is left: as long as one is, a resumed launcher judges the same facts, launches nobody either, and
leaves events, dashboards and the trace bundle in order too. Spec: SUP 10.5 b, 9.3 row 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from .supervisor_facts import Observation
    from .supervisor_run import OwnedRun
    from .wave_context import LaneRun, WaveContext


def worth_asking(seen: Observation, request: dict[str, Any]) -> bool:
    """Whether one wave is left, no resume is, and all agents settled well."""
    left = _left(seen)
    if request.get("dryRun") or len(left) != 1 or seen.facts.agents != "settled" or seen.facts.budget:
        return False
    return all(agent.record.get("exitCode") == 0 for agent in seen.agents)


def inferred(lane: LanePaths, owned: OwnedRun, seen: Observation) -> Observation | None:
    """The observation with `inferred` set when the last wave passes every gate from disk; it is then recorded.

    None while somebody else holds the lane: nothing can be said now.
    """
    from .session_supervisor import LaneBusyError, take_launcher_lock

    try:
        lock = take_launcher_lock(
            lane.launcher_lock,
            lane.rel(lane.launcher_lock),
            lane=lane.lane,
            mode="reconcile",
            supervisor_run_id=owned.run_id,
        )
    except LaneBusyError:
        return None
    try:
        done = _judge(lane, owned, seen, _left(seen)[0])
    except WaveError as error:
        owned.log.say(f"success cannot be inferred: {error}", owned.run_id, "warn")
        done = False
    finally:
        lock.release()
    return seen._replace(facts=seen.facts._replace(inferred=done))


def _left(seen: Observation) -> list[int]:
    return [wave for wave in seen.selected if wave not in seen.completed]


def _judge(lane: LanePaths, owned: OwnedRun, seen: Observation, number: int) -> bool:
    """Whether the wave is complete by its status files and gates; then it is recorded as this run's work."""
    from ..definition.roles import resolve_wave_role_bindings
    from ..engines import gate_engine
    from ..state import retry_state
    from . import fact_collection, launch_selection, run_state_reconcile
    from .wave_context import WaveContext

    run = _lane_run(lane, owned)
    launch_selection.load(run)
    wave = next((wave for wave in launch_selection.resolved_waves(run) if wave.wave == number), None)
    journal = seen.journal or {}
    if wave is None or journal.get("forwardedClosureGaps") or retry_state.active_rerun_request(lane, number):
        return False
    ctx = WaveContext(run, wave, resolve_wave_role_bindings(wave, lane.profile.roles))
    ctx.attempt = journal.get("attemptNumber") or 1
    if not _all_succeeded(ctx, str(owned.state.get("startedAt") or "")):
        return False
    fact_collection.materialise_results(ctx)
    fact_collection.refresh(ctx)
    if not gate_engine.evaluate_gates(fact_collection.collect_wave_facts(ctx)).overall.ok:
        return False
    owned.owner.check()
    result = run_state_reconcile.reconcile_run_state(
        lane, [wave], state_file=run.state_file, supervisor_run_id=owned.run_id
    )
    return number in result.state["completedWaves"]


def _all_succeeded(ctx: WaveContext, started_at: str) -> bool:
    """Every agent of the wave has a status of this run, for its present definition, with code 0."""
    from ..state.agent_state import read_status_record

    for run in ctx.runs.values():
        status = read_status_record(run.status_path) or {}
        fresh = str(status.get("completedAt") or "") >= started_at and status.get("promptHash") == run.prompt_hash
        if status.get("code") != 0 or not fresh:
            return False
    return True


def _lane_run(lane: LanePaths, owned: OwnedRun) -> LaneRun:
    from ..definition.config import load_wave_config
    from .console import Console
    from .launcher import open_lane
    from .launcher_options import LauncherOptions
    from .wave_context import Supervision

    argv = list(owned.request.get("launcherArgs") or ())
    state_file = argv[argv.index("--state-file") + 1] if "--state-file" in argv[:-1] else None
    options = LauncherOptions(lane.project_id, lane.lane, lane.run_id, state_file=state_file)
    run = open_lane(load_wave_config(lane.root), options, Console())
    run.supervision = Supervision(owned.run_id, owned.run.directory, owned.generation, owned.owner.lease.epoch)
    return run
