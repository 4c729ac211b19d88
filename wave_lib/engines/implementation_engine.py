"""Which agents a pass launches: the first pass of a launch, what follows a design pass, a retry. Pure.

Spec: LAUNCH 7.3, 7.5, 11.1, GATE 12. Agents are named by id; the launcher turns ids into processes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition import roles
from ..definition.component_rules import is_proof_centric_agent, is_proof_centric_wave
from .gates_implementation import report_of
from .phases import earliest_phase, without_mixed_closure
from .rerun_override import UNKNOWN_AGENTS, OverrideResolution, resolve_override
from .resume_plan import SIBLING_PENDING
from .retry_engine import Barrier, RelaunchResolution, RetryFacts, resolve_relaunch
from .summary_validation import validate_design_summary, validate_implementation_summary

if TYPE_CHECKING:
    from ..definition.wave_types import Agent
    from .facts import WaveFacts
    from .gate_results import GateResult

JsonObject = dict[str, Any]

INITIAL, OVERRIDE, PERSISTED, REENTERED, RETRY = "initial", "override", "persisted-relaunch", "re-entered", "retry"


class PlanFacts(NamedTuple):
    """What a selection is decided from, beside the facts that gates are judged by.

    `statuses` (agent id -> status record; absent: none) and `prompt_hashes` (agent id -> current fingerprint) decide
    about reuse. `override` is the active rerun request, `relaunch_plan` the persisted plan. `reentered_agent_ids` is
    the recorded selection of an attempt that a resumed launcher re-enters. `component_gate` is the component gate as
    it stands. `barriers_open`: a clarification, helper-assignment or dependency barrier is open.
    """

    facts: WaveFacts
    statuses: Mapping[str, Mapping[str, Any]] = {}
    prompt_hashes: Mapping[str, str] = {}
    override: Mapping[str, Any] | None = None
    relaunch_plan: Mapping[str, Any] | None = None
    reentered_agent_ids: tuple[str, ...] | None = None
    component_gate: GateResult | None = None
    barriers_open: bool = False


class InitialPlan(NamedTuple):
    """The first selection of a launch. `source` is one of the words above, `because` says it for people.

    `closure_only`: no implementation agent is selected; the sweep starts at the stage of `start_phase`.
    `executor_states` are those of a persisted plan, which an attempt that is re-entered was begun by, to be put back.
    """

    pre_completed_agent_ids: tuple[str, ...]
    stale_completed_agent_ids: tuple[str, ...]
    available_agent_ids: tuple[str, ...]
    selected_agent_ids: tuple[str, ...]
    source: str
    because: str
    override: OverrideResolution
    persisted_plan_is_current: bool
    should_clear_persisted_plan: bool
    closure_only: bool
    start_phase: str | None
    executor_states: Mapping[str, JsonObject]


def plan_initial_attempt(plan: PlanFacts) -> InitialPlan:
    """Who runs first. Spec: LAUNCH 7.3, GATE 12.2."""
    facts = plan.facts
    override = resolve_override(plan.override, facts.wave, facts.bindings)
    pre_completed = select_reusable_agent_ids(plan, override)
    available = tuple(agent.agent_id for agent in facts.wave.agents if agent.agent_id not in pre_completed)
    stale = tuple(agent_id for agent_id in available if _succeeded(plan.statuses.get(agent_id)))
    current = persisted_plan_is_current(plan.relaunch_plan, plan.component_gate)
    selected, source, because, start = _first_selection(plan, override, available, current)
    selected = without_mixed_closure(selected, facts.bindings)
    closure_only = _closure_only(selected, start, plan)
    states = (plan.relaunch_plan or {}).get("executorStates") or {} if source in (PERSISTED, REENTERED) else {}
    return InitialPlan(
        pre_completed,
        stale,
        available,
        selected,
        source,
        because,
        override,
        current,
        bool(plan.relaunch_plan) and not current,
        closure_only,
        (start or earliest_phase(selected, facts.bindings)) if closure_only else None,
        {agent_id: states[agent_id] for agent_id in selected if isinstance(states.get(agent_id), dict)},
    )


def _first_selection(
    plan: PlanFacts, override: OverrideResolution, available: tuple[str, ...], current: bool
) -> tuple[tuple[str, ...], str, str, str | None]:
    """(agents, source, because, start phase): the first source that yields something."""
    known = {agent.agent_id for agent in plan.facts.wave.agents}
    reentered = tuple(agent_id for agent_id in plan.reentered_agent_ids or () if agent_id in known)
    if reentered:
        return reentered, REENTERED, "the interrupted attempt goes on with its selection", None
    if override.valid:
        return override.selected_agent_ids, OVERRIDE, override.because, override.start_phase
    if plan.relaunch_plan and current:
        wanted = set(plan.relaunch_plan.get("selectedAgentIds") or ())
        agents = tuple(agent.agent_id for agent in plan.facts.wave.agents if agent.agent_id in wanted)
        # An agent that can be reused needs no second run, whatever the plan of an earlier launch says.
        agents = tuple(agent_id for agent_id in agents if agent_id in available)
        phase = plan.relaunch_plan.get("resumeFromPhase")
        start = phase if not wanted and phase == "security-review" else None
        if agents or start:
            return agents, PERSISTED, "the persisted relaunch plan selects them", start
    agents, because = _default_selection(plan, available)
    return agents, INITIAL, because, None


def _default_selection(plan: PlanFacts, available: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    facts = plan.facts
    bindings = facts.bindings
    agents = [agent for agent in facts.wave.agents if agent.agent_id in available]
    open_design = [
        agent.agent_id
        for agent in agents
        if roles.is_design_agent(agent, bindings.roles) and not has_design_pass(plan, agent)
    ]
    if open_design:
        return tuple(open_design), "design comes first"
    workers = [agent for agent in agents if agent.agent_id not in bindings.closure_agents]
    builders = [agent.agent_id for agent in workers if not roles.is_docs_only_design(agent, bindings.roles)]
    if builders:
        return tuple(builders), "implementation agents without a reusable result"
    if workers:
        return tuple(agent.agent_id for agent in workers), "design agents without a reusable result"
    return tuple(agent.agent_id for agent in agents), "implementation is settled; closure remains"


def _closure_only(selected: tuple[str, ...], start: str | None, plan: PlanFacts) -> bool:
    closure = plan.facts.bindings.closure_agents
    return bool(start or selected) and all(agent_id in closure for agent_id in selected)


def persisted_plan_is_current(plan: Mapping[str, Any] | None, component_gate: GateResult | None) -> bool:
    """False when the component gate now waits for other agents than the plan selects. Spec: LAUNCH 7.3 rule 4."""
    if plan is None:
        return False
    if component_gate is None or component_gate.ok or component_gate.status_code != SIBLING_PENDING:
        return True
    return set(component_gate.waiting_on_agent_ids) == set(plan.get("selectedAgentIds") or ())


# --- reuse ----------------------------------------------------------------------------------------------------------


def select_reusable_agent_ids(plan: PlanFacts, override: OverrideResolution) -> tuple[str, ...]:
    """Agents whose earlier result stands, in definition order. Spec: LAUNCH 11.1, 12.2, GATE 12.1."""
    request = override.request if override.outcome != UNKNOWN_AGENTS and override.request else {}
    excluded = {
        *plan.facts.bindings.closure_agents,
        *(request.get("clearReusableAgentIds") or ()),
        *(override.selected_agent_ids if override.valid else ()),
    }
    components = set(request.get("invalidateComponentIds") or ())
    attempts = set(request.get("reuseAttemptIds") or ())
    preserved = set(request.get("preserveReusableAgentIds") or ())
    found = []
    for agent in plan.facts.wave.agents:
        status = plan.statuses.get(agent.agent_id)
        if agent.agent_id in excluded or components.intersection(agent.components) or not _succeeded(status):
            continue
        attempt_id = f"wave-{plan.facts.wave_number}-attempt-{(status or {}).get('attempt')}"
        if attempts and attempt_id not in attempts:
            continue
        kept = agent.agent_id in preserved and _envelope_is_valid(plan, agent)
        if kept or (_hash_is_current(plan, agent) and has_reusable_result(plan, agent)):
            found.append(agent.agent_id)
    return tuple(found)


def has_reusable_result(plan: PlanFacts, agent: Agent) -> bool:
    """Whether the agent's recorded result passes what its role demands. Spec: LAUNCH 11.1 points 2-4."""
    facts = plan.facts
    summary = facts.summary(agent.agent_id)
    if not _envelope_is_valid(plan, agent):
        return False
    if roles.is_design_agent(agent, facts.bindings.roles):
        if not validate_design_summary(agent, summary, report_of(facts, agent)).ok:
            return False
        if roles.is_docs_only_design(agent, facts.bindings.roles):
            return True
    if not validate_implementation_summary(agent, summary, facts.presence).ok:
        return False
    proof_centric = is_proof_centric_agent(agent) or is_proof_centric_wave(facts.wave)
    return not (proof_centric and plan.barriers_open)


def has_design_pass(plan: PlanFacts, agent: Agent) -> bool:
    """Whether a design agent has a reusable design pass: implementation contract ignored. Spec: LAUNCH 11.1."""
    if not _succeeded(plan.statuses.get(agent.agent_id)) or not _hash_is_current(plan, agent):
        return False
    summary = plan.facts.summary(agent.agent_id)
    return validate_design_summary(agent, summary, report_of(plan.facts, agent)).ok


def _succeeded(status: Mapping[str, Any] | None) -> bool:
    return bool(status) and status is not None and status.get("code") == 0


def _hash_is_current(plan: PlanFacts, agent: Agent) -> bool:
    recorded = (plan.statuses.get(agent.agent_id) or {}).get("promptHash")
    return recorded is not None and recorded == plan.prompt_hashes.get(agent.agent_id)


def _envelope_is_valid(plan: PlanFacts, agent: Agent) -> bool:
    reading = plan.facts.readings.get(agent.agent_id)
    return reading is not None and reading.valid


# --- after a pass ---------------------------------------------------------------------------------------------------


class DesignTransition(NamedTuple):
    """What follows a pass that ran design agents only: `continue-implementation`, `no-op` or `blocked`."""

    step: str
    because: str
    next_agent_ids: tuple[str, ...] = ()
    failure: JsonObject | None = None


def resolve_post_design_pass_transition(
    facts: WaveFacts,
    design_gate: GateResult,
    current_agent_ids: Collection[str],
    pre_completed_agent_ids: Collection[str],
    *,
    after_design: bool = False,
) -> DesignTransition:
    """What follows a pass without failures. Spec: LAUNCH 7.5.

    `no-op` also for passes this rule does not concern: those that ran an implementation agent, or no design agent.
    `after_design`: the pass itself followed a design pass, so its hybrid design agents ran as implementation agents.
    """
    bindings = facts.bindings
    if after_design:
        return DesignTransition("no-op", "this pass already implemented the design")
    current = [agent for agent in facts.wave.agents if agent.agent_id in current_agent_ids]
    design = [agent for agent in current if roles.is_design_agent(agent, bindings.roles)]
    if not design or len(design) != len(current):
        return DesignTransition("no-op", "this pass was no design pass")
    if not design_gate.ok:
        failure: JsonObject = {
            "agentId": design_gate.agent_id or current[0].agent_id,
            "statusCode": design_gate.status_code or "design-gate-blocked",
            "logPath": design_gate.log_path,
            "detail": design_gate.detail,
        }
        return DesignTransition("blocked", design_gate.detail, failure=failure)
    following = tuple(
        agent.agent_id
        for agent in facts.wave.agents
        if agent.agent_id not in pre_completed_agent_ids
        and agent.agent_id not in bindings.closure_agents
        and not roles.is_docs_only_design(agent, bindings.roles)
    )
    if not following:
        return DesignTransition("no-op", "the design is ready and there is nothing left to implement")
    return DesignTransition("continue-implementation", "the design is ready", following)


class RetryPlan(NamedTuple):
    """The selection of a pass that follows a failed one. `start_phase` is set for a closure-only pass.

    Nothing selected, no barrier and no `start_phase`: no safe relaunch target (exit 43).
    """

    selected_agent_ids: tuple[str, ...]
    source: str
    barrier: Barrier | None
    start_phase: str | None
    relaunch: RelaunchResolution | None
    override: OverrideResolution

    @property
    def launches(self) -> bool:
        """Whether there is anything to launch."""
        return self.barrier is None and bool(self.selected_agent_ids or self.start_phase)


def plan_retry_attempt(retry: RetryFacts, override_request: Mapping[str, Any] | None = None) -> RetryPlan:
    """Who runs next after a failure: a valid rerun request wins and lifts any barrier. Spec: LAUNCH 11.3, GATE 12.3."""
    override = resolve_override(override_request, retry.wave, retry.bindings)
    if override.valid:
        closure_only = all(agent_id in retry.bindings.closure_agents for agent_id in override.selected_agent_ids)
        start = override.start_phase or earliest_phase(override.selected_agent_ids, retry.bindings)
        return RetryPlan(
            override.selected_agent_ids, OVERRIDE, None, start if closure_only else None, None, override
        )
    relaunch = resolve_relaunch(retry)
    return RetryPlan(
        relaunch.selected_agent_ids, RETRY, relaunch.barrier, relaunch.start_phase, relaunch, override
    )
