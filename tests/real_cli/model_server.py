"""A scripted model on loopback: it asks for shell commands, one at a time, and then answers with a text.

Speaks the Anthropic Messages API and the OpenAI Responses and Chat Completions APIs, streaming. No account, no network.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """What the model does next: runs `command` in the shell tool, if there is one, else says `text`."""

    text: str
    command: str = ""


class ModelServer:
    """`url` is where it listens; `asked` collects (path, body) of every request. Use as a context.

    `script` is the text of every answer, or a function from the request's body (as JSON text) to a Turn.
    """

    def __init__(self, script: str | Callable[[str], Turn]) -> None:
        self.script = script
        self.asked: list[tuple[str, dict[str, Any]]] = []
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                try:
                    body = json.loads(self.rfile.read(size) or b"{}")
                except ValueError:
                    body = {}
                model.asked.append((self.path, body))
                self.reply(*model.respond(self.path.partition("?")[0], body))

            def do_GET(self) -> None:
                self.reply("application/json", json.dumps({"data": [], "models": []}))

            def do_HEAD(self) -> None:
                self.reply("text/plain", "")

            def reply(self, kind: str, text: str) -> None:
                data = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, path: str, body: dict[str, Any]) -> tuple[str, str]:
        """(content type, body) of the answer to one request."""
        if path.endswith("/count_tokens"):
            return "application/json", json.dumps({"input_tokens": 10})
        turn = Turn(self.script) if isinstance(self.script, str) else self.script(json.dumps(body))
        number = len(self.asked)  # every call has an id of its own
        command = turn.command if body.get("tools") else ""  # side requests (titles and the like) offer no tools
        if path.endswith("/responses"):
            tool = shell_call(command, body["tools"], number) if command else None
            return "text/event-stream", events(responses(turn.text, tool))
        if path.endswith("/chat/completions"):
            return "text/event-stream", events(chat(turn.text, command, number)) + "data: [DONE]\n\n"
        if path.endswith("/messages") and body.get("stream"):
            return "text/event-stream", events(messages(turn.text, command, number))
        if path.endswith("/messages"):
            return "application/json", json.dumps(message([{"type": "text", "text": turn.text}], "end_turn"))
        return "application/json", "{}"


def shell_call(command: str, tools: Any, number: int) -> dict[str, Any] | None:
    """A call of whichever shell tool this version of codex offers; None when it offers none."""
    forms: dict[str, dict[str, Any]] = {
        "exec_command": {"cmd": command},
        "shell_command": {"command": command},
        "shell": {"command": ["sh", "-c", command]},
    }
    names = {tool.get("name") for tool in tools}
    for name, arguments in forms.items():
        if name in names:
            return {
                "id": f"item_{number}", "type": "function_call", "status": "completed", "call_id": f"call_{number}",
                "name": name, "arguments": json.dumps(arguments),
            }  # fmt: skip
    return None


def events(items: list[dict[str, Any]]) -> str:
    """Server-sent events; the event's name is the item's `type`."""
    named = ((f"event: {item['type']}\n" if "type" in item else "", json.dumps(item)) for item in items)
    return "".join(f"{name}data: {data}\n\n" for name, data in named)


def message(content: list[dict[str, Any]], stop: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": content,
        "stop_reason": stop, "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 10},
    }  # fmt: skip


def messages(answer: str, command: str, number: int) -> list[dict[str, Any]]:
    """A text, or a call of the `Bash` tool."""
    if command:
        block: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps({"command": command, "description": "work"})}
    else:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": answer}
    stop = "tool_use" if command else "end_turn"
    return [
        {"type": "message_start", "message": message([], None)},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def responses(answer: str, call: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A text, or the call of a tool."""
    part = {"type": "output_text", "text": answer, "annotations": []}
    said = {"id": "item_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    item: dict[str, Any] = call or said
    usage = {
        "input_tokens": 10, "output_tokens": 10, "total_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    delta = {
        "type": "response.output_text.delta", "item_id": "item_1", "output_index": 0, "content_index": 0,
        "delta": answer,
    }  # fmt: skip
    begun = {**item, "status": "in_progress"}
    done = {"id": "resp_1", "object": "response", "status": "completed", "output": [item], "usage": usage}
    return [
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *([] if call else [delta]),
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]


def chat(answer: str, command: str, number: int) -> list[dict[str, Any]]:
    """A text, or a call of the `bash` tool."""
    base = {"id": "c1", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    delta: dict[str, Any] = {"role": "assistant", "content": answer}
    if command:
        function = {"name": "bash", "arguments": json.dumps({"command": command, "description": "work"})}
        call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
        delta = {"role": "assistant", "content": None, "tool_calls": [call]}
    stop = "tool_calls" if command else "stop"
    return [
        {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": stop}], "usage": usage},
    ]
