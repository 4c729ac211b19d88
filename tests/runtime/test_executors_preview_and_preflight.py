"""Launch previews, the environment of executors, availability of commands. Spec: SUP 16.3, 17.10; LAUNCH 3.7, 5."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from wave_lib.base.errors import WaveError
from wave_lib.definition.config import load_wave_config, resolve_lane
from wave_lib.definition.lane_profile import LaneProfile
from wave_lib.definition.wave_types import Agent, Wave
from wave_lib.runtime.agent_environment import environment_settings, sticky_key, stripped_names
from wave_lib.runtime.executor_preflight import (
    FALLBACK_REASON,
    command_available,
    fallback_chain,
    preflight_wave,
)
from wave_lib.runtime.executors.launch_spec import LaunchSpec
from wave_lib.runtime.launch_preview import (
    build_launch_preview,
    prune_files,
    prune_overlays,
    with_observed_limit,
    write_launch_preview,
)


def spec(**changes: Any) -> LaunchSpec:
    values: dict[str, Any] = dict(
        executor_id="codex", command="codex", argv=("codex", "exec", "-"), stdin_path="/p", cwd="/", env={"A": "1"},
        output_format="text", invocation_lines=("codex exec -",), limits={"notes": []}, overlay={},
    )  # fmt: skip
    return LaunchSpec(**{**values, **changes})


def test_preview_redacts_leased_and_secret_looking_values(tmp_path: Path) -> None:
    preview = build_launch_preview(
        spec(env={"A": "1", "MY_API_KEY": "hidden", "DB_PASSWORD": "hidden"}), leased=["GITHUB"],
        credential_providers=["openai"], credentials=[{"id": "pat", "envVar": "GITHUB"}], skills={"ids": ["one"]},
        env_stripped=["TMUX"],
    )  # fmt: skip
    assert list(preview) == [
        "executorId", "command", "argv", "stdin", "env", "envStripped", "credentialProviders", "credentials",
        "useRateLimitRetries", "invocationLines", "outputFormat", "limits", "skills",
    ]  # fmt: skip
    hidden = "[redacted]"
    assert preview["env"] == {"A": "1", "MY_API_KEY": hidden, "DB_PASSWORD": hidden, "GITHUB": hidden}
    assert "hidden" not in Path(write_launch_preview(str(tmp_path), preview)).read_text()
    assert with_observed_limit(preview, 12)["limits"]["observedTurnLimit"] == 12
    assert with_observed_limit(preview, None) == preview


def test_pruning_touches_overlays_only(tmp_path: Path) -> None:
    for name in ("wave-0/0-a1", "wave-0/0-a2", "wave-7/7-a1", "notes/x"):
        (tmp_path / name).mkdir(parents=True)
    assert len(prune_overlays(str(tmp_path), {0: ["0-a1"]})) == 2
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == ["notes/x", "wave-0/0-a1"]
    for name in ("wave-0-0-a1.prompt.md", "wave-7-7-a1.prompt.md", "other.md"):
        (tmp_path / name).write_text("")
    assert prune_files(str(tmp_path), r"wave-.*\.prompt\.md", {"wave-0-0-a1.prompt.md"}) == ["wave-7-7-a1.prompt.md"]
    assert prune_files(str(tmp_path / "none"), ".*", ()) == []


def test_environment_rules() -> None:
    names = ["PATH", "LC_ALL", "HTTPS_PROXY", "EDITOR", "WAVE_API_TOKEN", "CORRIDOR_API_KEY", "WAVE_BROKER_X",
             "WAVE_SUPERVISOR_EPOCH", "TMUX", "MINE"]  # fmt: skip
    inherit = environment_settings({"strip": ["MINE"]}, {"pass": ["CORRIDOR_API_KEY"]})
    assert stripped_names(names, inherit) == [
        "MINE", "TMUX", "WAVE_API_TOKEN", "WAVE_BROKER_X", "WAVE_SUPERVISOR_EPOCH",
    ]  # fmt: skip
    allow = environment_settings({"mode": "allowlist", "pass": ["MINE"], "set": {"A": "1"}}, None, {"set": {"B": "2"}})
    kept = set(names) - set(stripped_names(names, allow, passed=["WAVE_API_TOKEN"]))
    assert kept == {"PATH", "LC_ALL", "HTTPS_PROXY", "MINE", "WAVE_API_TOKEN"} and allow["set"] == {"A": "1", "B": "2"}
    assert sticky_key("main", 22, 3, "A1") == "wave:main:22:3:A1"
    assert sticky_key("", 0, 1, "A 1/x") == "wave:lane:0:1:A-1-x"


def test_command_available(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    assert not command_available("bin/tool", str(tmp_path))
    tool.chmod(0o755)
    assert command_available("bin/tool", str(tmp_path))
    assert command_available("tool --x", str(tmp_path), str(tool.parent))
    assert not command_available("tool", str(tmp_path), "/nonexistent") and command_available(None, str(tmp_path))


@pytest.fixture
def profile(tmp_path: Path) -> LaneProfile:
    (tmp_path / "wave.config.json").write_text("{}")
    return resolve_lane(load_wave_config(str(tmp_path)))


def agent(agent_id: str, executor: str, profile: LaneProfile, **changes: Any) -> Agent:
    resolved = {"id": executor, "model": None, "fallbacks": [], "retryPolicy": "fallback-allowed",
                "allowFallbackOnRetry": True, "executorHistory": [], **changes}  # fmt: skip
    resolved.update({name: dict(profile.executors[name]) for name in ("codex", "claude", "opencode")})
    return Agent(agent_id, agent_id, f"0-{agent_id.lower()}", executor_resolved=resolved)


def wave_of(*agents: Agent) -> Wave:
    return Wave(0, "docs/wave-0.md", agents=agents)


def test_preflight_moves_an_agent_to_an_available_fallback(profile: LaneProfile, tmp_path: Path) -> None:
    wave = wave_of(agent("A1", "codex", profile, fallbacks=["opencode", "claude"]), agent("A2", "local", profile))
    found = preflight_wave(wave, profile, str(tmp_path), available=lambda name: name in (None, "claude"), user_id=1000)
    moved = found.wave.agents[0].executor_resolved or {}
    assert found.switched == ("A1",) and (moved["id"], moved["fallbackReason"]) == ("claude", FALLBACK_REASON)
    assert moved["executorHistory"][-1] == {"attempt": 0, "executorId": "claude", "reason": FALLBACK_REASON}


def test_preflight_failures(profile: LaneProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IS_SANDBOX", raising=False)
    nothing = wave_of(agent("A1", "codex", profile, fallbacks=["claude"]))
    with pytest.raises(WaveError, match=r"Agent A1 has no available executor command .* \(codex -> claude\)"):
        preflight_wave(nothing, profile, str(tmp_path), available=lambda name: False)
    (tmp_path / "mine.sh").write_text("true\n")
    for program, reason in (("./mine.sh", "is not executable"), ("./nope", "does not exist"), ("nope", "not on PATH")):
        own = agent("A1", "command", profile, command={"argv": [program]})
        with pytest.raises(WaveError, match=f"{program} is {reason}|{program} {reason}"):
            preflight_wave(wave_of(own), profile, str(tmp_path))
    bypass = wave_of(agent("A1", "claude", profile))
    with pytest.raises(WaveError) as caught:
        preflight_wave(bypass, profile, str(tmp_path), available=lambda name: True, user_id=0)
    assert caught.value.key == "claude-bypass-as-root" and "allowRootBypass" in caught.value.remedy
    assert preflight_wave(bypass, profile, str(tmp_path), available=lambda name: True, user_id=1000).warnings == ()
    wrapper = tmp_path / "claude"
    wrapper.write_text('#!/bin/sh\nexec setpriv --reuid=1000 claude "$@"\n')
    wrapper.chmod(0o755)
    wrapped = agent("A1", "claude", profile)
    wrapped.executor_resolved["claude"]["command"] = str(wrapper)  # type: ignore[index]
    found = preflight_wave(wave_of(wrapped), profile, str(tmp_path), available=lambda name: True, user_id=0)
    assert len(found.warnings) == 1 and "as root" in found.warnings[0]
    sticky = agent("A1", "codex", profile, fallbacks=["claude"], retryPolicy="sticky")
    assert fallback_chain(sticky.executor_resolved or {}) == []


def test_preflight_keeps_the_runtime_mix(profile: LaneProfile, tmp_path: Path) -> None:
    mixed = profile._replace(runtime_policy=profile.runtime_policy._replace(runtime_mix_targets={"claude": 1}))
    wave = wave_of(agent("A1", "codex", mixed, fallbacks=["claude"]), agent("A2", "claude", mixed))
    with pytest.raises(WaveError, match="no available executor command"):
        preflight_wave(wave, mixed, str(tmp_path), available=lambda name: name == "claude", user_id=1000)
    over = wave_of(agent("A1", "claude", mixed), agent("A2", "claude", mixed))
    with pytest.raises(WaveError, match=r"Wave 0 exceeds lane runtime mix targets \(claude=2 exceeds target 1\)"):
        preflight_wave(over, mixed, str(tmp_path), available=lambda name: True)


def test_a_codex_profile_that_does_not_exist_is_a_warning(
    profile: LaneProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path))
    one = agent("A1", "codex", profile)
    assert one.executor_resolved is not None
    one.executor_resolved["codex"]["profileName"] = "review"
    look = lambda: preflight_wave(wave_of(one), profile, str(tmp_path), available=lambda name: True).warnings  # noqa: E731
    assert "codex profile review" in look()[0]
    Path(os.environ["CODEX_HOME"], "review.config.toml").write_text("")
    assert look() == ()
