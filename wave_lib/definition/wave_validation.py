"""The rules a parsed wave must keep: V1-V36 and the warnings W1, W2.

Every rule is a small generator of findings; `validate_wave` collects them all, so that a wave's author sees everything
at once. Nothing is raised here except by `require_valid`.

Spec: CFG 11; PROV 5.2, 5.3 (Context7 bundles); WORK 9.3 (skills).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError, WaveValidationError
from .agent_rules import agent_rules, bundle_problems, cont_qa_rules
from .component_rules import matrix_rules, unclaimed_components
from .components import load_component_matrix
from .context7_bundles import load_bundle_index
from .evals import check_target, load_benchmark_catalog
from .executor_resolution import resolve_agent_executor, validate_runtime_mix
from .lane_profile import LaneProfile
from .roles import imports, normal_path, owns, resolve_wave_role_bindings
from .rule_context import Findings, References, RuleContext
from .skills import SkillLibrary
from .wave_types import Problem, Wave

if TYPE_CHECKING:
    from .lane_paths import LanePaths

__all__ = ["References", "Verdict", "invalid_wave_error", "load_references", "require_valid", "validate_wave"]


class Verdict(NamedTuple):
    """Outcome for one wave: problems stop it, warnings do not."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def load_references(paths: LanePaths) -> References:
    """Matrix, benchmark catalog, Context7 index and skills of a lane; unreadable parts are noted, never raised."""
    root, places = paths.root, paths.profile.paths
    matrix_path, catalog_path = places.component_cutover_matrix_json_path, places.benchmark_catalog_path
    matrix, matrix_problem = _attempt(lambda: load_component_matrix(os.path.join(root, matrix_path), matrix_path))
    catalog, catalog_problem = _attempt(lambda: load_benchmark_catalog(os.path.join(root, catalog_path), catalog_path))
    bundles, bundles_problem = _attempt(lambda: load_bundle_index(root, places.context7_bundle_index_path))
    library = SkillLibrary(root, paths.profile.skills.dir)
    return References(root, matrix, matrix_problem, catalog, catalog_problem, bundles, bundles_problem, library)


def _attempt(load: Callable[[], Any]) -> tuple[Any, str]:
    try:
        return load(), ""
    except WaveError as error:
        return None, str(error)


def validate_wave(
    wave: Wave,
    profile: LaneProfile,
    references: References,
    completed_waves: Collection[int] = frozenset(),
    selected: bool = True,
    ran_waves: Collection[int] = frozenset(),
    executor_mode: str | None = None,
) -> Verdict:
    """Check one wave, whether its executors are resolved or not. Spec: CFG 11.

    Problems of a wave that is not `selected` become warnings when it is completed or never ran (`ran_waves` are the
    numbers that have run at least once).
    """
    resolved = _with_executors(wave, profile, executor_mode)
    completed = wave.wave in completed_waves
    bindings = resolve_wave_role_bindings(wave, profile.roles)
    context = RuleContext(resolved, profile, bindings, references, completed)
    problems = _collect(_RULES, context)
    warnings = _collect(_WARNINGS, context)
    if not selected and (completed or wave.wave not in ran_waves):
        return Verdict((), problems + warnings)
    return Verdict(problems, warnings)


def invalid_wave_error(wave: Wave, problems: Iterable[Problem]) -> WaveValidationError:
    """The one error of an invalid wave: `Invalid wave <n> (<file>): p1; p2`."""
    return WaveValidationError(f"Invalid wave {wave.wave} ({wave.file}): {'; '.join(map(str, problems))}")


def require_valid(wave: Wave, verdict: Verdict) -> None:
    """Raise the wave's error if it has problems."""
    if verdict.problems:
        raise invalid_wave_error(wave, verdict.problems)


def _collect(rules: Iterable[Callable[[RuleContext], Findings]], context: RuleContext) -> tuple[Problem, ...]:
    """Every finding once; clauses hold no `;`, which separates them in the error."""
    file = context.wave.file
    found = (Problem(name, text.replace(";", ","), file, line) for rule in rules for name, text, line in rule(context))
    return tuple(dict.fromkeys(found))


def _with_executors(wave: Wave, profile: LaneProfile, executor_mode: str | None) -> Wave:
    """The wave with executors where they can be resolved; an unknown profile is V13's to report."""
    agents = []
    for agent in wave.agents:
        if agent.executor_resolved is None:
            try:
                agent = agent._replace(executor_resolved=resolve_agent_executor(agent, profile, wave, executor_mode))
            except WaveError:
                pass
        agents.append(agent)
    return wave._replace(agents=tuple(agents))


def _roster_rules(context: RuleContext) -> Findings:
    """V1, V2: there are agents, each with its own id."""
    seen: dict[str, int] = {}
    if not context.wave.agents:
        yield "V1", "the wave needs at least one agent", 1
    for agent in context.wave.agents:
        if agent.agent_id in seen:
            yield "V2", f"duplicate agent id {agent.agent_id} (first on line {seen[agent.agent_id]})", agent.line()
        seen.setdefault(agent.agent_id, agent.line())


def _eval_rules(context: RuleContext) -> Findings:
    """V24, V25: eval targets and the cont-EVAL agent come together, and the catalog has what the targets name."""
    wave, agent_id = context.wave, context.bindings.cont_eval
    agent, line = context.agent(agent_id), context.wave.line("eval targets")
    if agent and not wave.eval_targets:
        yield "V24", f'cont-EVAL agent {agent_id} is present, so "## Eval targets" is required', agent.line()
    if wave.eval_targets and not agent:
        yield "V24", f'the wave has "## Eval targets" but does not include the cont-EVAL agent {agent_id}', line
    if not agent:
        return
    catalog = context.references.catalog
    for index, target in enumerate(wave.eval_targets):
        if catalog is None:
            yield "V25", context.references.catalog_problem or "no benchmark catalog", line
            return
        try:
            check_target(target, catalog, f"evalTargets[{index}] ({target.id})")
        except WaveError as error:
            yield "V25", str(error), line


def _integration_rule(context: RuleContext) -> Findings:
    """V30: exactly one integration steward."""
    threshold = context.profile.validation.require_integration_steward_from_wave
    yield from _steward_count(
        "V30", "integration", threshold, context.profile.roles.integration_role_prompt_path, context
    )


def _documentation_rules(context: RuleContext) -> Findings:
    """V31-V33: exactly one documentation steward, who owns the shared documents alone."""
    threshold = context.profile.validation.require_documentation_steward_from_wave
    role_prompt = context.profile.roles.documentation_role_prompt_path
    yield from _steward_count("V31", "documentation", threshold, role_prompt, context)
    steward = context.agent(context.bindings.documentation)
    if not context.active(threshold) or steward is None:
        return
    for path in shared_documents(context):
        if not owns(steward, path):
            text = f"documentation steward {steward.agent_id} must own {path}"
            yield "V32", text, steward.line("ownership")
        for agent in context.wave.agents:
            if agent.agent_id != steward.agent_id and owns(agent, path):
                text = f"shared-plan document {path} is also owned by {agent.agent_id}, only {steward.agent_id} may"
                yield "V33", text, agent.line("ownership")


def shared_documents(context: RuleContext) -> tuple[str, ...]:
    """The documents that only the documentation steward may own (V32)."""
    documents = list(context.profile.shared_plan_docs)
    if context.active(context.profile.validation.require_component_promotions_from_wave):
        places = context.profile.paths
        documents += [places.component_cutover_matrix_doc_path, places.component_cutover_matrix_json_path]
    return tuple(dict.fromkeys(documents))


def _steward_count(rule: str, role: str, threshold: int | None, role_prompt: str, context: RuleContext) -> Findings:
    count = sum(imports(agent, role_prompt) for agent in context.wave.agents)
    if context.active(threshold) and count != 1:
        text = f"exactly one {role} steward is required from wave {threshold} on, {count} agents import {role_prompt}"
        yield rule, text, 1


def _context7_defaults_rule(context: RuleContext) -> Findings:
    """V34, and the wave's bundle must exist."""
    threshold = context.profile.validation.require_context7_declarations_from_wave
    defaults = context.wave.context7_defaults
    if context.active(threshold) and defaults is None:
        yield "V34", f'the section "## Context7 defaults" is required from wave {threshold} on', 1
    if defaults and defaults.bundle:
        yield from bundle_problems(defaults.bundle, "the wave", context.wave.line("context7 defaults"), context)


def _runtime_mix_rule(context: RuleContext) -> Findings:
    """V35: the wave stays within the lane's runtime mix."""
    mix = validate_runtime_mix(context.wave, context.profile)
    if not mix.ok:
        yield "V35", mix.detail, 1


def _shared_file_warnings(context: RuleContext) -> Findings:
    """W1: two agents own the same file, so that their edits may collide."""
    documents = {normal_path(path) for path in shared_documents(context)}
    owners: dict[str, str] = {}
    for agent in context.wave.agents:
        for path in dict.fromkeys(map(normal_path, agent.owned_paths)):
            first = owners.setdefault(path, agent.agent_id)
            if first != agent.agent_id and path not in documents and not path.endswith("/"):
                yield "W1", f"{path} is owned by both {first} and {agent.agent_id}", agent.line("ownership")


def _delegated_target_warnings(context: RuleContext) -> Findings:
    """W2: a delegated target ignores its benchmark list."""
    for target in context.wave.eval_targets:
        if target.selection == "delegated" and target.benchmarks:
            text = f"delegated eval target {target.id} lists benchmarks, which has no effect"
            yield "W2", text, context.wave.line("eval targets")


_RULES = (
    _roster_rules,
    cont_qa_rules,
    matrix_rules,
    agent_rules,
    _eval_rules,
    _integration_rule,
    _documentation_rules,
    _context7_defaults_rule,
    _runtime_mix_rule,
    unclaimed_components,
)
_WARNINGS = (_shared_file_warnings, _delegated_target_warnings)
