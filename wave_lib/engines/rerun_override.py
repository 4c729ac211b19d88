"""What a rerun request selects. Spec: LAUNCH 12.2, 12.3, GATE 12.2. Pure.

A request travels as the control-plane snapshot (`requestId`, `selectedAgentIds`, `resumeCursor`, …).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .phases import CLOSURE_PHASES, agents_of_phase, without_mixed_closure

if TYPE_CHECKING:
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

NONE, VALID, UNKNOWN_AGENTS, SELECTS_NOBODY = "none", "valid", "unknown-agents", "selects-nobody"


class OverrideResolution(NamedTuple):
    """What became of the active rerun request.

    `outcome` is one of the words above; only `valid` selects. `because` is the text of the board entry's details.
    `start_phase` is the closure phase that a request by phase starts at, None when agents or another phase were named.
    """

    outcome: str = NONE
    request: Mapping[str, Any] | None = None
    selected_agent_ids: tuple[str, ...] = ()
    unknown_agent_ids: tuple[str, ...] = ()
    start_phase: str | None = None
    because: str = ""

    @property
    def valid(self) -> bool:
        """Whether the request decides the selection."""
        return self.outcome == VALID


def resume_phase_of(request: Mapping[str, Any]) -> str | None:
    """The phase a request names, under either of its two names."""
    phase = request.get("resumeCursor") or request.get("resumePhase")
    return phase if isinstance(phase, str) else None


def effective_selection(request: Mapping[str, Any], wave: Wave, bindings: RoleBindings) -> tuple[str, ...]:
    """Known agents that the request runs: those it names, in its order, else those of its phase."""
    named = request.get("selectedAgentIds") or ()
    if named:
        chosen = tuple(agent_id for agent_id in dict.fromkeys(named) if wave.agent(agent_id) is not None)
    else:
        phase = resume_phase_of(request)
        chosen = agents_of_phase(phase, wave, bindings) if phase else ()
    return without_mixed_closure(chosen, bindings)


def resolve_override(request: Mapping[str, Any] | None, wave: Wave, bindings: RoleBindings) -> OverrideResolution:
    """Judge the active rerun request (None: there is none) against the wave's definition. Spec: LAUNCH 12.3."""
    if request is None:
        return OverrideResolution()
    known = {agent.agent_id for agent in wave.agents}
    named = list(request.get("selectedAgentIds") or ())
    unknown = tuple(agent_id for agent_id in named if agent_id not in known)
    if unknown:
        return OverrideResolution(
            UNKNOWN_AGENTS, request, unknown_agent_ids=unknown, because=f"unknown_agents={','.join(unknown)}"
        )
    chosen = effective_selection(request, wave, bindings)
    selected = tuple(agent.agent_id for agent in wave.agents if agent.agent_id in chosen)
    phase = resume_phase_of(request)
    start = phase if not named and phase in CLOSURE_PHASES else None
    if not selected and (start is None or not _stage_without_agents_counts(start)):
        return OverrideResolution(SELECTS_NOBODY, request, because=f"selected_none={phase or 'none'}")
    because = f"agents={','.join(selected)}; requested_by={request.get('requestedBy') or 'human-operator'}"
    return OverrideResolution(VALID, request, selected, start_phase=start, because=because)


def _stage_without_agents_counts(phase: str) -> bool:
    """The security stage judges Corridor even when the wave declares no reviewer. Spec: LAUNCH 10.3, 11.6."""
    return phase == "security-review"
