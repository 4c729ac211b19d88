"""`kill -9` in the middle of a shell call of a real agent CLI, under the supervisor: the conversation goes on.

Opt-in like `test_real_clis`: `WAVE_REAL_CLI=/path/to/bin`. Spec: SUP 10.3, 17.11.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from launch_lab import DELTA, PROOF
from real_cli.clis import BIN, need, point_at
from real_cli.model_server import ModelServer, Turn
from supervisor_lab import SupervisorLab
from waiting import wait_until

from wave_lib.base.processes import group_members, processes_marked
from wave_lib.runtime.agent_records import NONCE

pytestmark = pytest.mark.skipif(not BIN, reason="WAVE_REAL_CLI is not set")

KILLED = "Your process was killed"
INTERRUPTED = "echo second >> effects; read -r _ < gate; echo never >> effects"
CLIS = ["claude", "codex", "opencode"]


def worker(request: str) -> Turn:
    """Two effects, the second in a call that blocks; once told of the kill, it looks before it repeats, and ends."""
    if KILLED not in request:
        return Turn("", INTERRUPTED if "one-done" in request else "echo first >> effects; printf 'one-%s\\n' done")
    if "one-done" not in request:
        return Turn("I remember nothing of this.")
    if "rest-done" in request:
        return Turn(f"Built it.\n\n{PROOF}\n{DELTA}\n")
    look = "grep -qx second effects || echo second >> effects"
    return Turn("", f"{look}; echo third >> effects; printf 'rest-%s\\n' done")


class RealLab(SupervisorLab):
    """One wave: A1 is the real CLI, cont-QA a shell script."""

    def __init__(self, root: Path, executor: str, server: ModelServer) -> None:
        self.executor, self.server = executor, server
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{server.url}/v1", "apiKey": "none"},
            "models": {"scripted": {"name": "scripted"}},
        }
        executors = {
            "default": executor,
            "command": {"argv": ["sh", "agents/run.sh", "{agentId}", "{wave}"]},
            "claude": {"allowRootBypass": True},
            "opencode": {"format": "json", "model": "local/scripted", "configJson": {"provider": {"local": provider}}},
        }
        policy = {"defaultExecutorByRole": {"cont-qa": "command"}, "fallbackExecutorOrder": []}
        super().__init__(root, executors=executors, runtimePolicy=policy)
        os.mkfifo(root / "gate")

    def effects(self) -> list[str]:
        """What the shell calls did, in order."""
        path = self.root / "effects"
        return path.read_text().split() if path.exists() else []

    def wait_for_the_interrupted_call(self) -> None:
        """The call is under way, and the CLI has written down that it is (claude and opencode do so in batches)."""
        wait_until(lambda: self.effects() == ["first", "second"], what="the call that blocks", within=60)
        home, words = self.root.parent / "home", INTERRUPTED.encode()

        def noted() -> bool:
            files = (path for kind in ("*.jsonl", "opencode.db*") for path in home.rglob(kind))
            return any(words in path.read_bytes() for path in files)

        wait_until(noted, what="the call in the session's record")

    def record(self, run: str) -> dict[str, Any]:
        """A1's runtime record."""
        return dict(json.loads((self.run_dir(run) / "agents/A1.runtime.json").read_text()))

    def kill_agent(self, run: str) -> dict[str, Any]:
        """SIGKILL for the runner, the shim, and every process of the agent; returns the record as it was."""
        record = self.record(run)
        kill(record["runnerPid"])
        kill(record["pgid"])  # the shim before its child: it must not live to see an exit code
        wait_until(lambda: kill(*self.agent_processes(record)) == 0, what="the agent's processes to be gone")
        return record

    def kill_everything(self, run: str) -> dict[str, Any]:
        """The same for the supervisor, the wrapper and the launcher first."""
        process = self.process(run)
        kill(self.lease()["pid"], process["pid"], process["launcherPid"])
        return self.kill_agent(run)

    @staticmethod
    def agent_processes(record: dict[str, Any]) -> list[int]:
        """Whatever of the agent lives: its group, and what carries its mark."""
        return sorted({*group_members(record["pgid"]), *processes_marked(NONCE, record["launchId"])})

    def prompts(self, since: int) -> list[str]:
        """What the model was asked since then, without side requests."""
        return [json.dumps(body) for _, body in self.server.asked[since:] if body.get("tools")]


def kill(*pids: int) -> int:
    """SIGKILL; how many of them were there."""
    there = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            there += 1
        except ProcessLookupError:
            pass
    return there


Make = Callable[..., RealLab]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[RealLab] = []

    def make(executor: str, script: Callable[[str], Turn] = worker) -> RealLab:
        need(executor)
        server.script = script
        point_at(server, tmp_path / "home", monkeypatch)
        made.append(RealLab(tmp_path / "repository", executor, server))
        return made[-1]

    with ModelServer("") as server:
        yield make
        for work in made:
            work.close()


@pytest.mark.parametrize(
    ("executor", "whom"),
    [*((executor, "everything") for executor in CLIS), ("claude", "agent"), ("codex", "agent")],
)
def test_a_killed_conversation_goes_on_in_the_same_attempt(lab: Make, executor: str, whom: str) -> None:
    work = lab(executor)
    run = work.submit("--max-retries-per-wave", "0")
    supervisor = work.owned()
    work.wait_for_the_interrupted_call()
    asked = len(work.server.asked)
    if whom == "everything":
        before = work.kill_everything(run)
        supervisor.wait()
        work.owned()
    else:
        before = work.kill_agent(run)
    view = work.finished(run)
    after = work.record(run)
    log = Path(after["logPath"]).read_text()
    assert (view["status"], view["exitCode"]) == ("completed", 0), log[-3000:]
    assert work.effects() == ["first", "second", "third"]
    assert (after["attempt"], after["agentSession"]["resumes"]) == (1, 1)
    assert before["agentSession"]["id"] in (after["agentSession"]["id"], None)
    assert {event["attempt"] for event in work.events("agent_run")} == {1}
    told = work.prompts(asked)[0]
    assert "Build widget A1." in told and "one-done" in told, "the conversation goes on"
    assert KILLED in told and json.dumps(f"was killed as well:\n\n    {INTERRUPTED}\n")[1:-1] in told
