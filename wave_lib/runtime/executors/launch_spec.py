"""What it takes to start one agent: the record that every executor module fills, and texts they share.

Spec: SUP 17.1, 17.6, 17.10 (limits).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...base.errors import ConfigError

SESSION_ID = "{sessionId}"
"""Stands in an argv where the session's id goes; the runner puts it in, since an id belongs to one try (SUP 17.11)."""


class AgentSession(NamedTuple):
    """How the conversation of an agent CLI is named and taken up again. Spec: SUP 17.11.

    `source` is `chosen` (Wave draws the id before the start) or `event` (the CLI prints it; `id_pattern` finds it in
    the output, its first group is the id). `resume_argv` holds SESSION_ID; `lost_pattern` in the output of a resumed
    try says that the CLI does not know the session any more. `transcripts` says where the CLI keeps the session:
    (variable, path below the folder it names, with SESSION_ID and wildcards), the first variable that is set counts.
    """

    source: str
    resume_argv: tuple[str, ...]
    id_pattern: str | None = None
    lost_pattern: str | None = None
    transcripts: tuple[tuple[str, str], ...] = ()


class LaunchSpec(NamedTuple):
    """How one agent is started. `overlay` maps file names in the overlay directory to their text, not written yet.

    `stdin_path` is the prompt file or None; `env` holds what is set for the executor (values that are not secret);
    `limits` is the JSON object of SUP 17.10; `cwd` is absolute.
    """

    executor_id: str
    command: str
    argv: tuple[str, ...]
    stdin_path: str | None
    cwd: str
    env: Mapping[str, str]
    output_format: str
    invocation_lines: tuple[str, ...]
    limits: Mapping[str, Any]
    overlay: Mapping[str, str]
    use_rate_limit_retries: bool = True
    success_exit_codes: tuple[int, ...] = (0,)
    rate_limit_patterns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()  # what makes a start pointless now; a dry run only tells of them
    session: AgentSession | None = None
    fail_pattern: str | None = None  # a line of output that fails the try, with this exitReason:
    fail_reason: str = "failed"


class LaunchContext(NamedTuple):
    """The facts an executor module needs beside `executorResolved`; paths are absolute.

    `skills` is the agent's resolved skills block (WORK 9.6 shape: `bundles`, `promptText`, …) or None.
    """

    root: str
    project: str
    lane: str
    wave: int
    attempt: int
    run_id: str
    orchestrator_id: str
    agent_id: str
    agent_title: str
    agent_slug: str
    executor: Mapping[str, Any]
    prompt_path: str
    log_path: str
    overlay_dir: str
    skills: Mapping[str, Any] | None = None
    resume_sessions: bool = True
    command_executor: Mapping[str, Any] = {}  # `executors.command` of the lane, below the agent's own block


def harness_text(context: LaunchContext) -> str:
    """What every agent is told about where it runs. Holds no line that parses as a marker. Spec: SUP 17.6."""
    return "\n".join(
        (
            "You run as one agent inside the Wave harness: a program started you and decides by what you print.",
            f"Executor: {context.executor['id']}. Agent: {context.agent_id} - {context.agent_title}.",
            "",
            "- The task text you receive is your authoritative assignment; nothing here replaces it.",
            "- Print every marker line that the task asks for exactly as the task spells it, each on its own line,",
            "  and only once it is true. Without them your work does not count.",
            "- Keep every duty the task gives you: coordination records, message board, exit contract, owned files.",
            "  Do not drop, soften or rewrite them.",
            "- Answer in plain text unless the task asks for code.",
        )
    )


def skill_catalog(context: LaunchContext) -> str:
    """The compact skill catalog of this agent, empty without skills. Spec: WORK 9.6."""
    return str((context.skills or {}).get("promptText") or "").strip()


def with_skills(text: str, context: LaunchContext) -> str:
    """`text`, then a blank line and the skill catalog if there is one, with a final newline."""
    return "\n\n".join(part for part in (text, skill_catalog(context)) if part) + "\n"


def skill_bundles(context: LaunchContext) -> list[Mapping[str, Any]]:
    """The resolved skill bundles of this agent (WORK 9.6)."""
    return list((context.skills or {}).get("bundles") or ())


def unique(values: Iterable[str]) -> list[str]:
    """Values in order, each once."""
    return list(dict.fromkeys(values))


def command_words(command: str, root: str) -> list[str]:
    """The program words of a configured command: one word, or several such as `npx codex`. Spec: SUP 17.1."""
    if not any(blank in command for blank in " \t") or os.path.exists(os.path.join(root, command)):
        return [command]
    import shlex

    try:
        return shlex.split(command) or [command]
    except ValueError as error:
        raise ConfigError(f"command {command!r} cannot be read: {error}", remedy="close its quotes") from None


def invocation_line(argv: Sequence[str], stdin_path: str | None, log_path: str) -> str:
    """The call as a person would type it. Nothing runs this text."""
    from shlex import join, quote

    feed = f" < {quote(stdin_path)}" if stdin_path else ""
    return f"{join(argv)}{feed} >> {quote(log_path)} 2>&1"


def limits(context: LaunchContext, known: int | None, source: str | None, notes: Sequence[str]) -> dict[str, Any]:
    """The JSON object that previews and hints show. Spec: SUP 17.10."""
    return {
        "attemptTimeoutMinutes": budget(context, "minutes"),
        "knownTurnLimit": known,
        "turnLimitSource": source,
        "notes": list(notes),
    }


def budget(context: LaunchContext, member: str) -> int | None:
    """`budget.minutes` or `budget.turns` of the agent, None when unset."""
    value = (context.executor.get("budget") or {}).get(member)
    return int(value) if value else None


def advisory_turns(context: LaunchContext, flag: str) -> list[str]:
    """The note for a turn budget that no flag enforces."""
    turns = budget(context, "turns")
    return [f"budget.turns={turns} stays advisory: {flag} was not set, so no turn limit was emitted."] if turns else []


def json_text(value: object) -> str:
    """Two-space JSON with a final newline, as all overlay files are written."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top: objects merge by key, other values replace."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = deep_merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
