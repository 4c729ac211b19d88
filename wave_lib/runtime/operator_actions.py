"""What the commands of operators and agents do to a wave: post, act, ask, answer; each in one locked step.

Holds:       the coordination log's lock from the reading to the append.
Writes:      `coordination/wave-<n>.jsonl` and its checkpoint, the triage log, feedback requests, `human_input` events,
             mirrors, signals.
When killed: questions are on file before the records that name them; repeating the command finishes the rest.

Spec: COORD 2, 3.6, 5, 12.2, 25.4, 26.3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base.errors import StateError
from ..base.files import append_jsonl
from ..base.timestamps import now_iso
from ..engines.coordination_seeds import seed_records, seeds_to_append
from ..engines.task_actions import ActionRequest, decide_action, question_of
from ..engines.working_log import with_records
from ..state.control_plane import append_events, event_of
from ..state.coordination_records import is_open, normalize_record
from ..state.coordination_store import CoordinationLog, append_versions, with_acknowledgements
from ..state.feedback_store import answer_request, create_request, new_request_id, read_wave_requests
from ..state.log_access import locked_log
from .wave_scene import WaveScene, derived_context, derived_facts, launcher_is_active, reading_context

if TYPE_CHECKING:
    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]


def update_records(
    scene: WaveScene, decide: Callable[[CoordinationState], Sequence[Mapping[str, Any]]]
) -> list[JsonObject]:
    """Append what `decide` says, given the log with its seeds; seeds that the log lacks go into the same write.

    Returns the records of `decide` as appended. Escalations are mirrored into the triage log if there is one.
    """
    path = scene.paths.coordination_log(scene.number)
    log = CoordinationLog(path, scene.paths.coordination_checkpoint(scene.number))
    log.refresh()  # what is long takes its time before others wait for the lock
    with locked_log(path, scene.paths.rel(path)) as lock:
        state = log.refresh()
        seeds = missing_seeds(scene, state)
        seeded = with_records(state, seeds)
        wanted = list(decide(seeded))
        appended = append_versions(path, state.by_id, [*seeds, *wanted, *_answered_seeds(scene, seeded, wanted)], lock)
    log.save_checkpoint()
    own = appended[len(seeds) : len(seeds) + len(wanted)]
    _mirror_escalations(scene, own)
    return own


def missing_seeds(scene: WaveScene, state: CoordinationState) -> list[JsonObject]:
    """Seed records that the log lacks or holds with an old definition. Spec: COORD 5."""
    profile = scene.paths.profile
    now = now_iso()
    rows = read_wave_requests(scene.paths, scene.number, scene.agent_ids).rows
    seeds = seed_records(
        scene.wave, scene.bindings, profile.lane, profile.project_id, profile.shared_plan_docs, rows, now
    )
    return seeds_to_append(state, seeds, now)


def _answered_seeds(
    scene: WaveScene, state: CoordinationState, wanted: Sequence[Mapping[str, Any]]
) -> list[JsonObject]:
    """Question records that changed because `decide` asked or closed a question, unless it wrote them itself."""
    written = {record.get("id") for record in wanted}
    return [record for record in missing_seeds(scene, state) if record["id"] not in written]


def _mirror_escalations(scene: WaveScene, records: Sequence[JsonObject]) -> None:
    triage = scene.paths.triage_log(scene.number)
    escalations = [record for record in records if record["kind"] == "human-escalation"]
    if escalations and os.path.exists(triage):
        append_jsonl(triage, escalations)


def post_record(scene: WaveScene, raw: Mapping[str, Any], *, operator: str = "") -> JsonObject:
    """Append one record and the acknowledgements it implies; returns it. StateError for a bad record.

    The author is the record's agent; the operator who posted it for that agent goes into the control-plane log.
    """
    place = {"lane": scene.paths.lane, "wave": scene.number, "project": scene.paths.project_id}
    whole = {**place, **raw}
    normalize_record(whole, now_iso())  # a bad record is refused before anything is touched
    appended = update_records(scene, lambda state: with_acknowledgements(state, whole, scene.wave.agents, now_iso()))
    if operator:
        record = appended[0]
        data = {"recordId": record["id"], "kind": record["kind"], "agentId": record["agentId"]}
        event = event_of("task", record["id"], "created", data, source="operator", actor=operator)
        append_events(scene.paths, scene.number, [event])
    settle(scene)
    return appended[0]


def act_on_record(scene: WaveScene, request: ActionRequest, unknown: str = "Task not found") -> JsonObject:
    """Do an action and return the record that it is about (for `resolve-policy` both records).

    StateError `<unknown>: <id>` when there is no such record; else as `engines.task_actions.decide_action`.
    """
    place = {"lane": scene.paths.lane, "wave": scene.number, "project": scene.paths.project_id}
    shown: dict[str, JsonObject] = {}

    def decide(state: CoordinationState) -> Sequence[Mapping[str, Any]]:
        record = state.by_id.get(request.record_id)
        if record is None:
            raise StateError(f"{unknown}: {request.record_id}", remedy="`wave control task list` shows the ids")
        rows = read_wave_requests(scene.paths, scene.number, scene.agent_ids).rows
        outcome = decide_action(
            state,
            request._replace(question_id=new_request_id(scene.paths.lane, scene.number, record["agentId"])),
            agent_ids=scene.agent_ids,
            pending_questions={row["id"] for row in rows if row["status"] == "pending"},
            place=place,
            now=now_iso(),
        )
        for question in outcome.ask:
            ask_human(scene, question["agentId"], question["question"], question["context"], request_id=question["id"])
        for closing in outcome.close:
            close_question(scene, closing.request_id, closing.text, request.by, closing.disposition)
        after = with_records(state, outcome.records).by_id
        shown["record"] = after[outcome.shown_id]
        if outcome.policy_id:
            shown["policy"] = after[outcome.policy_id]
        return outcome.records

    written = {record["id"]: record for record in update_records(scene, decide)}
    settle(scene)
    found = {name: written.get(record["id"], record) for name, record in shown.items()}
    if "policy" in found:
        return {"resolvedRecord": found["record"], "policyRecord": found["policy"]}
    return found["record"]


# --- questions to people --------------------------------------------------------------------------------------------


def ask_human(
    scene: WaveScene,
    agent_id: str,
    question: str,
    context: str = "",
    orchestrator_id: str = "",
    request_id: str = "",
    operator: str = "",
) -> JsonObject:
    """Create a feedback request and its `human_input` event; returns the request. The record follows as a seed.

    `operator` is who asks on behalf of the agent, if somebody does.
    """
    document = create_request(
        scene.paths,
        scene.number,
        agent_id,
        question,
        context=context,
        orchestrator_id=orchestrator_id,
        request_id=request_id,
    )
    asked = {"humanInputId": document["id"], "requestId": document["id"], "state": "pending"}
    source = "operator" if operator else "launcher"
    event = event_of("human_input", document["id"], "requested", asked, source=source, actor=operator)
    append_events(scene.paths, scene.number, [event])
    return document


def close_question(scene: WaveScene, request_id: str, text: str, operator: str, disposition: str) -> None:
    """Close a question that nobody has to answer any more; one that was answered meanwhile is left alone."""
    try:
        answer_request(scene.paths, request_id, text, operator=operator, disposition=disposition)
    except StateError:
        return
    state = "dismissed" if disposition == "dismissed" else "answered"
    data = {"humanInputId": request_id, "requestId": request_id, "state": state, "operator": operator, "response": text}
    append_events(
        scene.paths, scene.number, [event_of("human_input", request_id, state, data, source="operator", actor=operator)]
    )


def ask_and_record(
    scene: WaveScene, agent_id: str, question: str, context: str = "", orchestrator_id: str = "", operator: str = ""
) -> JsonObject:
    """Ask a person: the request, its event, its record, and the signals that follow. Returns the request."""
    document = ask_human(scene, agent_id, question, context, orchestrator_id, operator=operator)
    update_records(scene, lambda _state: [])
    settle(scene)
    return document


def answer_question(
    scene: WaveScene,
    target_id: str,
    text: str,
    *,
    operator: str = "human-operator",
    disposition: str = "answered",
    force: bool = False,
) -> JsonObject:
    """Answer (or dismiss) a question, named by itself or by a record; returns the request, or else the record.

    A record without a question is resolved with the text. StateError when nothing has this id. Spec: COORD 25.4.
    """
    from .human_input_resolution import answer_human_input_and_reconcile, reconcile_answer

    def resume_plan() -> Mapping[str, Any] | None:
        return compute_resume_plan(scene)

    context = derived_context(scene)
    log = context.log.refresh()
    rows = read_wave_requests(scene.paths, scene.number, scene.agent_ids).rows
    questions = {row["id"] for row in rows}
    record = log.by_id.get(target_id)
    common: dict[str, Any] = {
        "operator": operator,
        "disposition": disposition,
        "attempt_is_live": launcher_is_active(scene.paths),
        "resume_plan": resume_plan,
        "facts": derived_facts(reading_context(scene)),
    }
    question = target_id if target_id in questions or record is None else question_of(record, log, questions)
    if question is not None:
        document = answer_human_input_and_reconcile(context, question, text, force=force, **common)
    elif record is None or not is_open(record):
        raise StateError(f"Record is closed already: {target_id}", remedy="`wave control task list` shows what is open")
    else:
        reconcile_answer(context, target_id, text, **common)
        document = context.log.refresh().by_id[target_id]
    settle(scene)
    return document


def compute_resume_plan(scene: WaveScene) -> JsonObject | None:
    """The resume plan as the facts on disk have it now. Spec: LAUNCH 11.6."""
    from ..engines.gate_engine import evaluate_gates
    from .derived_state import preview_derived_state
    from .fact_collection import collect_wave_facts
    from .reduced_state import reduce

    context = reading_context(scene)
    context.derived = preview_derived_state(derived_context(scene), derived_facts(context))
    facts = collect_wave_facts(context)
    plan = reduce(context, facts, evaluate_gates(facts)).get("resumePlan")
    return plan if isinstance(plan, dict) else None


def settle(scene: WaveScene) -> None:
    """What every command that changed something ends with: the signals follow. Spec: COORD 26.3."""
    from .control_status import sync_signals

    sync_signals(scene)
