"""Resume phases: which gate leads back to which phase, and which agents a phase runs. Stages: `closure_engine`.

Spec: LAUNCH 11.6 (phases), 12.2 (phases of a rerun request). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..definition import roles
from .closure_engine import STAGES

if TYPE_CHECKING:
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave


CLOSURE_PHASES = tuple(stage.phase for stage in STAGES)
RESUME_PHASES = ("design", "implementation", *CLOSURE_PHASES)
"""Phases a rerun request may name, earliest first."""

_PHASE_OF_GATE = {
    "designGate": "design",
    "integrationGate": "integrating",
    **{gate: stage.phase for stage in STAGES for gate in stage.gates},
}


def phase_of_gate(gate: str) -> str:
    """The phase at which a wave that failed this gate resumes; everything not listed is implementation's."""
    return _PHASE_OF_GATE.get(gate, "implementation")


def phase_of_stage(key: str) -> str | None:
    """The phase that resumes at this stage; phase names are accepted too."""
    return next((stage.phase for stage in STAGES if key in (stage.key, stage.phase)), None)


def phase_rank(phase: str) -> int:
    """Position of a phase in the order of a wave; unknown phases come last."""
    return RESUME_PHASES.index(phase) if phase in RESUME_PHASES else len(RESUME_PHASES)


def phases_of_agent(agent_id: str, bindings: RoleBindings) -> tuple[str, ...]:
    """Closure phases that this agent works in, earliest first; empty for agents without a closure role."""
    holders = (
        (bindings.cont_eval,),
        bindings.security_reviewers,
        (bindings.integration,),
        (bindings.documentation,),
        (bindings.cont_qa,),
    )
    return tuple(stage.phase for stage, ids in zip(STAGES, holders) if agent_id in ids)


def agents_of_phase(phase: str, wave: Wave, bindings: RoleBindings) -> tuple[str, ...]:
    """Ids of the wave's agents that a phase runs, in definition order. Spec: LAUNCH 12.2 ("Phase implementation …")."""
    if phase == "design":
        return tuple(agent.agent_id for agent in wave.agents if roles.is_design_agent(agent, bindings.roles))
    if phase == "implementation":
        return tuple(
            agent.agent_id
            for agent in wave.agents
            if agent.agent_id not in bindings.closure_agents and not roles.is_docs_only_design(agent, bindings.roles)
        )
    return tuple(agent.agent_id for agent in wave.agents if phase in phases_of_agent(agent.agent_id, bindings))


def earliest_phase(agent_ids: Iterable[str], bindings: RoleBindings) -> str | None:
    """The first closure phase that any of these agents works in."""
    phases = [phase for agent_id in agent_ids for phase in phases_of_agent(agent_id, bindings)]
    return min(phases, key=phase_rank, default=None)


def without_mixed_closure(agent_ids: Iterable[str], bindings: RoleBindings) -> tuple[str, ...]:
    """A selection that mixes both kinds loses its closure agents: closure follows by itself. Spec: LAUNCH 7.3."""
    chosen = tuple(agent_ids)
    others = tuple(agent_id for agent_id in chosen if agent_id not in bindings.closure_agents)
    return others or chosen
