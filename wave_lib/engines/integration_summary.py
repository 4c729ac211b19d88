"""The integration evidence of a wave and what it recommends. Pure. Spec: COORD 19."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.text import compact
from ..definition.roles import is_implementation_owning, owns
from ..state.contradiction_entity import is_unresolved
from ..state.coordination_records import (
    WITHDRAWN_STATUSES,
    is_assignment_record,
    is_seed,
    record_blocks_wave,
    record_is_hard_blocker,
    target_agent,
)
from .security_summary import corridor_failed, corridor_is_pending

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..state.coordination_store import CoordinationState
    from .gate_results import Verdict

    JsonObject = dict[str, Any]

READY = "ready-for-doc-closure"
NEEDS_WORK = "needs-more-work"
EVIDENCE_LISTS = (
    "openClaims",
    "conflictingClaims",
    "unresolvedBlockers",
    "changedInterfaces",
    "crossComponentImpacts",
    "proofGaps",
    "docGaps",
    "deployRisks",
    "securityFindings",
    "securityApprovals",
    "inboundDependencies",
    "outboundDependencies",
    "helperAssignments",
)
"""Names and order of the evidence lists."""

_NOT_ACTIONABLE = frozenset(
    ("human-feedback", "human-escalation", "orchestrator-guidance", "resolved-by-policy", "integration-summary")
)
_CONFLICT = re.compile(r"conflict|contradict", re.I)
_INTERFACE_WORDS = ("interface", "contract", "api", "schema", "migration", "signature")
_INTERFACE = re.compile(rf"\b(?:{'|'.join(_INTERFACE_WORDS)})s?\b", re.I)
_DOC_CODES = frozenset(("missing-doc-delta", "doc-impact-gap", "invalid-doc-delta-format"))
_BLOCKS_READY = ("unresolvedBlockers", "conflictingClaims", "proofGaps", "deployRisks")
_LIST_WORDS = {
    "unresolvedBlockers": "unresolved blocker(s)",
    "conflictingClaims": "conflicting claim(s)",
    "proofGaps": "proof gap(s)",
    "deployRisks": "deploy risk(s)",
}


class IntegrationFacts(NamedTuple):
    """What the summary is made from. `verdicts` by agent id: cont-EVAL's own, else the implementation validator's."""

    wave: Wave
    bindings: RoleBindings
    lane: str
    attempt: int
    coordination: CoordinationState
    summaries: Mapping[str, JsonObject | None]
    verdicts: Mapping[str, Verdict]
    docs_queue: JsonObject
    security: JsonObject
    contradictions: Sequence[JsonObject]
    dependencies: JsonObject
    assignments: Sequence[JsonObject]
    runtime_assignments: Sequence[JsonObject]
    ignored_gap_record_ids: frozenset[str]
    now: str


def build_integration_summary(facts: IntegrationFacts) -> JsonObject:
    """The integration document: steward-reported when its marker is there, else inferred from the evidence."""
    evidence = {name: _unique(entries) for name, entries in _evidence(facts).items()}
    marker = (facts.summaries.get(facts.bindings.integration) or {}).get("integration")
    if facts.wave.agent(facts.bindings.integration) is None:
        marker = None
    if marker:
        agent_id: str = facts.bindings.integration
        recommendation, detail = _explicit(facts, marker, evidence)
    else:
        agent_id = "launcher"
        recommendation, detail = _inferred(evidence)
    security = facts.security
    return {
        "wave": facts.wave.wave,
        "lane": facts.lane,
        "agentId": agent_id,
        "attempt": facts.attempt,
        **evidence,
        "securityState": security["overallState"],
        "corridorState": corridor_state(security["corridor"]),
        "corridor": security["corridor"],
        "runtimeAssignments": list(facts.runtime_assignments),
        "recommendation": recommendation,
        "detail": detail,
        "createdAt": facts.now,
        "updatedAt": facts.now,
    }


def corridor_state(view: Mapping[str, Any] | None) -> str:
    """`not-configured`, `blocked`, `error` or `clear`. Spec: PROV 4.11."""
    if view is None:
        return "not-configured"
    if corridor_failed(view) or corridor_is_pending(view):
        return "error"
    return "blocked" if view["blocking"] else "clear"


def _inferred(evidence: Mapping[str, list[str]]) -> tuple[str, str]:
    for name in _BLOCKS_READY:
        if evidence[name]:
            return NEEDS_WORK, f"{len(evidence[name])} {_LIST_WORDS[name]} remain."
    return READY, "No blockers, conflicts, proof gaps or deploy risks remain."


def _explicit(facts: IntegrationFacts, marker: JsonObject, evidence: dict[str, list[str]]) -> tuple[str, str]:
    """The steward's word, unless it says ready while something in the log says otherwise. Changes the lists."""
    counts = {name: int(marker.get(name) or 0) for name in ("claims", "conflicts", "blockers")}
    ready = marker.get("state") == READY
    if ready and not counts["blockers"] and not counts["conflicts"]:
        evidence["proofGaps"] = []
        evidence["docGaps"] = []
    if not ready:
        _pad(evidence, counts)
        return NEEDS_WORK, str(marker.get("detail") or "The integration steward asks for more work.")
    objections = ready_objections(
        facts.coordination, facts.contradictions, counts, facts.ignored_gap_record_ids
    )
    _pad(evidence, counts)
    if objections:
        return NEEDS_WORK, f"The steward reported ready, but {'; '.join(objections)} remain."
    return READY, str(marker.get("detail") or "The integration steward reported ready.")


def ready_objections(
    state: CoordinationState,
    contradictions: Iterable[JsonObject],
    counts: Mapping[str, Any],
    ignored_gap_record_ids: frozenset[str] = frozenset(),
) -> list[str]:
    """What forbids taking a steward's "ready" at its word: rule 2 of COORD 19. Empty when nothing does."""
    blockers = [
        record["id"]
        for record in state.open_of_kind("blocker")
        if record_is_hard_blocker(record) and record["id"] not in ignored_gap_record_ids
    ]
    conflicts = [item["contradictionId"] for item in contradictions if _is_blocking(item)]
    found = []
    if blockers:
        found.append(f"hard blockers {', '.join(blockers)}")
    if conflicts:
        found.append(f"contradictions {', '.join(conflicts)}")
    for name in ("conflicts", "blockers"):
        if counts.get(name):
            found.append(f"{counts[name]} reported {name}")
    return found


def _is_blocking(contradiction: JsonObject) -> bool:
    return is_unresolved(contradiction) and contradiction["severity"] == "blocking"


def _pad(evidence: dict[str, list[str]], counts: Mapping[str, int]) -> None:
    """Bring the lists up to the counts the steward reported."""
    for name, word, key in (
        ("openClaims", "claim", "claims"),
        ("conflictingClaims", "conflict", "conflicts"),
        ("unresolvedBlockers", "blocker", "blockers"),
    ):
        for number in range(len(evidence[name]) + 1, counts[key] + 1):
            evidence[name].append(f"reported {word} {number}")


# --- evidence -------------------------------------------------------------------------------------------------------


def _evidence(facts: IntegrationFacts) -> dict[str, list[str]]:
    state = facts.coordination
    claims = state.open_of_kind("claim")
    proof_gaps, doc_gaps, deploy_risks = _agent_gaps(facts)
    doc_gaps += [_entry(item["id"], item["summary"]) for item in facts.docs_queue["items"]]
    security = facts.security
    dependencies = facts.dependencies
    return {
        "openClaims": [record_entry(record) for record in claims],
        "conflictingClaims": [
            *(record_entry(record) for record in claims if _CONFLICT.search(f"{record['summary']} {record['detail']}")),
            *(f"{item['contradictionId']}: {item['kind']}" for item in facts.contradictions if _is_blocking(item)),
        ],
        "unresolvedBlockers": [
            record_entry(record)
            for record in state.open_of_kind("blocker")
            if record_blocks_wave(record) and record["id"] not in facts.ignored_gap_record_ids
        ],
        **_record_lists(facts),
        "proofGaps": proof_gaps,
        "docGaps": doc_gaps,
        "deployRisks": deploy_risks,
        "securityFindings": [
            *(
                _entry(review["agentId"], review["detail"] or review["state"])
                for review in security["agents"]
                if review["state"] in ("blocked", "concerns")
            ),
            *corridor_findings(security["corridor"]),
        ],
        "securityApprovals": [
            _entry(review["agentId"], f"{review['approvals']} approval(s) required")
            for review in security["agents"]
            if review["approvals"] > 0
        ],
        "inboundDependencies": [record_entry(item) for item in dependencies["openInbound"]],
        "outboundDependencies": [record_entry(item) for item in dependencies["openOutbound"]],
        "helperAssignments": [
            _entry(item["requestId"], f"{item['target'] or 'untargeted'} => {item['assignedAgentId'] or 'unresolved'}")
            for item in facts.assignments
            if item["blocking"]
        ],
    }


def corridor_findings(view: Mapping[str, Any] | None) -> list[str]:
    """One line a matched finding, each on one line. Spec: PROV 4.11."""
    lines = []
    for finding in (view or {}).get("matchedFindings") or ():
        severity = finding.get("severity") or "unknown"
        path = finding.get("affectedFile") or "unknown-file"
        lines.append("corridor: " + compact(f"{severity} {path}: {finding.get('title') or 'finding'}", 180))
    return lines


def _record_lists(facts: IntegrationFacts) -> dict[str, list[str]]:
    changed, impacts = [], []
    for record in facts.coordination.latest:
        if not is_actionable(record):
            continue
        said = "\n".join([record["summary"], record["detail"], *record["artifactRefs"]])
        if _speaks_of_interface(said):
            changed.append(record_entry(record))
        named = _named_agents(facts.wave, record)
        if len(named) > 1:
            impacts.append(f"{record_entry(record)} [owners: {', '.join(sorted(named))}]")
    return {"changedInterfaces": changed, "crossComponentImpacts": impacts}


def _speaks_of_interface(said: str) -> bool:
    """Whether one of the words occurs as a whole word; most texts have none of them, which is cheap to see."""
    folded = said.casefold()
    return any(word in folded for word in _INTERFACE_WORDS) and _INTERFACE.search(said) is not None


def is_actionable(record: JsonObject) -> bool:
    """Somebody's own words about the work: neither bookkeeping nor human input nor withdrawn."""
    return (
        record["status"] not in WITHDRAWN_STATUSES
        and record["kind"] not in _NOT_ACTIONABLE
        and not is_seed(record)
        and not is_assignment_record(record)
    )


def _named_agents(wave: Wave, record: JsonObject) -> set[str]:
    """Agents that the record's references belong to or that it is addressed to."""
    if not record["artifactRefs"] and len(record["targets"]) < 2:
        return set()
    ids = {agent.agent_id for agent in wave.agents}
    named = {target_agent(target) for target in record["targets"]} & ids
    for ref in record["artifactRefs"]:
        named |= {agent.agent_id for agent in wave.agents if ref in agent.components or owns(agent, ref)}
    return named


def _agent_gaps(facts: IntegrationFacts) -> tuple[list[str], list[str], list[str]]:
    proof: list[str] = []
    docs: list[str] = []
    risks: list[str] = []
    for agent in facts.wave.agents:
        summary = facts.summaries.get(agent.agent_id)
        verdict = facts.verdicts.get(agent.agent_id)
        concerned = agent.agent_id == facts.bindings.cont_eval or is_implementation_owning(agent, facts.bindings)
        failed = summary is not None and verdict is not None and not verdict.ok and concerned
        if failed and verdict is not None and not verdict.eligible_for_adjudication:
            target = docs if verdict.status_code in _DOC_CODES else proof
            target.append(_entry(agent.agent_id, f"{verdict.status_code} {verdict.detail}"))
        for gap in (summary or {}).get("gaps") or ():
            target = {"docs": docs, "ops": risks}.get(str(gap.get("kind")), proof)
            target.append(_entry(agent.agent_id, f"{gap.get('kind')} gap {gap.get('detail') or ''}".strip()))
    for agent_id, item in last_markers(facts.wave, facts.summaries, "deployments", ("service",)):
        if item.get("state") != "healthy":
            told = f"{item.get('service')} {item.get('state')} {item.get('detail') or ''}".strip()
            risks.append(_entry(agent_id, told))
    for agent_id, item in last_markers(facts.wave, facts.summaries, "infra", ("kind", "target")):
        if item.get("state") not in ("conformant", "action-complete"):
            told = f"{item.get('kind')} {item.get('target')} {item.get('state')} {item.get('detail') or ''}".strip()
            risks.append(_entry(agent_id, told))
    return proof, docs, risks


def last_markers(
    wave: Wave, summaries: Mapping[str, JsonObject | None], key: str, identity: tuple[str, ...]
) -> list[tuple[str, JsonObject]]:
    """(agent id, marker) of the newest marker per identity; the agent that completed last wins."""
    newest: dict[tuple[Any, ...], tuple[str, JsonObject]] = {}
    rows = [(agent.agent_id, summaries.get(agent.agent_id)) for agent in wave.agents]
    for agent_id, summary in sorted(rows, key=lambda row: str((row[1] or {}).get("completedAt") or "")):
        for item in (summary or {}).get(key) or ():
            newest[tuple(item.get(name) for name in identity)] = (agent_id, item)
    return list(newest.values())


def record_entry(record: Mapping[str, Any]) -> str:
    """`<id>: <text cut at 180>`."""
    return _entry(record["id"], record["summary"] or record["detail"])


def _entry(subject: str, said: str) -> str:
    return f"{subject}: {compact(said, 180)}"


def _unique(entries: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(entries))
