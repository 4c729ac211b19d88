"""Validation rules about one agent: files, prompts, executor, exit contract, reports. Spec: CFG 11 (V10-V29)."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..base.errors import WaveError
from .command_template import check_prompt_transport
from .component_rules import agent_component_rules, is_proof_centric_agent
from .executor_resolution import executor_profile
from .roles import (
    CLOSURE_ROLE_LABELS,
    closure_roles,
    cont_eval_report_path,
    cont_qa_report_path,
    design_packet_path,
    imports,
    is_design_agent,
    is_implementation_owning,
    is_security_reviewer,
    normal_path,
    security_report_path,
)
from .skills import resolve_agent_skills
from .wave_agent_section import role_prompt_problem
from .wave_executor_section import RUNTIME_BLOCKS
from .wave_types import EXIT_CONTRACT_FIELDS

if TYPE_CHECKING:
    from .rule_context import Findings, RuleContext
    from .wave_types import Agent


def agent_rules(context: RuleContext) -> Findings:
    """Every rule about one agent, agent by agent. An agent without files skips V11-V20."""
    for agent in context.wave.agents:
        if not agent.owned_paths:
            text = f'Agent {agent.agent_id}: no owned path (its prompt needs a "File ownership" list)'
            yield "V10", text, agent.line("prompt")
        else:
            yield from _path_rules(agent, context)
            yield from executor_rules(agent, context)
            yield from _context7_rules(agent, context)
            yield from agent_component_rules(agent, context)
            yield from _exit_contract_rules(agent, context)
            yield from _proof_rules(agent, context)
        for reference in context.profile.validation.required_prompt_references:
            if reference not in agent.prompt:
                yield "V21", f"Agent {agent.agent_id}: the prompt must reference {reference}", agent.line("prompt")
        yield from _report_rules(agent, context)
        held = closure_roles(agent, context.bindings)
        if len(held) > 1:
            labels = ", ".join(CLOSURE_ROLE_LABELS[key] for key in held)
            yield "V29", f"Agent {agent.agent_id} has more than one closure role ({labels})", agent.line()
        yield from _skill_rules(agent, context)


def _path_rules(agent: Agent, context: RuleContext) -> Findings:
    """V11, V12: files and role prompts stay where they belong."""
    for path in agent.owned_paths:
        if leaves_repository(path, context.references.root):
            yield (
                "V11",
                f'Agent {agent.agent_id}: owned path "{path}" is outside the repository',
                agent.line("ownership"),
            )
    for path in agent.role_prompt_paths:
        problem = role_prompt_problem(normal_path(path), context.profile.roles)
        if problem:
            yield "V12", f'Agent {agent.agent_id}: role prompt "{path}" {problem}', agent.line("role prompts")


def leaves_repository(path: str, root: str) -> bool:
    """Whether a repo-relative path is absolute, has a `..` segment, or runs through a link that leaves `root`."""
    normal = normal_path(path)
    if normal.startswith(("/", "~")) or re.match(r"[A-Za-z]:", normal) or ".." in normal.split("/"):
        return True
    if not root:
        return False
    top = os.path.realpath(root)
    return os.path.commonpath([top, os.path.realpath(os.path.join(top, normal))]) != top


def executor_rules(agent: Agent, context: RuleContext) -> Findings:
    """V13, and what the `command` executor needs: blocks fit the chosen executor, the profile exists."""
    config, line = agent.executor_config or {}, agent.line("executor")
    try:
        chosen = config.get("id") or executor_profile(agent, context.profile).get("id")
    except WaveError as error:
        yield "V13", f"{error.what} ({error.remedy})", line
        return
    foreign = [block for block in RUNTIME_BLOCKS if config.get(block) and block != chosen]
    if chosen and foreign:
        text = (
            f"Agent {agent.agent_id}: executor {chosen} cannot have overrides of another runtime ({', '.join(foreign)})"
        )
        yield "V13", text, line
    command = (agent.executor_resolved or {}).get("command")
    if command is not None and not command.get("argv"):
        yield "V13", f"Agent {agent.agent_id}: the command executor needs an argv (executors.command.argv)", line
    elif command is not None:
        try:
            check_prompt_transport(command, f"Agent {agent.agent_id}: command")
        except WaveError as error:
            yield "V13", str(error), line


def _context7_rules(agent: Agent, context: RuleContext) -> Findings:
    """V14, and a named bundle must exist (PROV 5.3)."""
    threshold = context.profile.validation.require_context7_declarations_from_wave
    config = agent.context7_config
    if context.active(threshold) and config is None:
        text = f'Agent {agent.agent_id}: the section "### Context7" is required from wave {threshold} on'
        yield "V14", text, agent.line()
    if config and config.bundle:
        yield from bundle_problems(config.bundle, f"Agent {agent.agent_id}", agent.line("context7"), context)


def bundle_problems(bundle: str, who: str, line: int, context: RuleContext) -> Findings:
    """An unknown Context7 bundle, or a bundle named while the index cannot be read."""
    index = context.references.bundles
    if index is None and bundle != "none":
        reason = context.references.bundles_problem or "no index was loaded"
        yield "C7", f'{who}: the Context7 bundle "{bundle}" cannot be looked up ({reason})', line
    elif index is not None and bundle not in index.bundles:
        yield "C7", f'{who}: unknown Context7 bundle "{bundle}"', line


def _exit_contract_rules(agent: Agent, context: RuleContext) -> Findings:
    """V18, V19: implementation agents declare what they promise, in known words."""
    if not is_implementation_owning(agent, context.bindings):
        return
    threshold = context.profile.validation.require_exit_contracts_from_wave
    contract, line = agent.exit_contract, agent.line("exit contract")
    if contract is None:
        if context.active(threshold):
            yield "V18", f"Agent {agent.agent_id}: an exit contract is required from wave {threshold} on", line
        return
    for name, (key, allowed) in EXIT_CONTRACT_FIELDS.items():
        value = getattr(contract, name)
        if value not in allowed:
            problem = "is not set" if value is None else f'"{value}" is invalid'
            text = f"Agent {agent.agent_id}: exit contract {key} {problem} (one of {', '.join(allowed)})"
            yield "V19", text, line


def _proof_rules(agent: Agent, context: RuleContext) -> Findings:
    """V20: work that reaches `pilot-live` names its proof and runs on a real executor."""
    if not is_proof_centric_agent(agent):
        return
    if is_implementation_owning(agent, context.bindings) and not agent.proof_artifacts:
        text = f"Agent {agent.agent_id}: proof artifacts are required because a component reaches pilot-live or above"
        yield "V20", text, agent.line("components")
    declared = (agent.executor_config or {}).get("id")
    if "local" in (declared, (agent.executor_resolved or {}).get("id")):
        text = f"Agent {agent.agent_id} must not use the local executor for proof of pilot-live or above"
        yield "V20", text, agent.line("executor")


def _report_rules(agent: Agent, context: RuleContext) -> Findings:
    """V23, V26, V27: evaluators, reviewers and designers import their role prompt and own their report."""
    roles, line = context.profile.roles, agent.line()
    if agent.agent_id == context.bindings.cont_eval:
        yield from closure_agent_rules("V23", "cont-EVAL", agent.agent_id, roles.cont_eval_role_prompt_path, agent)
        if not cont_eval_report_path(agent):
            yield "V23", f"cont-EVAL agent {agent.agent_id} has no report path among its files", agent.line("ownership")
    if is_security_reviewer(agent, roles):
        if not imports(agent, roles.security_role_prompt_path):
            text = f"security reviewer {agent.agent_id} must import the role prompt {roles.security_role_prompt_path}"
            yield "V26", text, line
        if not security_report_path(agent):
            text = f'security reviewer {agent.agent_id} must own a security report ("security" in its path)'
            yield "V26", text, agent.line("ownership")
    if is_design_agent(agent, roles):
        if not imports(agent, roles.design_role_prompt_path):
            text = f"design agent {agent.agent_id} must import the role prompt {roles.design_role_prompt_path}"
            yield "V27", text, line
        if not design_packet_path(agent):
            text = f'design agent {agent.agent_id} must own a design packet ("design" in its path)'
            yield "V27", text, agent.line("ownership")


def closure_agent_rules(rule: str, label: str, agent_id: str, role_prompt: str, agent: Agent | None) -> Findings:
    """A bound agent, present or not, must import its role prompt (V22, V23)."""
    if agent is None or not imports(agent, role_prompt):
        yield rule, f"{label} agent {agent_id} must import the role prompt {role_prompt}", agent.line() if agent else 1


def cont_qa_rules(context: RuleContext) -> Findings:
    """V4, V22: cont-QA is there, imports its role prompt and owns its report."""
    agent_id, role_prompt = context.bindings.cont_qa, context.profile.roles.cont_qa_role_prompt_path
    agent = context.agent(agent_id)
    if agent is None:
        yield "V4", f"the wave must include the cont-QA agent {agent_id} ({role_prompt})", 1
    yield from closure_agent_rules("V22", "cont-QA", agent_id, role_prompt, agent)
    if not cont_qa_report_path(agent):
        line = agent.line("ownership") if agent else 1
        yield "V22", f"cont-QA agent {agent_id} has no report path among its files", line


def _skill_rules(agent: Agent, context: RuleContext) -> Findings:
    """Every skill of the agent can be loaded (WORK 9.3)."""
    library = context.references.library
    if library is None or agent.skills_resolved is not None or agent.executor_resolved is None:
        return
    try:
        resolve_agent_skills(agent, context.wave, context.profile.skills, library)
    except WaveError as error:
        yield "skills", f"{error.what} ({error.where})", agent.line("skills")
