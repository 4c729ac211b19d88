"""What one agent has to know and to answer. Spec: COORD 21.3, 21.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.text import compact
from ..base.timestamps import parse_iso
from ..definition.roles import covers
from ..state.coordination_records import is_assignment_record, is_open, is_seed, is_targeted
from .record_lines import cap_text, dependency_line, entry_lines, open_record_line, runtime_line, section, timing_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.wave_types import Agent
    from ..engines.derived_state import DerivedState

    JsonObject = dict[str, Any]

CAP = 8000
IMPORTANCE = (
    "Answers for you",
    "Targeted open coordination",
    "Your open coordination items",
    "Clarifications",
    "Helper assignments",
    "Cross-lane dependencies",
    "Ledger tasks",
    "Documentation obligations",
    "Relevant open coordination",
    "Integration note",
    "Response timing",
)
"""Sections, the ones that are cut last first."""

_NOTE_LISTS = (
    ("Conflicts", "conflictingClaims"),
    ("Changed interfaces", "changedInterfaces"),
    ("Cross-component impacts", "crossComponentImpacts"),
    ("Proof gaps", "proofGaps"),
    ("Deploy risks", "deployRisks"),
    ("Security findings", "securityFindings"),
    ("Documentation gaps", "docGaps"),
)
_ANSWERED = ("resolved", "closed")


def build_inbox(agent: Agent, derived: DerivedState) -> str:
    """The full text of an agent's inbox; a record stands in the first section that fits."""
    metrics = derived.response_metrics
    capabilities = {capability.lower() for capability in agent.capabilities}
    buckets: dict[str, list[str]] = {heading: [] for heading in IMPORTANCE}
    for record in derived.coordination_state.open:
        heading = _heading(record, agent, capabilities)
        if heading:
            buckets[heading].append(open_record_line(record, metrics))
    lines = [
        f"# Wave {derived.wave_number} Inbox for {agent.agent_id}",
        *section("Response timing", timing_lines(metrics)),
        *section("Answers for you", answers_for(agent, derived)),
    ]
    for heading in (
        "Targeted open coordination",
        "Your open coordination items",
        "Clarifications",
        "Relevant open coordination",
    ):
        lines += section(heading, buckets[heading])
    lines += section("Helper assignments", _assignments(agent, derived))
    lines += section("Cross-lane dependencies", _dependencies(agent, capabilities, derived))
    lines += section(
        "Ledger tasks",
        [
            f"- [{task['priority']}] {task['id']}: {task['title']} ({task['state']})"
            for task in derived.ledger["tasks"]
            if task["owner"] == agent.agent_id
        ],
    )
    lines += section("Documentation obligations", _documentation(agent, derived))
    lines += _integration_note(derived)
    return "\n".join(lines) + "\n"


def capped_inbox(text: str, path: str, limit: int = CAP) -> str:
    """The copy for a prompt; `path` is where the full text is."""
    return cap_text(text, limit, f"[Inbox truncated; full text: {path}]", IMPORTANCE)


def _heading(record: Mapping[str, Any], agent: Agent, capabilities: set[str]) -> str | None:
    if is_assignment_record(record):
        return None
    if is_targeted(record, agent.agent_id, capabilities):
        return "Targeted open coordination"
    if record["agentId"] == agent.agent_id:
        return "Clarifications" if record["kind"] == "clarification-request" else "Your open coordination items"
    if record["kind"] != "clarification-request" and not is_seed(record) and is_relevant(record, agent):
        return "Relevant open coordination"
    return None


def is_relevant(record: Mapping[str, Any], agent: Agent) -> bool:
    """Whether a reference of the record is one of the agent's components, owned paths, or lies below one."""
    return any(
        ref in agent.components or any(_touches(owned, ref) for owned in agent.owned_paths)
        for ref in record["artifactRefs"]
    )


def _touches(owned: str, ref: str) -> bool:
    return covers(owned, ref) or covers(owned.rstrip("/") + "/", ref)


# --- answers --------------------------------------------------------------------------------------------------------


def answers_for(agent: Agent, derived: DerivedState) -> list[str]:
    """Closed records that answer the agent and changed since its previous run started."""
    since = parse_iso(derived.run_starts.get(agent.agent_id))
    capabilities = {capability.lower() for capability in agent.capabilities}
    lines: list[str] = []
    for record in derived.coordination_state.latest:
        if is_open(record) or not _is_answer(record, agent.agent_id, capabilities):
            continue
        changed = parse_iso(record["updatedAt"])
        if since is not None and changed is not None and changed <= since:
            continue
        lines.append(f"- {record['kind']} {record['id']}: {compact(record['summary'], 400)}")
        if record["detail"]:
            lines += [f"  {line}" for line in record["detail"].splitlines()]
    return lines


def _is_answer(record: Mapping[str, Any], agent_id: str, capabilities: set[str]) -> bool:
    kind = record["kind"]
    if record["status"] not in _ANSWERED or is_assignment_record(record) or is_seed(record):
        return False
    if kind in ("clarification-request", "request"):
        return bool(record["agentId"] == agent_id)
    if kind == "human-feedback":
        return record["agentId"] == agent_id or is_targeted(record, agent_id, capabilities)
    return kind in ("resolved-by-policy", "decision") and is_targeted(record, agent_id, capabilities)


# --- the other sections ---------------------------------------------------------------------------------------------


def _assignments(agent: Agent, derived: DerivedState) -> list[str]:
    return [
        f"- [{item['priority']}] {compact(item['summary'] or item['detail'], 140)} "
        f"({item['target'] or 'untargeted'}; {item['assignmentReason']})"
        for item in derived.capability_assignments
        if item["blocking"] and item["assignedAgentId"] == agent.agent_id
    ]


def _dependencies(agent: Agent, capabilities: set[str], derived: DerivedState) -> list[str]:
    lines = []
    for item in [*derived.dependency_snapshot["openInbound"], *derived.dependency_snapshot["openOutbound"]]:
        mine = is_targeted(item, agent.agent_id, capabilities) or is_relevant(item, agent)
        if mine or (item["direction"] == "inbound" and item["assignedAgentId"] == agent.agent_id):
            lines.append(dependency_line(item))
    return lines


def _documentation(agent: Agent, derived: DerivedState) -> list[str]:
    return [
        f"- {item['id']}: {compact(item['summary'], 160)}"
        for item in derived.docs_queue["items"]
        if agent.agent_id in (item["ownerAgentId"], item["agentId"], *item["targets"])
    ]


def _integration_note(derived: DerivedState) -> list[str]:
    integration = derived.integration_summary
    counts = ", ".join(f"{label.lower()} {len(integration[key])}" for label, key in _NOTE_LISTS)
    lines = [
        f"- Recommendation: {integration['recommendation']}",
        f"- Detail: {compact(integration['detail'], 180)}",
        f"- Counts: {counts}",
    ]
    for label, key in _NOTE_LISTS:
        if integration[key]:
            lines.append(f"- {label}:")
            lines += [f"  {line}" for line in entry_lines(integration[key], 3)]
    lines.append("- Runtime assignments:")
    lines += [f"  {runtime_line(item)}" for item in derived.runtime_assignments]
    return section("Integration note", lines)
