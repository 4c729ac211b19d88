"""Executors: how each agent CLI is started. One module a runtime; this one chooses among them.

Holds:       nothing.
Writes:      only through `write_overlay`: the overlay files of one agent.
When killed: an overlay may be half written; the next launch writes it again before it is used.

Spec: SUP 17.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from ...base.errors import ConfigError
from ...base.files import remove, write_text
from .launch_spec import AgentSession, LaunchContext, LaunchSpec

if TYPE_CHECKING:
    from ...definition.lane_paths import LanePaths
    from ...definition.wave_types import Agent

__all__ = ["AgentSession", "LaunchContext", "LaunchSpec", "build_launch_spec", "launch_context", "write_overlay"]

EXECUTORS = ("codex", "claude", "opencode", "local", "command")
"""Every executor id; the module of the same name here builds its launch spec."""

OVERLAY_FILES = (
    "claude-system-prompt.txt",
    "claude-settings.json",
    "opencode-agent-prompt.txt",
    "opencode.json",
    "command-system-prompt.txt",
)
"""Files that executor modules put into an overlay; those of another runtime are removed."""


def launch_context(
    agent: Agent, wave: int, paths: LanePaths, *, attempt: int = 0, orchestrator_id: str = "", run_id: str = ""
) -> LaunchContext:
    """The facts of one agent of one wave that its executor module needs. `agent.executor_resolved` must be set."""
    executor = agent.executor_resolved or {}
    return LaunchContext(
        root=paths.root,
        project=paths.profile.project_id,
        lane=paths.profile.lane,
        wave=wave,
        attempt=attempt,
        run_id=run_id,
        orchestrator_id=orchestrator_id,
        agent_id=agent.agent_id,
        agent_title=agent.title,
        agent_slug=agent.slug,
        executor=executor,
        prompt_path=paths.prompt_file(wave, agent.slug),
        log_path=paths.log_file(wave, agent.slug),
        overlay_dir=paths.executor_dir(wave, agent.slug),
        skills=agent.skills_resolved,
        resume_sessions=executor.get("resumeSessions") is not False,
        command_executor=paths.profile.executors.get("command") or {},
    )


def build_launch_spec(context: LaunchContext) -> LaunchSpec:
    """How to start this agent; reads configured settings files, writes nothing. Raises ConfigError. Spec: SUP 17.1."""
    executor = context.executor.get("id")
    if executor not in EXECUTORS:
        raise ConfigError(f"unknown executor {executor!r} for agent {context.agent_id}")
    spec: LaunchSpec = import_module(f".{executor}", __package__).build(context)
    return spec


def write_overlay(context: LaunchContext, spec: LaunchSpec) -> None:
    """Write the overlay files of `spec` and remove those of an earlier runtime. Spec: SUP 17.1."""
    for name in OVERLAY_FILES:
        path = os.path.join(context.overlay_dir, name)
        if name in spec.overlay:
            write_text(path, spec.overlay[name], durable=False, if_changed=True)
        elif os.path.lexists(path):
            remove(path)
