"""The workspace root and `--repo-root`. Spec: CFG 2."""

from __future__ import annotations

import os

import pytest

from wave_lib.base.errors import UsageError
from wave_lib.definition.roots import split_repo_root, workspace_root


def test_repo_root_may_stand_anywhere_before_a_double_dash_and_the_last_wins():
    argv = ["--repo-root", "a", "launch", "--repo-root=b", "--lane", "x", "--", "--repo-root", "c"]
    assert split_repo_root(argv) == (["launch", "--lane", "x", "--", "--repo-root", "c"], "b")
    assert split_repo_root(["status"]) == (["status"], None)


@pytest.mark.parametrize("argv", [["--repo-root"], ["--repo-root="], ["--repo-root", "--", "x"]])
def test_a_missing_value_is_a_usage_error(argv):
    with pytest.raises(UsageError) as caught:
        split_repo_root(argv)
    assert caught.value.code == 2 and "--repo-root" in str(caught.value)


def test_the_option_beats_the_variable_which_beats_the_search(tmp_path):
    for name in ("option", "variable", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "here" / "wave.config.json").write_text("{}")
    here, env = str(tmp_path / "here"), {"WAVE_REPO_ROOT": str(tmp_path / "variable")}
    assert workspace_root("../option", env, here) == os.path.realpath(tmp_path / "option")
    assert workspace_root(None, env, here) == str(tmp_path / "variable")
    assert workspace_root(None, {"WAVE_REPO_ROOT": ""}, here) == here


def test_a_named_root_must_be_a_directory(tmp_path):
    with pytest.raises(UsageError, match="not a directory"):
        workspace_root("missing", {}, str(tmp_path))
    with pytest.raises(UsageError, match="WAVE_REPO_ROOT"):
        workspace_root(None, {"WAVE_REPO_ROOT": str(tmp_path / "missing")}, str(tmp_path))


@pytest.mark.parametrize("marker", ["wave.config.json", ".wave/"])
def test_the_nearest_marked_ancestor_is_found(tmp_path, marker):
    deep = tmp_path / "repo" / "src" / "deep"
    deep.mkdir(parents=True)
    if marker.endswith("/"):
        (tmp_path / "repo" / marker).mkdir()
    else:
        (tmp_path / "repo" / marker).write_text("{}")
    assert workspace_root(None, {}, str(deep)) == str(tmp_path / "repo")


def test_the_search_ends_at_the_git_top_level(tmp_path):
    deep = tmp_path / "repo" / "src"
    deep.mkdir(parents=True)
    (tmp_path / "wave.config.json").write_text("{}")
    (tmp_path / "repo" / ".git").mkdir()
    assert workspace_root(None, {}, str(deep)) == str(deep)


def test_symlinks_stay_as_written(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "link")
    assert workspace_root(None, {"PWD": str(tmp_path / "link")}) == str(tmp_path / "link")
    assert workspace_root(None, {"PWD": str(tmp_path / "elsewhere")}) == os.path.realpath(tmp_path / "real")
    assert workspace_root("link", {}, str(tmp_path)) == str(tmp_path / "link")
