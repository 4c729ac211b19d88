"""Where the real agent CLIs are, and how they are pointed at a scripted model with homes of their own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from real_cli.model_server import ModelServer

BIN = os.environ.get("WAVE_REAL_CLI", "")


def need(executor: str) -> None:
    """Skip the test when this CLI is not installed there."""
    if shutil.which(executor, path=os.path.abspath(BIN)) is None:
        pytest.skip(f"{executor} is not in WAVE_REAL_CLI")


def point_at(server: ModelServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment in which claude, codex and opencode ask this model and nobody else."""
    (home / ".codex").mkdir(parents=True)
    (home / ".codex/config.toml").write_text(
        'model = "scripted"\nmodel_provider = "scripted"\n[model_providers.scripted]\nname = "scripted"\n'
        f'base_url = "{server.url}/v1"\nwire_api = "responses"\nenv_key = "OPENAI_API_KEY"\n'
    )
    for name, value in {
        "PATH": f"{os.path.abspath(BIN)}:{os.environ['PATH']}",
        "HOME": str(home),
        "CODEX_HOME": str(home / ".codex"),
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_API_KEY": "sk-ant-none",
        "ANTHROPIC_BASE_URL": server.url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
    }.items():
        monkeypatch.setenv(name, value)
