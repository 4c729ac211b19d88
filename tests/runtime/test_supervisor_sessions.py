"""Conversations under the supervisor: everything of a run is killed, the agent's session goes on. SUP 10.3, 17.11."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from supervisor_lab import SupervisorLab
from waiting import wait_until

from wave_lib.base.processes import processes_marked
from wave_lib.runtime.agent_records import NONCE

# A CLI with sessions: `cli.sh <agent> <wave> start|resume <id>`. A0 does its work at once, A1 blocks in its first try.
CLI = r"""
echo "$3 $1 $4" >> agents/calls
cat > "agents/$3-$1.prompt"
[ "$1" = A0 ] && . ./agents/A0.sh && exit
[ "$3" = resume ] || [ -e agents/restarted ] || { $SHOW; echo once >> effects; read -r _ < gate; exit 1; }
. ./agents/A1.sh
"""


class SessionLab(SupervisorLab):
    """Every agent is the CLI above."""

    def __init__(self, root: Path, show: str = "", **session: Any) -> None:
        call = ["sh", "agents/cli.sh", "{agentId}", "{wave}"]
        block = {
            "argv": [*call, "start", "none"],
            "session": {"resumeArgv": [*call, "resume", "{sessionId}"], **session},
        }
        if "idPattern" not in session:
            block["session"]["argv"] = [*call, "start", "{sessionId}"]
        super().__init__(root, executors={"default": "command", "command": block})
        self.write("agents/cli.sh", CLI.replace("$SHOW", show or ":"))
        os.mkfifo(root / "gate")

    def calls(self) -> list[list[str]]:
        """`[start|resume, agent, id]` of every try, in order."""
        path = self.root / "agents/calls"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def record(self, run: str) -> dict[str, Any]:
        return dict(json.loads((self.run_dir(run) / "agents/A1.runtime.json").read_text()))

    def kill_everything(self, run: str) -> dict[str, Any]:
        """SIGKILL from the supervisor down to the last child of A1, once A1 is in its blocking call."""
        wait_until(lambda: (self.root / "effects").exists(), what="A1's work")
        record, process = self.runtime(run, "A1"), self.process(run)
        for pid in (self.lease()["pid"], process["pid"], process["launcherPid"], record["runnerPid"], record["pgid"]):
            os.kill(pid, signal.SIGKILL)

        def left() -> list[int]:
            pids = processes_marked(NONCE, record["launchId"])
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            return pids

        wait_until(lambda: not left(), what="A1's processes to be gone")
        return record


def test_everything_killed_in_the_middle_of_a_call_and_the_conversation_goes_on(tmp_path: Path) -> None:
    work = SessionLab(tmp_path)
    try:
        run = work.submit("--max-retries-per-wave", "0")
        first = work.owned()
        before = work.kill_everything(run)
        first.wait()
        work.owned()
        view = work.finished(run)
        assert (view["status"], view["exitCode"]) == ("completed", 0)
        known = before["agentSession"]["id"]
        assert known, "durable before the executor started"
        assert [call for call in work.calls() if call[1] == "A1"] == [["start", "A1", known], ["resume", "A1", known]]
        after = work.record(run)
        assert (after["attempt"], after["agentSession"]["id"], after["agentSession"]["resumes"]) == (1, known, 1)
        assert {event["attempt"] for event in work.events("agent_run")} == {1}
        assert {event["attempt"] for event in work.events("attempt")} == {1}
        assert (tmp_path / "effects").read_text() == "once\n"
        assert "killed from outside" in (tmp_path / "agents/resume-A1.prompt").read_text()
        assert "Build widget A1." in (tmp_path / "agents/start-A1.prompt").read_text()
    finally:
        work.close()


@pytest.mark.parametrize("named", [True, False])
def test_a_session_the_cli_names_goes_on_only_when_it_was_named(tmp_path: Path, named: bool) -> None:
    """The name may be in the log alone: the runner was killed before it looked. Without it the agent is tried again."""
    work = SessionLab(tmp_path, show="echo session: s-1" if named else "", idPattern="^session: (\\S+)")
    try:
        run = work.submit()
        work.owned()
        work.kill_everything(run)
        work.write("agents/restarted", "")
        work.owned()
        assert work.finished(run)["status"] == "completed"
        second = ["resume", "A1", "s-1"] if named else ["start", "A1", "none"]
        assert [call for call in work.calls() if call[1] == "A1"] == [["start", "A1", "none"], second]
        assert work.record(run)["attempt"] == (1 if named else 2)
        assert named or "Build widget A1." in (tmp_path / "agents/start-A1.prompt").read_text()
    finally:
        work.close()
