"""What it takes to start one agent: the record that every executor module fills, and texts they share.

Spec: SUP 17.1, 17.6, 17.10 (limits).
"""

from __future__ import annotations

import os
from typing import Any, Mapping, NamedTuple, Optional

from ...base.errors import ConfigError

SESSION_ID = "{sessionId}"
"""Stands in an argv where the session's id goes; the runner puts it in, since an id belongs to one try (SUP 17.11)."""


class AgentSession(NamedTuple):
    """How the conversation of an agent CLI is named and taken up again. Spec: SUP 17.11.

    `source` is `chosen` (Wave draws the id before the start) or `event` (the CLI prints it; `id_pattern` finds it in the
    output, its first group is the id). `resume_argv` holds SESSION_ID; `lost_pattern` in the output of a resumed try says
    that the CLI does not know the session any more.
    """

    source: str
    resume_argv: tuple[str, ...]
    id_pattern: Optional[str] = None
    lost_pattern: Optional[str] = None


class LaunchSpec(NamedTuple):
    """How one agent is started. `overlay` maps file names in the overlay directory to their text; nothing is written yet.

    `stdin_path` is the prompt file or None; `env` holds what is set for the executor (values that are not secret);
    `limits` is the JSON object of SUP 17.10; `cwd` is absolute.
    """

    executor_id: str
    command: str
    argv: tuple[str, ...]
    stdin_path: Optional[str]
    cwd: str
    env: Mapping[str, str]
    output_format: str
    use_rate_limit_retries: bool
    success_exit_codes: tuple[int, ...]
    rate_limit_patterns: tuple[str, ...]
    invocation_lines: tuple[str, ...]
    limits: Mapping[str, Any]
    overlay: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    session: Optional[AgentSession] = None
    fail_pattern: Optional[str] = None  # a line of output that fails the try, with this exitReason:
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
    skills: Optional[Mapping[str, Any]] = None
    resume_sessions: bool = True
    command_executor: Mapping[str, Any] = {}  # `executors.command` of the lane, where the agent's own block leaves keys out
