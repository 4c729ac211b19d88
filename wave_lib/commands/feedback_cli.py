"""`wave feedback`: questions from agents to people. Spec: COORD 11.3."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, StateError, WaveError
from .arguments import COUNT, JSON, LANE, POSITIVE, PROJECT, SWITCH, TEXT, WAVE, Command, Flag, Parsed
from .subcommands import (
    DRY_RUN,
    PLACE,
    RUN,
    Verb,
    commands_of,
    paths_of,
    print_json,
    required,
    run_verb,
    scene_of,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.lane_paths import LanePaths
    from ..runtime.wave_scene import WaveScene

    JsonObject = dict[str, Any]

_LANE_ONLY = (PROJECT, LANE, RUN, DRY_RUN)
_ID = Flag("--id", TEXT, "id of the request", metavar="id")
_AGENT = Flag("--agent", TEXT, "the agent that asks", metavar="id")
_OPERATOR = Flag("--operator", TEXT, "who answers", metavar="name", default="human-operator")
_REFRESH = Flag("--refresh-ms", POSITIVE, "how often to look", metavar="ms", default="2000")
_PENDING = Flag("--pending", SWITCH, "only unanswered requests")
_FILTERS = (_PENDING, Flag("--agent", TEXT, "only requests of this agent", metavar="id"))

ASK = Command(
    "feedback ask",
    "Ask a person.",
    (
        *PLACE,
        _AGENT,
        Flag("--question", TEXT, "what is asked", metavar="text"),
        Flag("--context", TEXT, "what the person has to know", metavar="text"),
        Flag("--orchestrator-id", TEXT, "the orchestrator that the question belongs to", metavar="id"),
        Flag("--wait", SWITCH, "wait for the answer and print it"),
        Flag("--timeout-seconds", COUNT, "how long to wait", metavar="s", default="1800"),
        JSON,
    ),
)
RESPOND = Command(
    "feedback respond",
    "Answer a request, and settle what waits for the answer.",
    (
        *_LANE_ONLY,
        _ID,
        Flag("--response", TEXT, "the answer", metavar="text"),
        _OPERATOR,
        Flag("--force", SWITCH, "replace an earlier answer"),
        JSON,
    ),
)
DISMISS = Command(
    "feedback dismiss",
    "Close a request without an answer.",
    (*_LANE_ONLY, _ID, Flag("--detail", TEXT, "why", metavar="text"), _OPERATOR, JSON),
)
SHOW = Command("feedback show", "Show one request.", (*_LANE_ONLY, _ID, JSON))
LIST = Command("feedback list", "List the requests.", (*_LANE_ONLY, WAVE, *_FILTERS, JSON))
WATCH = Command("feedback watch", "List the requests again and again.", (*_LANE_ONLY, WAVE, *_FILTERS, _REFRESH))

_COLUMNS = (("ID", 28), ("Status", 10), ("Lane", 12), ("Wave", 6), ("Agent", 10), ("Updated", 12), ("Question", 72))


def ask(given: Parsed, root: str) -> int:
    """`feedback ask`."""
    from ..runtime.operator_actions import ask_and_record
    from ..state.coordination_records import NON_AGENT_AUTHORS

    agent_id, question = required(given, "agent", "question")
    scene = scene_of(given, root)
    if agent_id not in NON_AGENT_AUTHORS:
        scene.require_agents([agent_id])
    if given.has("timeout-seconds") and not given.has("wait"):
        warn("--timeout-seconds means nothing without --wait")
    document = ask_and_record(
        scene, agent_id, question, given.text("context") or "", given.text("orchestrator-id") or ""
    )
    path = scene.paths.feedback_request(document["id"])
    as_json = given.has("json")
    if not as_json:
        print(f"[wave-human-feedback] created {document['id']}")
        print(f"file: {scene.paths.rel(path)}", flush=True)
    if given.has("wait"):
        document = _wait_for_answer(path, given.number("timeout-seconds", 1800))
        if not as_json:
            answer = document["response"] or {}
            print(f"[wave-human-feedback] answered by {answer.get('operator')}")
            print(answer.get("text") or "")
    if as_json:
        print_json({**document, "file": scene.paths.rel(path)})
    return ExitCode.DONE


def _wait_for_answer(path: str, seconds: int) -> JsonObject:
    """Wait until the request is answered; looks when the file changes, and at most every half second."""
    from ..base.event_loop import EventLoop
    from ..state.feedback_store import read_request

    deadline = time.monotonic() + seconds
    with EventLoop() as loop:
        loop.watch_file(path, lambda: None)
        while True:
            document = read_request(path)
            if document is not None and document.get("status") == "answered":
                return document
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaveError(f"Timed out waiting for response after {seconds}s")
            loop.run_once(min(left, 0.5))


def respond(given: Parsed, root: str) -> int:
    """`feedback respond`."""
    request_id, response = required(given, "id", "response")
    return _close(given, root, request_id, response, "answered")


def dismiss(given: Parsed, root: str) -> int:
    """`feedback dismiss`."""
    (request_id,) = required(given, "id")
    return _close(given, root, request_id, given.text("detail") or "", "dismissed")


def _close(given: Parsed, root: str, request_id: str, text: str, disposition: str) -> int:
    from ..runtime.human_input_resolution import answer_question
    from ..state.feedback_store import Answer, answer_request

    paths, found = _find(given, root, request_id)
    scene = _scene_of_request(paths, found)
    answer = Answer(text, given.text("operator") or "human-operator", disposition, given.has("force"))
    if scene is not None:
        document = answer_question(scene, found["id"], answer)
    else:
        warn(f"wave {found.get('wave')} of this request does not exist any more; only the request is closed")
        document = answer_request(paths, found["id"], answer)
    if given.has("json"):
        print_json(document)
    else:
        print(f"[wave-human-feedback] {disposition} {document['id']}")
    return ExitCode.DONE


def _scene_of_request(paths: LanePaths, document: JsonObject) -> WaveScene | None:
    from ..base.errors import ConfigError
    from ..runtime.wave_scene import open_wave

    try:
        return open_wave(paths, int(document.get("wave") or 0))
    except ConfigError:
        return None


def _find(given: Parsed, root: str, request_id: str) -> tuple[LanePaths, JsonObject]:
    """A request by id, in this project or any other, and the lane paths that its own fields name."""
    import glob

    from ..runtime.wave_scene import lane_paths
    from ..state.feedback_store import read_request, token

    asked = paths_of(given, root)
    name = token(request_id) + ".json"
    workspace = asked.workspace_orchestrator_dir
    places = [
        asked.feedback_requests_dir,
        os.path.join(workspace, "feedback", "requests"),
        *sorted(glob.glob(f"{glob.escape(workspace)}/projects/*/feedback/requests")),
    ]
    for place in places:
        document = read_request(os.path.join(place, name))
        if document is None:
            continue
        run_id, dry = document.get("runId"), document.get("runVariant") == "dry-run"
        project = document.get("project") or given.text("project")
        paths = lane_paths(root, project, document.get("lane") or given.text("lane"), run_id or None, dry_run=dry)
        return paths, document
    raise StateError(f"Request not found: {request_id}", remedy="`wave feedback list` shows the ids")


def show(given: Parsed, root: str) -> int:
    """`feedback show`."""
    (request_id,) = required(given, "id")
    print_json(_find(given, root, request_id)[1])
    return ExitCode.DONE


def _rows(given: Parsed, root: str) -> list[JsonObject]:
    from ..state.feedback_store import read_all_requests

    paths = paths_of(given, root)
    documents, diagnostics = read_all_requests(paths.feedback_requests_dir)
    for line in diagnostics:
        warn(f"{paths.rel(line.path)}: {line.reason}")
    wave, agent_id = given.values.get("wave"), given.text("agent")
    return [
        {**document, "__filePath": paths.rel(document["__filePath"])}
        for document in documents
        if str(document.get("lane")).lower() == paths.lane.lower()
        and (not given.has("run") or document.get("runId") == given.text("run"))
        and (wave is None or document.get("wave") == wave)
        and agent_id in (None, document.get("agentId"))
        and (not given.has("pending") or document.get("status") == "pending")
    ]


def list_requests(given: Parsed, root: str) -> int:
    """`feedback list`."""
    rows = _rows(given, root)
    if given.has("json"):
        print_json(rows)
    else:
        print("\n".join(_table(rows)))
    return ExitCode.DONE


def _table(rows: Sequence[JsonObject]) -> list[str]:
    from ..base.terminal import Style
    from ..projections.control_status import one_line

    if not rows:
        return ["(none)"]
    style = Style.of(sys.stdout, os.environ)
    longest = max(len(str(row.get("id"))) for row in rows)
    widths = [max(width, longest) if name == "ID" else width for name, width in _COLUMNS]
    lines = [style.paint(_line([name for name, _ in _COLUMNS], widths), "bold")]
    for row in rows:
        updated = str(row.get("updatedAt") or "")
        cells = [row.get("id"), row.get("status"), row.get("lane"), row.get("wave"), row.get("agentId")]
        shown = _line([*map(str, cells), updated[5:16].replace("T", " "), one_line(row.get("question"), 72)], widths)
        lines.append(style.paint(shown, "yellow") if row.get("status") == "pending" else shown)
    return lines


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(f"{cell:{width}}" for cell, width in zip(cells, widths)).rstrip()


def watch(given: Parsed, root: str) -> int:
    """`feedback watch`: until it is interrupted."""
    from ..base.event_loop import EventLoop
    from ..base.terminal import is_terminal

    pause = given.number("refresh-ms", 2000) / 1000
    clear = "\x1b[2J\x1b[H" if is_terminal(sys.stdout) else ""
    paths = paths_of(given, root)
    with EventLoop() as loop:
        loop.watch_file(paths.feedback_requests_dir, lambda: None)
        while True:
            print(clear + "\n".join(_table(_rows(given, root))), flush=True)
            loop.run_once(max(pause, 0.2))


VERBS = {
    "ask": Verb(ASK, ask),
    "respond": Verb(RESPOND, respond),
    "dismiss": Verb(DISMISS, dismiss),
    "show": Verb(SHOW, show),
    "list": Verb(LIST, list_requests),
    "watch": Verb(WATCH, watch),
}
COMMANDS = commands_of(VERBS)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave feedback`."""
    return run_verb("feedback", "Questions from agents to people.", VERBS, argv, root)
