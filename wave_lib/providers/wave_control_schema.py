"""The event envelope of Wave Control and its artifact descriptors: normalisation and ids. Spec: PROV 7."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..base.errors import StateError
from ..base.text import compact_json, sha256_text
from ..base.timestamps import iso_of, now_iso, parse_iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    JsonObject = dict[str, Any]

KIND = "wave-control-event"
ENTITY_TYPES = (
    "task", "proof_bundle", "rerun_request", "attempt", "human_input", "contradiction", "fact", "wave_run", "agent_run",
    "wave_signal", "agent_signal", "coordination_record", "gate", "artifact", "benchmark_run", "benchmark_item",
    "verification", "review",
)  # fmt: skip
RUN_KINDS = ("roadmap", "adhoc", "benchmark", "service", "unknown")
UPLOAD_POLICIES = ("local-only", "metadata-only", "selected", "full")
REPORT_MODES = ("disabled", "metadata-only", "metadata-plus-selected", "full-artifact-upload")
REVIEW_VALIDITIES = (
    "comparison-valid", "review-only", "benchmark-invalid", "harness-setup-failure", "proof-blocked",
    "trustworthy-model-failure",
)  # fmt: skip
IDENTITY_KEYS = (
    "workspaceId", "projectId", "runId", "runKind", "lane", "wave", "attempt", "agentId", "orchestratorId",
    "runtimeVersion", "benchmarkRunId", "benchmarkItemId",
)  # fmt: skip
_ID_KEYS = (
    "workspaceId", "projectId", "runId", "lane", "wave", "attempt", "orchestratorId", "runtimeVersion",
)  # fmt: skip


def stable_json(value: Any) -> str:
    """Compact JSON with sorted keys, equal in both implementations. Spec: PROV 7.5."""
    return compact_json(value, sort_keys=True)


def attestation_hash(attestation: Mapping[str, Any]) -> str:
    """SHA-256 of an attestation. Spec: PROV 7.5."""
    return sha256_text(stable_json(dict(attestation)))


def member(value: object, allowed: Sequence[str], field: str, default: str = "") -> str:
    """An enum value in normal form. Raises StateError naming the field and what it may be. Spec: PROV 7.1."""
    text = value.strip().lower() if isinstance(value, str) else ""
    text = text or default
    if text not in allowed:
        raise StateError(f"{field} must be one of: {', '.join(allowed)} (got: {value!r})")
    return text


def normalize_event(
    raw: Mapping[str, Any], defaults: Mapping[str, Any] | None = None, report_mode: str = "metadata-only"
) -> JsonObject:
    """A whole envelope from what is given; `defaults` are identity fields. Raises StateError. Spec: PROV 7.2, 7.3."""
    recorded = parse_iso(raw.get("recordedAt"))
    entity_type = member(raw.get("entityType"), ENTITY_TYPES, "entityType")
    entity_id, action = _text(raw.get("entityId")), _text(raw.get("action"))
    if entity_id is None or action is None:
        raise StateError(f"{'entityId' if entity_id is None else 'action'} is missing in a telemetry event")
    event: JsonObject = {
        "schemaVersion": 1,
        "kind": KIND,
        "id": _text(raw.get("id")),
        "category": _text(raw.get("category")) or "runtime",
        "source": _text(raw.get("source")) or "wave",
        "actor": _text(raw.get("actor")),
        "recordedAt": now_iso() if recorded is None else iso_of(recorded),
        "entityType": entity_type,
        "entityId": entity_id,
        "action": action.lower(),
        "identity": normalize_identity(raw.get("identity"), defaults),
        "tags": _tags(raw.get("tags")),
        "metrics": _object(raw.get("metrics")),
        "data": _data(raw, report_mode),
        "artifacts": [item for item in map(normalize_artifact, _objects(raw.get("artifacts"))) if item is not None],
    }
    event["id"] = event["id"] or event_id(event)
    return event


def event_id(event: Mapping[str, Any]) -> str:
    """The id that an event gets from its content. Spec: PROV 7.2."""
    facts = {key: event["identity"][key] for key in _ID_KEYS}
    facts.update((key, event[key]) for key in ("entityType", "entityId", "action", "recordedAt"))
    return "wctl-" + _sha1(stable_json(facts))[:16]


def normalize_identity(given: object, defaults: Mapping[str, Any] | None = None) -> JsonObject:
    """All twelve keys; what the event says wins over the defaults. Spec: PROV 7.3."""
    own = given if isinstance(given, dict) else {}
    identity: JsonObject = {}
    for key in IDENTITY_KEYS:
        read = _count if key in ("wave", "attempt") else _text
        value = read(own.get(key))
        identity[key] = read((defaults or {}).get(key)) if value is None else value
    identity["runKind"] = member(identity["runKind"], RUN_KINDS, "runKind", "unknown")
    return identity


def normalize_artifact(raw: Mapping[str, Any]) -> JsonObject | None:
    """A descriptor, None for one that describes nothing. Spec: PROV 7.4."""
    path, kind, digest = _text(raw.get("path")), _text(raw.get("kind")), _text(raw.get("sha256"))
    if path is None and kind is None and digest is None:
        return None
    kind = kind or "artifact"
    recorded = parse_iso(raw.get("recordedAt"))
    return {
        "artifactId": _text(raw.get("artifactId")) or artifact_id(path, kind, digest),
        "path": path,
        "kind": kind,
        "required": raw.get("required") is True,
        "present": raw.get("present") is True,
        "sha256": digest,
        "bytes": _count(raw.get("bytes")),
        "contentType": _text(raw.get("contentType")),
        "uploadPolicy": member(raw.get("uploadPolicy"), UPLOAD_POLICIES, "uploadPolicy", "metadata-only"),
        "label": _text(raw.get("label")),
        "recordedAt": None if recorded is None else iso_of(recorded),
    }


def artifact_id(path: str | None, kind: str, digest: str | None) -> str:
    """The id that a descriptor gets from its content."""
    return "artifact-" + _sha1(stable_json({"path": path, "kind": kind, "sha256": digest}))[:16]


def _data(raw: Mapping[str, Any], report_mode: str) -> JsonObject:
    data = _object(raw.get("data"))
    attestation = raw.get("attestation", data.get("attestation"))
    if isinstance(attestation, dict):
        digest = attestation_hash(attestation)
        data["attestation"] = {**copy.deepcopy(attestation), "configHash": digest, "reportMode": report_mode}
    return data


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 16:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _tags(value: object) -> list[str]:
    found = (_text(tag) for tag in value) if isinstance(value, (list, tuple)) else ()
    return list(dict.fromkeys(tag for tag in found if tag))


def _object(value: object) -> JsonObject:
    return copy.deepcopy(value) if isinstance(value, dict) else {}


def _objects(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, (list, tuple)) else []


def _sha1(text: str) -> str:
    from hashlib import sha1

    return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
