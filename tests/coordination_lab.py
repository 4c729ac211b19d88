"""A small workspace with one wave, and shorthands for records, for the tests of coordination and derived state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.roles import RoleBindings, resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, ComponentPromotion, Wave
from wave_lib.engines.derived_state import DerivedInputs
from wave_lib.state.control_plane import materialize_events
from wave_lib.state.coordination_records import normalize_record
from wave_lib.state.coordination_store import CoordinationState, materialize

NOW = "2026-01-01T00:12:00.000Z"


def rec(**raw: Any) -> dict[str, Any]:
    """A coordination record with defaults: lane main, wave 0, author A1, created at midnight."""
    defaults = {"lane": "main", "wave": 0, "agentId": "A1", "createdAt": at(0), "source": "agent"}
    return normalize_record({**defaults, **raw}, at(0))


def at(minutes: float) -> str:
    """Midnight plus minutes."""
    seconds = int(minutes * 60)
    return f"2026-01-01T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.000Z"


def state_of(*records: dict[str, Any]) -> CoordinationState:
    """Materialised records."""
    return materialize(records)


AGENTS = (
    Agent("A1", "First Slice", "0-a1", prompt="Build it", owned_paths=("src/one.js",), capabilities=("runtime",)),
    Agent("A2", "Second Slice", "0-a2", prompt="Build that", owned_paths=("src/two.js",), capabilities=("Runtime",)),
    Agent("A8", "Integration", "0-a8", owned_paths=("docs/integration.md",)),
    Agent("A9", "Documentation", "0-a9", owned_paths=("docs/plans/current-state.md",)),
    Agent("A0", "cont-QA", "0-a0", owned_paths=("docs/reviews/wave-0-cont-qa.md",)),
)


def wave_of(*agents: Agent, promotions: tuple[ComponentPromotion, ...] = ()) -> Wave:
    """Wave 0 with these agents (default: two implementers and the three stewards)."""
    return Wave(0, "docs/plans/waves/wave-0.md", agents=agents or AGENTS, component_promotions=promotions)


def workspace(root: Path, config: dict[str, Any] | None = None, **options: Any) -> LanePaths:
    """Lane paths of a fresh workspace; nothing but the configuration exists in it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "wave.config.json").write_text(json.dumps(config or {}), encoding="utf-8")
    return build_lane_paths(load_wave_config(str(root)), **options)


def bindings_of(wave: Wave, paths: LanePaths) -> RoleBindings:
    """The wave's role bindings."""
    return resolve_wave_role_bindings(wave, paths.profile.roles)


def inputs_of(paths: LanePaths, wave: Wave, *records: dict[str, Any], **more: Any) -> DerivedInputs:
    """Inputs of the derived-state engine over these records; `events` are control-plane events."""
    profile = paths.profile
    return DerivedInputs(
        wave=wave,
        bindings=bindings_of(wave, paths),
        profile=profile,
        attempt=more.pop("attempt", 1),
        coordination=state_of(*records),
        control_plane=materialize_events(more.pop("events", [])),
        feedback=more.pop("feedback", []),
        tickets=more.pop("tickets", []),
        now=more.pop("now", NOW),
        **more,
    )


def summary_of(agent_id: str, **more: Any) -> dict[str, Any]:
    """A projected execution summary with exit code 0."""
    return {"agentId": agent_id, "exitCode": 0, "completedAt": at(1), "gaps": [], "components": [], **more}


READY = {"state": "ready-for-doc-closure", "claims": 0, "conflicts": 0, "blockers": 0, "detail": "fine"}
