"""The files of the state tree as methods: one member for each entry of `state_tree.STATE_TREE`.

A file that depends on an id is a method, any other a property. Spec: CFG 6.2, 6.3.
"""

from __future__ import annotations

from typing import NamedTuple

from ..base.errors import ConfigError
from .ids import safe_id
from .lane_profile import LaneProfile
from .state_tree import ENTRIES, LIVE, ROOT, SHARED, STATE, WORKSPACE, Entry

_ID_KINDS = {
    "slug": "slug",
    "agent_id": "agent",
    "run_id": "run",
    "request_id": "record",
    "digest": "record",
    "lane_id": "lane",
    "project": "project",
    "adhoc_run": "adhoc-run",
    "planner_run": "planner-run",
}
"""Placeholder of a template -> kind of id; every other placeholder is a number."""


class Places(NamedTuple):
    """Where a lane is: its root, its directories and its profile. See `lane_paths.LanePaths`."""

    root: str
    config_path: str
    profile: LaneProfile
    run_kind: str
    run_id: str | None
    run_variant: str
    state_dir: str
    live_state_dir: str
    orchestrator_state_dir: str
    workspace_orchestrator_dir: str
    waves_dir: str
    docs_dir: str
    plans_dir: str
    assignments_dir: str
    closure_dir: str
    context7_cache_dir: str
    control_dir: str
    control_plane_dir: str
    coordination_dir: str
    dashboards_dir: str
    dependency_snapshots_dir: str
    docs_queue_dir: str
    executors_dir: str
    feedback_triage_dir: str
    inboxes_dir: str
    integration_dir: str
    ledger_dir: str
    logs_dir: str
    messageboards_dir: str
    prompts_dir: str
    proof_dir: str
    reducer_dir: str
    results_dir: str
    security_dir: str
    signals_dir: str
    status_dir: str
    telemetry_dir: str
    traces_dir: str
    supervisor_dir: str
    supervisor_runs_dir: str
    feedback_requests_dir: str
    dependencies_dir: str
    warnings: tuple[str, ...] = ()
    orchestrator_id: str | None = None
    runtime_version: str | None = None


class StatePaths(Places):
    """Absolute paths of the files of the state tree. Methods raise ConfigError for an id that is not well formed."""

    __slots__ = ()

    @property
    def launcher_lock(self) -> str:
        """Who owns the lane; a kernel lock is held on it."""
        return self._at("launcher_lock")

    @property
    def run_state(self) -> str:
        """State and history of every wave."""
        return self._at("run_state")

    @property
    def run_state_lock(self) -> str:
        """Guards run-state.json."""
        return self._at("run_state_lock")

    @property
    def manifest(self) -> str:
        """Parsed waves and document hashes."""
        return self._at("manifest")

    @property
    def global_dashboard(self) -> str:
        """All waves of a launch."""
        return self._at("global_dashboard")

    def coordination_log(self, wave: int) -> str:
        """Coordination records."""
        return self._at("coordination_log", wave=wave)

    def coordination_checkpoint(self, wave: int) -> str:
        """What the first part of a long coordination log adds up to."""
        return self._at("coordination_checkpoint", wave=wave)

    def control_plane_checkpoint(self, wave: int) -> str:
        """What the first part of a long control-plane log adds up to."""
        return self._at("control_plane_checkpoint", wave=wave)

    def control_plane_log(self, wave: int) -> str:
        """Lifecycle events."""
        return self._at("control_plane_log", wave=wave)

    def relaunch_plan(self, wave: int) -> str:
        """Whom to launch next."""
        return self._at("relaunch_plan", wave=wave)

    def retry_override(self, wave: int) -> str:
        """Active rerun request."""
        return self._at("retry_override", wave=wave)

    def proof_registry(self, wave: int) -> str:
        """Proof bundles."""
        return self._at("proof_registry", wave=wave)

    def reducer_snapshot(self, wave: int) -> str:
        """Last reduced wave state."""
        return self._at("reducer_snapshot", wave=wave)

    def assignments(self, wave: int) -> str:
        """Helper assignments."""
        return self._at("assignments", wave=wave)

    def dependency_snapshot(self, wave: int) -> str:
        """Dependency tickets."""
        return self._at("dependency_snapshot", wave=wave)

    def dependency_report(self, wave: int) -> str:
        """The same, for people."""
        return self._at("dependency_report", wave=wave)

    def ledger(self, wave: int) -> str:
        """Tasks and phase."""
        return self._at("ledger", wave=wave)

    def docs_queue(self, wave: int) -> str:
        """Documentation work."""
        return self._at("docs_queue", wave=wave)

    def integration_summary(self, wave: int) -> str:
        """Integration summary."""
        return self._at("integration_summary", wave=wave)

    def integration_report(self, wave: int) -> str:
        """The same, for people."""
        return self._at("integration_report", wave=wave)

    def security_summary(self, wave: int) -> str:
        """Security summary."""
        return self._at("security_summary", wave=wave)

    def security_report(self, wave: int) -> str:
        """The same, for people."""
        return self._at("security_report", wave=wave)

    def corridor_artifact(self, wave: int) -> str:
        """Provider result."""
        return self._at("corridor_artifact", wave=wave)

    def corridor_lock(self, wave: int) -> str:
        """One fetch at a time."""
        return self._at("corridor_lock", wave=wave)

    def shared_summary(self, wave: int) -> str:
        """For every agent."""
        return self._at("shared_summary", wave=wave)

    def messageboard(self, wave: int) -> str:
        """Board of the wave."""
        return self._at("messageboard", wave=wave)

    def dashboard_wave(self, wave: int) -> str:
        """Dashboard of the wave."""
        return self._at("dashboard_wave", wave=wave)

    def signal_wave(self, wave: int) -> str:
        """Versioned signal of the wave."""
        return self._at("signal_wave", wave=wave)

    def signal_lock(self, wave: int) -> str:
        """Guards the signals of a wave."""
        return self._at("signal_lock", wave=wave)

    def triage_log(self, wave: int) -> str:
        """Audit copy."""
        return self._at("triage_log", wave=wave)

    def pending_human(self, wave: int) -> str:
        """Open escalations."""
        return self._at("pending_human", wave=wave)

    def status_file(self, wave: int, slug: str) -> str:
        """How the agent ended."""
        return self._at("status_file", wave=wave, slug=slug)

    def runtime_file(self, wave: int, slug: str) -> str:
        """Unsupervised processes."""
        return self._at("runtime_file", wave=wave, slug=slug)

    def summary_file(self, wave: int, slug: str) -> str:
        """Execution summary."""
        return self._at("summary_file", wave=wave, slug=slug)

    def legacy_envelope(self, wave: int, slug: str) -> str:
        """Old place, read only."""
        return self._at("legacy_envelope", wave=wave, slug=slug)

    def prompt_file(self, wave: int, slug: str) -> str:
        """Compiled prompt."""
        return self._at("prompt_file", wave=wave, slug=slug)

    def log_file(self, wave: int, slug: str) -> str:
        """Raw output of the agent."""
        return self._at("log_file", wave=wave, slug=slug)

    def executor_dir(self, wave: int, slug: str) -> str:
        """Files made for the executor."""
        return self._at("executor_dir", wave=wave, slug=slug)

    def launch_preview(self, wave: int, slug: str) -> str:
        """The command line without secrets."""
        return self._at("launch_preview", wave=wave, slug=slug)

    def runner_payload(self, wave: int, slug: str) -> str:
        """Orders of the agent runner."""
        return self._at("runner_payload", wave=wave, slug=slug)

    def result_envelope(self, wave: int, attempt: int, agent_id: str) -> str:
        """Result envelope."""
        return self._at("result_envelope", wave=wave, attempt=attempt, agent_id=agent_id)

    def superseded_envelopes(self, wave: int, attempt: int) -> str:
        """Replaced envelopes."""
        return self._at("superseded_envelopes", wave=wave, attempt=attempt)

    def closure_record(self, wave: int, attempt: int, agent_id: str) -> str:
        """Adjudication."""
        return self._at("closure_record", wave=wave, attempt=attempt, agent_id=agent_id)

    def inbox(self, wave: int, agent_id: str) -> str:
        """Inbox of an agent."""
        return self._at("inbox", wave=wave, agent_id=agent_id)

    def signal_agent(self, wave: int, agent_id: str) -> str:
        """Versioned signal of an agent."""
        return self._at("signal_agent", wave=wave, agent_id=agent_id)

    def signal_ack(self, wave: int, agent_id: str) -> str:
        """Signal version it saw."""
        return self._at("signal_ack", wave=wave, agent_id=agent_id)

    def trace_dir(self, wave: int, attempt: int) -> str:
        """Immutable replay bundle."""
        return self._at("trace_dir", wave=wave, attempt=attempt)

    @property
    def telemetry_events(self) -> str:
        """Every event."""
        return self._at("telemetry_events")

    @property
    def telemetry_pending(self) -> str:
        """Queued events."""
        return self._at("telemetry_pending")

    @property
    def telemetry_sent(self) -> str:
        """Delivered events."""
        return self._at("telemetry_sent")

    @property
    def telemetry_failed(self) -> str:
        """Rejected events."""
        return self._at("telemetry_failed")

    @property
    def telemetry_state(self) -> str:
        """Counters of the delivery."""
        return self._at("telemetry_state")

    @property
    def telemetry_lock(self) -> str:
        """Guards the queue."""
        return self._at("telemetry_lock")

    @property
    def telemetry_flush_lock(self) -> str:
        """One flush."""
        return self._at("telemetry_flush_lock")

    def context7_cache(self, digest: str) -> str:
        """Fetched documentation."""
        return self._at("context7_cache", digest=digest)

    @property
    def daemon_lock(self) -> str:
        """Kernel lock and lease record."""
        return self._at("daemon_lock")

    @property
    def daemon_log(self) -> str:
        """Log, rotated at 5 MiB."""
        return self._at("daemon_log")

    @property
    def daemon_wake(self) -> str:
        """FIFO that wakes the supervisor."""
        return self._at("daemon_wake")

    @property
    def submit_lock(self) -> str:
        """One submission with a request id at a time."""
        return self._at("submit_lock")

    @property
    def submit_cache(self) -> str:
        """Wave files that were found sound."""
        return self._at("submit_cache")

    def supervisor_run_dir(self, run_id: str) -> str:
        """One submitted run."""
        return self._at("supervisor_run_dir", run_id=run_id)

    def supervisor_request(self, run_id: str) -> str:
        """What was asked, immutable."""
        return self._at("supervisor_request", run_id=run_id)

    def supervisor_state(self, run_id: str) -> str:
        """State of the run."""
        return self._at("supervisor_state", run_id=run_id)

    def supervisor_events(self, run_id: str) -> str:
        """Observations of the supervisor."""
        return self._at("supervisor_events", run_id=run_id)

    def supervisor_cancel(self, run_id: str) -> str:
        """Request to cancel."""
        return self._at("supervisor_cancel", run_id=run_id)

    def launcher_flock(self, run_id: str) -> str:
        """Held while the launcher tree lives."""
        return self._at("launcher_flock", run_id=run_id)

    def launcher_process(self, run_id: str) -> str:
        """Identity and heartbeat."""
        return self._at("launcher_process", run_id=run_id)

    def launcher_status(self, run_id: str) -> str:
        """How the launcher ended."""
        return self._at("launcher_status", run_id=run_id)

    def launcher_status_of(self, run_id: str, generation: int) -> str:
        """How an earlier launcher of this run ended."""
        return self._at("launcher_status_of", run_id=run_id, generation=generation)

    def launcher_progress(self, run_id: str) -> str:
        """Progress journal."""
        return self._at("launcher_progress", run_id=run_id)

    def launcher_log(self, run_id: str) -> str:
        """What the launcher printed."""
        return self._at("launcher_log", run_id=run_id)

    def run_agents_dir(self, run_id: str) -> str:
        """Processes of the run."""
        return self._at("run_agents_dir", run_id=run_id)

    def run_agent_runtime(self, run_id: str, agent_id: str) -> str:
        """Runtime record."""
        return self._at("run_agent_runtime", run_id=run_id, agent_id=agent_id)

    def run_agent_tree_lock(self, run_id: str, agent_id: str) -> str:
        """Held while the agent's tree lives."""
        return self._at("run_agent_tree_lock", run_id=run_id, agent_id=agent_id)

    def run_agent_runner_lock(self, run_id: str, agent_id: str) -> str:
        """Held by the runner."""
        return self._at("run_agent_runner_lock", run_id=run_id, agent_id=agent_id)

    def run_agent_pid(self, run_id: str, agent_id: str) -> str:
        """Pid of the shim."""
        return self._at("run_agent_pid", run_id=run_id, agent_id=agent_id)

    def run_agent_exit(self, run_id: str, agent_id: str) -> str:
        """Exit code of the executor."""
        return self._at("run_agent_exit", run_id=run_id, agent_id=agent_id)

    def run_agent_history(self, run_id: str, agent_id: str, wave: int, attempt: int, seq: int) -> str:
        """Earlier runtime record."""
        return self._at("run_agent_history", run_id=run_id, agent_id=agent_id, wave=wave, attempt=attempt, seq=seq)

    @property
    def legacy_supervisor_dir(self) -> str:
        """Old place, read only."""
        return self._at("legacy_supervisor_dir")

    @property
    def orchestrator_board(self) -> str:
        """Board of all lanes."""
        return self._at("orchestrator_board")

    def feedback_request(self, request_id: str) -> str:
        """Question to a human."""
        return self._at("feedback_request", request_id=request_id)

    @property
    def feedback_lock(self) -> str:
        """Guards the requests."""
        return self._at("feedback_lock")

    def dependency_log(self, lane_id: str) -> str:
        """Tickets of a lane."""
        return self._at("dependency_log", lane_id=lane_id)

    def dependency_board(self, lane_id: str) -> str:
        """The same, for people."""
        return self._at("dependency_board", lane_id=lane_id)

    def agent_slot(self, index: int) -> str:
        """A running agent."""
        return self._at("agent_slot", index=index)

    def launch_slot(self, index: int) -> str:
        """An agent in start-up."""
        return self._at("launch_slot", index=index)

    @property
    def install_state(self) -> str:
        """What init and upgrade did."""
        return self._at("install_state")

    @property
    def upgrade_history_dir(self) -> str:
        """Upgrade reports."""
        return self._at("upgrade_history_dir")

    @property
    def update_check_cache(self) -> str:
        """Last answer."""
        return self._at("update_check_cache")

    def adhoc_index(self, project: str) -> str:
        """Ad-hoc runs of a project."""
        return self._at("adhoc_index", project=project)

    def adhoc_dir(self, project: str, adhoc_run: str) -> str:
        """One ad-hoc run."""
        return self._at("adhoc_dir", project=project, adhoc_run=adhoc_run)

    def legacy_adhoc_dir(self, adhoc_run: str) -> str:
        """Old place, read only."""
        return self._at("legacy_adhoc_dir", adhoc_run=adhoc_run)

    def planner_run_dir(self, planner_run: str) -> str:
        """One planner run."""
        return self._at("planner_run_dir", planner_run=planner_run)

    @property
    def benchmarks_dir(self) -> str:
        """Benchmark results."""
        return self._at("benchmarks_dir")

    @property
    def project_profile(self) -> str:
        """Project profile; that of project `default` has a place of its own. Spec: CFG 7."""
        if self.profile.project_id == "default":
            return self._at("default_project_profile")
        return self._at("project_profile", project=self.profile.project_id)

    def _at(self, name: str, **ids: int | str) -> str:
        entry = ENTRIES[name]
        bases = {
            STATE: self.state_dir,
            LIVE: self.live_state_dir,
            SHARED: self.orchestrator_state_dir,
            WORKSPACE: self.workspace_orchestrator_dir,
            ROOT: self.root,
        }
        return f"{bases[entry.base]}/{render(entry, ids)}"


def render(entry: Entry, ids: dict[str, int | str]) -> str:
    """The template of an entry with its ids in place, each checked so that it cannot leave its directory."""
    checked: dict[str, int | str] = {}
    for name, value in ids.items():
        kind = _ID_KINDS.get(name)
        checked[name] = safe_id(kind, str(value)) if kind else number(name, value)
    return entry.template.format(**checked)


def number(name: str, value: object) -> int:
    """Return a wave, attempt or other ordinal number; ConfigError unless it is an integer >= 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"invalid {name} number {value!r}")
    return value
