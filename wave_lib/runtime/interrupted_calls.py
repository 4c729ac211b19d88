"""What an agent had under way when it was killed: read from its own log, and from what its CLI keeps of the session.

Holds:       nothing.
Writes:      nothing (reads the log and the CLI's transcript; nothing of either is kept but the calls' one-line names).
When killed: nothing is lost.

The formats are those of claude 2.1.197, codex 0.169 and opencode 1.18; a line that is not understood says nothing.

Spec: SUP 17.11 (rules 3 and 5).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..base.files import tail

_TAIL = 1024 * 1024
_LONGEST = 2000
_STILL_RUNNING = "Process running with session ID"  # codex answers a long command before it has ended


def calls_in_flight(
    log: str, places: Sequence[tuple[str, str]], session_id: str, environment: Mapping[str, str]
) -> list[str]:
    """Calls that were begun and not finished, oldest first; empty when neither the log nor the CLI shows one.

    `places`: (variable, path below the folder it names) of the CLI's transcripts, with `{sessionId}` and wildcards;
    the first variable that is set counts, read in the executor's `environment`. The transcript is believed first:
    unlike the log it also shows the calls of a CLI that prints nothing until its end.
    """
    for path in _transcripts(places, session_id, environment):
        rows = _opencode_parts(path, session_id) if path.endswith(".db") else _objects(tail(path, _TAIL))
        calls = follow(rows)
        if calls:
            return calls
    return follow(_objects(tail(log, _TAIL)))


def follow(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The calls that these event lines or transcript lines show as begun and not as finished."""
    begun: dict[str, str] = {}
    for row in rows:
        if _begins_a_turn(row):
            begun.clear()  # what an earlier kill left unanswered stays so in the transcript
        _follow_codex_events(row, begun)
        _follow_codex_rollout(row, begun)
        _follow_claude(row, begun)
        _follow_opencode(row, begun)
    return [call if len(call) <= _LONGEST else f"{call[:_LONGEST]} …" for call in begun.values()]


def _begins_a_turn(row: dict[str, Any]) -> bool:
    kind, payload = row.get("type"), _object(row.get("payload"))
    if kind == "thread.started" or payload.get("type") == "task_started" or row.get("subtype") == "init":
        return True
    blocks = _blocks(row)
    return kind == "user" and not any(block.get("type") == "tool_result" for block in blocks)


def _follow_codex_events(row: dict[str, Any], begun: dict[str, str]) -> None:
    """Lines of `codex exec --json`."""
    item = _object(row.get("item"))
    if item.get("type") != "command_execution":
        return
    if row.get("type") == "item.started":
        begun[str(item.get("id"))] = str(item.get("command"))
    elif row.get("type") == "item.completed":
        begun.pop(str(item.get("id")), None)


def _follow_codex_rollout(row: dict[str, Any], begun: dict[str, str]) -> None:
    """Lines of codex' own record of a session."""
    payload = _object(row.get("payload"))
    kind, call = str(payload.get("type")), str(payload.get("call_id"))
    if kind in ("function_call", "custom_tool_call", "local_shell_call"):
        if payload.get("name") != "write_stdin":  # waits for a command that is listed already
            begun[call] = _codex_call(payload)
    elif kind.endswith("_call_output"):
        if _STILL_RUNNING not in json.dumps(payload.get("output")):
            begun.pop(call, None)
    elif kind == "item_completed":
        begun.pop(str(_object(payload.get("item")).get("id")), None)


def _codex_call(payload: dict[str, Any]) -> str:
    given: Any = payload.get("arguments")
    try:
        given = json.loads(given) if isinstance(given, str) else _object(payload.get("action"))
    except ValueError:
        given = {}
    given = _object(given)
    command = given.get("cmd") or given.get("command")
    if isinstance(command, list):
        command = " ".join(map(str, command[2:] if command[1:2] in (["-c"], ["-lc"]) else command))
    return str(command or payload.get("input") or payload.get("name"))


def _follow_claude(row: dict[str, Any], begun: dict[str, str]) -> None:
    """Lines of `claude --output-format stream-json`, and of its transcript."""
    for block in _blocks(row):
        if block.get("type") == "tool_use":
            given = _object(block.get("input"))
            what = given.get("file_path") or given.get("description") or ""
            begun[str(block.get("id"))] = str(given.get("command") or f"{block.get('name')} {what}".strip())
        elif block.get("type") == "tool_result":
            begun.pop(str(block.get("tool_use_id")), None)


def _follow_opencode(row: dict[str, Any], begun: dict[str, str]) -> None:
    """Parts of a message, as the database has them; the event lines tell of finished calls only."""
    part = row if row.get("type") == "tool" else _object(row.get("part"))
    if part.get("type") != "tool":
        return
    call, state = str(part.get("callID")), _object(part.get("state"))
    if state.get("status") in ("pending", "running"):
        given = _object(state.get("input"))
        what = given.get("filePath") or given.get("description") or ""
        begun[call] = str(given.get("command") or f"{part.get('tool')} {what}".strip())
    else:
        begun.pop(call, None)


def _opencode_parts(path: str, session_id: str) -> Iterable[dict[str, Any]]:
    """The parts of the last message of a session in opencode's database."""
    try:
        import sqlite3
    except ImportError:  # a Python without it
        return []
    from urllib.parse import quote

    last = "SELECT max(id) FROM message WHERE session_id = ?"
    query = f"SELECT data FROM part WHERE session_id = ? AND message_id = ({last}) ORDER BY id"
    try:
        database = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=2.0)
        try:
            return list(_objects("\n".join(str(row[0]) for row in database.execute(query, (session_id, session_id)))))
        finally:
            database.close()
    except sqlite3.Error:
        return []


def _transcripts(places: Sequence[tuple[str, str]], session_id: str, environment: Mapping[str, str]) -> list[str]:
    from glob import escape, glob

    for variable, pattern in places:
        folder = environment.get(variable)
        if folder:
            name = pattern.replace("{sessionId}", escape(session_id))
            return sorted(glob(os.path.join(escape(folder), *name.split("/"))))
    return []


def _objects(text: str) -> Iterable[dict[str, Any]]:
    for line in text.splitlines():
        if not line.startswith("{"):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _blocks(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The content blocks of a message of claude; a plain text has none."""
    content = _object(row.get("message")).get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
