"""`kill -9` in the middle of a shell call of a real agent CLI, under the supervisor: the conversation goes on.

Opt-in like `test_real_clis`: `WAVE_REAL_CLI=/path/to/bin`. Spec: SUP 10.3, 17.11.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
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
LOST = "An earlier try of this task was killed"
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


def diligent(request: str) -> Turn:
    """The same two effects. Told that somebody was at work before, it looks; without its task, it reads that first."""
    if "Build widget A1." not in request:
        return Turn("", f"cat {request.rpartition('read it in ')[2].partition('.md')[0]}.md")
    if "all-done" in request:
        return Turn(f"Built it.\n\n{PROOF}\n{DELTA}\n")
    if KILLED in request or LOST in request or "one-done" not in request:
        look = "; ".join(f"grep -sqx {word} effects || echo {word} >> effects" for word in ("first", "second"))
        if KILLED in request or LOST in request:
            return Turn("", f"{look}; printf 'all-%s\\n' done")
        return Turn("", "echo first >> effects; printf 'one-%s\\n' done")
    return Turn("", INTERRUPTED)


def brief(request: str) -> Turn:
    """One effect, then the end."""
    if "one-done" in request:
        return Turn(f"Built it.\n\n{PROOF}\n{DELTA}\n")
    return Turn("", "echo first >> effects; printf 'one-%s\\n' done")


class RealLab(SupervisorLab):
    """One wave: A1 is the real CLI, cont-QA a shell script."""

    def __init__(self, root: Path, executor: str, server: ModelServer, held_up: bool = False) -> None:
        self.executor, self.server = executor, server
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{server.url}/v1", "apiKey": "none"},
            "models": {"scripted": {"name": "scripted"}},
        }
        executors: dict[str, Any] = {
            "codex": {},
            "default": executor,
            "command": {"argv": ["sh", "agents/run.sh", "{agentId}", "{wave}"]},
            "claude": {"allowRootBypass": True},
            "opencode": {"format": "json", "model": "local/scripted", "configJson": {"provider": {"local": provider}}},
        }
        policy = {"defaultExecutorByRole": {"cont-qa": "command"}, "fallbackExecutorOrder": []}
        if held_up:  # the first time the CLI waits before it is even loaded
            executors[executor] = {**executors[executor], "command": f"sh agents/late.sh {executor}"}
        super().__init__(root, executors=executors, runtimePolicy=policy)
        self.write("agents/late.sh", 'if ! [ -e held-up ]; then touch held-up; read -r _ < gate; fi\nexec "$@"\n')
        os.mkfifo(root / "gate")

    def finish(self, child: subprocess.Popen[str], within: float = 200) -> subprocess.CompletedProcess[str]:
        return super().finish(child, within)

    def finished(self, run_id: str, within: int = 180) -> dict[str, Any]:
        return super().finished(run_id, within)

    def effects(self) -> list[str]:
        """What the shell calls did, in order."""
        path = self.root / "effects"
        return path.read_text().split() if path.exists() else []

    def wait_for_the_interrupted_call(self) -> None:
        """The call is under way, and the CLI has written down that it is (claude and opencode do so in batches)."""
        wait_until(lambda: self.effects() == ["first", "second"], what="the call that blocks", within=180)
        words = INTERRUPTED.encode()

        def noted() -> bool:
            return any(words in path.read_bytes() for kind in ("*.jsonl", "opencode.db*") for path in self.kept(kind))

        wait_until(noted, what="the call in the session's record")

    def kept(self, pattern: str) -> list[Path]:
        """Files of that name that the CLI keeps."""
        return list((self.root.parent / "home").rglob(pattern))

    def record(self, run: str) -> dict[str, Any]:
        """A1's runtime record."""
        return dict(json.loads((self.run_dir(run) / "agents/A1.runtime.json").read_text()))

    def kill_agent(self, run: str) -> dict[str, Any]:
        """SIGKILL for the runner, the shim and the CLI, not for its shell; returns the record as it was."""
        record = self.runtime(run, "A1")
        kill(record["runnerPid"], record["pgid"])  # the shim before its child: it must not live to see an exit code
        wait_until(lambda: kill(*group_members(record["pgid"])) == 0, what="the CLI to be gone")
        return record

    def kill_everything(self, run: str) -> dict[str, Any]:
        """SIGKILL from the supervisor down to the shell."""
        process = self.process(run)
        kill(self.lease()["pid"], process["pid"], process["launcherPid"])
        record = self.kill_agent(run)
        wait_until(lambda: kill(*self.agent_processes(record)) == 0, what="the agent's processes to be gone")
        return record

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

    def make(executor: str, script: Callable[[str], Turn] = worker, held_up: bool = False) -> RealLab:
        need(executor)
        server.script = script
        point_at(server, tmp_path / "home", monkeypatch)
        made.append(RealLab(tmp_path / "repository", executor, server, held_up))
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
    assert work.agent_processes(before) == [], "the shell that outlived its CLI was ended first"
    assert (after["attempt"], after["agentSession"]["resumes"]) == (1, 1)
    assert before["agentSession"]["id"] in (after["agentSession"]["id"], None)
    assert {event["attempt"] for event in work.events("agent_run")} == {1}
    told = work.prompts(asked)[0]
    assert "Build widget A1." in told and "one-done" in told, "the conversation goes on"
    assert KILLED in told and json.dumps(f"was killed as well:\n\n    {INTERRUPTED}\n")[1:-1] in told


@pytest.mark.parametrize("executor", ["claude", "codex"])
def test_a_kill_before_the_session_exists_loses_nothing(lab: Make, executor: str) -> None:
    """Claude, whose session Wave named, forgot it: the whole prompt again, in the same attempt.

    Codex named none: there is nothing to go on with, the attempt has no status, and the next one has the whole prompt.
    """
    work = lab(executor, brief, held_up=True)
    run = work.submit()
    supervisor = work.owned()
    wait_until(lambda: (work.root / "held-up").exists(), what="the CLI to be about to start")
    before = work.kill_everything(run)
    supervisor.wait()
    work.owned()
    assert work.finished(run)["exitCode"] == 0
    after = work.record(run)
    assert (work.effects(), after["attempt"]) == (["first"], 1 if executor == "claude" else 2)
    assert after["agentSession"]["id"] != before["agentSession"]["id"]
    assert all("Build widget A1." in prompt for prompt in work.prompts(0))


@pytest.mark.parametrize("executor", ["claude", "codex"])
def test_a_session_that_is_gone_is_begun_again_and_the_agent_is_told(lab: Make, executor: str) -> None:
    work = lab(executor, diligent)
    run = work.submit("--max-retries-per-wave", "0")
    supervisor = work.owned()
    work.wait_for_the_interrupted_call()
    asked = len(work.server.asked)
    before = work.kill_everything(run)
    for path in (*work.kept("*.jsonl"), *work.kept("*.sqlite*")):
        path.unlink()
    supervisor.wait()
    work.owned()
    assert work.finished(run)["exitCode"] == 0
    after = work.record(run)
    assert (work.effects(), after["attempt"]) == (["first", "second"], 1)
    assert after["agentSession"]["id"] != before["agentSession"]["id"]
    told = work.prompts(asked)[0]
    assert "Build widget A1." in told and LOST in told and "Look before you repeat it" in told


def test_a_conversation_that_lost_its_task_reads_it(lab: Make) -> None:
    """Codex had written down that the session began, and not yet what it was asked."""
    work = lab("codex", diligent)
    run = work.submit("--max-retries-per-wave", "0")
    supervisor = work.owned()
    work.wait_for_the_interrupted_call()
    asked = len(work.server.asked)
    work.kill_everything(run)
    (kept,) = work.kept("rollout-*.jsonl")
    kept.write_bytes(kept.read_bytes().splitlines(True)[0])
    supervisor.wait()
    work.owned()
    assert work.finished(run)["exitCode"] == 0
    assert (work.effects(), work.record(run)["agentSession"]["resumes"]) == (["first", "second"], 1)
    assert "Build widget A1." not in work.prompts(asked)[0] and "Build widget A1." in work.prompts(asked)[-1]
