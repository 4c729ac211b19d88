"""The examples of the pages work: the complete wave is valid, and the commands run in the order of the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.definition.wave_files import parse_wave_files
from wave_lib.definition.wave_resolution import resolve_wave
from wave_lib.definition.wave_validation import load_references, validate_wave
from wave_lib.runtime import install

ROOT = Path(__file__).resolve().parent.parent.parent
_FILE = re.compile(r"(?ms)^<!-- file: (\S+) -->\n(`{3,})\w*\n(.*?)^\2$")
_STEP = re.compile(r"(?ms)^(?:<!-- file: (\S+) -->\n(`{3,})\w*\n(.*?)^\2$|```sh\n(.*?)^```$)")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def script(text: str) -> Iterator[str]:
    """The page as a shell script: its command blocks, and its files written where they stand."""
    for path, _, content, commands in _STEP.findall(text):
        if path:
            yield f"mkdir -p {shlex.quote(os.path.dirname(path))}\n"
            yield f"cat > {shlex.quote(path)} <<'END-OF-FILE'\n{content}END-OF-FILE\n"
        else:
            yield commands


def run_page(text: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's commands from a checkout, with this interpreter as `python3`."""
    tools = home / "bin"
    tools.mkdir(parents=True)
    (tools / "python3").symlink_to(sys.executable)
    env = {
        "HOME": str(home),
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CEILING_DIRECTORIES": str(home),
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail"],
        input="".join(script(text)),
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_complete_example_is_valid(tmp_path: Path) -> None:
    install.initialize(str(tmp_path), install.FRESH)
    for path, _, content in _FILE.findall(page("wave-files.md")):
        put(tmp_path / path, content)
    paths = build_lane_paths(load_wave_config(str(tmp_path)))
    references, parsed = load_references(paths), parse_wave_files(paths)
    assert (parsed.warnings, parsed.errors) == ([], [])
    wave = parsed.waves[0]
    verdict = validate_wave(wave, paths.profile, references)
    assert (verdict.problems, verdict.warnings) == ((), ())
    assert len(resolve_wave(wave, paths, references).agents) == 7
    assert wave.commit_message and wave.eval_targets and wave.deploy_environments and wave.component_promotions


def test_the_complete_example_has_every_section() -> None:
    text = page("wave-files.md")
    listed = set(re.findall(r"(?m)^\| `(#{2,3} [\w ]+)` \|", text))
    example = next(content for path, _, content in _FILE.findall(text) if path.endswith("wave-0.md"))
    shown = set(re.findall(r"(?m)^(#{2,3} [\w ]+)$", example))
    assert listed, "the page lists no sections"
    assert listed <= shown


def test_getting_started_works_as_it_is_written(tmp_path: Path) -> None:
    done = run_page(page("getting-started.md"), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "code" / "my-repo" / "greeting" / "hello.md").is_file()
    state = (tmp_path / "code/my-repo/.tmp/main-wave-launcher/run-state.json").read_text(encoding="utf-8")
    assert '"currentState": "completed"' in state
    assert "All known waves are already marked complete" in done.stdout


def test_the_configuration_examples_load(tmp_path: Path) -> None:
    examples = re.findall(r"(?ms)^```json\n(.*?)^```$", page("configuration.md"))
    examples += [
        text for text in re.findall(r"(?ms)^```json\n(.*?)^```$", page("getting-started.md")) if "runtimePolicy" in text
    ]
    assert len(examples) == 3
    for text in examples:
        put(tmp_path / "wave.config.json", text)
        config = load_wave_config(str(tmp_path))
        assert list(config.warnings) == []


def test_vendoring_commands_work(tmp_path: Path) -> None:
    repository = tmp_path / "code" / "my-repo"
    repository.mkdir(parents=True)
    text = page("vendoring.md").replace(
        "compileall -q wave_lib", f"compileall -q {shlex.quote(str(repository / 'wave_lib'))}"
    )
    done = run_page(text, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (repository / "my_wave" / "cli.py").is_file()
    assert list((repository / "wave_lib" / "__pycache__").glob("cli.*.pyc"))
    version = subprocess.run(
        [sys.executable, str(repository / "wave.py"), "version"],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert version.returncode == 0 and version.stdout.startswith("wave "), version.stderr


@pytest.mark.parametrize("name", ["getting-started.md", "vendoring.md"])
def test_a_page_has_commands(name: str) -> None:
    assert len(list(script(page(name)))) >= 4
