"""The flags of `wave launch` and what they mean together; `submit` and `autonomous` check their argv here too.

Spec: LAUNCH 2.1-2.3; SUP 7.1 point 2 (parsing has no side effect), 7.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base.errors import UsageError
from ..runtime.launcher_options import LauncherOptions, clean_lane, clean_orchestrator_id
from .arguments import CHOICE, COUNT, LANE, POSITIVE, PROJECT, SWITCH, TEXT, Command, Flag, parse

EXECUTORS = ("codex", "claude", "opencode", "local", "command")
SANDBOXES = ("read-only", "workspace-write", "danger-full-access")
SURFACES = ("vscode", "tmux", "none")

LAUNCH = Command(
    "launch",
    "Run waves: start their agents, judge the evidence, close them, one wave after the other.",
    (
        PROJECT,
        LANE,
        Flag("--adhoc-run", TEXT, "run the wave of this ad-hoc run", metavar="id"),
        Flag("--start-wave", COUNT, "first wave", default="0"),
        Flag("--end-wave", COUNT, "last wave, inclusive", default="the last one"),
        Flag("--auto-next", SWITCH, "begin at the first wave that is not completed"),
        Flag("--resume-control-state", SWITCH, "keep the relaunch plan that an earlier launch left"),
        Flag("--reconcile-status", SWITCH, "rebuild the run state from status files, then stop"),
        Flag("--state-file", TEXT, "run-state file", metavar="path", default="run-state.json of the lane"),
        Flag("--timeout-minutes", POSITIVE, "longest wait per agent", default="240"),
        Flag("--max-retries-per-wave", COUNT, "passes that may follow a failed pass", default="1"),
        Flag("--agent-rate-limit-retries", COUNT, "429 retries per agent", default="2"),
        Flag("--agent-rate-limit-base-delay-seconds", POSITIVE, "first backoff", default="20"),
        Flag("--agent-rate-limit-max-delay-seconds", POSITIVE, "longest backoff", default="180"),
        Flag("--agent-launch-stagger-ms", COUNT, "pause between two launches", default="1200"),
        Flag("--max-parallel-agents", COUNT, "agents of one pass that run at the same time", default="0, no limit"),
        Flag("--executor", CHOICE, "default executor", choices=EXECUTORS),
        Flag("--codex-sandbox", CHOICE, "sandbox of codex agents", choices=SANDBOXES),
        Flag("--manifest-out", TEXT, "where the manifest goes", metavar="path"),
        Flag("--dry-run", SWITCH, "write prompts and launch previews, start nothing"),
        # TEXT, because its error has a wording of its own (LAUNCH 2.3).
        Flag("--terminal-surface", TEXT, "operator surface", metavar="|".join(SURFACES)),
        Flag("--no-dashboard", SWITCH, "no dashboard sessions"),
        Flag("--cleanup-sessions", SWITCH, "end tmux projections after each wave (the default)"),
        Flag("--keep-sessions", SWITCH, "keep tmux projections"),
        Flag("--keep-terminals", SWITCH, "keep temporary terminal entries"),
        Flag("--orchestrator-id", TEXT, "this orchestrator's name", metavar="id"),
        Flag("--orchestrator-board", TEXT, "where the orchestrator board is", metavar="path"),
        Flag("--no-orchestrator-board", SWITCH, "keep no orchestrator board"),
        Flag("--coordination-note", TEXT, "a note for the board's launcher_start entry"),
        Flag("--resident-orchestrator", SWITCH, "start a resident orchestrator per wave"),
        Flag("--no-telemetry", SWITCH, "queue and send no telemetry"),
        Flag("--no-context7", SWITCH, "prefetch no Context7 documentation"),
    ),
)
# Switches that turn an option off: the option's name and the value it gets.
_NEGATIONS = {
    "no-dashboard": "dashboard",
    "keep-sessions": "cleanup_sessions",
    "no-orchestrator-board": "board",
    "no-telemetry": "telemetry",
    "no-context7": "context7",
}


def parse_launch_args(argv: Sequence[str]) -> LauncherOptions | None:
    """The checked options of a launch command line, or None when it asks for help.

    UsageError for an unknown flag, a missing or malformed value, and flags that exclude each other.
    """
    parsed = parse(LAUNCH, argv)
    if parsed.help:
        return None
    values: dict[str, Any] = {}
    for key, value in parsed.values.items():  # in command-line order: of --keep-sessions and its opposite the last wins
        if key in _NEGATIONS:
            values[_NEGATIONS[key]] = False
        else:
            values[key.replace("-", "_")] = value
    options = LauncherOptions(**values)
    _check(options)
    return options._replace(
        lane=clean_lane(options.lane) if options.lane else None,
        orchestrator_id=clean_orchestrator_id(options.orchestrator_id) if options.orchestrator_id else None,
        dashboard=options.dashboard and options.terminal_surface != "none",
    )


def normalised_args(argv: Sequence[str]) -> list[str]:
    """The same command line with every `--flag=value` as two tokens and bare `--` dropped. Spec: LAUNCH 2.1."""
    valued = {flag.name for flag in LAUNCH.flags if flag.kind != SWITCH}
    result: list[str] = []
    for token in argv:
        name, equals, value = token.partition("=")
        if equals and name in valued:
            result += [name, value]
        elif token != "--":
            result.append(token)
    return result


def _check(options: LauncherOptions) -> None:
    """Conflicts between flags. Spec: LAUNCH 2.3."""
    if options.agent_rate_limit_max_delay_seconds < options.agent_rate_limit_base_delay_seconds:
        raise UsageError("--agent-rate-limit-max-delay-seconds must be >= --agent-rate-limit-base-delay-seconds")
    end = options.end_wave
    if not options.auto_next and end is not None and end < (options.start_wave or 0):
        raise UsageError("--end-wave must be >= --start-wave")
    if options.dry_run and options.reconcile_status:
        raise UsageError("--dry-run and --reconcile-status exclude each other")
    if options.terminal_surface is not None and options.terminal_surface not in SURFACES:
        raise UsageError(f"--terminal-surface must be one of: {', '.join(SURFACES)}")
    if options.lane is not None and not clean_lane(options.lane):
        raise UsageError("Lane name is required")
    if options.orchestrator_id is not None and not clean_orchestrator_id(options.orchestrator_id):
        raise UsageError("Orchestrator ID is required")
