"""The texts in a JSON event line of an executor, each with who said it.

An agent's own words count as claims; what a tool printed counts only when the agent made it print a marker. This
module knows the event shapes of Claude Code, Codex and OpenCode. Spec: GATE 3.2.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

AGENT, TOOL, ERROR = "agent", "tool", "error"

_SIGNAL_HELPER = re.compile(r"\bwave(?:\.py|\.mjs)?[\"']?\s+signal\b|-m\s+\S+\s+signal\b")
_LITERAL_TAG = re.compile(r"\[(?:wave-[a-z-]+|deploy-status|infra-status)\]", re.IGNORECASE)
_SILENT_ITEMS = frozenset(("reasoning", "todo_list", "file_change", "web_search", "mcp_tool_call"))
_SILENT_TYPES = frozenset(("item.started", "item.updated"))


class EventText(NamedTuple):
    """One text of an event line. `command` is what a tool ran, None when unknown."""

    text: str
    provenance: str
    command: str | None = None

    @property
    def counts(self) -> bool:
        """Whether markers in this text are the agent's own claims."""
        if self.provenance == AGENT:
            return True
        if self.provenance == ERROR:
            return False
        return self.command is None or bool(_SIGNAL_HELPER.search(self.command) or _LITERAL_TAG.search(self.command))


def parse_event_line(line: str) -> Any:
    """The JSON value of a line that is one, else None. Never raises."""
    if line[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


class EventReader:
    """Reads events in order; remembers which command a tool result belongs to."""

    def __init__(self) -> None:
        self._commands: dict[str, str] = {}

    def texts(self, event: Any) -> list[EventText]:
        """All texts of one parsed event line in document order; nested events are found where they are."""
        found: list[EventText] = []
        # An explicit stack: a hostile log must not be able to exhaust the interpreter's.
        stack: list[Any] = [event]
        while stack:
            value = stack.pop()
            if isinstance(value, EventText):
                found.append(value)
            elif isinstance(value, list):
                stack.extend(reversed([item for item in value if isinstance(item, (dict, list))]))
            elif isinstance(value, dict):
                known = self._known(value)
                stack.extend(reversed(_anything(value) if known is None else known))
        return found

    def _known(self, event: dict[str, Any]) -> list[EventText] | None:
        """The texts of a known event shape; None when the shape is unknown."""
        kind = event.get("type")
        message, item, part, inner = (event.get(key) for key in ("message", "item", "part", "msg"))
        if kind == "assistant" and isinstance(message, dict) and isinstance(message.get("content"), list):
            return self._assistant(message["content"])
        if kind == "user" and isinstance(message, dict):
            return self._tool_results(message.get("content"))
        if kind == "result":
            result = event.get("result")
            texts = [EventText(result, AGENT)] if isinstance(result, str) else []
            return texts + (_errors(event) if event.get("is_error") or event.get("error") else [])
        if kind in ("error", "turn.failed"):
            return _errors(event)
        if isinstance(item, dict) and (kind in _SILENT_TYPES or item.get("type") in _SILENT_ITEMS):
            return []
        if kind == "item.completed" and isinstance(item, dict):
            return _codex_item(item)
        if isinstance(part, dict):
            return _opencode_part(kind, part)
        if isinstance(inner, dict):
            return self._codex_message(inner)
        return None

    def _assistant(self, blocks: list[Any]) -> list[EventText]:
        texts = []
        for block in blocks:
            if not isinstance(block, dict):
                continue
            if block.get("type") == "text" and isinstance(block.get("text"), str):
                texts.append(EventText(block["text"], AGENT))
            elif block.get("type") == "tool_use" and isinstance(block.get("id"), str):
                given = block.get("input")
                command = _command(given.get("command")) if isinstance(given, dict) else None
                # A tool without a command (Read, Grep) is known by its name: what it shows is no claim.
                self._commands[block["id"]] = command or str(block.get("name") or "tool")
        return texts

    def _tool_results(self, blocks: Any) -> list[EventText]:
        texts = []
        for block in blocks if isinstance(blocks, list) else []:
            if isinstance(block, dict) and block.get("type") == "tool_result":
                identity = block.get("tool_use_id")
                command = self._commands.get(identity) if isinstance(identity, str) else None
                texts += [EventText(text, TOOL, command) for text in _strings(block.get("content"))]
        return texts

    def _codex_message(self, message: dict[str, Any]) -> list[EventText] | None:
        kind, identity = message.get("type"), message.get("call_id")
        if kind == "agent_message":
            text = message.get("message")
            return [EventText(text, AGENT)] if isinstance(text, str) else []
        if kind == "exec_command_begin":
            command = _command(message.get("command"))
            if isinstance(identity, str) and command:
                self._commands[identity] = command
            return []
        if kind == "exec_command_end":
            output = message.get("aggregated_output")
            known = self._commands.get(identity) if isinstance(identity, str) else None
            return _tool_text(output, known or _command(message.get("command")))
        if isinstance(kind, str) and kind.startswith("agent_reasoning"):
            return []
        return _errors(message) if kind in ("error", "stream_error") else None


def _codex_item(item: dict[str, Any]) -> list[EventText] | None:
    kind = item.get("type")
    if kind in ("agent_message", "assistant_message"):
        return [EventText(item["text"], AGENT)] if isinstance(item.get("text"), str) else []
    if kind == "command_execution":
        output = item.get("aggregated_output")
        return _tool_text(output, _command(item.get("command")))
    return _errors(item) if kind == "error" else None


def _opencode_part(kind: Any, part: dict[str, Any]) -> list[EventText] | None:
    if part.get("type") == "text" and kind == "text":
        return [EventText(part["text"], AGENT)] if isinstance(part.get("text"), str) else []
    if part.get("type") == "tool":
        state = part.get("state")
        state = state if isinstance(state, dict) else {}
        given, output = state.get("input"), state.get("output")
        command = _command(given.get("command")) if isinstance(given, dict) else None
        name = part.get("tool")
        return _tool_text(output, command or (name if isinstance(name, str) else None))
    return [] if part.get("type") == "reasoning" else None


def _anything(value: dict[str, Any]) -> list[Any]:
    """Texts and nested values of an object of unknown shape, in order."""
    parts: list[Any] = []
    for key, item in value.items():
        if key == "text" and isinstance(item, str):
            parts.append(EventText(item, AGENT))
        elif key == "aggregated_output" and isinstance(item, str):
            parts.append(EventText(item, TOOL, _command(value.get("command"))))
        elif key == "error" and isinstance(item, str):
            parts.append(EventText(item, ERROR))
        elif isinstance(item, (dict, list)):
            parts.append(item)
    return parts


def _tool_text(output: Any, command: str | None) -> list[EventText]:
    return [EventText(output, TOOL, command)] if isinstance(output, str) else []


def _errors(event: dict[str, Any]) -> list[EventText]:
    """The error texts of an event, for the classification of a failure only (GATE 5)."""
    texts = [event.get("subtype"), event.get("message"), event.get("error")]
    if isinstance(event.get("error"), dict):
        texts += [event["error"].get("type"), event["error"].get("message")]
    return [EventText(text, ERROR) for text in texts if isinstance(text, str)]


def _strings(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _command(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, list) and value:
        return " ".join(str(word) for word in value)
    return None
