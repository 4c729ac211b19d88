"""OpenCode. Checked against 1.18.

Holds:       nothing.
Writes:      nothing (looks whether attached files exist).
When killed: nothing is lost.

Spec: SUP 17.5, 17.9, 17.11.
"""

from __future__ import annotations

import os
import re
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
    skill_bundles,
    skill_catalog,
    unique,
)

AGENT_PROMPT_FILE = "opencode-agent-prompt.txt"
CONFIG_FILE = "opencode.json"
_SCHEMA = "https://opencode.ai/config.json"


def build(context: LaunchContext) -> LaunchSpec:
    """How to start OpenCode. A missing file is a problem of the spec; ConfigError for an `attach` that is no URL."""
    opencode = context.executor["opencode"]
    warnings = _warnings(opencode)
    name = agent_name(context)
    config = _config(context, name)
    words = [*command_words(opencode["command"], context.root), "run"]
    flags = [*_flags(context, name), "--title", f"wave-{context.agent_id}"]
    argv = (*words, *flags)
    steps = opencode.get("steps")
    return LaunchSpec(
        executor_id="opencode",
        command=opencode["command"],
        argv=argv,
        stdin_path=context.prompt_path,
        cwd=context.root,
        env={"OPENCODE_CONFIG": os.path.join(context.overlay_dir, CONFIG_FILE)},
        output_format="jsonl" if opencode.get("format") == "json" else "text",
        invocation_lines=(invocation_line(argv, context.prompt_path, context.log_path),),
        limits=limits(
            context,
            steps,
            "opencode.steps" if steps else None,
            [] if steps else advisory_turns(context, "opencode.steps (agent.steps in opencode.json)"),
        ),
        overlay={AGENT_PROMPT_FILE: harness_text(context) + "\n", CONFIG_FILE: json_text(config)},
        warnings=tuple(warnings),
        problems=_missing_files(context),
        session=_session(words, flags) if context.resume_sessions and opencode.get("format") == "json" else None,
        fail_pattern=r"(?im)^.*\bagent\b.*\bnot found\b.*\bdefault agent\b",
        fail_reason="opencode-agent-missing",
    )


def agent_name(context: LaunchContext) -> str:
    """The name of the OpenCode agent that carries the harness text."""
    raw = str(context.executor["opencode"].get("agent") or f"wave-{context.agent_id}").lower()
    name = re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9_-]+", "-", raw)).strip("-")
    return name or f"wave-{context.agent_id.lower()}"


def _session(words: list[str], flags: list[str]) -> AgentSession:
    shown = r'"sessionID":\s*"(ses_[A-Za-z0-9]+)"'
    places = (("XDG_DATA_HOME", "opencode/opencode.db"), ("HOME", ".local/share/opencode/opencode.db"))
    lost = r"(?im)^[^\n\"]{0,40}session not found"
    return AgentSession("event", (*words, "-s", SESSION_ID, *flags), shown, lost, places)


def _flags(context: LaunchContext, name: str) -> list[str]:
    opencode = context.executor["opencode"]
    flags = ["--agent", name]
    model = context.executor.get("model") or opencode.get("model")
    flags += ["--model", model] if model else []
    flags += ["--format", opencode.get("format") or "default"]
    flags += ["--attach", opencode["attach"]] if opencode.get("attach") else []
    for path in _files(context):
        flags += ["--file", path]
    flags += ["--auto"] if opencode.get("autoApprove") else []
    return [*flags, *(opencode.get("extraArgs") or ())]


def _files(context: LaunchContext) -> list[str]:
    """Configured files, then every file of the skill bundles; the CLI aborts on a missing one (`_missing_files`)."""
    files = list(context.executor["opencode"].get("files") or ())
    for bundle in skill_bundles(context):
        files += [bundle.get("manifestPath"), bundle.get("skillPath"), bundle.get("adapterPath")]
        files += bundle.get("referencePaths") or ()
    return unique(path for path in files if path)


def _missing_files(context: LaunchContext) -> tuple[str, ...]:
    missing = (path for path in _files(context) if not os.path.exists(os.path.join(context.root, path)))
    return tuple(f"opencode file not found: {path}; correct executors.opencode.files" for path in missing)


def _config(context: LaunchContext, name: str) -> dict[str, Any]:
    opencode = context.executor["opencode"]
    given = opencode.get("configJson") or {}
    entry: dict[str, Any] = {
        "description": f"Wave agent {context.agent_id}: {context.agent_title}",
        "mode": "primary",
        "prompt": f"{{file:./{AGENT_PROMPT_FILE}}}",
    }
    for key, value in (
        ("model", context.executor.get("model") or opencode.get("model")),
        ("steps", opencode.get("steps")),
        ("permission", opencode.get("permission")),
    ):
        if value:
            entry[key] = value
    catalog = skill_catalog(context)
    instructions = [*(given.get("instructions") or ()), *(opencode.get("instructions") or ())]
    instructions += [catalog] if catalog else []
    ours: dict[str, Any] = {"$schema": given.get("$schema") or _SCHEMA, "agent": {name: entry}}
    if instructions:
        ours["instructions"] = unique(instructions)
    return deep_merge(given, ours)


def _warnings(opencode: dict[str, Any]) -> list[str]:
    warnings = []
    attach = opencode.get("attach")
    if attach:
        if not re.match(r"https?://[^/\s]+", attach):
            raise ConfigError(
                f"opencode.attach must be an http or https URL (got: {attach})", remedy="name a running opencode server"
            )
        warnings.append("opencode.attach: the server has its own configuration, the Wave overlay does not apply to it")
    if "plugins" in (opencode.get("configJson") or {}):
        warnings.append("opencode.configJson.plugins is ignored by the CLI; its key is `plugin`")
    return warnings
