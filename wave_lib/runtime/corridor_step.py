"""Corridor at closure: when the launcher fetches the security evidence, and what it shows of it.

Holds:       nothing.
Writes:      through the provider the Corridor artifact, once an attempt.
When killed: the next launcher fetches anew; without an artifact the security gate stays closed (PROV 4.10).

Spec: LAUNCH 5, 8.2 step 2, 10.3 step 2; PROV 4.1, 4.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engines.corridor_policy import prompt_lines
from ..providers import corridor
from . import off_loop

if TYPE_CHECKING:
    from .wave_context import AgentRun, WaveContext

JsonObject = dict[str, Any]

DRY_RUN_TEXT = "Corridor context is omitted in dry-run previews."
MISSING_TEXT = "Corridor provider fetch failed: no Corridor result exists for this wave."

JUDGED_STAGES = ("security-review", "integration", "documentation", "cont-qa")
"""Stages that start only when Corridor has been asked in this attempt and does not stop closure."""


def enabled(ctx: WaveContext) -> bool:
    """Whether the lane asks Corridor at all."""
    return bool(corridor.corridor_config(ctx.paths).get("enabled"))


def materialize(ctx: WaveContext) -> None:
    """Have the artifact of this attempt; a second call of the attempt fetches nothing. Spec: PROV 4.1.

    The launcher goes on meanwhile. Raises Interrupted when a signal asks for the end.
    """
    from .live_supervision import on_progress

    if enabled(ctx) and not ctx.lane.options.dry_run:
        off_loop.call(
            ctx.lane,
            lambda: corridor.materialize_corridor(ctx.paths, ctx.wave, ctx.bindings, ctx.attempt),
            tick=lambda: on_progress(ctx, ()),
        )


def current(ctx: WaveContext) -> JsonObject | None:
    """The artifact that gates and prompts may use, None when none is materialised. Spec: PROV 4.9."""
    return corridor.read_artifact(ctx.paths, ctx.wave, ctx.bindings)


def prompt_context(ctx: WaveContext, run: AgentRun) -> tuple[str, str]:
    """(path, text) of the Corridor block in a prompt; only for security reviewers and the integration steward."""
    if not enabled(ctx) or run.agent_id not in (*ctx.bindings.security_reviewers, ctx.bindings.integration):
        return "", ""
    if ctx.lane.options.dry_run:
        return "", DRY_RUN_TEXT
    artifact = current(ctx)
    if artifact is None:
        return "", MISSING_TEXT
    return ctx.paths.corridor_artifact(ctx.number), "\n".join(prompt_lines(artifact))
