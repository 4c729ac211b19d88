"""The entities of the control plane as they are shown: one normaliser a kind. Pure. Spec: COORD 7.3, 10."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contradiction_entity import normalize_contradiction
from .coordination_records import parse_flag, parse_int, string_list, text

if TYPE_CHECKING:
    JsonObject = dict[str, Any]


def _bundle(entity_id: str, data: JsonObject) -> JsonObject:
    return {
        "proofBundleId": text(data.get("proofBundleId")) or entity_id,
        "agentId": text(data.get("agentId")) or None,
        "state": data.get("state") or "active",
        "authoritative": bool(parse_flag(data.get("authoritative"))),
        "recordedAt": data.get("recordedAt") or data["createdAt"],
        "updatedAt": data["updatedAt"],
        "recordedBy": data.get("recordedBy"),
        "detail": text(data.get("detail")),
        "summary": text(data.get("summary")),
        "satisfyOwnedComponents": bool(parse_flag(data.get("satisfyOwnedComponents"))),
        "proof": data.get("proof"),
        "docDelta": data.get("docDelta"),
        "components": _dicts(data.get("components")),
        "artifacts": _dicts(data.get("artifacts")),
        "scope": text(data.get("scope")) or "wave",
        "attestation": data.get("attestation"),
        "satisfies": string_list(data.get("satisfies")),
        "supersedes": data.get("supersedes"),
        "supersededBy": data.get("supersededBy"),
    }


def _rerun(entity_id: str, data: JsonObject) -> JsonObject:
    reuse = parse_flag(data.get("reuseDerivedSummaries"))
    once = parse_flag(data.get("applyOnce"))
    return {
        "requestId": text(data.get("requestId")) or entity_id,
        "state": data.get("state") or "active",
        "selectedAgentIds": string_list(data.get("selectedAgentIds")),
        "resumeCursor": text(data.get("resumeCursor")) or text(data.get("resumePhase")) or None,
        "reuseAttemptIds": string_list(data.get("reuseAttemptIds")),
        "reuseProofBundleIds": string_list(data.get("reuseProofBundleIds")),
        "reuseDerivedSummaries": True if reuse is None else reuse,
        "invalidateComponentIds": string_list(data.get("invalidateComponentIds")),
        "clearReusableAgentIds": string_list(data.get("clearReusableAgentIds")),
        "preserveReusableAgentIds": string_list(data.get("preserveReusableAgentIds")),
        "requestedBy": text(data.get("requestedBy")) or "human-operator",
        "reason": text(data.get("reason")) or None,
        "applyOnce": True if once is None else once,
        "createdAt": data["createdAt"],
        "updatedAt": data["updatedAt"],
    }


def _attempt(entity_id: str, data: JsonObject) -> JsonObject:
    snapshot = {
        "attemptId": text(data.get("attemptId")) or entity_id,
        "attemptNumber": parse_int(data.get("attemptNumber")),
        "state": data.get("state") or "running",
        "selectedAgentIds": string_list(data.get("selectedAgentIds")),
        "detail": text(data.get("detail")) or None,
        "createdAt": data["createdAt"],
        "updatedAt": data["updatedAt"],
    }
    if data.get("supervisorRunId"):
        snapshot["supervisorRunId"] = data["supervisorRunId"]
    return snapshot


def _human_input(entity_id: str, data: JsonObject) -> JsonObject:
    return {
        "humanInputId": text(data.get("humanInputId")) or entity_id,
        "requestId": text(data.get("requestId")) or entity_id,
        "state": data.get("state") or "pending",
        "operator": data.get("operator"),
        "response": data.get("response"),
        "createdAt": data["createdAt"],
        "updatedAt": data["updatedAt"],
    }


def _fact(entity_id: str, data: JsonObject) -> JsonObject:
    defaults = {"factId": entity_id, "version": 1, "kind": "claim", "status": "active"}
    return {**defaults, **{key: value for key, value in data.items() if value not in (None, "")}}


def _contradiction(entity_id: str, data: JsonObject) -> JsonObject:
    return normalize_contradiction({**data, "contradictionId": entity_id}, blocking=True)


def _dicts(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


SNAPSHOTS = {
    "proof_bundle": _bundle,
    "rerun_request": _rerun,
    "attempt": _attempt,
    "human_input": _human_input,
    "contradiction": _contradiction,
    "fact": _fact,
}
"""Entity type -> `(entity id, merged data of its events)` -> snapshot. Only a contradiction can be refused."""
