"""The normal form of every JSON artifact, as one table of kinds and fields.

Holds: nothing.
Writes: any artifact, through `write_artifact`, atomically.
When killed: the artifact is whole, old or new.

A normaliser takes any JSON value, keeps what it knows, fixes `schemaVersion` and `kind`, trims strings and drops wrong
types to their default. Spec: GATE 15.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base import files

JsonObject = dict[str, Any]

EVENT, SNAPSHOT, DERIVED, PROJECTION = "canonical-event", "canonical-snapshot", "cached-derived", "human-projection"

TEXT, TEXTS, INTEGER, COUNT, OBJECT, OBJECTS, YES, STAMP = (
    "text",
    "texts",
    "integer",
    "count",
    "object",
    "objects",
    "yes",
    "stamp",
)


class Schema(NamedTuple):
    """One kind of artifact. `fields` maps a name to its form; `open_` keeps unknown fields, `meta` adds `_meta`."""

    kind: str
    version: int
    surface: str | None
    fields: tuple[tuple[str, str], ...] = ()
    open_: bool = False
    meta: bool = False


_WAVE = (("lane", TEXT), ("wave", INTEGER))

SCHEMAS: dict[str, Schema] = {
    schema.kind: schema
    for schema in (
        Schema(
            "wave-manifest",
            1,
            PROJECTION,
            (("generatedAt", STAMP), ("source", TEXT), ("waves", OBJECTS), ("docs", OBJECTS)),
        ),
        Schema("global-dashboard", 2, PROJECTION, open_=True),
        Schema("wave-dashboard", 2, PROJECTION, open_=True),
        Schema(
            "wave-relaunch-plan",
            1,
            SNAPSHOT,
            (
                ("wave", INTEGER),
                ("attempt", INTEGER),
                ("phase", TEXT),
                ("selectedAgentIds", TEXTS),
                ("resumeFromPhase", TEXT),
                ("invalidatedAgentIds", TEXTS),
                ("reusableAgentIds", TEXTS),
                ("reusableProofBundleIds", TEXTS),
                ("forwardedClosureGaps", OBJECTS),
                ("reasonBuckets", OBJECT),
                ("executorStates", OBJECT),
                ("fallbackHistory", OBJECT),
                ("createdAt", STAMP),
            ),
        ),
        Schema(
            "wave-closure-adjudication",
            1,
            DERIVED,
            (
                *_WAVE,
                ("attempt", INTEGER),
                ("agentId", TEXT),
                ("status", TEXT),
                ("failureClass", TEXT),
                ("reason", TEXT),
                ("detail", TEXT),
                ("evidence", OBJECTS),
                ("synthesizedSignals", TEXTS),
                ("createdAt", STAMP),
            ),
        ),
        Schema(
            "wave-retry-override",
            1,
            DERIVED,
            (
                *_WAVE,
                ("selectedAgentIds", TEXTS),
                ("reuseAttemptIds", TEXTS),
                ("reuseProofBundleIds", TEXTS),
                ("reuseDerivedSummaries", YES),
                ("invalidateComponentIds", TEXTS),
                ("clearReusableAgentIds", TEXTS),
                ("preserveReusableAgentIds", TEXTS),
                ("resumePhase", TEXT),
                ("requestedBy", TEXT),
                ("reason", TEXT),
                ("applyOnce", YES),
                ("createdAt", STAMP),
            ),
        ),
        Schema("wave-assignment-snapshot", 1, DERIVED, (*_WAVE, ("generatedAt", STAMP), ("assignments", OBJECTS))),
        Schema(
            "wave-dependency-snapshot",
            1,
            DERIVED,
            (
                *_WAVE,
                ("generatedAt", STAMP),
                ("inbound", OBJECTS),
                ("outbound", OBJECTS),
                ("openInbound", OBJECTS),
                ("openOutbound", OBJECTS),
                ("requiredInbound", OBJECTS),
                ("requiredOutbound", OBJECTS),
                ("unresolvedInboundAssignments", OBJECTS),
            ),
        ),
        Schema("wave-proof-registry", 1, DERIVED, (*_WAVE, ("updatedAt", STAMP), ("entries", OBJECTS))),
        Schema("wave-run-state", 2, SNAPSHOT, open_=True),
        Schema(
            "wave-control-delivery-state",
            1,
            DERIVED,
            (
                ("workspaceId", TEXT),
                ("lane", TEXT),
                ("runId", TEXT),
                ("runKind", TEXT),
                ("reportMode", TEXT),
                ("endpoint", TEXT),
                ("queuePath", TEXT),
                ("eventsPath", TEXT),
                ("pendingCount", COUNT),
                ("sentCount", COUNT),
                ("failedCount", COUNT),
                ("lastEnqueuedAt", TEXT),
                ("lastFlushAt", TEXT),
                ("lastSuccessAt", TEXT),
                ("lastError", TEXT),
                ("recentEventIds", TEXTS),
                ("updatedAt", STAMP),
                ("consecutiveFailures", COUNT),
                ("nextAttemptAt", TEXT),
            ),
        ),
        Schema("wave-state-snapshot", 1, SNAPSHOT, (*_WAVE, ("generatedAt", STAMP)), open_=True, meta=True),
        Schema("wave-task-entity", 1, None, open_=True),
        Schema("agent-result-envelope", 1, SNAPSHOT, open_=True, meta=True),
        Schema("wave-resume-plan", 1, DERIVED, open_=True, meta=True),
        Schema("human-input-workflow-state", 1, DERIVED, open_=True),
    )
}


def normalize(kind: str, value: object, *, now: str) -> JsonObject:
    """The normal form of an artifact; `now` fills its missing time stamp. `kind` is a key of `SCHEMAS`."""
    schema = SCHEMAS[kind]
    if kind == "wave-assignment-snapshot" and isinstance(value, list):
        value = {"assignments": value}
    given: JsonObject = value if isinstance(value, dict) else {}
    result: JsonObject = {"schemaVersion": schema.version, "kind": kind}
    if schema.meta:
        result["_meta"] = {"surfaceClass": schema.surface}
    for name, form in schema.fields:
        result[name] = _field(form, given.get(name), now)
    if schema.open_:
        result.update((key, item) for key, item in given.items() if key not in result)
    if kind == "wave-proof-registry":
        entries = (item for item in result["entries"] if isinstance(item, dict))
        result["entries"] = [item for item in entries if item.get("id") and item.get("agentId")]
    return result


def _field(form: str, value: object, now: str) -> Any:
    if form in (TEXT, STAMP):
        text = value.strip() if isinstance(value, str) else ""
        return text or (now if form == STAMP else None)
    if form == TEXTS:
        items = value if isinstance(value, list) else []
        return list(dict.fromkeys(item.strip() for item in items if isinstance(item, str) and item.strip()))
    if form in (INTEGER, COUNT):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if whole else 0 if form == COUNT else None
    if form == OBJECTS:
        return [item for item in value if isinstance(item, (dict, str))] if isinstance(value, list) else []
    if form == OBJECT:
        return value if isinstance(value, dict) else {}
    return value is not False


def read_artifact(kind: str, path: str, *, now: str) -> JsonObject | None:
    """The normal form of the artifact at `path`, None for a missing or unreadable file."""
    reading = files.read_json(path)
    return normalize(kind, reading.value, now=now) if reading.outcome is files.Outcome.WHOLE else None


def write_artifact(kind: str, path: str, value: object, *, now: str) -> JsonObject:
    """Write an artifact in its normal form and return it; caches and projections are written without fsync."""
    document = normalize(kind, value, now=now)
    files.write_json(path, document, durable=SCHEMAS[kind].surface in (EVENT, SNAPSHOT))
    return document
