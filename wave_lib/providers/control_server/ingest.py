"""Taking in a batch of events: each judged on its own, all stored in one transaction. Spec: PROV 10.6."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ...base.timestamps import iso_of, now_iso, parse_iso
from .api import ApiError, Request, Response, body_object, clean_text

if TYPE_CHECKING:
    import sqlite3

    JsonObject = dict[str, Any]

_COLUMNS = (
    "id", "workspace_id", "project_id", "run_kind", "run_id", "lane", "wave", "attempt", "agent_id", "orchestrator_id",
    "runtime_version", "benchmark_run_id", "benchmark_item_id", "entity_type", "action", "recorded_at", "received_at",
    "outcome", "artifact_count", "tags", "event",
)  # fmt: skip
_INSERT = (
    f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (id) DO NOTHING"
)
_IDENTITY_TEXTS = (
    "workspaceId", "projectId", "runKind", "runId", "lane", "agentId", "orchestratorId", "runtimeVersion",
    "benchmarkRunId", "benchmarkItemId",
)  # fmt: skip
_LARGEST = 2**53
_BASE64_OVERHEAD = 1.4


class Upload(NamedTuple):
    """The body of one declared artifact."""

    artifact_id: str
    content_type: str | None
    encoding: str
    content: str


class Checked(NamedTuple):
    """An acceptable event: its row, and the bodies that came with it."""

    row: tuple[Any, ...]
    uploads: list[Upload]


def ingest(request: Request) -> Response:
    """`POST /ingest/batches`."""
    settings = request.app.settings
    events = body_object(request).get("events")
    if not isinstance(events, list):
        raise ApiError("invalid-body", "The body must have a list `events`.")
    if len(events) > settings.max_batch_events:
        raise ApiError("batch-too-large", f"A batch may have at most {settings.max_batch_events} events.")
    for event in events:
        _check_sizes(event, settings.max_artifact_bytes)
    now = now_iso()
    rejected: list[JsonObject] = []
    good: list[Checked] = []
    for index, event in enumerate(events):
        try:
            good.append(checked_event(event, now))
        except ValueError as error:
            event_id = event.get("id") if isinstance(event, dict) else None
            shown = clean_text(event_id, 200) if isinstance(event_id, str) else None
            rejected.append({"index": index, "id": shown, "error": str(error)})
    with request.app.store.writing() as db:
        accepted = sum(_store(db, item, now) for item in good)
    return Response(
        {
            "ok": True,
            "accepted": accepted,
            "duplicates": len(good) - accepted,
            "received": len(events),
            "rejected": rejected,
        }
    )


def _store(db: sqlite3.Connection, item: Checked, now: str) -> int:
    """1 for a new event, 0 for one that is known; missing bodies are added either way."""
    new = db.execute(_INSERT, item.row).rowcount
    for upload in item.uploads:
        db.execute(
            "INSERT OR IGNORE INTO artifact_uploads VALUES (?, ?, ?, ?, ?, ?)",
            (item.row[0], upload.artifact_id, upload.content_type, upload.encoding, upload.content, now),
        )
    return max(new, 0)


def checked_event(event: object, now: str) -> Checked:
    """The row of an event. Raises ValueError, whose text is for the sender."""
    if not isinstance(event, dict):
        raise ValueError("an event must be an object")
    event_id = event.get("id")
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= 200 or clean_text(event_id) != event_id:
        raise ValueError("id must be a text of 1 to 200 characters")
    if event.get("schemaVersion", 1) != 1 or event.get("kind", "wave-control-event") != "wave-control-event":
        raise ValueError("schemaVersion must be 1 and kind wave-control-event")
    entity = event.get("entityType")
    if not isinstance(entity, str) or re.fullmatch("[a-z][a-z0-9_]{0,63}", entity) is None:
        raise ValueError("entityType must match [a-z][a-z0-9_]{0,63}")
    recorded = parse_iso(event.get("recordedAt"))
    if recorded is None:
        raise ValueError("recordedAt must be an ISO time")
    identity = event.get("identity")
    if not isinstance(identity, dict):
        raise ValueError("identity must be an object")
    wave = identity.get("wave")
    if wave is not None and _count(wave) is None:
        raise ValueError("identity.wave must be null or a non-negative integer")
    stored = {key: value for key, value in event.items() if key != "artifactUploads"}
    names = {key: clean_text(identity.get(key), 500) for key in _IDENTITY_TEXTS}
    artifacts = [item for item in _list(event.get("artifacts")) if isinstance(item, dict)]
    tags = sorted({text for tag in _list(event.get("tags")) if (text := clean_text(tag, 200))})
    row = (
        event_id, names["workspaceId"], names["projectId"], names["runKind"] or "unknown", names["runId"],
        names["lane"], wave, _count(identity.get("attempt")), names["agentId"], names["orchestratorId"],
        names["runtimeVersion"], names["benchmarkRunId"], names["benchmarkItemId"], entity,
        clean_text(event.get("action"), 200), iso_of(recorded), now, _outcome(entity, event), len(artifacts),
        json.dumps(tags), json.dumps(stored),
    )  # fmt: skip
    declared = {item.get("artifactId") for item in artifacts if isinstance(item.get("artifactId"), str)}
    uploads = [upload for upload in map(_upload, _list(event.get("artifactUploads"))) if upload is not None]
    return Checked(row, [upload for upload in uploads if upload.artifact_id in declared])


def _outcome(entity: str, event: JsonObject) -> str | None:
    """What overviews count: the gate that stopped a run, the validity of a review."""
    data = event.get("data") if isinstance(event.get("data"), dict) else {}
    assert isinstance(data, dict)
    if entity == "gate":
        snapshot = data.get("gateSnapshot")
        overall = snapshot.get("overall") if isinstance(snapshot, dict) else None
        found = overall if isinstance(overall, dict) else {}
        return clean_text(found.get("gate"), 200) or clean_text(found.get("statusCode"), 200)
    if entity == "review":
        return clean_text(data.get("validity") or data.get("reviewValidity") or event.get("action"), 200)
    return None


def _upload(value: object) -> Upload | None:
    if not isinstance(value, dict):
        return None
    artifact_id, content = value.get("artifactId"), value.get("content")
    encoding = value.get("encoding") or "utf8"
    if not isinstance(artifact_id, str) or not isinstance(content, str) or encoding not in ("utf8", "base64"):
        return None
    body = content.encode("utf-8", "replace").decode("utf-8")
    return Upload(artifact_id, clean_text(value.get("contentType"), 200), encoding, body)


def _check_sizes(event: object, limit: int) -> None:
    """Raises ApiError when a body is too large, encoded or decoded."""
    for value in _list(event.get("artifactUploads")) if isinstance(event, dict) else []:
        content = value.get("content") if isinstance(value, dict) else None
        if not isinstance(content, str):
            continue
        size = len(content.encode("utf-8", "replace"))
        decoded = size * 3 // 4 - content[-2:].count("=") if value.get("encoding") == "base64" else size
        if size > limit * _BASE64_OVERHEAD or decoded > limit:
            raise ApiError("artifact-too-large", f"An artifact may have at most {limit} bytes.")


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        return None
    return value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
