"""What an operator's or an agent's action does to a coordination record and to what hangs on it. Pure.

An action comes out as the records to append (in one write), the questions to ask and the questions to close.
Spec: COORD 25.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..base.errors import UsageError, WaveError
from ..state.coordination_records import (
    NON_AGENT_AUTHORS,
    clarification_closure_condition,
    is_open,
    linked_requests,
    target_agent,
)
from .derived_state import FeedbackToClose
from .working_log import WorkingLog

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]

ACTIONS = (
    "ack",
    "start",
    "resolve",
    "dismiss",
    "cancel",
    "reassign",
    "escalate",
    "defer",
    "mark-advisory",
    "mark-stale",
    "resolve-policy",
)
"""Every action but `answer`, which goes through the feedback queue."""

_CLOSING = {"resolve": ("resolved", "resolved"), "dismiss": ("cancelled", "dismissed")}
_DOWNGRADES = {"defer": "soft", "mark-advisory": "advisory", "mark-stale": "stale"}


class ActionRequest(NamedTuple):
    """What is asked: `by` is who asks (an agent id, or `operator`), `to` the agent that a reassigned record goes to,
    `question_id` the id that a question gets if the action asks one."""

    action: str
    record_id: str
    by: str = "operator"
    detail: str = ""
    to: str = ""
    reopen: bool = False
    question_id: str = ""

    @property
    def source(self) -> str:
        """What the records name as their source."""
        return "operator" if self.by in NON_AGENT_AUTHORS else "agent"


class ActionOutcome(NamedTuple):
    """What follows. `shown_id` is the record that the command prints; `policy_id` the policy record beside it."""

    records: list[JsonObject]
    shown_id: str
    ask: list[JsonObject]
    close: list[FeedbackToClose]
    policy_id: str | None = None


class _Scene:
    """One action while it is decided."""

    def __init__(
        self, state: CoordinationState, request: ActionRequest, agent_ids: Collection[str], place: JsonObject, now: str
    ) -> None:
        self.request = request
        self.agent_ids = agent_ids
        self.log = WorkingLog(state, place, now)
        self.record = state.by_id[request.record_id]
        self.ask: list[JsonObject] = []
        self.close: list[FeedbackToClose] = []

    @property
    def is_clarification(self) -> bool:
        return bool(self.record["kind"] == "clarification-request")

    @property
    def condition(self) -> str:
        return clarification_closure_condition(self.record["id"])

    def update(self, record: Mapping[str, Any], **changes: Any) -> JsonObject:
        """The next version of a record; who changed it is told by source and, when it closes, `resolvedBy`."""
        if changes.get("status") in ("resolved", "closed", "cancelled", "superseded"):
            changes["resolvedBy"] = self.request.by
        return self.log.update(record, attempt=record["attempt"], source=self.request.source, **changes)

    def create(self, **raw: Any) -> JsonObject:
        return self.log.create(source=self.request.source, **raw)

    def done(self, shown_id: str = "", policy_id: str | None = None) -> ActionOutcome:
        return ActionOutcome(self.log.appended, shown_id or self.record["id"], self.ask, self.close, policy_id)


def decide_action(
    state: CoordinationState,
    request: ActionRequest,
    *,
    agent_ids: Collection[str],
    pending_questions: Collection[str],
    place: Mapping[str, Any],
    now: str,
) -> ActionOutcome:
    """What the action does. The record must be in `state`; `pending_questions` are ids of unanswered requests.

    UsageError for an unknown action, WaveError when the record's state or a missing agent forbids it.
    """
    action = {"cancel": "dismiss"}.get(request.action, request.action)
    if request.action not in ACTIONS:
        raise UsageError(f"Unsupported task action: {request.action}", remedy=f"use one of {', '.join(ACTIONS)}")
    scene = _Scene(state, request, agent_ids, dict(place), now)
    return _DECIDERS[action](scene, action, pending_questions)


def _require_open(scene: _Scene) -> None:
    record, request = scene.record, scene.request
    if is_open(record) or (request.reopen and request.action == "start"):
        return
    remedy = "`start --reopen` opens it again" if request.action == "start" else ""
    raise WaveError(f"{record['id']} is {record['status']}; it cannot be changed by {request.action}", remedy=remedy)


def _move(scene: _Scene, action: str, _pending: Collection[str]) -> ActionOutcome:
    """ack, start."""
    target = "acknowledged" if action == "ack" else "in_progress"
    status = scene.record["status"]
    if status == target or (action == "ack" and status == "in_progress"):
        return scene.done()
    _require_open(scene)
    scene.update(scene.record, status=target, **_detail(scene))
    return scene.done()


def _settle(scene: _Scene, action: str, pending: Collection[str]) -> ActionOutcome:
    """resolve, dismiss, cancel; repeating it finishes what an interrupted command left open."""
    status, disposition = _CLOSING[action]
    record = scene.record
    if is_open(record):
        scene.update(record, status=status, **_detail(scene))
    elif record["status"] != status and not (status == "resolved" and record["status"] == "closed"):
        _require_open(scene)
    _settle_linked(scene, status, disposition, pending)
    return scene.done()


def _settle_linked(scene: _Scene, status: str, disposition: str, pending: Collection[str]) -> None:
    """A clarification takes its open requests and escalations along; questions behind any of them are closed."""
    touched = [scene.record]
    if scene.is_clarification:
        told = scene.request.detail or f"Settled with {scene.record['id']} by {scene.request.by}."
        linked = linked_requests(scene.log.state.of_kind("request"), scene.record["id"], only_open=True)
        for item in [*linked, *scene.log.open_escalations(scene.condition)]:
            touched.append(scene.update(item, status=status, detail=told))
    for item in touched:
        for question in [item["id"], *item["artifactRefs"]]:
            if question in pending and item["kind"] in ("human-feedback", "human-escalation"):
                scene.close.append(FeedbackToClose(question, scene.request.detail, disposition))


def _detail(scene: _Scene) -> dict[str, str]:
    return {"detail": scene.request.detail} if scene.request.detail else {}


def _downgrade(scene: _Scene, action: str, _pending: Collection[str]) -> ActionOutcome:
    """defer, mark-advisory, mark-stale: the record stays open and no longer blocks."""
    severity = _DOWNGRADES[action]
    if not scene.record["blocking"] and scene.record["blockerSeverity"] == severity:
        return scene.done()
    _require_open(scene)
    scene.update(scene.record, blocking=False, blockerSeverity=severity, **_detail(scene))
    return scene.done()


def _reassign(scene: _Scene, _action: str, _pending: Collection[str]) -> ActionOutcome:
    """A new request to another agent takes the record's place; a clarification goes on and waits for it."""
    record, to = scene.record, target_agent(scene.request.to.strip())
    if not to:
        raise UsageError("reassign requires --to <agent>")
    if to not in scene.agent_ids:
        raise WaveError(f"Unknown wave agent id: {to}", "--to")
    _require_open(scene)
    for item in linked_requests(scene.log.state.of_kind("request"), record["id"], only_open=True):
        scene.update(item, status="superseded", detail=f"Reassigned to {to} by {scene.request.by}.")
    status = "in_progress" if scene.is_clarification else "superseded"
    scene.update(record, status=status, detail=scene.request.detail or record["detail"])
    new = scene.create(
        kind="request",
        agentId=scene.request.by,
        targets=[f"agent:{to}"],
        priority=record["priority"],
        dependsOn=[record["id"]],
        closureCondition=scene.condition if scene.is_clarification else record["closureCondition"],
        artifactRefs=record["artifactRefs"],
        summary=record["summary"],
        detail=scene.request.detail or record["detail"],
    )
    return scene.done(new["id"])


def _escalate(scene: _Scene, _action: str, _pending: Collection[str]) -> ActionOutcome:
    """A question to a person, and the escalation that waits for its answer; an open one stands."""
    record = scene.record
    escalation_id = f"escalation-{record['id']}"
    known = scene.log.state.by_id.get(escalation_id)
    standing = [known] if known is not None and is_open(known) else []
    standing += scene.log.open_escalations(scene.condition) if scene.is_clarification else []
    if record["kind"] == "human-escalation" and is_open(record):
        standing.append(record)
    if standing:
        return scene.done(standing[0]["id"])
    _require_open(scene)
    scene.ask.append(
        {
            "id": scene.request.question_id,
            "agentId": record["agentId"],
            "question": record["summary"] or record["detail"] or f"What is to be done about {record['id']}?",
            "context": scene.request.detail or record["detail"],
        }
    )
    content: JsonObject = {
        "id": escalation_id,
        "kind": "human-escalation",
        "status": "open",
        "agentId": scene.request.by,
        "targets": record["targets"],
        "priority": "high",
        "dependsOn": [record["id"]],
        "closureCondition": scene.condition if scene.is_clarification else "",
        "artifactRefs": [*record["artifactRefs"], scene.request.question_id],
        "summary": record["summary"],
        "detail": scene.request.detail or record["detail"],
    }
    if known is None:
        scene.create(**content)
    else:
        scene.update(known, **content)
    return scene.done(escalation_id)


def _resolve_policy(scene: _Scene, _action: str, pending: Collection[str]) -> ActionOutcome:
    """A standing rule answers: the record and what follows it are resolved, and the rule is on record."""
    record, policy_id = scene.record, f"policy-{scene.record['id']}"
    quiet = {"status": "resolved", "blocking": False, "blockerSeverity": "advisory"}
    if not is_open(record) and policy_id in scene.log.state.by_id:
        return scene.done(policy_id=policy_id)
    _require_open(scene)
    linked = []
    if scene.is_clarification:
        linked = linked_requests(scene.log.state.of_kind("request"), record["id"], only_open=True)
    scene.update(record, **quiet, **_detail(scene))
    for item in linked:
        scene.update(item, **quiet, detail=f"Resolved by policy with {record['id']}.")
    _settle_linked(scene, "resolved", "resolved", pending)
    scene.create(
        id=policy_id,
        kind="resolved-by-policy",
        agentId=scene.request.by,
        targets=record["targets"],
        dependsOn=[record["id"], *record["dependsOn"]],
        closureCondition=scene.condition if scene.is_clarification else record["closureCondition"],
        artifactRefs=record["artifactRefs"],
        summary=record["summary"],
        detail=scene.request.detail or record["detail"],
    )
    return scene.done(policy_id=policy_id)


_DECIDERS: dict[str, Callable[[_Scene, str, Collection[str]], ActionOutcome]] = {
    "ack": _move,
    "start": _move,
    "resolve": _settle,
    "dismiss": _settle,
    "reassign": _reassign,
    "escalate": _escalate,
    "defer": _downgrade,
    "mark-advisory": _downgrade,
    "mark-stale": _downgrade,
    "resolve-policy": _resolve_policy,
}


def question_of(record: Mapping[str, Any], state: CoordinationState, question_ids: Collection[str]) -> str | None:
    """The feedback request that a record stands for or names, also through a clarification's escalation."""
    named = [record["id"], *record["artifactRefs"], *record["dependsOn"]]
    if record["kind"] == "clarification-request":
        condition = clarification_closure_condition(str(record["id"]))
        named += [
            ref
            for item in state.of_kind("human-escalation")
            if item["closureCondition"] == condition and is_open(item)
            for ref in item["artifactRefs"]
        ]
    return next((name for name in named if name in question_ids), None)
