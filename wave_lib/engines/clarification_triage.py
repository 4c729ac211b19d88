"""What to do about open clarifications: answer from the log, ask the owner, ask again, ask a person.

Pure: reads a working log and facts, appends to the working log, and returns what else has to be written.
Spec: COORD 14.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.text import sha256_text
from ..base.timestamps import parse_iso
from ..state.coordination_records import (
    WITHDRAWN_STATUSES,
    clarification_closure_condition,
    is_open,
    linked_requests,
    record_blocks_wave,
    target_agent,
)
from .coordination_metrics import ACK_TIMEOUT_MS, RESOLUTION_STALE_MS, ROUTED_CYCLES, age_ms
from .derived_state import FeedbackToClose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from .working_log import WorkingLog

    JsonObject = dict[str, Any]

_SETTLED = ("resolved", "closed")
_INTEGRATION_WORDS = ("contradict", "cross-component", "cross component", "interface", "integration")
_PLAN_WORDS = ("shared-plan", "shared plan", "docs/plans/", "component-cutover-matrix")
_EVAL_WORDS = ("cont-eval", "benchmark", "eval target")
_QA_WORDS = ("cont-qa", "evaluator", "gate")


class TriageFacts(NamedTuple):
    """What triage knows besides the log. `integration_entries` are those of the evidence lists."""

    wave: Wave
    bindings: RoleBindings
    lane: str
    docs_queue: JsonObject
    integration_entries: Sequence[str] | None
    summaries: Mapping[str, JsonObject | None]
    feedback: Sequence[JsonObject]


class TriageResult(NamedTuple):
    """Questions to create and close, and the records of the triage log (those of the log are in the working log)."""

    feedback: list[JsonObject]
    feedback_to_close: list[FeedbackToClose]
    triage: list[JsonObject]


class _Case(NamedTuple):
    """One clarification at hand. `question` and `said` are from its first version: later details are guidance."""

    record: JsonObject
    linked: list[JsonObject]
    condition: str
    question: str
    context: str
    said: str


def triage_clarifications(log: WorkingLog, facts: TriageFacts) -> TriageResult:
    """Take every clarification that blocks the wave one step further."""
    result = TriageResult([], [], [])
    pending = [record for record in log.state.of_kind("clarification-request") if record_blocks_wave(record)]
    if not pending:
        return result
    first = log.state.first
    for record in pending:
        _take(log, facts, _case(log, record, first.get(record["id"], record)), result)
    return result


def _case(log: WorkingLog, record: JsonObject, first: JsonObject) -> _Case:
    said = "\n".join([first["summary"], first["detail"], *first["artifactRefs"]])
    linked = linked_requests(log.state.of_kind("request"), record["id"])
    condition = clarification_closure_condition(record["id"])
    return _Case(record, linked, condition, first["summary"] or first["detail"], first["detail"], said)


def _take(log: WorkingLog, facts: TriageFacts, case: _Case, result: TriageResult) -> None:
    answer = _given_answer(log, case)
    if answer is not None:
        _close_escalations(log, case, result, answer["detail"] or answer["summary"])
        log.update(case.record, status="resolved", detail=f"Resolved via {answer['id']}. {answer['detail']}".strip())
        return
    decision = _prior_decision(log, case)
    if decision is not None:
        _answer_by_policy(log, case, decision, result)
        return
    owners = candidate_owners(case.record, case.said, facts)
    if not owners:
        if not log.open_escalations(case.condition):
            _escalate(log, facts, case, result)
        return
    _route(log, facts, case, owners, result)


# --- answers --------------------------------------------------------------------------------------------------------


def _given_answer(log: WorkingLog, case: _Case) -> JsonObject | None:
    escalations = [
        record for record in log.state.of_kind("human-escalation") if record["closureCondition"] == case.condition
    ]
    return next((record for record in [*case.linked, *escalations] if record["status"] in _SETTLED), None)


def _prior_decision(log: WorkingLog, case: _Case) -> JsonObject | None:
    """The newest decision that says what was asked. Spec: COORD 14.1."""
    used = {
        ref
        for policy in log.state.of_kind("resolved-by-policy")
        if policy["id"].startswith("triage-") and f"agent:{case.record['agentId']}" in policy["targets"]
        for ref in policy["artifactRefs"]
    }
    refs = {ref.lower() for ref in case.record["artifactRefs"]}
    newest_first = sorted(
        log.state.of_kind("decision"), key=lambda item: parse_iso(item["updatedAt"]) or float("-inf"), reverse=True
    )
    for decision in newest_first:
        if decision["source"] == "launcher" or decision["status"] in WITHDRAWN_STATUSES or decision["id"] in used:
            continue
        phrases = [decision["id"], *decision["artifactRefs"]]
        if len(decision["summary"]) >= 8:
            phrases.append(decision["summary"])
        if any(ref.lower() in refs for ref in decision["artifactRefs"]) or any(
            mentions_phrase(case.said, phrase) for phrase in phrases
        ):
            return decision
    return None


def _answer_by_policy(log: WorkingLog, case: _Case, decision: JsonObject, result: TriageResult) -> None:
    answer = decision["detail"] or decision["summary"]
    _close_escalations(log, case, result, answer)
    log.update(case.record, status="resolved", detail=answer)
    result.triage.append(
        log.create(
            id=f"triage-{case.record['id']}-policy",
            kind="resolved-by-policy",
            targets=[f"agent:{case.record['agentId']}"],
            dependsOn=[case.record["id"]],
            artifactRefs=[decision["id"]],
            summary=f"Answered by {decision['id']}: {case.question}",
            detail=answer,
        )
    )


def _close_escalations(log: WorkingLog, case: _Case, result: TriageResult, answer: str) -> None:
    for escalation in log.open_escalations(case.condition):
        _supersede_escalation(log, escalation, result, answer)


def _supersede_escalation(log: WorkingLog, escalation: JsonObject, result: TriageResult, answer: str) -> None:
    result.triage.append(log.update(escalation, status="superseded"))
    for request_id in escalation["artifactRefs"]:
        result.feedback_to_close.append(FeedbackToClose(request_id, answer))


# --- routing --------------------------------------------------------------------------------------------------------


def _route(
    log: WorkingLog, facts: TriageFacts, case: _Case, owners: list[tuple[str, str]], result: TriageResult
) -> None:
    follow_ups = [request for request in case.linked if is_open(request)]
    newest = max((request["createdAt"] for request in follow_ups), default="")
    for escalation in log.open_escalations(case.condition):
        if not newest or escalation["createdAt"] >= newest:
            return
        _supersede_escalation(log, escalation, result, "Routing to the owner went on.")
    if not follow_ups:
        _ask_owner(log, case, _next_owner(case, owners), result)
        return
    answering = [request for request in follow_ups if request["status"] != "open"]
    if answering:
        last = max(answering, key=lambda request: parse_iso(request["updatedAt"]) or 0.0)
        stale = (age_ms(last, log.now, "updatedAt") or 0) >= RESOLUTION_STALE_MS
        if stale and not _escalated_since(log, case, last["updatedAt"]):
            _escalate(log, facts, case, result)
        return
    overdue = [request for request in follow_ups if (age_ms(request, log.now) or 0) >= ACK_TIMEOUT_MS]
    if not overdue:
        return
    if len(case.linked) < ROUTED_CYCLES:
        for request in overdue:
            log.update(request, status="superseded")
        _ask_owner(log, case, _next_owner(case, owners), result)
    else:
        _escalate(log, facts, case, result)


def _escalated_since(log: WorkingLog, case: _Case, stamp: str) -> bool:
    since = parse_iso(stamp) or 0.0
    return any(
        record["closureCondition"] == case.condition and (parse_iso(record["createdAt"]) or 0.0) >= since
        for record in log.state.of_kind("human-escalation")
    )


def _next_owner(case: _Case, owners: list[tuple[str, str]]) -> tuple[str, str]:
    """The first candidate who was not asked before, else the first one."""
    asked = {target_agent(target) for request in case.linked for target in request["targets"]}
    return next((owner for owner in owners if owner[0] not in asked), owners[0])


def _ask_owner(log: WorkingLog, case: _Case, owner: tuple[str, str], result: TriageResult) -> None:
    agent_id, why = owner
    record = case.record
    cycle = len(case.linked) + 1
    guidance = f"Ask {agent_id}: {why}."
    log.update(record, status="in_progress", detail=guidance)
    result.triage.append(
        log.create(
            id=f"triage-{record['id']}-route-{cycle}",
            kind="orchestrator-guidance",
            status="resolved",
            targets=[f"agent:{record['agentId']}"],
            dependsOn=[record["id"]],
            summary=f"{record['id']} was passed to {agent_id}",
            detail=guidance,
            append=False,
        )
    )
    result.triage.append(
        log.create(
            id=f"route-{record['id']}-{cycle}",
            kind="request",
            targets=[f"agent:{agent_id}"],
            priority=record["priority"] or "high",
            dependsOn=[record["id"]],
            closureCondition=case.condition,
            artifactRefs=record["artifactRefs"],
            summary=f"Clarification follow-up for {record['agentId']}",
            detail="\n\n".join(part for part in (_whole_question(case), guidance) if part),
        )
    )


def _whole_question(case: _Case) -> str:
    return case.question if case.context in ("", case.question) else f"{case.question}\n{case.context}"


def _escalate(log: WorkingLog, facts: TriageFacts, case: _Case, result: TriageResult) -> None:
    """Ask a person; a question that is still pending is asked only once."""
    record = case.record
    request_id = _pending_question(facts, case)
    if request_id is None:
        request_id = _question_id(facts, record, log.now)
        result.feedback.append(
            {"id": request_id, "agentId": record["agentId"], "question": case.question, "context": case.context}
        )
    log.update(record, status="in_progress", detail=f"Waiting for a person: {request_id}")
    result.triage.append(
        log.create(
            id=f"escalation-{request_id}",
            kind="human-escalation",
            targets=[f"agent:{record['agentId']}"],
            dependsOn=[record["id"]],
            closureCondition=case.condition,
            artifactRefs=[request_id],
            summary=case.question,
            detail=case.context,
        )
    )


def _pending_question(facts: TriageFacts, case: _Case) -> str | None:
    for row in facts.feedback:
        if (row["status"], row["agentId"], row["question"], row["context"]) == (
            "pending",
            case.record["agentId"],
            case.question,
            case.context,
        ):
            return str(row["id"])
    return None


def _question_id(facts: TriageFacts, record: JsonObject, now: str) -> str:
    digits = re.sub(r"\D", "", now)[:17].ljust(17, "0")
    part = re.sub(r"[^A-Za-z0-9._-]+", "-", record["agentId"]).strip("-") or "agent"
    unique = sha256_text(f"{record['id']} {now}")[:6]
    return f"{digits}-{facts.lane}-w{facts.wave.wave}-{part}-{unique}"


# --- owners ---------------------------------------------------------------------------------------------------------


def candidate_owners(record: JsonObject, said: str, facts: TriageFacts) -> list[tuple[str, str]]:
    """(agent id, why) of everybody who may know the answer, best first; never the asker. Spec: COORD 14.2."""
    found: dict[str, str] = {}

    def add(agent_id: str | None, why: str) -> None:
        if agent_id and agent_id != record["agentId"] and facts.wave.agent(agent_id) is not None:
            found.setdefault(agent_id, why)

    bindings, refs = facts.bindings, record["artifactRefs"]
    for item in facts.docs_queue["items"]:
        named = [text for text in (item["id"], item["path"], item["summary"]) if text]
        if any(mentions_phrase(said, text) for text in named) or item["path"] in refs or item["id"] in refs:
            add(bindings.documentation, f"the docs queue lists {item['path'] or item['id']}")
    for agent in facts.wave.agents:
        path = next((path for path in agent.owned_paths if mentions_path(said, path)), None)
        if path:
            add(agent.agent_id, f"owns {path}")
    for agent in facts.wave.agents:
        component = next((item for item in agent.components if mentions_word(said, item)), None)
        if component:
            add(agent.agent_id, f"owns component {component}")
    for agent in facts.wave.agents:
        reported = _reported(facts.summaries.get(agent.agent_id))
        named_by = next((item for item in reported if mentions_path(said, item)), None)
        if named_by:
            add(agent.agent_id, f"reported {named_by}")
    if facts.integration_entries is not None and (
        any(mentions_word(said, word) for word in _INTEGRATION_WORDS)
        or any(mentions_phrase(said, entry.split(":", 1)[0]) for entry in facts.integration_entries)
    ):
        add(bindings.integration, "holds the integration summary")
    for words, agent_id, why in (
        (_PLAN_WORDS, bindings.documentation, "keeps the shared plan docs"),
        (_EVAL_WORDS, bindings.cont_eval, "runs the evaluation"),
        (_QA_WORDS, bindings.cont_qa, "judges the wave"),
    ):
        if any(mentions_word(said, word) for word in words):
            add(agent_id, why)
    return list(found.items())


def _reported(summary: JsonObject | None) -> list[str]:
    if not summary:
        return []
    paths = (summary.get("docDelta") or {}).get("paths") or []
    return [*paths, *(item["componentId"] for item in summary.get("components") or [] if item.get("componentId"))]


def mentions_path(said: str, path: str) -> bool:
    """Whether the text names the path (or, for a directory, something below it), at path boundaries."""
    path = path.strip()
    if not path:
        return False
    end = "" if path.endswith("/") else r"(?![\w/-]|\.\w)"
    return re.search(rf"(?<![\w./-]){re.escape(path)}{end}", said, re.I) is not None


def mentions_word(said: str, word: str) -> bool:
    """Whether the text holds the keyword as whole words; `docs/plans/` counts as the beginning of a path."""
    end = "" if word.endswith("/") else r"(?![\w-])"
    return re.search(rf"(?<![\w-]){re.escape(word)}{end}", said, re.I) is not None


def mentions_phrase(said: str, phrase: str) -> bool:
    """Whether the text holds the phrase, in any case, with nothing but a boundary on either side."""
    phrase = phrase.strip()
    if not phrase:
        return False
    return re.search(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", said, re.I) is not None
