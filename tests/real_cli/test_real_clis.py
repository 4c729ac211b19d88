"""The real agent CLIs against a scripted model: what Wave emits is accepted, markers arrive, sessions are resumed.

Opt-in: `WAVE_REAL_CLI=/path/to/bin` names a folder with `claude`, `codex` and `opencode` (npm packages
`@anthropic-ai/claude-code`, `@openai/codex`, `opencode-ai`). Nothing leaves the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_lab import Lab
from real_cli.clis import BIN, need, point_at
from real_cli.model_server import ModelServer

from wave_lib.runtime.executors import LaunchContext, LaunchSpec, build_launch_spec, write_overlay

pytestmark = pytest.mark.skipif(not BIN, reason="WAVE_REAL_CLI is not set")

MARKER = "[wave-proof] completion=contract durability=none proof=unit state=met detail=scripted"
BLOCKS: dict[str, dict[str, Any]] = {
    "codex": {"command": "codex", "sandbox": "danger-full-access"},
    "claude": {"command": "claude", "permissionMode": "bypassPermissions", "allowRootBypass": True},
    "opencode": {"command": "opencode", "format": "json"},
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.clean_up()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A scripted model that all three CLIs are pointed at."""
    with ModelServer(f"Done.\n{MARKER}\n") as server:
        point_at(server, tmp_path / "home", monkeypatch)
        yield server


def spec_of(lab: Lab, executor: str, server: ModelServer, **block: Any) -> LaunchSpec:
    """The launch spec of the real executor module, its overlay written."""
    (lab.root / "prompt.md").write_text(
        f"Say that you are done. Print this line:\n{MARKER.replace('met', '<state>')}\n"
    )
    settings = {**BLOCKS[executor], **block}
    if executor == "opencode":
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{server.url}/v1", "apiKey": "none"},
            "models": {"scripted": {"name": "scripted"}},
        }
        settings.update(model="local/scripted", configJson={"provider": {"local": provider}})
    context = LaunchContext(
        root=str(lab.root), project="default", lane="main", wave=0, attempt=1, run_id="", orchestrator_id="orch",
        agent_id="A1", agent_title="Core", agent_slug="0-a1", executor={"id": executor, executor: settings},
        prompt_path=str(lab.root / "prompt.md"), log_path=str(lab.root / "logs/a1.log"),
        overlay_dir=str(lab.root / "overlay"),
    )  # fmt: skip
    spec = build_launch_spec(context)
    write_overlay(context, spec)
    return spec


@pytest.mark.parametrize(
    ("executor", "block"),
    [
        ("claude", {}),
        ("claude", {"outputFormat": "stream-json", "maxTurns": 5, "effort": "low", "settingsJson": {"env": {}}}),
        ("codex", {}),
        ("codex", {"json": True, "sandbox": "read-only", "search": True, "addDirs": ["."]}),
        ("opencode", {}),
    ],
)  # fmt: skip
def test_the_real_cli_prints_the_marker_and_ends(
    lab: Lab, server: ModelServer, executor: str, block: dict[str, Any]
) -> None:
    need(executor)
    status, record, result = lab.run(spec=spec_of(lab, executor, server, **block), timeout_seconds=120.0)
    log = (lab.root / "logs/a1.log").read_bytes()
    assert result.failures == [], log[-3000:].decode()
    own = log
    for start, end in reversed(status["ignoreRanges"]):
        own = own[:start] + own[end:]
    assert MARKER.encode() in own
    assert record["agentSession"]["id"], "the session can be resumed"
    assert server.asked


@pytest.mark.parametrize(("executor", "block"), [("claude", {}), ("codex", {"json": True}), ("opencode", {})])
def test_the_resume_call_is_accepted(lab: Lab, server: ModelServer, executor: str, block: dict[str, Any]) -> None:
    need(executor)
    spec = spec_of(lab, executor, server, **block)
    _, record, _ = lab.run(spec=spec, timeout_seconds=120.0)
    assert spec.session is not None
    argv = [word.replace("{sessionId}", record["agentSession"]["id"]) for word in spec.session.resume_argv]
    asked = len(server.asked)
    done = subprocess.run(
        argv,
        cwd=lab.root,
        env={**os.environ, **spec.env, "PWD": str(lab.root)},
        input=b"Go on.",
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert MARKER.encode() in done.stdout
    assert any("Say that you are done" in str(body) for _, body in server.asked[asked:]), "the conversation went on"


@pytest.mark.parametrize(("executor", "block"), [("claude", {}), ("codex", {}), ("opencode", {})])
def test_an_unknown_session_is_recognised(lab: Lab, server: ModelServer, executor: str, block: dict[str, Any]) -> None:
    need(executor)
    spec = spec_of(lab, executor, server, **block)
    assert spec.session is not None and spec.session.lost_pattern is not None
    unknown = "ses_0123456789abcdef0123456789" if executor == "opencode" else str(uuid.uuid4())
    argv = [word.replace("{sessionId}", unknown) for word in spec.session.resume_argv]
    done = subprocess.run(
        argv,
        cwd=lab.root,
        env={**os.environ, **spec.env, "PWD": str(lab.root)},
        input=b"Go on.",
        capture_output=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert re.search(spec.session.lost_pattern, (done.stdout + done.stderr).decode())


# Accepted by Claude Code although its help does not list them (SUP 17.9).
UNLISTED = {"--append-system-prompt-file", "--system-prompt-file", "--max-turns", "--permission-prompt-tool"}


@pytest.mark.parametrize(("executor", "help_words"), [("claude", []), ("codex", ["exec"]), ("opencode", ["run"])])
def test_every_default_flag_is_in_the_help(lab: Lab, server: ModelServer, executor: str, help_words: list[str]) -> None:
    need(executor)
    spec = spec_of(lab, executor, server)
    done = subprocess.run([executor, *help_words, "--help"], capture_output=True, timeout=60)
    text = (done.stdout + done.stderr).decode()
    flags = {word.partition("=")[0] for word in spec.argv if word.startswith("--")} - UNLISTED
    assert {flag for flag in flags if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text)} == set()
