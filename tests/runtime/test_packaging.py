"""Vendored copies and the one-file bundle run the real program, from anywhere, under any name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from launch_lab import labs
from supervisor_lab import CONTEXT, QUICK, SupervisorLab

REPOSITORY = Path(__file__).resolve().parents[2]


def run(program: Path, *argv: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *argv],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def wave(*argv: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return run(REPOSITORY / "wave.py", *argv, cwd=cwd, env=env)


def test_a_vendored_copy_runs_under_another_name(tmp_path: Path) -> None:
    target = tmp_path / "mein Repository – größer"
    target.mkdir()
    copied = json.loads(wave("vendor", str(target), "--name", "tools_wave", "--json", cwd=tmp_path).stdout)
    assert copied["path"] == str(target / "tools_wave")
    for command in ([str(target / "wave.py")], ["-m", "tools_wave"]):
        shown = subprocess.run(
            [sys.executable, *command, "version"], cwd=target, capture_output=True, text=True, check=True
        )
        assert shown.stdout == wave("version", cwd=tmp_path).stdout
    assert "wave_lib" not in os.listdir(target)


@pytest.mark.parametrize("options", [["-I"], []])
def test_an_isolated_interpreter_finds_the_package(tmp_path: Path, options: list[str]) -> None:
    program = [sys.executable, *options, str(REPOSITORY / "wave.py"), "version"]
    environment = {"PATH": os.defpath, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("wave ")


def test_vendoring_again_leaves_no_module_of_the_older_copy(tmp_path: Path) -> None:
    wave("vendor", str(tmp_path), cwd=tmp_path)
    (tmp_path / "wave_lib" / "left_over.py").write_text("old = True\n")
    again = wave("vendor", str(tmp_path), cwd=tmp_path)
    assert again.returncode == 0
    assert not (tmp_path / "wave_lib" / "left_over.py").exists()
    assert sorted(os.listdir(tmp_path)) == ["wave.py", "wave_lib"]


def test_the_manifest_names_every_file_with_its_hash(tmp_path: Path) -> None:
    wave("vendor", str(tmp_path), cwd=tmp_path)
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "MANIFEST.sha256"],
        cwd=tmp_path / "wave_lib",
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
    listed = {line.split("  ", 1)[1] for line in (tmp_path / "wave_lib" / "MANIFEST.sha256").read_text().splitlines()}
    there = {
        str(path.relative_to(tmp_path / "wave_lib")) for path in (tmp_path / "wave_lib").rglob("*") if path.is_file()
    }
    assert {path for path in there if "__pycache__" not in path} == listed | {"MANIFEST.sha256"}


def test_the_program_beside_the_package_is_the_one_that_is_vendored(tmp_path: Path) -> None:
    wave("vendor", str(tmp_path), cwd=tmp_path)
    assert (tmp_path / "wave.py").read_text() == (REPOSITORY / "wave.py").read_text()


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["vendor"], 2, "requires <dir>"),
        (["vendor", "nowhere"], 1, "not a folder"),
        (["vendor", ".", "--name", "a-b"], 2, "--name must be a Python identifier"),
        (["vendor", ".", "--name", "mine"], 1, "exists and is no copy of this program"),
        (["bundle", "."], 1, "is a folder"),
    ],
)
def test_refusals(tmp_path: Path, argv: list[str], code: int, message: str) -> None:
    (tmp_path / "mine").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = wave(*argv, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("[wave] ") and message in done.stderr and done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_is_reproducible_and_runs_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "wave.py", tmp_path / "b.py"
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert wave("bundle", str(first), cwd=tmp_path).returncode == 0
    copied = run(first, "bundle", str(second), cwd=tmp_path, env=env)  # a bundle can write itself again
    assert copied.returncode == 0, copied.stderr
    assert first.read_bytes() == second.read_bytes()
    shown = run(first, "help", cwd=tmp_path, env=env)
    assert shown.stdout == wave("help", cwd=tmp_path).stdout
    assert len(os.listdir(tmp_path / "cache" / "wave-bundles")) == 1


def test_a_bundle_runs_without_any_cache_folder(tmp_path: Path) -> None:
    bundle = tmp_path / "wave.py"
    wave("bundle", str(bundle), cwd=tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    env = {"XDG_CACHE_HOME": str(blocked), "HOME": str(blocked), "TMPDIR": str(blocked)}
    shown = run(bundle, "version", cwd=tmp_path, env=env)
    assert (shown.returncode, shown.stdout) == (0, wave("version", cwd=tmp_path).stdout)


def test_a_cache_folder_that_others_may_write_is_not_trusted(tmp_path: Path) -> None:
    bundle = tmp_path / "wave.py"
    wave("bundle", str(bundle), cwd=tmp_path)
    cache = tmp_path / "cache" / "wave-bundles"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": "", "TMPDIR": str(tmp_path / "cache")}
    shown = run(bundle, "version", cwd=tmp_path, env=env)
    assert shown.returncode == 0, shown.stderr
    assert [name for name in os.listdir(cache) if not name.startswith("new-")] == []


def program_of(copy: str, tmp_path: Path) -> Path:
    """A copy of the program: one file, or a package under another name."""
    if copy == "bundle":
        program = tmp_path / "wave.py"
        wave("bundle", str(program), cwd=tmp_path)
        return program
    program = tmp_path / "tools" / "wave.py"
    program.parent.mkdir()
    wave("vendor", str(program.parent), "--name", "orchestration", cwd=tmp_path)
    return program


@pytest.mark.parametrize("copy", ["bundle", "vendored"])
def test_a_copy_runs_a_whole_wave_with_its_agents(tmp_path: Path, copy: str) -> None:
    program = program_of(copy, tmp_path)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": ""}
    shown = run(program, "demo", "--json", "--keep", str(tmp_path / "kept"), cwd=tmp_path, env=env)
    assert shown.returncode == 0, shown.stderr
    started = (tmp_path / "kept").rglob("runner-payload.json")
    assert len(list(started)) == 6


@pytest.mark.parametrize("copy", ["bundle", "vendored", "-m"])
def test_a_copy_submits_to_a_supervisor_of_its_own(tmp_path: Path, copy: str) -> None:
    with labs(SupervisorLab, tmp_path / "repository") as make:
        work = make()
        argv = ["-m", "wave_lib"] if copy == "-m" else [str(program_of(copy, tmp_path))]
        env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(REPOSITORY) if copy == "-m" else ""}

        def client(*words: str) -> dict[str, Any]:
            done = work.finish(work.start_python(*argv, *words, *CONTEXT, "--json", env=env))
            assert done.returncode == 0, done.stderr
            return dict(json.loads(done.stdout))

        run_id = client("submit", *QUICK)["runId"]
        assert client("wait", "--run-id", run_id, "--timeout-seconds", "50")["exitCode"] == 0
        assert work.ran() == ["A1", "A0"]
