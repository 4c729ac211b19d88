"""What an agent gets from outside before it starts: documentation for its prompt, leased credentials.

Holds:       leased values, in memory and for the length of one start.
Writes:      through the provider the documentation cache.
When killed: nothing is lost; the next launcher fetches and leases anew.

Spec: LAUNCH 8.2 steps 2 and 5; PROV 5.5, 5.6, 6.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..projections.prompts import PromptContext7
from ..providers import context7
from ..providers.provider_runtime import LeaseError, Leases, lease_credentials, wants_leases
from . import wave_reporting as report

if TYPE_CHECKING:
    from .wave_context import AgentRun, WaveContext


def documentation(ctx: WaveContext, run: AgentRun) -> PromptContext7:
    """The Context7 block of the prompt; whatever goes wrong, the agent is launched with a note. Spec: PROV 5."""
    lane, profile = ctx.lane, ctx.lane.profile
    result = context7.prefetch(
        run.agent.context7_resolved,
        context7.Settings(
            profile.external_providers["context7"], profile.wave_control, ctx.paths.context7_cache_dir
        ),
        enabled=lane.options.context7,
        dry_run=lane.options.dry_run,
        outage=lane.context7_outage,
    )
    run.documentation = result
    event = context7.event_of(result)
    if event is not None and not lane.options.dry_run:
        report.event(ctx, *event, run.agent_id)
    chosen = result.selection or {}
    return PromptContext7(
        str(chosen.get("bundleId") or "none"),
        str(chosen.get("query") or ""),
        tuple(context7.library_names(chosen)),
        result.prompt_text,
        result.warning,
    )


def lease(ctx: WaveContext, run: AgentRun) -> Leases:
    """The credentials of one agent start. Raises LeaseError: then the agent is not started. Spec: PROV 6."""
    control = ctx.lane.profile.wave_control
    if ctx.lane.options.dry_run or run.executor.get("id") == "local" or not wants_leases(control):
        return Leases()
    leases = lease_credentials(control, os.environ)
    for warning in leases.warnings:
        report.event(ctx, "warn", warning, run.agent_id)
    return leases


def lease_to_go_on(ctx: WaveContext, run: AgentRun) -> Leases:
    """The same for what may turn out to be alive: then it has its values already, and nobody needs these."""
    try:
        return lease(ctx, run)
    except LeaseError as error:
        report.event(ctx, "warn", str(error), run.agent_id)
        return Leases()
