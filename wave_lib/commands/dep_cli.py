"""`wave dep`: tickets between lanes. Spec: COORD 15.2."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError
from .arguments import CHOICE, COUNT, JSON, PROJECT, SWITCH, TEXT, Command, Flag, Parsed
from .subcommands import (
    DRY_RUN,
    PLACE,
    Verb,
    commands_of,
    ids_flag,
    ids_of,
    paths_of,
    print_json,
    required,
    run_verb,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

_OWNER = Flag("--owner-lane", TEXT, "the lane that owes the work", metavar="lane", aliases=("--lane",))
_CLOSED = ("resolved", "closed")
POST = Command(
    "dep post",
    "Ask another lane for something.",
    (
        PROJECT,
        _OWNER,
        Flag("--requester-lane", TEXT, "the lane that asks", metavar="lane", default="the config's default lane"),
        Flag("--owner-wave", COUNT, "the wave that owes it", metavar="n"),
        Flag("--requester-wave", COUNT, "the wave that asks", metavar="n"),
        Flag("--owner-project", TEXT, "project of the owner", metavar="id"),
        Flag("--requester-project", TEXT, "project of the requester", metavar="id"),
        Flag("--agent", TEXT, "the agent that asks", metavar="id"),
        Flag("--summary", TEXT, "what is needed, in one sentence", metavar="text"),
        Flag("--detail", TEXT, "more about it", metavar="text"),
        ids_flag("--target", "who is to do it: agent:<id> or capability:<name>"),
        ids_flag("--artifact", "files that it concerns"),
        Flag("--priority", CHOICE, "how urgent", choices=("low", "normal", "high", "urgent"), default="high"),
        Flag("--status", TEXT, "status to begin with", metavar="status", default="open"),
        Flag("--id", TEXT, "id of the ticket", metavar="id", default="a new one"),
        Flag("--required", SWITCH, "neither wave closes before it is resolved"),
        Flag("--closure-condition", TEXT, "what settles it", metavar="text"),
        DRY_RUN,
        JSON,
    ),
)
RESOLVE = Command(
    "dep resolve",
    "Close a ticket.",
    (
        PROJECT,
        _OWNER,
        Flag("--id", TEXT, "id of the ticket", metavar="id"),
        Flag("--agent", TEXT, "who resolved it", metavar="id"),
        Flag("--detail", TEXT, "what came of it", metavar="text"),
        Flag("--status", CHOICE, "how it ends", choices=_CLOSED, default="resolved"),
        DRY_RUN,
        JSON,
    ),
)
SHOW = Command("dep show", "Show the tickets of a lane, or of one wave in both directions.", (*PLACE, JSON))
RENDER = Command("dep render", "Write the tickets of a lane as pages.", (*PLACE, JSON))


def post(given: Parsed, root: str) -> int:
    """`dep post`."""
    from ..runtime.lane_dependencies import sync_signals_of
    from ..state.dependency_tickets import lane_token, post_ticket

    owner, agent_id, summary = required(given, "owner-lane", "agent", "summary")
    for name in ("owner-wave", "requester-wave"):
        if name not in given.values:
            raise UsageError(f"--{name} is required")
    paths = _paths(given, root, given.text("requester-lane"))
    requester = lane_token(given.text("requester-lane") or paths.lane)
    owner_project = given.text("owner-project") or given.text("project") or paths.project_id
    condition, is_required = given.text("closure-condition") or "", given.has("required")
    if is_required and "required=true" not in condition:
        condition = f"{condition} required=true".strip()
    ticket = post_ticket(
        _paths(given, root, owner, owner_project).dependencies_dir,
        owner,
        {
            "id": given.text("id") or "",
            "lane": lane_token(owner),
            "wave": given.number("owner-wave", 0),
            "agentId": agent_id,
            "summary": summary,
            "detail": given.text("detail") or "",
            "targets": ids_of(given, "target"),
            "artifactRefs": ids_of(given, "artifact"),
            "priority": given.text("priority") or "high",
            "status": given.text("status") or "open",
            "closureCondition": condition,
            "required": is_required,
            "project": paths.project_id,
            "ownerLane": lane_token(owner),
            "ownerWave": given.number("owner-wave", 0),
            "ownerProject": owner_project,
            "requesterLane": requester,
            "requesterWave": given.number("requester-wave", 0),
            "requesterProject": given.text("requester-project") or paths.project_id,
        },
    )
    sync_signals_of(root, ticket, dry_run=given.has("dry-run"))
    print_json(ticket)
    return ExitCode.DONE


def resolve(given: Parsed, root: str) -> int:
    """`dep resolve`."""
    from ..runtime.lane_dependencies import sync_signals_of
    from ..state.dependency_tickets import resolve_ticket

    owner, ticket_id, agent_id = required(given, "owner-lane", "id", "agent")
    status = given.text("status") or "resolved"
    ticket = resolve_ticket(
        _paths(given, root, owner).dependencies_dir,
        owner,
        ticket_id,
        agent_id,
        detail=given.text("detail") or "",
        status=status,
    )
    sync_signals_of(root, ticket, dry_run=given.has("dry-run"))
    print_json(ticket)
    return ExitCode.DONE


def _paths(given: Parsed, root: str, lane: str | None, project: str | None = None) -> LanePaths:
    """Paths of a lane that may be new to this workspace: tickets name lanes of other projects as well."""
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths

    return build_lane_paths(
        load_wave_config(root),
        lane,
        project or given.text("project"),
        run_variant="dry-run" if given.has("dry-run") else "",
        new_lane=True,
    )


def show(given: Parsed, root: str) -> int:
    """`dep show`."""
    from ..projections.control_status import one_line
    from ..runtime.lane_dependencies import lane_tickets, wave_snapshot

    paths = paths_of(given, root)
    if "wave" in given.values or given.has("run"):
        print_json(wave_snapshot(paths, given.number("wave", 0)))
        return ExitCode.DONE
    reading = lane_tickets(paths)
    for line in reading.bad_lines:
        warn(f"{paths.rel(line.path)}:{line.line}: {line.reason}")
    if given.has("json"):
        print_json(reading.tickets)
        return ExitCode.DONE
    width = max((len(ticket["id"]) for ticket in reading.tickets), default=0)
    status = max((len(ticket["status"]) for ticket in reading.tickets), default=0)
    for ticket in reading.tickets:
        print(f"{ticket['updatedAt']} {ticket['id']:{width}} {ticket['status']:{status}} {one_line(ticket['summary'])}")
    return ExitCode.DONE


def render(given: Parsed, root: str) -> int:
    """`dep render`."""
    from ..base.files import write_json, write_text
    from ..projections.summary_markdown import dependency_markdown
    from ..runtime.lane_dependencies import wave_snapshot

    paths = paths_of(given, root)
    snapshot = wave_snapshot(paths, given.number("wave", 0))
    markdown = paths.dependency_board(paths.lane)
    document = os.path.splitext(markdown)[0] + ".json"
    write_text(markdown, dependency_markdown(snapshot), durable=False)
    write_json(document, snapshot, durable=False)
    print_json({"markdownPath": paths.rel(markdown), "jsonPath": paths.rel(document)})
    return ExitCode.DONE


VERBS = {
    "post": Verb(POST, post),
    "resolve": Verb(RESOLVE, resolve),
    "show": Verb(SHOW, show),
    "render": Verb(RENDER, render),
}
COMMANDS = commands_of(VERBS)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave dep`."""
    return run_verb("dep", "Tickets between lanes.", VERBS, argv, root)
