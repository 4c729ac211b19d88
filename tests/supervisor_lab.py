"""A small workspace with submitted runs: real clients, a real supervisor, agents that are shell scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from launch_lab import ROOT, LaunchLab
from waiting import wait_until

CONTEXT = ("--project", "default", "--lane", "main")
QUICK = ("--no-dashboard", "--agent-launch-stagger-ms", "0")


class SupervisorLab(LaunchLab):
    """`submit(...)`, `supervise(...)`, `view(run)`; everything that is left is ended by `close`."""

    def __init__(self, root: Path, workers: tuple[str, ...] = ("A1",), waves: int = 1, **config: Any) -> None:
        supervisor = {
            "terminationGraceSeconds": 2,
            "agentHeartbeatSeconds": 1,
            "leaseSeconds": 3,
            "heartbeatSeconds": 1,
            "scanSeconds": 1,
            "idleExitSeconds": 20,
            **config.pop("supervisor", {}),
        }
        stewards = config.pop("stewards", ())
        super().__init__(root, workers, waves, stewards, supervisor=supervisor, **config)
        self.home = root / ".tmp/main-wave-launcher/supervisor"

    # --- commands

    def wave(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """One client command, to its end."""
        return self.finish(self.begin(*arguments, env=env))

    def begin(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """One command as a process of its own, not waited for."""
        return self.start_python(str(ROOT / "wave.py"), *arguments, env=env)

    def start_python(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A Python program in the workspace, not waited for."""
        return self.run_beside([sys.executable, *arguments], env)

    def submit(self, *arguments: str, daemon: bool = False, env: dict[str, str] | None = None) -> str:
        """Queue a launch; returns the run id. Starts a supervisor only when asked to."""
        flags = () if daemon else ("--no-daemon",)
        done = self.wave("submit", "--lane", "main", *QUICK, *arguments, *flags, "--json", env=env)
        assert done.returncode == 0, done.stderr
        run_id: str = json.loads(done.stdout)["runId"]
        return run_id

    def supervise(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A supervisor in the foreground, not waited for."""
        return self.begin("supervise", *CONTEXT, *arguments, env=env)

    def owned(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A supervisor that holds the lease."""
        child = self.supervise(*arguments, env=env)
        wait_until(lambda: self.lease().get("pid") == child.pid, what="the lease")
        return child

    def of(self, verb: str, run_id: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A client command about one run."""
        return self.wave(verb, "--run-id", run_id, *CONTEXT, *arguments)

    def finished(self, run_id: str, within: int = 60) -> dict[str, Any]:
        """The view of a run once it is over."""
        done = self.of("wait", run_id, "--timeout-seconds", str(within), "--json")
        assert done.returncode != 124, done.stderr + done.stdout
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    # --- what is there

    def run_dir(self, run_id: str) -> Path:
        """The folder of a run."""
        return self.home / "runs" / run_id

    def lease(self) -> dict[str, Any]:
        """The lease record, empty when there is none."""
        try:
            return dict(json.loads((self.home / "daemon.lock").read_text()))
        except (FileNotFoundError, ValueError):
            return {}

    def view(self, run_id: str) -> dict[str, Any]:
        """What `status` shows."""
        done = self.of("status", run_id, "--json")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def recorded(self, run_id: str) -> dict[str, Any]:
        """The snapshot on disk."""
        return dict(json.loads((self.run_dir(run_id) / "state.json").read_text()))

    def observations(self, run_id: str) -> list[str]:
        """Types of the run's events, oldest first."""
        lines = (self.run_dir(run_id) / "events.jsonl").read_text().splitlines()
        return [json.loads(line)["type"] for line in lines]

    def process(self, run_id: str) -> dict[str, Any]:
        """`launcher-process.json`, once the launcher is known."""

        def look() -> dict[str, Any] | None:
            try:
                record = json.loads((self.run_dir(run_id) / "launcher-process.json").read_text())
            except (FileNotFoundError, ValueError):
                return None
            return record if record.get("launcherPid") else None

        return wait_until(look, what="the launcher's process record")

    def runtime(self, run_id: str, agent: str) -> dict[str, Any]:
        """A runtime record, once the agent runs."""
        path = self.run_dir(run_id) / "agents" / f"{agent}.runtime.json"

        def look() -> dict[str, Any] | None:
            try:
                record = json.loads(path.read_text())
            except (FileNotFoundError, ValueError):
                return None
            return record if record.get("terminalDisposition") == "running" else None

        return wait_until(look, what=f"{agent} to run")

    def starts(self) -> list[str]:
        """`<agent> <wave>` of every executor that was started, sorted."""
        return sorted(line.split(" ", 1)[1] for line in self.log() if line.startswith("start"))

    def gate(self, agent: str, *lines: str) -> Path:
        """The agent waits at a FIFO before it prints its lines; writing to the FIFO lets it go on."""
        path = self.root / f"gate-{agent}"
        os.mkfifo(path)
        self.script(agent, f"read -r _ < {path.name}\n" + self.echo(*lines))
        return path

    def close(self) -> None:
        """End supervisors by their lease, wrappers and launchers by their records, then what `LaunchLab` knows."""
        from wave_lib.base.process_identity import Identity, alive

        records = [self.lease().get("identity")]
        for path in self.home.glob("runs/*/launcher-process.json"):
            try:
                record = json.loads(path.read_text())
            except ValueError:
                continue
            records += [record.get("identity"), record.get("launcherIdentity")]
        for value in records:
            identity = Identity.from_json(value)
            if identity is not None and alive(identity):
                os.killpg(identity.pid, signal.SIGCONT)
                os.killpg(identity.pid, signal.SIGKILL)
        super().close()
