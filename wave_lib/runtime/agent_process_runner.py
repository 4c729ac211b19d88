"""Agent runner: sees one attempt of one agent to its end and records how it ended.

Holds:       the runner lock; the tree lock and its slots, which the executor inherits.
Writes:      the runtime record and the status file, and nobody else does while it lives; some lines of the agent's log,
             in which it masks leased values at the end.
When killed: the executor goes on, the shim keeps its exit code in `<base>.exit.json`, the launcher finalises it.

Started as the hidden command `agent-runner <payload file>`; hundreds of these live at once, so it imports little.

Spec: SUP 16, 17.11; LAUNCH 8.4, 8.5.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, Callable

from ..base import locks
from ..base.durable_steps import set_step_role
from ..base.errors import DiskError, SpawnError, StateError, UsageError, WaveError
from ..base.event_loop import EventLoop, Timer
from ..base.files import append_text, load_json, mask_in_log, open_log, remove, write_json
from ..base.processes import group_alive, identity_of, processes_marked, spawn_on, spawn_once
from ..base.timestamps import iso_of, now_iso
from . import agent_output
from .agent_records import (
    CODE_SIGINT,
    CODE_SIGTERM,
    CODE_SPAWN,
    CODE_TIMEOUT,
    NONCE,
    SHIM,
    Ending,
    ending_of_code,
    exit_record_of,
    files_of,
    read_object,
    seconds_left,
    status_record,
)

if TYPE_CHECKING:
    import subprocess

SESSION_ID = "{sessionId}"  # as in executors.launch_spec, which would cost an import
_RECORD_PATIENCE_SECONDS = 600.0
_SESSION_LOOKS = (0.5, 1.0, 2.0, 4.0, 8.0)
_GROUP_POLL_SECONDS = 0.2
_REQUIRED = ("statusPath", "logPath", "argv", "runtimePath", "agentId", "launchId")


def run(argv: list[str], root: str) -> int:
    """Run one payload to its end. Exit code 0 when the outcome is recorded, 2 for a payload that cannot be used."""
    set_step_role("runner")
    words = [word for word in argv if word != "--payload-file"]
    if len(words) != 1:
        raise UsageError("agent-runner takes one payload file")
    payload = read_payload(words[0])
    with EventLoop(use_inotify=False) as loop:
        runner = AgentRunner(payload, loop)
        runner.begin()
        try:
            loop.run()
        except (WaveError, OSError) as error:
            runner.fail(error)
    return 0


def read_payload(path: str) -> dict[str, Any]:
    """The payload of one launch. Raises UsageError or StateError for one that cannot be run. Spec: SUP 16.2."""
    payload = load_json(path)
    if not isinstance(payload, dict):
        raise StateError("the runner payload is not an object", path)
    for key in _REQUIRED:
        if not payload.get(key):
            raise StateError(f"the runner payload lacks {key}", path)
    return payload


class AgentRunner:
    """One attempt as a chain of events: slots, try, pause after a rate limit, next try, end. `begin`, run the loop."""

    def __init__(self, payload: dict[str, Any], loop: EventLoop) -> None:
        self.payload = payload
        self.loop = loop
        self.files = files_of(payload["runtimePath"])
        self.record = read_object(self.files.runtime) or {}
        left = seconds_left(self.record)  # of an agent whose session goes on; before the record says that we serve it
        self.ends_at = None if left is None else time.monotonic() + left
        self.kept_fds: list[int] = []
        self.tree: locks.FileLock | None = None
        self.agent_slot: locks.FileLock | None = None
        self.launch_slot: locks.FileLock | None = None
        self.ready_fd: int = payload.get("readyFd") or -1
        self.child: subprocess.Popen[bytes] | None = None
        self.leases: dict[str, str] = {}
        self.tries = 0
        self.offset = 0
        self.resuming = bool(payload.get("resume"))
        self.stop: Ending | None = None
        self.retry_timer: Timer | None = None
        self.kill_at = 0.0
        self.told: set[int] = set()  # processes outside the group that were asked to end
        self.done = False

    # --- beginning

    def begin(self) -> None:
        """Take the locks, hear signals, start the heartbeat, and go for the first try."""
        self._inherit()
        locks.trust_strangers(float(self.payload.get("foreignHostGraceSeconds") or locks.strangers_trusted()))
        lock = locks.take(self.files.runner_lock)
        if lock is None:
            raise StateError("another runner serves this agent", self.files.runner_lock)
        self.runner_lock = lock
        self.loop.on_signal(signal.SIGTERM, lambda: self._told_to_stop(CODE_SIGTERM, "sigterm"))
        self.loop.on_signal(signal.SIGINT, lambda: self._told_to_stop(CODE_SIGINT, "sigint"))
        self.loop.on_signal(signal.SIGHUP, lambda: None)
        self.record.update(runnerPid=os.getpid(), runnerIdentity=identity_of(os.getpid()).to_json())
        self._write_record()
        self.loop.call_later(self._heartbeat_seconds(), self._heartbeat)
        self._take_slots()

    def _inherit(self) -> None:
        """Make inherited descriptors ours alone, and read the leased values to the end of their pipe."""
        tree, lease = self.payload.get("treeLockFd"), self.payload.get("leasePipeFd")
        if tree is not None:
            self.tree = locks.adopt(self.files.tree_lock, tree)
            self.kept_fds.append(tree)
        if self.ready_fd >= 0:
            os.set_inheritable(self.ready_fd, False)
        if lease is not None:
            import json

            with os.fdopen(lease, "rb") as pipe:
                self.leases = json.loads(pipe.read() or b"{}")

    def _take_slots(self) -> None:
        """Wait for room in the workspace; a queued agent's deadline does not run yet. Spec: SUP 15.4."""
        slots = self.payload.get("slots")
        if not slots or self.stop is not None:
            self._start_try()
            return
        room, agent = self._slot(slots, "agent", slots.get("maxAgents") or 0)
        ready, launch = self._slot(slots, "launch", slots.get("maxLaunches") or 0) if room else (False, None)
        if ready:
            self.payload["slots"] = None  # taken for good, also for later tries
            self.agent_slot, self.launch_slot = agent, launch
            self.kept_fds += [agent.pass_on()] if agent else []
            self._start_try()
            return
        if agent is not None:
            agent.close()
        if self.record.get("terminalDisposition") != "queued":
            self.record["terminalDisposition"] = "queued"
            self._write_record()
        self.retry_timer = self.loop.call_later(_jittered(0.5, 1.0), self._take_slots)

    def _slot(self, slots: dict[str, Any], kind: str, count: int) -> tuple[bool, locks.FileLock | None]:
        """(True, the lock of a free slot), (True, None) where there is no limit, (False, None) when all are taken."""
        if count <= 0:
            return True, None
        for number in range(count):
            path = os.path.join(slots["directory"], f"{kind}-{number}.flock")
            if not locks.held(path):
                lock = locks.take(path)
                if lock is not None:
                    return True, lock
        return False, None

    # --- one try

    def _start_try(self) -> None:
        self.retry_timer = self.child = None
        self.tries += 1
        self.record["tryIndex"] = int(self.record.get("tryIndex") or 0) + 1
        log = open_log(self.payload["logPath"])
        try:
            self.offset = os.fstat(log).st_size
            self.record["logOffset"] = self._status_offset()
            argv = self._argv()
            remove(self.files.exit)
            # The record must name the try and its session before anything of it can exist.
            self._write_record(durable=True)
            stdin_path = self._prompt_path()
            stdin = os.open(stdin_path, os.O_RDONLY | os.O_CLOEXEC) if stdin_path else None
        except OSError:
            os.close(log)
            raise

        def start() -> subprocess.Popen[bytes]:
            return spawn_once(
                argv,
                cwd=self.payload.get("cwd"),
                env=self._environment(),
                stdin=stdin,
                stdout=log,
                stderr=log,
                keep_fds=self.kept_fds,
            )

        def close_streams() -> None:
            for fd in (log, stdin):
                if fd is not None:
                    os.close(fd)

        def started(child: subprocess.Popen[bytes]) -> None:
            close_streams()
            self._started(child)

        def failed(error: SpawnError) -> None:
            close_streams()
            self._not_started(error)

        def retried(error: SpawnError, tries: int, delay: float) -> None:
            self._say(f"spawn-retry {tries}: {error}; again in {delay:.1f}s")

        spawn_on(self.loop, start, started, failed, retried)

    def _argv(self) -> list[str]:
        payload, session = self.payload, self.payload.get("session")
        argv = list(payload["argv"])
        if session:
            argv = self._argv_with_session(argv, session)
        argv[0] = _found_program(argv[0], self._environment().get("PATH", os.defpath), payload.get("cwd") or ".")
        shim = ["/bin/sh", "-c", SHIM, "wave-exec", self.files.base]
        return [*shim, str(self.record["tryIndex"]), str(payload.get("attempt") or 0), payload["launchId"], *argv]

    def _argv_with_session(self, argv: list[str], session: dict[str, Any]) -> list[str]:
        """Name the session of this try, or the one that goes on. A try repeated after a rate limit begins a new one."""
        old = self.record.get("agentSession") or {}
        if self.resuming:
            known = self.payload["resume"]["sessionId"]
            self.record["agentSession"] = {**old, "id": known, "resumes": int(old.get("resumes") or 0) + 1}
            return [word.replace(SESSION_ID, known) for word in session["resumeArgv"]]
        wave_chooses = session["source"] == "chosen"
        chosen = _uuid5(self.payload["launchId"], str(self.record["tryIndex"])) if wave_chooses else None
        self.record["agentSession"] = {
            "id": chosen,
            "source": session["source"],
            "cwd": self.payload.get("cwd"),
            "resumable": True,
            "resumes": int(old.get("resumes") or 0),
        }
        return [word.replace(SESSION_ID, chosen) for word in argv] if chosen else argv

    def _prompt_path(self) -> str | None:
        if self.resuming:
            return str(self.payload["resume"]["promptPath"])
        resume = self.payload.get("resume")  # a session that was to go on and is not known any more
        path: str | None = self.payload.get("stdinPath")
        return resume["againPath"] if path and resume else path

    def _environment(self) -> dict[str, str]:
        strip = set(self.payload.get("envStrip") or ())
        env = {name: value for name, value in os.environ.items() if name not in strip}
        env.update(self.payload.get("env") or {})
        env.update(self.leases)
        env.setdefault("NO_COLOR", "1")
        # Some CLIs believe PWD before they ask the system; the launcher's would send them to another folder.
        env["PWD"] = str(self.payload.get("cwd") or os.getcwd())
        return env

    def _started(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        for kept in (self.tree, self.agent_slot):
            if kept is not None:
                kept.shared_with(child.pid)
        now = time.time()
        first = not self.record.get("executorStartedAt")
        self.record.update(
            executorPid=child.pid,
            pid=child.pid,
            pgid=child.pid,
            executorIdentity=identity_of(child.pid).to_json(),
            terminalDisposition="running",
        )
        if first:
            self.record["executorStartedAt"] = iso_of(now)
            self.record["deadlineAt"] = iso_of(now + float(self.payload.get("timeoutSeconds") or 14400))
        if self.tries == 1:
            if self.ends_at is None or first:
                self.ends_at = time.monotonic() + float(self.payload.get("timeoutSeconds") or 14400)
            self.record["deadlineMonotonic"] = self.ends_at
            self.loop.call_at(self.ends_at, self._deadline)
        self.loop.watch_process(child.pid, self._ended)
        self._write_record()
        self._report_running()
        self._look_for_session(_SESSION_LOOKS)
        if self.stop is not None:  # the order to stop came while the spawn was being retried
            self._signal_group()

    def _report_running(self) -> None:
        if self.launch_slot is not None:
            self.launch_slot.close()
            self.launch_slot = None
        if self.ready_fd >= 0:
            try:
                os.write(self.ready_fd, b"\n")
            except OSError:
                pass  # the launcher has left
            os.close(self.ready_fd)
            self.ready_fd = -1

    def _not_started(self, error: SpawnError) -> None:
        self.record["detail"] = str(error)
        if error.errno_name == "ENOENT" or error.errno_name == "EACCES":
            # Only /bin/sh or the working directory can be missing here; the executor itself is the shell's business.
            self._finish(ending_of_code(int(error.code)))
            return
        self._finish(Ending(CODE_SPAWN, f"spawn-failed:{error.errno_name or 'unknown'}", "failed"))

    def _look_for_session(self, looks: tuple[float, ...]) -> None:
        session = self.payload.get("session") or {}
        if session.get("source") != "event" or self.resuming or not looks:
            return

        def look() -> None:
            if not self.done and not self._note_session():
                self._look_for_session(looks[1:] or (self._heartbeat_seconds(),))

        self.loop.call_later(looks[0], look)

    def _note_session(self) -> bool:
        """Record the id that the CLI printed. True when it is known."""
        session, known = self.payload.get("session") or {}, self.record.get("agentSession") or {}
        if known.get("id") or session.get("source") != "event":
            return True
        found = agent_output.session_id(
            self.payload["logPath"], self.offset, session["idPattern"], self.payload.get("promptPath")
        )
        if found is None:
            return False
        self.record["agentSession"] = {**known, "id": found}
        self._write_record(durable=True)
        return True

    # --- heartbeat, deadline, signals

    def _heartbeat_seconds(self) -> float:
        return float(self.payload.get("heartbeatSeconds") or 10)

    def _heartbeat(self) -> None:
        if self.done:
            return
        self.record.update(lastHeartbeatAt=now_iso(), heartbeatSeq=int(self.record.get("heartbeatSeq") or 0) + 1)
        for lock in (self.tree, self.runner_lock, self.agent_slot):
            if lock is not None:
                lock.beat()
        try:
            write_json(self.files.runtime, self.record, durable=False)
        except DiskError:
            pass  # the next beat tries again; the lock says that we live
        self.loop.call_later(self._heartbeat_seconds(), self._heartbeat)

    def _deadline(self) -> None:
        self._stop(Ending(CODE_TIMEOUT, "timeout", "terminated"))

    def _told_to_stop(self, code: int, reason: str) -> None:
        order = read_object(self.files.stop) or {}
        if order.get("launchId") == self.payload["launchId"]:
            self.record["detail"] = order.get("reason")
            if order.get("reason") == "timeout":
                code, reason = CODE_TIMEOUT, "timeout"
        self._stop(Ending(code, reason, "terminated", None if reason == "timeout" else reason.upper()))

    def _stop(self, ending: Ending) -> None:
        if self.stop is not None or self.done:
            return
        if self.retry_timer is None and self._ended_by_itself():
            self._ended()  # it was over before we were told, and only this has not been heard yet
            if self.done:
                return
        self.stop = ending
        if self.retry_timer is not None:
            self.retry_timer.cancel()
            self._finish(ending)
        elif self.child is not None:
            self._signal_group()

    def _ended_by_itself(self) -> bool:
        """Whether the executor is over: its exit code is on record, and the shim is on its way out."""
        if self.child is None:
            return False
        if self.child.poll() is None and exit_record_of(self.record, self.files.exit) is not None:
            from subprocess import TimeoutExpired

            try:
                self.child.wait(1.0)
            except TimeoutExpired:
                pass
        return self.child.poll() is not None

    def _signal_group(self) -> None:
        """TERM, CONT for the frozen, and KILL after the grace."""
        grace = float(self.payload.get("graceSeconds") or 10)
        self.kill_at = time.monotonic() + grace
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._kill(number)
        self.loop.call_later(grace, self._escalate)

    def _escalate(self) -> None:
        if not self.done:
            self._kill(signal.SIGKILL)

    def _kill(self, number: int) -> None:
        # The number is ours as long as the group has a member or its leader is not reaped.
        if self.child is not None and (self.child.returncode is None or group_alive(self.child.pid)):
            try:
                os.killpg(self.child.pid, number)
            except OSError:
                pass

    # --- the end of a try

    def _ended(self) -> None:
        child = self.child
        if child is None or child.poll() is None:
            return
        if self.stop is not None:
            self._finish_when_group_is_gone()
            return
        code = child.returncode if child.returncode >= 0 else 128 - child.returncode
        success = tuple(self.payload.get("successExitCodes") or (0,))
        ending = ending_of_code(code, success)
        log = self.payload["logPath"]
        ranges = self._echoes(self.offset)
        session = self.payload.get("session") or {}
        lost = session.get("lostPattern") if self.resuming and ending.code else None
        if lost and agent_output.says_at_once(log, self.offset, ranges, lost):
            self._say("the session is not known any more; starting again with the whole prompt")
            self.resuming = False
            self._start_try()
            return
        failure = self.payload.get("failPattern")
        if failure and agent_output.says(log, self.offset, ranges, failure):
            ending = Ending(ending.code or 1, self.payload.get("failReason") or "failed", "failed")
        elif self._retry_later(ending, ranges):
            return
        self._finish(ending)

    def _retry_later(self, ending: Ending, ranges: list[list[int]]) -> bool:
        """Plan another try after a rate limit; False when this was the last one. Finishes when no tries remain."""
        limit = self.payload.get("rateLimit") or {}
        tries = int(limit.get("maxAttempts") or 1)
        log, patterns = self.payload["logPath"], tuple(limit.get("patterns") or ())
        if tries <= 1 and not limit.get("watched"):
            return False
        if not agent_output.limited(log, self.offset, ranges, ending.code, patterns):
            return False
        until = agent_output.limited_until(log, self.offset, ranges, time.time())
        if until is not None:
            self.record["limitedUntil"] = iso_of(until)
            self.record["detail"] = f"allowance used up until {iso_of(until)}"
        if self.tries >= tries:
            self._finish(Ending(ending.code or 1, "rate-limit-exhausted", "failed", ending.signal))
            return True
        base, cap = float(limit.get("baseDelaySeconds", 20)), float(limit.get("maxDelaySeconds", 180))
        delay = min(cap, base * 2.0 ** (self.tries - 1)) + (os.urandom(1)[0] % 5 if base >= 1 else 0)
        self._say(f"rate-limit detected for {self.payload['agentId']}; retry {self.tries}/{tries} after {delay:g}s")
        self._write_record()
        self.retry_timer = self.loop.call_later(delay, self._start_try)
        return True

    def _finish_when_group_is_gone(self) -> None:
        """A stopped agent has ended when nobody of it is left, in its group or elsewhere; not merely its leader."""
        assert self.child is not None and self.stop is not None
        now = time.monotonic()
        if now < self.kill_at + 5.0 and (group_alive(self.child.pid) or self._stragglers_told(now)):
            self.loop.call_later(_GROUP_POLL_SECONDS, self._finish_when_group_is_gone)
            return
        self._finish(self.stop)

    def _stragglers_told(self, now: float) -> bool:
        """Signal what left the group: agent CLIs run their shells in sessions of their own. False when none is left."""
        marked = processes_marked(NONCE, self.payload["launchId"])
        for pid in marked:
            if pid not in self.told or now >= self.kill_at:
                self.told.add(pid)
                try:
                    os.kill(pid, signal.SIGTERM if now < self.kill_at else signal.SIGKILL)
                except OSError:
                    pass
        return bool(marked)

    # --- the end

    def fail(self, error: Exception) -> None:
        """The runner itself failed: end what runs and record code 1 with the message."""
        self._kill(signal.SIGKILL)
        self._finish(Ending(1, " ".join(str(error).split())[:400] or "runner error", "failed"))

    def _finish(self, ending: Ending) -> None:
        """Log line, status file, terminal record, lock: in this order. Spec: SUP 16.6."""
        if self.done:
            return
        self.done = True
        self._mask_leases()
        self._note_session()
        payload, record = self.payload, self.record
        offset = self._status_offset()
        ranges = self._echoes(offset)
        name = payload.get("sessionName") or payload["agentId"]
        if self.child is not None and group_alive(self.child.pid):
            self._say(f"{name} left processes running in group {self.child.pid}; its next launch ends them")
        self._say(f"{name} finished with code {ending.code}")
        now = time.time()
        status = status_record(record, ending, payload.get("orchestratorId"), offset, ranges, now)
        self._persist(lambda: write_json(payload["statusPath"], status))
        record.update(
            exitCode=ending.code,
            exitReason=ending.exit_reason,
            signal=ending.signal,
            terminalDisposition=ending.disposition,
            completedAt=iso_of(now),
            outcomeSource="runner",
        )
        self._persist(lambda: write_json(self.files.runtime, record))
        self._report_running()
        self.runner_lock.close()
        self.loop.stop()

    def _mask_leases(self) -> None:
        """What the agent printed of its leased values does not stay in its log: nobody knows them later. PROV 6.3."""
        if self.leases:
            from ..base.redaction import forms_of

            words = [form.encode() for value in self.leases.values() for form in forms_of(value)]
            try:
                mask_in_log(self.payload["logPath"], sorted(words, key=len, reverse=True))
            except DiskError as error:
                self._say(f"leased values could not be masked in this log: {error}")

    def _status_offset(self) -> int:
        """Where the agent's word begins: with the last try, or, for a session that goes on, with its first try."""
        return int(self.payload["resume"].get("logOffset") or 0) if self.resuming else self.offset

    def _echoes(self, offset: int) -> list[list[int]]:
        ranges = agent_output.echo_ranges(self.payload["logPath"], offset, self.payload.get("promptPath"))
        resume = self.payload.get("resume")
        if resume:
            ranges += agent_output.echo_ranges(self.payload["logPath"], offset, resume["promptPath"])
        return sorted(ranges)

    def _say(self, text: str) -> None:
        try:
            append_text(self.payload["logPath"], f"[{self.payload.get('lane') or 'wave'}-wave-launcher] {text}\n")
        except DiskError:
            pass

    def _write_record(self, durable: bool = False) -> None:
        """Write the record. Only what must outlive the machine, not just this process, is flushed to the disk."""
        self.record.update(lastHeartbeatAt=now_iso(), heartbeatSeq=int(self.record.get("heartbeatSeq") or 0) + 1)
        self._persist(lambda: write_json(self.files.runtime, self.record, durable=durable))

    def _persist(self, write: Callable[[], object]) -> None:
        """A full disk is waited out, up to ten minutes: an outcome that is not written would be lost. Spec: SUP 13."""
        until = time.monotonic() + _RECORD_PATIENCE_SECONDS
        pause = 0.5
        while True:
            try:
                write()
                return
            except DiskError:
                if time.monotonic() >= until:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 30.0)


def _found_program(program: str, search_path: str, cwd: str) -> str:
    """The program's path, so that a name the shell knows as a built-in cannot be taken for it; else as it was."""
    if "/" in program:
        return program
    for folder in search_path.split(os.pathsep):
        path = os.path.join(cwd, folder or ".", program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return program


def _uuid5(namespace: str, name: str) -> str:
    """A name-based UUID (version 5), without importing `uuid`."""
    try:
        sha1 = __import__("_sha1").sha1  # `hashlib` would load OpenSSL into every runner
    except ImportError:
        from hashlib import sha1

    raw = bytearray(sha1(namespace.encode() + b"\0" + name.encode()).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _jittered(base: float, spread: float) -> float:
    return base + spread * os.urandom(1)[0] / 255
