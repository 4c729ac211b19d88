"""Turning canonical records into telemetry events: one function a kind of record. Spec: PROV 8.5."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.files import read_bytes
from ..base.text import sha256_bytes
from .wave_control_client import RawEvent, Telemetry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    JsonObject = dict[str, Any]

_RECORD_KEYS = (
    "kind", "status", "priority", "blocking", "blockerSeverity", "confidence", "summary", "detail", "targets",
    "artifactRefs", "dependsOn", "closureCondition", "required", "executorId", "project", "requesterLane", "ownerLane",
    "requesterProject", "ownerProject",
)  # fmt: skip
_TRACE_ARTIFACTS = (
    ("trace-run-metadata", "run-metadata.json", "selected", True),
    ("trace-quality", "quality.json", "selected", True),
    ("trace-outcome", "outcome.json", "selected", True),
    ("integration-summary", "integration.json", "selected", True),
    ("proof-registry", "proof-registry.json", "selected", False),
    ("control-plane-log", "control-plane.raw.jsonl", "metadata-only", False),
)


def record(telemetry: Telemetry, kind: str, records: Sequence[Mapping[str, Any]]) -> None:
    """What a state writer has just appended; never fails. `kind`: see `state/telemetry_sink.py`."""
    flag, make = _MAKERS[kind]
    if telemetry.captures(flag):
        telemetry.record([RawEvent(make(item)) for item in records])


def control_plane_event(event: Mapping[str, Any]) -> JsonObject:
    """A control-plane event as telemetry."""
    data = event.get("data") or {}
    identity = {key: event.get(key) for key in ("lane", "wave", "attempt", "runKind", "runId")}
    return {
        "category": "control-plane",
        "source": event.get("source"),
        "actor": event.get("actor"),
        "recordedAt": event.get("recordedAt") or event.get("createdAt"),
        "entityType": event.get("entityType"),
        "entityId": event.get("entityId"),
        "action": event.get("action"),
        "identity": {**identity, "agentId": data.get("agentId")},
        "tags": ["control-plane", event.get("entityType")],
        "data": data,
    }


def coordination_event(entry: Mapping[str, Any]) -> JsonObject:
    """A coordination record as telemetry."""
    identity = {key: entry.get(key) for key in ("lane", "wave", "agentId")}
    return {
        "category": "coordination",
        "source": entry.get("source"),
        "actor": entry.get("agentId"),
        "recordedAt": entry.get("updatedAt") or entry.get("createdAt"),
        "entityType": "coordination_record",
        "entityId": entry.get("id"),
        "action": "recorded",
        "identity": {**identity, "attempt": entry.get("attempt")},
        "tags": [f"kind:{entry.get('kind')}", f"status:{entry.get('status')}"],
        "data": {key: entry[key] for key in _RECORD_KEYS if key in entry},
    }


def feedback_event(request: Mapping[str, Any]) -> JsonObject:
    """A feedback request as telemetry: asked, or answered."""
    answered = request.get("status") == "answered"
    response = request.get("response") or {}
    actor = response.get("operator") if answered else request.get("orchestratorId")
    return {
        "category": "feedback",
        "source": "operator" if answered else "orchestrator",
        "actor": actor,
        "recordedAt": request.get("updatedAt"),
        "entityType": "human_input",
        "entityId": request.get("id"),
        "action": "answered" if answered else "requested",
        "identity": {key: request.get(key) for key in ("lane", "wave", "agentId")},
        "tags": ["feedback", "human-input", *(["answered"] if answered else [])],
        "data": request,
    }


def trace_event(
    telemetry: Telemetry, wave: int, attempt: int, trace_dir: str, recommendation: object, gate: object
) -> RawEvent:
    """The bundle of an attempt, with descriptors of the files that may be uploaded. `trace_dir`: repo-relative."""
    artifacts, sources = [], {}
    for kind, name, policy, required in _TRACE_ARTIFACTS:
        path = f"{trace_dir}/{name}"
        artifact = described(telemetry.paths.root, path, kind, policy, required)
        artifacts.append(artifact)
        sources[artifact["artifactId"]] = path
    event = {
        "category": "trace",
        "source": "launcher",
        "actor": "launcher",
        "entityType": "artifact",
        "entityId": f"wave-{wave}-attempt-{attempt}-trace-bundle",
        "action": "bundle-written",
        "identity": {"wave": wave, "attempt": attempt},
        "tags": ["trace", "attempt-bundle"],
        "data": {"traceDir": trace_dir, "finalRecommendation": recommendation, "gate": gate},
        "artifacts": artifacts,
    }
    return RawEvent(event, sources)


def described(root: str, path: str, kind: str, policy: str, required: bool) -> JsonObject:
    """The descriptor of a file as it is now. Spec: PROV 7.4."""
    from .wave_control_schema import normalize_artifact

    data = read_bytes(os.path.join(root, path))
    raw = {"path": path, "kind": kind, "uploadPolicy": policy, "required": required, "present": data is not None}
    if data is not None:
        raw.update(sha256=sha256_bytes(data), bytes=len(data))
    artifact = normalize_artifact(raw)
    assert artifact is not None  # it has a path
    return artifact


_MAKERS = {
    "control-plane": ("captureControlPlaneEvents", control_plane_event),
    "coordination": ("captureCoordinationRecords", coordination_event),
    "feedback": ("captureCoordinationRecords", feedback_event),
}
