"""Argument templates of the `command` executor: their shape and their placeholders. Spec: SUP 17.8, 17.11."""

from __future__ import annotations

import re
from typing import Any

from ..base.errors import ConfigError

PLACEHOLDERS = (
    "promptFile",
    "prompt",
    "systemPromptFile",
    "logFile",
    "overlayDir",
    "repoRoot",
    "project",
    "lane",
    "wave",
    "attempt",
    "runId",
    "agentId",
    "agentTitle",
    "agentSlug",
    "orchestratorId",
    "model",
    "budgetMinutes",
    "budgetTurns",
    "skillsFile",
)
"""Names that may stand in braces in `argv` and `env`; `sessionId` is allowed in session templates only."""

PROMPT_TRANSPORTS = ("stdin", "file", "argument")

_TOKEN = re.compile(r"\{\{|\}\}|\{([A-Za-z]*)\}|[{}]")


def placeholders_in(text: str, label: str, allowed: tuple[str, ...] = PLACEHOLDERS) -> list[str]:
    """Names of the placeholders in one argument. ConfigError for an unknown name or a lone brace."""
    names = []
    for match in _TOKEN.finditer(text):
        if match.group(0) in ("{{", "}}"):
            continue
        name = match.group(1)
        if name not in allowed:
            raise ConfigError(
                f"{label}: unknown placeholder {match.group(0)!r}",
                remedy=f"use one of {', '.join(allowed)}, or double the brace to mean itself",
            )
        names.append(name)
    return names


def fill_placeholders(text: str, values: dict[str, str]) -> str:
    """One argument with its placeholders replaced; `{{` and `}}` become single braces. Values are never re-read."""

    def replacement(match: re.Match[str]) -> str:
        token = match.group(0)
        return token[0] if token in ("{{", "}}") else values.get(match.group(1) or "", token)

    return _TOKEN.sub(replacement, text)


def check_template(value: object, label: str, allowed: tuple[str, ...] = PLACEHOLDERS) -> list[Any]:
    """A checked argument list: text, or a list of text for a group that goes when a placeholder in it is empty."""
    if not isinstance(value, list):
        raise ConfigError(f"{label} must be a list of arguments")
    if not value or not isinstance(value[0], str) or not value[0].strip():
        raise ConfigError(f"{label} must begin with the program to run")
    checked: list[Any] = []
    for index, item in enumerate(value):
        group = item if isinstance(item, list) else [item]
        for part in group:
            if not isinstance(part, str) or "\0" in part:
                raise ConfigError(f"{label}[{index}] must be text or a list of text")
            placeholders_in(part, f"{label}[{index}]", allowed)
        checked.append(list(group) if isinstance(item, list) else item)
    return checked


def check_prompt_transport(command: dict[str, Any], label: str) -> None:
    """ConfigError unless `argv` has the placeholder that the prompt's way in needs. Call it on a resolved block."""
    transport = command.get("promptTransport") or "stdin"
    wanted = {"file": "promptFile", "argument": "prompt"}.get(transport)
    parts = [part for item in command.get("argv") or () for part in (item if isinstance(item, list) else [item])]
    if wanted and not any(wanted in placeholders_in(part, f"{label}.argv") for part in parts):
        raise ConfigError(
            f"{label}.promptTransport is {transport!r}, so {{{wanted}}} must occur in {label}.argv",
            remedy=f"add {{{wanted}}} to argv, or use the transport `stdin`",
        )
