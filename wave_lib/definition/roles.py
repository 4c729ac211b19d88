"""Roles of agents: what an agent is, who closes a wave, and which files are reports.

Closure roles (cont-QA, cont-EVAL, integration, documentation) are *bound* per wave; every other role is a predicate
over one agent. All users of these roles take the wave's bindings, never the lane's ids directly.

Spec: CFG 9 (predicates, bindings, runtime role), 9.1 (report paths).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, NamedTuple

from .lane_profile import Roles

if TYPE_CHECKING:
    from .wave_types import Agent, Wave

_DEFAULTS = Roles()

_REVIEW_SEGMENT = re.compile(r"(^|/)reviews?[^/]*", re.I)
_CONT_QA = re.compile(r"cont[-_]?qa", re.I)
_EVAL = re.compile(r"eval", re.I)
_SECURITY = re.compile(r"security", re.I)
_DESIGN_PACKET = re.compile(r"design|handoff|decision-lineage", re.I)
_SPECIAL_ROLES = tuple((word, re.compile(rf"\b{word}\b", re.I)) for word in ("infra", "deploy", "research"))

CLOSURE_ROLE_LABELS = {
    "cont-eval": "cont-EVAL",
    "security-review": "security review",
    "integration": "integration steward",
    "documentation": "documentation steward",
    "cont-qa": "cont-QA",
}
"""Closure role key -> what people read, in the order in which closure runs."""


class RoleBindings(NamedTuple):
    """Who holds which closure role in one wave; `roles` is the lane's configuration they were resolved with."""

    cont_qa: str
    cont_eval: str
    integration: str
    documentation: str
    security_reviewers: tuple[str, ...]
    closure_agents: tuple[str, ...]
    roles: Roles


def normal_path(path: str) -> str:
    """A repo-relative path in the form in which paths are compared: `/` separators, no leading `./`."""
    if path[:1] != "." and "\\" not in path:
        return path
    text = path.replace("\\", "/")
    while text.startswith("./"):
        text = text[2:].lstrip("/")
    return text


def covers(owned: str, path: str) -> bool:
    """Whether the owned entry covers the path: a directory entry (`…/`) everything below, any other exactly itself.

    A `..` segment on either side never matches. Spec: CFG 8.7.
    """
    entry, target = normal_path(owned), normal_path(path)
    if ".." in target.split("/") or ".." in entry.split("/"):
        return False
    return target == entry or (entry.endswith("/") and target.startswith(entry))


def owns(agent: Agent, path: str) -> bool:
    """Whether one of the agent's owned paths covers the path."""
    return any(covers(owned, path) for owned in agent.owned_paths)


def is_text_report(path: str) -> bool:
    """Whether the path ends in `.md` or `.txt`."""
    return path.lower().endswith((".md", ".txt"))


def is_cont_qa_report(path: str) -> bool:
    """A text file in a review directory or with cont-QA in its path. Spec: CFG 9.1."""
    text = normal_path(path)
    return is_text_report(text) and bool(_REVIEW_SEGMENT.search(text) or _CONT_QA.search(text))


def is_cont_eval_report(path: str) -> bool:
    """A text file in a review directory or with `eval` in its path. Spec: CFG 9.1."""
    text = normal_path(path)
    return is_text_report(text) and bool(_REVIEW_SEGMENT.search(text) or _EVAL.search(text))


def is_security_report(path: str) -> bool:
    """A text file with `security` in its path. Spec: CFG 9.1."""
    return is_text_report(path) and bool(_SECURITY.search(normal_path(path)))


def is_design_packet(path: str) -> bool:
    """A text file with `design`, `handoff` or `decision-lineage` in its path. Spec: CFG 9.1."""
    return is_text_report(path) and bool(_DESIGN_PACKET.search(normal_path(path)))


def cont_qa_report_path(agent: Agent | None) -> str | None:
    """The cont-QA report the agent owns, or None. Spec: CFG 9.1."""
    return _report_path(agent, is_cont_qa_report, first_text_file=True)


def cont_eval_report_path(agent: Agent | None) -> str | None:
    """The cont-EVAL report the agent owns, or None. Spec: CFG 9.1."""
    return _report_path(agent, is_cont_eval_report, first_text_file=True)


def security_report_path(agent: Agent | None) -> str | None:
    """The first owned path that is a security report, or None. Spec: CFG 9.1."""
    return _report_path(agent, is_security_report)


def design_packet_path(agent: Agent | None) -> str | None:
    """The first owned path that is a design packet, or None. Spec: CFG 9.1."""
    return _report_path(agent, is_design_packet)


def _report_path(agent: Agent | None, fits: Callable[[str], bool], first_text_file: bool = False) -> str | None:
    owned = agent.owned_paths if agent else ()
    found = next((path for path in owned if fits(path)), None)
    if found is None and first_text_file and owned and is_text_report(owned[0]):
        return owned[0]
    return found


def imports(agent: Agent, role_prompt_path: str) -> bool:
    """Whether the agent lists exactly this role prompt."""
    return normal_path(role_prompt_path) in map(normal_path, agent.role_prompt_paths)


def _has_role(agent: Agent, configured: str, default: str, capability: str) -> bool:
    if capability in agent.capabilities or not agent.role_prompt_paths:
        return capability in agent.capabilities
    prompt, name = normal_path(configured), default[default.rindex("/") :]  # the default's name counts in any folder
    return any(path == prompt or path.endswith(name) for path in map(normal_path, agent.role_prompt_paths))


def is_security_reviewer(agent: Agent, roles: Roles) -> bool:
    """By role prompt or the capability `security-review`; titles never count. Spec: CFG 9.2."""
    return _has_role(agent, roles.security_role_prompt_path, _DEFAULTS.security_role_prompt_path, "security-review")


def is_design_agent(agent: Agent, roles: Roles) -> bool:
    """By role prompt or the capability `design`. Spec: CFG 9.2."""
    return _has_role(agent, roles.design_role_prompt_path, _DEFAULTS.design_role_prompt_path, "design")


def is_hybrid_design(agent: Agent, roles: Roles) -> bool:
    """A design agent that owns something besides design packets, so it also implements. Spec: CFG 9.2."""
    return is_design_agent(agent, roles) and not all(map(is_design_packet, agent.owned_paths))


def is_docs_only_design(agent: Agent, roles: Roles) -> bool:
    """A design agent that only writes design packets. Spec: CFG 9.2."""
    return is_design_agent(agent, roles) and not is_hybrid_design(agent, roles)


def is_cont_eval_implementing(agent: Agent, bindings: RoleBindings) -> bool:
    """The bound cont-EVAL agent when it owns something besides its report. Spec: CFG 9.2."""
    return agent.agent_id == bindings.cont_eval and not all(map(is_cont_eval_report, agent.owned_paths))


def is_cont_eval_report_only(agent: Agent, bindings: RoleBindings) -> bool:
    """The bound cont-EVAL agent when it only writes its report. Spec: CFG 9.2."""
    return agent.agent_id == bindings.cont_eval and not is_cont_eval_implementing(agent, bindings)


def is_implementation_owning(agent: Agent, bindings: RoleBindings) -> bool:
    """Whether the agent delivers product work, so exit contracts and components concern it. Spec: CFG 9.2."""
    return not (
        agent.agent_id in (bindings.cont_qa, bindings.integration, bindings.documentation)
        or is_cont_eval_report_only(agent, bindings)
        or is_docs_only_design(agent, bindings.roles)
        or is_security_reviewer(agent, bindings.roles)
    )


def closure_roles(agent: Agent, bindings: RoleBindings) -> tuple[str, ...]:
    """Every closure role key the agent holds, in closure order (keys of `CLOSURE_ROLE_LABELS`). Spec: CFG 9.3."""
    held = {
        "cont-eval": agent.agent_id == bindings.cont_eval,
        "security-review": is_security_reviewer(agent, bindings.roles),
        "integration": agent.agent_id == bindings.integration,
        "documentation": agent.agent_id == bindings.documentation,
        "cont-qa": agent.agent_id == bindings.cont_qa,
    }
    return tuple(key for key in CLOSURE_ROLE_LABELS if held[key])


def resolve_wave_role_bindings(wave: Wave, roles: Roles) -> RoleBindings:
    """Bind the four closure roles and name the security reviewers of a wave. Spec: CFG 9.3.

    Order of authority: an id on the wave object; the only agent importing the role's prompt; among several importers
    the lane's configured id; the lane's configured id.
    """
    cont_qa = _bound(wave, wave.cont_qa_agent_id, roles.cont_qa_role_prompt_path, roles.cont_qa_agent_id)
    cont_eval = _bound(wave, wave.cont_eval_agent_id, roles.cont_eval_role_prompt_path, roles.cont_eval_agent_id)
    integration = _bound(
        wave, wave.integration_agent_id, roles.integration_role_prompt_path, roles.integration_agent_id
    )
    documentation = _bound(
        wave, wave.documentation_agent_id, roles.documentation_role_prompt_path, roles.documentation_agent_id
    )
    reviewers = sorted({agent.agent_id for agent in wave.agents if is_security_reviewer(agent, roles)})
    everyone = sorted({cont_qa, cont_eval, integration, documentation, *reviewers})
    return RoleBindings(cont_qa, cont_eval, integration, documentation, tuple(reviewers), tuple(everyone), roles)


def _bound(wave: Wave, explicit: str | None, role_prompt_path: str, configured: str) -> str:
    if explicit:
        return explicit
    importers = [agent.agent_id for agent in wave.agents if imports(agent, role_prompt_path)]
    return importers[0] if len(importers) == 1 else configured


def apply_role_bindings(wave: Wave, bindings: RoleBindings, lane: str) -> Wave:
    """The wave with the bound ids, report paths and lane written into it, as the manifest shows it. Spec: CFG 8.9."""
    return wave._replace(
        lane=lane,
        cont_qa_agent_id=bindings.cont_qa,
        cont_eval_agent_id=bindings.cont_eval,
        integration_agent_id=bindings.integration,
        documentation_agent_id=bindings.documentation,
        security_reviewer_agent_ids=bindings.security_reviewers,
        closure_agent_ids=bindings.closure_agents,
        cont_qa_report_path=cont_qa_report_path(wave.agent(bindings.cont_qa)),
        cont_eval_report_path=cont_eval_report_path(wave.agent(bindings.cont_eval)),
    )


def runtime_role(agent: Agent, bindings: RoleBindings) -> str:
    """The role that chooses an agent's default executor and skills; the first match of CFG 9.4."""
    for role, bound in (
        ("cont-qa", bindings.cont_qa),
        ("cont-eval", bindings.cont_eval),
        ("integration", bindings.integration),
        ("documentation", bindings.documentation),
    ):
        if agent.agent_id == bound:
            return role
    if is_design_agent(agent, bindings.roles):
        return "design"
    if is_security_reviewer(agent, bindings.roles):
        return "security"
    for word, in_title in _SPECIAL_ROLES:
        if in_title.search(agent.title) or any(item.startswith(word) for item in agent.capabilities):
            return word
    return "implementation"
