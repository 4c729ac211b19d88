"""The normal form of the artifacts that are read back: what is taken from a file of any age or origin.

A normaliser takes any JSON value, keeps the fields it knows, fixes `schemaVersion` and `kind`, trims strings and drops
wrong types to their default. Spec: GATE 15.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.files import Outcome, read_json

JsonObject = dict[str, Any]

TEXT, TEXTS, INTEGER, YES, STAMP = "text", "texts", "integer", "yes", "stamp"
OBJECT, OBJECTS, ITEMS = "object", "objects", "items"  # items: objects or texts


class Schema(NamedTuple):
    """One kind of artifact. `fields` maps a name to its form."""

    kind: str
    version: int
    fields: tuple[tuple[str, str], ...]


_WAVE = (("lane", TEXT), ("wave", INTEGER))

SCHEMAS: dict[str, Schema] = {
    schema.kind: schema
    for schema in (
        Schema(
            "wave-relaunch-plan",
            1,
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
            (
                *_WAVE,
                ("attempt", INTEGER),
                ("agentId", TEXT),
                ("status", TEXT),
                ("failureClass", TEXT),
                ("reason", TEXT),
                ("detail", TEXT),
                ("evidence", ITEMS),
                ("synthesizedSignals", TEXTS),
                ("createdAt", STAMP),
            ),
        ),
        Schema(
            "wave-retry-override",
            1,
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
        Schema("wave-proof-registry", 1, (*_WAVE, ("updatedAt", STAMP), ("entries", OBJECTS))),
    )
}


def normalize(kind: str, value: object, *, now: str) -> JsonObject:
    """The normal form of an artifact; `now` fills its missing time stamp. `kind` is a key of `SCHEMAS`."""
    schema = SCHEMAS[kind]
    given: JsonObject = value if isinstance(value, dict) else {}
    fields = {name: _field(form, given.get(name), now) for name, form in schema.fields}
    if kind == "wave-proof-registry":
        fields["entries"] = [item for item in fields["entries"] if item.get("id") and item.get("agentId")]
    return {"schemaVersion": schema.version, "kind": kind, **fields}


def read_normalized(kind: str, path: str, *, now: str) -> JsonObject | None:
    """The normal form of the artifact at `path`, None for a missing or unreadable file."""
    reading = read_json(path)
    usable = reading.outcome is Outcome.WHOLE and isinstance(reading.value, dict)
    return normalize(kind, reading.value, now=now) if usable else None


def _field(form: str, value: object, now: str) -> Any:
    if form in (TEXT, STAMP):
        text = value.strip() if isinstance(value, str) else ""
        return text or (now if form == STAMP else None)
    if form == TEXTS:
        items = value if isinstance(value, list) else []
        return list(dict.fromkeys(item.strip() for item in items if isinstance(item, str) and item.strip()))
    if form == INTEGER:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if form in (OBJECTS, ITEMS):
        kept = (dict, str) if form == ITEMS else dict
        return [item for item in value if isinstance(item, kept)] if isinstance(value, list) else []
    if form == OBJECT:
        return value if isinstance(value, dict) else {}
    return value is not False
