"""Executor preflight: every agent of a selected wave needs a command that exists, before anything is started.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: LAUNCH 3.7; SUP 17.4, 17.9, 17.10.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..definition.executor_resolution import validate_runtime_mix
from .executors.launch_spec import command_words

if TYPE_CHECKING:
    from ..definition.lane_profile import LaneProfile
    from ..definition.wave_types import Agent, Wave

FALLBACK_REASON = "preflight:command-unavailable"


class Preflight(NamedTuple):
    """The wave as it can be launched (some agents perhaps on a fallback), whose executor was switched, and warnings."""

    wave: Wave
    switched: tuple[str, ...]
    warnings: tuple[str, ...]


def executor_command(executor_id: str, resolved: dict[str, Any], profile: LaneProfile) -> str | None:
    """The program that an executor would run for this agent; None for the built-in one."""
    if executor_id == "local":
        return None
    block = resolved.get(executor_id) or profile.executors.get(executor_id) or {}
    if executor_id == "command":
        argv = block.get("argv") or (profile.executors.get("command") or {}).get("argv")
        return str(argv[0]) if argv else ""
    return str(block.get("command") or executor_id)


def command_available(command: str | None, root: str, search_path: str | None = None) -> bool:
    """Whether the program is an executable path (from the workspace root) or on PATH. None is the built-in executor."""
    if command is None:
        return True
    program = command_words(command, root)[0]
    if not program:
        return False
    return _program_path(program, root, search_path) is not None


def _program_path(program: str, root: str, search_path: str | None = None) -> str | None:
    """The executable file that a command's first word names, or None."""
    if "/" in program:
        path = os.path.join(root, program)
        return path if os.path.isfile(path) and os.access(path, os.X_OK) else None
    import shutil

    return shutil.which(program, path=os.environ.get("PATH") if search_path is None else search_path)


def is_wrapper_script(command: str, root: str) -> bool:
    """Whether a command is somebody's own script around a vendor CLI: it may do there what Wave cannot know of."""
    path = _program_path(command_words(command, root)[0], root)
    if path is None or "claude-code" in os.path.realpath(path):
        return False
    try:
        with open(path, "rb") as handle:
            return handle.read(2) == b"#!"
    except OSError:
        return False


def fallback_chain(resolved: dict[str, Any]) -> list[str]:
    """Executors an agent may move to; empty for a sticky one. Spec: LAUNCH 11.5."""
    sticky = resolved.get("retryPolicy") == "sticky" or resolved.get("allowFallbackOnRetry") is False
    return [] if sticky else list(resolved.get("fallbacks") or ())


def with_fallback(agent: Agent, executor_id: str, profile: LaneProfile, attempt: int, reason: str) -> Agent:
    """The agent moved to another executor; its skills have to be resolved again. Spec: LAUNCH 11.5, SUP 17.10."""
    old = agent.executor_resolved or {}
    block = old.get(executor_id) or profile.executors.get(executor_id) or {}
    new = {
        **old,
        "id": executor_id,
        "model": block.get("model") if executor_id in ("claude", "opencode", "command") else None,
        "selectedBy": "retry-fallback",
        "fallbackUsed": True,
        "fallbackReason": reason,
        "executorHistory": [
            *(old.get("executorHistory") or ()),
            {"attempt": attempt, "executorId": executor_id, "reason": reason},
        ],
    }
    if executor_id == "command" and "command" not in new:
        new["command"] = dict(profile.executors.get("command") or {})
    return agent._replace(executor_resolved=new)


def preflight_wave(
    wave: Wave,
    profile: LaneProfile,
    root: str,
    *,
    available: Callable[[str | None], bool] | None = None,
    user_id: int | None = None,
) -> Preflight:
    """Check one wave and move agents without a command to a fallback that has one and keeps the runtime mix.

    Raises WaveError for an exceeded mix, an agent without any available command, or Claude's permission bypass as root.
    """
    is_there = available or (lambda command: command_available(command, root))
    _check_mix(wave, profile)
    warnings: list[str] = []
    switched: list[str] = []
    for agent in wave.agents:
        resolved = agent.executor_resolved or {}
        if not is_there(executor_command(resolved["id"], resolved, profile)):
            wave = _switched(wave, agent, profile, root, is_there)
            switched.append(agent.agent_id)
        moved = wave.agent(agent.agent_id)
        assert moved is not None
        warnings += _agent_checks(moved, root, os.geteuid() if user_id is None else user_id)
    return Preflight(wave, tuple(switched), tuple(dict.fromkeys(warnings)))


def _check_mix(wave: Wave, profile: LaneProfile) -> None:
    mix = validate_runtime_mix(wave, profile)
    if not mix.ok:
        over = [
            f"{mode}={mix.counts[mode]} exceeds target {most}"
            for mode, most in mix.targets.items()
            if mix.counts.get(mode, 0) > most
        ]
        raise WaveError(
            f"Wave {wave.wave} exceeds lane runtime mix targets ({'; '.join(over)})",
            where=wave.file,
            remedy="choose other executors, or raise runtimePolicy.runtimeMixTargets",
        )


def _switched(
    wave: Wave, agent: Agent, profile: LaneProfile, root: str, is_there: Callable[[str | None], bool]
) -> Wave:
    resolved = agent.executor_resolved or {}
    chain = fallback_chain(resolved)
    for candidate in chain:
        if candidate == resolved["id"] or not is_there(executor_command(candidate, resolved, profile)):
            continue
        moved = with_fallback(agent, candidate, profile, 0, FALLBACK_REASON)
        changed = wave._replace(agents=tuple(moved if each is agent else each for each in wave.agents))
        if validate_runtime_mix(changed, profile).ok:
            return changed
    ids = list(dict.fromkeys([resolved["id"], *chain]))
    missing = dict.fromkeys(_what_is_missing(executor_command(each, resolved, profile), root, is_there) for each in ids)
    raise WaveError(
        f"Agent {agent.agent_id} has no available executor command in its configured chain ({' -> '.join(ids)}): "
        + ", ".join(filter(None, missing)),
        where=wave.file,
        remedy="install one of them, or name another program in wave.config.json (executors.<id>.command, "
        "executors.command.argv)",
    )


def _what_is_missing(command: str | None, root: str, is_there: Callable[[str | None], bool]) -> str:
    """Why a program cannot be used, in a few words; empty when it can, and only the runtime mix forbids it."""
    if is_there(command) or command is None:
        return ""
    program = command_words(command, root)[0]
    if not program:
        return "executors.command.argv is empty"
    if "/" not in program:
        return f"{program} is not on PATH"
    path = os.path.join(root, program)
    if os.path.isdir(path):
        return f"{program} is a folder"
    return f"{program} is not executable" if os.path.exists(path) else f"{program} does not exist"


def _agent_checks(agent: Agent, root: str, user_id: int) -> list[str]:
    """Failures and warnings that need no program to be run. Spec: SUP 17.4, 17.9.

    Claude refuses its permission bypass as root; a wrapper script may drop root first, so there it is a warning.
    """
    resolved = agent.executor_resolved or {}
    if resolved["id"] == "claude":
        claude = resolved["claude"]
        bypass = claude.get("permissionMode", "bypassPermissions") == "bypassPermissions"
        if bypass and user_id == 0 and not claude.get("allowRootBypass") and os.environ.get("IS_SANDBOX") != "1":
            if is_wrapper_script(claude.get("command") or "claude", root):
                return [f"Agent {agent.agent_id}: Claude itself refuses permissionMode bypassPermissions as root"]
            raise WaveError(
                f"Agent {agent.agent_id}: Claude refuses permissionMode bypassPermissions as root",
                remedy="set executors.claude.allowRootBypass true in a sandbox, or another permissionMode",
                key="claude-bypass-as-root",
            )
    if resolved["id"] == "codex":
        name = resolved["codex"].get("profileName")
        if name and not _codex_profile_exists(name):
            return [f"codex profile {name} is not defined in CODEX_HOME; codex will ignore it"]
    return []


def _codex_profile_exists(name: str) -> bool:
    home = os.environ.get("CODEX_HOME") or os.path.join(os.path.expanduser("~"), ".codex")
    if os.path.exists(os.path.join(home, f"{name}.config.toml")):
        return True
    try:
        with open(os.path.join(home, "config.toml"), encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return False
    return any(f"[profiles.{form}]" in text for form in (name, f'"{name}"'))
