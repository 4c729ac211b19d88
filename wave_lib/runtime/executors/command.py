"""The generic executor: any command line becomes an agent.

Holds:       nothing.
Writes:      nothing (reads the prompt when it travels as an argument).
When killed: nothing is lost.

Spec: SUP 17.8, 17.11.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...base.errors import ConfigError
from ...definition.command_template import PLACEHOLDERS, check_prompt_transport, fill_placeholders, placeholders_in
from .launch_spec import (
    SESSION_ID,
    AgentSession,
    LaunchContext,
    LaunchSpec,
    budget,
    harness_text,
    invocation_line,
    limits,
    skill_bundles,
    with_skills,
)

SYSTEM_PROMPT_FILE = "command-system-prompt.txt"
ARGUMENT_LIMIT = 120 * 1024
_WITH_SESSION = (*PLACEHOLDERS, "sessionId")


def build(context: LaunchContext) -> LaunchSpec:
    """How to start the configured command for this agent. Raises ConfigError for an unusable template."""
    command = {**context.command_executor, **_given(context.executor.get("command"))}
    if not command.get("argv"):
        raise ConfigError("executors.command.argv is not set", remedy="name the program and its arguments")
    check_prompt_transport(command, "executors.command")
    transport = command.get("promptTransport") or "stdin"
    has_system_prompt = command.get("systemPromptFile", True) is not False
    values = _values(context, command, transport, has_system_prompt)
    stdin_path = context.prompt_path if transport == "stdin" else None
    session = command.get("session") or {}
    resumable = context.resume_sessions and bool(session.get("resumeArgv"))
    template = (session.get("argv") if resumable else None) or command["argv"]
    argv = _filled(template, values)
    output_format = command.get("outputFormat") or "text"
    return LaunchSpec(
        executor_id="command",
        command=argv[0],
        argv=tuple(argv),
        stdin_path=stdin_path,
        cwd=_workdir(context.root, command.get("workdir") or "."),
        env={name: fill_placeholders(str(value), values) for name, value in (command.get("env") or {}).items()},
        output_format=output_format,
        use_rate_limit_retries=command.get("rateLimitRetries", True) is not False,
        success_exit_codes=tuple(command.get("successExitCodes") or (0,)),
        rate_limit_patterns=tuple(command.get("rateLimitPatterns") or ()),
        invocation_lines=(invocation_line(argv, stdin_path, context.log_path),),
        limits=limits(context, None, "not-applicable", ["Wave knows no turn limit of a generic command."]),
        overlay={SYSTEM_PROMPT_FILE: with_skills(harness_text(context), context)} if has_system_prompt else {},
        session=_session(session, argv, values) if resumable else None,
    )


def _given(block: object) -> dict[str, Any]:
    return {key: value for key, value in block.items() if value is not None} if isinstance(block, Mapping) else {}


def _values(context: LaunchContext, command: Mapping[str, Any], transport: str, system_prompt: bool) -> dict[str, str]:
    overlay = context.overlay_dir
    model = context.executor.get("model") or command.get("model")
    return {
        "promptFile": context.prompt_path,
        "prompt": _prompt_argument(context.prompt_path) if transport == "argument" else "",
        "systemPromptFile": os.path.join(overlay, SYSTEM_PROMPT_FILE) if system_prompt else "",
        "logFile": context.log_path,
        "overlayDir": overlay,
        "repoRoot": context.root,
        "project": context.project,
        "lane": context.lane,
        "wave": str(context.wave),
        "attempt": str(context.attempt),
        "runId": context.run_id,
        "agentId": context.agent_id,
        "agentTitle": context.agent_title,
        "agentSlug": context.agent_slug,
        "orchestratorId": context.orchestrator_id,
        "model": str(model or ""),
        "budgetMinutes": str(budget(context, "minutes") or ""),
        "budgetTurns": str(budget(context, "turns") or ""),
        "skillsFile": os.path.join(overlay, "skills.resolved.md") if skill_bundles(context) else "",
    }


def _prompt_argument(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if len(text.encode()) > ARGUMENT_LIMIT:
        raise ConfigError(
            f"the prompt is larger than {ARGUMENT_LIMIT // 1024} KiB and cannot be an argument",
            where=path,
            remedy="use executors.command.promptTransport stdin or file",
        )
    return text


def _filled(template: Sequence[Any], values: dict[str, str]) -> list[str]:
    """One argument list; a group goes when a placeholder in it is empty. `{sessionId}` stays for the runner."""
    argv: list[str] = []
    for item in template:
        group = item if isinstance(item, list) else [item]
        names = [name for part in group for name in placeholders_in(part, "executors.command.argv", _WITH_SESSION)]
        if isinstance(item, list) and any(not values.get(name, name == "sessionId") for name in names):
            continue
        argv += [fill_placeholders(part, values) for part in group]
    return argv


def _session(session: Mapping[str, Any], argv: Sequence[str], values: dict[str, str]) -> AgentSession | None:
    resume = tuple(_filled(session["resumeArgv"], values))
    if any(SESSION_ID in part for part in argv):
        return AgentSession("chosen", resume)
    return AgentSession("event", resume, session["idPattern"]) if session.get("idPattern") else None


def _workdir(root: str, workdir: str) -> str:
    real_root = os.path.realpath(root)
    path = os.path.realpath(os.path.join(real_root, workdir))
    if path != real_root and not path.startswith(real_root + os.sep):
        raise ConfigError(f"executors.command.workdir leaves the workspace: {workdir}", remedy="name one inside it")
    return path if workdir not in (".", "") else root
