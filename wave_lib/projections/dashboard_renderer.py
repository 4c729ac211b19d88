"""A dashboard's JSON as lines for people. Pure: what is not in the document comes in as a `View`.

Spec: SUP 19.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.timestamps import parse_iso
from .dashboard_lines import Column, Line, Span, cells, clean, cut, header, line, row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    JsonObject = dict[str, Any]

ENDED = ("completed", "failed", "timed_out", "blocked")
"""Statuses after which nothing happens to a dashboard. Spec: SUP 19.3."""

WAVE_EVENTS, GLOBAL_EVENTS, BOARD_LINES, DEPLOYMENTS = 12, 16, 24, 3
INDENT = " " * 6

_STATE_COLOURS = {
    "completed": "green",
    "failed": "red",
    "timed_out": "red",
    "blocked": "yellow",
    "deploying": "yellow",
    "finalizing": "yellow",
    "validating": "yellow",
    "running": "cyan",
    "coding": "cyan",
    "launching": "cyan",
    "pending": "dim",
    "dry-run": "magenta",
}
_LEVEL_COLOURS = {"error": "red", "warn": "yellow", "info": "blue"}
_DEPLOY_COLOURS = {"healthy": "green", "failed": "red", "deploying": "yellow", "rolledover": "yellow"}
_NARROW = 100  # columns; below this a full date in every line leaves too little for what happened
_MIN_TEXT = 24  # narrower than this a last column says nothing


class Board(NamedTuple):
    """The message board of a wave: its shown path, its last lines, or why there are none; its health or None."""

    path: str = ""
    lines: Sequence[str] = ()
    problem: str = ""
    health: JsonObject | None = None


class View(NamedTuple):
    """What a frame depends on besides the document. `now`: epoch seconds; `columns`: of the terminal, None without."""

    now: float
    columns: int | None = None
    board: Board = Board(problem="message board path unavailable")
    stale: bool = False


def is_global(state: Mapping[str, Any]) -> bool:
    """Whether the document is the dashboard of a launch, not of one wave."""
    return isinstance(state.get("waves"), list) and not isinstance(state.get("agents"), list)


def render(state: Mapping[str, Any], view: View) -> list[Line]:
    """All lines of a dashboard; a document with missing or foreign parts shows what it has."""
    return _global_lines(state, view) if is_global(state) else _wave_lines(state, view)


def fitted(lines: list[Line], rows: int) -> list[Line]:
    """The first lines, so many that they fit; the last of them says how many more there are."""
    if len(lines) <= rows:
        return lines
    kept = max(rows - 1, 0)
    return [*lines[:kept], line(Span(f"… {len(lines) - kept} more lines", "dim"))][:rows]


# --- one wave -------------------------------------------------------------------------------------------------------


def _wave_lines(state: Mapping[str, Any], view: View) -> list[Line]:
    agents = _dicts(state.get("agents"))
    return [
        line(
            Span(f"{clean(state.get('lane'))} Wave Dashboard", "bold"),
            f" | wave={clean(state.get('wave'))} | status=",
            *_status(state, view),
            f" | attempt={_number(state.get('attempt'))}/{_number(state.get('maxAttempts'))}",
        ),
        _updated_line(state, view),
        line(f"Run tag: {_shown(state.get('runTag'))} | Wave file: {_shown(state.get('waveFile'))}"),
        _counts_line(agents),
        *_coordination_lines(state, view),
        *_board_health_lines(view),
        [],
        line(Span("Agents:", "bold")),
        *_agent_table(agents, view),
        [],
        line(Span("Recent events:", "bold")),
        *_event_lines(state, WAVE_EVENTS, _agent_of, view),
        [],
        line(Span("Rolling message board:", "bold")),
        *_board_lines(view.board),
    ]


def _counts_line(agents: Sequence[JsonObject]) -> Line:
    states = [clean(agent.get("state")) for agent in agents]
    parts: Line = [Span("Counts: ")]
    for name in sorted(set(states)):
        parts += [Span("  ")] if len(parts) > 1 else []
        parts.append(Span(f"{name}:{states.count(name)}", _STATE_COLOURS.get(name, "")))
    return parts if len(parts) > 1 else line("Counts: none")


def _flowing(spans: Sequence[Span], view: View) -> list[Line]:
    """Words of one line; on a narrow terminal they go on in the next one, indented."""
    lines: list[Line] = [[]]
    used = 0
    for span in spans:
        if lines[-1] and view.columns is not None and used + 1 + cells(span.text) > view.columns:
            lines.append([Span("  ")])
            used = 2
        elif lines[-1]:
            lines[-1].append(Span(" "))
            used += 1
        lines[-1].append(span)
        used += cells(span.text)
    return lines


def _words(text: str) -> list[Span]:
    return [Span(word) for word in text.split(" ")]


def _coordination_lines(state: Mapping[str, Any], view: View) -> list[Line]:
    counts = (
        ("open", "coordinationOpen", ""),
        ("clarifications", "openClarifications", ""),
        ("human", "openHumanEscalations", "yellow"),
        ("overdue-ack", "overdueAckCount", "yellow"),
        ("overdue-clarification", "overdueClarificationCount", "yellow"),
    )
    parts = [Span("Coordination:")]
    for name, key, colour in counts:
        number = _number(state.get(key))
        parts.append(Span(f"{name}={number}", colour if number else ""))
    return [
        *_flowing(parts, view),
        line(
            f"Coordination age: oldest-open={duration(state.get('oldestOpenCoordinationAgeMs'))} "
            f"oldest-unack={duration(state.get('oldestUnackedRequestAgeMs'))}"
        ),
    ]


def _board_health_lines(view: View) -> list[Line]:
    health = view.board.health
    if not health or not health.get("available"):
        reason = (health or {}).get("reason") or view.board.problem or "no coordination log"
        return [line(f"Board comms: unavailable {clean(reason)}")]
    counts = (
        ("requests", "actionableRequests"),
        ("unresolved", "unresolvedRequests"),
        ("unacknowledged", "unacknowledgedRequests"),
        ("malformed", "malformedEntries"),
        ("placeholder-ts", "placeholderTimestampEntries"),
    )
    shown = " ".join(f"{name}={_number(health.get(key))}" for name, key in counts)
    last, oldest = health.get("lastAcknowledgementTimestamp"), health.get("oldestUnacknowledgedTimestamp")
    return [
        *_flowing(_words(f"Board comms: {shown}"), view),
        line(f"Board comms age: last-ack={age(last, view.now)} oldest-unack={age(oldest, view.now)}"),
    ]


def _agent_table(agents: Sequence[JsonObject], view: View) -> list[Line]:
    deploys = [_deploy(agent) for agent in agents]
    deploy_width, detail_width = 24, 72
    if view.columns is not None:  # on a terminal the detail gets the room that deployments do not need
        deploy_width = min(deploy_width, max([cells("Deploy"), *(cells(span.text) for span in deploys)]))
        detail_width = min(detail_width, max(view.columns - (8 + 12 + 8 + 6 + 12 + deploy_width + 6), 6))
    columns = (
        Column("ID", 8),
        Column("State", 12),
        Column("Attempts", 8),
        Column("Exit", 6),
        Column("Deploy", deploy_width),
        Column("Last Update", 12),
        Column("Detail", detail_width),
    )
    lines = header(columns)
    for agent, deploy in zip(agents, deploys):
        name, code = clean(agent.get("state")), agent.get("exitCode")
        spans = [
            Span(clean(agent.get("agentId"))),
            Span(name, _STATE_COLOURS.get(name, "")),
            Span(str(_number(agent.get("attempts")))),
            Span("-") if code is None else Span(clean(code), "green" if code == 0 else "red"),
            deploy,
            Span(age(agent.get("lastUpdateAt"), view.now)),
            Span(clean(agent.get("detail"))),
        ]
        lines.append(row(columns, spans))
    return lines


def _deploy(agent: Mapping[str, Any]) -> Span:
    state = clean(agent.get("deploymentState"))
    if not state:
        return Span("-")
    return Span(f"{_shown(agent.get('deploymentService'))}:{state}", _DEPLOY_COLOURS.get(state, ""))


def _board_lines(board: Board) -> list[Line]:
    lines = [line(f"Path: {_shown(board.path)}")]
    if board.problem:
        return [*lines, line(Span(f"({board.problem})", "dim"))]
    return [*lines, *(line(text) for text in board.lines[-BOARD_LINES:])]


# --- a launch -------------------------------------------------------------------------------------------------------


def _global_lines(state: Mapping[str, Any], view: View) -> list[Line]:
    options = state.get("options")
    options = options if isinstance(options, dict) else {}
    end = options.get("endWave")
    return [
        line(
            Span(f"{clean(state.get('lane'))} Wave Global Dashboard", "bold"),
            f" | run={_shown(state.get('runId'))} | status=",
            *_status(state, view),
        ),
        _updated_line(state, view),
        line(
            f"Options: autoNext={'yes' if options.get('autoNext') else 'no'} start={_shown(options.get('startWave'))} "
            f"end={'last' if end is None else clean(end)} retries={_shown(options.get('maxRetriesPerWave'))}"
        ),
        [],
        line(Span("Waves:", "bold")),
        *_wave_table(_dicts(state.get("waves")), view),
        [],
        line(Span("Recent events:", "bold")),
        *_event_lines(state, GLOBAL_EVENTS, _wave_of, view),
    ]


def _wave_table(waves: Sequence[JsonObject], view: View) -> list[Line]:
    summaries = [_agents_summary(wave) for wave in waves]
    agents_width, message_width = 36, 70
    if view.columns is not None:
        agents_width = max([cells("Agents"), *(cells(span.text) for span in summaries)])
        message_width = min(message_width, view.columns - (6 + 10 + 9 + 12 + agents_width + 5))
    columns = [
        Column("Wave", 6),
        Column("Status", 10),
        Column("Attempt", 9),
        Column("Agents", agents_width),
        Column("Started", 12),
        Column("Last Message", message_width),
    ]
    below = message_width < _MIN_TEXT
    shown = columns[:-1] if below else columns
    lines = header(shown)
    for wave, summary in zip(waves, summaries):
        status = clean(wave.get("status"))
        message = clean(wave.get("lastMessage"))
        spans = [
            Span(clean(wave.get("wave"))),
            Span(status, _STATE_COLOURS.get(status, "")),
            Span(f"{_number(wave.get('attempt'))}/{_number(wave.get('maxAttempts'))}"),
            summary,
            Span(age(wave.get("startedAt"), view.now)),
            Span(message),
        ]
        lines.append(row(shown, spans))
        if below and message:  # a narrow terminal: the message gets a line of its own
            lines.append(line(INDENT + message))
        lines += _wave_details(wave)
    return lines


def _agents_summary(wave: Mapping[str, Any]) -> Span:
    total, done = _number(wave.get("agentsTotal")), _number(wave.get("agentsCompleted"))
    active, failed = _number(wave.get("agentsActive")), _number(wave.get("agentsFailed"))
    pending = wave.get("agentsPending")
    left = _number(pending) if pending is not None else max(0, total - done - failed - active)
    if failed:
        colour = "red"
    elif active:
        colour = "cyan"
    else:
        colour = "green" if total and done == total else "dim"
    return Span(f"done {done}/{total} active {active} pending {left} fail {failed}", colour)


def _wave_details(wave: Mapping[str, Any]) -> list[Line]:
    lines: list[Line] = []
    keys = (
        "coordinationOpen",
        "openClarifications",
        "openHumanEscalations",
        "overdueAckCount",
        "overdueClarificationCount",
    )
    opened, clarifications, human, late_acks, late_clarifications = (_number(wave.get(key)) for key in keys)
    if opened or human or late_acks or late_clarifications:
        lines += [
            line(
                f"{INDENT}Coord: open {opened} clarifications {clarifications} human {human} "
                f"overdue-ack {late_acks} overdue-clarification {late_clarifications}"
            ),
            line(
                f"{INDENT}Ages: oldest-open {duration(wave.get('oldestOpenCoordinationAgeMs'))} "
                f"oldest-unack {duration(wave.get('oldestUnackedRequestAgeMs'))}"
            ),
        ]
    deployments = _dicts(wave.get("deployments"))[-DEPLOYMENTS:]
    if deployments:
        names = ("agentId", "service", "state")
        shown = " | ".join(":".join(_shown(item.get(name)) for name in names) for item in deployments)
        lines.append(line(INDENT + cut(f"Deploy: {shown}", 120)))
    return lines


# --- shared parts ---------------------------------------------------------------------------------------------------


def _status(state: Mapping[str, Any], view: View) -> list[Span]:
    status = _shown(state.get("status"))
    shown = [Span(status, _STATE_COLOURS.get(status, ""))]
    return [*shown, Span(" (stale: no launcher running)", "yellow")] if view.stale else shown


def _updated_line(state: Mapping[str, Any], view: View) -> Line:
    started = state.get("startedAt")
    until = parse_iso(state.get("updatedAt")) if state.get("status") in ENDED else None
    return line(
        f"Updated {age(state.get('updatedAt'), view.now)} | Started {_shown(started, 'n/a')} | "
        f"Elapsed {elapsed(started, view.now if until is None else until)}"
    )


def _event_lines(
    state: Mapping[str, Any], limit: int, whose: Callable[[Mapping[str, Any]], str], view: View
) -> list[Line]:
    narrow = view.columns is not None and view.columns < _NARROW
    lines = []
    for event in _dicts(state.get("events"))[-limit:]:
        level, at = clean(event.get("level")) or "info", clean(event.get("at"))
        if narrow and parse_iso(at) is not None:
            at = at[11:19]  # the time of the day is enough where room is dear
        lines.append(
            line(
                Span(at, "dim"),
                " ",
                Span(f"{level[:5]:5}", _LEVEL_COLOURS.get(level, "")),
                f" [{whose(event)}] {clean(event.get('message'))}",
            )
        )
    return lines or [line(Span("(none)", "dim"))]


def _agent_of(event: Mapping[str, Any]) -> str:
    return clean(event.get("agentId")) or "wave"


def _wave_of(event: Mapping[str, Any]) -> str:
    wave = event.get("wave")
    return "-" if wave is None else f"wave:{clean(wave)}"


def age(stamp: object, now: float) -> str:
    """How long ago: `5s ago`, `3m ago`, `2h 5m ago`, `n/a`."""
    then = parse_iso(stamp)
    if then is None:
        return "n/a"
    return duration(max(0.0, now - then) * 1000) + " ago"


def elapsed(stamp: object, until: float) -> str:
    """Time since: `1h 2m 3s`, `2m 3s`, `3s`, `n/a`."""
    then = parse_iso(stamp)
    if then is None:
        return "n/a"
    seconds = max(0, int(until - then))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours}h {minutes}m {seconds % 60}s"
    return f"{minutes}m {seconds % 60}s" if minutes else f"{seconds}s"


def duration(milliseconds: object) -> str:
    """`5s`, `3m`, `2h 5m`, `n/a`."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        return "n/a"
    minutes, seconds = divmod(max(0, int(milliseconds // 1000)), 60)
    if not minutes:
        return f"{seconds}s"
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h {minutes % 60}m"


def _shown(value: object, missing: str = "-") -> str:
    return clean(value) or missing


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _dicts(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
