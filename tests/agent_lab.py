"""A small laboratory for agent processes: real runners and real executors (shell scripts) in a private folder."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from waiting import wait_until

from wave_lib.base import locks
from wave_lib.base.event_loop import EventLoop
from wave_lib.runtime.agent_records import files_of
from wave_lib.runtime.agent_sessions import AgentHandle, AgentStart, start_agent
from wave_lib.runtime.agent_waiting import AgentWait, WaitHooks, WaitResult
from wave_lib.runtime.executors.launch_spec import AgentSession, LaunchSpec


class Lab:
    """Starts agents below one folder and ends whatever is left of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started: list[AgentStart] = []

    def spec(self, script: str, **changes: Any) -> LaunchSpec:
        """A launch spec that runs a shell script with the prompt on its stdin."""
        values: dict[str, Any] = {
            "executor_id": "command",
            "command": "sh",
            "argv": ("sh", "-c", script),
            "stdin_path": str(self.root / "prompt.md"),
            "cwd": str(self.root),
            "env": {},
            "output_format": "text",
            "invocation_lines": (),
            "limits": {},
            "overlay": {},
        }
        return LaunchSpec(**{**values, **changes})

    def request(self, script: str = "true", agent_id: str = "A1", **changes: Any) -> AgentStart:
        prompt = self.root / "prompt.md"
        if not prompt.exists():
            prompt.write_text("Do the work of this test.\nThen print the marker lines.\n")
        spec = changes.pop("spec", None) or self.spec(script, **changes.pop("spec_changes", {}))
        base = self.root / "status" / f"wave-0-{agent_id.lower()}"
        values: dict[str, Any] = {
            "root": str(self.root),
            "project": "default",
            "lane": "main",
            "wave": 0,
            "attempt": 1,
            "agent_id": agent_id,
            "session_name": f"main_0_{agent_id.lower()}",
            "spec": spec,
            "prompt_path": str(prompt),
            "log_path": str(self.root / "logs" / f"{agent_id.lower()}.log"),
            "status_path": f"{base}.status",
            "runtime_path": f"{base}.runtime.json",
            "overlay_dir": str(self.root / "executors" / agent_id.lower()),
            "prompt_hash": "p1",
            "definition_hash": "d1",
            "orchestrator_id": "orch",
            "timeout_seconds": 60.0,
            "grace_seconds": 1.0,
            "heartbeat_seconds": 0.2,
        }
        request = AgentStart(**{**values, **changes})
        self.started.append(request)
        return request

    def start(self, script: str = "true", agent_id: str = "A1", **changes: Any) -> AgentHandle:
        return start_agent(self.request(script, agent_id, **changes))

    def wait(self, *handles: AgentHandle, hooks: WaitHooks | None = None, **options: Any) -> WaitResult:
        with EventLoop() as loop:
            wait = AgentWait(loop, hooks or WaitHooks(), **options)
            for handle in handles:
                wait.add(handle)
            return wait.run()

    def run(self, script: str = "true", **changes: Any) -> tuple[dict[str, Any], dict[str, Any], WaitResult]:
        """Start one agent and wait for it: status, record, result."""
        handle = self.start(script, **changes)
        result = self.wait(handle)
        return load(handle.status_path), load(handle.runtime_path), result

    def running(self, handle: AgentHandle) -> dict[str, Any]:
        """The runtime record once the executor runs."""
        return wait_until(lambda: self._record_if_running(handle), what="the agent to run")

    def _record_if_running(self, handle: AgentHandle) -> dict[str, Any] | None:
        record = load(handle.runtime_path)
        return record if record and record["terminalDisposition"] == "running" else None

    def clean_up(self) -> None:
        """Kill what a failed test left."""
        for request in self.started:
            record = load(request.runtime_path)
            for key in ("runnerPid", "pgid"):
                if record.get(key) and locks.held(files_of(request.runtime_path).tree_lock):
                    try:
                        (os.killpg if key == "pgid" else os.kill)(record[key], signal.SIGKILL)
                    except ProcessLookupError:
                        pass


def load(path: str) -> dict[str, Any]:
    """A JSON object from a file, empty when there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            value: dict[str, Any] = json.load(file)
            return value
    except FileNotFoundError:
        return {}


def session(resume: str, source: str = "chosen", pattern: str | None = None, lost: str | None = None) -> AgentSession:
    """A session plan whose resume call is a shell script that gets the id as `$1`."""
    return AgentSession(source, ("sh", "-c", resume, "sh", "{sessionId}"), pattern, lost)
