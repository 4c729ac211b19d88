"""`wave control task`: create, list, get and act on the tasks of a wave. Spec: COORD 25.4."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, StateError, UsageError
from .arguments import CHOICE, JSON, SWITCH, TEXT, Command, Flag, Parsed
from .subcommands import PLACE, Verb, flag_value, ids_flag, ids_of, print_json, required, scene_of, warn

if TYPE_CHECKING:
    from ..runtime.wave_scene import WaveScene

    JsonObject = dict[str, Any]

_ID = Flag("--id", TEXT, "id of the task", metavar="id")
_DETAIL = Flag("--detail", TEXT, "more about it", metavar="text")
RECORD_FLAGS = (
    Flag("--summary", TEXT, "what it is about, in one sentence", metavar="text"),
    _DETAIL,
    ids_flag("--target", "whom it concerns: agent:<id>, an agent id, or capability:<name>"),
    Flag("--priority", CHOICE, "how urgent", choices=("low", "normal", "high", "urgent"), default="normal"),
    Flag("--blocking", TEXT, "whether the wave waits for it", metavar="true|false", default="by kind"),
    Flag("--severity", TEXT, "how it blocks", metavar="severity", default="by kind and priority"),
    ids_flag("--depends-on", "records that this one is about"),
    ids_flag("--artifact", "files that it concerns"),
    Flag("--status", TEXT, "status to begin with", metavar="status", default="open"),
)
"""Flags of everything that writes a record. Spec: COORD 24, 25.4."""

CREATE = Command(
    "control task create",
    "Create a task: a coordination record, or a question to a person (kind human-input).",
    (
        *PLACE,
        Flag("--agent", TEXT, "the agent (or operator) that it comes from", metavar="id"),
        Flag("--kind", TEXT, "record kind, clarification, or human-input", metavar="kind"),
        *RECORD_FLAGS,
        Flag("--operator", TEXT, "who creates it", metavar="name", default="human-operator"),
        JSON,
    ),
)
LIST = Command(
    "control task list",
    "List the tasks of a wave.",
    (*PLACE, Flag("--agent", TEXT, "only those of this agent", metavar="id"), JSON),
)
GET = Command("control task get", "Show one task.", (*PLACE, _ID, JSON))
ACT = Command(
    "control task act",
    "Act on a task: ack, start, resolve, dismiss, cancel, reassign, answer, escalate, defer, mark-advisory, "
    "mark-stale, resolve-policy.",
    (
        *PLACE,
        _ID,
        _DETAIL,
        Flag("--to", TEXT, "reassign: the agent that takes over", metavar="agent"),
        Flag("--response", TEXT, "answer: the answer", metavar="text"),
        Flag("--operator", TEXT, "who acts", metavar="name", default="human-operator"),
        Flag("--agent", TEXT, "the agent that acts, when it is one", metavar="id"),
        Flag("--force", SWITCH, "answer: replace an earlier answer"),
        Flag("--reopen", SWITCH, "start: open a closed task again"),
        JSON,
    ),
    ("action",),
    1,
)
_KIND_NAMES = {"clarification": "clarification-request"}


def create(given: Parsed, root: str) -> int:
    """`control task create`."""
    from ..runtime.operator_actions import ask_and_record, post_record

    if not (given.text("agent") and given.text("kind") and given.text("summary")):
        raise UsageError("task create requires --agent, --kind, and --summary")
    scene = scene_of(given, root)
    agent_id, kind = given.text("agent") or "", (given.text("kind") or "").lower()
    require_author(scene, agent_id)
    operator = given.text("operator") or ""
    if kind == "human-input":
        summary, detail = given.text("summary") or "", given.text("detail") or ""
        print_json(ask_and_record(scene, agent_id, summary, detail, operator=operator))
        return ExitCode.DONE
    raw = {**record_fields(given, scene), "kind": _KIND_NAMES.get(kind, kind), "source": "operator"}
    print_json(post_record(scene, raw, operator=operator))
    return ExitCode.DONE


def record_fields(given: Parsed, scene: WaveScene) -> JsonObject:
    """The fields of a record as the RECORD_FLAGS and `--agent`, `--kind` say."""
    fields: JsonObject = {
        "kind": given.text("kind"),
        "agentId": given.text("agent"),
        "summary": given.text("summary"),
        "detail": given.text("detail"),
        "targets": [_known_target(target, scene) for target in ids_of(given, "target")],
        "priority": given.text("priority"),
        "blocking": flag_value(given, "blocking"),
        "blockerSeverity": given.text("severity"),
        "dependsOn": ids_of(given, "depends-on"),
        "artifactRefs": ids_of(given, "artifact"),
        "status": given.text("status"),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _known_target(target: str, scene: WaveScene) -> str:
    """The target as given. A request to nobody goes on record too: as no agent can take it, it holds closure."""
    if target.startswith("agent:") and scene.wave.agent(target[len("agent:") :].strip()) is None:
        warn(f"{target} is no agent of wave {scene.number}")
    return target


def require_author(scene: WaveScene, agent_id: str) -> None:
    """An author is an agent of the wave or one of the names that stand for people and the launcher."""
    from ..state.coordination_records import NON_AGENT_AUTHORS

    if agent_id not in NON_AGENT_AUTHORS:
        scene.require_agents([agent_id])


def list_tasks(given: Parsed, root: str) -> int:
    """`control task list`."""
    from ..runtime.control_status import read_tasks

    scene = scene_of(given, root)
    agent_id = given.text("agent")
    if agent_id is not None:
        require_author(scene, agent_id)
    tasks = [task for task in read_tasks(scene) if agent_id in (None, task["ownerAgentId"], task["assigneeAgentId"])]
    if given.has("json"):
        print_json(tasks)
        return ExitCode.DONE
    from ..base.terminal import Style
    from ..projections.control_status import one_line

    style = Style.of(sys.stdout, os.environ)
    rows = [(task["taskId"], f"{task['taskType']}/{task['state']}", one_line(task["title"]), task) for task in tasks]
    first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    for task_id, kind, title, task in rows:
        shown = f"{task_id:{first}} {kind:{second}} {title}"
        print(style.paint(shown, "yellow") if task["blocking"] and task["state"] != "resolved" else shown)
    return ExitCode.DONE


def get(given: Parsed, root: str) -> int:
    """`control task get`."""
    from ..runtime.control_status import read_tasks

    (task_id,) = required(given, "id")
    for task in read_tasks(scene_of(given, root)):
        if task["taskId"] == task_id:
            print_json(task)
            return ExitCode.DONE
    raise StateError(f"Task not found: {task_id}", remedy="`wave control task list` shows the ids")


def act(given: Parsed, root: str) -> int:
    """`control task act`."""
    from ..engines.task_actions import ACTIONS

    action = given.positionals[0]
    if action not in (*ACTIONS, "answer"):
        raise UsageError(f"Unsupported task action: {action}", remedy=f"use one of {', '.join(ACTIONS)}, answer")
    print_json(do_action(given, root, action, "Task not found"))
    return ExitCode.DONE


def do_action(given: Parsed, root: str, action: str, unknown: str) -> JsonObject:
    """Act on a record; shared with `wave coord act`. `unknown` begins the message for an id that does not exist."""
    from ..engines.task_actions import ActionRequest
    from ..runtime.operator_actions import act_on_record

    (record_id,) = required(given, "id")
    if action == "answer":
        from ..runtime.human_input_resolution import answer_question
        from ..state.feedback_store import Answer

        (response,) = required(given, "response")
        scene = scene_of(given, root)
        answer = Answer(response, given.text("operator") or "human-operator", force=given.has("force"))
        return answer_question(scene, record_id, answer)
    scene = scene_of(given, root)
    agent_id = given.text("agent")
    if agent_id:
        require_author(scene, agent_id)
    actor = agent_id or given.text("operator") or "operator"
    request = ActionRequest(
        action=action,
        record_id=record_id,
        by=actor,
        detail=given.text("detail") or "",
        to=given.text("to") or "",
        reopen=given.has("reopen"),
    )
    return act_on_record(scene, request, unknown)


TASK_VERBS = {
    "task create": Verb(CREATE, create),
    "task list": Verb(LIST, list_tasks),
    "task get": Verb(GET, get),
    "task act": Verb(ACT, act),
}
