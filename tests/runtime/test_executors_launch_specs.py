"""What is emitted for each agent CLI. Spec: SUP 17, test cases 47-52."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from wave_lib.base.errors import ConfigError
from wave_lib.runtime.executors import build_launch_spec, write_overlay
from wave_lib.runtime.executors.launch_spec import LaunchContext, LaunchSpec
from wave_lib.state.structured_signal_parser import parse_marker_line

CODEX: dict[str, Any] = {"command": "codex", "sandbox": "danger-full-access"}
CLAUDE: dict[str, Any] = {"command": "claude", "permissionMode": "bypassPermissions", "outputFormat": "text"}
OPENCODE: dict[str, Any] = {"command": "opencode", "format": "default"}
SKILLS = {
    "promptText": "Active skill packs for this run:\n- one: first",
    "bundles": [
        {"bundlePath": "skills/one", "manifestPath": "skills/one/skill.json", "skillPath": "skills/one/SKILL.md",
         "adapterPath": None, "referencePaths": []}
    ],
}  # fmt: skip


def context(root: Path, executor: dict[str, Any], **changes: Any) -> LaunchContext:
    prompt = root / "prompt.md"
    if not prompt.exists():
        prompt.write_text("Do it.\n")
    values: dict[str, Any] = {
        "root": str(root), "project": "default", "lane": "main", "wave": 0, "attempt": 1, "run_id": "",
        "agent_id": "A1",
        "orchestrator_id": "orch", "agent_title": "Core", "agent_slug": "0-a1", "executor": executor,
        "prompt_path": str(prompt), "log_path": str(root / "a1.log"), "overlay_dir": str(root / "overlay"),
    }  # fmt: skip
    return LaunchContext(**{**values, **changes})


def codex(root: Path, model: str | None = None, **block: Any) -> LaunchSpec:
    return build_launch_spec(context(root, {"id": "codex", "model": model, "codex": {**CODEX, **block}}))


def claude(root: Path, budget: Any = None, skills: Any = None, **block: Any) -> LaunchSpec:
    executor = {"id": "claude", "model": None, "budget": budget, "claude": {**CLAUDE, **block}}
    return build_launch_spec(context(root, executor, skills=skills))


def opencode(root: Path, skills: Any = None, model: str | None = None, **block: Any) -> LaunchSpec:
    executor = {"id": "opencode", "model": model, "opencode": {**OPENCODE, **block}}
    return build_launch_spec(context(root, executor, skills=skills))


def command(root: Path, model: str | None = None, budget: Any = None, **block: Any) -> LaunchSpec:
    return build_launch_spec(context(root, {"id": "command", "model": model, "budget": budget, "command": block}))


def test_codex_with_everything(tmp_path: Path) -> None:
    spec = codex(tmp_path, search=True, profileName="r", config=["a=b"], images=["a.png"], addDirs=["../s"], json=True,
                 ephemeral=True)  # fmt: skip
    assert " ".join(spec.argv) == (
        "codex --search exec --dangerously-bypass-approvals-and-sandbox --skip-git-repo-check --profile r -c a=b "
        "--image=a.png --add-dir ../s --json --ephemeral -"
    )
    assert spec.session is None and spec.output_format == "jsonl"
    assert spec.limits["turnLimitSource"] == "not-set-by-wave"


def test_codex_in_a_sandbox_never_bypasses_it(tmp_path: Path) -> None:
    spec = codex(tmp_path, "gpt", sandbox="read-only", command="npx codex")
    assert " ".join(spec.argv) == "npx codex exec --sandbox read-only --skip-git-repo-check --model gpt -"
    assert spec.session is not None
    assert " ".join(spec.session.resume_argv).endswith("--model gpt resume {sessionId} -")


def test_codex_gets_the_skill_folders(tmp_path: Path) -> None:
    executor = {"id": "codex", "codex": {**CODEX, "addDirs": ["skills/one", "x"]}}
    spec = build_launch_spec(context(tmp_path, executor, skills=SKILLS))
    assert [spec.argv[at + 1] for at, word in enumerate(spec.argv) if word == "--add-dir"] == ["skills/one", "x"]


def test_claude_defaults(tmp_path: Path) -> None:
    spec = claude(tmp_path, skills=SKILLS)
    prompt_file = f"{tmp_path}/overlay/claude-system-prompt.txt"
    assert list(spec.argv) == [
        "claude", "-p", "--session-id", "{sessionId}", "--output-format", "text", "--permission-mode",
        "bypassPermissions", "--append-system-prompt-file", prompt_file,
    ]  # fmt: skip
    assert spec.session is not None and spec.session.resume_argv[:4] == ("claude", "-p", "--resume", "{sessionId}")
    assert spec.stdin_path == str(tmp_path / "prompt.md") and spec.env == {}
    text = spec.overlay["claude-system-prompt.txt"]
    assert "Wave harness" in text and text.endswith("\n\nActive skill packs for this run:\n- one: first\n")
    assert all(parse_marker_line(line) is None for line in text.splitlines())
    assert "--settings" not in spec.argv and list(spec.overlay) == ["claude-system-prompt.txt"]


def test_claude_merges_settings_into_an_overlay(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(
        '{"permissions": {"deny": ["Bash"]}, "hooks": {"Stop": [1]}, "allowedHttpHookUrls": ["old"]}'
    )
    spec = claude(
        tmp_path,
        settings="base.json",
        settingsJson={"permissions": {"allow": ["Read"]}},
        hooksJson={"Start": [2]},
        allowedHttpHookUrls=["http://x"],
    )
    assert json.loads(spec.overlay["claude-settings.json"]) == {
        "permissions": {"deny": ["Bash"], "allow": ["Read"]},
        "hooks": {"Stop": [1], "Start": [2]},
        "allowedHttpHookUrls": ["http://x"],
    }
    assert spec.argv[spec.argv.index("--settings") + 1] == f"{tmp_path}/overlay/claude-settings.json"
    plain = claude(tmp_path, settings="base.json")
    assert plain.argv[plain.argv.index("--settings") + 1] == "base.json" and "claude-settings.json" not in plain.overlay


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "Claude settings file not found: s.json"), ("{", "Invalid Claude settings JSON at s.json"),
     ("[]", "Claude settings must be a JSON object: s.json")],
)  # fmt: skip
def test_claude_refuses_unusable_settings(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        claude(tmp_path, settings="s.json", settingsJson={"a": 1})


def test_claude_flags(tmp_path: Path) -> None:
    spec = claude(
        tmp_path, outputFormat="stream-json", model="m", maxTurns=5, effort="high", mcpConfig=["a", "b"],
        allowedTools=["Read"], disallowedTools=["Bash(git *)"], strictMcpConfig=True, extraArgs=["--bare"],
        appendSystemPromptMode="replace", allowRootBypass=True,
    )  # fmt: skip
    line = " ".join(spec.argv)
    assert "--output-format stream-json --verbose --model m " in line and "--max-turns 5 --mcp-config a" in line
    assert "--allowedTools Read --disallowedTools Bash(git *) --strict-mcp-config --bare --system-prompt-file" in line
    assert spec.env == {"IS_SANDBOX": "1"} and spec.limits["knownTurnLimit"] == 5
    advisory = claude(tmp_path, budget={"turns": 8, "minutes": 30})
    assert "--max-turns" not in advisory.argv and "advisory" in advisory.limits["notes"][0]
    assert advisory.limits["attemptTimeoutMinutes"] == 30 and advisory.limits["turnLimitSource"] is None


def test_a_huge_prompt_stays_out_of_the_argv(tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("x" * 300_000)
    for spec in (claude(tmp_path), codex(tmp_path), opencode(tmp_path)):
        assert sum(map(len, spec.argv)) < 2000 and spec.stdin_path is not None


def test_opencode_overlay(tmp_path: Path) -> None:
    (tmp_path / "skills/one").mkdir(parents=True)
    for name in ("skill.json", "SKILL.md"):
        (tmp_path / "skills/one" / name).write_text("{}")
    spec = opencode(
        tmp_path, SKILLS, "m/x", agent="Wave Open!", steps=5, permission={"bash": "ask"}, instructions=["two"],
        configJson={"provider": {"p": 1}, "instructions": ["one"], "agent": {"other": {}, "wave-open": {"color": "x"}}},
        autoApprove=True, extraArgs=["--pure"],
    )  # fmt: skip
    assert list(spec.argv) == [
        "opencode", "run", "--agent", "wave-open", "--model", "m/x", "--format", "default", "--file",
        "skills/one/skill.json", "--file", "skills/one/SKILL.md", "--auto", "--pure", "--title", "wave-A1",
    ]  # fmt: skip
    config = json.loads(spec.overlay["opencode.json"])
    assert config["provider"] == {"p": 1} and config["$schema"] == "https://opencode.ai/config.json"
    assert config["instructions"] == ["one", "two", SKILLS["promptText"]] and config["agent"]["other"] == {}
    assert config["agent"]["wave-open"] == {
        "color": "x", "description": "Wave agent A1: Core", "mode": "primary",
        "prompt": "{file:./opencode-agent-prompt.txt}", "model": "m/x", "steps": 5, "permission": {"bash": "ask"},
    }  # fmt: skip
    assert spec.env == {"OPENCODE_CONFIG": f"{tmp_path}/overlay/opencode.json"}
    assert spec.limits["turnLimitSource"] == "opencode.steps"


def test_opencode_problems(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be an http or https URL"):
        opencode(tmp_path, attach="/tmp/socket")
    assert opencode(tmp_path, files=["nope.md"]).problems[0].startswith("opencode file not found: nope.md")
    assert "overlay does not apply" in opencode(tmp_path, attach="http://localhost:1").warnings[0]
    assert "`plugin`" in opencode(tmp_path, configJson={"plugins": []}).warnings[0]


def test_command_template(tmp_path: Path) -> None:
    template = ["my-agent", ["--model", "{model}"], "--in={wave}/{agentId}", "{{x}}", ["--turns", "{budgetTurns}"]]
    assert command(tmp_path, argv=template).argv == ("my-agent", "--in=0/A1", "{x}")
    assert command(tmp_path, "m", {"turns": 3}, argv=template).argv[1:3] == ("--model", "m")
    spec = command(tmp_path, argv=["a"], env={"LOG": "{logFile}"}, successExitCodes=[0, 2], outputFormat="jsonl")
    assert spec.env == {"LOG": f"{tmp_path}/a1.log"} and spec.success_exit_codes == (0, 2)
    assert "command-system-prompt.txt" in spec.overlay
    with pytest.raises(ConfigError, match="unknown placeholder"):
        command(tmp_path, argv=["a", "{nope}"])


def test_command_values_are_never_split_or_read_again(tmp_path: Path) -> None:
    (tmp_path / "prompt.md").write_text("a b {model} $(x)")
    spec = command(tmp_path, "m", argv=["a", "{prompt}"], promptTransport="argument")
    assert spec.argv == ("a", "a b {model} $(x)") and spec.stdin_path is None
    (tmp_path / "prompt.md").write_text("x" * 121 * 1024)
    with pytest.raises(ConfigError, match="120 KiB"):
        command(tmp_path, argv=["a", "{prompt}"], promptTransport="argument")


def test_command_transport_and_workdir(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="promptFile"):
        command(tmp_path, argv=["a"], promptTransport="file")
    assert command(tmp_path, argv=["a", "{promptFile}"], promptTransport="file").stdin_path is None
    (tmp_path / "sub").mkdir()
    assert command(tmp_path, argv=["a"], workdir="sub").cwd == os.path.realpath(tmp_path / "sub")
    (tmp_path / "out").symlink_to("/")
    for workdir in ("..", "out"):
        with pytest.raises(ConfigError, match="leaves the workspace"):
            command(tmp_path, argv=["a"], workdir=workdir)


def test_command_session(tmp_path: Path) -> None:
    resume = ["a", "-r", "{sessionId}"]
    spec = command(tmp_path, argv=["a"], session={"argv": ["a", "--id", "{sessionId}"], "resumeArgv": resume})
    assert spec.session is not None and spec.session.source == "chosen" and spec.argv == ("a", "--id", "{sessionId}")
    spec = command(tmp_path, argv=["a"], session={"resumeArgv": resume, "idPattern": "id=(.*)"})
    assert spec.session is not None and (spec.session.source, spec.session.id_pattern) == ("event", "id=(.*)")


def test_local_and_unknown(tmp_path: Path) -> None:
    spec = build_launch_spec(context(tmp_path, {"id": "local"}))
    assert spec.argv[-3:] == ("local", "--prompt-file", str(tmp_path / "prompt.md"))
    assert not spec.use_rate_limit_retries and spec.stdin_path is None
    with pytest.raises(ConfigError, match="unknown executor 'cobol'"):
        build_launch_spec(context(tmp_path, {"id": "cobol"}))


def test_overlay_files_of_another_runtime_go(tmp_path: Path) -> None:
    first = context(tmp_path, {"id": "opencode", "opencode": OPENCODE})
    write_overlay(first, build_launch_spec(first))
    (tmp_path / "overlay/skills.resolved.md").write_text("kept")
    second = context(tmp_path, {"id": "claude", "claude": CLAUDE})
    write_overlay(second, build_launch_spec(second))
    assert sorted(os.listdir(tmp_path / "overlay")) == ["claude-system-prompt.txt", "skills.resolved.md"]


def test_the_invocation_line_is_quoted_for_people(tmp_path: Path) -> None:
    line = codex(tmp_path, config=["a='b c'"]).invocation_lines[0]
    words = shlex.split(line)
    assert "a='b c'" in words and words[-5:] == ["<", f"{tmp_path}/prompt.md", ">>", f"{tmp_path}/a1.log", "2>&1"]
