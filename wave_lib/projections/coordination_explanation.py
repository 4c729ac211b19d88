"""What a wave, or one agent of it, waits for, as `wave coord explain` prints it. Pure. Spec: COORD 24."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engines.control_state import selected, wave_phase
from ..state.coordination_records import (
    closure_clarification,
    is_seed,
    is_targeted,
    record_blocks_wave,
    record_is_hard_blocker,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.wave_types import Agent
    from ..engines.control_state import StatusFacts

    JsonObject = dict[str, Any]


def explain_coordination(
    facts: StatusFacts, agent: Agent | None, proof_entries: Sequence[Mapping[str, Any]]
) -> JsonObject:
    """The document of `coord explain`; restricted to one agent when one is given."""
    derived, agent_id = facts.derived, agent.agent_id if agent else None
    capabilities = {item.lower() for item in agent.capabilities} if agent else set()

    def concerns(record: Mapping[str, Any]) -> bool:
        return agent_id is None or record["agentId"] == agent_id or is_targeted(record, agent_id, capabilities)

    records = [record for record in facts.records.open if not is_seed(record) and concerns(record)]
    helpers = [
        item
        for item in derived.capability_assignments
        if item["blocking"] and agent_id in (None, item["assignedAgentId"], item["sourceAgentId"])
    ]
    snapshot = derived.dependency_snapshot
    dependencies = [
        item
        for item in [*snapshot["openInbound"], *snapshot["openOutbound"]]
        if agent_id in (None, item["assignedAgentId"], item["agentId"])
    ]
    feedback = [row for row in facts.feedback if agent_id in (None, row["agentId"])]
    request = facts.rerun_request
    return {
        "lane": facts.lane,
        "wave": facts.wave.wave,
        "phase": wave_phase(facts),
        "agentId": agent_id,
        "blockedBy": _blocked_by(records, helpers, dependencies, feedback, agent_id, capabilities),
        "openCoordination": [
            {key: record[key] for key in ("id", "kind", "status", "agentId", "targets", "summary")}
            for record in records
        ],
        "helperAssignments": helpers,
        "dependencies": dependencies,
        "humanFeedback": feedback,
        "relaunchPlan": facts.relaunch_plan,
        "retryOverride": request,
        "effectiveRetryTargets": list(selected(facts).agents) if request or facts.relaunch_plan else [],
        "proofEntries": [entry for entry in proof_entries if agent_id in (None, entry.get("agentId"))],
    }


def _blocked_by(
    records: Sequence[Mapping[str, Any]],
    helpers: Sequence[Mapping[str, Any]],
    dependencies: Sequence[Mapping[str, Any]],
    feedback: Sequence[Mapping[str, Any]],
    agent_id: str | None,
    capabilities: set[str],
) -> list[str]:
    """The phrases that apply, each once; only what blocks the wave counts."""
    blocking = [record for record in records if record_blocks_wave(record)]
    kinds = {record["kind"] for record in blocking}
    chain = "clarification-request" in kinds or any(
        closure_clarification(record["closureCondition"]) for record in blocking
    )
    targeted = any(
        record["kind"] == "request"
        and record["targets"]
        and (agent_id is None or is_targeted(record, agent_id, capabilities))
        for record in blocking
    )
    pending = any(row["status"] == "pending" for row in feedback) or "human-feedback" in kinds
    found = {
        "hard blocker": any(record["kind"] == "blocker" and record_is_hard_blocker(record) for record in blocking),
        "open clarification chain": chain,
        "blocking helper assignment": bool(helpers),
        "open dependency": any(item["blocking"] for item in dependencies),
        "pending human feedback": pending,
        "open human escalation": "human-escalation" in kinds,
        "targeted open request": targeted,
    }
    return [phrase for phrase, applies in found.items() if applies]
