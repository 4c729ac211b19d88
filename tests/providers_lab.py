"""A lane with providers configured, as the real loaders see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.lane_profile import Roles
from wave_lib.definition.roles import RoleBindings, resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, Wave

Json = dict[str, Any]


class ProviderLane(NamedTuple):
    """Paths, a wave and its bindings."""

    paths: LanePaths
    wave: Wave
    bindings: RoleBindings


def agent(agent_id: str, *owned: str, **more: Any) -> Agent:
    """An agent that owns these paths."""
    return Agent(agent_id, f"Agent {agent_id}", agent_id.lower(), owned_paths=owned, **more)


def lane_paths(root: Path, *, dry_run: bool = False, **config: Any) -> LanePaths:
    """Paths of lane main of a workspace with this configuration."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "wave.config.json").write_text(json.dumps({"version": 1, **config}))
    (root / "docs/plans/waves").mkdir(parents=True, exist_ok=True)
    return build_lane_paths(load_wave_config(str(root)), run_variant="dry-run" if dry_run else "")


def corridor_lane(root: Path, *agents: Agent, control: Json | None = None, **corridor: Any) -> ProviderLane:
    """A lane whose Corridor is enabled; wave 0 has these agents, A1 with `src/auth` if none is given."""
    block = {"enabled": True, "teamId": "t", "projectId": "p", **corridor}
    paths = lane_paths(root, externalProviders={"corridor": block}, waveControl=control or {})
    wave = Wave(0, "docs/plans/waves/wave-0.md", agents=agents or (agent("A1", "src/auth"),))
    return ProviderLane(paths, wave, resolve_wave_role_bindings(wave, Roles()))
