"""`wave autonomous`: all waves of a lane, one submitted run after the other. Spec: LAUNCH 19."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError
from .arguments import CHOICE, POSITIVE, SWITCH, Command, Flag, parse, usage
from .launch_flags import EXECUTORS, LAUNCH, parse_launch_args

if TYPE_CHECKING:
    from ..definition.supervisor_paths import SupervisorPaths
    from ..runtime.autonomous import AutonomousOptions

_SHARED = (
    "--project",
    "--lane",
    "--timeout-minutes",
    "--max-retries-per-wave",
    "--agent-rate-limit-retries",
    "--agent-rate-limit-base-delay-seconds",
    "--agent-rate-limit-max-delay-seconds",
    "--agent-launch-stagger-ms",
    "--resident-orchestrator",
    "--codex-sandbox",
    "--keep-sessions",
    "--keep-terminals",
    "--orchestrator-id",
)
COMMAND = Command(
    "autonomous",
    "Run every incomplete wave of a lane through the supervisor, and stop where a person is needed.",
    (
        *(flag for flag in LAUNCH.flags if flag.name in _SHARED),
        Flag("--executor", CHOICE, "default executor; not local", choices=EXECUTORS),
        Flag("--max-attempts-per-wave", POSITIVE, "submissions of one wave", default="1"),
        Flag("--dashboard", SWITCH, "keep dashboards of the runs"),
    ),
)
_OWN = ("max-attempts-per-wave", "dashboard")


def run(argv: list[str], root: str) -> int:
    """Entry of `wave autonomous`."""
    parsed = parse(COMMAND, argv)
    if parsed.help:
        sys.stdout.write(usage(COMMAND))
        return 0
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths
    from ..runtime.autonomous import Autonomous

    options = _options(parsed.values)
    config = load_wave_config(root)
    lane = build_lane_paths(config, options.launch.lane, options.launch.project)
    launch = options.launch._replace(
        orchestrator_id=options.launch.orchestrator_id or f"{lane.lane}-autonomous",
        lane=lane.lane,
        project=lane.project_id,
    )
    options = options._replace(launch=launch)
    if (launch.executor or str(lane.profile.executors["default"])) == "local":
        raise UsageError(
            "Autonomous mode does not support --executor local. Use codex, claude, or opencode.", code=ExitCode.FAILED
        )
    runs = _Runs(root)
    loop = Autonomous(config, lane, options, runs.submit, runs.observe)
    try:
        loop.preflight()
        return loop.run()
    except KeyboardInterrupt:
        if runs.current:
            context = f"--run-id {runs.current} --project {lane.project_id} --lane {lane.lane}"
            sys.stderr.write(f"[autonomous] run {runs.current} goes on; wait for it: wave wait {context}\n")
        return int(ExitCode.INTERRUPTED)


def _options(values: dict[str, Any]) -> AutonomousOptions:
    from ..runtime.autonomous import AutonomousOptions

    argv: list[str] = []
    for key, value in values.items():
        if key not in _OWN:
            argv += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    launch = parse_launch_args(argv)  # the same conflicts and the same clean forms as a launch
    if launch is None:  # cannot be: help was handled
        raise UsageError("--help is handled before")
    return AutonomousOptions(launch, values.get("max-attempts-per-wave", 1), bool(values.get("dashboard")))


class _Runs:
    """Submitting and observing, as `wave submit` and `wave wait` do it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.current = ""
        self._paths: SupervisorPaths | None = None

    def submit(self, argv: list[str], token: str) -> str:
        """Queue a launch under a token of this invocation; the run id."""
        from ..runtime.supervisor_client import reach_supervisor
        from .submit_cli import submit

        options = parse_launch_args(argv)
        if options is None:
            raise UsageError("--help cannot be submitted")
        submitted = submit(self.root, argv, options, token)
        if submitted is None:
            raise UsageError("nothing to submit")
        self._paths, state, _, _ = submitted
        self.current = str(state["runId"])
        reached = reach_supervisor(self._paths, state["project"], state["lane"], state["adhocRunId"])
        if reached.state == "unavailable":
            sys.stderr.write(f"[autonomous] warning: no supervisor could be started: {reached.problem}\n")
        return self.current

    def observe(self, run_id: str) -> int:
        """Wait for the end of a run, without a time limit of our own; its exit code. Restarts a lost supervisor."""
        from ..runtime.supervisor_client import reach_supervisor
        from .status_cli import wait_code, wait_for

        if self._paths is None:
            raise UsageError("nothing was submitted")
        while True:
            view, _ = wait_for(self._paths, self._paths.run(run_id), time.monotonic() + 30.0)
            if view.terminal:
                self.current = ""
                return wait_code(view)
            if not view.daemon.active:
                document = view.document
                reach_supervisor(self._paths, document["project"], document["lane"], document.get("adhocRunId"))
