"""`wave supervise`: own the submitted runs of a lane until told to stop. Spec: SUP 8."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from ..base.errors import UsageError
from .arguments import COUNT, JSON, POSITIVE, SWITCH, Command, Flag
from .supervisor_context import CONTEXT, guarded, lane_paths, paths_of, print_json, read_once

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..definition.supervisor_paths import SupervisorPaths
    from ..runtime.supervisor import Mode
    from .arguments import Parsed

SUPERVISE = Command(
    "supervise",
    "Own the submitted runs of a lane: launch, adopt, resume and finish them.",
    (
        *CONTEXT,
        Flag("--once", SWITCH, "one pass: adopt, look, launch at most one run, leave"),
        Flag("--until-idle", SWITCH, "leave when no run is pending or running"),
        Flag("--poll-ms", POSITIVE, "interval of the safety rescan", default="supervisor.scanSeconds"),
        Flag("--idle-exit-seconds", COUNT, "leave after this long without a run; 0 never"),
        Flag("--no-takeover", SWITCH, "never end a supervisor that is stopped or hung"),
        Flag("--stop", SWITCH, "ask the running supervisor to leave; runs go on"),
        Flag("--stop-agents", SWITCH, "when told to stop, cancel the active run first"),
        JSON,
        Flag("--auto-started", SWITCH, "started by submit", hidden=True),
        Flag("--ready-fd", COUNT, "descriptor that is told when the lease is held", hidden=True),
    ),
)
_STOP_SECONDS = 10.0


def run(argv: list[str], root: str) -> int:
    """`wave supervise`."""
    return guarded(argv, lambda: _supervise(argv, root))


def _supervise(argv: list[str], root: str) -> int:
    parsed = read_once(SUPERVISE, argv)
    if parsed is None:
        return 0
    if parsed.has("once") and parsed.has("until-idle"):
        raise UsageError("--once and --until-idle exclude each other")
    if parsed.has("stop") and parsed.has("stop-agents"):
        raise UsageError("--stop and --stop-agents exclude each other; `wave cancel` ends a run")
    lane = lane_paths(root, parsed.text("project"), parsed.text("lane"), parsed.text("adhoc-run"))
    paths = paths_of(lane)
    if parsed.has("stop"):
        return _stop(paths, parsed.has("json"))
    return _own(lane, paths, parsed)


def _own(lane: LanePaths, paths: SupervisorPaths, parsed: Parsed) -> int:
    from ..base.durable_steps import set_step_role
    from ..base.locks import trust_strangers
    from ..runtime.supervisor import Supervisor
    from ..runtime.supervisor_client import prepare_root
    from ..runtime.supervisor_lease import acquire
    from ..runtime.supervisor_log import SupervisorLog

    set_step_role("supervisor")
    prepare_root(paths)
    auto = parsed.has("auto-started")
    log = SupervisorLog(paths.log, echo=not auto and not parsed.has("json"))
    config = lane.profile.supervisor
    trust_strangers(float(config["foreignHostGraceSeconds"]))
    facts = {"project": lane.project_id, "lane": lane.lane, "adhocRunId": lane.run_id, "autoStarted": auto}
    takeover = bool(config["takeover"]) and not parsed.has("no-takeover")
    held = acquire(paths, {**facts, "version": _version()}, float(config["leaseSeconds"]), takeover, log.say)
    if held.lease is None:
        return _already_running(lane, held.holder, parsed)
    if parsed.has("ready-fd"):
        _tell_ready(parsed.number("ready-fd", -1))
    record = held.lease.record
    log.say(f"supervisor {record['supervisorId']} owns {lane.project_id}/{lane.lane}, epoch {record['epoch']}")
    supervisor = Supervisor(lane, paths, held.lease, _mode(parsed, config, auto), log)
    code = supervisor.run()
    if parsed.has("json"):
        print_json(
            {
                "alreadyRunning": False,
                "supervisorId": record["supervisorId"],
                "epoch": record["epoch"],
                "reason": supervisor.reason,
            }
        )
    return code


def _mode(parsed: Parsed, config: dict[str, object], auto: bool) -> Mode:
    from ..runtime.supervisor import Mode as SupervisorMode

    idle: float | None = None
    if parsed.has("idle-exit-seconds"):
        idle = float(parsed.number("idle-exit-seconds", 0)) or None
    elif auto:
        idle = float(str(config["idleExitSeconds"])) or None
    scan = parsed.number("poll-ms", 0) / 1000 or float(str(config["scanSeconds"]))
    return SupervisorMode(parsed.has("once"), parsed.has("until-idle"), idle, max(scan, 0.2), parsed.has("stop-agents"))


def _already_running(lane: LanePaths, holder: dict[str, object], parsed: Parsed) -> int:
    if parsed.has("json"):
        keys = ("supervisorId", "epoch")
        print_json({"alreadyRunning": True, **{key: holder.get(key) for key in keys}, "reason": "already-running"})
    else:
        pid = holder.get("pid")
        print(f"[supervise] daemon already running for {lane.project_id}/{lane.lane} (pid {pid})")
    return 0


def _tell_ready(fd: int) -> None:
    try:
        os.write(fd, b"\n")
        os.close(fd)
    except OSError:
        pass  # whoever started us has left


def _stop(paths: SupervisorPaths, as_json: bool) -> int:
    """SIGTERM to the running supervisor after an identity check. Spec: SUP 8.3 (`--stop`)."""
    from ..base.lease import read_lease
    from ..base.locks import held
    from ..base.process_identity import Identity
    from ..base.processes import signal_process

    lease = read_lease(paths.lock) or {}
    identity = Identity.from_json(lease.get("identity"))
    stopped = False
    if held(paths.lock) and identity is not None and signal_process(identity, signal.SIGTERM):
        deadline = time.monotonic() + _STOP_SECONDS
        while held(paths.lock) and time.monotonic() < deadline:
            time.sleep(0.02)
        stopped = not held(paths.lock)
        text = "stopped; runs go on" if stopped else "asked to stop, and still busy"
    else:
        text = "no supervisor is running"
    if as_json:
        print_json({"stopped": stopped, "pid": lease.get("pid"), "reason": text})
    else:
        print(f"[supervise] {text}")
    return 0 if stopped or text.startswith("no ") else 1


def _version() -> str:
    from .. import __version__

    return __version__
