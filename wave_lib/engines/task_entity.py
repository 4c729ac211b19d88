"""Durable work units of a wave, as the reducer follows them: fields, transitions, leases, and where they come from.

Pure. Not the same as the ledger's tasks or the operator's task snapshots. Spec: COORD 9.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from ..base.errors import StateError
from ..base.text import compact_json, sha256_text
from ..base.timestamps import iso_of, parse_iso
from ..definition import roles
from ..state.coordination_records import parse_int, record_blocks_wave, string_list, text
from .role_verdicts import task_kinds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from ..state.coordination_store import CoordinationState
    from .gate_results import Verdict

    JsonObject = dict[str, Any]

TASK_TYPES = (
    "design",
    "implementation",
    "integration",
    "documentation",
    "cont-qa",
    "cont-eval",
    "security",
    "component",
    "helper",
    "dependency",
    "clarification",
    "human-input",
    "escalation",
)
CLOSURE_TRANSITIONS = {
    "open": ("owned_slice_proven", "cancelled", "superseded"),
    "owned_slice_proven": ("open", "wave_closure_ready", "cancelled", "superseded"),
    "wave_closure_ready": ("closed", "cancelled", "superseded"),
    "closed": (),
    "cancelled": (),
    "superseded": (),
}
LEASE_STATES = ("unleased", "leased", "released", "expired")
STATUSES = ("pending", "in_progress", "proven", "blocked", "completed")
EPOCH = "1970-01-01T00:00:00.000Z"
COORDINATION_TYPES = ("clarification", "human-input", "escalation")

_NOT_SLUG = re.compile(r"[^a-z0-9._:-]+")
_NOT_SCOPE = re.compile(r"[^a-z0-9-]")


# --- the entity -----------------------------------------------------------------------------------------------------


def normalize_task(raw: object) -> JsonObject:
    """A whole task. StateError for anything that is no object, and for a bad type, closure or lease state."""
    if not isinstance(raw, dict):
        raise StateError("Task must be an object")
    task_type = _member("task type", raw.get("taskType"), TASK_TYPES, "implementation")
    title, owner = text(raw.get("title")), text(raw.get("ownerAgentId")) or None
    contract = _contract(raw.get("artifactContract"))
    hashed = {"taskType": task_type, "title": title, "ownerAgentId": owner, "artifactContract": contract}
    content_hash = sha256_text(compact_json(hashed))
    status = text(raw.get("status"))
    created = text(raw.get("createdAt")) or EPOCH
    return {
        "taskId": text(raw.get("taskId")) or f"task-{content_hash[:8]}",
        "version": parse_int(raw.get("version")) or 1,
        "contentHash": content_hash,
        "waveNumber": parse_int(raw.get("waveNumber")),
        "lane": text(raw.get("lane")) or None,
        "taskType": task_type,
        "title": title,
        "detail": text(raw.get("detail")),
        "ownerAgentId": owner,
        "assigneeAgentId": text(raw.get("assigneeAgentId")) or owner,
        "leaseState": _member("lease state", raw.get("leaseState"), LEASE_STATES, "unleased"),
        "leaseOwnerAgentId": raw.get("leaseOwnerAgentId"),
        "leaseAcquiredAt": raw.get("leaseAcquiredAt"),
        "leaseExpiresAt": raw.get("leaseExpiresAt"),
        "leaseHeartbeatAt": raw.get("leaseHeartbeatAt"),
        "artifactContract": contract,
        "proofRequirements": _requirements(raw.get("proofRequirements")),
        "dependencyEdges": _edges(raw.get("dependencyEdges")),
        "components": [item for item in raw.get("components") or () if isinstance(item, dict)],
        "status": status if status in STATUSES else "pending",
        "closureState": _member("closure state", raw.get("closureState"), tuple(CLOSURE_TRANSITIONS), "open"),
        "sourceRecordId": raw.get("sourceRecordId"),
        "priority": text(raw.get("priority")) or "normal",
        "createdAt": created,
        "updatedAt": text(raw.get("updatedAt")) or created,
    }


def _member(field: str, value: object, allowed: Sequence[str], default: str) -> str:
    word = text(value) or default
    if word not in allowed:
        raise StateError(f"Invalid {field}: {word} (allowed: {', '.join(allowed)})")
    return word


def _contract(raw: object) -> JsonObject:
    value = raw if isinstance(raw, dict) else {}
    deliverables = [
        {"path": item, "exists": False, "sha256": None}
        if isinstance(item, str)
        else {"path": item.get("path"), "exists": bool(item.get("exists")), "sha256": item.get("sha256")}
        for item in value.get("deliverables") or ()
    ]
    return {
        "deliverables": deliverables,
        "proofArtifacts": list(value.get("proofArtifacts") or ()),
        "exitContract": value.get("exitContract"),
        "requiredPaths": string_list(value.get("requiredPaths")),
        "componentTargets": dict(value.get("componentTargets") or {}),
    }


def _requirements(raw: object) -> JsonObject:
    if isinstance(raw, list):
        raw = {
            "proofCentric": "proof-artifacts-present" in raw,
            "maturityTarget": "component" if "component-level-met" in raw else None,
        }
    value = raw if isinstance(raw, dict) else {}
    return {
        "proofLevel": value.get("proofLevel") or "unit",
        "proofCentric": bool(value.get("proofCentric")),
        "maturityTarget": value.get("maturityTarget"),
    }


def _edges(raw: object) -> list[JsonObject]:
    return [
        {
            "taskId": item.get("taskId") or item.get("targetTaskId"),
            "kind": item.get("kind") or "blocks",
            "status": item.get("status") or "pending",
        }
        for item in (raw if isinstance(raw, list) else ())
        if isinstance(item, dict)
    ]


def transition_closure_state(task: Mapping[str, Any], to_state: str, **changes: Any) -> JsonObject:
    """The task in a new closure state. StateError when the table does not allow it."""
    current = text(task.get("closureState"))
    if current not in CLOSURE_TRANSITIONS:
        raise StateError(f"Invalid closure state: {current}")
    if to_state not in CLOSURE_TRANSITIONS:
        raise StateError(f"Invalid target closure state: {to_state}")
    if to_state not in CLOSURE_TRANSITIONS[current]:
        raise StateError(f"Invalid closure transition from {current} to {to_state}")
    return {**task, **changes, "closureState": to_state}


# --- leases ---------------------------------------------------------------------------------------------------------


def lease_expired(task: Mapping[str, Any], now: str) -> bool:
    """Whether the lease has run out; one without an end never does."""
    end, current = parse_iso(task.get("leaseExpiresAt")), parse_iso(now)
    return end is not None and current is not None and current >= end


def acquire_lease(task: Mapping[str, Any], agent_id: str, now: str, seconds: float | None = None) -> JsonObject:
    """Lease the task; an expired lease may be taken over. StateError when it is leased, or without an agent."""
    if not agent_id:
        raise StateError("A lease requires an agent id")
    if task["leaseState"] == "leased" and not lease_expired(task, now):
        raise StateError(f"Task {task['taskId']} is already leased by {task['leaseOwnerAgentId']}")
    start = parse_iso(now)
    ends = None if seconds is None or start is None else iso_of(start + seconds)
    return {
        **task,
        "leaseState": "leased",
        "leaseOwnerAgentId": agent_id,
        "leaseAcquiredAt": now,
        "leaseExpiresAt": ends,
        "leaseHeartbeatAt": now,
        "updatedAt": now,
    }


def release_lease(task: Mapping[str, Any], now: str) -> JsonObject:
    """Give the task back."""
    cleared = dict.fromkeys(("leaseOwnerAgentId", "leaseAcquiredAt", "leaseExpiresAt", "leaseHeartbeatAt"))
    return {**task, **cleared, "leaseState": "released", "updatedAt": now}


def heartbeat_lease(task: Mapping[str, Any], now: str) -> JsonObject:
    """Say that the holder is alive. StateError unless leased."""
    return {**_leased(task), "leaseHeartbeatAt": now, "updatedAt": now}


def expire_lease(task: Mapping[str, Any], now: str) -> JsonObject:
    """Note that the lease ran out. StateError unless leased."""
    return {**_leased(task), "leaseState": "expired", "updatedAt": now}


def _leased(task: Mapping[str, Any]) -> Mapping[str, Any]:
    if task["leaseState"] != "leased":
        raise StateError(f"Task {task['taskId']} is not leased")
    return task


# --- where tasks come from ------------------------------------------------------------------------------------------


def tasks_from_wave(wave: Wave, bindings: RoleBindings, lane: str, seed_time: str = EPOCH) -> list[JsonObject]:
    """One task per agent and kind, and one per component promotion."""
    place = {"waveNumber": wave.wave, "lane": lane, "createdAt": seed_time}
    tasks = [
        normalize_task({**place, **_agent_task(wave.wave, agent, kind)})
        for agent in wave.agents
        for kind in task_kinds(agent, bindings)
    ]
    for promotion in wave.component_promotions:
        component, level = promotion.component_id, promotion.target_level
        tasks.append(
            normalize_task(
                {
                    **place,
                    "taskId": f"wave-{wave.wave}:system:promote-{component}",
                    "taskType": "component",
                    "title": f"Promote {component} to {level}",
                    "priority": "high",
                    "components": [{"componentId": component, "targetLevel": level}],
                    "artifactContract": {"componentTargets": {component: level}},
                    "proofRequirements": {"maturityTarget": "component"},
                }
            )
        )
    return tasks


def _agent_task(number: int, agent: Agent, kind: str) -> JsonObject:
    scope = _NOT_SCOPE.sub("", "-".join(agent.title.lower().split())) or "primary"
    contract = agent.exit_contract
    implements = kind == "implementation"
    files = [{"path": path, "kind": "file"} for path in agent.deliverables]
    return {
        "taskId": f"wave-{number}:{agent.agent_id}:{scope}-{kind}",
        "taskType": kind,
        "title": agent.title,
        "detail": agent.prompt_overlay or agent.prompt,
        "ownerAgentId": agent.agent_id,
        "priority": "normal" if implements else "high",
        "components": [
            {"componentId": item, "targetLevel": agent.component_targets.get(item)} for item in agent.components
        ],
        "artifactContract": {
            "deliverables": list(agent.deliverables),
            "proofArtifacts": files,
            "exitContract": None if contract is None else contract._asdict(),
            "requiredPaths": list(agent.owned_paths),
            "componentTargets": dict(agent.component_targets),
        },
        "proofRequirements": {
            "proofLevel": (contract.proof if contract else None) or "unit",
            "proofCentric": implements and bool(agent.deliverables),
            "maturityTarget": "component" if implements and any(agent.component_targets.values()) else None,
        },
    }


def tasks_from_coordination(
    state: CoordinationState, feedback: Sequence[Mapping[str, Any]], number: int, lane: str
) -> list[JsonObject]:
    """Tasks of blocking clarifications, human feedback and escalations, and of pending questions without a record."""
    tasks = []
    for kind, task_type in (
        ("clarification-request", "clarification"),
        ("human-feedback", "human-input"),
        ("human-escalation", "escalation"),
    ):
        for record in state.open_of_kind(kind):
            if record_blocks_wave(record):
                tasks.append(_coordination_task(record, task_type, number, lane))
    for row in feedback:
        if row["status"] == "pending" and row["id"] not in state.by_id:
            record = {**row, "summary": row["question"], "detail": row["context"], "priority": "high"}
            tasks.append(_coordination_task(record, "human-input", number, lane))
    return tasks


def _coordination_task(record: Mapping[str, Any], task_type: str, number: int, lane: str) -> JsonObject:
    agent = text(record.get("agentId"))
    source = text(record.get("id"))
    title, detail = text(record.get("summary")), text(record.get("detail"))
    if source:
        part = _NOT_SLUG.sub("-", source.lower()).strip("-")
    else:
        told = "\n".join([task_type, title, detail, agent, str(number)])
        part = hashlib.sha1(told.encode("utf-8"), usedforsecurity=False).hexdigest()[:12]
    return normalize_task(
        {
            "taskId": f"wave-{number}:{agent or 'system'}:{task_type}-{part}",
            "taskType": task_type,
            "waveNumber": number,
            "lane": lane,
            "title": title,
            "detail": detail,
            "ownerAgentId": agent,
            "sourceRecordId": source or None,
            "priority": "urgent" if task_type == "escalation" else record.get("priority"),
            "status": "in_progress",
            "createdAt": record.get("createdAt"),
            "updatedAt": record.get("updatedAt"),
        }
    )


def merge_task_sets(wave_tasks: Sequence[JsonObject], coordination_tasks: Iterable[JsonObject]) -> list[JsonObject]:
    """All tasks; a coordination task whose source record is there already is dropped."""
    known = {task["sourceRecordId"] for task in wave_tasks if task["sourceRecordId"]}
    merged = list(wave_tasks)
    for task in coordination_tasks:
        if task["sourceRecordId"] not in known:
            merged.append(task)
            known.add(task["sourceRecordId"])
    return merged


# --- judging --------------------------------------------------------------------------------------------------------


def evaluate_owned_slice_proven(
    task: Mapping[str, Any] | None,
    wave: Wave,
    bindings: RoleBindings,
    summaries: Mapping[str, JsonObject | None],
    verdicts: Mapping[str, Mapping[str, Verdict]],
) -> tuple[bool, str]:
    """(proven, reason) of one task; component tasks are judged by the markers of all owners together."""
    if not task or not task.get("taskType"):
        return False, "Invalid task"
    kind = task["taskType"]
    if kind == "component":
        return _component_proven(task, wave, summaries)
    agent_id = task["ownerAgentId"]
    if kind in COORDINATION_TYPES:
        return False, "Waiting for an answer"
    agent = wave.agent(agent_id)
    if agent is None or summaries.get(agent_id) is None:
        return False, "No agent result available"
    verdict = verdicts.get(agent_id, {}).get(kind)
    if verdict is None:
        return False, "Invalid task"
    if not verdict.ok:
        return False, f"{verdict.status_code}: {verdict.detail}".rstrip(": ")
    if kind == "implementation" or (kind == "cont-eval" and roles.is_cont_eval_implementing(agent, bindings)):
        for component, level in agent.component_targets.items():
            if level and not _reported_met(summaries.get(agent_id), component, level):
                return False, f"Component {component} is not reported met at {level}"
    return True, verdict.detail or "Owned slice proven"


def _component_proven(
    task: Mapping[str, Any], wave: Wave, summaries: Mapping[str, JsonObject | None]
) -> tuple[bool, str]:
    for item in task["components"]:
        component, level = item["componentId"], item["targetLevel"]
        owners = [agent.agent_id for agent in wave.agents if component in agent.components]
        if not owners:
            return False, f"Nobody owns component {component}"
        waiting = [owner for owner in owners if not _reported_met(summaries.get(owner), component, level)]
        if waiting:
            return False, f"Component {component} at {level} is not reported met by {', '.join(waiting)}"
    return True, "Every owner reports the component met"


def _reported_met(summary: JsonObject | None, component: str, level: str) -> bool:
    return any(
        item.get("componentId") == component and item.get("state") == "met" and item.get("level") == level
        for item in (summary or {}).get("components") or ()
    )


def evaluate_wave_closure_ready(
    tasks: Iterable[Mapping[str, Any]], gate_snapshot: Mapping[str, Any] | None
) -> tuple[bool, str]:
    """(ready, reason): every gate passes and no task is open or merely proven."""
    if not gate_snapshot:
        return False, "No gate snapshot"
    overall = gate_snapshot.get("overall") or {}
    if not overall.get("ok"):
        return False, f"Gate {overall.get('gate')} fails: {overall.get('statusCode')}"
    unready = [task["taskId"] for task in tasks if task["closureState"] in ("open", "owned_slice_proven")]
    return (False, f"Tasks not ready: {', '.join(unready)}") if unready else (True, "Every task is ready")
