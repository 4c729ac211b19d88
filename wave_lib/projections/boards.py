"""The message board of a wave, the health of a board, and the list of open escalations. Spec: COORD 14, 21.1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.timestamps import parse_iso
from ..state.coordination_records import is_open, is_seed
from .record_lines import NONE, activity_line, assignment_line, dependency_line, open_record_line, section, timing_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.wave_types import Wave
    from ..engines.derived_state import DerivedState
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

_ENTRY = re.compile(r"^## (?P<stamp>.+?) \| Agent (?P<agent>\S+)\s*$", re.M)
_FIELDS = ("Change", "Reason", "Impact on other agents", "Action requested (if any)")
_AGENT_ID = re.compile(r"\b[A-Z]\d+(?:\.\d+)?\b")
_NO_ACTION = ("", "none", "n/a", "na", "-")
_RESOLVED = re.compile(r"\b(?:resolved|unblocked|fixed|landed|completed|done|addressed|closed)\b", re.I)


def build_message_board(wave: Wave, derived: DerivedState) -> str:
    """The whole board; nothing of it is ever cut or put into a prompt."""
    state, metrics = derived.coordination_state, derived.response_metrics
    dependencies = derived.dependency_snapshot
    lines = [
        f"# Wave {wave.wave} Message Board",
        "",
        f"- Wave file: {wave.file}",
        f"- Agents: {', '.join(agent.agent_id for agent in wave.agents)}",
        f"- Generated: {derived.now}",
        *timing_lines(metrics),
        *section("Open Coordination State", [open_record_line(record, metrics) for record in state.open]),
        *section(
            "Helper Assignments",
            [assignment_line(item) for item in derived.capability_assignments if item["blocking"]],
        ),
        *section(
            "Cross-Lane Dependencies",
            [dependency_line(item) for item in [*dependencies["openInbound"], *dependencies["openOutbound"]]],
        ),
        *section("Activity Feed", [activity_line(record) for record in state.latest], "- No activity yet."),
    ]
    return "\n".join(lines) + "\n"


def build_pending_human(state: CoordinationState) -> str:
    """Open escalations, for the operator."""
    lines = []
    for record in state.of_kind("human-escalation"):
        if is_open(record):
            tickets = f" [tickets: {', '.join(record['artifactRefs'])}]" if record["artifactRefs"] else ""
            lines.append(f"- {record['id']}: {record['summary']}{tickets}")
    return "\n".join(["# Pending Human Escalations", "", *(lines or [NONE])]) + "\n"


# --- health ---------------------------------------------------------------------------------------------------------


class BoardEntry(NamedTuple):
    """One entry of a free-text board. `owners` are the agents its action is for."""

    stamp: str
    agent: str
    change: str
    action: str
    owners: tuple[str, ...]
    malformed: bool


def board_health(state: CoordinationState, metrics: Mapping[str, Any]) -> JsonObject:
    """Health of a generated board, from the records and response metrics it was generated from."""
    entries = metrics["recordMetricsById"].values()
    tracked = [entry for entry in entries if entry["ackTracked"]]
    closed = (record for record in state.latest if record["status"] != "open")
    acknowledged = [record["updatedAt"] for record in closed if not is_seed(record)]
    unacked = [
        record["createdAt"]
        for record in state.open
        if metrics["recordMetricsById"].get(record["id"], {}).get("ackPending")
    ]
    return {
        "available": True,
        "reason": None,
        "totalEntries": len(state.latest),
        "actionableRequests": len(tracked),
        "unresolvedRequests": sum(1 for entry in tracked if entry["blocking"]),
        "unacknowledgedRequests": len(unacked),
        "malformedEntries": 0,
        "placeholderTimestampEntries": 0,
        "lastAcknowledgementTimestamp": max(acknowledged, default=None),
        "oldestUnacknowledgedTimestamp": min(unacked, default=None),
    }


def analyze_text_board(text: str) -> JsonObject | None:
    """Health of an old free-text board (one with a `## Entries` heading), None for any other text."""
    if not re.search(r"^## Entries\s*$", text, re.M):
        return None
    entries = parse_text_board(text)
    asked = [(at, entry) for at, entry in enumerate(entries) if entry.owners and not entry.malformed]
    unresolved, unacknowledged, acknowledged = [], [], []
    for at, entry in asked:
        later = entries[at + 1 :]
        answers = [other for other in later if other.agent in entry.owners]
        if answers:
            acknowledged.append(answers[0].stamp)
        else:
            unacknowledged.append(entry.stamp)
        concerned = (*entry.owners, entry.agent)
        if not any(other.agent in concerned and _RESOLVED.search(f"{other.change} {other.action}") for other in later):
            unresolved.append(entry)
    return {
        "available": True,
        "reason": None,
        "totalEntries": len(entries),
        "actionableRequests": len(asked),
        "unresolvedRequests": len(unresolved),
        "unacknowledgedRequests": len(unacknowledged),
        "malformedEntries": sum(1 for entry in entries if entry.malformed),
        "placeholderTimestampEntries": sum(1 for entry in entries if parse_iso(entry.stamp) is None),
        "lastAcknowledgementTimestamp": max(acknowledged, default=None),
        "oldestUnacknowledgedTimestamp": min(unacknowledged, default=None),
    }


def parse_text_board(text: str) -> list[BoardEntry]:
    """Entries of a free-text board in order."""
    found = list(_ENTRY.finditer(text))
    entries = []
    for at, match in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        fields = _entry_fields(text[match.end() : end])
        action = fields.get(_FIELDS[3], "")
        wanted = action.strip().strip(".").lower() not in _NO_ACTION
        owners = tuple(dict.fromkeys(_AGENT_ID.findall(action))) if wanted else ()
        malformed = any(field not in fields for field in _FIELDS)
        entries.append(BoardEntry(match["stamp"], match["agent"], fields.get("Change", ""), action, owners, malformed))
    return entries


def _entry_fields(body: str) -> Mapping[str, str]:
    fields = {}
    for line in body.splitlines():
        name, colon, value = line.removeprefix("- ").partition(":")
        if colon and line.startswith("- ") and name in _FIELDS:
            fields[name] = value.strip()
    return fields
