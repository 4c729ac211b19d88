"""`wave coord`: what agents post, read and settle while they work. Spec: COORD 24."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError
from .arguments import JSON, SWITCH, TEXT, Command, Flag, Parsed
from .control_task_cli import RECORD_FLAGS, do_action, record_fields
from .subcommands import PLACE, Verb, commands_of, print_json, required, run_verb, scene_of, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engines.derived_state import DerivedState
    from ..runtime.wave_scene import WaveScene

    JsonObject = dict[str, Any]

POST = Command(
    "coord post",
    "Post a coordination record: a request, a claim, a blocker, a question …",
    (
        *PLACE,
        Flag("--agent", TEXT, "the agent that posts", metavar="id"),
        Flag("--kind", TEXT, "kind of the record", metavar="kind"),
        *RECORD_FLAGS,
        JSON,
    ),
)
SHOW = Command("coord show", "Show the latest version of every record.", (*PLACE, JSON))
EXPLAIN = Command(
    "coord explain",
    "Say what a wave, or one agent of it, waits for.",
    (*PLACE, Flag("--agent", TEXT, "only what concerns this agent", metavar="id"), JSON),
)
RENDER = Command("coord render", "Write assignments, dependencies and the message board.", (*PLACE, JSON))
INBOX = Command(
    "coord inbox",
    "Write the inbox of an agent and the shared summary.",
    (*PLACE, Flag("--agent", TEXT, "whose inbox", metavar="id"), JSON),
)
ACT = Command(
    "coord act",
    "Act on a record: ack, resolve, dismiss, reroute, reassign, escalate, answer-human.",
    (
        *PLACE,
        Flag("--id", TEXT, "id of the record", metavar="id"),
        Flag("--agent", TEXT, "the agent that acts", metavar="id"),
        Flag("--detail", TEXT, "why, or what came of it", metavar="text"),
        Flag("--to", TEXT, "reroute: the agent that takes over", metavar="agent"),
        Flag("--response", TEXT, "answer-human: the answer", metavar="text"),
        Flag("--operator", TEXT, "answer-human: who answers", metavar="name", default="human-operator"),
        Flag("--force", SWITCH, "answer-human: replace an earlier answer"),
        JSON,
    ),
    ("operation",),
    1,
)
_OPERATIONS = {
    "ack": "ack",
    "resolve": "resolve",
    "dismiss": "dismiss",
    "reroute": "reassign",
    "reassign": "reassign",
    "escalate": "escalate",
    "answer-human": "answer",
}


def post(given: Parsed, root: str) -> int:
    """`coord post`."""
    from ..runtime.operator_actions import post_record
    from ..state.coordination_records import NON_AGENT_AUTHORS

    (agent_id, *_) = required(given, "agent", "kind", "summary")
    scene = scene_of(given, root)
    if agent_id not in NON_AGENT_AUTHORS and scene.wave.agent(agent_id) is None:
        warn(f"{agent_id} is no agent of wave {scene.number}")
    print_json(post_record(scene, {**record_fields(given, scene), "source": "agent"}))
    return ExitCode.DONE


def show(given: Parsed, root: str) -> int:
    """`coord show`."""
    from ..projections.control_status import one_line
    from ..runtime.control_status import read_records_and_questions
    from ..runtime.wave_scene import derived_context
    from ..state.coordination_store import serialize_state

    scene = scene_of(given, root)
    logs = derived_context(scene)
    state, _ = read_records_and_questions(scene, logs)
    for line in logs.log.bad_lines:
        warn(f"{scene.paths.rel(line.path)}:{line.line}: {line.reason}")
    if given.has("json"):
        print_json(serialize_state(state))
        return ExitCode.DONE
    rows = [
        (record["updatedAt"], record["agentId"], f"{record['kind']}/{record['status']}", record)
        for record in state.latest
    ]
    author, kind = (max((len(row[column]) for row in rows), default=0) for column in (1, 2))
    for row in rows:
        print(f"{row[0]} {row[1]:{author}} {row[2]:{kind}} {one_line(row[3]['summary'])}")
    return ExitCode.DONE


def explain(given: Parsed, root: str) -> int:
    """`coord explain`."""
    from ..projections.coordination_explanation import explain_coordination
    from ..runtime.control_status import proof_entries, read_status

    scene = scene_of(given, root)
    agent_id = given.text("agent")
    if agent_id is not None:
        scene.require_agents([agent_id])
    reading = read_status(scene)
    entries = proof_entries(scene, reading.facts.control)
    agent = scene.wave.agent(agent_id) if agent_id else None
    print_json(explain_coordination(reading.facts, agent, entries))
    return ExitCode.DONE


def render(given: Parsed, root: str) -> int:
    """`coord render`."""
    from ..projections.projection_writer import write_coordination_boards

    scene = scene_of(given, root)
    write_coordination_boards(scene.paths, scene.wave, _derived(scene))
    print(scene.paths.rel(scene.paths.messageboard(scene.number)))
    return ExitCode.DONE


def inbox(given: Parsed, root: str) -> int:
    """`coord inbox`."""
    from ..base.errors import WaveError
    from ..projections.projection_writer import write_agent_inbox, write_coordination_boards

    (agent_id,) = required(given, "agent")
    scene = scene_of(given, root)
    if scene.wave.agent(agent_id) is None:
        raise WaveError(f"Agent {agent_id} not found in wave {scene.number}", "--agent")
    derived = _derived(scene)
    write_coordination_boards(scene.paths, scene.wave, derived)
    print_json(write_agent_inbox(scene.paths, scene.wave, derived, agent_id))
    return ExitCode.DONE


def _derived(scene: WaveScene) -> DerivedState:
    from ..runtime.derived_state import preview_derived_state
    from ..runtime.operator_actions import update_records
    from ..runtime.wave_scene import derived_context, derived_facts, reading_context

    logs = derived_context(scene)
    update_records(scene, lambda _state: [], logs)
    return preview_derived_state(logs, derived_facts(reading_context(scene, logs)))


def act(given: Parsed, root: str) -> int:
    """`coord act`."""
    operation = given.positionals[0]
    if operation not in _OPERATIONS:
        raise UsageError(f"Unsupported operation: {operation}", remedy=f"use one of {', '.join(_OPERATIONS)}")
    print_json(do_action(given, root, _OPERATIONS[operation], "Coordination record not found"))
    return ExitCode.DONE


VERBS = {
    "post": Verb(POST, post),
    "show": Verb(SHOW, show),
    "explain": Verb(EXPLAIN, explain),
    "render": Verb(RENDER, render),
    "inbox": Verb(INBOX, inbox),
    "act": Verb(ACT, act),
}
COMMANDS = commands_of(VERBS)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave coord`."""
    return run_verb("coord", "The shared record of a wave: post, read, settle what is open.", VERBS, argv, root)
