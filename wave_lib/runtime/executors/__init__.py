"""Executors: how each agent CLI is started. One module a runtime; this one chooses among them.

Holds:       nothing.
Writes:      only through `write_overlay`: the overlay files of one agent.
When killed: an overlay may be half written; the next launch writes it again before it is used.

Spec: SUP 17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .launch_spec import AgentSession, LaunchContext, LaunchSpec

if TYPE_CHECKING:
    from ...definition.lane_paths import LanePaths
    from ...definition.wave_types import Agent

__all__ = ["AgentSession", "LaunchContext", "LaunchSpec", "build_launch_spec", "launch_context", "write_overlay"]


def launch_context(
    agent: Agent, wave: int, paths: LanePaths, *, attempt: int = 0, orchestrator_id: str = "", run_id: str = ""
) -> LaunchContext:
    """The facts of one agent of one wave that its executor module needs. `agent.executor_resolved` must be set."""
    raise NotImplementedError


def build_launch_spec(context: LaunchContext) -> LaunchSpec:
    """How to start this agent; reads configured settings files, writes nothing. Raises ConfigError. Spec: SUP 17.1."""
    raise NotImplementedError


def write_overlay(context: LaunchContext, spec: LaunchSpec) -> None:
    """Write the overlay files of `spec` and remove those of an earlier runtime. Spec: SUP 17.1."""
    raise NotImplementedError
