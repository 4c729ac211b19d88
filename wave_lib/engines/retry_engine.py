"""What to run again after a failed pass, and why. Spec: LAUNCH 11, GATE 12. Pure.

Failures are the plain dicts of LAUNCH 9.3 and 7.4 (`agentId statusCode logPath detail …`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..state.coordination_records import HUMAN_KINDS, is_linked, is_seed, record_blocks_wave, target_agent
from .closure_engine import is_gap_record
from .executor_fallback import ExecutorState, FallbackOutcome, resolve_fallbacks
from .phases import CLOSURE_PHASES, agents_of_phase, earliest_phase, without_mixed_closure
from .resume_plan import SIBLING_PENDING, retry_targets

if TYPE_CHECKING:
    from ..definition.lane_profile import LaneProfile
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

JsonObject = dict[str, Any]

RUNTIME, SIBLING, ADJUDICATION, SEMANTIC = "runtime", "sibling", "adjudication", "semantic"

TIMEOUT_CODES = ("timeout-no-status", "timed_out")
_RUNTIME_CODES = (*TIMEOUT_CODES, "missing-status", "runtime-failed-before-status")
_RECOVERABLE_CODES = (*TIMEOUT_CODES, "missing-status")
_RECOVERABLE_TERMINATIONS = ("timeout", "max-turns", "rate-limit")
_RATE_LIMIT_WORDS = ("rate limit", "429 too many requests")

FALLBACK_BLOCKED = "retry-fallback-blocked"
ASSIGNMENT_UNRESOLVED = "helper-assignment-unresolved"
DEPENDENCY_UNRESOLVED = "dependency-assignment-unresolved"


# --- failures -------------------------------------------------------------------------------------------------------


def failure_class(status_code: str) -> str:
    """`runtime`, `sibling`, `adjudication` or `semantic`. Spec: LAUNCH 11.2."""
    if status_code in _RUNTIME_CODES or status_code.lstrip("-").isdigit():
        return RUNTIME
    if status_code == SIBLING_PENDING:
        return SIBLING
    return ADJUDICATION if status_code == "awaiting-adjudication" else SEMANTIC


def recovery_reason(failure: Mapping[str, Any], summary: Mapping[str, Any] | None, exit_reason: str = "") -> str:
    """Why a runtime failure may go away by itself, empty when nothing says so. Spec: LAUNCH 11.2, GATE 5."""
    status_code = str(failure["statusCode"])
    if failure_class(status_code) != RUNTIME:
        return ""
    if status_code in _RECOVERABLE_CODES:
        return status_code
    termination = str((summary or {}).get("terminationReason") or "")
    if termination in _RECOVERABLE_TERMINATIONS:
        return termination
    if exit_reason.startswith("spawn-failed"):
        return "spawn-failed"
    said = f"{failure.get('detail') or ''} {(summary or {}).get('terminationHint') or ''}".lower()
    if exit_reason == "rate-limit-exhausted" or any(words in said for words in _RATE_LIMIT_WORDS):
        return "rate-limit"
    return ""


def annotate_failure(
    failure: Mapping[str, Any], summary: Mapping[str, Any] | None = None, exit_reason: str | None = None
) -> JsonObject:
    """The failure with its class, and whether and why trying again helps. Spec: LAUNCH 11.2.

    `summary` is the agent's execution summary, `exit_reason` its runtime record's `exitReason`.
    """
    summary = summary or {}
    because = recovery_reason(failure, summary, exit_reason or str(failure.get("detail") or ""))
    hint = summary.get("terminationHint") or None
    return {
        **failure,
        "detail": failure.get("detail") or hint,
        "terminationReason": summary.get("terminationReason"),
        "terminationHint": hint,
        "observedTurnLimit": summary.get("terminationObservedTurnLimit"),
        "recoverable": bool(because),
        "recoveryReason": because or None,
        "failureClass": failure_class(str(failure["statusCode"])),
    }


def all_recoverable(failures: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there are failures and every one of them is worth another try by itself. Spec: LAUNCH 7.7 rule 4."""
    return bool(failures) and all(failure.get("recoverable") for failure in failures)


def all_awaiting_adjudication(failures: Sequence[Mapping[str, Any]]) -> bool:
    """Rule 2 of LAUNCH 7.7."""
    return bool(failures) and all(failure["statusCode"] == "awaiting-adjudication" for failure in failures)


def timed_out(failures: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any failure is an expired deadline."""
    return any(failure["statusCode"] in TIMEOUT_CODES for failure in failures)


# --- relaunch targets -----------------------------------------------------------------------------------------------


class RetryFacts(NamedTuple):
    """What a retry is decided from.

    `failures` are annotated; `records` are the wave's open coordination records (latest versions), `assignments` and
    `dependencies` the derived capability assignments and dependency snapshot. `resume_plan` and `retry_target_set`
    come from the reduced state. `executors` holds every agent's executor state, `available` the executors whose
    command can be run for an agent. `attempt` is the number of the pass that is planned.
    """

    wave: Wave
    bindings: RoleBindings
    profile: LaneProfile
    attempt: int
    failures: Sequence[Mapping[str, Any]] = ()
    records: Sequence[JsonObject] = ()
    assignments: Sequence[Mapping[str, Any]] = ()
    dependencies: Mapping[str, Any] = {}
    resume_plan: Mapping[str, Any] = {}
    retry_target_set: object = ()
    executors: Mapping[str, ExecutorState] = {}
    available: Mapping[str, Collection[str]] = {}


class Barrier(NamedTuple):
    """Why nothing may be launched: code, sentence, and the failures behind it."""

    status_code: str
    detail: str
    failures: tuple[JsonObject, ...] = ()

    def to_json(self) -> JsonObject:
        """`{statusCode, detail, failures}`."""
        return {"statusCode": self.status_code, "detail": self.detail, "failures": list(self.failures)}


class RelaunchResolution(NamedTuple):
    """Who runs next. `cause` names the rule that decided. `start_phase` is set for a closure-only pass.

    Neither agents nor barrier nor `start_phase`: nothing can safely be launched (exit 43). `fallbacks` are the
    executor changes to apply before launching, whichever rule decided.
    """

    cause: str
    selected_agent_ids: tuple[str, ...] = ()
    barrier: Barrier | None = None
    start_phase: str | None = None
    fallbacks: tuple[FallbackOutcome, ...] = ()

    @property
    def executor_states(self) -> dict[str, ExecutorState]:
        """Changed executor states by agent id."""
        return {outcome.agent_id: outcome.state for outcome in self.fallbacks if outcome.state is not None}

    @property
    def launches(self) -> bool:
        """Whether there is anything to launch."""
        return self.barrier is None and bool(self.selected_agent_ids or self.start_phase)


def resolve_relaunch(facts: RetryFacts) -> RelaunchResolution:
    """The first rule of LAUNCH 11.3 that yields something."""
    if any(record["kind"] in HUMAN_KINDS and record_blocks_wave(record) for record in facts.records):
        return RelaunchResolution("human-input")
    fallbacks = tuple(_fallbacks(facts))
    blocked = [outcome for outcome in fallbacks if outcome.blocking]
    if blocked:
        failures = tuple(
            _barrier_failure(outcome.agent_id, FALLBACK_BLOCKED, outcome.detail, facts.failures) for outcome in blocked
        )
        detail = "; ".join(outcome.detail for outcome in blocked)
        return RelaunchResolution(FALLBACK_BLOCKED, barrier=Barrier(FALLBACK_BLOCKED, detail, failures))
    rules = (
        _clarification_targets,
        _helper_assignees,
        _dependency_assignees,
        _blocker_agents,
        _waited_on,
        _from_resume_plan,
        _failed_agents,
    )
    for rule in rules:
        resolution = rule(facts)
        if resolution is not None:
            return resolution._replace(fallbacks=fallbacks)
    return RelaunchResolution("none", fallbacks=fallbacks)


def _failed_agents(facts: RetryFacts) -> RelaunchResolution | None:
    return _selection("failed-agents", (str(item.get("agentId")) for item in facts.failures), facts)


def _selection(cause: str, agent_ids: Iterable[str], facts: RetryFacts) -> RelaunchResolution | None:
    """The wave's agents among these ids, None when there are none: then the next rule is asked."""
    wanted = set(agent_ids)
    known = tuple(agent.agent_id for agent in facts.wave.agents if agent.agent_id in wanted)
    if not known:
        return None
    chosen = without_mixed_closure(known, facts.bindings)
    closure_only = all(agent_id in facts.bindings.closure_agents for agent_id in chosen)
    start = earliest_phase(chosen, facts.bindings) if closure_only else None
    return RelaunchResolution(cause, chosen, start_phase=start)


def _fallbacks(facts: RetryFacts) -> list[FallbackOutcome]:
    codes = {
        str(failure["agentId"]): str(failure["statusCode"])
        for failure in facts.failures
        if failure.get("agentId") and failure_class(str(failure["statusCode"])) == RUNTIME
    }
    return resolve_fallbacks(codes, facts.executors, facts.available, facts.profile, facts.attempt)


def _barrier_failure(
    agent_id: str | None, code: str, detail: str, failures: Sequence[Mapping[str, Any]]
) -> JsonObject:
    known: Mapping[str, Any] = next((item for item in failures if item.get("agentId") == agent_id), {})
    return {"agentId": agent_id, "statusCode": code, "logPath": known.get("logPath"), "detail": detail}


def _clarification_targets(facts: RetryFacts) -> RelaunchResolution | None:
    clarifications = [record["id"] for record in facts.records if record["kind"] == "clarification-request"]
    requests = [
        record
        for record in facts.records
        if record["kind"] == "request"
        and not is_seed(record)
        and record_blocks_wave(record)
        and (is_linked(record, clarifications) or str(record["closureCondition"]).startswith("clarification:"))
    ]
    return _selection("clarification", _targets(requests), facts)


def _targets(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return [target_agent(target) for record in records for target in record.get("targets") or ()]


def _helper_assignees(facts: RetryFacts) -> RelaunchResolution | None:
    blocking = [item for item in facts.assignments if item.get("blocking")]
    unassigned = [item for item in blocking if not item.get("assignedAgentId")]
    if unassigned:
        ids = ", ".join(sorted({str(item.get("requestId")) for item in unassigned}))
        detail = f"Helper requests have no assignee: {ids}."
        failures = tuple(
            _barrier_failure(None, ASSIGNMENT_UNRESOLVED, str(item.get("assignmentDetail") or item.get("summary")), ())
            for item in unassigned
        )
        return RelaunchResolution("helper-assignment", barrier=Barrier(ASSIGNMENT_UNRESOLVED, detail, failures))
    return _selection("helper-assignment", (str(item["assignedAgentId"]) for item in blocking), facts)


def _dependency_assignees(facts: RetryFacts) -> RelaunchResolution | None:
    unresolved = facts.dependencies.get("unresolvedInboundAssignments") or []
    if unresolved:
        ids = ", ".join(sorted(str(item.get("id")) for item in unresolved))
        detail = f"Required inbound dependencies have no assignee: {ids}."
        failures = tuple(
            _barrier_failure(None, DEPENDENCY_UNRESOLVED, f"{item.get('id')}: {item.get('summary') or ''}", ())
            for item in unresolved
        )
        return RelaunchResolution("dependency", barrier=Barrier(DEPENDENCY_UNRESOLVED, detail, failures))
    assigned = (str(item.get("assignedAgentId")) for item in facts.dependencies.get("openInbound") or [])
    return _selection("dependency", assigned, facts)


def _blocker_agents(facts: RetryFacts) -> RelaunchResolution | None:
    blockers = [
        record
        for record in facts.records
        if record["kind"] == "blocker"
        and record_blocks_wave(record)
        and not is_gap_record(record, facts.wave.wave)
    ]
    return _selection("blocker", [*(record["agentId"] for record in blockers), *_targets(blockers)], facts)


def _waited_on(facts: RetryFacts) -> RelaunchResolution | None:
    waited = [
        agent_id
        for failure in facts.failures
        for agent_id in (
            (failure.get("waitingOnAgentIds") or ())
            if failure["statusCode"] == SIBLING_PENDING
            else (failure.get("ownerAgentIds") or ())
            if failure["statusCode"] == "corridor-blocked"
            else ()
        )
    ]
    return _selection("shared-component", waited, facts)


def _from_resume_plan(facts: RetryFacts) -> RelaunchResolution | None:
    plan = facts.resume_plan
    if not plan or not plan.get("canResume") or plan.get("reason") == "human-request":
        return None
    phase = str(plan.get("resumeFromPhase") or "")
    if phase == "implementation":
        closure = facts.bindings.closure_agents
        invalidated = [agent_id for agent_id in plan.get("invalidatedAgentIds") or () if agent_id not in closure]
        targets = (str(item.get("agentId")) for item in retry_targets(facts.retry_target_set))
        return _selection("resume-plan", invalidated, facts) or _selection("resume-plan", targets, facts)
    selected = _selection("resume-plan", agents_of_phase(phase, facts.wave, facts.bindings), facts)
    if phase not in CLOSURE_PHASES:
        return selected
    # A Corridor stop has nobody to relaunch and is judged again all the same.
    return (selected or RelaunchResolution("resume-plan"))._replace(start_phase=phase)


def sibling_continuation(
    failures: Sequence[Mapping[str, Any]],
    current_agent_ids: Collection[str],
    continued_sets: Collection[frozenset[str]],
    resolution: RelaunchResolution,
) -> tuple[str, ...]:
    """The waited-on agents of a shared component that run next without using a retry, or (). Spec: LAUNCH 7.7 rule 1.

    `continued_sets`: the sets this launch has already continued to.
    """
    if not failures or any(failure["statusCode"] != SIBLING_PENDING for failure in failures):
        return ()
    waited = {str(agent_id) for failure in failures for agent_id in failure.get("waitingOnAgentIds") or ()}
    if waited.intersection(current_agent_ids) or frozenset(waited) in continued_sets:
        return ()
    if resolution.barrier is not None or not waited.issubset(resolution.selected_agent_ids):
        return ()
    return tuple(agent_id for agent_id in resolution.selected_agent_ids if agent_id in waited)


# --- what is recorded about a queued pass ---------------------------------------------------------------------------


def reason_buckets(facts: RetryFacts, selected: Collection[str]) -> dict[str, bool]:
    """Which causes touch a selected agent. Spec: LAUNCH 11.7."""

    def touches(resolution: RelaunchResolution | None) -> bool:
        return resolution is not None and bool(set(resolution.selected_agent_ids).intersection(selected))

    failed = {str(failure.get("agentId")) for failure in facts.failures if failure["statusCode"] != SIBLING_PENDING}
    return {
        "clarification": touches(_clarification_targets(facts)),
        "helperAssignment": touches(_helper_assignees(facts)),
        "dependency": touches(_dependency_assignees(facts)),
        "blocker": touches(_blocker_agents(facts)),
        "closureGate": bool(failed.intersection(selected)),
        "sharedComponentSiblingWait": touches(_waited_on(facts)),
    }


def build_relaunch_plan(
    facts: RetryFacts,
    selected: Sequence[str],
    executors: Mapping[str, ExecutorState],
    *,
    phase: str | None,
    resume_from_phase: str | None = None,
    now: str,
) -> JsonObject:
    """The relaunch plan document of the next pass. `phase` is the ledger's. Spec: LAUNCH 11.7, GATE 15."""
    plan = facts.resume_plan
    return {
        "schemaVersion": 1,
        "kind": "wave-relaunch-plan",
        "wave": facts.wave.wave,
        "attempt": facts.attempt,
        "phase": phase,
        "selectedAgentIds": list(selected),
        "resumeFromPhase": resume_from_phase or plan.get("resumeFromPhase"),
        "invalidatedAgentIds": list(plan.get("invalidatedAgentIds") or ()),
        "reusableAgentIds": list(plan.get("reusableAgentIds") or ()),
        "reusableProofBundleIds": list(plan.get("reusableProofBundleIds") or ()),
        "forwardedClosureGaps": list(plan.get("forwardedClosureGaps") or ()),
        "reasonBuckets": reason_buckets(facts, selected),
        "executorStates": {agent_id: executors[agent_id] for agent_id in selected if executors.get(agent_id)},
        "fallbackHistory": {
            agent_id: list(executors[agent_id].get("executorHistory") or [])
            for agent_id in selected
            if executors.get(agent_id)
        },
        "createdAt": now,
    }


def repair_record_id(wave: int, attempt: int, agent_id: str) -> str:
    """Id of the coordination record that tells an agent what to repair in a pass."""
    return f"repair-wave-{wave}-attempt-{attempt}-{agent_id}"


def repair_records(facts: RetryFacts, selected: Sequence[str], lane: str, status: str = "open") -> list[JsonObject]:
    """One advisory request per selected agent of the queued pass. Spec: LAUNCH 11.7."""
    phase = facts.resume_plan.get("resumeFromPhase") or "implementation"
    records = []
    for agent_id in selected:
        failure = next((item for item in facts.failures if item.get("agentId") == agent_id), {})
        code = failure.get("recoveryReason") or failure.get("statusCode") or "relaunch"
        records.append(
            {
                "id": repair_record_id(facts.wave.wave, facts.attempt, agent_id),
                "kind": "request",
                "lane": lane,
                "wave": facts.wave.wave,
                "agentId": "launcher",
                "targets": [f"agent:{agent_id}"],
                "status": status,
                "priority": "normal",
                "blocking": False,
                "blockerSeverity": "soft",
                "attempt": facts.attempt,
                "summary": f"Repair {agent_id} before the wave can close: {code}",
                "detail": f"Resume from {phase}. {failure.get('detail') or ''}".strip(),
                "source": "launcher",
            }
        )
    return records


def recovery_request(facts: RetryFacts, resolution: RelaunchResolution) -> JsonObject:
    """The rerun request that asks for a later, targeted launch once the budget is used up. Spec: LAUNCH 11.8."""
    failed = [str(failure["agentId"]) for failure in facts.failures if failure.get("agentId")]
    selected = _selection("recovery", [*resolution.selected_agent_ids, *failed], facts)
    phase = facts.resume_plan.get("resumeFromPhase")
    reasons = "; ".join(f"{item.get('agentId')}:{item.get('recoveryReason')}" for item in facts.failures)
    return {
        "selectedAgentIds": list(selected.selected_agent_ids if selected else ()),
        "resumeCursor": phase if phase != "completed" else None,
        "clearReusableAgentIds": sorted(set(failed)),
        "preserveReusableAgentIds": list(facts.resume_plan.get("reusableAgentIds") or ()),
        "reuseProofBundleIds": list(facts.resume_plan.get("reusableProofBundleIds") or ()),
        "requestedBy": "launcher-recovery",
        "reason": f"Recoverable execution failures: {reasons}",
        "applyOnce": True,
    }
