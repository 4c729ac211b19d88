"""The supervisor of one root: owns submitted runs from their launch to their end, whoever dies meanwhile.

Holds:       the lease of the root; nothing that its children need.
Writes:      `daemon.lock`, and through `supervisor_run` the snapshot and events of every run that is not over.
When killed: launchers and agents go on; the next supervisor adopts them from the files alone.

Spec: SUP 8, 9, 10, 11, 13.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import DiskError, ExitCode, SpawnError
from ..base.event_loop import EventLoop
from ..base.files import Outcome, make_fifo, move_aside, read_json, remove_tree
from ..base.process_identity import Identity, alive, boot_id
from ..base.processes import reap_strangers
from ..base.timestamps import compact_stamp, now_iso, parse_iso
from ..definition.supervisor_paths import STAGING
from ..engines.supervisor_decisions import Act, Decision, decide
from ..engines.supervisor_resume import deferral_delay, key_text, resume_delay, resumes_since_progress
from ..state import supervisor_state
from . import supervisor_ending, supervisor_inference
from .supervisor_facts import Settings, holds_locks, observe, read_agents
from .supervisor_run import FencedError, OwnedRun, Ownership
from .supervisor_view import decided_state

if TYPE_CHECKING:
    from ..base.lease import Lease
    from ..definition.lane_paths import LanePaths
    from ..definition.supervisor_paths import SupervisorPaths
    from .supervisor_facts import Observation
    from .supervisor_log import SupervisorLog

    JsonObject = dict[str, Any]

_STAGING_SECONDS = 3600.0
_IDLE_SCAN_SECONDS = 30.0
_CLOCK_JUMP_SECONDS = 5.0
_LONGEST_STORAGE_PAUSE = 30.0
_SECOND_SIGNAL_SECONDS = 1.0
_SETTLED_FOLDER_SECONDS = 2.0


class Mode(NamedTuple):
    """How long the supervisor stays; times in seconds, None: for ever. `scan` is the safety rescan."""

    once: bool = False
    until_idle: bool = False
    idle_exit: float | None = None
    scan: float = 2.0
    stop_agents: bool = False


class Supervisor:
    """One supervisor process while it holds the lease."""

    def __init__(self, lane: LanePaths, paths: SupervisorPaths, lease: Lease, mode: Mode, log: SupervisorLog) -> None:
        self.lane, self.paths, self.lease, self.mode, self.log = lane, paths, lease, mode, log
        config = lane.profile.supervisor
        self.heartbeat_seconds = float(config["heartbeatSeconds"])
        self.agent_heartbeat = float(config["agentHeartbeatSeconds"])
        self.grace_seconds = float(config["terminationGraceSeconds"])
        self.settings = Settings(
            self.agent_heartbeat, float(config["foreignHostGraceSeconds"]), int(config["resumeLimit"])
        )
        lease.record["settings"] = self.settings._asdict()
        self.owner = Ownership(lease, paths)
        self.loop = EventLoop()
        self.runs: dict[str, OwnedRun] = {}
        self.over: set[str] = set()  # terminal or unreadable: never looked at again
        self.clear: set[str] = set()  # those of them of which no agent lives: they will have none again
        self.stopping: int | None = None  # the first signal that told us to leave
        self.ending_agents = False  # told twice, or started with --stop-agents: active runs are being cancelled
        self.leave_at = 0.0
        self.reason = "stopped"
        self.idle_since: float | None = None
        self._seen_folder: tuple[int, int] | None = None
        self._clocks = (time.time(), time.monotonic())
        self._storage_pause = 0.0
        self._wake_fd: int | None = None
        self._wake_fds: list[int] = []
        self._turn_timer: Any = None
        self._adopted = False

    # --- life

    def run(self) -> int:
        """Supervise until told to stop, idle, or fenced; returns the exit code."""
        with self.loop:
            try:
                self._listen()
                self._beat()
                self.turn()
                if self.mode.once:
                    return self._leave("once")
                while self.stopping is None or self._lingers():
                    self.loop.run_once()
                    if self.stopping is None and self._may_leave() and self._leave_if_idle():
                        return 0
                code = self._leave("signal")
                return int(ExitCode.INTERRUPTED) if self.stopping == signal.SIGINT else code
            except FencedError as error:
                self.log.say(str(error), level="error")
                self.reason = "fenced"
                return int(ExitCode.FENCED)
            finally:
                for fd in self._wake_fds:
                    os.close(fd)
                self.lease.lock.close()

    def _listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.on_signal(number, partial(self._stop, number))
        self.loop.on_signal(signal.SIGHUP, self._reload)
        self.loop.on_signal(signal.SIGUSR1, self._dump)
        self.loop.on_signal(signal.SIGCHLD, self._soon)
        for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            self.loop.on_signal(number, lambda: None)
        if make_fifo(self.paths.wake):
            self._wake_fd = os.open(self.paths.wake, os.O_RDONLY | os.O_NONBLOCK)
            self._wake_fds = [self._wake_fd, os.open(self.paths.wake, os.O_WRONLY | os.O_NONBLOCK)]
            self.loop.watch_fd(self._wake_fd, self._woken)  # with a writer of our own it is never at end of file

    def _woken(self) -> None:
        try:
            while self._wake_fd is not None and os.read(self._wake_fd, 4096):
                pass
        except BlockingIOError:
            pass
        self._seen_folder = None
        self._soon()

    def _stop(self, number: int) -> None:
        """Told once: leave, runs go on. Told again at once, or with --stop-agents: cancel them. Spec: SUP 8.4."""
        first = self.stopping is None
        self.stopping = self.stopping or number
        active = [owned for owned in self.runs.values() if owned.running]
        if self.ending_agents or not active:
            self.ending_agents, self.leave_at = False, 0.0
            return
        if first and not self.mode.stop_agents:
            self.leave_at = time.monotonic() + _SECOND_SIGNAL_SECONDS
            self.loop.call_at(self.leave_at, lambda: None)
            self.log.say(f"told to stop; runs go on (again within {_SECOND_SIGNAL_SECONDS:g} s: they are cancelled)")
            self.lease.beat(state="stopping")
            return
        self.log.say("told to stop and to end the agents; cancelling what runs")
        for owned in active:
            supervisor_state.request_cancel(owned.run, "supervisor", "stop", False, self.grace_seconds)
        if number == signal.SIGINT and not first:  # a second one leaves at once; the launchers do what they were told
            for owned in active:
                self._step(owned)
            self.leave_at = 0.0
            return
        self.ending_agents = True
        self.lease.beat(state="stopping")
        self._soon()

    def _lingers(self) -> bool:
        """Whether there is a reason to stay although we were told to leave."""
        if self.ending_agents:
            return any(owned.running for owned in self.runs.values())
        return time.monotonic() < self.leave_at

    def _reload(self) -> None:
        from ..definition.config import load_wave_config
        from ..definition.lane_paths import build_lane_paths

        self.log.reopen()
        try:
            lane = build_lane_paths(
                load_wave_config(self.lane.root), self.lane.lane, self.lane.project_id, self.lane.run_id
            )
        except Exception as error:  # a broken configuration must not end supervision
            self.log.say(f"configuration not reloaded: {error}", level="warn")
        else:
            self.lane = lane
            self.grace_seconds = float(lane.profile.supervisor["terminationGraceSeconds"])
        self._seen_folder = None
        self._soon()

    def _dump(self) -> None:
        for owned in self._in_order():
            seen = self._observe(owned)
            self.log.say(f"facts {seen.facts} decision {decide(seen.facts)}", owned.run_id)

    def _leave(self, reason: str) -> int:
        self.reason = reason
        self.log.say(f"leaving ({reason})")
        self.lease.release()
        return 0

    def _may_leave(self) -> bool:
        if self.runs:
            return False
        if self.mode.until_idle:
            return True
        wait = self.mode.idle_exit
        return wait is not None and self.idle_since is not None and time.monotonic() - self.idle_since >= wait

    def _leave_if_idle(self) -> bool:
        """Rescan, release, rescan: no run falls between. Spec: SUP 8.3, end."""
        self._seen_folder = None
        self._discover()
        if self.runs:
            self._soon()
            return False
        self._leave("idle")
        before = set(self.over)
        left = [run_id for run_id in supervisor_state.run_ids(self.paths) if run_id not in before]
        if left:
            from .supervisor_client import start_supervisor

            start_supervisor(self.lane)
        return True

    # --- turns

    def _soon(self) -> None:
        self._next_turn(0.0)

    def _next_turn(self, seconds: float) -> None:
        when = time.monotonic() + seconds
        if self._turn_timer is not None and not self._turn_timer.cancelled and self._turn_timer.when <= when:
            return
        if self._turn_timer is not None:
            self._turn_timer.cancel()
        self._turn_timer = self.loop.call_at(when, self.turn)

    def turn(self) -> None:
        """Look at every run that is not over, decide, act; then arm the next look."""
        self._turn_timer = None
        if self.stopping is not None and not self.ending_agents:
            return
        try:
            self._discover()
            for owned in self._in_order():
                self._step(owned)
            if self.stopping is None:
                self._launch_next()
            if self._storage_pause:
                self._storage_pause = 0.0
                self.log.say("storage-recovered")
        except DiskError as error:
            self._storage_pause = min(max(self._storage_pause * 2, 1.0), _LONGEST_STORAGE_PAUSE)
            self.log.say(f"storage-degraded: {error}; again in {self._storage_pause:g} s", level="error")
            return self._next_turn(self._storage_pause)
        self._reap()
        self._note_idle()
        busy = any(owned.running or owned.due is not None for owned in self.runs.values())
        self._next_turn(self._pause(busy))

    def _pause(self, busy: bool) -> float:
        if not busy:
            return _IDLE_SCAN_SECONDS if self.idle_since is None else self._until_idle_exit()
        waits = [self.mode.scan]
        now = time.monotonic()
        for owned in self.runs.values():
            if owned.due is not None:
                waits.append(max(owned.due - now, 0.01))
            if owned.ending is not None or owned.cancel_since is not None or owned.drain_since is not None:
                waits.append(0.2)
        return min(waits)

    def _until_idle_exit(self) -> float:
        if self.mode.idle_exit is None or self.idle_since is None:
            return _IDLE_SCAN_SECONDS
        return min(_IDLE_SCAN_SECONDS, max(self.idle_since + self.mode.idle_exit - time.monotonic(), 0.01))

    def _in_order(self) -> list[OwnedRun]:
        return sorted(self.runs.values(), key=lambda owned: supervisor_state.queue_order(owned.state))

    def _note_idle(self) -> None:
        if self.runs:
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = time.monotonic()
        active = next((owned.run_id for owned in self.runs.values() if owned.running), None)
        if active != self.lease.record.get("activeRunId"):
            self.lease.record["activeRunId"] = active
            self.lease.record["idleSince"] = None if self.runs else now_iso()

    def _beat(self) -> None:
        try:
            self.owner.check()
            self.lease.beat()
        except OSError as error:
            self.log.say(f"heartbeat not written: {error}", level="error")
        wall, monotonic = time.time(), time.monotonic()
        jump = (wall - self._clocks[0]) - (monotonic - self._clocks[1])
        if abs(jump) > _CLOCK_JUMP_SECONDS:
            self.log.say(f"clock-jump of {jump:.1f} s", level="warn")
        self._clocks = (wall, monotonic)
        self.loop.call_later(self.heartbeat_seconds, self._beat)

    def _reap(self) -> None:
        ours = []
        for owned in self.runs.values():
            if owned.child is not None and owned.child.poll() is None:
                ours.append(owned.child.pid)
        reap_strangers(ours)

    # --- finding runs

    def _discover(self) -> None:
        try:
            found = os.stat(self.paths.runs_dir)
        except FileNotFoundError:
            self.owner.check()
            return
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp == self._seen_folder and self._adopted:
            return
        # A stamp that is still fresh may be that of a later change too: clocks of file systems tick coarsely.
        self._seen_folder = stamp if abs(time.time() - found.st_mtime) > _SETTLED_FOLDER_SECONDS else None
        for run_id in supervisor_state.run_ids(self.paths):
            if run_id not in self.runs and run_id not in self.over:
                self._take_over(run_id)
        for run_id in [run_id for run_id in self.runs if not os.path.isdir(self.runs[run_id].run.directory)]:
            self.log.say("the run's folder is gone; forgetting it", run_id, "warn")
            del self.runs[run_id]
        if not self._adopted:
            self._sweep_staging()
            self._adopted = True

    def _take_over(self, run_id: str) -> None:
        run = self.paths.run(run_id)
        request = supervisor_state.read_object(run.request)
        state = supervisor_state.read_state(run)
        if request is None:
            self.log.say("no readable request; skipped", run_id, "warn")
            self.over.add(run_id)
            return
        if state is None:
            if read_json(run.state).outcome is not Outcome.ABSENT:
                move_aside(run.state, f"corrupt-{compact_stamp()}")
            state = supervisor_state.rebuilt_state(run, request)
            self.log.say("snapshot rebuilt from request and events", run_id, "warn")
        if state["status"] in supervisor_state.TERMINAL:
            self.over.add(run_id)
            return
        owned = OwnedRun(run, request, state, self.owner, self.log)
        self.runs[run_id] = owned
        if owned.running:
            self._adopt(owned)
        remaining = (parse_iso(state.get("notBefore")) or 0.0) - time.time()
        if remaining > 0:  # bounded, for the wall clock may have jumped
            owned.due = time.monotonic() + min(remaining, 60.0)

    def _adopt(self, owned: OwnedRun) -> None:
        before = (owned.state.get("supervisorId"), owned.state.get("supervisorEpoch"))
        owned.event(
            "daemon-adopted",
            key=f"e{self.lease.epoch}",
            previousSupervisorId=before[0],
            previousEpoch=before[1],
        )
        identity = owned.state.get("launcherIdentity") or {}
        if identity.get("bootId") and identity["bootId"] != boot_id():
            owned.event("host-changed", key=f"e{self.lease.epoch}", cause="another boot")
        owned.write()
        live = [str(agent.record.get("agentId")) for agent in read_agents(owned.run) if agent.live]
        if live:
            owned.event("agent-runtime-adopted", key=f"e{self.lease.epoch}", agentIds=live)

    def _sweep_staging(self) -> None:
        for name in os.listdir(self.paths.runs_dir):
            path = os.path.join(self.paths.runs_dir, name)
            if name.startswith(STAGING) and time.time() - os.stat(path).st_mtime > _STAGING_SECONDS:
                remove_tree(path)

    # --- one run

    def _observe(self, owned: OwnedRun) -> Observation:
        return observe(self.paths, owned.run, owned.state, owned.request, self.settings, lease_expired=True)

    def _step(self, owned: OwnedRun) -> None:
        seen = self._observe(owned)
        decision = decide(seen.facts)
        if owned.running and decision.row >= 7:
            launcher_was = owned.state["terminalDisposition"]
            if supervisor_ending.settle_agents(owned, seen.agents, final=False):
                seen = self._observe(owned)
                decision = decide(seen.facts)
            if decision.row in (17, 18) and supervisor_inference.worth_asking(seen, owned.request):
                asked = supervisor_inference.inferred(self.lane, owned, seen)
                if asked is None:
                    return  # somebody else holds the lane: ask again
                seen, decision = asked, decide(asked.facts)
            if decision.row >= 12 and launcher_was in ("running", "launching"):
                owned.event(
                    "launcher-lost",
                    launchGeneration=owned.generation,
                    signal=seen.facts.signal,
                    verdictSource=seen.launcher_source,
                )
        self._act(owned, seen, decision)

    def _act(self, owned: OwnedRun, seen: Observation, decision: Decision) -> None:
        act = decision.act
        if act is Act.LAUNCH:
            return  # by `_launch_next`, in order
        if act is Act.DEFER:
            return self._defer(owned, decision)
        if act is not Act.FINISH:
            owned.write(decided_state(owned.state, decision, seen, owned.request))
        if act is Act.NOTHING:
            self._watch(owned, seen)
        elif act is Act.CANCEL:
            self._cancel(owned, seen)
        elif act is Act.DRAIN:
            self._drain(owned, seen)
        elif act is Act.RESUME:
            self._resume(owned, seen, decision)
        elif act is Act.RELAUNCH:
            owned.note_intent()  # whoever died before the launch may have died before this as well
            self._start(owned, list(owned.state["launcherArgs"]), resumed=owned.generation > 1)
        elif act is Act.FINISH:
            self._finish(owned, seen, decision)

    def _watch(self, owned: OwnedRun, seen: Observation) -> None:
        """Be woken when the launcher ends: through our child, else through the process that the record names."""
        identity = Identity.from_json((seen.process or {}).get("identity") or owned.state.get("launcherIdentity"))
        launcher = Identity.from_json((seen.process or {}).get("launcherIdentity"))
        for one in (identity, launcher):
            if one is not None and alive(one):
                if owned.state.get("launcherPid") is None and one is identity:
                    self._note_launcher(owned, one)
                if owned.watched_pid != one.pid:
                    if owned.watch is not None:
                        owned.watch.cancel()
                    owned.watch, owned.watched_pid = self.loop.watch_process(one.pid, self._soon), one.pid
                return

    def _note_launcher(self, owned: OwnedRun, identity: Identity) -> None:
        """L5 and L6 for a launch whose supervisor died between L4 and L5. Spec: SUP 10.1."""
        owned.write(launcherPid=identity.pid, launcherIdentity=identity.to_json())
        owned.event(
            "launcher-started",
            launcherPid=identity.pid,
            launchGeneration=owned.generation,
            resumed=owned.generation > 1,
        )

    def _defer(self, owned: OwnedRun, decision: Decision) -> None:
        deferrals = owned.state["deferrals"]
        delay = deferral_delay(deferrals, _random())
        owned.event("launcher-deferred", notBefore=None, reason=decision.because)
        owned.put_off(
            delay,
            status="pending",
            terminalDisposition="pending",
            recoveryState="pending",
            resumeAction=None,
            detail=decision.because,
            deferrals=deferrals + 1,
        )

    def _cancel(self, owned: OwnedRun, seen: Observation) -> None:
        if seen.facts.launcher == "alive":
            supervisor_ending.cancel_launcher(owned, seen, self.paths.launcher_lock)
        else:
            grace = 0.0 if (seen.cancel or {}).get("force") else self.grace_seconds
            supervisor_ending.end_agents(owned, seen.agents, "cancelled", grace)
            owned.drain_since = owned.drain_since or time.monotonic()  # look again soon
        self._watch(owned, seen)

    def _drain(self, owned: OwnedRun, seen: Observation) -> None:
        owned.drain_since = owned.drain_since or time.monotonic()
        if time.monotonic() - owned.drain_since >= self.grace_seconds or owned.ending is not None:
            supervisor_ending.end_agents(owned, seen.agents, "launcher-exited", self.grace_seconds)

    # --- launching

    def _launch_next(self) -> None:
        """The oldest pending run whose pause is over, when no other is active. Spec: SUP 8.3."""
        active = next((owned for owned in self._in_order() if owned.running), None)
        for owned in self._in_order():
            if owned.state["status"] != "pending":
                continue
            owned.blocked_by = active.run_id if active else None
            if active is not None or owned.waits():
                continue
            if not self._lane_is_clear(owned):
                return
            owned.event("daemon-claimed")
            seen = self._observe(owned)
            known = seen.journal is not None or bool(seen.completed)
            argv = list(seen.plan.argv) if known and seen.plan.action else list(owned.request["launcherArgs"])
            self._start(owned, argv, resumed=known)
            active = owned

    def _lane_is_clear(self, owned: OwnedRun) -> bool:
        """No agent of a finished run may edit beside a new one: it is ended first. Spec: SUP 10.1, 11.

        Every run is asked once, for a run that is over starts nobody.
        """
        for run_id in sorted(self.over - self.clear, reverse=True):
            run = self.paths.run(run_id)
            agents = [agent for agent in read_agents(run) if agent.live] if holds_locks(run) else []
            if agents or owned.ending is not None:
                owned.blocked_by = run_id
                supervisor_ending.end_agents(owned, agents, "run-over", self.grace_seconds)
                self._next_turn(0.2)
                return False
            self.clear.add(run_id)
        return True

    def _resume(self, owned: OwnedRun, seen: Observation, decision: Decision) -> None:
        """Start the launcher again after a pause that grows while nothing progresses. Spec: SUP 10.3, 10.4."""
        since = resumes_since_progress(owned.state, seen.progress)
        if owned.due is None:
            delay = resume_delay(since, _random())
            owned.put_off(delay)
            owned.event(
                "resume-scheduled",
                notBefore=owned.state["notBefore"],
                resumeAction=decision.resume_action,
                resumeAttempts=owned.state["resumeAttempts"] + 1,
            )
            self._watch(owned, seen)
            return
        if owned.waits():
            return
        if seen.plan.action is None:
            return  # nothing remains: row 13 decides as soon as the records agree
        self._start(
            owned,
            list(seen.plan.argv),
            resumed=True,
            resumeAttempts=owned.state["resumeAttempts"] + 1,
            resumeAttemptsSinceProgress=since + 1,
            lastProgressKey=key_text(seen.progress),
        )

    def _start(self, owned: OwnedRun, argv: list[str], resumed: bool, **counters: Any) -> None:
        def retried(error: SpawnError, tries: int, delay: float) -> None:
            owned.event("spawn-retry", key=str(tries), cause=str(error))

        try:
            owned.launch(argv, self.agent_heartbeat, resumed, retried, **counters)
        except SpawnError as error:
            owned.put_off(
                resume_delay(owned.state["resumeAttemptsSinceProgress"], _random()),
                terminalDisposition="launcher-lost",
                recoveryState="degraded",
                detail=str(error),
                resumeAttempts=owned.state["resumeAttempts"] + 1,
                resumeAttemptsSinceProgress=owned.state["resumeAttemptsSinceProgress"] + 1,
            )
            return
        seen = self._observe(owned)
        self._watch(owned, seen)

    # --- the end

    def _finish(self, owned: OwnedRun, seen: Observation, decision: Decision) -> None:
        """F1, F2: the last event, the last snapshot. Spec: SUP 12."""
        if supervisor_ending.settle_agents(owned, seen.agents, final=True):
            seen = self._observe(owned)
        if decision.source is not None:
            owned.event("launcher-status-reconciled", exitCode=decision.exit_code, source=decision.source)
        if decision.row == 9 and seen.facts.canonical == "open" and not owned.request.get("dryRun"):
            owned.event("completion-mismatch", cause="a selected wave is not recorded as completed")
        if decision.row == 18:
            owned.event("failed-before-status", launcherPid=owned.state.get("launcherPid"), reason=decision.because)
        if decision.disposition == "cancelled":
            owned.event("run-cancelled")
        owned.event(
            "run-finished",
            durable=True,
            status=decision.status,
            terminalDisposition=decision.disposition,
            exitCode=decision.exit_code,
        )
        owned.write(decided_state(owned.state, decision, seen, owned.request))
        if owned.watch is not None:
            owned.watch.cancel()
        if owned.child is not None:
            owned.child.poll()
        del self.runs[owned.run_id]
        self.over.add(owned.run_id)
        self._soon()


def _random() -> float:
    return int.from_bytes(os.urandom(2), "big") / 65535
