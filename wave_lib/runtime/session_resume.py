"""Going on with the conversation of an agent CLI that was killed: whether it can be, and what the agent is told.

Holds:       nothing.
Writes:      the prompt of the resumed try, into the agent's overlay directory.
When killed: nothing is lost; the prompt is written again.

Spec: SUP 17.11.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ..base.files import tail, write_text
from . import agent_output

if TYPE_CHECKING:
    from .agent_sessions import AgentStart

_LOG_TAIL = 256 * 1024


def resumable_session(request: AgentStart, record: dict[str, Any]) -> dict[str, Any] | None:
    """The `agentSession` block of the next try, None when the session cannot go on.

    A session that printed nothing since its last resume is given up after `resume_limit` times.
    """
    plan, session = request.spec.session, record.get("agentSession") or {}
    if not request.resume_sessions or plan is None or not session.get("resumable"):
        return None
    log, offset = str(record.get("logPath")), int(record.get("logOffset") or 0)
    known = session.get("id")
    if known is None and plan.id_pattern:
        known = agent_output.session_id(log, offset, plan.id_pattern, record.get("promptPath"))
    if known is None or session.get("cwd") not in (None, request.spec.cwd):
        return None
    size = os.stat(log).st_size if os.path.exists(log) else 0
    silent = int(session.get("silentResumes") or 0) if size <= int(session.get("resumedAtSize") or 0) else 0
    if silent >= request.resume_limit:
        return None
    return {**session, "id": known, "silentResumes": silent + 1, "resumedAtSize": size}


def write_resume_prompt(request: AgentStart, record: dict[str, Any]) -> str:
    """Write what the resumed agent is told; returns the path."""
    path = os.path.join(request.overlay_dir, "resume-prompt.md")
    write_text(path, resume_prompt(request, record))
    return path


def resume_prompt(request: AgentStart, record: dict[str, Any]) -> str:
    """Plain words: you were killed, what was under way is unknown, look before you repeat it."""
    command = command_in_flight(tail(str(record.get("logPath")), _LOG_TAIL))
    lines = [
        "Your process was killed from outside in the middle of this task. This is the same conversation: go on.",
        "",
    ]
    if command:
        lines += [f"A command was under way when it happened: {command}", ""]
    else:
        lines += ["A command may have been under way when it happened.", ""]
    lines += [
        "Whether it took effect is unknown. Look before you repeat it; do not assume that it failed or that it worked.",
        "",
    ]
    changes = owned_changes(request.root, request.owned_paths)
    if changes is not None:
        lines += ["`git status --short` of the paths you own says now:", "", *(changes or ["(no changes)"]), ""]
    lines += ["Then finish the task and print the final marker lines that it asks for."]
    return "\n".join(lines) + "\n"


def owned_changes(root: str, owned_paths: tuple[str, ...]) -> list[str] | None:
    """Lines of `git status --short` for the owned paths, indented; None where git does not answer."""
    import subprocess

    argv = ["git", "status", "--short", "--", *(owned_paths or (".",))]
    try:
        done = subprocess.run(argv, cwd=root, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return None
    return [f"    {line}" for line in done.stdout.decode("utf-8", "replace").splitlines()[:200]]


def command_in_flight(log: str) -> str | None:
    """The last command that the event lines of codex or claude show as begun and not as finished."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        if not line.startswith("{"):
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            _follow_codex(event, begun)
            _follow_claude(event, begun)
    return list(begun.values())[-1] if begun else None


def _follow_codex(event: dict[str, Any], begun: dict[str, str]) -> None:
    item = event.get("item")
    if not isinstance(item, dict) or item.get("type") != "command_execution":
        return
    if event.get("type") == "item.started":
        begun[str(item.get("id"))] = str(item.get("command"))
    elif event.get("type") == "item.completed":
        begun.pop(str(item.get("id")), None)


def _follow_claude(event: dict[str, Any], begun: dict[str, str]) -> None:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, dict):
            continue
        if block.get("type") == "tool_use":
            given = block.get("input")
            command = given.get("command") if isinstance(given, dict) else None
            begun[str(block.get("id"))] = str(command or block.get("name"))
        elif block.get("type") == "tool_result":
            begun.pop(str(block.get("tool_use_id")), None)
