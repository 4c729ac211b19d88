"""The `executors` block of the configuration. Spec: CFG 4.6; added keys: SUP 17.

The order of the keys is hashed (CFG 15): Node's keys first and in its order, added keys after them.
"""

from __future__ import annotations

import re
from typing import Any

from ..base.errors import ConfigError
from . import values as v
from .command_template import PLACEHOLDERS, PROMPT_TRANSPORTS, check_template
from .schema_types import Block, Keyed, Leaf, inheritable, word_key

SANDBOXES = ("read-only", "workspace-write", "danger-full-access")
EFFORTS = ("low", "medium", "high", "xhigh", "max")


def _template(*extra: str) -> v.Kind:
    allowed = (*PLACEHOLDERS, *extra)

    def read(value: object, label: str) -> Any:
        return v.UNSET if value is None else check_template(value, label, allowed)

    return v.Kind("list of arguments; a list inside is an optional group", read, is_list=True)


def _id_pattern(value: object, label: str) -> Any:
    text = v.as_text(value, label)
    try:
        return re.compile(text).pattern if text is not v.UNSET else text
    except re.error as error:
        raise ConfigError(f"{label} is no regular expression: {error}") from None


_EXTRA_ARGS = Leaf(v.TEXTS, (), "arguments appended to the command line, before a trailing prompt operand", added=True)

_CODEX = Block(
    {
        "command": Leaf(v.TEXT, "codex", "program to run"),
        "profileName": Leaf(v.TEXT, None, "profile of the codex CLI"),
        "config": Leaf(v.ONE_OR_LIST, (), "`-c key=value` settings"),
        "search": Leaf(v.BOOL, False, "web search"),
        "images": Leaf(v.ONE_OR_LIST, (), "image files to attach"),
        "addDirs": Leaf(v.ONE_OR_LIST, (), "further directories the agent may use"),
        "json": Leaf(v.BOOL, False, "event lines as output"),
        "ephemeral": Leaf(v.BOOL, False, "keep no session"),
        "sandbox": Leaf(v.choice(*SANDBOXES), "danger-full-access", "sandbox mode"),
        "extraArgs": _EXTRA_ARGS,
    },
    "Codex CLI",
)

_CLAUDE = Block(
    {
        "command": Leaf(v.TEXT, "claude", "program to run"),
        "model": Leaf(v.TEXT, None, "model when neither profile nor agent names one"),
        "agent": Leaf(v.TEXT, None, "agent of the claude CLI"),
        "appendSystemPromptMode": Leaf(
            v.choice("append", "replace"), "append", "append to the system prompt or replace it"
        ),
        "permissionMode": Leaf(v.TEXT, "bypassPermissions", "permission mode"),
        "permissionPromptTool": Leaf(v.TEXT, None, "tool that answers permission prompts"),
        "effort": Leaf(v.choice(*EFFORTS), None, "reasoning effort"),
        "maxTurns": Leaf(v.POSITIVE, None, "hard limit of turns"),
        "mcpConfig": Leaf(v.ONE_OR_LIST, (), "MCP configuration files"),
        "strictMcpConfig": Leaf(v.BOOL, False, "use only the MCP servers given here"),
        "settings": Leaf(v.TEXT, None, "settings file"),
        "settingsJson": Leaf(v.OBJECT, None, "settings merged over the file"),
        "hooksJson": Leaf(v.OBJECT, None, "hooks merged into the settings"),
        "allowedHttpHookUrls": Leaf(v.ONE_OR_LIST, (), "URLs that hooks may call"),
        "outputFormat": Leaf(v.choice("text", "json", "stream-json"), "text", "output format"),
        "allowedTools": Leaf(v.TEXTS, (), "tools allowed without asking"),
        "disallowedTools": Leaf(v.TEXTS, (), "tools denied"),
        "extraArgs": _EXTRA_ARGS,
        "allowRootBypass": Leaf(v.BOOL, False, "let root bypass permissions (sets IS_SANDBOX=1)", added=True),
    },
    "Claude Code",
)

_OPENCODE = Block(
    {
        "command": Leaf(v.TEXT, "opencode", "program to run"),
        "model": Leaf(v.TEXT, None, "model when neither profile nor agent names one"),
        "agent": Leaf(v.TEXT, None, "agent name; default `wave-<agentId>`"),
        "attach": Leaf(v.URL, None, "URL of a running server"),
        "files": Leaf(v.ONE_OR_LIST, (), "files to attach"),
        "format": Leaf(v.choice("default", "json"), "default", "output format"),
        "steps": Leaf(v.POSITIVE, None, "hard limit of steps"),
        "instructions": Leaf(v.TEXTS, (), "instruction files or texts"),
        "permission": Leaf(v.OBJECT, None, "permissions of the agent"),
        "configJson": Leaf(v.OBJECT, None, "further configuration of the CLI"),
        "extraArgs": _EXTRA_ARGS,
        "autoApprove": Leaf(v.BOOL, False, "approve tool calls by itself (`--auto`)", added=True),
    },
    "OpenCode",
)

_COMMAND = Block(
    {
        "argv": Leaf(_template(), (), "program and arguments with placeholders; required to use this executor"),
        "promptTransport": Leaf(v.choice(*PROMPT_TRANSPORTS), "stdin", "how the prompt travels"),
        "env": Leaf(v.ENV_MAP, {}, "environment variables, placeholders allowed"),
        "outputFormat": Leaf(v.choice("text", "jsonl"), "text", "plain text or event lines"),
        "successExitCodes": Leaf(v.INTEGERS, (0,), "exit codes that count as success"),
        "rateLimitRetries": Leaf(v.BOOL, True, "retry when the output speaks of a rate limit"),
        "rateLimitPatterns": Leaf(v.TEXTS, (), "further texts that mean a rate limit"),
        "workdir": Leaf(v.PATH, ".", "working directory"),
        "model": Leaf(v.TEXT, None, "value of {model} when neither profile nor agent names one"),
        "systemPromptFile": Leaf(v.BOOL, True, "write harness and skill text to command-system-prompt.txt"),
        "session": Block(
            {
                "argv": Leaf(_template("sessionId"), None, "argv of a first try that chooses a session"),
                "resumeArgv": Leaf(_template("sessionId"), None, "argv that resumes {sessionId}"),
                "idPattern": Leaf(v.Kind("regular expression", _id_pattern), None, "finds the session id in the log"),
            },
            "how a conversation is continued after a kill",
            optional=True,
        ),
    },
    "any other agent command",
    added=True,
)

_ENV = Block(
    {
        "mode": Leaf(v.choice("inherit", "allowlist"), "inherit", "start from everything or from an allowlist"),
        "pass": Leaf(v.ENV_NAMES, (), "variables passed although they are secret or not on the allowlist", union=True),
        "strip": Leaf(v.ENV_NAMES, (), "variables taken away", union=True),
        "set": Leaf(v.ENV_MAP, {}, "variables set"),
    },
    "environment of agents",
    added=True,
)

_PROFILE = Block(
    {
        "id": Leaf(v.MODE, None, "executor mode"),
        "model": Leaf(v.TEXT, None, "model"),
        "fallbacks": Leaf(v.MODES, (), "modes to fall back to"),
        "tags": Leaf(v.TEXTS, (), "free labels"),
        "budget": Block(
            {
                "turns": Leaf(v.POSITIVE, None, "advisory number of turns"),
                "minutes": Leaf(v.POSITIVE, None, "time limit of an attempt"),
            },
            "limits of one attempt",
            optional=True,
        ),
        "retryPolicy": Leaf(v.choice("sticky", "fallback-allowed"), None, "whether a retry may change the executor"),
        "allowFallbackOnRetry": Leaf(v.BOOL, None, "the same as a switch; wins over retryPolicy"),
        "codex": inheritable(_CODEX),
        "claude": inheritable(_CLAUDE, without=("model", "appendSystemPromptMode")),
        "opencode": inheritable(_OPENCODE, without=("model",)),
        "command": inheritable(_COMMAND, sparse=True),
        "env": inheritable(_ENV, sparse=True),
    },
    "a named executor setup that agents select",
)

EXECUTORS = Block(
    {
        "default": Leaf(v.MODE, "codex", "executor of agents that name none"),
        "profiles": Keyed(_PROFILE, word_key, "named executor setups", merge="by-key", key_name="<name>"),
        "codex": _CODEX,
        "claude": _CLAUDE,
        "opencode": _OPENCODE,
        "command": _COMMAND,
        "env": _ENV,
        "resumeSessions": Leaf(v.BOOL, True, "continue the conversation of an agent that was killed", added=True),
        "resumeLimit": Leaf(v.COUNT, 3, "resumes of one session without new output", added=True),
    },
    "which programs run agents, and how",
)
