"""Going on with the conversation of an agent CLI that was killed: whether it can be, and what the agent is told.

Holds:       nothing.
Writes:      the prompts of the resumed try, into the agent's overlay directory.
When killed: nothing is lost; the prompts are written again.

Spec: SUP 17.11.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.files import read_text, write_text
from . import agent_output
from .agent_environment import stripped_names
from .interrupted_calls import calls_in_flight

if TYPE_CHECKING:
    from .agent_sessions import AgentStart


def resumable_session(request: AgentStart, record: dict[str, Any]) -> dict[str, Any] | None:
    """The `agentSession` block of the next try, None when the session cannot go on.

    A session that printed nothing since its last resume is given up after `resume_limit` times.
    """
    plan, session = request.spec.session, record.get("agentSession") or {}
    if not request.resume_sessions or plan is None or not session.get("resumable"):
        return None
    log, offset = str(record.get("logPath")), int(record.get("logOffset") or 0)
    known = session.get("id")
    if known is None and plan.id_pattern:
        known = agent_output.session_id(log, offset, plan.id_pattern, record.get("promptPath"))
    if known is None or session.get("cwd") not in (None, request.spec.cwd):
        return None
    size = os.stat(log).st_size if os.path.exists(log) else 0
    silent = int(session.get("silentResumes") or 0) if size <= int(session.get("resumedAtSize") or 0) else 0
    if silent >= request.resume_limit:
        return None
    return {**session, "id": known, "silentResumes": silent + 1, "resumedAtSize": size}


def write_resume_prompts(request: AgentStart, record: dict[str, Any]) -> tuple[str, str]:
    """Write what the resumed agent is told, and what it is told if its CLI forgot the session; returns both paths."""
    known = _what_is_known(request, record)
    path = os.path.join(request.overlay_dir, "resume-prompt.md")
    again = os.path.join(request.overlay_dir, "start-again-prompt.md")
    write_text(path, resume_prompt(request, known))
    write_text(again, start_again_prompt(request, known))
    return path, again


def resume_prompt(request: AgentStart, known: list[str]) -> str:
    """Plain words: you were killed, what was under way is unknown, look before you repeat it."""
    lines = [
        "Your process was killed from outside in the middle of this task.",
        "This is the same conversation: go on.",
        "",
        *known,
        "Then finish the task and print the final marker lines that it asks for.",
        f"Should you not see the task above, read it in {request.prompt_path}",
    ]
    return "\n".join(lines) + "\n"


def start_again_prompt(request: AgentStart, known: list[str]) -> str:
    """The whole prompt, and that somebody has been at work on it before."""
    note = [
        "",
        "---",
        "",
        "An earlier try of this task was killed from outside, and its conversation is lost.",
        "Parts of the task may have been done already.",
        "",
        *known,
    ]
    return read_text(request.prompt_path).rstrip("\n") + "\n" + "\n".join(note) + "\n"


def _what_is_known(request: AgentStart, record: dict[str, Any]) -> list[str]:
    """Lines that both prompts share: the calls in flight and what git says of the owned paths."""
    calls = _calls_in_flight(request, record)
    if calls:
        lines = ["This was under way when it happened, and was killed as well:", ""]
        lines += [f"    {line}" for call in calls for line in call.splitlines()]
    else:
        lines = ["A command may have been under way when it happened, even one that no conversation shows."]
    lines += [
        "",
        "Whether it took effect is unknown. Look before you repeat it; do not assume that it failed or that it worked.",
        "",
    ]
    changes = owned_changes(request.root, request.owned_paths)
    if changes is not None:
        lines += ["`git status --short` of the paths you own says now:", "", *(changes or ["(no changes)"]), ""]
    return lines


def _calls_in_flight(request: AgentStart, record: dict[str, Any]) -> list[str]:
    places = request.spec.session.transcripts if request.spec.session else ()
    known = str((record.get("agentSession") or {}).get("id") or "")
    return calls_in_flight(str(record.get("logPath")), places if known else (), known, _environment(request))


def _environment(request: AgentStart) -> dict[str, str]:
    """What the executor sees of the variables that say where its CLI keeps its things. Spec: SUP 16.3."""
    strip = set(stripped_names(os.environ, request.environment))
    env = {name: value for name, value in os.environ.items() if name not in strip}
    env.update(request.environment.get("set") or {})
    env.update(request.spec.env)
    env.setdefault("HOME", os.path.expanduser("~"))
    return env


def owned_changes(root: str, owned_paths: tuple[str, ...]) -> list[str] | None:
    """Lines of `git status --short` for the owned paths, indented; None where git does not answer."""
    import subprocess

    argv = ["git", "status", "--short", "--", *(owned_paths or (".",))]
    try:
        done = subprocess.run(argv, cwd=root, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    if done.returncode != 0:
        return None
    return [f"    {line}" for line in done.stdout.decode("utf-8", "replace").splitlines()[:200]]
