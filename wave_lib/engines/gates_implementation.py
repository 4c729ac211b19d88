"""The gates of product work: design packets, exit contracts with adjudication, component promotions.

Pure. Spec: GATE 8.4 (designGate, implementationGate, componentGate), 11; CFG 12.2; LAUNCH 11.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.lane_profile import active
from ..definition.roles import (
    is_cont_eval_implementing,
    is_design_agent,
    is_implementation_owning,
)
from ..state.agent_state import envelope_role, report_path
from .closure_adjudicator import AMBIGUOUS, PASS, Adjudication, adjudicate
from .gate_results import STATE, GateResult, Verdict, from_verdict, passed
from .summary_validation import (
    Report,
    check_component,
    refuse,
    validate_design_summary,
    validate_implementation_summary,
)

if TYPE_CHECKING:
    from ..definition.wave_types import Agent
    from .facts import WaveFacts

JsonObject = dict[str, Any]


class Judged(NamedTuple):
    """An implementation agent's verdict after adjudication, and the summary that verdict is about."""

    agent: Agent
    verdict: Verdict
    summary: JsonObject | None
    adjudication: Adjudication | None = None

    @property
    def ok(self) -> bool:
        return self.verdict.ok


def envelope_problem(facts: WaveFacts, agent_id: str) -> Verdict | None:
    """In live mode the refusal for an agent without a usable envelope. Spec: GATE 8.1."""
    if facts.mode != "live":
        return None
    reading = facts.readings.get(agent_id)
    if reading is None or reading.source == "missing-envelope":
        if facts.summary(agent_id) is not None:  # made from an authoritative proof bundle (GATE 13.4)
            return None
        detail = reading.detail if reading else f"No result envelope of agent {agent_id}."
        return Verdict(False, "missing-result-envelope", detail, STATE)
    if not reading.valid:
        return Verdict(False, "invalid-result-envelope", "; ".join(reading.errors) or reading.detail, STATE)
    return None


def report_of(facts: WaveFacts, agent: Agent) -> Report:
    """The report of an agent as recorded and as it is now."""
    path = report_path(agent, facts.wave, facts.bindings)
    if path is None:
        return Report(None, False)
    recorded = (facts.summary(agent.agent_id) or {}).get("reportExists")
    present = facts.presence.get(path)
    return Report(path, bool(present if recorded is None else recorded and present is not False))


def implementation_agents(facts: WaveFacts, before_closure: bool = False) -> list[Agent]:
    """The agents that the implementation gate judges; before closure without a cont-EVAL agent, which has not run."""
    return [
        agent
        for agent in facts.wave.agents
        if is_implementation_owning(agent, facts.bindings)
        and not (before_closure and is_cont_eval_implementing(agent, facts.bindings))
    ]


def judge_implementation(facts: WaveFacts, agent: Agent) -> Judged:
    """One agent's exit contract, a malformed marker adjudicated. Spec: GATE 7.3, 8.4, 11."""
    problem = envelope_problem(facts, agent.agent_id)
    if problem:
        return Judged(agent, problem, None)
    summary = facts.summary(agent.agent_id)
    verdict = validate_implementation_summary(agent, summary, facts.presence)
    if verdict.ok or not verdict.eligible_for_adjudication:
        return Judged(agent, verdict, summary)
    derived = facts.derived
    integration = (derived.integration_summary if derived else None) or {}
    decision = adjudicate(
        verdict,
        summary,
        agent,
        records=derived.coordination_state.latest if derived else (),
        presence=facts.presence,
        role=envelope_role(agent, facts.bindings),
        recommendation=integration.get("recommendation"),
    )
    if decision.status == PASS and decision.verdict:
        return Judged(agent, decision.verdict, decision.summary, decision)
    return Judged(agent, verdict, summary, decision)


def adjudications(facts: WaveFacts) -> dict[str, Adjudication]:
    """Agent id -> adjudication, for every agent whose marker had to be adjudicated; for the record (GATE 11)."""
    judged = (judge_implementation(facts, agent) for agent in implementation_agents(facts))
    return {item.agent.agent_id: item.adjudication for item in judged if item.adjudication}


def gate_design(facts: WaveFacts) -> GateResult:
    """Every design agent has a packet that is ready. Spec: GATE 7.6, 8.4."""
    agents = [agent for agent in facts.wave.agents if is_design_agent(agent, facts.bindings.roles)]
    for agent in agents:
        summary = facts.summary(agent.agent_id)
        verdict = envelope_problem(facts, agent.agent_id) or validate_design_summary(
            agent, summary, report_of(facts, agent)
        )
        if not verdict.ok:
            return from_verdict(verdict, agent.agent_id, facts.log_path(agent.agent_id))
    return passed("Every design packet is ready." if agents else "The wave declares no design agent.")


def gate_implementation(facts: WaveFacts, *, before_closure: bool = False) -> GateResult:
    """Every implementation agent meets its contract. Spec: GATE 8.4, 8.6."""
    awaiting: GateResult | None = None
    adjudicated = []
    for agent in implementation_agents(facts, before_closure):
        judged = judge_implementation(facts, agent)
        decision = judged.adjudication
        if judged.ok:
            if decision:
                adjudicated.append(agent.agent_id)
            continue
        result = from_verdict(judged.verdict, agent.agent_id, facts.log_path(agent.agent_id))
        if decision is None or decision.status != AMBIGUOUS:
            return result._replace(adjudication_status=decision.status if decision else None)
        awaiting = awaiting or result._replace(
            status_code="awaiting-adjudication",
            detail=f"{result.detail} {decision.detail}",
            adjudication_status=decision.status,
        )
    if awaiting:
        return awaiting
    result = passed("Every implementation agent meets its exit contract.")
    if adjudicated:
        return result._replace(adjudicated=True, adjudication_status=PASS, adjudicated_agent_ids=tuple(adjudicated))
    return result


class _Owners(NamedTuple):
    """The owners of one component, judged."""

    all: list[Judged]
    satisfied: list[Judged]
    waiting: list[Judged]


def _owners(facts: WaveFacts, component_id: str, judged: list[Judged]) -> _Owners:
    owners = [item for item in judged if component_id in item.agent.components]
    satisfied = [item for item in owners if item.ok and _proven(item, component_id)]
    return _Owners(owners, satisfied, [item for item in owners if item not in satisfied])


def _proven(judged: Judged, component_id: str) -> bool:
    """The owner's own marker for the component is met at its target level."""
    return check_component(judged.agent, component_id, judged.summary) is None


def _sibling_wait(facts: WaveFacts, component_id: str, owners: _Owners) -> GateResult:
    first = owners.waiting[0].agent.agent_id
    names = [", ".join(item.agent.agent_id for item in group) for group in (owners.satisfied, owners.waiting)]
    return GateResult(
        False,
        "shared-component-sibling-pending",
        f"Component {component_id}: {names[0]} satisfied, waiting for {names[1]}.",
        first,
        facts.log_path(first),
        component_id=component_id,
        owner_agent_ids=tuple(item.agent.agent_id for item in owners.all),
        satisfied_agent_ids=tuple(item.agent.agent_id for item in owners.satisfied),
        waiting_on_agent_ids=tuple(item.agent.agent_id for item in owners.waiting),
        failed_own_contract_agent_ids=tuple(item.agent.agent_id for item in owners.waiting if not item.ok),
        failure_class=refuse("shared-component-sibling-pending", "").failure_class,
    )


def shared_component_waits(facts: WaveFacts, *, before_closure: bool = False) -> list[GateResult]:
    """One failing result for every promoted component that some owners proved and others did not. LAUNCH 11.4."""
    judged = [judge_implementation(facts, agent) for agent in implementation_agents(facts, before_closure)]
    waits = []
    for promotion in facts.wave.component_promotions:
        owners = _owners(facts, promotion.component_id, judged)
        if owners.satisfied and owners.waiting:
            waits.append(_sibling_wait(facts, promotion.component_id, owners))
    return waits


def gate_component(facts: WaveFacts, *, before_closure: bool = False) -> GateResult:
    """Every promoted component is proven by an owner, and no owner is left waiting. Spec: GATE 8.4, CFG 12.2."""
    waits = shared_component_waits(facts, before_closure=before_closure)
    if waits:
        return waits[0]
    if not active(facts.profile.validation.require_component_promotions_from_wave, facts.wave_number):
        return passed("Component promotions are not required for this wave.")
    agents = implementation_agents(facts, before_closure)
    if not facts.wave.component_promotions:
        if not agents:
            return passed("The wave has no implementation agent.")
        detail = "The wave has implementation agents and promotes no component."
        return GateResult(False, "missing-component-promotions", detail)
    judged = [judge_implementation(facts, agent) for agent in agents]
    for promotion in facts.wave.component_promotions:
        component_id = promotion.component_id
        if (
            before_closure
            and not any(component_id in agent.components for agent in agents)
            and _later_owner(facts, component_id)
        ):
            continue
        owners = _owners(facts, component_id, judged)
        if any(_promotes(item, component_id, promotion.target_level) for item in owners.all):
            continue
        blamed = next((item.agent.agent_id for item in [*owners.waiting, *owners.all]), None)
        return GateResult(
            False,
            "component-promotion-gap",
            f"No implementation agent proved component {component_id} at {promotion.target_level}.",
            blamed,
            facts.log_path(blamed),
            component_id=component_id,
            failure_class=refuse("component-promotion-gap", "").failure_class,
        )
    return passed("Every component promotion is proven.")


def _later_owner(facts: WaveFacts, component_id: str) -> bool:
    """Whether the component belongs to the cont-EVAL agent, which is judged in its own stage."""
    return any(
        component_id in agent.components and is_cont_eval_implementing(agent, facts.bindings)
        for agent in facts.wave.agents
    )


def _promotes(judged: Judged, component_id: str, level: str) -> bool:
    markers = (judged.summary or {}).get("components") or []
    marker = next((item for item in markers if item.get("componentId") == component_id), None)
    return marker is not None and _proven(judged, component_id) and marker.get("level") == level
