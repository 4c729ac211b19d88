"""A dry run: everything an agent would get, written to its own tree, and nothing started.

Holds:       the launcher lock of the dry-run tree.
Writes:      coordination seeds, projections, prompts, overlays and previews under `dry-run/`.
When killed: the tree is half written and written anew by the next dry run.

Spec: LAUNCH 5.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..base.files import Unforced, remove
from ..definition.roles import resolve_wave_role_bindings
from . import fact_collection, launcher_runtime
from .launch_preview import prune_overlays
from .wave_context import WaveContext

if TYPE_CHECKING:
    from ..definition.wave_types import Wave
    from .wave_context import LaneRun


def run(lane: LaneRun) -> None:
    """Preview every selected wave. Spec: LAUNCH 5."""
    _prune(lane)
    with Unforced():
        for wave in lane.selected:
            _preview(lane, wave)
    console, paths = lane.console, lane.paths
    console.say(f"[dry-run] state root: {paths.rel(paths.state_dir)}")
    console.say(f"[dry-run] prompts and executor overlays written: {paths.rel(paths.executors_dir)}")
    console.say("Dry run enabled, skipping live execution and optional dashboard/projection launch.")


def _preview(lane: LaneRun, wave: Wave) -> None:
    lane.authored[wave.wave] = wave
    ctx = WaveContext(lane, wave, resolve_wave_role_bindings(wave, lane.profile.roles))
    ctx.catalog, _ = fact_collection.load_catalog(ctx)
    fact_collection.refresh(ctx)
    for agent_run in ctx.runs.values():
        ctx.selected = (agent_run.agent_id,)
        launcher_runtime.prepare_agent(ctx, agent_run)


def _prune(lane: LaneRun) -> None:
    """Previews of waves and agents that are gone go too. Spec: LAUNCH 5."""
    paths = lane.paths
    keep = {wave.wave: {agent.slug for agent in wave.agents} for wave in lane.waves}
    prune_overlays(paths.executors_dir, keep)
    prompts = {
        os.path.basename(paths.prompt_file(wave.wave, agent.slug)) for wave in lane.waves for agent in wave.agents
    }
    for name in _names(paths.prompts_dir):
        if re.fullmatch(r"wave-\d+-.+\.prompt\.md", name) and name not in prompts:
            remove(os.path.join(paths.prompts_dir, name))
    inboxes = {wave.wave: {f"{agent.agent_id}.md" for agent in wave.agents} for wave in lane.waves}
    for folder in _names(paths.inboxes_dir):
        found = re.fullmatch(r"wave-(\d+)", folder)
        kept = inboxes.get(int(found[1]), set()) if found else None
        for name in _names(os.path.join(paths.inboxes_dir, folder)) if kept is not None else ():
            if name.endswith(".md") and name != "shared-summary.md" and kept is not None and name not in kept:
                remove(os.path.join(paths.inboxes_dir, folder, name))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
