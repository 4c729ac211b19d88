"""Corridor at closure: fetch the evidence once per attempt, and show it to those who close.

Holds:       nothing.
Writes:      `security/wave-<n>-corridor.json`, through the provider.
When killed: the artifact is there whole or not at all; without one the security gate stays closed.

Spec: LAUNCH 8.2 step 2, 10.3 step 2; PROV 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .wave_context import AgentRun, WaveContext

DRY_RUN_TEXT = "Corridor context is omitted in dry-run previews."


def enabled(ctx: WaveContext) -> bool:
    """Whether the lane asks Corridor at all."""
    return bool((ctx.lane.profile.external_providers.get("corridor") or {}).get("enabled"))


def materialise(ctx: WaveContext) -> bool:
    """Fetch the wave's Corridor evidence unless this attempt has it already; True when it was fetched. PROV 4.1."""
    if not enabled(ctx) or ctx.lane.options.dry_run or ctx.corridor_attempt == ctx.attempt:
        return False
    from ..providers import corridor

    ctx.corridor_attempt = ctx.attempt
    corridor.materialise(ctx.paths, ctx.wave, ctx.bindings)
    load(ctx)
    return True


def load(ctx: WaveContext) -> None:
    """The artifact on disk, if it is valid for this wave. Spec: PROV 4.9."""
    if not enabled(ctx):
        ctx.corridor = None
        return
    from ..providers import corridor

    ctx.corridor = corridor.read_artifact(ctx.paths, ctx.wave, ctx.bindings)


def prompt_context(ctx: WaveContext, run: AgentRun) -> tuple[str, str]:
    """(path, text) of the Corridor block in a prompt; only for security reviewers and the integration steward."""
    if not enabled(ctx) or run.agent_id not in (*ctx.bindings.security_reviewers, ctx.bindings.integration):
        return "", ""
    if ctx.lane.options.dry_run:
        return "", DRY_RUN_TEXT
    from ..providers import corridor

    return ctx.paths.corridor_artifact(ctx.number), corridor.prompt_text(ctx.corridor)
