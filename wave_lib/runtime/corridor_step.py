"""Corridor at closure: what the launcher knows of the security evidence, and what it shows of it.

Holds:       nothing.
Writes:      nothing: no Corridor provider is part of this version, so a lane that enables Corridor has no evidence,
             and its security gate stays closed (fail closed, PROV 4.10).
When killed: nothing is lost.

Spec: LAUNCH 5, 8.2 step 2, 10.3 step 2; PROV 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .wave_context import AgentRun, WaveContext

DRY_RUN_TEXT = "Corridor context is omitted in dry-run previews."
MISSING_TEXT = "Corridor provider fetch failed: no Corridor result exists for this wave."


def enabled(ctx: WaveContext) -> bool:
    """Whether the lane asks Corridor at all."""
    return bool((ctx.lane.profile.external_providers.get("corridor") or {}).get("enabled"))


def prompt_context(ctx: WaveContext, run: AgentRun) -> tuple[str, str]:
    """(path, text) of the Corridor block in a prompt; only for security reviewers and the integration steward."""
    if not enabled(ctx) or run.agent_id not in (*ctx.bindings.security_reviewers, ctx.bindings.integration):
        return "", ""
    return "", DRY_RUN_TEXT if ctx.lane.options.dry_run else MISSING_TEXT
