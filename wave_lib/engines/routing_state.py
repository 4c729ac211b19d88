"""Who takes which request: target resolution, helper assignments, dependency snapshot, helper tasks.

Pure. Spec: COORD 13, 15.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.text import compact
from ..base.timestamps import parse_iso
from ..state.coordination_records import (
    WITHDRAWN_STATUSES,
    is_assignment_record,
    is_open,
    is_seed,
    is_targeted,
    normalize_record,
    record_blocks_wave,
    severity_of,
    updated_record,
)
from ..state.dependency_tickets import is_required

if TYPE_CHECKING:
    from ..definition.wave_types import Agent
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

DONE_STATES = ("done", "closed", "resolved")
_NOT_SLUG = re.compile(r"[^a-z0-9._:-]+")


class Target(NamedTuple):
    """Where a target leads: the agent (None when nobody), what kind of target it is, and why."""

    agent_id: str | None
    target_type: str
    reason: str
    detail: str = ""
    capability: str | None = None


def target_slug(target: str) -> str:
    """A target as part of an id."""
    return _NOT_SLUG.sub("-", target.lower()).strip("-") or "target"


# --- targets --------------------------------------------------------------------------------------------------------


def resolve_target(
    target: str,
    agents: Sequence[Agent],
    ledger: Mapping[str, Any] | None,
    routing: Mapping[str, Any],
    asker: str = "",
) -> Target:
    """The agent a target names. `routing` is the lane's `capabilityRouting`. Spec: COORD 13.1."""
    if not target:
        return Target(None, "unknown", "empty-target", "The request names no target.")
    ids = {agent.agent_id for agent in agents}
    if target.startswith("agent:"):
        named = target[6:].strip()
        if named in ids:
            return Target(named, "agent", "explicit-agent", f"{target} is an agent of the wave.")
        return Target(None, "agent", "missing-agent", f"{target} is no agent of the wave.")
    if target in ids:
        return Target(target, "agent", "exact-agent-id", f"{target} is an agent of the wave.")
    if target.startswith("capability:"):
        return _resolve_capability(target[11:].strip().lower(), agents, ledger, routing, asker)
    return Target(None, "unknown", "unsupported-target", f"{target} is neither an agent nor a capability.")


def _resolve_capability(
    capability: str,
    agents: Sequence[Agent],
    ledger: Mapping[str, Any] | None,
    routing: Mapping[str, Any],
    asker: str,
) -> Target:
    owners = [agent.agent_id for agent in agents if capability in (cap.lower() for cap in agent.capabilities)]
    others = [agent_id for agent_id in owners if agent_id != asker] or owners
    if not others:
        return Target(
            None, "capability", "missing-capability-owner", f"No agent of the wave has {capability}.", capability
        )
    preferred = {str(key).lower(): value for key, value in (routing.get("preferredAgents") or {}).items()}
    for agent_id in preferred.get(capability) or ():
        if agent_id in others:
            detail = f"{agent_id} is preferred for {capability}."
            return Target(agent_id, "capability", "preferred-agent", detail, capability)
    best = min(others, key=lambda item: (-_completed(item, capability, ledger), _busy(item, ledger), item))
    reason = "same-wave-capability-owner" if _completed(best, capability, ledger) else "least-busy-capability"
    return Target(best, "capability", reason, f"{best} has {capability}.", capability)


def _completed(agent_id: str, capability: str, ledger: Mapping[str, Any] | None) -> int:
    """How much work of this capability the agent has finished in this wave."""
    if not ledger:
        return 0
    count = 0
    for task in ledger.get("tasks") or ():
        named = task.get("capability") or (task.get("assignment") or {}).get("capability")
        count += task.get("owner") == agent_id and named == capability and task.get("state") in DONE_STATES
    for item in ledger.get("capabilityAssignments") or ():
        count += (
            item.get("assignedAgentId") == agent_id
            and item.get("capability") == capability
            and item.get("state") == "resolved"
        )
    return count


def _busy(agent_id: str, ledger: Mapping[str, Any] | None) -> int:
    tasks = (ledger or {}).get("tasks") or ()
    return sum(1 for task in tasks if task.get("owner") == agent_id and task.get("state") not in DONE_STATES)


# --- assignments ----------------------------------------------------------------------------------------------------


def build_request_assignments(
    state: CoordinationState,
    agents: Sequence[Agent],
    ledger: Mapping[str, Any] | None,
    routing: Mapping[str, Any],
    integration_agent_id: str = "",
) -> list[JsonObject]:
    """One assignment per target of every request that asks somebody for something. Spec: COORD 13.2."""
    policies = sorted(
        (record for record in state.of_kind("resolved-by-policy") if record["status"] not in WITHDRAWN_STATUSES),
        key=lambda record: parse_iso(record["updatedAt"]) or float("-inf"),
        reverse=True,
    )
    assignments = []
    for request in state.of_kind("request"):
        if is_seed(request) or _is_bookkeeping(request):
            continue
        for target in request["targets"] or _untargeted(request, state):
            found = resolve_target(target, agents, ledger, routing, request["agentId"])
            if not target:
                found = _default_owner(agents, integration_agent_id, request["agentId"]) or found
            assignments.append(_assignment(request, target, found, policies))
    return assignments


def _is_bookkeeping(request: Mapping[str, Any]) -> bool:
    """A launcher request that neither depends on anything nor closes anything."""
    return request["source"] == "launcher" and not request["dependsOn"] and not request["closureCondition"]


def _untargeted(request: Mapping[str, Any], state: CoordinationState) -> tuple[str, ...]:
    """An untargeted request counts while it blocks, and afterwards when it was assigned before."""
    known = f"assignment:{request['id']}:{target_slug('')}" in state.by_id
    return ("",) if record_blocks_wave(request) or known else ()


def _default_owner(agents: Sequence[Agent], integration_agent_id: str, asker: str) -> Target | None:
    if integration_agent_id == asker or all(agent.agent_id != integration_agent_id for agent in agents):
        return None
    detail = "A request without a target goes to the integration role."
    return Target(integration_agent_id, "agent", "untargeted-default", detail)


def _assignment(request: JsonObject, target: str, found: Target, policies: Sequence[JsonObject]) -> JsonObject:
    assignment_id = f"assignment:{request['id']}:{target_slug(target)}"
    policy = next((item for item in policies if _settles(item, assignment_id, request, found.agent_id)), None)
    status = request["status"]
    blocking = record_blocks_wave(request)
    if policy is not None:
        status, blocking = "resolved", False
    return {
        "id": assignment_id,
        "requestId": request["id"],
        "recordId": request["id"],
        "sourceKind": request["kind"],
        "sourceAgentId": request["agentId"],
        "summary": request["summary"],
        "detail": request["detail"],
        "priority": request["priority"],
        "requestStatus": status,
        "state": status if is_open({"status": status}) else "resolved",
        "target": target,
        "targetType": found.target_type,
        "capability": found.capability,
        "assignedAgentId": found.agent_id,
        "assignmentReason": found.reason,
        "assignmentDetail": found.detail,
        "blocking": blocking,
        "blockerSeverity": severity_of(request),
        "artifactRefs": request["artifactRefs"],
        "dependsOn": request["dependsOn"],
        "closureCondition": request["closureCondition"],
        "createdAt": request["createdAt"],
        "updatedAt": request["updatedAt"],
        "resolvedByRecordId": policy["id"] if policy else None,
    }


def _settles(policy: JsonObject, assignment_id: str, request: JsonObject, assignee: str | None) -> bool:
    """Whether a resolved-by-policy record settles this assignment. Whole tokens only: `req-1` is not `req-10`."""
    names = [assignment_id]
    if len(request["targets"]) <= 1:
        names.append(request["id"])
    if any(name in policy["dependsOn"] for name in names):
        return True
    if any(has_token(policy["closureCondition"], name) for name in names):
        return True
    concerned = assignee is not None and (policy["agentId"] == assignee or is_targeted(policy, assignee))
    said = f"{policy['summary']}\n{policy['detail']}"
    return concerned and any(has_token(said, name) for name in names)


def has_token(haystack: str, needle: str) -> bool:
    """Whether the text holds the token as a whole: no id character beside it."""
    return re.search(rf"(?<![\w.:-]){re.escape(needle)}(?![\w:-]|\.\w)", haystack) is not None


def assignment_records(
    state: CoordinationState, assignments: Sequence[JsonObject], place: Mapping[str, Any], now: str
) -> list[JsonObject]:
    """Decisions that note changed assignments, and updates that supersede vanished ones. Spec: COORD 13.3.

    `place` holds lane, wave, project and attempt of new records.
    """
    records = []
    current = set()
    for item in assignments:
        current.add(item["id"])
        wanted = _assignment_record(item)
        present = state.by_id.get(item["id"])
        if present is None:
            records.append(normalize_record({**wanted, **place}, now))
        elif any(present.get(key) != value for key, value in wanted.items()):
            records.append(updated_record(present, now, **wanted))
    for record in state.open_of_kind("decision"):
        if is_assignment_record(record) and record["id"] not in current:
            records.append(updated_record(record, now, status="superseded"))
    return records


def _assignment_record(item: Mapping[str, Any]) -> JsonObject:
    assignee = item["assignedAgentId"]
    resolved = item["state"] == "resolved"
    told = f"target={item['target'] or 'none'}; reason={item['assignmentReason']}; {item['assignmentDetail']}"
    named = f"Assignment for {item['requestId']}: {assignee}"
    return {
        "id": item["id"],
        "kind": "decision",
        "agentId": "launcher",
        "source": "launcher",
        "targets": [f"agent:{assignee}"] if assignee else [],
        "status": item["state"] if assignee or resolved else "open",
        "priority": item["priority"],
        "dependsOn": list(dict.fromkeys([item["requestId"], *item["dependsOn"]])),
        "confidence": "high" if assignee else "medium",
        "summary": named if assignee else f"Assignment unresolved for {item['requestId']}",
        "detail": compact(told, 240),
    }


def recorded_assignments(state: CoordinationState) -> list[JsonObject]:
    """What the log's own assignment records say about finished work: `{assignedAgentId, capability, state}`."""
    found = []
    for record in state.of_kind("decision"):
        if is_assignment_record(record) and record["targets"]:
            target = record["id"].rsplit(":capability:", 1)
            capability = target[1] if len(target) == 2 else None
            assignee = record["targets"][0][6:]
            found.append({"assignedAgentId": assignee, "capability": capability, "state": record["status"]})
    return found


# --- dependencies ---------------------------------------------------------------------------------------------------


def build_dependency_snapshot(
    lane: str,
    project: str,
    wave_number: int,
    agents: Sequence[Agent],
    tickets: Iterable[Mapping[str, Any]],
    ledger: Mapping[str, Any] | None,
    routing: Mapping[str, Any],
    now: str,
) -> JsonObject:
    """What other lanes want of this wave (inbound) and what it wants of them (outbound). Spec: COORD 15.1."""

    def concerns(ticket: Mapping[str, Any], side: str, named_lane: str) -> bool:
        return (
            named_lane == lane
            and ticket[f"{side}Project"] in ("", project)
            and ticket[f"{side}Wave"] in (None, wave_number)
        )

    inbound, outbound = [], []
    for ticket in tickets:
        if concerns(ticket, "owner", ticket["ownerLane"] or ticket["lane"]):
            inbound.append(_dependency(ticket, "inbound", _first_target(ticket, agents, ledger, routing)))
        if concerns(ticket, "requester", ticket["requesterLane"]):
            outbound.append(_dependency(ticket, "outbound", Target(None, "unknown", "outbound")))
    open_in = [item for item in inbound if is_open(item)]
    open_out = [item for item in outbound if is_open(item)]
    required_in = [item for item in open_in if item["required"]]
    return {
        "schemaVersion": 1,
        "kind": "wave-dependency-snapshot",
        "lane": lane,
        "wave": wave_number,
        "generatedAt": now,
        "inbound": inbound,
        "outbound": outbound,
        "openInbound": open_in,
        "openOutbound": open_out,
        "requiredInbound": required_in,
        "requiredOutbound": [item for item in open_out if item["required"]],
        "unresolvedInboundAssignments": [item for item in required_in if not item["assignedAgentId"]],
    }


def _first_target(
    ticket: Mapping[str, Any],
    agents: Sequence[Agent],
    ledger: Mapping[str, Any] | None,
    routing: Mapping[str, Any],
) -> Target:
    for target in ticket["targets"]:
        found = resolve_target(target, agents, ledger, routing)
        if found.agent_id:
            return found
    if ticket["targets"]:
        return Target(None, "unknown", "unresolved-target", "No target of the ticket is in this wave.")
    return Target(None, "unknown", "untargeted", "The ticket names no target.")


def _dependency(ticket: Mapping[str, Any], direction: str, found: Target) -> JsonObject:
    required = is_required(ticket)
    owner_lane = ticket["ownerLane"] or ticket["lane"]
    return {
        "id": ticket["id"],
        "direction": direction,
        "lane": ticket["requesterLane"] if direction == "inbound" else owner_lane,
        "requesterLane": ticket["requesterLane"],
        "ownerLane": owner_lane,
        "requesterProject": ticket["requesterProject"],
        "ownerProject": ticket["ownerProject"],
        "requesterWave": ticket["requesterWave"],
        "ownerWave": ticket["ownerWave"],
        "required": required,
        "status": ticket["status"],
        "summary": ticket["summary"],
        "detail": ticket["detail"],
        "priority": ticket["priority"],
        "targets": ticket["targets"],
        "artifactRefs": ticket["artifactRefs"],
        "assignedAgentId": found.agent_id,
        "assignmentReason": found.reason,
        "assignmentDetail": found.detail,
        "blocking": required and is_open(ticket),
        "createdAt": ticket["createdAt"],
        "updatedAt": ticket["updatedAt"],
        "agentId": ticket["agentId"],
    }


# --- helper tasks ---------------------------------------------------------------------------------------------------


def helper_tasks(
    assignments: Iterable[Mapping[str, Any]],
    dependencies: Mapping[str, Any],
    docs_queue: Mapping[str, Any],
    documentation_agent_id: str,
) -> list[JsonObject]:
    """Ledger tasks that are nobody's own assignment. Spec: COORD 13.4."""
    tasks = []
    for item in assignments:
        if item["blocking"]:
            state = "planned" if item["state"] == "open" else item["state"]
            tasks.append(_helper_task(item, f"helper:{item['id']}", "helper", item["assignedAgentId"], state))
    for item in dependencies["openInbound"]:
        blocked = item["required"] and not item["assignedAgentId"]
        state = "blocked" if blocked else ("planned" if item["status"] == "open" else item["status"])
        task = _helper_task(item, f"dependency:{item['id']}", "dependency", item["assignedAgentId"], state)
        tasks.append({**task, "required": item["required"]})
    for item in docs_queue["items"]:
        if item["kind"] in ("shared-plan", "component-matrix"):
            owner = item["ownerAgentId"] or documentation_agent_id
            task = _helper_task(item, f"doc-helper:{item['id']}", "documentation-helper", owner, "planned")
            tasks.append({**task, "priority": "high", "artifactRefs": [item["path"]] if item["path"] else []})
    for item in dependencies["requiredOutbound"]:
        task = _helper_task(item, f"dependency-outbound:{item['id']}", "dependency-outbound", None, "blocked")
        tasks.append({**task, "required": True})
    return tasks


def _helper_task(item: Mapping[str, Any], task_id: str, kind: str, owner: str | None, state: str) -> JsonObject:
    documentation = kind == "documentation-helper"
    return {
        "id": task_id,
        "title": item.get("summary") or item["id"],
        "owner": owner,
        "kind": kind,
        "dependsOn": list(item.get("dependsOn") or ()),
        "state": "blocked" if kind == "helper" and not owner else state,
        "proofState": "n/a",
        "docState": "pending" if documentation else "n/a",
        "infraState": "n/a",
        "priority": item.get("priority") or "normal",
        "artifactRefs": list(item.get("artifactRefs") or ()),
        "assignment": dict(item) if kind == "helper" else None,
    }
