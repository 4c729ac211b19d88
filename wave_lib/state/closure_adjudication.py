"""The stored form of adjudications: records for people, never an input of a decision.

Holds: nothing.
Writes: `closure/wave-<n>/attempt-<a>/<agentId>.json`, atomically.
When killed: a record may be missing; the decision is recomputed from the facts anyway.

Spec: GATE 11, 15.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base import files
from ..base.timestamps import now_iso
from .artifact_schemas import read_normalized

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths

JsonObject = dict[str, Any]

KIND = "wave-closure-adjudication"
SCHEMA_VERSION = 1


def write_adjudication(paths: LanePaths, wave: int, attempt: int, agent_id: str, decision: JsonObject, now: str) -> str:
    """Store one adjudication (`Adjudication.to_json()`) and return its path; an equal one is not rewritten."""
    path = paths.closure_record(wave, attempt, agent_id)
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "kind": KIND,
        "lane": paths.lane,
        "wave": wave,
        "attempt": attempt,
        "agentId": agent_id,
        **decision,
        "createdAt": now,
    }
    old = files.read_json(path)
    if old.outcome is files.Outcome.WHOLE and isinstance(old.value, dict):
        document["createdAt"] = old.value.get("createdAt") or now
        if old.value == document:
            return path
        document["createdAt"] = now
    files.write_json(path, document)
    return path


def read_adjudications(paths: LanePaths, wave: int, agent_id: str | None = None) -> list[JsonObject]:
    """Every stored adjudication of a wave, oldest first, each with `filePath` (absolute). Writes nothing."""
    root = os.path.dirname(os.path.dirname(paths.closure_record(wave, 1, "A")))
    found = []
    for folder in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        attempt = os.path.join(root, folder)
        for name in sorted(os.listdir(attempt)) if os.path.isdir(attempt) else []:
            path = os.path.join(attempt, name)
            record = read_normalized(KIND, path, now=now_iso()) if name.endswith(".json") else None
            if record is not None and agent_id in (None, record["agentId"]):
                found.append({**record, "filePath": path})
    return sorted(found, key=lambda item: str(item["createdAt"]))
