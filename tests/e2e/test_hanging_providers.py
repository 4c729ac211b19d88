"""Services that hang: the launcher goes on with its agents, hears signals, and ends at once when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server_lab import TOKEN
from fake_service import Asked, FakeService, Reply
from launch_lab import LaunchLab
from waiting import wait_until

ENV = {"CORRIDOR_API_TOKEN": "corridor-token-1", "CONTEXT7_API_KEY": "ctx7-key-12345", "WAVE_API_TOKEN": TOKEN}
PROMPTLY = 8.0  # seconds; the time budgets of the fetches are 10 to 60
LIBRARIES = {"none": {}, "core": {"libraries": [{"libraryId": "/org/lib"}]}}


@pytest.fixture
def labs() -> Iterator[list[LaunchLab]]:
    made: list[LaunchLab] = []
    yield made
    for lab in made:
        lab.close()


@pytest.fixture
def hanging() -> Iterator[FakeService]:
    def answer(asked: Asked) -> Reply:
        return service.hang()

    with FakeService(answer) as service:
        yield service


def documented(lab: LaunchLab, *agents: str) -> None:
    """These agents want documentation, the others none."""
    lab.write("docs/context7/bundles.json", json.dumps({"version": 1, "bundles": LIBRARIES}))
    wave = lab.root / "docs/plans/waves/wave-0.md"
    text = wave.read_text()
    for agent in agents:
        heading = f"## Agent {agent}: Widget {agent}\n"
        text = text.replace(heading, f"{heading}\n### Context7\n\n- bundle: core\n")
    wave.write_text(text)


def stopped(lab: LaunchLab, child: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """SIGTERM, and how the launcher left."""
    begun = time.monotonic()
    child.send_signal(signal.SIGTERM)
    done = lab.finish(child, within=30)
    assert time.monotonic() - begun < PROMPTLY
    assert "Traceback" not in done.stderr, done.stderr
    return done


def settled(lab: LaunchLab) -> set[str]:
    try:
        return {event["data"]["agentId"] for event in lab.events("agent_run") if event["action"] == "completed"}
    except OSError:
        return set()


def test_agents_settle_while_another_ones_documentation_hangs(
    tmp_path: Path, labs: list[LaunchLab], hanging: FakeService
) -> None:
    lab = LaunchLab(tmp_path, workers=("A1", "A2"), externalProviders={"context7": {"baseUrl": hanging.url}})
    labs.append(lab)
    documented(lab, "A2")
    child = lab.start(env=ENV)
    wait_until(lambda: hanging.asked, what="the question for documentation")
    wait_until(lambda: settled(lab) == {"A1"}, within=20, what="the end of A1")  # A2 is asked for, three times for 10 s
    assert stopped(lab, child).returncode == 143
    assert lab.ran() == ["A1"]
    assert lab.state("run-state.json")["waves"]["0"]["currentState"] == "blocked"


def corridor(url: str) -> dict[str, Any]:
    return {"externalProviders": {"corridor": {"enabled": True, "teamId": "t", "projectId": "p", "baseUrl": url}}}


@pytest.mark.parametrize("what", ["lease", "resident-lease", "corridor", "telemetry", "lookup"])
def test_a_signal_ends_the_launcher_at_once(
    what: str, tmp_path: Path, labs: list[LaunchLab], hanging: FakeService
) -> None:
    config, flags, env = {}, [], dict(ENV)
    if what == "corridor":
        config = corridor(hanging.url)
    elif what == "telemetry":
        config = {"waveControl": {"endpoint": hanging.url, "requestTimeoutMs": 30000}}
    elif what == "lookup":
        config = {"externalProviders": {"context7": {"baseUrl": "https://docs.invalid"}}}
        env["PYTHONPATH"] = slow_lookup(tmp_path)
    else:
        config = {"waveControl": {"endpoint": hanging.url, "credentialProviders": ["openai"]}}
        flags = ["--no-telemetry", *(["--resident-orchestrator"] if what == "resident-lease" else [])]
    lab = LaunchLab(tmp_path / "repo", **config)
    labs.append(lab)
    if what == "corridor":
        wave = lab.root / "docs/plans/waves/wave-0.md"
        wave.write_text(wave.read_text().replace("src/A1.txt", "src/A1.py"))
    if what == "lookup":
        documented(lab, "A1")
    child = lab.start(*flags, env=env)
    wait_until(lambda: hanging.asked or (tmp_path / "looked-up").exists(), what="the question")
    done = stopped(lab, child)
    # Telemetry is sent when the attempt is judged: that wave is done, and a signal undoes nothing.
    assert done.returncode == (0 if what == "telemetry" else 143), done.stderr
    assert lab.ran() == {"corridor": ["A1"], "telemetry": ["A1", "A0"]}.get(what, [])


def slow_lookup(folder: Path) -> str:
    """A `PYTHONPATH` with which name lookups never return."""
    package = folder / "slow"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import socket\nimport threading\n\n\n"
        "def getaddrinfo(*arguments, **more):\n"
        f"    open({os.fspath(folder / 'looked-up')!r}, 'w').close()\n"
        "    threading.Event().wait(600)\n\n\n"
        "socket.getaddrinfo = getaddrinfo\n"
    )
    return os.fspath(package)
