"""One coordination record: its fields, enums, defaults, and the rules that say when it blocks a wave.

Pure functions over plain dicts in their on-disk form. Spec: COORD 3, 5 (what a seed record is).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import StateError
from ..base.timestamps import iso_of, parse_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    JsonObject = dict[str, Any]

KINDS = (
    "request",
    "ack",
    "claim",
    "evidence",
    "decision",
    "blocker",
    "handoff",
    "clarification-request",
    "orchestrator-guidance",
    "resolved-by-policy",
    "human-escalation",
    "human-feedback",
    "integration-summary",
)
STATUSES = ("open", "acknowledged", "in_progress", "resolved", "closed", "superseded", "cancelled")
OPEN_STATUSES = frozenset(STATUSES[:3])
WITHDRAWN_STATUSES = frozenset(("superseded", "cancelled"))
PRIORITIES = ("low", "normal", "high", "urgent")
CONFIDENCES = ("low", "medium", "high")
SEVERITIES = ("hard", "soft", "stale", "advisory", "proof-critical", "closure-critical")

BLOCKING_KINDS = frozenset(("request", "blocker", "clarification-request", "human-escalation", "human-feedback"))
HUMAN_KINDS = frozenset(("human-escalation", "human-feedback"))
HARD_SEVERITIES = frozenset(("hard", "proof-critical", "closure-critical"))
QUIET_SEVERITIES = frozenset(("stale", "advisory"))
NON_AGENT_AUTHORS = ("launcher", "operator", "human", "resident-orchestrator")

_ENUMS = {
    "kind": frozenset(KINDS),
    "status": frozenset(STATUSES),
    "priority": frozenset(PRIORITIES),
    "blockerSeverity": frozenset(SEVERITIES),
    "confidence": frozenset(CONFIDENCES),
}
_ENUM_ORDER = {
    "kind": KINDS,
    "status": STATUSES,
    "priority": PRIORITIES,
    "blockerSeverity": SEVERITIES,
    "confidence": CONFIDENCES,
}
_TRUE = frozenset(("1", "true", "yes", "y", "on"))
_FALSE = frozenset(("0", "false", "no", "n", "off"))
_CLARIFICATION = "clarification:"
_SEED_REQUEST = re.compile(r"wave-\d+-(?:agent-.+-request|shared-plan-docs)")
_SEED_OTHER = re.compile(r"wave-\d+-(?:component-.+|integration-summary)")

FIELDS = (
    "recordVersion",
    "id",
    "kind",
    "wave",
    "lane",
    "agentId",
    "targets",
    "status",
    "priority",
    "blocking",
    "blockerSeverity",
    "artifactRefs",
    "dependsOn",
    "closureCondition",
    "createdAt",
    "updatedAt",
    "confidence",
    "summary",
    "detail",
    "attempt",
    "source",
    "executorId",
    "project",
    "requesterLane",
    "ownerLane",
    "requesterProject",
    "ownerProject",
    "requesterWave",
    "ownerWave",
    "required",
)
_FIELD_SET = frozenset(FIELDS)


class LogDiagnostic(NamedTuple):
    """A line of a log that cannot be used. `path` is as the reader was given it, `line` counts from 1."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"

    def shown_by(self, rel: Callable[[str], str]) -> str:
        """`<path>:<line>: <reason>`, the path as `rel` makes it."""
        return str(self._replace(path=rel(self.path)))

    def to_json(self) -> JsonObject:
        """`{path, line, reason}`."""
        return {"path": self.path, "line": self.line, "reason": self.reason}


def text(value: object) -> str:
    """A trimmed string; null becomes empty."""
    return "" if value is None else str(value).strip()


def string_list(value: object) -> list[str]:
    """Trimmed, without empties and doubles, first-seen order; anything that is no list becomes `[]`."""
    if not isinstance(value, (list, tuple)):
        return []
    return list(dict.fromkeys(item for item in map(text, value) if item))


def parse_flag(value: object) -> bool | None:
    """A boolean flag; null and empty mean "not given" (None), an unknown word is true. Spec: COORD 3.1."""
    if value is None or isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if not word:
        return None
    return word not in _FALSE


def parse_int(value: object) -> int | None:
    """An integer, or None for anything that is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return int(str(value).strip())
    except ValueError:
        return None


def choice(field: str, value: object, default: str = "") -> str:
    """The lower-cased member of the field's enum; StateError names the allowed values and the one got."""
    word = text(value).lower() or default
    if word in _ENUMS[field]:
        return word
    allowed = ", ".join(_ENUM_ORDER[field])
    raise StateError(f"Coordination {field} must be one of: {allowed} (got: {text(value)})")


def random_id(prefix: str) -> str:
    """`<prefix>-<8 hex>`."""
    return f"{prefix}-{os.urandom(4).hex()}"


def derive_severity(kind: str, priority: str, blocking: bool) -> str:
    """Severity of a record that names none. Spec: COORD 3.3."""
    if not blocking:
        return "advisory"
    if kind in HUMAN_KINDS:
        return "hard"
    if kind in ("request", "clarification-request"):
        return "closure-critical"
    if kind == "blocker":
        return "hard" if priority in ("high", "urgent") else "soft"
    return "advisory"


def normalize_record(raw: Mapping[str, Any], now: str = "", *, reading: bool = False) -> JsonObject:
    """A whole record from `raw`, keys in on-disk order, unknown keys dropped.

    `now` (ISO time) fills a missing `createdAt`. When `reading`, a stored severity outside the enum is derived again
    instead of refused. StateError for a missing or bad field. Spec: COORD 3.1.
    """
    kind = choice("kind", raw.get("kind"))
    wave = parse_int(raw.get("wave"))
    if wave is None or wave < 0:
        raise StateError(f"Coordination wave must be a non-negative integer (got: {raw.get('wave')})")
    lane, author = text(raw.get("lane")), text(raw.get("agentId"))
    if not lane:
        raise StateError("Coordination lane is required")
    if not author:
        raise StateError("Coordination agentId is required")
    priority = choice("priority", raw.get("priority"), "normal")
    flag = parse_flag(raw.get("blocking"))
    blocking = kind in BLOCKING_KINDS if flag is None else flag
    severity = text(raw.get("blockerSeverity")).lower()
    if not severity or (reading and severity not in _ENUMS["blockerSeverity"]):
        severity = derive_severity(kind, priority, blocking)
    created = text(raw.get("createdAt")) or now
    record: JsonObject = {
        "recordVersion": 1,
        "id": text(raw.get("id")) or random_id(f"coord-{kind}"),
        "kind": kind,
        "wave": wave,
        "lane": lane,
        "agentId": author,
        "targets": string_list(raw.get("targets")),
        "status": choice("status", raw.get("status"), "resolved" if kind == "resolved-by-policy" else "open"),
        "priority": priority,
        "blocking": blocking,
        "blockerSeverity": choice("blockerSeverity", severity),
        "artifactRefs": string_list(raw.get("artifactRefs")),
        "dependsOn": string_list(raw.get("dependsOn")),
        "closureCondition": text(raw.get("closureCondition")),
        "createdAt": created,
        "updatedAt": text(raw.get("updatedAt")) or created,
        "confidence": choice("confidence", raw.get("confidence"), "medium"),
        "summary": text(raw.get("summary")),
        "detail": text(raw.get("detail")),
        "attempt": parse_int(raw.get("attempt")),
        "source": text(raw.get("source")) or "launcher",
    }
    for key in ("executorId", "project", "requesterLane", "ownerLane", "requesterProject", "ownerProject"):
        record[key] = text(raw.get(key))
    record["requesterWave"] = parse_int(raw.get("requesterWave"))
    record["ownerWave"] = parse_int(raw.get("ownerWave"))
    record["required"] = bool(parse_flag(raw.get("required")))
    if text(raw.get("resolvedBy")):
        record["resolvedBy"] = text(raw.get("resolvedBy"))
    return record


def is_normal(raw: Mapping[str, Any]) -> bool:
    """Whether a line read back is a record exactly as `normalize_record` writes it: the fast path of readers."""
    size = len(raw)
    if size != len(FIELDS) and not (size == len(FIELDS) + 1 and "resolvedBy" in raw):
        return False
    if not raw.keys() >= _FIELD_SET:
        return False
    try:
        return (
            all(raw[key] in allowed for key, allowed in _ENUMS.items())
            and type(raw["wave"]) is int
            and raw["wave"] >= 0
            and type(raw["blocking"]) is bool
            and type(raw["targets"]) is type(raw["artifactRefs"]) is type(raw["dependsOn"]) is list
            and type(raw["id"]) is type(raw["agentId"]) is type(raw["lane"]) is type(raw["updatedAt"]) is str
            and type(raw["summary"]) is type(raw["detail"]) is type(raw["closureCondition"]) is str
            and bool(raw["id"] and raw["agentId"] and raw["lane"])
        )
    except TypeError:
        return False


def updated_record(record: Mapping[str, Any], now: str, **changes: Any) -> JsonObject:
    """The next version of `record`: `changes` applied, `updatedAt` later than before, `createdAt` kept.

    Severity and blocking are kept as stored unless changed. Spec: COORD 3.5.
    """
    stamp = next_update_time(text(record.get("updatedAt")), now)
    return normalize_record({**record, **changes, "updatedAt": stamp}, now, reading=True)


def next_update_time(previous: str, now: str) -> str:
    """max(now, previous + 1 ms), as ISO text."""
    before, current = parse_iso(previous), parse_iso(now)
    if before is None or current is None or current > before:
        return now
    return iso_of(before + 0.001)


# --- what a record means --------------------------------------------------------------------------------------------


def is_open(record: Mapping[str, Any]) -> bool:
    """Whether the status is open, acknowledged or in progress."""
    return record.get("status") in OPEN_STATUSES


def severity_of(record: Mapping[str, Any]) -> str:
    """The stored severity when it is one, else the derived one."""
    severity = record.get("blockerSeverity")
    if severity in _ENUMS["blockerSeverity"]:
        return str(severity)
    kind, blocking = text(record.get("kind")), record.get("blocking")
    if blocking is None:
        blocking = kind in BLOCKING_KINDS
    return derive_severity(kind, text(record.get("priority")), blocking is not False)


def record_blocks_wave(record: Mapping[str, Any]) -> bool:
    """Open, blocking, and neither stale nor advisory. Spec: COORD 3.3."""
    return is_open(record) and record.get("blocking") is not False and severity_of(record) not in QUIET_SEVERITIES


def record_is_hard_blocker(record: Mapping[str, Any]) -> bool:
    """Blocks the wave with a severity that no closure may pass over. Spec: COORD 3.3."""
    return record_blocks_wave(record) and severity_of(record) in HARD_SEVERITIES


def clarification_closure_condition(record_id: str) -> str:
    """The structured closure condition that ties a record to a clarification."""
    return _CLARIFICATION + record_id


def closure_clarification(condition: object) -> str | None:
    """The clarification id that a closure condition names, or None."""
    condition = text(condition)
    if not condition.startswith(_CLARIFICATION):
        return None
    return condition[len(_CLARIFICATION) :].strip() or None


def is_linked(record: Mapping[str, Any], ids: Collection[str]) -> bool:
    """Whether the record belongs to one of these clarifications. Spec: COORD 3.4."""
    named = closure_clarification(record.get("closureCondition"))
    if named is not None:
        return named in ids
    return any(dependency in ids for dependency in record.get("dependsOn") or ())


def linked_requests(
    records: Iterable[JsonObject], clarification_id: str, *, only_open: bool = False
) -> list[JsonObject]:
    """Requests (all, or the open ones) linked to a clarification, in the order given."""
    ids = (clarification_id,)
    return [
        record
        for record in records
        if record["kind"] == "request" and is_linked(record, ids) and (not only_open or is_open(record))
    ]


def is_seed_request(record: Mapping[str, Any]) -> bool:
    """The launcher's own request for an agent or for the shared plan docs. Spec: COORD 5."""
    return (
        record.get("kind") == "request"
        and _may_be_seed(record)
        and not record.get("closureCondition")
        and not record.get("dependsOn")
        and _SEED_REQUEST.fullmatch(text(record.get("id"))) is not None
    )


def is_seed(record: Mapping[str, Any]) -> bool:
    """Bookkeeping of the launcher: seed requests, component promotions, the integration-summary seed. Spec: COORD 5."""
    if not _may_be_seed(record):
        return False
    return is_seed_request(record) or _SEED_OTHER.fullmatch(text(record.get("id"))) is not None


def _may_be_seed(record: Mapping[str, Any]) -> bool:
    """What is cheap to see of nearly all records: that they are none."""
    return record.get("source") == "launcher" and text(record.get("id")).startswith("wave-")


def is_agent_request_seed(record: Mapping[str, Any]) -> bool:
    """A seed request of one agent (not the shared-plan one)."""
    return is_seed_request(record) and not text(record.get("id")).endswith("-shared-plan-docs")


def is_assignment_record(record: Mapping[str, Any]) -> bool:
    """A decision that only notes a helper assignment. Spec: COORD 13.3."""
    return record.get("kind") == "decision" and text(record.get("id")).startswith("assignment:")


def target_agent(target: str) -> str:
    """A target without its `agent:` prefix."""
    return target[6:] if target.startswith("agent:") else target


def is_targeted(record: Mapping[str, Any], agent_id: str, capabilities: Collection[str] = ()) -> bool:
    """Whether the record names the agent by id, `agent:<id>`, or a capability (given lower-cased)."""
    for target in record.get("targets") or ():
        if target in (agent_id, "agent:" + agent_id):
            return True
        if target.startswith("capability:") and target[11:].strip().lower() in capabilities:
            return True
    return False
