"""The detached process around one launcher: starts it, forwards signals, and writes down how it ended.

Holds:       the run's launcher lock, inherited from the supervisor and handed on to the launcher.
Writes:      `launcher-process.json` (first act, then as heartbeat), `launcher-status.json` (last act).
When killed: the launcher goes on under the lock; its journal tells how it ended.

Started as `launcher-wrapper <run dir> <generation> <epoch> <lock fd> <heartbeat seconds> -- <launch argv>`.
Spec: SUP 4.5, 10.2.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ..base.durable_steps import set_step_role
from ..base.errors import DiskError, SpawnError, UsageError
from ..base.event_loop import EventLoop
from ..base.files import write_json
from ..base.locks import adopt
from ..base.processes import identity_of, self_command, spawn_on, spawn_once
from ..base.timestamps import now_iso

if TYPE_CHECKING:
    import subprocess

    JsonObject = dict[str, Any]

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PATIENCE_SECONDS = 600.0


def run(argv: list[str], root: str) -> int:
    """Entry of the hidden command; always 0 once it has told how the launcher ended."""
    set_step_role("wrapper")
    if len(argv) < 6 or argv[5] != "--":
        raise UsageError("launcher-wrapper is started by the supervisor only")
    generation, epoch, lock_fd = (int(text) for text in argv[1:4])
    with EventLoop() as loop:
        wrapper = _Wrapper(loop, root, argv[0], generation, epoch, float(argv[4]), lock_fd)
        wrapper.start(argv[6:])
        loop.run()
        wrapper.finish()
    return 0


class _Wrapper:
    """One launcher, from its start to the record of its end."""

    def __init__(
        self, loop: EventLoop, root: str, run_dir: str, generation: int, epoch: int, beat: float, lock_fd: int
    ) -> None:
        self.loop, self.root, self.run_dir = loop, root, run_dir
        self.generation, self.epoch, self.beat_seconds = generation, epoch, beat
        self.lock = adopt(os.path.join(run_dir, "launcher.flock"), lock_fd)
        self.child: subprocess.Popen[bytes] | None = None
        self.error: SpawnError | None = None
        self.started_at = now_iso()
        self.pending: list[int] = []  # signals that came before the launcher existed
        self.process: JsonObject = {
            "schemaVersion": 1,
            "runId": os.path.basename(run_dir),
            "launchGeneration": generation,
            "pid": os.getpid(),
            "identity": identity_of(os.getpid()).to_json(),
            "launcherPid": None,
            "launcherIdentity": None,
            "startedAt": self.started_at,
            "heartbeatAt": self.started_at,
            "heartbeatSeq": 0,
        }

    def start(self, launch_argv: list[str]) -> None:
        """W1 to W3: the process record, the launcher, signals."""
        self._write_process()
        for number in _FORWARDED:
            self.loop.on_signal(number, partial(self._forward, number))
        self.loop.on_signal(signal.SIGHUP, lambda: None)  # a closed terminal ends nothing; not inherited
        argv = [*self_command(), "launch", *launch_argv]
        env = {
            **os.environ,
            "WAVE_SUPERVISOR_RUN_ID": os.path.basename(self.run_dir),
            "WAVE_SUPERVISOR_RUN_DIR": self.run_dir,
            "WAVE_SUPERVISOR_GENERATION": str(self.generation),
            "WAVE_SUPERVISOR_EPOCH": str(self.epoch),
            "WAVE_SUPPRESS_UPDATE_NOTICE": "1",
        }

        def begin() -> subprocess.Popen[bytes]:
            # stdout and stderr are the run's launcher.log already
            return spawn_once(argv, cwd=self.root, env=env, stdout=1, stderr=2, keep_fds=[self.lock.pass_on()])

        spawn_on(self.loop, begin, self._started, self._failed, self._retried)

    def _started(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        self.lock.shared_with(child.pid)
        for number in self.pending:
            child.send_signal(number)
        self.process.update(launcherPid=child.pid, launcherIdentity=identity_of(child.pid).to_json())
        self._beat()
        self.loop.watch_process(child.pid, self.loop.stop)

    def _failed(self, error: SpawnError) -> None:
        self.error = error
        self.loop.stop()

    def _retried(self, error: SpawnError, tries: int, delay: float) -> None:
        print(f"[launcher-wrapper] {error}; try {tries + 1} in {delay:.1f} s", flush=True)

    def _forward(self, number: int) -> None:
        if self.child is None:
            self.pending.append(number)
        elif self.child.poll() is None:
            self.child.send_signal(number)

    def _beat(self) -> None:
        self.process["heartbeatAt"] = now_iso()
        self.process["heartbeatSeq"] += 1
        self.lock.beat()
        self._write_process()
        self.loop.call_later(self.beat_seconds, self._beat)

    def _write_process(self) -> None:
        try:
            write_json(os.path.join(self.run_dir, "launcher-process.json"), self.process, durable=False)
        except DiskError as error:  # a heartbeat; the lock tells the truth meanwhile
            print(f"[launcher-wrapper] {error}", flush=True)

    def finish(self) -> None:
        """W5: how the launcher ended, tried for ten minutes while the lock is held."""
        status = self._status()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = 0.2
        while True:
            try:
                write_json(os.path.join(self.run_dir, "launcher-status.json"), status)
                return
            except DiskError as error:
                if time.monotonic() >= deadline:
                    raise
                print(f"[launcher-wrapper] {error}; trying again", flush=True)
            time.sleep(pause)
            pause = min(pause * 2, 15.0)

    def _status(self) -> JsonObject:
        code = self.child.wait() if self.child is not None else int(self.error.code if self.error else 1)
        killed = code < 0
        return {
            "schemaVersion": 1,
            "runId": self.process["runId"],
            "launchGeneration": self.generation,
            "exitCode": 128 - code if killed else code,
            "signal": signal.Signals(-code).name if killed else None,
            "terminal": not killed,
            "startedAt": self.started_at,
            "completedAt": now_iso(),
            "launcherPid": self.process["launcherPid"],
            "error": str(self.error) if self.error else None,
        }
