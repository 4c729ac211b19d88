"""Every agent judged by the validator of its own role. Pure. Spec: COORD 9, 17; GATE 7."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition import roles
from .cont_eval_validation import validate_cont_eval_summary
from .summary_validation import (
    Report,
    validate_cont_qa_summary,
    validate_design_summary,
    validate_documentation_summary,
    validate_implementation_summary,
    validate_integration_summary,
    validate_security_summary,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.evals import BenchmarkCatalog
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from .gate_results import Verdict

    JsonObject = dict[str, Any]


class VerdictFacts(NamedTuple):
    """What the validators read; members as in `WaveFacts`."""

    wave: Wave
    bindings: RoleBindings
    summaries: Mapping[str, JsonObject | None]
    presence: Mapping[str, bool]
    catalog: BenchmarkCatalog | None = None
    catalog_error: str | None = None
    mode: str = "live"


def task_kinds(agent: Agent, bindings: RoleBindings) -> tuple[str, ...]:
    """Task types of an agent, by role id first; a hybrid design steward has two."""
    for kind, bound in (
        ("cont-qa", bindings.cont_qa),
        ("cont-eval", bindings.cont_eval),
        ("integration", bindings.integration),
        ("documentation", bindings.documentation),
    ):
        if agent.agent_id == bound:
            return (kind,)
    if roles.is_design_agent(agent, bindings.roles):
        return ("design", "implementation") if roles.is_hybrid_design(agent, bindings.roles) else ("design",)
    if roles.is_security_reviewer(agent, bindings.roles):
        return ("security",)
    return ("implementation",)


def role_verdict(kind: str, agent: Agent, facts: VerdictFacts) -> Verdict:
    """What the validator of `kind` says about the agent; cont-EVAL that owns files must pass both of its validators."""
    summary = facts.summaries.get(agent.agent_id)
    if kind == "cont-qa":
        path = facts.wave.cont_qa_report_path or roles.cont_qa_report_path(agent)
        return validate_cont_qa_summary(agent, summary, _report(path, summary, facts), facts.mode)
    if kind == "cont-eval":
        return _cont_eval_verdict(agent, summary, facts)
    if kind == "integration":
        return validate_integration_summary(agent, summary)
    if kind == "documentation":
        return validate_documentation_summary(agent, summary)
    if kind == "security":
        return validate_security_summary(agent, summary, _report(roles.security_report_path(agent), summary, facts))
    if kind == "design":
        return validate_design_summary(agent, summary, _report(roles.design_packet_path(agent), summary, facts))
    return validate_implementation_summary(agent, summary, facts.presence)


def _cont_eval_verdict(agent: Agent, summary: JsonObject | None, facts: VerdictFacts) -> Verdict:
    path = facts.wave.cont_eval_report_path or roles.cont_eval_report_path(agent)
    verdict = validate_cont_eval_summary(
        agent,
        summary,
        _report(path, summary, facts),
        targets=facts.wave.eval_targets,
        catalog=facts.catalog,
        catalog_error=facts.catalog_error,
        mode=facts.mode,
    )
    if verdict.ok and roles.is_cont_eval_implementing(agent, facts.bindings):
        implementation = validate_implementation_summary(agent, summary, facts.presence)
        return verdict if implementation.ok else implementation
    return verdict


def _report(path: str | None, summary: JsonObject | None, facts: VerdictFacts) -> Report:
    """The report a role owes: there when the agent ended, and not gone since."""
    if path is None:
        return Report(None, False)
    recorded = (summary or {}).get("reportExists")
    there = facts.presence.get(path, recorded if recorded is not None else False)
    return Report(path, bool(there) and recorded is not False)


def review_verdicts(facts: VerdictFacts) -> dict[str, Verdict]:
    """What the security validator says about every reviewer, one that has another task too (design) included."""
    return {
        agent.agent_id: role_verdict("security", agent, facts)
        for agent in facts.wave.agents
        if agent.agent_id in facts.bindings.security_reviewers
    }


def agent_verdicts(facts: VerdictFacts) -> dict[str, dict[str, Verdict]]:
    """Agent id -> task kind -> verdict, for all agents of the wave."""
    return {
        agent.agent_id: {kind: role_verdict(kind, agent, facts) for kind in task_kinds(agent, facts.bindings)}
        for agent in facts.wave.agents
    }
