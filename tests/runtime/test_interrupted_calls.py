"""Which calls of an agent were under way, by the lines its CLI left. Spec: SUP 17.11 (rule 3)."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from wave_lib.runtime.interrupted_calls import calls_in_flight, follow

Rows = list[dict[str, Any]]


def codex_event(kind: str, number: int, command: str) -> dict[str, Any]:
    return {"type": f"item.{kind}", "item": {"id": f"i{number}", "type": "command_execution", "command": command}}


def rollout(**payload: Any) -> dict[str, Any]:
    return {"type": "response_item", "payload": payload}


def codex_call(number: int, **given: Any) -> dict[str, Any]:
    return rollout(type="function_call", name="exec_command", call_id=f"c{number}", arguments=json.dumps(given))


def codex_answer(number: int, text: str = "done") -> dict[str, Any]:
    return rollout(type="function_call_output", call_id=f"c{number}", output=text)


def claude_call(number: int, name: str = "Bash", **given: Any) -> dict[str, Any]:
    use = {"type": "tool_use", "id": f"t{number}", "name": name, "input": given}
    return {"type": "assistant", "message": {"content": [use]}}


def claude_answer(number: int) -> dict[str, Any]:
    return {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": f"t{number}"}]}}


def opencode_call(status: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool", "tool": "bash", "callID": "c1", "state": {"status": status, "input": given}}


TURN = rollout(type="task_started")
ASKED = {"type": "user", "message": {"content": "Go on."}}
CASES: dict[str, tuple[Rows, list[str]]] = {
    "codex events": (
        [codex_event("started", 1, "a"), codex_event("completed", 1, "a"), codex_event("started", 2, "b")],
        ["b"],
    ),
    "codex events after a resume": ([codex_event("started", 1, "a"), {"type": "thread.started"}], []),
    "codex rollout": ([TURN, codex_call(1, cmd="a"), codex_answer(1), codex_call(2, cmd="b")], ["b"]),
    "codex shell form": ([codex_call(1, command=["bash", "-lc", "a b"])], ["a b"]),
    "codex words": ([codex_call(1, command=["ls", "-l"])], ["ls -l"]),
    "codex patch": ([rollout(type="custom_tool_call", name="apply_patch", call_id="c1", input="*** X")], ["*** X"]),
    "codex command that was answered while it ran": (
        [
            codex_call(1, cmd="a"),
            codex_answer(1, "Process running with session ID 7"),
            rollout(type="function_call", name="write_stdin", call_id="c2", arguments="{}"),
        ],
        ["a"],
    ),
    "codex command that ended later": (
        [
            codex_call(1, cmd="a"),
            codex_answer(1, "Process running with session ID 7"),
            {"type": "event_msg", "payload": {"type": "item_completed", "item": {"id": "c1"}}},
        ],
        [],
    ),
    "codex rollout of an earlier kill": ([TURN, codex_call(1, cmd="a"), TURN], []),
    "claude": ([ASKED, claude_call(1, command="a"), claude_answer(1), claude_call(2, command="b")], ["b"]),
    "claude, two at once": ([claude_call(1, command="a"), claude_call(2, command="b")], ["a", "b"]),
    "claude, no command": ([claude_call(1, "Write", file_path="x.py", content="secret")], ["Write x.py"]),
    "claude, an earlier kill": ([claude_call(1, command="a"), ASKED], []),
    "opencode": ([opencode_call("running", command="a")], ["a"]),
    "opencode, done": ([{"type": "tool_use", "part": opencode_call("completed", command="a")}], []),
    "what is not understood": ([{"message": 1, "item": [], "payload": "x", "part": None}, {"type": "user"}], []),
    "arguments that are no JSON": ([rollout(type="function_call", name="f", call_id="1", arguments="{")], ["f"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_begun_and_not_finished(case: str) -> None:
    rows, calls = CASES[case]
    assert follow(rows) == calls


def test_a_very_long_call_is_cut() -> None:
    assert len(follow([claude_call(1, command="x" * 10_000)])[0]) < 2100


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_transcript_is_found_where_the_executor_keeps_it(tmp_path: Path) -> None:
    log = write(tmp_path / "log", codex_event("started", 1, "from the log"))
    write(tmp_path / "h[1]/kept/x/s1.jsonl", claude_call(1, command="from the transcript"))
    write(tmp_path / "h[1]/kept/x/s2.jsonl", claude_call(1, command="of a stranger"))
    places = (("CONFIG", "x/{sessionId}.jsonl"), ("HOME", "kept/*/{sessionId}.jsonl"))
    home = {"HOME": str(tmp_path / "h[1]")}
    assert calls_in_flight(log, places, "s1", home) == ["from the transcript"]
    assert calls_in_flight(log, places, "s*", home) == ["from the log"]
    assert calls_in_flight(log, places, "s1", {**home, "CONFIG": str(tmp_path)}) == ["from the log"]
    assert calls_in_flight(log, places, "s1", {}) == ["from the log"]
    deep = tmp_path / "deep"
    deep.write_text('{"a":' + "[" * 100_000 + "\n" + json.dumps(claude_call(1, command="ls")))
    assert calls_in_flight(str(deep), (), "", {}) == ["ls"]


def test_the_last_message_of_an_opencode_session_counts(tmp_path: Path) -> None:
    path = tmp_path / "a?b.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE message (id TEXT, session_id TEXT)")
    database.execute("CREATE TABLE part (id TEXT, message_id TEXT, session_id TEXT, data TEXT)")
    rows = [("m1", "s1", "an earlier kill"), ("m2", "s1", "now"), ("m3", "s2", "a stranger")]
    for message, session, command in rows:
        database.execute("INSERT INTO message VALUES (?, ?)", (message, session))
        part = json.dumps(opencode_call("running", command=command))
        database.execute("INSERT INTO part VALUES (?, ?, ?, ?)", ("p", message, session, part))
    database.commit()
    database.close()
    here = {"HOME": str(tmp_path)}
    assert calls_in_flight("", (("HOME", "a?b.db"),), "s1", here) == ["now"]
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0 torn")
    assert calls_in_flight("", (("HOME", "torn.db"),), "s1", here) == []
