"""`wave cancel`: ask for a submitted run, or the agents of an earlier direct launch, to be ended. Spec: SUP 14.5."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import COUNT, JSON, SWITCH, TEXT, WAVE, Command, Flag
from .supervisor_context import (
    CONTEXT,
    RUN_ID,
    guarded,
    is_legacy,
    lane_paths,
    print_json,
    read_once,
    required_run,
)

if TYPE_CHECKING:
    from ..definition.supervisor_paths import RunPaths, SupervisorPaths
    from .arguments import Parsed

CANCEL = Command(
    "cancel",
    "End a submitted run and its agents; or, with --wave, the live agents of an earlier direct launch.",
    (
        RUN_ID,
        *CONTEXT,
        WAVE,
        Flag("--reason", TEXT, "why, for the record"),
        Flag("--force", SWITCH, "no grace: SIGKILL at once"),
        Flag("--wait", SWITCH, "return when the run is over"),
        Flag("--timeout-seconds", COUNT, "longest wait", default="60"),
        Flag("--no-daemon", SWITCH, "record the request only; start no supervisor"),
        JSON,
    ),
)


def run(argv: list[str], root: str) -> int:
    """`wave cancel`."""
    return guarded(argv, lambda: _cancel(argv, root))


def _cancel(argv: list[str], root: str) -> int:
    parsed = read_once(CANCEL, argv)
    if parsed is None:
        return 0
    if parsed.has("wave") and not parsed.has("run-id"):
        return _cancel_wave(parsed, root)
    if parsed.has("wave"):
        raise UsageError("--run-id and --wave exclude each other")
    paths, submitted = required_run(parsed, root)
    if is_legacy(paths):
        raise WaveError("this run belongs to the Node package", remedy="cancel it there", key="invalid-request")
    return _cancel_run(parsed, paths, submitted)


def _cancel_run(parsed: Parsed, paths: SupervisorPaths, submitted: RunPaths) -> int:
    from ..state.supervisor_state import request_cancel
    from .status_cli import see

    view = see(paths, submitted)
    if view.document["status"] in ("completed", "failed"):
        return _answer(parsed, submitted.run_id, "already-terminal", alreadyTerminal=True)
    by = os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
    request_cancel(submitted, by, parsed.text("reason"), parsed.has("force"), _grace(paths, view.document))
    if not parsed.has("no-daemon"):
        _reach(paths, view.document)
    if not parsed.has("wait"):
        return _answer(parsed, submitted.run_id, "requested", alreadyTerminal=False)
    from .status_cli import show, wait_code, wait_for

    deadline = time.monotonic() + parsed.number("timeout-seconds", 60)
    view, _ = wait_for(paths, submitted, deadline)
    show(view, paths, parsed.has("json"), timedOut=not view.terminal)
    if not view.terminal:
        return int(ExitCode.TIMED_OUT)
    return 0 if view.document["terminalDisposition"] == "cancelled" else wait_code(view)


def _grace(paths: SupervisorPaths, document: dict[str, Any]) -> float:
    lane = lane_paths(paths.root, document["project"], document["lane"], document.get("adhocRunId"))
    return float(lane.profile.supervisor["terminationGraceSeconds"])


def _reach(paths: SupervisorPaths, document: dict[str, Any]) -> None:
    from ..runtime.supervisor_client import reach_supervisor

    reached = reach_supervisor(paths, document["project"], document["lane"], document.get("adhocRunId"))
    if reached.state == "unavailable":
        sys.stderr.write(f"[cancel] warning: requested, but no supervisor could be started: {reached.problem}\n")


def _answer(parsed: Parsed, run_id: str, word: str, **more: Any) -> int:
    if parsed.has("json"):
        print_json({"runId": run_id, "cancel": word, **more})
    else:
        print(f"run_id={run_id} cancel={word}")
    return 0


def _cancel_wave(parsed: Parsed, root: str) -> int:
    """End the live agents that a direct launch left on a wave; one that is still running is asked to stop first."""
    from ..runtime.direct_launch import end_direct_launch

    lane = lane_paths(root, parsed.text("project"), parsed.text("lane"), parsed.text("adhoc-run"))
    wave = parsed.number("wave", 0)
    grace = 0.0 if parsed.has("force") else float(lane.profile.supervisor["terminationGraceSeconds"])
    ended = end_direct_launch(lane, wave, grace)
    if parsed.has("json"):
        print_json(ended.to_json())
    else:
        print(f"[cancel] wave {wave}: {ended.text}")
    return 0 if ended.gone else 1
