"""Claude Code. Checked against 2.1.197.

Holds:       nothing.
Writes:      nothing (reads the configured settings file).
When killed: nothing is lost.

Spec: SUP 17.4, 17.9, 17.11.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...base.errors import ConfigError
from .launch_spec import (
    SESSION_ID,
    AgentSession,
    LaunchContext,
    LaunchSpec,
    advisory_turns,
    command_words,
    deep_merge,
    harness_text,
    invocation_line,
    json_text,
    limits,
    with_skills,
)

SYSTEM_PROMPT_FILE = "claude-system-prompt.txt"
SETTINGS_FILE = "claude-settings.json"


def build(context: LaunchContext) -> LaunchSpec:
    """How to start Claude Code for this agent. Raises ConfigError for an unusable settings file."""
    claude = context.executor["claude"]
    words = [*command_words(claude["command"], context.root), "-p"]
    overlay = {SYSTEM_PROMPT_FILE: with_skills(harness_text(context), context)}
    settings = _merged_settings(context.root, claude)
    if settings is not None:
        overlay[SETTINGS_FILE] = json_text(settings)
        settings_path = os.path.join(context.overlay_dir, SETTINGS_FILE)
    else:
        settings_path = claude.get("settings")
    flags = _flags(context, settings_path)
    named = ["--session-id", SESSION_ID] if context.resume_sessions else ["--no-session-persistence"]
    argv = (*words, *named, *flags)
    resume = (*words, "--resume", SESSION_ID, *flags)
    turns = claude.get("maxTurns")
    notes = [] if turns else advisory_turns(context, "claude.maxTurns (--max-turns)")
    return LaunchSpec(
        executor_id="claude",
        command=claude["command"],
        argv=argv,
        stdin_path=context.prompt_path,
        cwd=context.root,
        env={"IS_SANDBOX": "1"} if claude.get("allowRootBypass") else {},
        output_format=claude.get("outputFormat") or "text",
        invocation_lines=(invocation_line(argv, context.prompt_path, context.log_path),),
        limits=limits(context, turns, "claude.maxTurns" if turns else None, notes),
        overlay=overlay,
        session=_session(resume) if context.resume_sessions else None,
    )


def _session(resume: tuple[str, ...]) -> AgentSession:
    kept = f"projects/*/{SESSION_ID}.jsonl"
    places = (("CLAUDE_CONFIG_DIR", kept), ("HOME", f".claude/{kept}"))
    return AgentSession("chosen", resume, None, r"(?m)^No conversation found", places)


def _flags(context: LaunchContext, settings_path: str | None) -> list[str]:
    claude = context.executor["claude"]
    form = claude.get("outputFormat") or "text"
    flags = ["--output-format", form]
    flags += ["--verbose"] if form == "stream-json" else []  # print mode refuses stream-json without it
    for flag, value in (
        ("--model", context.executor.get("model") or claude.get("model")),
        ("--agent", claude.get("agent")),
        ("--permission-mode", claude.get("permissionMode")),
        ("--permission-prompt-tool", claude.get("permissionPromptTool")),
        ("--effort", claude.get("effort")),
        ("--max-turns", claude.get("maxTurns")),
    ):
        flags += [flag, str(value)] if value else []
    for config in claude.get("mcpConfig") or ():
        flags += ["--mcp-config", config]
    flags += ["--settings", settings_path] if settings_path else []
    for flag, key in (("--allowedTools", "allowedTools"), ("--disallowedTools", "disallowedTools")):
        for tool in claude.get(key) or ():
            flags += [flag, tool]
    flags += ["--strict-mcp-config"] if claude.get("strictMcpConfig") else []
    flags += claude.get("extraArgs") or []
    replace = claude.get("appendSystemPromptMode") == "replace"
    flags.append("--system-prompt-file" if replace else "--append-system-prompt-file")
    flags.append(os.path.join(context.overlay_dir, SYSTEM_PROMPT_FILE))
    return flags


def _merged_settings(root: str, claude: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings overlay, None when the configured file serves as it is."""
    urls = claude.get("allowedHttpHookUrls")
    if not (claude.get("settingsJson") or claude.get("hooksJson") or urls):
        return None
    merged = _settings_file(root, claude["settings"]) if claude.get("settings") else {}
    merged = deep_merge(merged, claude.get("settingsJson") or {})
    if claude.get("hooksJson"):
        merged = deep_merge(merged, {"hooks": claude["hooksJson"]})
    if urls:
        merged = deep_merge(merged, {"allowedHttpHookUrls": list(urls)})
    return merged


def _settings_file(root: str, path: str) -> dict[str, Any]:
    import json

    try:
        with open(os.path.join(root, path), encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        raise ConfigError(f"Claude settings file not found: {path}", remedy="correct its path") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"Invalid Claude settings JSON at {path}: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"Claude settings must be a JSON object: {path}")
    return value
