"""The launcher's own bookkeeping records of a wave, and what has to be appended so that the log holds them.

Pure. Spec: COORD 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..state.coordination_records import is_agent_request_seed, is_open, is_seed, normalize_record, updated_record

if TYPE_CHECKING:
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

DEFINITION_KEYS = (
    "kind",
    "wave",
    "lane",
    "agentId",
    "targets",
    "priority",
    "artifactRefs",
    "dependsOn",
    "closureCondition",
    "confidence",
    "summary",
    "detail",
)
_REOPENING_KEYS = ("summary", "detail", "targets", "artifactRefs")


def seed_records(
    wave: Wave,
    bindings: RoleBindings,
    lane: str,
    project: str,
    shared_plan_docs: Sequence[str],
    feedback: Sequence[Mapping[str, Any]],
    now: str,
) -> list[JsonObject]:
    """The seed records of a wave as they would be appended to an empty log."""
    number = wave.wave
    raws: list[JsonObject] = [_agent_request(number, agent, bindings) for agent in wave.agents]
    for promotion in wave.component_promotions:
        raws.append(
            {
                "id": f"wave-{number}-component-{promotion.component_id}",
                "kind": "decision",
                "status": "in_progress",
                "priority": "high",
                "artifactRefs": [promotion.component_id],
                "summary": f"Promote {promotion.component_id} to {promotion.target_level}",
                "detail": f"Component {promotion.component_id} is to reach {promotion.target_level} in wave {number}.",
            }
        )
    if shared_plan_docs:
        raws.append(
            {
                "id": f"wave-{number}-shared-plan-docs",
                "kind": "request",
                "targets": [f"agent:{bindings.documentation}"],
                "priority": "high",
                "artifactRefs": list(shared_plan_docs),
                "summary": f"Keep the shared plan docs of wave {number} true",
                "detail": f"Bring {', '.join(shared_plan_docs)} up to date with what the wave did.",
            }
        )
    if wave.agent(bindings.integration) is not None:
        raws.append(
            {
                "id": f"wave-{number}-integration-summary",
                "kind": "integration-summary",
                "targets": [f"agent:{bindings.integration}"],
                "priority": "high",
                "summary": f"Integration summary of wave {number}",
                "detail": "Collect claims, conflicts, blockers and gaps of all agents into one recommendation.",
            }
        )
    raws += [_feedback_record(row) for row in feedback]
    place = {"wave": number, "lane": lane, "project": project, "source": "launcher"}
    return [normalize_record({"agentId": "launcher", **place, **raw}, now) for raw in raws]


def _agent_request(number: int, agent: Agent, bindings: RoleBindings) -> JsonObject:
    closure = (bindings.cont_qa, bindings.cont_eval, bindings.integration, bindings.documentation)
    urgent = (bindings.cont_qa, bindings.cont_eval, bindings.documentation)
    return {
        "id": f"wave-{number}-agent-{agent.agent_id}-request",
        "kind": "request",
        "targets": [] if agent.agent_id in closure else [f"agent:{agent.agent_id}"],
        "priority": "high" if agent.agent_id in urgent else "normal",
        "artifactRefs": list(agent.owned_paths),
        "summary": f"Wave {number}: {agent.agent_id} ({agent.title}) does its assignment",
        "detail": agent.prompt_overlay or agent.prompt or agent.title,
    }


def _feedback_record(row: Mapping[str, Any]) -> JsonObject:
    answered = row["status"] == "answered"
    status = "cancelled" if answered and row.get("disposition") == "dismissed" else "resolved"
    return {
        "id": row["id"],
        "kind": "human-feedback",
        "agentId": row["agentId"] or "human",
        "targets": [f"agent:{row['agentId']}"],
        "priority": "high",
        "status": status if answered else "open",
        "summary": row["question"],
        "detail": row["responseText"] if answered else row["context"],
    }


def feedback_seeds(requests: Sequence[Mapping[str, Any]], place: Mapping[str, Any], now: str) -> list[JsonObject]:
    """Seeds of questions that are about to be asked (`{id, agentId, question, context}`)."""
    rows = [{**request, "status": "pending", "responseText": ""} for request in requests]
    return [normalize_record({**place, "source": "launcher", **_feedback_record(row)}, now) for row in rows]


def seeds_to_append(state: CoordinationState, seeds: Sequence[JsonObject], now: str) -> list[JsonObject]:
    """Records that make the log agree with the seeds; what anybody closed or downgraded stays as it is."""
    records = []
    for seed in seeds:
        present = state.by_id.get(seed["id"])
        if present is None:
            records.append(seed)
        elif seed["kind"] == "human-feedback":
            if is_open(present) and not is_open(seed):
                records.append(updated_record(present, now, status=seed["status"], detail=seed["detail"]))
        else:
            told = present["detail"] if _ended_with_wave(present) else seed["detail"]
            changed = [key for key in DEFINITION_KEYS if present.get(key) != {**seed, "detail": told}[key]]
            if changed:
                records.append(_redefined(present, seed, changed, now))
    return records


def _redefined(present: JsonObject, seed: JsonObject, changed: Sequence[str], now: str) -> JsonObject:
    changes = {key: seed[key] for key in DEFINITION_KEYS}
    if is_agent_request_seed(seed) and any(key in _REOPENING_KEYS for key in changed):
        changes.update({key: seed[key] for key in ("status", "blocking", "blockerSeverity")})
    return updated_record(present, now, **changes)


def completion_detail(wave_number: int) -> str:
    """The detail of a seed that ended with its wave."""
    return f"Closed with the completion of wave {wave_number}."


def _ended_with_wave(record: Mapping[str, Any]) -> bool:
    """Whether the completion closed the record: then its detail tells so, and is no changed definition."""
    return bool(record["status"] == "closed" and record["detail"] == completion_detail(record["wave"]))


def completion_records(state: CoordinationState, wave_number: int, now: str) -> list[JsonObject]:
    """Updates that close what is still open of the seeds once the wave has completed."""
    detail = completion_detail(wave_number)
    return [updated_record(record, now, status="closed", detail=detail) for record in state.open if is_seed(record)]
