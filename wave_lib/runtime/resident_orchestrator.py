"""The resident orchestrator: an agent that watches a wave and talks, and decides nothing.

Holds:       nothing; the launcher never waits for it.
Writes:      its prompt, overlay and runtime files, through the modules it calls.
When killed: it goes on until the next launcher of the wave adopts or ends it.

Spec: LAUNCH 13, SUP 15.7, COORD 23.4.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..base.files import read_text, write_text
from ..base.processes import self_command
from ..definition.prompt_fingerprint import prompt_hash
from ..definition.wave_types import Agent
from ..projections.prompts import ResidentPromptRequest, build_resident_prompt, cli_command
from . import agent_sessions, off_loop, provider_step
from . import wave_reporting as report
from .agent_sessions import AgentStart
from .executors import build_launch_spec, launch_context, write_overlay

if TYPE_CHECKING:
    from .wave_context import WaveContext

AGENT_ID = "ORCH"
TITLE = "Resident Orchestrator"
FILE_SLUG = "resident-orchestrator"
ROLE_PROMPT = "docs/agents/wave-orchestrator-role.md"
DEFAULT_ROLE = "You watch this wave, answer what can be answered from its state, and ask people about the rest."


def start(ctx: WaveContext) -> None:
    """Start it once per wave, if asked for; a live one of an earlier launcher is adopted. Spec: LAUNCH 13."""
    if not ctx.lane.options.resident_orchestrator:
        return
    executor = executor_state(ctx)
    if executor.get("id") == "local":
        report.event(ctx, "warn", "The resident orchestrator needs an executor that can talk; local cannot.")
        return
    leasing = provider_step.lease_or_warn(ctx, executor)
    leases = off_loop.call(ctx.lane, leasing.work) if leasing.outside else leasing.work()
    for warning in leases.warnings:
        report.event(ctx, "warn", warning)
    request = _request(ctx, executor)._replace(leases=leases.values)
    try:
        ctx.resident = agent_sessions.take_up(request)
        if ctx.resident is None:
            if leasing.outside and not leases.values:  # like any agent: not without its credentials (PROV 6.2)
                report.event(ctx, "warn", "The resident orchestrator was not started: it has no credentials.")
                return
            ctx.resident = agent_sessions.start_agent(request)
        elif ctx.resident.adopted:
            provider_step.know_leases(ctx.resident)
    except WaveError as error:
        report.event(ctx, "warn", f"The resident orchestrator could not be started: {error}")
        return
    report.board(
        ctx.lane,
        "resident_orchestrator_start",
        [ctx.number],
        "running",
        f"backend=process; session={request.session_name}; executor={executor.get('id')}",
    )


def executor_state(ctx: WaveContext) -> dict[str, Any]:
    """A copy of the first executor of the launcher's mode, else of any agent. Spec: SUP 15.7."""
    mode = ctx.lane.default_executor
    states: list[dict[str, Any]] = [run.executor for run in ctx.runs.values() if run.executor]
    chosen: dict[str, Any] = next(
        (state for state in states if state.get("id") == mode), states[0] if states else {"id": mode}
    )
    budget = dict(chosen.get("budget") or {})
    budget["minutes"] = max(int(budget.get("minutes") or 0), ctx.lane.options.timeout_minutes)
    return {**chosen, "role": "orchestrator", "selectedBy": "resident-orchestrator", "budget": budget}


def _request(ctx: WaveContext, executor: dict[str, Any]) -> AgentStart:
    from .launcher_runtime import process_settings

    paths, number = ctx.paths, ctx.number
    agent = Agent(AGENT_ID, TITLE, f"{number}-{FILE_SLUG}", executor_resolved=executor)
    prompt_path = paths.prompt_file(number, FILE_SLUG)
    text = build_resident_prompt(
        ResidentPromptRequest(
            paths=paths,
            wave=ctx.wave,
            wave_command=cli_command(self_command(), paths.root),
            orchestrator_id=ctx.lane.orchestrator_id,
            role_prompt=read_text(os.path.join(paths.root, ROLE_PROMPT)).strip() or DEFAULT_ROLE,
            coordination_log_path=paths.coordination_log(number),
            shared_summary_path=paths.shared_summary(number),
            dashboard_path=paths.dashboard_wave(number),
            board_path=paths.messageboard(number),
            triage_log_path=paths.triage_log(number),
            signal_path=paths.signal_agent(number, FILE_SLUG),
            signal_ack_path=paths.signal_ack(number, FILE_SLUG),
        )
    )
    write_text(prompt_path, text.rstrip("\n") + "\n", durable=False)
    context = launch_context(agent, number, paths, attempt=ctx.attempt, orchestrator_id=ctx.lane.orchestrator_id)
    context = context._replace(
        prompt_path=prompt_path,
        log_path=paths.log_file(number, FILE_SLUG),
        overlay_dir=paths.executor_dir(number, FILE_SLUG),
    )
    spec = build_launch_spec(context)
    write_overlay(context, spec)
    runtime_path = paths.runtime_file(number, FILE_SLUG)
    if ctx.lane.supervision is not None:
        runtime_path = os.path.join(ctx.lane.supervision.run_dir, "agents", f"{AGENT_ID}.runtime.json")
    return AgentStart(
        agent_id=AGENT_ID,
        session_name=paths.session_name(number, "resident_orchestrator"),
        spec=spec,
        prompt_path=prompt_path,
        log_path=context.log_path,
        status_path=paths.status_file(number, FILE_SLUG),
        runtime_path=runtime_path,
        overlay_dir=context.overlay_dir,
        prompt_hash=prompt_hash(agent),
        timeout_seconds=executor["budget"]["minutes"] * 60.0,
        **process_settings(ctx),
    )


def watch(ctx: WaveContext) -> bool:
    """Report its end once; True when it has just ended. Spec: LAUNCH 13."""
    handle = ctx.resident
    if handle is None or ctx.resident_reported:
        return False
    status = agent_sessions.read_status(handle)
    if status is None:
        if agent_sessions.agent_alive(handle.runtime_path):
            return False
        status = agent_sessions.read_status(handle)  # it may have ended well between these two looks
    ctx.resident_reported = True
    code: int | None = (status or {}).get("code")
    name = "resident_orchestrator_exit" if status else "resident_orchestrator_runtime_terminal"
    report.event(ctx, "info" if code == 0 else "warn", f"The resident orchestrator ended (exit {code}).")
    report.board(ctx.lane, name, [ctx.number], "resolved" if code == 0 else "warn", f"exit={code}")
    return True


def stop(ctx: WaveContext) -> None:
    """End it with the wave. Spec: LAUNCH 7.8, 13."""
    if ctx.resident is not None and agent_sessions.agent_alive(ctx.resident.runtime_path):
        agent_sessions.terminate_agent_tree(ctx.resident.runtime_path, "wave left", ctx.lane.grace_seconds())
    ctx.resident = None
