"""The `### Executor` section of an agent: its keys, their types, and where each is stored.

One table drives everything: the key as written, the runtime block and JSON key it becomes, and how its value is read.

Spec: CFG 8.8, SUP 17.8 (`command.*`).
"""

from __future__ import annotations

import json
from typing import Any, Callable, NamedTuple

from ..base.errors import ConfigError
from ..base.text import nearest
from .command_template import PROMPT_TRANSPORTS, check_template, placeholders_in
from .executor_schema import EFFORTS, SANDBOXES
from .lane_profile import EXECUTOR_MODES
from .values import POSITIVE, as_bool, as_member
from .wave_sections import Findings, Section, Source, pairs, shown, split_list, unquote

RETRY_POLICIES = ("sticky", "fallback-allowed")
RUNTIME_BLOCKS = ("codex", "claude", "opencode", "command")

Reader = Callable[[str, str], Any]


class ExecutorKey(NamedTuple):
    """Where a key is stored (`block` is empty for top-level keys) and how its value is read: `(raw, label)` in, the
    stored value out, ConfigError naming the label for a bad one."""

    block: str
    name: str
    read: Reader


def _text(raw: str, label: str) -> str:
    text = unquote(raw)
    if not text:
        raise ConfigError(f"{label} must not be empty")
    return text


def _lower(raw: str, label: str) -> str:
    return _text(raw, label).lower()


def _one_of(*members: str) -> Reader:
    return lambda raw, label: as_member(_text(raw, label), label, members)


def _list(raw: str, label: str) -> list[str]:
    return split_list(raw)


def _modes(raw: str, label: str) -> list[str]:
    return [as_member(item, label, EXECUTOR_MODES) for item in split_list(raw)]


def _count(raw: str, label: str) -> Any:
    return POSITIVE.read(_text(raw, label), label)


def _flag(raw: str, label: str) -> Any:
    return as_bool(_text(raw, label), label)


def _json(raw: str, label: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{label} holds invalid JSON ({error})") from None


def _json_object(raw: str, label: str) -> dict[str, Any]:
    parsed = _json(raw, label)
    if not isinstance(parsed, dict):
        raise ConfigError(f"{label} is invalid: it must be a JSON object")
    return parsed


def _argv(raw: str, label: str) -> list[Any]:
    return check_template(_json(raw, label), label)


def _env(raw: str, label: str) -> dict[str, Any]:
    env = _json_object(raw, label)
    for name, text in env.items():
        if not isinstance(text, str):
            raise ConfigError(f"{label}.{name} must be text")
        placeholders_in(text, f"{label}.{name}")
    return env


def _exit_codes(raw: str, label: str) -> list[int]:
    items = split_list(raw.strip().removeprefix("[").removesuffix("]"))
    if not items or not all(item.isascii() and item.isdigit() and int(item) < 256 for item in items):
        raise ConfigError(f"{label} must be a list of exit codes from 0 to 255, got {shown(raw)}")
    return [int(item) for item in items]


EXECUTOR_KEYS: dict[str, ExecutorKey] = {
    "id": ExecutorKey("", "id", _one_of(*EXECUTOR_MODES)),
    "profile": ExecutorKey("", "profile", _lower),
    "model": ExecutorKey("", "model", _text),
    "fallbacks": ExecutorKey("", "fallbacks", _modes),
    "tags": ExecutorKey("", "tags", _list),
    "retry-policy": ExecutorKey("", "retryPolicy", _one_of(*RETRY_POLICIES)),
    "allow-fallback-on-retry": ExecutorKey("", "allowFallbackOnRetry", _flag),
    "budget.turns": ExecutorKey("budget", "turns", _count),
    "budget.minutes": ExecutorKey("budget", "minutes", _count),
    "codex.command": ExecutorKey("codex", "command", _text),
    "codex.profile_name": ExecutorKey("codex", "profileName", _text),
    "codex.sandbox": ExecutorKey("codex", "sandbox", _one_of(*SANDBOXES)),
    "codex.config": ExecutorKey("codex", "config", _list),
    "codex.images": ExecutorKey("codex", "images", _list),
    "codex.add_dirs": ExecutorKey("codex", "addDirs", _list),
    "codex.search": ExecutorKey("codex", "search", _flag),
    "codex.json": ExecutorKey("codex", "json", _flag),
    "codex.ephemeral": ExecutorKey("codex", "ephemeral", _flag),
    "claude.command": ExecutorKey("claude", "command", _text),
    "claude.agent": ExecutorKey("claude", "agent", _text),
    "claude.permission_mode": ExecutorKey("claude", "permissionMode", _text),
    "claude.permission_prompt_tool": ExecutorKey("claude", "permissionPromptTool", _text),
    "claude.settings": ExecutorKey("claude", "settings", _text),
    "claude.effort": ExecutorKey("claude", "effort", _one_of(*EFFORTS)),
    "claude.max_turns": ExecutorKey("claude", "maxTurns", _count),
    "claude.mcp_config": ExecutorKey("claude", "mcpConfig", _list),
    "claude.allowed_http_hook_urls": ExecutorKey("claude", "allowedHttpHookUrls", _list),
    "claude.allowed_tools": ExecutorKey("claude", "allowedTools", _list),
    "claude.disallowed_tools": ExecutorKey("claude", "disallowedTools", _list),
    "claude.settings_json": ExecutorKey("claude", "settingsJson", _json_object),
    "claude.hooks_json": ExecutorKey("claude", "hooksJson", _json_object),
    "claude.output_format": ExecutorKey("claude", "outputFormat", _one_of("text", "json", "stream-json")),
    "opencode.command": ExecutorKey("opencode", "command", _text),
    "opencode.agent": ExecutorKey("opencode", "agent", _text),
    "opencode.attach": ExecutorKey("opencode", "attach", _text),
    "opencode.files": ExecutorKey("opencode", "files", _list),
    "opencode.instructions": ExecutorKey("opencode", "instructions", _list),
    "opencode.format": ExecutorKey("opencode", "format", _one_of("default", "json")),
    "opencode.steps": ExecutorKey("opencode", "steps", _count),
    "opencode.permission": ExecutorKey("opencode", "permission", _json),
    "opencode.config_json": ExecutorKey("opencode", "configJson", _json_object),
    "command.argv": ExecutorKey("command", "argv", _argv),
    "command.prompt_transport": ExecutorKey("command", "promptTransport", _one_of(*PROMPT_TRANSPORTS)),
    "command.env": ExecutorKey("command", "env", _env),
    "command.output_format": ExecutorKey("command", "outputFormat", _one_of("text", "jsonl")),
    "command.success_exit_codes": ExecutorKey("command", "successExitCodes", _exit_codes),
}


def parse_executor(source: Source, section: Section | None, findings: Findings, agent_id: str) -> dict[str, Any] | None:
    """The section as `executorConfig`, None when it is absent or empty.

    The dict always has the keys of CFG 8.8 (null or `[]` by default), and `command` when a `command.*` key is set.
    """
    if section is None:
        return None
    label = f"Agent {agent_id}: executor"
    config: dict[str, Any] = {
        "id": None,
        "profile": None,
        "model": None,
        "fallbacks": [],
        "tags": [],
        "budget": None,
        "retryPolicy": None,
        "allowFallbackOnRetry": None,
        "codex": None,
        "claude": None,
        "opencode": None,
    }
    entries = pairs(source, section, findings, label, separate="required")
    for written, (line, raw) in entries.items():
        key = EXECUTOR_KEYS.get(written)
        if key is None:
            meant = nearest(written, EXECUTOR_KEYS, 4)
            findings.error(
                line, f'{label} key "{written}" is unknown' + (f' (did you mean "{meant}"?)' if meant else "")
            )
            continue
        try:
            value = key.read(raw, f"{label} {written}")
        except ConfigError as error:
            findings.error(line, str(error))
            continue
        if key.block:
            if config.get(key.block) is None:
                config[key.block] = {"turns": None, "minutes": None} if key.block == "budget" else {}
            config[key.block][key.name] = value
        else:
            config[key.name] = value
    return config if entries else None
