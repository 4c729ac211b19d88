"""`wave status` and `wave wait`: how a submitted run stands. Both only read. Spec: SUP 14.2, 14.3."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode
from .arguments import COUNT, JSON, SWITCH, Command, Flag
from .supervisor_context import CONTEXT, RUN_ID, guarded, is_legacy, print_json, read_once, required_run

if TYPE_CHECKING:
    from ..definition.supervisor_paths import RunPaths, SupervisorPaths
    from ..runtime.supervisor_view import View

STATUS = Command(
    "status",
    "Show how a submitted run stands.",
    (RUN_ID, *CONTEXT, Flag("--exit-code", SWITCH, "exit 0 completed, 10 pending or running, 40 failed"), JSON),
)
WAIT = Command(
    "wait",
    "Wait until a submitted run is over. A time-out never touches the run.",
    (
        RUN_ID,
        *CONTEXT,
        Flag("--timeout-seconds", COUNT, "longest wait; 0 looks once", default="30"),
        Flag("--until-change", SWITCH, "end at the first change (exit 30)"),
        JSON,
    ),
)
_STATUS_CODES = {"completed": 0, "pending": 10, "running": 10, "failed": 40}
_LONGEST_SLEEP = 1.0


def run(argv: list[str], root: str) -> int:
    """`wave status`."""
    return guarded(argv, lambda: _status(argv, root))


def run_wait(argv: list[str], root: str) -> int:
    """`wave wait`."""
    return guarded(argv, lambda: _wait(argv, root))


def _status(argv: list[str], root: str) -> int:
    parsed = read_once(STATUS, argv)
    if parsed is None:
        return 0
    paths, submitted = required_run(parsed, root)
    view = see(paths, submitted)
    show(view, paths, parsed.has("json"))
    return _STATUS_CODES[view.document["status"]] if parsed.has("exit-code") else 0


def see(paths: SupervisorPaths, submitted: RunPaths) -> View:
    """The view of a run. Raises RunNotFound when its folder holds nothing readable."""
    from ..runtime.supervisor_view import run_view
    from .supervisor_context import RunNotFound

    view = run_view(paths, submitted)
    if view is None:
        raise RunNotFound(f"Run {submitted.run_id} not found.", remedy="its folder holds no readable request or state")
    return view


def show(view: View, paths: SupervisorPaths, as_json: bool, **more: Any) -> None:
    """Print a view as JSON or as the one line of SUP 14.2."""
    if as_json:
        legacy = {"legacy": True} if is_legacy(paths) else {}
        print_json({**view.document, **legacy, **more})
    else:
        sys.stdout.write(status_line(view.document) + "\n")


def status_line(document: dict[str, Any]) -> str:
    """The line of SUP 14.2."""

    def shown(key: str, nothing: str = "none") -> object:
        value = document.get(key)
        return nothing if value is None else value

    return (
        f"run_id={document['runId']} status={document['status']} lane={document['lane']} "
        f"project={document['project']} pid={shown('launcherPid')} exit_code={shown('exitCode', 'n/a')} "
        f"terminal_disposition={document['terminalDisposition']} recovery_state={document['recoveryState']} "
        f"resume_action={shown('resumeAction')} active_wave={shown('activeWave')} "
        f"daemon={document['daemon']['state']}"
    )


# --- wait -----------------------------------------------------------------------------------------------------------


def _wait(argv: list[str], root: str) -> int:
    parsed = read_once(WAIT, argv)
    if parsed is None:
        return 0
    paths, submitted = required_run(parsed, root)
    deadline = time.monotonic() + parsed.number("timeout-seconds", 30)
    view, moved = wait_for(paths, submitted, deadline, parsed.has("until-change"))
    code = wait_code(view)
    if not view.terminal:
        code = int(ExitCode.CHANGED if moved else ExitCode.TIMED_OUT)
    show(view, paths, parsed.has("json"), timedOut=not view.terminal and not moved, changed=moved)
    if not view.terminal and not moved:
        shown = f"--timeout-seconds {parsed.number('timeout-seconds', 30)} is over"
        sys.stderr.write(f"[wait] {shown}; the run goes on and is not touched\n")
    return code


def wait_code(view: View) -> int:
    """The exit code that stands for a terminal run. Spec: SUP 14.3."""
    document = view.document
    if document["status"] == "completed":
        return 0
    if document["terminalDisposition"] == "cancelled":
        return int(ExitCode.INTERRUPTED)
    code = document.get("exitCode")
    return code if isinstance(code, int) and 1 <= code <= 255 else 1


def wait_for(
    paths: SupervisorPaths, submitted: RunPaths, deadline: float, until_change: bool = False
) -> tuple[View, bool]:
    """The view when the run is over, changed (`until_change`), or the deadline has come (monotonic seconds)."""
    first = view = see(paths, submitted)
    _advise(view)
    if view.terminal or time.monotonic() >= deadline:
        return view, False
    from ..base.event_loop import EventLoop

    with EventLoop() as loop:
        woken = [False]

        def wake() -> None:
            woken[0] = True

        # Armed before each look: whatever moves after the look ends the sleep at once.
        for path in (submitted.state, submitted.status, submitted.progress, submitted.cancel):
            loop.watch_file(path, wake)
        loop.watch_file(submitted.agents_dir + "/.", wake)
        watched: set[int] = set()
        while True:
            for pid in _processes(view) - watched:
                watched.add(pid)
                loop.watch_process(pid, wake)
            woken[0] = False
            view = see(paths, submitted)
            if view.terminal:
                return view, view.shape() != first.shape()
            if until_change and view.shape() != first.shape():
                return view, True
            sleep_until = min(deadline, time.monotonic() + _LONGEST_SLEEP)
            while not woken[0] and time.monotonic() < sleep_until:
                loop.run_once(max(sleep_until - time.monotonic(), 0.0))
            if time.monotonic() >= deadline:
                view = see(paths, submitted)
                changed = until_change and view.shape() != first.shape()
                return view, changed


def _processes(view: View) -> set[int]:
    """Wrapper and supervisor, as far as they are visible here."""
    from ..base.process_identity import Identity, alive

    process = (view.observation.process if view.observation else None) or {}
    found = (process.get("identity"), view.daemon.lease.get("identity") if view.daemon.active else None)
    identities = (Identity.from_json(value) for value in found)
    return {identity.pid for identity in identities if identity is not None and alive(identity)}


def _advise(view: View) -> None:
    document = view.document
    if document.get("resumeAction") == "start-daemon":
        context = f"--project {document['project']} --lane {document['lane']}"
        sys.stderr.write(f"[wait] no supervisor is running; start one: wave supervise {context}\n")
