"""Preparing and starting one agent: skills, prompt, overlay, preview, then the process; or taking over one that lives.

Holds:       nothing; the tree lock passes from `agent_sessions` to the runner.
Writes:      the prompt, the executor overlay and `launch-preview.json`; a dry run stops there.
When killed: what was started goes on and is adopted; what was only prepared is prepared again.

Spec: LAUNCH 5, 8.2; SUP 10.3 (adoption), 15.4, 17.10.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable

from ..base.errors import ConfigError
from ..base.files import read_text, remove, write_text
from ..base.processes import self_command
from ..definition.roles import is_design_agent, is_docs_only_design
from ..definition.skill_texts import is_skill_file, skill_files
from ..definition.wave_types import skills_summary
from ..projections.prompts import PromptRequest, build_execution_prompt, cli_command
from . import agent_sessions, corridor_step, provider_step
from . import wave_reporting as report
from .agent_sessions import AgentHandle, AgentStart, RateLimit, Slots
from .agent_waiting import Fetch, Starter
from .executors import build_launch_spec, launch_context, write_overlay
from .launch_preview import build_launch_preview, write_launch_preview

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..definition.lane_profile import LaneProfile
    from ..definition.wave_types import Agent
    from ..providers.provider_runtime import Leases
    from .executors.launch_spec import LaunchContext, LaunchSpec
    from .provider_step import Asked, Provisions
    from .wave_context import AgentRun, WaveContext

SIGNAL_HYGIENE = "signal-hygiene"
"""The skill whose agents watch their signal file. Spec: COORD 23.2, 26."""


def prepare_agent(ctx: WaveContext, run: AgentRun, leased: Iterable[str] = ()) -> LaunchSpec:
    """Steps 1 to 6: skill artifacts, prompt, overlay and preview are written; returns how to start it. LAUNCH 8.2.

    `leased`: names of the variables that come from a credential lease.
    """
    agent = run.agent
    context = _launch_context(ctx, run)
    write_text(run.prompt_path, prompt_text(ctx, run).rstrip("\n") + "\n", durable=False)
    spec = build_launch_spec(context)
    write_overlay(context, spec)
    write_skill_files(ctx, run)
    profile = ctx.lane.profile
    leases = profile.wave_control if run.executor.get("id") != "local" else {}
    preview = build_launch_preview(
        spec,
        env_stripped=profile.executors.get("env", {}).get("strip") or (),
        leased=leased,
        credential_providers=leases.get("credentialProviders") or (),
        credentials=leases.get("credentials") or (),
        skills=preview_skills(agent),
    )
    write_launch_preview(run.overlay_dir, preview)
    if ctx.lane.options.dry_run:
        for text in (*spec.warnings, *spec.problems):
            ctx.lane.console.warn(f"[dry-run] warning: {run.agent_id}: {text}")
        return spec
    for warning in spec.warnings:
        report.event(ctx, "warn", warning, run.agent_id)
    if spec.problems:
        raise ConfigError(spec.problems[0], where=f"agent {run.agent_id}")
    return spec


def write_skill_files(ctx: WaveContext, run: AgentRun) -> None:
    """The skill artifacts of the overlay; those of another runtime's attempt go. Spec: WORK 9.6, LAUNCH 8.2 step 1."""
    files = skill_files(run.agent.skills_resolved, ctx.paths.rel(run.overlay_dir))
    for name in os.listdir(run.overlay_dir) if os.path.isdir(run.overlay_dir) else []:
        if is_skill_file(name) and name not in files:
            remove(os.path.join(run.overlay_dir, name))
    for name, text in files.items():
        write_text(os.path.join(run.overlay_dir, name), text, durable=False, if_changed=True)


def preview_skills(agent: Agent) -> dict[str, Any] | None:
    """What the preview shows of an agent's skills."""
    return skills_summary(agent.skills_resolved) if agent.skills_resolved else None


def launch_spec(ctx: WaveContext, run: AgentRun) -> LaunchSpec:
    """How the agent is started; nothing is written."""
    return build_launch_spec(_launch_context(ctx, run))


def _launch_context(ctx: WaveContext, run: AgentRun) -> LaunchContext:
    return launch_context(
        run.agent,
        ctx.number,
        ctx.paths,
        attempt=ctx.attempt,
        orchestrator_id=ctx.lane.orchestrator_id,
        run_id=ctx.lane.supervision.run_id if ctx.lane.supervision else "",
    )


def prompt_text(ctx: WaveContext, run: AgentRun) -> str:
    """The agent's prompt, from the projections as they are now. Spec: COORD 23."""
    agent, paths, number = run.agent, ctx.paths, ctx.number
    dry_run = ctx.lane.options.dry_run
    watches_signals = SIGNAL_HYGIENE in ((agent.skills_resolved or {}).get("ids") or ())
    corridor_path, corridor_text = corridor_step.prompt_context(ctx, run)
    return build_execution_prompt(
        PromptRequest(
            paths=paths,
            wave=ctx.wave,
            bindings=ctx.bindings,
            agent=agent,
            executor_id=str(run.executor.get("id")),
            wave_command=cli_command(self_command(), paths.root),
            orchestrator_id=ctx.lane.orchestrator_id,
            board_path=paths.messageboard(number),
            shared_summary_path=paths.shared_summary(number),
            shared_summary=read_text(paths.shared_summary(number)),
            inbox_path=paths.inbox(number, agent.agent_id),
            inbox=read_text(paths.inbox(number, agent.agent_id)),
            corridor_path=corridor_path,
            corridor_text=corridor_text,
            signal_path=paths.signal_agent(number, agent.agent_id) if watches_signals else "",
            signal_ack_path=paths.signal_ack(number, agent.agent_id) if watches_signals else "",
            skills=agent.skills_resolved,
            context7=provider_step.prompt_documentation(ctx, run),
            catalog=ctx.catalog,
            catalog_path=paths.benchmark_catalog,
            design_pass=is_design_pass(ctx, run),
            dry_run=dry_run,
        )
    )


def is_design_pass(ctx: WaveContext, run: AgentRun) -> bool:
    """Whether a design agent is launched to design; next to implementation agents it implements. Spec: LAUNCH 7.5."""
    roles = ctx.bindings.roles
    if not is_design_agent(run.agent, roles):
        return False
    selected = [ctx.runs[agent_id].agent for agent_id in ctx.selected if agent_id in ctx.runs]
    return is_docs_only_design(run.agent, roles) or (
        not ctx.design_done and all(is_design_agent(agent, roles) for agent in selected)
    )


def process_settings(ctx: WaveContext) -> dict[str, Any]:
    """The fields of an AgentStart that are the same for every agent of the wave. Spec: SUP 15.4, 16.2, 16.3."""
    lane, paths, options = ctx.lane, ctx.paths, ctx.lane.options
    settings, executors = lane.profile.supervisor, lane.profile.executors
    return {
        "root": paths.root,
        "project": paths.project_id,
        "lane": paths.lane,
        "wave": ctx.number,
        "attempt": ctx.attempt,
        "orchestrator_id": lane.orchestrator_id,
        "run_id": lane.supervision.run_id if lane.supervision else None,
        "launch_generation": lane.supervision.generation if lane.supervision else None,
        "grace_seconds": float(settings.get("terminationGraceSeconds", 10)),
        "heartbeat_seconds": float(settings.get("agentHeartbeatSeconds", 10)),
        "rate_limit": RateLimit(
            options.agent_rate_limit_retries + 1,
            float(options.agent_rate_limit_base_delay_seconds),
            float(options.agent_rate_limit_max_delay_seconds),
        ),
        "environment": dict(executors.get("env") or {}),
        "token_variables": token_variables(lane.profile),
        "pass_variables": tuple(lane.profile.wave_control.get("passEnvVars") or ()),
        "resume_sessions": executors.get("resumeSessions") is not False,
        "resume_limit": int(executors.get("resumeLimit") or 3),
    }


def token_variables(profile: LaneProfile) -> tuple[str, ...]:
    """Configured names of variables that hold the orchestrator's own tokens. Spec: SUP 16.3."""
    control, providers = profile.wave_control, profile.external_providers
    names = [control.get("authTokenEnvVar"), *(control.get("authTokenEnvVars") or ())]
    names += [(providers.get("context7") or {}).get("apiKeyEnvVar")]
    names += [(providers.get("corridor") or {}).get(key) for key in ("apiTokenEnvVar", "apiKeyFallbackEnvVar")]
    return tuple(dict.fromkeys(str(name) for name in names if name))


def start_request(ctx: WaveContext, run: AgentRun, spec: LaunchSpec) -> AgentStart:
    """Everything `agent_sessions` needs to start this agent now."""
    settings, options = ctx.lane.profile.supervisor, ctx.lane.options
    minutes = (run.executor.get("budget") or {}).get("minutes") or options.timeout_minutes
    return AgentStart(
        agent_id=run.agent_id,
        session_name=run.session_name,
        spec=spec,
        prompt_path=run.prompt_path,
        log_path=run.log_path,
        status_path=run.status_path,
        runtime_path=run.runtime_path,
        overlay_dir=run.overlay_dir,
        prompt_hash=run.prompt_hash,
        definition_hash=run.definition_hash,
        history_dir=run.history_dir,
        timeout_seconds=min(options.timeout_minutes, minutes) * 60.0,
        slots=Slots(
            os.path.dirname(ctx.paths.agent_slot(0)),
            int(settings.get("maxConcurrentAgents") or 0),
            int(settings.get("maxConcurrentLaunches") or 4),
        ),
        owned_paths=tuple(run.agent.owned_paths),
        **process_settings(ctx),
    )


def starter(ctx: WaveContext, run: AgentRun, stage_key: str | None = None) -> Starter:
    """What `AgentWait` calls when it is this agent's turn: take up what an earlier launcher left of it, or launch it.

    Documentation and credentials are fetched beside the loop, and only where the lane asks for any.
    Spec: SUP 10.3, LAUNCH 7.3 (adoption), 8.2; PROV 5, 6.
    """

    def start() -> AgentHandle | Fetch | None:
        # What this very launcher started in this attempt is over: an agent of two stages runs in each (LAUNCH 10.1).
        if run.launched_attempt == ctx.attempt or not os.path.exists(run.runtime_path):
            return launch()
        return _with(provider_step.lease_to_go_on(ctx, run), take_up)

    def take_up(leases: Leases) -> AgentHandle | Fetch | None:
        provider_step.tell_of_lease(ctx, run, leases)
        request = start_request(ctx, run, launch_spec(ctx, run))
        handle = agent_sessions.take_up(request._replace(leases=leases.values))
        return launch() if handle is None else under_way(handle)

    def launch() -> AgentHandle | Fetch | None:
        report.agent_state(ctx, run.agent_id, "launching", "Launching closure sweep" if stage_key else "")
        return _with(provider_step.provisions(ctx, run), provided)

    def provided(found: Provisions) -> AgentHandle:
        provider_step.tell_of_lease(ctx, run, found.leases)
        provider_step.tell_of_documentation(ctx, run, found.documentation)
        leases = found.leases.values
        request = start_request(ctx, run, prepare_agent(ctx, run, leases))
        return under_way(agent_sessions.start_agent(request._replace(leases=leases)))

    def under_way(handle: AgentHandle) -> AgentHandle:
        run.launched_attempt = ctx.attempt
        ctx.lane.live_agents[handle.runtime_path] = handle
        if handle.adopted:
            provider_step.know_leases(handle)
            report.agent_adopted(ctx, handle)
        return handle

    return start


def _with(asked: Asked, then: Callable[[Any], AgentHandle | Fetch | None]) -> AgentHandle | Fetch | None:
    """Go on with what was asked for: at once where nobody outside has to answer, else after a Fetch."""
    return Fetch(asked.work, then) if asked.outside else then(asked.work())
