"""Layering of executor settings and the runtime mix. Spec: CFG 10, test cases 43-45; SUP 17.2, 17.8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wave_lab import Lab, agent, wave

from wave_lib.base.errors import WaveError
from wave_lib.definition.executor_resolution import (
    apply_executor_selections,
    resolve_agent_executor,
    validate_runtime_mix,
)

KEYS = [
    "id",
    "initialExecutorId",
    "model",
    "role",
    "profile",
    "selectedBy",
    "fallbacks",
    "tags",
    "retryPolicy",
    "allowFallbackOnRetry",
    "budget",
    "fallbackUsed",
    "fallbackReason",
    "executorHistory",
    "codex",
    "claude",
    "opencode",
]


def resolve(
    root: Path, lines: str = "", mode: str | None = None, sandbox: str | None = None, **config: Any
) -> dict[str, Any]:
    lab = Lab(root, **config)
    parsed = lab.parse(wave(agent(executor=lines) if lines else agent()))
    return resolve_agent_executor(parsed.agents[1], lab.paths.profile, parsed, mode, sandbox)


@pytest.mark.parametrize(
    ("lines", "mode", "policy", "expected"),
    [
        ("- id: local\n- profile: deep", "opencode", {}, ("local", "agent-id")),
        ("- profile: deep", "opencode", {}, ("claude", "agent-profile")),
        ("", "opencode", {"implementation": "local"}, ("local", "lane-role-default")),
        ("", "opencode", {}, ("opencode", "cli-default")),
        ("", None, {}, ("codex", "lane-default")),
    ],
)
def test_who_selects(tmp_path: Path, lines: str, mode: str, policy: dict[str, str], expected: tuple[str, str]) -> None:
    config = {"executors": {"profiles": {"deep": {"id": "claude"}}}, "runtimePolicy": {"defaultExecutorByRole": policy}}
    resolved = resolve(tmp_path, lines, mode, **config)
    assert (resolved["id"], resolved["selectedBy"]) == expected
    assert list(resolved) == KEYS


def test_layers_add_lists_and_replace_the_rest(tmp_path: Path) -> None:
    executors = {
        "codex": {"config": ["a"], "search": True, "sandbox": "workspace-write"},
        "claude": {"model": "lane-model", "allowedTools": ["Read"], "settingsJson": {"x": 1, "y": 2}},
        "profiles": {"deep": {"model": "deep-model", "tags": ["t"], "codex": {"config": ["b", "a"], "json": True}}},
    }
    lines = '- profile: deep\n- tags: t, u\n- codex.config: c\n- codex.search: no\n- claude.settings_json: {"z": 3}'
    resolved = resolve(tmp_path, lines, executors=executors)
    codex = resolved["codex"]
    assert (codex["config"], codex["search"], codex["json"]) == (["a", "b", "c"], False, True)
    assert codex["sandbox"] == "workspace-write" and list(codex)[-1] == "profileName"
    assert (resolved["model"], resolved["tags"]) == ("deep-model", ["t", "u"])
    assert resolved["claude"]["model"] == "lane-model" and resolved["claude"]["settingsJson"] == {"z": 3}
    assert resolved["claude"]["allowedTools"] == ["Read"]
    assert resolve(tmp_path, "- id: claude", executors=executors)["model"] == "lane-model"


def test_sandbox_and_limits(tmp_path: Path) -> None:
    executors = {"codex": {"sandbox": "workspace-write"}}
    assert resolve(tmp_path, executors=executors)["codex"]["sandbox"] == "workspace-write"
    assert resolve(tmp_path, sandbox="read-only", executors=executors)["codex"]["sandbox"] == "read-only"
    claude = resolve(tmp_path, "- id: claude\n- budget.turns: 6", sandbox="read-only", executors=executors)
    assert claude["codex"]["sandbox"] == "workspace-write"
    assert claude["budget"] == {"turns": 6, "minutes": None}
    assert (claude["claude"]["maxTurns"], claude["claude"]["maxTurnsSource"]) == (None, None)
    limited = resolve(tmp_path, "- id: claude\n- claude.max_turns: 4")["claude"]
    assert (limited["maxTurns"], limited["maxTurnsSource"]) == (4, "claude.maxTurns")


def test_proof_centric_work_stays_with_its_executor(tmp_path: Path) -> None:
    lab = Lab(tmp_path, runtimePolicy={"fallbackExecutorOrder": ["codex", "claude"]})
    proof = agent(proof_artifacts="- src/a.py")
    parsed = lab.parse(
        wave(proof, agent("A2", owns=("b",)), agent("A3", owns=("c",), executor="- retry-policy: sticky"))
    )
    found = [resolve_agent_executor(item, lab.paths.profile, parsed) for item in parsed.agents[1:]]
    assert [(item["retryPolicy"], item["allowFallbackOnRetry"], item["fallbacks"]) for item in found] == [
        ("sticky", False, []),
        ("fallback-allowed", True, ["claude"]),
        ("sticky", False, []),
    ]


def test_added_settings_appear_only_where_they_are_used(tmp_path: Path) -> None:
    executors = {
        "command": {"argv": ["lane-agent"], "model": "m"},
        "env": {"pass": ["A"]},
        "resumeLimit": 1,
        "profiles": {"own": {"id": "command", "env": {"mode": "allowlist", "pass": ["B"], "set": {"X": "1"}}}},
    }
    resolved = resolve(tmp_path, '- profile: own\n- command.argv: ["mine"]', executors=executors)
    assert (resolved["command"]["argv"], resolved["command"]["promptTransport"]) == (["mine"], "stdin")
    assert resolved["model"] == "m" and resolved["resumeLimit"] == 1
    assert resolved["env"] == {"mode": "allowlist", "pass": ["A", "B"], "strip": [], "set": {"X": "1"}}
    assert "command" not in resolve(tmp_path, executors=executors)


def test_an_unknown_profile_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(WaveError, match="did you mean deep"):
        resolve(tmp_path, "- profile: depe", executors={"profiles": {"deep": {}}})


def test_runtime_mix(tmp_path: Path) -> None:
    lab = Lab(tmp_path, runtimePolicy={"runtimeMixTargets": {"claude": 1}})
    parsed = lab.parse(wave(agent(executor="- id: claude"), agent("A2", owns=("b",), executor="- id: claude")))
    mix = validate_runtime_mix(apply_executor_selections(parsed, lab.paths.profile), lab.paths.profile)
    assert (mix.ok, mix.status, mix.counts) == (False, "runtime-mix-exceeded", {"codex": 1, "claude": 2})
    assert validate_runtime_mix(parsed, lab.paths.profile, "codex").ok
