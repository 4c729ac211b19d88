"""Seeding a workspace. Spec: WORK 2.2, 2.3, 3.2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from wave_lib.base.errors import StateError, WaveError
from wave_lib.base.text import sha256_file
from wave_lib.definition.starter_data import starter_bytes, starter_files
from wave_lib.runtime import install
from wave_lib.runtime.install import ADOPT, ALREADY, FRESH, IGNORE_ENTRIES, SEED, initialize

CONFIG = "wave.config.json"
WAVE = "docs/plans/waves/wave-0.md"


def all_paths(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def state_of(root: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((root / install.STATE_FILE).read_text(encoding="utf-8"))
    return state


def put(root: Path, path: str, text: str = "mine\n") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


def test_fresh_seeds_every_file_and_records_it(tmp_path: Path) -> None:
    root = tmp_path / "wörk space"
    root.mkdir()
    done = initialize(str(root))
    assert (done.mode, done.seeded_files, done.adopted_files) == (FRESH, starter_files(), [])
    for path in starter_files():
        assert (root / path).read_bytes() == starter_bytes(path)
        assert done.state["seededHashes"][path] == sha256_file(str(root / path))
    assert os.access(root / "scripts/wave-status.sh", os.X_OK)
    assert (root / ".wave/upgrade-history").is_dir()
    assert (root / ".gitignore").read_text().splitlines() == list(IGNORE_ENTRIES)
    assert done.missing_ignores == []
    state = state_of(root)
    assert list(state) == [
        "schemaVersion", "packageName", "installedVersion", "initializedAt", "lastUpgradeAt", "initMode", "seededFiles",
        "adoptedFiles", "seededHashes", "history",
    ]  # fmt: skip
    assert state["initializedAt"] == state["lastUpgradeAt"] == state["history"][0]["at"]
    assert state["history"][0]["action"] == "init-fresh"


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    initialize(str(tmp_path))
    before = {path: (tmp_path / path).stat().st_mtime_ns for path in all_paths(tmp_path)}
    for mode in (FRESH, ADOPT):
        assert initialize(str(tmp_path), mode, write_gitignore=True).mode == ALREADY
    assert {path: (tmp_path / path).stat().st_mtime_ns for path in all_paths(tmp_path)} == before


def test_fresh_refuses_a_folder_with_wave_files(tmp_path: Path) -> None:
    put(tmp_path, CONFIG)
    with pytest.raises(WaveError, match="--adopt-existing") as caught:
        initialize(str(tmp_path))
    assert CONFIG in str(caught.value) and "--seed-missing" in str(caught.value)
    assert all_paths(tmp_path) == [CONFIG]


def test_fresh_names_at_most_eight_files(tmp_path: Path) -> None:
    for path in starter_files()[:11]:
        put(tmp_path, path)
    with pytest.raises(WaveError) as caught:
        initialize(str(tmp_path))
    assert [path in str(caught.value) for path in starter_files()[:11]] == [True] * 8 + [False] * 3


def test_a_changelog_of_the_project_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path, "CHANGELOG.md")
    put(tmp_path, "README.md")
    assert initialize(str(tmp_path)).mode == FRESH
    assert (tmp_path / "CHANGELOG.md").read_text() == "mine\n"


def test_adopt_copies_nothing_and_seeding_later_adds_the_rest(tmp_path: Path) -> None:
    put(tmp_path, CONFIG)
    put(tmp_path, WAVE)
    done = initialize(str(tmp_path), ADOPT)
    assert (done.mode, done.seeded_files, sorted(done.adopted_files)) == (ADOPT, [], sorted([WAVE, CONFIG]))
    assert not (tmp_path / "docs/plans/current-state.md").exists()
    first = state_of(tmp_path)["initializedAt"]

    later = initialize(str(tmp_path), SEED)
    assert later.mode == SEED
    assert set(later.seeded_files) == set(starter_files()) - {CONFIG, WAVE}
    assert (tmp_path / CONFIG).read_text() == (tmp_path / WAVE).read_text() == "mine\n"
    state = state_of(tmp_path)
    assert set(state["seededHashes"]) == set(later.seeded_files)
    assert sorted(state["adoptedFiles"]) == sorted([WAVE, CONFIG])
    assert state["initMode"] == ADOPT and state["initializedAt"] == first
    assert [entry["action"] for entry in state["history"]] == ["init-adopt-existing", "init-seed-missing"]


def test_seeding_keeps_unknown_keys_and_moves_a_file_out_of_the_adopted(tmp_path: Path) -> None:
    config = put(tmp_path, CONFIG)
    initialize(str(tmp_path), SEED)
    state = {**state_of(tmp_path), "foreign": 7}
    put(tmp_path, install.STATE_FILE, json.dumps(state))
    config.unlink()
    done = initialize(str(tmp_path), SEED)
    assert (done.seeded_files, done.adopted_files) == ([CONFIG], [])
    assert state_of(tmp_path)["foreign"] == 7


def test_the_history_keeps_its_first_and_newest_entries() -> None:
    history = [{"at": str(number)} for number in range(80)]
    assert install.trimmed_history(history) == [history[0], *history[-50:]]
    assert install.trimmed_history(history[:51]) == history[:51]


@pytest.mark.parametrize("content", ["[]", "{", ""])
def test_a_broken_install_state_is_an_error(tmp_path: Path, content: str) -> None:
    put(tmp_path, install.STATE_FILE, content)
    with pytest.raises(StateError, match="install state is unreadable"):
        initialize(str(tmp_path))
    assert all_paths(tmp_path) == [".wave", install.STATE_FILE]


def test_a_file_in_the_place_of_a_folder_stops_it_before_the_first_write(tmp_path: Path) -> None:
    put(tmp_path, "docs/plans/waves")
    with pytest.raises(WaveError, match="docs/plans/waves is in the way"):
        initialize(str(tmp_path), SEED)
    assert all_paths(tmp_path) == ["docs", "docs/plans", "docs/plans/waves"]


def test_a_link_that_leads_out_stops_it(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root-outside"
    root.mkdir()
    outside.mkdir()
    (root / "scripts").symlink_to(outside)
    with pytest.raises(WaveError, match="leads out of the workspace"):
        initialize(str(root))
    assert all_paths(outside) == [] and all_paths(root) == ["scripts"]


def test_a_failure_takes_back_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "docs/notes.md")
    put(tmp_path, ".gitignore", "build/\n")
    before = all_paths(tmp_path)
    last = starter_files()[-1]

    def break_at_last(path: str) -> bytes:
        if path == last:
            raise OSError(28, "No space left on device")
        return starter_bytes(path)

    monkeypatch.setattr(install, "starter_bytes", break_at_last)
    with pytest.raises(OSError):
        initialize(str(tmp_path), write_gitignore=True)
    assert all_paths(tmp_path) == before

    monkeypatch.undo()
    monkeypatch.setattr(install, "write_json", _refuse)
    with pytest.raises(WaveError, match="full"):
        initialize(str(tmp_path), write_gitignore=True)
    assert all_paths(tmp_path) == before
    assert (tmp_path / ".gitignore").read_text() == "build/\n"


def _refuse(*_: object, **__: object) -> None:
    raise WaveError("disk full")


def test_a_file_that_appears_during_the_run_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = starter_files()[-1]

    def intrude(path: str) -> bytes:
        if path == last:
            put(tmp_path, path)
        return starter_bytes(path)

    monkeypatch.setattr(install, "starter_bytes", intrude)
    with pytest.raises(WaveError, match="appeared meanwhile"):
        initialize(str(tmp_path))
    assert (tmp_path / last).read_text() == "mine\n"
    assert [path for path in all_paths(tmp_path) if (tmp_path / path).is_file()] == [last]


def test_gitignore_is_left_alone_or_completed(tmp_path: Path) -> None:
    ignore = put(tmp_path, ".gitignore", "/.tmp\n# .wave/\ndocs/research/papers/**")
    done = initialize(str(tmp_path))
    assert ignore.read_text() == "/.tmp\n# .wave/\ndocs/research/papers/**"
    assert done.missing_ignores == [
        entry for entry in IGNORE_ENTRIES if entry not in (".tmp/", "docs/research/papers/")
    ]
    done = initialize(str(tmp_path), SEED, write_gitignore=True)
    assert done.missing_ignores == []
    lines = ignore.read_text().splitlines()
    assert lines[:4] == ["/.tmp", "# .wave/", "docs/research/papers/**", "# Wave: state and caches"]
    assert lines[4:] == [entry for entry in IGNORE_ENTRIES if entry not in (".tmp/", "docs/research/papers/")]


@pytest.mark.parametrize(
    "step",
    [
        "before|client create wave.config.json 1",
        "after|client create wave-0.md 1",
        "before|client write install-state.json 1",
    ],
)
def test_killed_at_any_step_it_can_be_completed(tmp_path: Path, step: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    argv = [sys.executable, str(ROOT / "wave.py"), "--repo-root", str(root), "init"]
    flag = tmp_path / "killed"
    killed = subprocess.run(argv, env={**os.environ, "WAVE_CRASH_AT": f"{step}|{flag}"}, capture_output=True)
    assert killed.returncode == -9 and flag.exists()
    for path in starter_files():
        target = root / path
        assert not target.exists() or target.read_bytes() == starter_bytes(path)
    assert not (root / install.STATE_FILE).exists()
    refused = subprocess.run(argv, capture_output=True, text=True)
    assert refused.returncode == 1 and "--seed-missing" in refused.stderr
    assert subprocess.run([*argv, "--seed-missing"], capture_output=True).returncode == 0
    assert [path for path in starter_files() if not (root / path).is_file()] == []
    assert set(state_of(root)["seededFiles"]) | set(state_of(root)["adoptedFiles"]) == set(starter_files())
