"""What every test starts from: no variables of the caller's own Wave, private folders, no process left behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "wave_lib"

# Containers often forbid compiled modules; the thousands of processes started here would then compile them each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A suite that a shell started in the background inherits an ignored SIGINT, and every process started here with it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Under `python -m tests` several processes share the modules: a file in this folder says which ones are taken."""
    claims = os.environ.get("TEST_CLAIMS")
    if not claims or session.config.option.collectonly:
        return None
    items = _claimed(session.items, claims)
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _claimed(items: list[pytest.Item], claims: str) -> Iterator[pytest.Item]:
    for path, module in itertools.groupby(items, lambda item: item.path):
        try:
            os.close(os.open(os.path.join(claims, str(path).replace(os.sep, "+")), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        yield from module


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("WAVE_", "CORRIDOR_", "CONTEXT7_")) or name in ("TMUX", "TMUX_PANE"):
            monkeypatch.delenv(name)
    # Setting one twice makes monkeypatch restore it, when the code under test exported it meanwhile.
    monkeypatch.setenv("WAVE_REPO_ROOT", "")
    monkeypatch.delenv("WAVE_REPO_ROOT")


@pytest.fixture
def start() -> Iterator[Any]:
    """`start(code, *arguments, **Popen keywords)` runs Python code beside the package; killed at the end."""
    children: list[subprocess.Popen[bytes]] = []

    def start_python(code: str, *arguments: object, **keywords: Any) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **keywords.pop("env", {})}
        argv = [sys.executable, "-c", code, *map(str, arguments)]
        keywords.setdefault("start_new_session", True)
        keywords.setdefault("stdout", subprocess.PIPE)
        child = subprocess.Popen(argv, env=env, **keywords)
        children.append(child)
        return child

    yield start_python
    for child in children:
        try:
            os.killpg(child.pid, 9)
        except (ProcessLookupError, PermissionError):
            pass
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
