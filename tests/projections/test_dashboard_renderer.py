"""Dashboards as text: every line of SUP 19.2, widths, colours, and documents that are not as expected."""

from __future__ import annotations

from typing import Any

import pytest

from wave_lib.base.terminal import Style
from wave_lib.base.timestamps import parse_iso
from wave_lib.projections import dashboard_renderer as renderer
from wave_lib.projections.dashboard_lines import cells, cut, line, padded, painted
from wave_lib.projections.dashboard_renderer import Board, View, fitted, render

START = "2026-01-02T03:00:00.000Z"
NOW = parse_iso("2026-01-02T04:02:05.000Z") or 0.0
PLAIN = Style(False)
HEALTH = {
    "available": True,
    "actionableRequests": 3,
    "unresolvedRequests": 2,
    "unacknowledgedRequests": 1,
    "malformedEntries": 0,
    "placeholderTimestampEntries": 0,
    "lastAcknowledgementTimestamp": "2026-01-02T04:00:00.000Z",
    "oldestUnacknowledgedTimestamp": START,
}


DEPLOYED = {"deploymentService": "web", "deploymentState": "healthy"}


def agent(agent_id: str, state: str, **fields: Any) -> dict[str, Any]:
    return {"agentId": agent_id, "state": state, "attempts": 1, "exitCode": None, "detail": "", **fields}


def wave_document(**fields: Any) -> dict[str, Any]:
    return {
        "lane": "main",
        "wave": 3,
        "waveFile": "docs/plans/waves/wave-3.md",
        "runTag": "abcdef",
        "status": "running",
        "attempt": 1,
        "maxAttempts": 2,
        "startedAt": START,
        "updatedAt": "2026-01-02T04:02:00.000Z",
        "coordinationOpen": 4,
        "openClarifications": 1,
        "openHumanEscalations": 0,
        "oldestOpenCoordinationAgeMs": 3_725_000,
        "oldestUnackedRequestAgeMs": None,
        "overdueAckCount": 2,
        "overdueClarificationCount": 0,
        "agents": [
            agent("A1", "completed", exitCode=0, lastUpdateAt=START, **DEPLOYED),
            agent("A2", "coding", detail="d" * 100),
            agent("A0", "pending"),
        ],
        "events": [{"at": START, "level": "warn", "agentId": None, "message": "careful"}],
        **fields,
    }


AT_NOW = View(NOW)


def text(document: dict[str, Any], view: View = AT_NOW, width: int | None = None) -> list[str]:
    return painted(render(document, view), PLAIN, width)


def test_a_wave_line_by_line() -> None:
    board = Board(".tmp/board.md", ["# Board", "- news"], health=HEALTH)
    assert text(wave_document(), View(NOW, board=board)) == [
        "main Wave Dashboard | wave=3 | status=running | attempt=1/2",
        "Updated 5s ago | Started 2026-01-02T03:00:00.000Z | Elapsed 1h 2m 5s",
        "Run tag: abcdef | Wave file: docs/plans/waves/wave-3.md",
        "Counts: coding:1  completed:1  pending:1",
        "Coordination: open=4 clarifications=1 human=0 overdue-ack=2 overdue-clarification=0",
        "Coordination age: oldest-open=1h 2m oldest-unack=n/a",
        "Board comms: requests=3 unresolved=2 unacknowledged=1 malformed=0 placeholder-ts=0",
        "Board comms age: last-ack=2m ago oldest-unack=1h 2m ago",
        "",
        "Agents:",
        "ID       State        Attempts Exit   Deploy                   Last Update  Detail",
        f"-------- ------------ -------- ------ ------------------------ ------------ {'-' * 72}",
        "A1       completed    1        0      web:healthy              1h 2m ago",
        f"A2       coding       1        -      -                        n/a          {'d' * 71}…",
        "A0       pending      1        -      -                        n/a",
        "",
        "Recent events:",
        "2026-01-02T03:00:00.000Z warn  [wave] careful",
        "",
        "Rolling message board:",
        "Path: .tmp/board.md",
        "# Board",
        "- news",
    ]


def test_a_launch_line_by_line() -> None:
    entry = {
        "wave": 0,
        "status": "running",
        "attempt": 2,
        "maxAttempts": 2,
        "agentsTotal": 4,
        "agentsCompleted": 1,
        "agentsActive": 2,
        "agentsFailed": 0,
        "startedAt": START,
        "lastMessage": "hello",
        "coordinationOpen": 1,
        "oldestOpenCoordinationAgeMs": 5_000,
        "deployments": [{"agentId": f"A{n}", "service": "web", "state": "healthy"} for n in range(5)],
    }
    document = {
        "lane": "main",
        "runId": "run",
        "status": "running",
        "startedAt": START,
        "updatedAt": START,
        "options": {"autoNext": True, "startWave": 0, "endWave": None, "maxRetriesPerWave": 1},
        "waves": [entry],
        "events": [
            {"at": START, "level": "error", "wave": 0, "message": "[A1] broke"},
            {"at": START, "level": "info", "wave": None, "message": "all"},
        ],
    }
    assert text(document) == [
        "main Wave Global Dashboard | run=run | status=running",
        "Updated 1h 2m ago | Started 2026-01-02T03:00:00.000Z | Elapsed 1h 2m 5s",
        "Options: autoNext=yes start=0 end=last retries=1",
        "",
        "Waves:",
        f"Wave   Status     Attempt   {'Agents':36} Started      Last Message",
        f"------ ---------- --------- {'-' * 36} {'-' * 12} {'-' * 70}",
        f"0      running    2/2       {'done 1/4 active 2 pending 1 fail 0':36} 1h 2m ago    hello",
        "      Coord: open 1 clarifications 0 human 0 overdue-ack 0 overdue-clarification 0",
        "      Ages: oldest-open 5s oldest-unack n/a",
        "      Deploy: A2:web:healthy | A3:web:healthy | A4:web:healthy",
        "",
        "Recent events:",
        "2026-01-02T03:00:00.000Z error [wave:0] [A1] broke",
        "2026-01-02T03:00:00.000Z info  [-] all",
    ]


@pytest.mark.parametrize("status", ["completed", "failed", "timed_out", "blocked"])
def test_time_stands_still_once_it_is_over(status: str) -> None:
    lines = text(wave_document(status=status, updatedAt="2026-01-02T03:01:01.000Z"))
    assert lines[1].endswith("Elapsed 1m 1s")


def test_stale_is_said_after_the_status() -> None:
    first = text(wave_document(), View(NOW, stale=True))[0]
    assert "status=running (stale: no launcher running) | attempt" in first


def test_an_unknown_board_says_why() -> None:
    lines = text(wave_document(), View(NOW, board=Board("b.md", problem="message board missing")))
    assert "Board comms: unavailable message board missing" in lines
    assert lines[-2:] == ["Path: b.md", "(message board missing)"]


def test_only_the_last_events_and_board_lines() -> None:
    events = [{"at": START, "level": "info", "message": f"m{n}"} for n in range(30)]
    board = Board("b.md", [f"line {n}" for n in range(40)])
    lines = text(wave_document(events=events), View(NOW, board=board))
    assert [item for item in lines if item.endswith(("m17", "m18", "m29"))] and not any(
        item.endswith(" m17") for item in lines
    )
    assert sum("[wave] m" in item for item in lines) == 12
    assert lines[-24:] == [f"line {n}" for n in range(16, 40)]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    board = Board("b.md", ["x" * 300, "日本語" * 100], health=HEALTH)
    busy = wave_document(events=[{"at": START, "level": "info", "message": "m" * 300}])
    for document in (busy, {"waves": [{"wave": 1, "lastMessage": "m" * 300}], "status": "running"}):
        lines = text(document, View(NOW, columns, board=board), columns)
        assert max(cells(item) for item in lines) <= columns
    if columns == 80:  # what would be cut is carried over instead
        lines = text(wave_document(), View(NOW, columns, board=board), columns)
        assert "  overdue-clarification=0" in lines and "  placeholder-ts=0" in lines


def test_a_frame_fits_the_height() -> None:
    lines = [line(str(n)) for n in range(10)]
    assert painted(fitted(lines, 4), PLAIN) == ["0", "1", "2", "… 7 more lines"]
    assert fitted(lines, 10) == lines


def test_text_of_agents_cannot_drive_the_terminal() -> None:
    nasty = "\x1b[2Jwiped\x07\x1b]0;title\x07 \x9b31m\nnext"
    document = wave_document(lane=nasty, agents=[agent("A1", nasty, detail=nasty)])
    document["events"] = [{"at": nasty, "level": nasty, "agentId": nasty, "message": nasty}]
    shown = "\n".join(painted(render(document, View(NOW, 120)), PLAIN))
    assert "wiped" in shown and not any(char in shown for char in "\x1b\x07\x9b")
    assert len(shown.splitlines()) == len(render(document, View(NOW, 120)))


def test_colours_of_states_levels_and_exits() -> None:
    document = wave_document(
        agents=[
            agent("A1", "completed", exitCode=0, deploymentState="failed", deploymentService="w"),
            agent("A2", "timed_out", exitCode=124),
            agent("A3", "coding"),
            agent("A4", "validating"),
        ]
    )
    shown = "\n".join(painted(render(document, View(NOW)), Style(True)))
    for code, words in (("32", "completed"), ("31", "timed_out"), ("36", "coding"), ("33", "validating")):
        assert f"\x1b[{code}m{words:12}\x1b[0m" in shown
    assert "\x1b[32m0     \x1b[0m" in shown and "\x1b[31m124   \x1b[0m" in shown
    assert "\x1b[31mw:failed" in shown and "\x1b[33mwarn \x1b[0m" in shown


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"agents": [None, 3, {}], "events": "x", "attempt": "y", "status": None, "startedAt": 5},
        {"waves": [None, {"wave": "x", "deployments": [1]}], "options": [], "events": [{}]},
    ],
)
def test_a_foreign_document_is_shown_as_far_as_it_goes(document: dict[str, Any]) -> None:
    assert text(document)[0].startswith(" Wave")


def test_durations_and_ages() -> None:
    assert [renderer.duration(value) for value in (0, 59_999, 60_000, 3_600_000, 90_061_000, None, True)] == [
        "0s", "59s", "1m", "1h 0m", "25h 1m", "n/a", "n/a"
    ]  # fmt: skip
    assert renderer.age("nonsense", NOW) == "n/a" and renderer.age(START, 0.0) == "0s ago"
    assert renderer.elapsed(START, (parse_iso(START) or 0) + 61) == "1m 1s"


def test_cells_count_what_a_terminal_shows() -> None:
    assert cells("日本") == 4 and cells("e\u0301") == 1
    assert cut("日本語", 5) == "日本…" and cut("abc", 0) == "" and cut("abc", 3) == "abc"
    assert padded("日", 4) == "日  "
