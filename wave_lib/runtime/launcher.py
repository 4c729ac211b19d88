"""`wave launch`: one process that owns a lane, runs its waves in order, and leaves everything in order.

Holds:       the lane's launcher lock for its whole life.
Writes:      the manifest, the global dashboard, the orchestrator board; waves write the rest.
When killed: the lock is free; agents go on; the next launcher adopts them or takes them as finished.

Spec: LAUNCH 2-6, 7.9.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from ..base.durable_steps import set_step_role
from ..base.errors import DiskError, ExitCode, UsageError, WaveError
from ..base.event_loop import EventLoop
from ..base.files import ensure_dir, on_full_disk, write_json
from ..base.locks import trust_strangers
from ..base.timestamps import now_iso
from ..definition.config import load_wave_config
from ..definition.lane_paths import build_lane_paths
from ..definition.manifest import build_manifest
from ..definition.state_tree import SHARED_DIRECTORIES, STATE_DIRECTORIES
from ..projections import dashboard_state
from ..state.launcher_progress import ProgressJournal
from . import dry_run, first_run, launch_selection, session_supervisor, telemetry_step, terminals, wave_closing
from . import wave_reporting as report
from .console import Console
from .executor_preflight import preflight_wave
from .full_disk import Patience
from .session_supervisor import LaneBusyError, LauncherLock, take_launcher_lock
from .wave_context import Interrupted, LaneRun, supervision_from
from .wave_loop import WaveEnd, run_wave

if TYPE_CHECKING:
    from ..definition.config import WaveConfig
    from ..definition.wave_types import Wave
    from .launcher_options import LauncherOptions


def launch(options: LauncherOptions, root: str) -> int:
    """Run `wave launch` in the workspace at `root`; returns the exit code of LAUNCH 2.5. Raises WaveError."""
    set_step_role("launcher")
    console = Console()
    config = load_wave_config(root)
    lane = open_lane(config, options, console)
    telemetry_step.install_for_launch(lane)
    if options.reconcile_status:
        from .reconcile_only import reconcile_only

        return reconcile_only(lane)
    first_run.notice(lane, config)
    lock = _take_lock(lane)
    with lane.loop:
        try:
            _listen_to_signals(lane)
            lock.keep(lane.loop)
            on_full_disk(Patience(lane))
            _prepare_tree(lane)
            code = _run(lane)
        except Interrupted as interrupt:
            code = _interrupted(lane, interrupt)
        except BaseException as error:
            _failed(lane, error)
            raise
        finally:
            on_full_disk(None)
            terminals.close_lane(lane)
            lock.release()
        telemetry_step.finish(lane)
    if code < 0:  # a shutdown, not a cancellation: end by the signal, so that the supervisor knows (LAUNCH 7.9)
        os.kill(os.getpid(), -code)
    return code


def open_lane(config: WaveConfig, options: LauncherOptions, console: Console) -> LaneRun:
    """Everything about the lane that can be known without writing. Raises UsageError and ConfigError."""
    paths = build_lane_paths(config, options.lane, options.project, options.adhoc_run, options.run_variant)
    for warning in paths.warnings:
        console.warn(f"[wave:config] warning: {warning}")
    trust_strangers(float(paths.profile.supervisor["foreignHostGraceSeconds"]))
    supervision = supervision_from(os.environ)
    lane = LaneRun(paths, options, console, EventLoop(), supervision)
    lane.live_paths = build_lane_paths(config, options.lane, options.project, options.adhoc_run)
    lane.state_file = lane.live_paths.run_state
    lane.manifest_path = paths.manifest
    for flag, value in (("--state-file", options.state_file), ("--manifest-out", options.manifest_out)):
        if value and os.path.isdir(paths.absolute(value)):
            raise UsageError(f"{flag} must name a file, got: {value}")
    if options.state_file:
        lane.state_file = paths.absolute(options.state_file)
    if options.manifest_out:
        lane.manifest_path = paths.absolute(options.manifest_out)
    if options.orchestrator_board and options.board:
        lane.board_path = paths.absolute(options.orchestrator_board)
    if supervision is not None:
        lane.journal = ProgressJournal(
            os.path.join(supervision.run_dir, "launcher-progress.json"), supervision.run_id, supervision.generation
        )
        lane.run_completed = list(lane.journal.current["completedWaves"])
    return lane


# --- the lock and the signals ---------------------------------------------------------------------------------------


def _take_lock(lane: LaneRun) -> LauncherLock:
    paths = lane.paths
    try:
        return take_launcher_lock(
            paths.launcher_lock,
            paths.rel(paths.launcher_lock),
            lane=paths.lane,
            mode="launch",
            supervisor_run_id=lane.supervision.run_id if lane.supervision else None,
        )
    except LaneBusyError as error:
        report.board(lane, "launcher_lock_blocked", [], "blocked", str(error), "Wait for the other launcher.")
        raise


def _listen_to_signals(lane: LaneRun) -> None:
    """SIGINT and SIGTERM stop the launch, SIGHUP only that of a launch by hand. Spec: LAUNCH 7.9, SUP 15.2."""

    def stop(signum: int) -> None:
        if lane.interrupt is not None:
            lane.hurry = True
            return
        lane.interrupt = Interrupted(signum, keep_agents=signum == signal.SIGTERM and is_shutdown(lane))
        if lane.active_wait is not None:
            lane.active_wait.stop()

    lane.loop.on_signal(signal.SIGINT, lambda: stop(signal.SIGINT))
    lane.loop.on_signal(signal.SIGTERM, lambda: stop(signal.SIGTERM))
    if lane.supervision is None:
        lane.loop.on_signal(signal.SIGHUP, lambda: stop(signal.SIGHUP))
    else:
        lane.loop.ignore_signal(signal.SIGHUP)


def is_shutdown(lane: LaneRun) -> bool:
    """Whether nobody cancelled this supervised run: then a SIGTERM is a container or host going down."""
    supervision = lane.supervision
    return supervision is not None and not os.path.exists(os.path.join(supervision.run_dir, "cancel.json"))


def _interrupted(lane: LaneRun, interrupt: Interrupted) -> int:
    """Leave after a signal; the exit code, or minus the signal when the process is to end by it. Spec: LAUNCH 7.9."""
    if interrupt.keep_agents:
        try:
            report.flush_global(lane)
        except DiskError:
            pass  # a projection; that the disk is full may be why we leave
        return -interrupt.signum
    code = 128 + interrupt.signum
    if lane.interrupted_wave is not None:
        wave_closing.interrupt_wave(lane.interrupted_wave, interrupt)
    _end_dashboard(lane, "failed", f"Stopped by signal {interrupt.signum}.")
    report.board(lane, "launcher_finish", [], "failed", f"stopped by signal {interrupt.signum}")
    lane.journal.finish("cancelled", code)
    return code


def _failed(lane: LaneRun, error: BaseException) -> None:
    """The failure exit. Spec: LAUNCH 3.1, last paragraph."""
    text = str(error) or type(error).__name__
    _end_dashboard(lane, "failed", text)
    report.board(lane, "launcher_finish", [], "failed", text)
    code = int(error.code) if isinstance(error, WaveError) else int(ExitCode.FAILED)
    if code != ExitCode.LANE_BUSY:  # refused, not failed: the run is deferred (LAUNCH 14)
        lane.journal.finish("failed", code)


def _end_dashboard(lane: LaneRun, status: str, message: str) -> None:
    if lane.global_dashboard is not None:
        now = now_iso()
        dashboard_state.set_status(lane.global_dashboard, status, now)
        for entry in lane.global_dashboard["waves"]:
            if entry["status"] in ("running", "retrying"):
                dashboard_state.set_status(entry, status, now)
        dashboard_state.add_event(
            None, lane.global_dashboard, message, now, level="info" if status == "completed" else "error"
        )
        report.flush_global(lane)


# --- the launch -----------------------------------------------------------------------------------------------------


def _prepare_tree(lane: LaneRun) -> None:
    """The folders of the lane, and the board. Spec: LAUNCH 3.1 steps 4, 5."""
    for name in (*STATE_DIRECTORIES, *SHARED_DIRECTORIES):
        if name != "telemetry_dir":  # made by the first event: with telemetry off there is none (PROV 8.1)
            ensure_dir(getattr(lane.paths, name))
    lock = lane.paths.rel(lane.paths.launcher_lock)
    report.board(lane, "launcher_lock_acquired", [], "running", f"lock={lock}; pid={os.getpid()}")


def _run(lane: LaneRun) -> int:
    """Steps 6 to 18 of LAUNCH 3.1."""
    options, paths = lane.options, lane.paths
    launch_selection.load(lane)
    launch_selection.validate(lane)
    if not options.dry_run:
        launch_selection.reconcile(lane)
    if not launch_selection.select(lane):
        shown = lane.paths.rel(lane.state_file)
        lane.console.say(f"[auto-next] All known waves are already marked complete in {shown}.")
        return _finish(lane, "all known waves are complete")
    numbers = [wave.wave for wave in lane.selected]
    if not options.dry_run:
        lane.leftovers = session_supervisor.inspect_leftovers(paths, numbers, lane.supervision)
        session_supervisor.cancel_lost_attempts(paths, [wave.wave for wave in lane.waves], lane.supervision)
        session_supervisor.mark_stale_dashboards(paths, numbers)
    lane.journal.start(numbers)
    _write_manifest(lane)
    report.board(lane, "launcher_start", numbers, "dry-run" if options.dry_run else "running", _start_details(lane))
    if options.dry_run:
        dry_run.run(lane)
        return _finish(lane, "dry run", disposition_only=True)
    _preflight(lane)
    _open_dashboard(lane)
    terminals.open_lane(lane)
    for wave in lane.selected:
        end = _run_wave(lane, wave)
        if end.code:
            return _wave_refused(lane, end)
    return _finish(lane, f"completed waves: {', '.join(map(str, numbers))}")


def _run_wave(lane: LaneRun, wave: Wave) -> WaveEnd:
    try:
        return run_wave(lane, wave)
    except Interrupted:
        raise
    except BaseException as error:
        if lane.interrupted_wave is not None:
            wave_closing.abandon_wave(lane.interrupted_wave, str(error) or type(error).__name__)
        raise


def _wave_refused(lane: LaneRun, end: WaveEnd) -> int:
    for line in end.message.splitlines():
        lane.console.warn(f"[wave] {line}" if not line.startswith("  ") else line)
    status = "blocked" if end.code == ExitCode.BLOCKED else "failed"
    _end_dashboard(lane, status, end.message.splitlines()[0])
    report.board(lane, "launcher_finish", [], "failed", end.message)
    lane.journal.finish("failed", end.code)
    return int(end.code)


def _finish(lane: LaneRun, summary: str, disposition_only: bool = False) -> int:
    """All that was asked for is done. Spec: LAUNCH 7.6, 14."""
    _end_dashboard(lane, "completed", summary)
    if not disposition_only:
        report.board(lane, "launcher_finish", [], "completed", summary)
    lane.journal.finish("completed", ExitCode.DONE)
    return ExitCode.DONE


def _write_manifest(lane: LaneRun) -> None:
    """Spec: LAUNCH 3.6."""
    manifest = build_manifest(lane.paths, lane.waves, now_iso())
    for warning in manifest.warnings:
        lane.console.warn(f"[wave] warning: {warning}")
    write_json(lane.manifest_path, manifest.payload, durable=False)
    docs, waves = len(manifest.payload["docs"]), len(manifest.payload["waves"])
    lane.console.say(f"Manifest written: {lane.paths.rel(lane.manifest_path)}")
    lane.console.say(f"Loaded {docs} docs files and {waves} wave files.")


def _start_details(lane: LaneRun) -> str:
    options, numbers = lane.options, [wave.wave for wave in lane.selected]
    return (
        f"pid={os.getpid()}; run_kind={lane.paths.run_kind}; run_id={lane.paths.run_id or 'none'}; "
        f"range={numbers[0]}..{numbers[-1]}; timeout_minutes={options.timeout_minutes}; "
        f"retries={options.max_retries_per_wave}; note={options.coordination_note or 'n/a'}"
    )


def _preflight(lane: LaneRun) -> None:
    """Every agent needs a command that exists; some move to a fallback now. Spec: LAUNCH 3.7."""
    from ..definition.skills import apply_skills

    checked = []
    for wave in lane.selected:
        result = preflight_wave(wave, lane.profile, lane.paths.root)
        for warning in result.warnings:
            lane.console.warn(f"[wave] warning: {warning}")
        for agent_id in result.switched:
            agent = result.wave.agent(agent_id)
            chosen = (agent.executor_resolved or {}).get("id") if agent else None
            lane.console.say(f"[preflight] wave {wave.wave}: {agent_id} moves to {chosen}; its own executor is missing")
        lane.authored[wave.wave] = wave
        checked.append(apply_skills(result.wave, lane.profile.skills, lane.skills) if result.switched else result.wave)
    lane.selected = checked


def _open_dashboard(lane: LaneRun) -> None:
    """The global dashboard. Spec: LAUNCH 15.2."""
    options, paths = lane.options, lane.paths
    numbers = [wave.wave for wave in lane.selected]
    lane.global_dashboard = dashboard_state.new_global_dashboard(
        paths.lane,
        [
            dashboard_state.new_wave_entry(
                wave,
                max_attempts=options.max_attempts,
                dashboard_path=paths.rel(paths.dashboard_wave(wave.wave)),
                message_board_path=paths.rel(paths.messageboard(wave.wave)),
            )
            for wave in lane.selected
        ],
        run_id=os.urandom(6).hex(),
        options={
            "lane": paths.lane,
            "startWave": numbers[0],
            "endWave": numbers[-1],
            "autoNext": options.auto_next,
            "timeoutMinutes": options.timeout_minutes,
            "maxRetriesPerWave": options.max_retries_per_wave,
            "dashboard": options.dashboard,
            "cleanupSessions": options.cleanup_sessions,
            "residentOrchestrator": options.resident_orchestrator,
            "orchestratorId": lane.orchestrator_id,
            "orchestratorBoardPath": paths.rel(lane.board_path) if lane.board_path else None,
            "coordinationNote": options.coordination_note,
        },
        paths={
            "runState": paths.rel(lane.state_file),
            "manifest": paths.rel(lane.manifest_path),
            "feedbackRequests": paths.rel(paths.feedback_requests_dir),
        },
        now=now_iso(),
    )
    report.flush_global(lane)
    if options.dashboard:
        lane.console.say(f"[dashboard] attach global: wave dashboard --lane {paths.lane} --attach global")
