"""The project profile. Spec: CFG 7, WORK 4.1."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wave_lib.base.errors import ConfigError, StateError
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.project_profile import (
    default_profile,
    normalize_environments,
    profile_path,
    read_profile,
    update_profile,
)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "wave.config.json").write_text(
        json.dumps({"defaultLane": "trunk", "defaultProject": "app", "projects": {"app": {}, "svc": {}, "default": {}}})
    )
    return load_wave_config(str(tmp_path))


def test_only_the_literal_default_project_has_the_short_path():
    assert profile_path("/r", "default") == "/r/.wave/project-profile.json"
    assert profile_path("/r", "app") == "/r/.wave/projects/app/project-profile.json"


def test_a_profile_nobody_saved_has_defaults(config, tmp_path):
    assert read_profile(config) is None
    profile = default_profile(config, "svc", now="2026-01-01T00:00:00.000Z")
    assert (profile.lane, profile.template, profile.default_oversight_mode) == ("trunk", "implementation", "oversight")
    assert (profile.project_id, profile.config_path) == ("svc", "wave.config.json")
    assert not (tmp_path / ".wave").exists()
    with pytest.raises(ConfigError, match="Unknown project"):
        read_profile(config, "nope")


def test_an_update_keeps_the_birth_and_stamps_the_change(config, tmp_path):
    first = update_profile(config, "svc", lambda profile: profile._replace(new_project=True))
    second = update_profile(config, "svc", lambda profile: profile._replace(initialized_at="x", template="qa"))
    assert second.initialized_at == first.initialized_at and second.updated_at >= first.updated_at
    assert second.new_project and second.template == "qa" and read_profile(config, "svc") == second
    stored = json.loads((tmp_path / ".wave/projects/svc/project-profile.json").read_text())
    assert list(stored) == [
        "schemaVersion",
        "initializedAt",
        "updatedAt",
        "newProject",
        "defaultOversightMode",
        "defaultTerminalSurface",
        "deployEnvironments",
        "plannerDefaults",
        "source",
    ]


def test_a_change_that_is_not_allowed_writes_nothing(config, tmp_path):
    before = update_profile(config, None, lambda profile: profile)
    with pytest.raises(ConfigError, match="defaultOversightMode"):
        update_profile(config, None, lambda profile: profile._replace(default_oversight_mode="none"))
    assert read_profile(config) == before


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"newProject": tr', "not a project profile"),
        ("[]", "not a project profile"),
        ('{"defaultOversightMode": "wild"}', "defaultOversightMode"),
        ('{"defaultTerminalSurface": "screen"}', "defaultTerminalSurface"),
        ('{"plannerDefaults": {"template": "x"}}', "plannerDefaults.template"),
        ('{"plannerDefaults": 3}', "plannerDefaults"),
        ('{"schemaVersion": 9}', "schemaVersion"),
        ('{"deployEnvironments": [{"id": "a", "kind": "ftp"}]}', "deployEnvironments[0].kind"),
    ],
)
def test_a_broken_profile_is_an_error_and_stays_as_it_is(config, tmp_path, text, words):
    path = tmp_path / ".wave/projects/app/project-profile.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StateError) as caught:
        read_profile(config)
    assert words in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(StateError):
        update_profile(config, None, lambda profile: profile)
    assert path.read_text() == text


def test_a_stored_surface_none_reads_as_vscode_and_new_project_is_literal(config, tmp_path):
    path = tmp_path / ".wave/projects/app/project-profile.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"defaultTerminalSurface": "none", "newProject": "true", "unknown": 1}')
    profile = read_profile(config)
    assert profile is not None and profile.default_terminal_surface == "vscode" and profile.new_project is False


def test_exactly_one_environment_is_the_default():
    plain = normalize_environments([{"id": "Dev", "kind": "aws"}, {"id": "prod", "kind": "github-release"}])
    assert [(item.id, item.name, item.is_default) for item in plain] == [("dev", "dev", True), ("prod", "prod", False)]
    marked = [{"id": name, "kind": "custom", "isDefault": name != "a"} for name in "abc"]
    assert [item.is_default for item in normalize_environments(marked)] == [False, True, False]
    assert normalize_environments(None) == ()


@pytest.mark.parametrize(
    "environments, words",
    [
        ([{"id": "a", "kind": "custom"}, {"id": "A", "kind": "custom"}], "repeats"),
        ([{"id": "a b", "kind": "custom"}], r"deployEnvironments\[0\].id"),
        ([{"id": "a"}], "kind is required"),
        (["a"], "must be an object"),
        ({}, "must be a list"),
    ],
)
def test_malformed_environments(environments, words):
    with pytest.raises(ConfigError, match=words):
        normalize_environments(environments)


ADD_ONE = """
import sys
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.project_profile import Environment, update_profile
new = Environment(sys.argv[2], sys.argv[2], "custom")
add = lambda profile: profile._replace(deploy_environments=(*profile.deploy_environments, new))
update_profile(load_wave_config(sys.argv[1]), None, add)
"""


def test_concurrent_updates_are_not_lost(config, tmp_path):
    root = Path(__file__).resolve().parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", ADD_ONE, str(tmp_path), f"env-{number}"], cwd=root)
        for number in range(6)
    ]
    assert [writer.wait(timeout=30) for writer in writers] == [0] * 6
    profile = read_profile(config)
    assert profile is not None and {item.id for item in profile.deploy_environments} == {f"env-{n}" for n in range(6)}
