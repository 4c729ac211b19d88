"""What an agent gets from outside before it starts: documentation for its prompt, leased credentials.

Asking is one thing, done beside the event loop; telling of what came is another, done in it.

Holds:       leased values, in memory and for the length of one start.
Writes:      through the provider the documentation cache; asterisks over leased values in the log of a lost agent.
When killed: nothing is lost; the next launcher fetches and leases anew.

Spec: LAUNCH 8.2 steps 2 and 5; PROV 5.5, 5.6, 6.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..base.errors import DiskError
from ..base.processes import marked_values
from ..base.redaction import mask_log, register_secret
from ..projections.prompts import PromptContext7
from ..providers import context7
from ..providers.provider_runtime import LeaseError, Leases, lease_credentials, wants_leases
from . import wave_reporting as report
from .agent_records import NONCE, read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..providers.context7 import Prefetched
    from .agent_sessions import AgentHandle
    from .agent_waiting import AgentEnd
    from .wave_context import AgentRun, WaveContext

PAYLOAD_FILE = "runner-payload.json"


class Asked(NamedTuple):
    """A question and whether somebody outside is asked: then `work` may take its whole time budget."""

    work: Callable[[], Any]
    outside: bool


class Provisions(NamedTuple):
    """What an agent is started with."""

    leases: Leases
    documentation: Prefetched


def provisions(ctx: WaveContext, run: AgentRun) -> Asked:
    """Leases and documentation of one agent start, as Provisions; the work raises LeaseError. Spec: PROV 5, 6."""
    leasing, reading = leases_wanted(ctx, run.executor), prefetch(ctx, run)

    def work() -> Provisions:
        leases = lease_credentials(ctx.lane.profile.wave_control, os.environ) if leasing else Leases()
        return Provisions(leases, reading.work())

    return Asked(work, leasing or reading.outside)


def lease_to_go_on(ctx: WaveContext, run: AgentRun) -> Asked:
    """Leases for what may turn out to be alive: then it has its values already, and a failure stops nobody."""
    return lease_or_warn(ctx, run.executor)


def lease_or_warn(ctx: WaveContext, executor: Mapping[str, Any]) -> Asked:
    """Leases that are not insisted on: a failure is a warning and no values."""
    leasing = leases_wanted(ctx, executor)

    def work() -> Leases:
        if not leasing:
            return Leases()
        try:
            return lease_credentials(ctx.lane.profile.wave_control, os.environ)
        except LeaseError as error:
            return Leases(warnings=(str(error),))

    return Asked(work, leasing)


def leases_wanted(ctx: WaveContext, executor: Mapping[str, Any]) -> bool:
    """Whether an agent on this executor gets leased credentials. Spec: PROV 6."""
    dry_run, control = ctx.lane.options.dry_run, ctx.lane.profile.wave_control
    return not dry_run and executor.get("id") != "local" and wants_leases(control)


def tell_of_lease(ctx: WaveContext, run: AgentRun, leases: Leases) -> None:
    """The warnings of a lease, as events."""
    for warning in leases.warnings:
        report.event(ctx, "warn", warning, run.agent_id)


def know_leases(handle: AgentHandle) -> None:
    """Learn the values that a live agent of another launcher was leased, so that they are redacted here too. PROV 2.5.

    They are read from its processes (Linux only); nothing on the disk holds them, and leasing anew may bring others.
    """
    names = _leased_names(handle)
    for value in marked_values(NONCE, handle.launch_id, names) if names else ():
        register_secret(value)


def mask_lost(end: AgentEnd) -> None:
    """An agent whose runner died has nobody else to mask its leased values in its log. Spec: PROV 6.3."""
    if end.handle is not None and (end.record or {}).get("outcomeSource") != "runner" and _leased_names(end.handle):
        try:
            mask_log(end.handle.log_path)
        except DiskError:
            return  # what is made from the log is redacted all the same


def _leased_names(handle: AgentHandle) -> list[str]:
    overlay = handle.request.overlay_dir if handle.request is not None else ""
    payload = read_object(os.path.join(overlay, PAYLOAD_FILE)) if overlay else None
    return list((payload or {}).get("leasedEnvVars") or ())


# --- documentation ----------------------------------------------------------------------------------------------------


def prefetch(ctx: WaveContext, run: AgentRun) -> Asked:
    """The documentation of one agent, as Prefetched; the work never raises WaveError. Spec: PROV 5.5."""
    lane, profile = ctx.lane, ctx.lane.profile
    selection = run.agent.context7_resolved
    settings = context7.Settings(
        profile.external_providers["context7"], profile.wave_control, ctx.paths.context7_cache_dir
    )
    enabled, dry_run = lane.options.context7, lane.options.dry_run

    def work() -> Prefetched:
        return context7.prefetch(selection, settings, enabled=enabled, dry_run=dry_run, outage=lane.context7_outage)

    return Asked(work, enabled and not dry_run and context7.wants_documentation(selection))


def tell_of_documentation(ctx: WaveContext, run: AgentRun, found: Prefetched) -> None:
    """Whatever came, the agent is launched, with a note where there is no text. Spec: PROV 5.6."""
    run.documentation = found
    event = context7.event_of(found)
    if event is not None:
        report.event(ctx, *event, run.agent_id)


def prompt_documentation(ctx: WaveContext, run: AgentRun) -> PromptContext7:
    """The Context7 block of the prompt; in a dry run nothing was fetched before, and nothing is."""
    if run.documentation is None:
        run.documentation = prefetch(ctx, run).work()
    result = run.documentation
    chosen = result.selection or {}
    return PromptContext7(
        str(chosen.get("bundleId") or "none"),
        str(chosen.get("query") or ""),
        tuple(context7.library_names(chosen)),
        result.prompt_text,
        result.warning,
    )
