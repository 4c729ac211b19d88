"""`wave autonomous`: one wave after the other through the supervisor, until all are complete or somebody is needed.

Holds:       nothing that a run depends on: the submitted runs belong to the supervisor.
Writes:      submissions; the run state, when it is reconciled after a run.
When killed: the run that was submitted goes on; the next call continues with the first incomplete wave.

Spec: LAUNCH 19.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..base.errors import ExitCode, WaveError
from ..definition.wave_files import list_wave_files
from ..engines.autonomous_policy import AutonomousBarrier, barrier, human_items, open_inbound, tries_again
from ..state import coordination_store, feedback_store, retry_state, run_state
from ..state.dependency_tickets import read_tickets
from .console import Console
from .derived_state import dependency_directories
from .launcher_options import LauncherOptions

if TYPE_CHECKING:
    from ..definition.config import WaveConfig
    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

RECOVERY = "launcher-recovery"


class AutonomousOptions(NamedTuple):
    """A parsed `wave autonomous` command line; `launch` holds what every launch gets."""

    launch: LauncherOptions
    max_attempts_per_wave: int = 1
    dashboard: bool = False


class Stop(WaveError):
    """The loop ends with this exit code."""

    default_key = "stopped"


class Autonomous:
    """One invocation. `submit` queues a launch and returns its run id; `observe` waits for its exit code."""

    def __init__(
        self,
        config: WaveConfig,
        lane: LanePaths,
        options: AutonomousOptions,
        submit: Callable[[list[str], str], str],
        observe: Callable[[str], int],
    ) -> None:
        self.config, self.lane, self.options = config, lane, options
        self.submit, self.observe = submit, observe
        self.token = os.urandom(6).hex()
        self.launched: list[int] = []
        self.executor = options.launch.executor or str(lane.profile.executors["default"])

    # --- before the first wave

    def preflight(self) -> None:
        """The head lines, a dry run of the lane, open questions, reconcile. Spec: LAUNCH 19.2."""
        launch, lane = self.options.launch, self.lane
        numbers = self.numbers()
        for line in (
            f"lane={lane.lane}",
            f"orchestrator={launch.orchestrator_id}",
            f"executor={self.executor}",
            f"codex_sandbox={launch.codex_sandbox or 'lane config'}",
            f"waves={', '.join(map(str, numbers))}",
        ):
            say(line)
        status = self._launch(dry_run=True)
        if status != 0:
            raise Stop(f"[autonomous] dry-run preflight failed with status={status}", code=ExitCode.FAILED)
        documents, _ = feedback_store.read_all_requests(lane.feedback_requests_dir)
        waiting = [item for item in documents if item.get("lane") == lane.lane and item.get("status") == "pending"]
        for document in waiting:
            say(f"pending feedback {document.get('id')}: {document.get('question')}")
        self._launch(reconcile_status=True)

    def numbers(self) -> list[int]:
        """The waves of the lane, ascending. WaveError when there are none."""
        found = [number for number, _ in list_wave_files(self.lane.waves_dir)]
        if not found:
            raise WaveError(f"No wave files found in {self.lane.rel(self.lane.waves_dir)}")
        return sorted(found)

    def _launch(self, dry_run: bool = False, reconcile_status: bool = False) -> int:
        """A launch in this process that starts no agent."""
        from .launcher import launch

        base = LauncherOptions(project=self.options.launch.project, lane=self.options.launch.lane)
        options = base._replace(
            executor=self.options.launch.executor,
            codex_sandbox=self.options.launch.codex_sandbox,
            dry_run=dry_run,
            reconcile_status=reconcile_status,
        )
        try:
            return launch(options, self.config.root)
        except WaveError as error:
            Console().warn(f"[wave] {error}")
            return int(error.code)

    # --- the loop

    def run(self) -> int:
        """Waves until none is incomplete; the exit code of LAUNCH 19.3."""
        while True:
            done = self._completed()
            wave = next((number for number in self.numbers() if number not in done), None)
            if wave is None:
                self._stop_at(self.read_barrier(None))
                say(f"all waves complete for lane={self.lane.lane}")
                shown = ", ".join(map(str, done)) or "none"
                say(f"launched waves={len(self.launched)}; completed={shown}")
                return 0
            self._wave(wave)

    def _completed(self) -> list[int]:
        return run_state.completed_waves(run_state.read_run_state(self.lane.run_state))

    def _wave(self, wave: int) -> None:
        attempts = self.options.max_attempts_per_wave
        for attempt in range(1, attempts + 1):
            self._stop_at(self.read_barrier(wave))
            say(f"launching wave {wave} (attempt {attempt}/{attempts})")
            run_id = self.submit(self.launch_argv(wave, attempt), f"{self.token}-{wave}-{attempt}")
            say(f"submitted wave {wave} as run_id={run_id} lane={self.lane.lane} project={self.lane.project_id}")
            status = self.observe(run_id)
            self.launched.append(wave)
            self._launch(reconcile_status=True)
            if status == 0:
                if wave in self._completed():
                    return say(f"wave {wave} completed.")
                entry = run_state.entry_of(run_state.read_run_state(self.lane.run_state), wave) or {}
                reason = entry.get("lastReasonCode") or "no run-state entry"
                raise Stop(f"Wave {wave} finished but is not recorded as completed ({reason})", code=ExitCode.FAILED)
            say(f"wave {wave} failed with status={status}.")
            request = retry_state.active_rerun_request(self.lane, wave)
            recovery = request is not None and request.get("requestedBy") == RECOVERY
            if not tries_again(status, recovery, attempt, attempts):
                raise Stop(f"Stopping after repeated failures on wave {wave}.", code=status)
            say(f"retrying wave {wave}.")

    def launch_argv(self, wave: int, attempt: int) -> list[str]:
        """The launcher arguments of one wave, in the order of LAUNCH 19.3 step 3."""
        launch = self.options.launch
        argv = ["--project", self.lane.project_id, "--lane", self.lane.lane]
        argv += ["--start-wave", str(wave), "--end-wave", str(wave)]
        for flag, value in (
            ("--timeout-minutes", launch.timeout_minutes),
            ("--max-retries-per-wave", launch.max_retries_per_wave),
            ("--agent-rate-limit-retries", launch.agent_rate_limit_retries),
            ("--agent-rate-limit-base-delay-seconds", launch.agent_rate_limit_base_delay_seconds),
            ("--agent-rate-limit-max-delay-seconds", launch.agent_rate_limit_max_delay_seconds),
            ("--agent-launch-stagger-ms", launch.agent_launch_stagger_ms),
            ("--executor", self.executor),
            ("--orchestrator-id", launch.orchestrator_id),
            ("--coordination-note", f"autonomous single-wave run wave={wave} attempt={attempt}"),
        ):
            argv += [flag, str(value)]
        if not self.options.dashboard:
            argv.append("--no-dashboard")
        if launch.codex_sandbox:
            argv += ["--codex-sandbox", launch.codex_sandbox]
        if not launch.cleanup_sessions:
            argv.append("--keep-sessions")
        if launch.keep_terminals:
            argv.append("--keep-terminals")
        if launch.resident_orchestrator:
            argv.append("--resident-orchestrator")
        return argv

    # --- barriers

    def read_barrier(self, wave: int | None) -> AutonomousBarrier | None:
        """What stands in the way of a wave, or of finishing (None). Spec: LAUNCH 19.4."""
        lane = self.lane
        tickets = read_tickets(dependency_directories(lane)).tickets
        inbound = open_inbound(tickets, lane.lane, lane.project_id)
        numbers = self.numbers() if wave is None else [wave]
        human = {number: self._human(number) for number in numbers}
        return barrier(lane.lane, wave, inbound, human)

    def _human(self, wave: int) -> list[str]:
        documents, _ = feedback_store.read_all_requests(self.lane.feedback_requests_dir)
        rows = [
            feedback_store.request_row(document)
            for document in documents
            if document.get("lane") == self.lane.lane and document.get("wave") == wave and not document.get("runId")
        ]
        return human_items(coordination_store.read_state(self.lane, wave), rows)

    def _stop_at(self, found: AutonomousBarrier | None) -> None:
        if found is not None:
            raise Stop(found.message, code=ExitCode.BLOCKED)


def say(text: str) -> None:
    """One line for people."""
    print(f"[autonomous] {text}", flush=True)
