"""The state tree: every file Wave keeps, its class and its one writer. Spec: CFG 6.2, 6.3; SUP 4; WORK 8.2.

`lane_paths` builds paths from this table, and the page about the state layout is checked against it. It holds no
logic. Classes: E canonical event log, S canonical snapshot or observed fact, C cache that may be deleted, P projection
for people and agents (decisions never read it), I input from an agent or operator, L lock.
"""

from __future__ import annotations

from typing import NamedTuple

STATE = "<state_dir>"
LIVE = "<live_state_dir>"
SHARED = "<orchestrator_state_dir>"
WORKSPACE = "<workspace_orchestrator_dir>"
ROOT = "<root>"


class Entry(NamedTuple):
    """One kind of file. `template` is relative to `base`; its `{placeholders}` are the ids the method takes."""

    name: str
    base: str
    template: str
    kind: str
    writer: str
    contents: str


STATE_DIRECTORIES = {
    "assignments_dir": "assignments",
    "closure_dir": "closure",
    "context7_cache_dir": "context7-cache",
    "control_dir": "control",
    "control_plane_dir": "control-plane",
    "coordination_dir": "coordination",
    "dashboards_dir": "dashboards",
    "dependency_snapshots_dir": "dependencies",
    "docs_queue_dir": "docs-queue",
    "executors_dir": "executors",
    "feedback_triage_dir": "feedback/triage",
    "inboxes_dir": "inboxes",
    "integration_dir": "integration",
    "ledger_dir": "ledger",
    "logs_dir": "logs",
    "messageboards_dir": "messageboards",
    "prompts_dir": "prompts",
    "proof_dir": "proof",
    "reducer_dir": "reducer",
    "results_dir": "results",
    "security_dir": "security",
    "signals_dir": "signals",
    "status_dir": "status",
    "telemetry_dir": "control-plane/telemetry",
    "traces_dir": "traces",
}
"""Attribute of `LanePaths` -> directory under the state directory."""

LIVE_DIRECTORIES = {"supervisor_dir": "supervisor", "supervisor_runs_dir": "supervisor/runs"}
"""Directories under the live state directory: a dry run has no supervisor of its own."""

SHARED_DIRECTORIES = {"feedback_requests_dir": "feedback/requests", "dependencies_dir": "dependencies"}
"""Directories under the orchestrator state directory."""

_WAVE = "wave-{wave}"
_AGENT = "wave-{wave}-{slug}"
_RUN = "supervisor/runs/{run_id}"
_RUN_AGENT = f"{_RUN}/agents/{{agent_id}}"
_ATTEMPT = "wave-{wave}/attempt-{attempt}"

_LANE = (
    Entry("launcher_lock", STATE, "launcher.lock", "L", "launcher", "who owns the lane; a kernel lock is held on it"),
    Entry("run_state", STATE, "run-state.json", "S", "run_state", "state and history of every wave"),
    Entry("run_state_lock", STATE, "run-state.json.lock", "L", "run_state", "guards run-state.json"),
    Entry("manifest", STATE, "waves.manifest.json", "P", "manifest", "parsed waves and document hashes"),
    Entry("global_dashboard", STATE, "dashboards/global.json", "P", "projection_writer", "all waves of a launch"),
)

_PER_WAVE = (
    Entry("coordination_log", STATE, f"coordination/{_WAVE}.jsonl", "E", "coordination_store", "coordination records"),
    Entry(
        "coordination_checkpoint",
        STATE,
        f"checkpoints/coordination-{_WAVE}.json",
        "C",
        "log_checkpoint",
        "what the first part of a long coordination log adds up to",
    ),
    Entry(
        "control_plane_checkpoint",
        STATE,
        f"checkpoints/control-plane-{_WAVE}.json",
        "C",
        "log_checkpoint",
        "what the first part of a long control-plane log adds up to",
    ),
    Entry("control_plane_log", STATE, f"control-plane/{_WAVE}.jsonl", "E", "control_plane", "lifecycle events"),
    Entry("relaunch_plan", STATE, f"status/relaunch-plan-{_WAVE}.json", "S", "retry_engine", "whom to launch next"),
    Entry("retry_override", STATE, f"control/retry-override-{_WAVE}.json", "C", "control_plane", "active rerun"),
    Entry("proof_registry", STATE, f"proof/{_WAVE}.json", "C", "control_plane", "proof bundles"),
    Entry("reducer_snapshot", STATE, f"reducer/{_WAVE}.json", "C", "reducer_snapshot", "last reduced wave state"),
    Entry("assignments", STATE, f"assignments/{_WAVE}.json", "C", "projection_writer", "helper assignments"),
    Entry("dependency_snapshot", STATE, f"dependencies/{_WAVE}.json", "C", "projection_writer", "dependency tickets"),
    Entry("dependency_report", STATE, f"dependencies/{_WAVE}.md", "P", "projection_writer", "the same, for people"),
    Entry("ledger", STATE, f"ledger/{_WAVE}.json", "C", "projection_writer", "tasks and phase"),
    Entry("docs_queue", STATE, f"docs-queue/{_WAVE}.json", "C", "projection_writer", "documentation work"),
    Entry("integration_summary", STATE, f"integration/{_WAVE}.json", "C", "projection_writer", "integration summary"),
    Entry("integration_report", STATE, f"integration/{_WAVE}.md", "P", "projection_writer", "the same, for people"),
    Entry("security_summary", STATE, f"security/{_WAVE}.json", "C", "projection_writer", "security summary"),
    Entry("security_report", STATE, f"security/{_WAVE}.md", "P", "projection_writer", "the same, for people"),
    Entry("corridor_artifact", STATE, f"security/{_WAVE}-corridor.json", "S", "corridor", "provider result"),
    Entry("corridor_lock", STATE, f"security/{_WAVE}-corridor.lock", "L", "corridor", "one fetch at a time"),
    Entry("shared_summary", STATE, f"inboxes/{_WAVE}/shared-summary.md", "P", "projection_writer", "for every agent"),
    Entry("messageboard", STATE, f"messageboards/{_WAVE}.md", "P", "projection_writer", "board of the wave"),
    Entry("dashboard_wave", STATE, f"dashboards/{_WAVE}.json", "P", "projection_writer", "dashboard of the wave"),
    Entry("signal_wave", STATE, f"signals/{_WAVE}.json", "P", "signals", "versioned signal of the wave"),
    Entry("signal_lock", STATE, f"signals/{_WAVE}.flock", "L", "signals", "guards the signals of a wave"),
    Entry("triage_log", STATE, f"feedback/triage/{_WAVE}.jsonl", "P", "clarification_triage", "audit copy"),
    Entry(
        "pending_human",
        STATE,
        f"feedback/triage/{_WAVE}/pending-human.md",
        "P",
        "clarification_triage",
        "open escalations",
    ),
)

_PER_AGENT = (
    Entry("status_file", STATE, f"status/{_AGENT}.status", "S", "agent_process_runner", "how the agent ended"),
    Entry("runtime_file", STATE, f"status/{_AGENT}.runtime.json", "S", "agent_process_runner", "its processes"),
    Entry("summary_file", STATE, f"status/{_AGENT}.summary.json", "C", "agent_state", "execution summary"),
    Entry("legacy_envelope", STATE, f"status/{_AGENT}.envelope.json", "S", "result_envelope", "old place, read only"),
    Entry("prompt_file", STATE, f"prompts/{_AGENT}.prompt.md", "P", "launcher_runtime", "compiled prompt"),
    Entry("log_file", STATE, f"logs/{_AGENT}.log", "I", "executor and agent_process_runner", "raw output of the agent"),
    Entry("executor_dir", STATE, f"executors/{_WAVE}/{{slug}}", "P", "launcher_runtime", "files made for the executor"),
    Entry(
        "launch_preview",
        STATE,
        f"executors/{_WAVE}/{{slug}}/launch-preview.json",
        "P",
        "launcher_runtime",
        "the command line without secrets",
    ),
    Entry(
        "runner_payload",
        STATE,
        f"executors/{_WAVE}/{{slug}}/runner-payload.json",
        "P",
        "launcher_runtime",
        "orders of the agent runner",
    ),
    Entry("result_envelope", STATE, f"results/{_ATTEMPT}/{{agent_id}}.json", "S", "result_envelope", "result envelope"),
    Entry(
        "superseded_envelopes", STATE, f"results/{_ATTEMPT}/superseded", "S", "result_envelope", "replaced envelopes"
    ),
    Entry("closure_record", STATE, f"closure/{_ATTEMPT}/{{agent_id}}.json", "C", "closure_adjudicator", "adjudication"),
    Entry("inbox", STATE, f"inboxes/{_WAVE}/{{agent_id}}.md", "P", "projection_writer", "inbox of an agent"),
    Entry("signal_agent", STATE, f"signals/{_WAVE}/{{agent_id}}.json", "P", "signals", "versioned signal of an agent"),
    Entry("signal_ack", STATE, f"signals/{_WAVE}/acks/{{agent_id}}.json", "I", "the agent", "signal version it saw"),
    Entry("trace_dir", STATE, f"traces/{_ATTEMPT}", "P", "traces", "immutable replay bundle"),
)

_TELEMETRY = (
    Entry("telemetry_events", STATE, "control-plane/telemetry/events.jsonl", "E", "wave_control_client", "every event"),
    Entry("telemetry_pending", STATE, "control-plane/telemetry/pending", "C", "wave_control_client", "queued events"),
    Entry("telemetry_sent", STATE, "control-plane/telemetry/sent", "C", "wave_control_client", "delivered events"),
    Entry("telemetry_failed", STATE, "control-plane/telemetry/failed", "C", "wave_control_client", "rejected events"),
    Entry(
        "telemetry_state",
        STATE,
        "control-plane/telemetry/delivery-state.json",
        "C",
        "wave_control_client",
        "counters of the delivery",
    ),
    Entry("telemetry_lock", STATE, "control-plane/telemetry/.lock", "L", "wave_control_client", "guards the queue"),
    Entry(
        "telemetry_flush_lock", STATE, "control-plane/telemetry/.flush.lock", "L", "wave_control_client", "one at once"
    ),
    Entry("context7_cache", STATE, "context7-cache/{digest}.json", "C", "context7", "fetched documentation"),
)

_SUPERVISOR = (
    Entry("daemon_lock", LIVE, "supervisor/daemon.lock", "L", "supervisor", "kernel lock and lease record"),
    Entry("daemon_log", LIVE, "supervisor/daemon.log", "P", "supervisor", "log, rotated at 5 MiB"),
    Entry("daemon_wake", LIVE, "supervisor/wake", "L", "supervisor", "FIFO that wakes the supervisor"),
    Entry("submit_lock", LIVE, "supervisor/submit.flock", "L", "submit", "one submission with a request id at a time"),
    Entry("submit_cache", LIVE, "supervisor/submit-cache.json", "C", "submit", "wave files that were found sound"),
    Entry("supervisor_run_dir", LIVE, _RUN, "S", "supervisor", "one submitted run"),
    Entry("supervisor_request", LIVE, f"{_RUN}/request.json", "S", "submit", "what was asked, immutable"),
    Entry("supervisor_state", LIVE, f"{_RUN}/state.json", "S", "supervisor", "state of the run"),
    Entry("supervisor_events", LIVE, f"{_RUN}/events.jsonl", "E", "supervisor", "observations of the supervisor"),
    Entry("supervisor_cancel", LIVE, f"{_RUN}/cancel.json", "S", "cancel", "request to cancel"),
    Entry("launcher_flock", LIVE, f"{_RUN}/launcher.flock", "L", "supervisor", "held while the launcher tree lives"),
    Entry("launcher_process", LIVE, f"{_RUN}/launcher-process.json", "S", "launcher wrapper", "identity and heartbeat"),
    Entry("launcher_status", LIVE, f"{_RUN}/launcher-status.json", "S", "launcher wrapper", "how the launcher ended"),
    Entry(
        "launcher_status_of",
        LIVE,
        f"{_RUN}/launcher-status.g{{generation}}.json",
        "S",
        "supervisor",
        "how an earlier launcher of this run ended",
    ),
    Entry("launcher_progress", LIVE, f"{_RUN}/launcher-progress.json", "S", "launcher", "progress journal"),
    Entry("launcher_log", LIVE, f"{_RUN}/launcher.log", "P", "launcher wrapper", "what the launcher printed"),
    Entry("run_agents_dir", LIVE, f"{_RUN}/agents", "S", "agent_process_runner", "processes of the run"),
    Entry("run_agent_runtime", LIVE, f"{_RUN_AGENT}.runtime.json", "S", "agent_process_runner", "runtime record"),
    Entry("run_agent_tree_lock", LIVE, f"{_RUN_AGENT}.tree.flock", "L", "launcher", "held while its tree lives"),
    Entry("run_agent_runner_lock", LIVE, f"{_RUN_AGENT}.runner.flock", "L", "agent_process_runner", "held by it"),
    Entry("run_agent_pid", LIVE, f"{_RUN_AGENT}.pid.json", "S", "shim", "pid of the shim"),
    Entry("run_agent_exit", LIVE, f"{_RUN_AGENT}.exit.json", "S", "shim", "exit code of the executor"),
    Entry(
        "run_agent_history",
        LIVE,
        f"{_RUN}/agents/history/{{agent_id}}.wave-{{wave}}.attempt-{{attempt}}.{{seq}}.runtime.json",
        "S",
        "launcher",
        "earlier runtime record",
    ),
    Entry("legacy_supervisor_dir", LIVE, "control/supervisor", "S", "the Node package", "old place, read only"),
)

_REPOSITORY = (
    Entry("orchestrator_board", SHARED, "messageboards/orchestrator.md", "P", "coordination", "board of all lanes"),
    Entry("feedback_request", SHARED, "feedback/requests/{request_id}.json", "S", "feedback", "question to a human"),
    Entry("feedback_lock", SHARED, "feedback/requests.flock", "L", "feedback", "guards the requests"),
    Entry("dependency_log", SHARED, "dependencies/{lane_id}.jsonl", "E", "dep_cli", "tickets of a lane"),
    Entry("dependency_board", SHARED, "dependencies/{lane_id}.md", "P", "dep_cli", "the same, for people"),
    Entry("agent_slot", WORKSPACE, "slots/agent-{index}.flock", "L", "agent_process_runner", "a running agent"),
    Entry("launch_slot", WORKSPACE, "slots/launch-{index}.flock", "L", "agent_process_runner", "an agent in start-up"),
    Entry("install_state", ROOT, ".wave/install-state.json", "S", "install", "what init and upgrade did"),
    Entry("upgrade_history_dir", ROOT, ".wave/upgrade-history", "S", "install", "upgrade reports"),
    Entry("update_check_cache", ROOT, ".wave/package-update-check.json", "C", "package_update_notice", "last answer"),
    Entry("default_project_profile", ROOT, ".wave/project-profile.json", "S", "project_profile", "project `default`"),
    Entry(
        "project_profile",
        ROOT,
        ".wave/projects/{project}/project-profile.json",
        "S",
        "project_profile",
        "other projects",
    ),
    Entry("adhoc_index", ROOT, ".wave/adhoc/{project}/index.json", "S", "adhoc", "ad-hoc runs of a project"),
    Entry("adhoc_dir", ROOT, ".wave/adhoc/{project}/runs/{adhoc_run}", "S", "adhoc", "one ad-hoc run"),
    Entry("legacy_adhoc_dir", ROOT, ".wave/adhoc/runs/{adhoc_run}", "S", "the Node package", "old place, read only"),
    Entry("planner_run_dir", ROOT, ".wave/planner/runs/{planner_run}", "S", "planner", "one planner run"),
    Entry("benchmarks_dir", ROOT, ".tmp/wave-benchmarks", "C", "benchmark", "benchmark results"),
)

STATE_TREE: tuple[Entry, ...] = (
    *_LANE,
    *_PER_WAVE,
    *_PER_AGENT,
    *_TELEMETRY,
    *_SUPERVISOR,
    *_REPOSITORY,
)
"""Every entry; `LanePaths` has a method of the same name, or a property where the template takes no id."""

ENTRIES = {entry.name: entry for entry in STATE_TREE}
