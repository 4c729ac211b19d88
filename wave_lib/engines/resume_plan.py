"""Where a wave goes on, and which results it may keep. Spec: LAUNCH 11.6. Pure.

Reads the reduced wave state of COORD 22 (a plain dict); the plan is one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .phases import CLOSURE_PHASES, agents_of_phase, phase_of_gate, phase_of_stage, phase_rank, phases_of_agent

if TYPE_CHECKING:
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

JsonObject = dict[str, Any]

PROOF_GAP = "wave-proof-gap"
SIBLING_PENDING = "shared-component-sibling-pending"
HUMAN_KINDS = ("human-input", "human-feedback", "human-escalation")
_GAP_ID = re.compile(r"wave-(\d+)-closure-gap-(?P<stage>[a-z-]+?)-(?P<agent>[A-Z][^ ]*)-attempt-(?P<attempt>\d+)")
_RATE_LIMITED = ("rate-limit", "rate-limit-exhausted")


def build_resume_plan(
    state: Mapping[str, Any],
    wave: Wave,
    bindings: RoleBindings,
    *,
    now: str,
    gap_records: Iterable[Mapping[str, Any]] = (),
    executors: Mapping[str, str] | None = None,
) -> JsonObject:
    """The resume plan of a reduced wave state.

    `gap_records`: the wave's open forwarded-gap records. `executors`: agent id -> executor it runs on now.
    `now` is only copied into `createdAt`.
    """
    eligibility = state.get("closureEligibility") or {}
    targets = retry_targets(state.get("retryTargetSet"))
    reason = _reason(state, eligibility)
    can_resume = reason != "all-gates-pass"
    gaps = forwarded_gaps(targets, gap_records, wave, bindings, state.get("attempt") or 0) if can_resume else []
    invalidated = set(eligibility.get("pendingAgentIds") or ())
    reusable = set(eligibility.get("ownedSliceProvenAgentIds") or ())
    if gaps:
        stale = _agents_from(str(gaps[0]["stageKey"]), wave, bindings)
        invalidated |= stale
        reusable -= stale
    return {
        "resumePlanVersion": 1,
        "wave": wave.wave,
        "lane": state.get("lane"),
        "attempt": state.get("attempt") or 0,
        "reason": reason,
        "canResume": can_resume,
        "invalidatedAgentIds": sorted(invalidated),
        "reusableAgentIds": sorted(reusable - invalidated),
        "reusableProofBundleIds": _bundle_ids(state, eligibility, reusable - invalidated),
        "resumeFromPhase": _resume_phase(can_resume, gaps, state),
        "executorChanges": _executor_changes(targets, executors or {}),
        "humanInputBlockers": [_human_blocker(item) for item in _open_blockers(state) if item["kind"] in HUMAN_KINDS],
        "gateBlockers": _gate_blockers(state),
        "closureEligibility": eligibility,
        "forwardedClosureGaps": gaps,
        "deterministic": True,
        "createdAt": now,
    }


def retry_targets(target_set: object) -> list[JsonObject]:
    """Retry targets as `[{agentId, reason, gate, statusCode, …}]` out of a list, `{targets}` or `{agentIds}`."""
    if isinstance(target_set, dict):
        listed = target_set.get("targets") or target_set.get("agentIds") or []
    else:
        listed = target_set if isinstance(target_set, (list, tuple)) else []
    return [item if isinstance(item, dict) else {"agentId": item} for item in listed]


def parse_gap_id(record_id: str, agent_ids: Iterable[str]) -> tuple[str, str, int] | None:
    """(phase, agent id, attempt) of a forwarded-gap record's id, None for any other id."""
    match = _GAP_ID.fullmatch(record_id)
    if match:
        return (phase_of_stage(match["stage"]) or "", match["agent"], int(match["attempt"]))
    for agent_id in agent_ids:  # agent ids that do not begin with a capital letter
        match = re.fullmatch(rf"wave-\d+-closure-gap-([a-z-]+)-{re.escape(agent_id)}-attempt-(\d+)", record_id)
        if match:
            return (phase_of_stage(match[1]) or "", agent_id, int(match[2]))
    return None


def forwarded_gaps(
    targets: Sequence[Mapping[str, Any]],
    gap_records: Iterable[Mapping[str, Any]],
    wave: Wave,
    bindings: RoleBindings,
    attempt: int,
) -> list[JsonObject]:
    """Forwarded closure gaps, earliest stage first; `stageKey` holds a phase name."""
    found: dict[tuple[str, str], JsonObject] = {}
    for target in targets:
        agent_id = str(target.get("agentId") or "")
        phases = phases_of_agent(agent_id, bindings)
        if phases and PROOF_GAP in (target.get("statusCode"), target.get("reason")):
            phase = phase_of_gate(str(target.get("gate") or ""))
            phase = phase if phase in phases else phases[0]
            detail = str(target.get("detail") or "")
            found[phase, agent_id] = {"stageKey": phase, "agentId": agent_id, "attempt": attempt, "detail": detail}
    for record in gap_records:
        parsed = parse_gap_id(str(record.get("id") or ""), bindings.closure_agents)
        if parsed is None or parsed[0] not in CLOSURE_PHASES:
            continue
        phase, agent_id, number = parsed
        earlier = found.get((phase, agent_id), {})
        found[phase, agent_id] = {
            "stageKey": phase,
            "agentId": agent_id,
            "attempt": record.get("attempt") or number,
            "detail": str(record.get("detail") or earlier.get("detail") or ""),
        }
    gaps = sorted(found.values(), key=lambda gap: (phase_rank(gap["stageKey"]), gap["agentId"]))
    retried = {str(target.get("agentId")) for target in targets} | {gap["agentId"] for gap in gaps}
    for gap in gaps:
        later = _agents_from(gap["stageKey"], wave, bindings)
        gap["targets"] = sorted(later & retried)
        gap["resolved"] = False
    return gaps


def _agents_from(phase: str, wave: Wave, bindings: RoleBindings) -> set[str]:
    """Closure agents of this phase and of all later ones."""
    later = (item for item in CLOSURE_PHASES if phase_rank(item) >= phase_rank(phase))
    return {agent_id for item in later for agent_id in agents_of_phase(item, wave, bindings)}


def _open_blockers(state: Mapping[str, Any]) -> list[JsonObject]:
    return [item for item in state.get("openBlockers") or [] if item.get("blocking") is not False]


def _overall(state: Mapping[str, Any]) -> JsonObject:
    overall: JsonObject = (state.get("gateSnapshot") or {}).get("overall") or {}
    return overall


def _reason(state: Mapping[str, Any], eligibility: Mapping[str, Any]) -> str:
    blockers = _open_blockers(state)
    kinds = {item["kind"] for item in blockers}
    if eligibility.get("waveMayClose") or (_overall(state).get("ok") and not blockers):
        return "all-gates-pass"
    if kinds.intersection(HUMAN_KINDS):
        return "human-request"
    component_gate = (state.get("gateSnapshot") or {}).get("componentGate") or {}
    waiting = SIBLING_PENDING in kinds or component_gate.get("statusCode") == SIBLING_PENDING
    if waiting and eligibility.get("pendingAgentIds"):
        return SIBLING_PENDING
    if not _overall(state).get("ok"):
        return "gate-failure"
    return "timeout" if "timeout" in kinds else "gate-failure"


def _resume_phase(can_resume: bool, gaps: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> str:
    if not can_resume:
        return "completed"
    if gaps:
        return str(gaps[0]["stageKey"])
    overall = _overall(state)
    return "implementation" if overall.get("ok") else phase_of_gate(str(overall.get("gate") or ""))


def _bundle_ids(state: Mapping[str, Any], eligibility: Mapping[str, Any], agent_ids: set[str]) -> list[str]:
    bundles = eligibility.get("proofBundles") or (state.get("proofAvailability") or {}).get("activeProofBundles") or []
    ids = (
        bundle.get("proofBundleId") or bundle.get("id")
        for bundle in bundles
        if bundle.get("state", "active") == "active" and bundle.get("agentId") in agent_ids
    )
    return sorted(bundle_id for bundle_id in ids if bundle_id)


def _executor_changes(targets: Sequence[Mapping[str, Any]], executors: Mapping[str, str]) -> list[JsonObject]:
    return [
        {
            "agentId": target.get("agentId"),
            "currentExecutor": target.get("currentExecutor") or executors.get(str(target.get("agentId"))),
            "suggestedFallback": target.get("suggestedFallback") or "claude",
            "reason": target.get("reason") or "rate-limit",
        }
        for target in targets
        if target.get("reason") in _RATE_LIMITED or target.get("retriesExhausted")
    ]


def _human_blocker(item: Mapping[str, Any]) -> JsonObject:
    return {"taskId": item.get("id"), "title": item.get("detail") or "", "assigneeAgentId": item.get("agentId")}


def _gate_blockers(state: Mapping[str, Any]) -> list[JsonObject]:
    overall = _overall(state)
    if not overall or overall.get("ok"):
        return []
    return [{key: overall.get(key) for key in ("gate", "statusCode", "detail", "agentId")}]
