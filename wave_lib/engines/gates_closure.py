"""The gates of the closure roles: cont-EVAL, security, integration, documentation, cont-QA.

Pure. Spec: GATE 7.4-7.9, 7.11, 8.4, 9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..definition.lane_profile import active
from ..definition.roles import is_cont_eval_implementing, is_security_reviewer
from .closure_policy import (
    READY,
    auto_document_closure,
    infer_integration_closure,
    may_fall_back_after_empty_run,
    skips_cont_qa,
)
from .cont_eval_validation import validate_cont_eval_summary
from .gate_barriers import gate_component_matrix, gate_corridor
from .gate_results import PROOF_GAP, STATE, GateResult, Verdict, from_verdict, passed
from .gates_implementation import envelope_problem, judge_implementation, report_of
from .summary_validation import (
    refuse,
    validate_cont_qa_summary,
    validate_documentation_summary,
    validate_integration_summary,
    validate_security_summary,
)

if TYPE_CHECKING:
    from ..definition.wave_types import Agent
    from .facts import WaveFacts


def _about(facts: WaveFacts, agent: Agent, verdict: Verdict) -> GateResult:
    return from_verdict(verdict, agent.agent_id, facts.log_path(agent.agent_id))


def gate_cont_eval(facts: WaveFacts) -> GateResult:
    """cont-EVAL's own word, then its contract when it owns implementation files. Spec: GATE 7.8; LAUNCH 10.5."""
    agent = facts.wave.agent(facts.bindings.cont_eval)
    if agent is None:
        return passed("The wave has no cont-EVAL agent.")
    verdict = envelope_problem(facts, agent.agent_id) or validate_cont_eval_summary(
        agent,
        facts.summary(agent.agent_id),
        report_of(facts, agent),
        targets=facts.wave.eval_targets,
        catalog=facts.catalog,
        catalog_error=facts.catalog_error,
        mode=facts.mode,
    )
    if verdict.ok and is_cont_eval_implementing(agent, facts.bindings):
        own = judge_implementation(facts, agent).verdict
        verdict = verdict if own.ok else own
    return _about(facts, agent, verdict)


def gate_security(facts: WaveFacts) -> GateResult:
    """Corridor first, then every security reviewer; concerns pass with their own code. Spec: GATE 7.5, 8.4.

    The first refusal decides; a reviewer's proof gap, which the sweep would forward, hides no other reviewer's refusal
    (LAUNCH 10.5, order of verdicts).
    """
    corridor = gate_corridor(facts)
    if not corridor.ok:
        return corridor
    concerned = []
    gap = None
    reviewers = [agent for agent in facts.wave.agents if is_security_reviewer(agent, facts.bindings.roles)]
    for agent in reviewers:
        verdict = envelope_problem(facts, agent.agent_id) or validate_security_summary(
            agent, facts.summary(agent.agent_id), report_of(facts, agent)
        )
        if verdict.status_code == PROOF_GAP:
            gap = gap or _about(facts, agent, verdict)
        elif not verdict.ok:
            return _about(facts, agent, verdict)
        if verdict.status_code == "security-concerns":
            concerned.append(agent.agent_id)
    if gap:
        return gap
    if concerned:
        return GateResult(True, "security-concerns", f"Concerns reported by {', '.join(concerned)}.")
    return passed("Every security review is clear." if reviewers else "The wave declares no security reviewer.")


def gate_integration(facts: WaveFacts) -> GateResult:
    """The marker part: inferred closure, or the steward's own word. Spec: GATE 7.7, 8.4, 9.3."""
    inferred = infer_integration_closure(facts, corridor_stops=not gate_corridor(facts).ok)
    if inferred:
        return inferred
    agent = facts.wave.agent(facts.bindings.integration)
    if agent is None:
        threshold = facts.profile.validation.require_integration_steward_from_wave
        required = facts.required_integration or active(threshold, facts.wave_number)
        if required:
            return GateResult(
                False, "missing-integration", f"The wave has no integration steward ({facts.bindings.integration})."
            )
        return passed("The wave has no integration steward.")
    verdict = envelope_problem(facts, agent.agent_id) or validate_integration_summary(
        agent, facts.summary(agent.agent_id)
    )
    return _about(facts, agent, verdict)


def gate_integration_barrier(facts: WaveFacts) -> GateResult:
    """The marker part, the derived recommendation, and no contradiction that stops integration. Spec: GATE 8.4."""
    gate = gate_integration(facts)
    if not gate.ok:
        return gate
    agent_id = facts.bindings.integration
    bound = facts.wave.agent(agent_id) is not None
    if bound:
        summary = facts.derived.integration_summary if facts.derived else None
        failure = None
        if not summary:
            failure = refuse("missing-integration-summary", "No integration summary was derived for this wave.")
            failure = failure._replace(failure_class=STATE)
        elif summary.get("recommendation") != READY:
            failure = refuse(
                "integration-needs-more-work", summary.get("detail") or "Integration is not ready for doc closure."
            )
        if failure:
            return from_verdict(failure, agent_id, facts.log_path(agent_id))
    open_ids = [str(item.get("contradictionId")) for item in facts.contradictions if _stops_integration(item)]
    if open_ids:
        detail = f"Unresolved contradictions: {', '.join(open_ids)}."
        failure = refuse("integration-contradiction-open", detail)
        return from_verdict(failure, agent_id if bound else None, facts.log_path(agent_id) if bound else None)
    return gate


def _stops_integration(contradiction: dict[str, object]) -> bool:
    gates = contradiction.get("impactedGates")
    return (
        contradiction.get("status") not in ("resolved", "waived")
        and contradiction.get("severity") == "blocking"
        and isinstance(gates, (list, tuple))
        and "integrationBarrier" in gates
    )


def gate_documentation(facts: WaveFacts) -> GateResult:
    """Documentation closed by its steward or, where allowed, automatically. Spec: GATE 7.4, 8.4, 9.4."""
    matrix_ok = gate_component_matrix(facts).ok
    closed = auto_document_closure(facts, matrix_ok=matrix_ok)
    if closed:
        return closed
    agent = facts.wave.agent(facts.bindings.documentation)
    if agent is None:
        return passed("The wave has no documentation steward.")
    verdict = envelope_problem(facts, agent.agent_id) or validate_documentation_summary(
        agent, facts.summary(agent.agent_id)
    )
    if verdict.eligible_for_fallback and may_fall_back_after_empty_run(facts, matrix_ok=matrix_ok):
        return GateResult(
            True,
            "fallback-auto-closed",
            "The documentation run printed nothing and nothing was left to document.",
            agent.agent_id,
            facts.log_path(agent.agent_id),
            doc_closure_state="no-change",
        )
    return _about(facts, agent, verdict)


def gate_cont_qa(facts: WaveFacts) -> GateResult:
    """cont-QA's final word, unless the policy lets it be skipped. Spec: GATE 7.9, 8.4, 9.5."""
    if skips_cont_qa(facts):
        return passed("cont-QA is skipped in bootstrap closure.")._replace(cont_qa_state="skipped")
    agent = facts.wave.agent(facts.bindings.cont_qa)
    if agent is None:
        return GateResult(
            False,
            "missing-cont-qa",
            f"The wave has no cont-QA agent ({facts.bindings.cont_qa}).",
            facts.bindings.cont_qa,
        )
    problem = envelope_problem(facts, agent.agent_id)
    if problem is None and facts.mode != "live" and facts.summary(agent.agent_id) is None:
        problem = refuse("missing-cont-qa", f"cont-QA agent {agent.agent_id} has no result.")
    return _about(
        facts,
        agent,
        problem or validate_cont_qa_summary(agent, facts.summary(agent.agent_id), report_of(facts, agent), facts.mode),
    )
