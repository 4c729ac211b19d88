"""Codex CLI. Checked against codex-cli 0.169.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: SUP 17.3, 17.9, 17.11.
"""

from __future__ import annotations

from .launch_spec import (
    SESSION_ID,
    AgentSession,
    LaunchContext,
    LaunchSpec,
    command_words,
    invocation_line,
    limits,
    skill_bundles,
    unique,
)

# With `json` the first event names the thread; without, the banner does, and it comes before the echo of the prompt.
_SESSION_SHOWN = r'(?m)^(?:\{"type":"thread\.started","thread_id":"|session id: )([0-9a-f-]{36})'

# Also a session of which the kill left an empty or torn file.
_SESSION_LOST = r"(?im)^Error: thread/resume\b|^[^\n\"]{0,80}\bno (?:rollout|session|conversation|thread)[^\n]* found"


def build(context: LaunchContext) -> LaunchSpec:
    """How to start codex for this agent."""
    codex = context.executor["codex"]
    words = command_words(codex["command"], context.root)
    before = [*words, *(["--search"] if codex.get("search") else []), "exec"]
    flags = _flags(context)
    extra = list(codex.get("extraArgs") or ())
    argv = [*before, *flags, *extra, "-"]
    resume = [*before, *flags, *extra, "resume", SESSION_ID, "-"]
    return LaunchSpec(
        executor_id="codex",
        command=codex["command"],
        argv=tuple(argv),
        stdin_path=context.prompt_path,
        cwd=context.root,
        env={},
        output_format="jsonl" if codex.get("json") else "text",
        invocation_lines=(invocation_line(argv, context.prompt_path, context.log_path),),
        limits=limits(context, None, "not-set-by-wave", [_turn_note(codex.get("profileName"))]),
        overlay={},
        session=_session(resume) if context.resume_sessions and not codex.get("ephemeral") else None,
    )


def _session(resume: list[str]) -> AgentSession:
    kept = f"sessions/*/*/*/rollout-*-{SESSION_ID}.jsonl"
    places = (("CODEX_HOME", kept), ("HOME", f".codex/{kept}"))
    return AgentSession("event", tuple(resume), _SESSION_SHOWN, _SESSION_LOST, places)


def _flags(context: LaunchContext) -> list[str]:
    codex = context.executor["codex"]
    sandbox = codex.get("sandbox") or "danger-full-access"
    flags = (
        ["--dangerously-bypass-approvals-and-sandbox"] if sandbox == "danger-full-access" else ["--sandbox", sandbox]
    )
    flags.append("--skip-git-repo-check")
    if context.executor.get("model"):
        flags += ["--model", context.executor["model"]]
    if codex.get("profileName"):
        flags += ["--profile", codex["profileName"]]
    for setting in codex.get("config") or ():
        flags += ["-c", setting]
    # `--image` takes several values: in the separate form it would swallow the `-` that stands for the prompt.
    flags += [f"--image={image}" for image in codex.get("images") or ()]
    bundles = [bundle["bundlePath"] for bundle in skill_bundles(context) if bundle.get("bundlePath")]
    for directory in unique([*(codex.get("addDirs") or ()), *bundles]):
        flags += ["--add-dir", directory]
    flags += ["--json"] if codex.get("json") else []
    flags += ["--ephemeral"] if codex.get("ephemeral") else []
    return flags


def _turn_note(profile: object) -> str:
    where = f"codex profile {profile} or the upstream service" if profile else "a codex profile or the upstream service"
    return f"Wave sets no Codex turn limit; {where} may set one."
