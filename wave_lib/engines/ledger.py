"""The ledger of a wave: its tasks, their states, and the phase the wave is in. Pure. Spec: COORD 17."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..state.coordination_records import closure_clarification, record_blocks_wave, record_is_hard_blocker
from .integration_summary import READY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from ..state.coordination_store import CoordinationState
    from .gate_results import Verdict

    JsonObject = dict[str, Any]

DEPENDENCY_LISTS = (
    "openInbound",
    "openOutbound",
    "requiredInbound",
    "requiredOutbound",
    "unresolvedInboundAssignments",
)
_RUNTIME_KEYS = (
    "executorId",
    "role",
    "profile",
    "selectedBy",
    "retryPolicy",
    "allowFallbackOnRetry",
    "fallbacks",
    "fallbackUsed",
)


class LedgerFacts(NamedTuple):
    """What the ledger is made from. `verdicts`: agent id -> task kind -> verdict; `helpers` as of COORD 13.4."""

    wave: Wave
    bindings: RoleBindings
    lane: str
    attempt: int
    coordination: CoordinationState
    summaries: Mapping[str, JsonObject | None]
    verdicts: Mapping[str, Mapping[str, Verdict]]
    runtime_assignments: Sequence[JsonObject]
    docs_queue: JsonObject
    assignments: Sequence[JsonObject]
    dependencies: JsonObject | None
    integration: JsonObject | None
    helpers: Sequence[JsonObject]
    now: str


def build_ledger(facts: LedgerFacts) -> JsonObject:
    """The ledger document."""
    tasks = [*primary_tasks(facts), *component_tasks(facts), *facts.helpers]
    state = facts.coordination
    clarifications = [item for item in state.of_kind("clarification-request") if record_blocks_wave(item)]
    requests = state.open_of_kind("request")
    linked = [item for item in requests if closure_clarification(item["closureCondition"])]
    human = [item for kind in ("human-feedback", "human-escalation") for item in state.open_of_kind(kind)]
    blocking_human = [item for item in human if record_blocks_wave(item)]
    recommendation = (facts.integration or {}).get("recommendation")
    states = {
        "contEvalState": "pass" if _role_ok(facts, "cont-eval") else "open",
        "securityState": _security_state(facts),
        "integrationState": recommendation or "pending",
        "docClosureState": "closed" if _role_ok(facts, "documentation") else "open",
        "contQaState": "pass" if _role_ok(facts, "cont-qa") else "open",
    }
    dependencies = facts.dependencies
    return {
        "wave": facts.wave.wave,
        "lane": facts.lane,
        "attempt": facts.attempt,
        "phase": _phase(facts, tasks, clarifications, linked, blocking_human, recommendation),
        "tasks": tasks,
        "blockers": _ids(state.open_of_kind("blocker")),
        "openClarifications": _ids(clarifications),
        "clarificationLinkedRequests": _ids(linked),
        "openRequests": _ids(requests),
        "capabilityAssignments": list(facts.assignments),
        "dependencySnapshot": None
        if dependencies is None
        else {name: _ids(dependencies[name]) for name in DEPENDENCY_LISTS},
        "humanFeedback": _ids(blocking_human),
        "humanEscalations": _ids(item for item in blocking_human if item["kind"] == "human-escalation"),
        **states,
        "updatedAt": facts.now,
    }


def _ids(records: Any) -> list[str]:
    return [record["id"] for record in records]


def _role_ok(facts: LedgerFacts, kind: str) -> bool:
    """Whether every agent of this kind passes; a role the wave does not have counts as ok."""
    return all(kinds[kind].ok for kinds in facts.verdicts.values() if kind in kinds)


def _security_state(facts: LedgerFacts) -> str:
    """The first code that is not a plain pass: a failing review is `open`, concerns are named."""
    verdicts = [kinds["security"] for kinds in facts.verdicts.values() if "security" in kinds]
    if any(not verdict.ok for verdict in verdicts):
        return "open"
    return next((verdict.status_code for verdict in verdicts if verdict.status_code != "pass"), "pass")


# --- tasks ----------------------------------------------------------------------------------------------------------


def primary_tasks(facts: LedgerFacts) -> list[JsonObject]:
    """One task per agent and kind."""
    return [
        _primary_task(facts, agent, kind, verdict)
        for agent in facts.wave.agents
        for kind, verdict in facts.verdicts[agent.agent_id].items()
    ]


def _primary_task(facts: LedgerFacts, agent: Agent, kind: str, verdict: Verdict) -> JsonObject:
    summary = facts.summaries.get(agent.agent_id)
    ok = verdict.ok
    if kind == "integration" and summary is not None:
        ok = (facts.integration or {}).get("recommendation") == READY
    state = "planned" if summary is None else ("done" if ok else "blocked")
    if kind == "documentation":
        proof, docs = "n/a", "closed" if ok else "open"
    else:
        proof = {"planned": "pending", "done": "met"}.get(state, "gap")
        docs = ((summary or {}).get("docDelta") or {}).get("state") or "pending" if kind == "implementation" else "n/a"
    runtime = next((item for item in facts.runtime_assignments if item["agentId"] == agent.agent_id), None)
    return {
        "id": f"{kind}:{agent.agent_id}",
        "title": agent.title,
        "owner": agent.agent_id,
        "kind": kind,
        "dependsOn": [],
        "state": state,
        "proofState": proof,
        "docState": docs,
        "infraState": "n/a",
        "priority": "normal" if kind == "implementation" else "high",
        "artifactRefs": list(agent.owned_paths),
        "runtime": None if runtime is None else {key: runtime.get(key) for key in _RUNTIME_KEYS},
    }


def component_tasks(facts: LedgerFacts) -> list[JsonObject]:
    """One task per promotion: done when every owner reports it met at the target level."""
    tasks = []
    for promotion in facts.wave.component_promotions:
        component, level = promotion.component_id, promotion.target_level
        owners = [agent for agent in facts.wave.agents if component in agent.components]
        reports = [_component(facts.summaries.get(agent.agent_id), component) for agent in owners]
        met = [item is not None and item.get("state") == "met" and item.get("level") == level for item in reports]
        started = any(facts.summaries.get(agent.agent_id) is not None for agent in owners)
        done = bool(met) and all(met)
        in_queue = any(item["id"] == f"component-matrix:{component}" for item in facts.docs_queue["items"])
        tasks.append(
            {
                "id": f"component:{component}",
                "title": f"Promote {component} to {level}",
                "owner": None,
                "kind": "component",
                "dependsOn": [f"implementation:{agent.agent_id}" for agent in owners],
                "state": "done" if done else ("blocked" if started else "planned"),
                "proofState": "met" if done else ("gap" if started else "pending"),
                "docState": "pending" if in_queue else "n/a",
                "infraState": "n/a",
                "priority": "high",
                "artifactRefs": [component],
                "runtime": None,
            }
        )
    return tasks


def _component(summary: JsonObject | None, component_id: str) -> JsonObject | None:
    reported = (summary or {}).get("components") or ()
    return next((item for item in reported if item.get("componentId") == component_id), None)


# --- phase ----------------------------------------------------------------------------------------------------------


def _phase(
    facts: LedgerFacts,
    tasks: Sequence[JsonObject],
    clarifications: Sequence[JsonObject],
    linked: Sequence[JsonObject],
    human: Sequence[JsonObject],
    recommendation: str | None,
) -> str:
    """The first rule of COORD 17 that applies."""
    if facts.integration is None:
        return "planned"
    if any(record_is_hard_blocker(record) for record in facts.coordination.open_of_kind("blocker")):
        return "blocked"
    if clarifications or human or any(record_blocks_wave(record) for record in linked):
        return "clarifying"
    dependencies = facts.dependencies
    if dependencies and (dependencies["requiredInbound"] or dependencies["requiredOutbound"]):
        return "blocked"
    helpers = [task for task in tasks if _holds_the_wave(task)]
    if helpers:
        return "blocked" if any(task["state"] == "blocked" for task in helpers) else "running"
    unfinished = {task["kind"] for task in tasks if task["state"] != "done"}
    if "design" in unfinished:
        return "design"
    if "implementation" in unfinished:
        return "running"
    for kind, phase in (("cont-eval", "cont-eval"), ("security", "security-review")):
        if not _role_ok(facts, kind):
            return phase
    if recommendation != READY:
        return "integrating"
    for kind, phase in (("documentation", "docs-closure"), ("cont-qa", "cont-qa-closure")):
        if not _role_ok(facts, kind):
            return phase
    return "completed"


def _holds_the_wave(task: JsonObject) -> bool:
    """An unfinished helper task, or one of a dependency that is required."""
    if task["state"] in ("done", "closed", "resolved"):
        return False
    return task["kind"] in ("helper", "dependency-outbound") or (
        task["kind"] == "dependency" and bool(task.get("required"))
    )
