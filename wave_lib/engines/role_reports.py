"""The report file that an agent's role must leave, and whether it is there. Spec: GATE 4.2, 7.5-7.9, CFG 9.1. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..definition import roles
from .summary_validation import Report

if TYPE_CHECKING:
    from ..definition.wave_types import Agent
    from .facts import WaveFacts


def report_path(agent: Agent, facts: WaveFacts) -> str | None:
    """Path of the report by the agent's role, None for roles without one."""
    if agent.agent_id == facts.bindings.cont_qa:
        return facts.wave.cont_qa_report_path or roles.cont_qa_report_path(agent)
    if agent.agent_id == facts.bindings.cont_eval:
        return facts.wave.cont_eval_report_path or roles.cont_eval_report_path(agent)
    if roles.is_security_reviewer(agent, facts.bindings.roles):
        return roles.security_report_path(agent)
    if roles.is_design_agent(agent, facts.bindings.roles):
        return roles.design_packet_path(agent)
    return None


def role_report(agent: Agent, facts: WaveFacts) -> Report:
    """The agent's report: there now, or, where the facts do not say, there when its summary was made."""
    path = report_path(agent, facts)
    if path is None:
        return Report(None, False)
    recorded = bool((facts.summary(agent.agent_id) or {}).get("reportExists"))
    return Report(path, facts.presence.get(path, recorded))
