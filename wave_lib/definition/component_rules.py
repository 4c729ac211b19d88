"""Components in waves: the proof-centric rule, and what promotions must agree with.

Spec: CFG 12.4 (proof-centric), 11 (V3, V5-V9, V15-V17, V36). The checks of what agents *reached* are engines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .components import MATURITY_LEVELS, Component, ComponentMatrix, rank
from .roles import (
    is_cont_eval_report_only,
    is_docs_only_design,
    is_implementation_owning,
    is_security_reviewer,
)

if TYPE_CHECKING:
    from .rule_context import Findings, RuleContext
    from .wave_types import Agent, Wave

PROOF_CENTRIC_LEVEL = "pilot-live"
_PROOF_CENTRIC = frozenset(MATURITY_LEVELS[MATURITY_LEVELS.index(PROOF_CENTRIC_LEVEL) :])


def demands_live_proof(level: str | None) -> bool:
    """Whether the level is `pilot-live` or above; levels outside the built-in list count as below."""
    return level in _PROOF_CENTRIC


def is_proof_centric_agent(agent: Agent) -> bool:
    """A component target at `pilot-live` or above, or a proof artifact that is required always or from there on."""
    return any(demands_live_proof(level) for level in agent.component_targets.values()) or any(
        not artifact.required_for or any(demands_live_proof(level) for level in artifact.required_for)
        for artifact in agent.proof_artifacts
    )


def is_proof_centric_wave(wave: Wave) -> bool:
    """Whether the wave promotes any component to `pilot-live` or above."""
    return any(demands_live_proof(promotion.target_level) for promotion in wave.component_promotions)


def may_have_components(agent: Agent, context: RuleContext) -> bool:
    """Whether the agent may own components: no steward, reviewer, report-only cont-EVAL or docs-only designer (V15)."""
    bindings = context.bindings
    return not (
        agent.agent_id in (bindings.cont_qa, bindings.integration, bindings.documentation)
        or is_cont_eval_report_only(agent, bindings)
        or is_docs_only_design(agent, bindings.roles)
        or is_security_reviewer(agent, bindings.roles)
    )


def needs_matrix(context: RuleContext) -> bool:
    """Whether anything in the wave refers to the component matrix (V3)."""
    rules = context.profile.validation
    return (
        bool(context.wave.component_promotions)
        or context.active(rules.require_component_promotions_from_wave)
        or context.active(rules.require_agent_components_from_wave)
    )


def matrix_rules(context: RuleContext) -> Findings:
    """V3, V5-V9: the matrix can be read, promotions are declared and agree with it."""
    wave, matrix = context.wave, context.references.matrix
    line = wave.line("component promotions")
    threshold = context.profile.validation.require_component_promotions_from_wave
    implementers = any(is_implementation_owning(agent, context.bindings) for agent in wave.agents)
    if context.active(threshold) and not wave.component_promotions and implementers:
        yield "V5", f'component promotions are required from wave {threshold} on (no "## Component promotions")', 1
    if not needs_matrix(context):
        return
    if matrix is None:
        reason = context.references.matrix_problem or "not loaded"
        reason = reason.replace("Component matrix is missing or invalid: ", "")  # said once is enough
        yield "V3", f"the component matrix is missing or invalid: {reason}", 1
        return
    declared = wave.promoted_levels()
    for name, level in declared.items():
        for rule, text in _promotion_problems(name, level, matrix, context):
            yield rule, text, line
    for component in matrix.components.values():
        planned, name = component.promotion_of(wave.wave), component.component_id
        if planned and declared.get(name) != planned.target:
            text = f"the wave must declare the component promotion `{name}: {planned.target}` of {matrix.path}"
            yield "V9", text, line


def _promotion_problems(
    name: str, level: str, matrix: ComponentMatrix, context: RuleContext
) -> Iterator[tuple[str, str]]:
    """V6, V7, V8 for one declared promotion."""
    component, number = matrix.components.get(name), context.wave.wave
    if component is None:
        yield "V6", f'unknown component "{name}" is promoted to {level} (add it to {matrix.path})'
        return
    if level not in matrix.levels:
        known = ", ".join(matrix.levels)
        yield "V6", f'component promotion "{name}" names the unknown level "{level}" ({matrix.path} has {known})'
        return
    planned = component.promotion_of(number)
    if planned is None:
        yield "V7", f'{matrix.path} is missing the promotion entry of component "{name}" to {level} for wave {number}'
    elif planned.target != level:
        text = f'{matrix.path} promotes "{name}" to {planned.target} in wave {number}, but the wave declares {level}'
        yield "V7", text
    if not context.completed and _is_past(component, level, matrix, number):
        current = f"currentLevel is already {component.current_level} in {matrix.path}"
        yield "V8", f'the wave promotes "{name}" to {level}, but {current}'


def _is_past(component: Component, level: str, matrix: ComponentMatrix, wave: int) -> bool:
    """Whether the component stands above `level` without a later wave's promotion that explains it."""
    current = rank(matrix.levels, component.current_level)
    if rank(matrix.levels, level) >= current:
        return False
    return not any(item.wave > wave and rank(matrix.levels, item.target) >= current for item in component.promotions)


def agent_component_rules(agent: Agent, context: RuleContext) -> Findings:
    """V15-V17 and V28: who may, must and does own which components."""
    line = agent.line("components")
    who = f"Agent {agent.agent_id}"
    if not may_have_components(agent, context):
        if agent.components:
            docs_only = is_docs_only_design(agent, context.bindings.roles)
            rule, what = ("V28", "a docs-only design agent") if docs_only else ("V15", "a closure or review agent")
            yield rule, f"{who} is {what} and must not have components", line
        return
    threshold = context.profile.validation.require_agent_components_from_wave
    if context.active(threshold) and not agent.components:
        yield "V16", f'{who}: components are required from wave {threshold} on ("### Components" is missing)', line
    matrix = context.references.matrix
    if not needs_matrix(context):
        return
    promoted = context.wave.promoted_levels()
    for name in agent.components:
        if matrix and name not in matrix.components:
            yield "V17", f'{who}: unknown component "{name}" (add it to {matrix.path})', line
        elif name not in promoted:
            yield "V17", f'{who}: component "{name}" is not promoted by this wave', line


def unclaimed_components(context: RuleContext) -> Findings:
    """V36: every promoted component is claimed by an agent that may own components and owns files."""
    matrix = context.references.matrix
    claimed = {
        name
        for agent in context.wave.agents
        if agent.owned_paths and may_have_components(agent, context)
        for name in agent.components
        if matrix is None or name in matrix.components
    }
    for promotion in context.wave.component_promotions:
        if promotion.component_id not in claimed:
            text = f'promoted component "{promotion.component_id}" has no owner (no agent lists it as its own)'
            yield "V36", text, context.wave.line("component promotions")
