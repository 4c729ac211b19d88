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
from ..engines.task_actions import ActionRequest, decide_action
from ..engines.working_log import with_records
from ..state.control_plane import append_events, event_of
from ..state.coordination_records import normalize_record
from ..state.coordination_store import append_versions, with_acknowledgements
from ..state.feedback_store import Answer, new_request_id, read_wave_requests
from ..state.log_access import locked_log
from .human_questions import ask_human, close_question
from .wave_scene import WaveScene, derived_context

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..state.coordination_store import CoordinationState
    from .derived_state import DerivedContext

    JsonObject = dict[str, Any]


def update_records(
    scene: WaveScene, decide: Callable[[CoordinationState], Sequence[Mapping[str, Any]]], logs: DerivedContext
) -> list[JsonObject]:
    """Append what `decide` says, given the log with its seeds; seeds that the log lacks go into the same write.

    Returns the records of `decide` as appended. Escalations are mirrored into the triage log if there is one.
    """
    path = logs.log.path
    logs.log.refresh()  # what is long takes its time before others wait for the lock
    with locked_log(path, scene.paths.rel(path)) as lock:
        state = logs.log.refresh()
        seeds = missing_seeds(scene, state)
        seeded = with_records(state, seeds)
        wanted = list(decide(seeded))
        appended = append_versions(path, state.by_id, [*seeds, *wanted, *_answered_seeds(scene, seeded, wanted)], lock)
    own = appended[len(seeds) : len(seeds) + len(wanted)]
    mirror_escalations(scene.paths, scene.number, own)
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


def mirror_escalations(paths: LanePaths, wave: int, records: Sequence[JsonObject]) -> None:
    """Append the escalations among these records to the triage log, if there is one. Spec: COORD 25.4."""
    triage = paths.triage_log(wave)
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
    agents, logs = scene.wave.agents, derived_context(scene)
    appended = update_records(scene, lambda state: with_acknowledgements(state, whole, agents, now_iso()), logs)
    if operator:
        record = appended[0]
        data = {"recordId": record["id"], "kind": record["kind"], "agentId": record["agentId"]}
        event = event_of("task", record["id"], "created", data, source="operator", actor=operator)
        append_events(scene.paths, scene.number, [event])
    settle(scene, logs)
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
        paths, number = scene.paths, scene.number
        for ask in outcome.ask:
            ask_human(paths, number, ask["agentId"], ask["question"], ask["context"], request_id=ask["id"])
        for closing in outcome.close:
            answer = Answer(closing.text, request.by, closing.disposition)
            close_question(paths, number, closing.request_id, answer, "operator")
        after = with_records(state, outcome.records).by_id
        shown["record"] = after[outcome.shown_id]
        if outcome.policy_id:
            shown["policy"] = after[outcome.policy_id]
        return outcome.records

    logs = derived_context(scene)
    written = {record["id"]: record for record in update_records(scene, decide, logs)}
    settle(scene, logs)
    found = {name: written.get(record["id"], record) for name, record in shown.items()}
    if "policy" in found:
        return {"resolvedRecord": found["record"], "policyRecord": found["policy"]}
    return found["record"]


# --- questions to people --------------------------------------------------------------------------------------------


def ask_and_record(
    scene: WaveScene, agent_id: str, question: str, context: str = "", orchestrator_id: str = "", operator: str = ""
) -> JsonObject:
    """Ask a person: the request, its event, its record, and the signals that follow. Returns the request."""
    document = ask_human(
        scene.paths, scene.number, agent_id, question, context, orchestrator_id=orchestrator_id, operator=operator
    )
    logs = derived_context(scene)
    update_records(scene, lambda _state: [], logs)
    settle(scene, logs)
    return document


def settle(scene: WaveScene, logs: DerivedContext | None = None) -> None:
    """What every command that changed something ends with: the signals follow. Spec: COORD 26.3."""
    from .control_status import sync_signals

    sync_signals(scene, logs)
