"""`wave attach`: follow the log of one agent of a run, or its dashboard. Only reads. Spec: SUP 14.4."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode, UsageError, WaveError
from .arguments import COUNT, SWITCH, TEXT, Command, Flag
from .supervisor_context import CONTEXT, RUN_ID, guarded, read_once, required_run

if TYPE_CHECKING:
    from ..base.event_loop import EventLoop
    from ..definition.supervisor_paths import RunPaths, SupervisorPaths
    from ..runtime.agent_outcomes import Found
    from .arguments import Parsed

ATTACH = Command(
    "attach",
    "Follow the log of an agent until it ends, or the dashboard of the run.",
    (
        RUN_ID,
        *CONTEXT,
        Flag("--agent", TEXT, "follow this agent's log", metavar="id"),
        Flag("--dashboard", SWITCH, "follow the dashboard"),
        Flag("--lines", COUNT, "begin with this many last lines", default="200; of an ended agent 12000 bytes"),
        Flag("--no-follow", SWITCH, "print what is there and leave"),
    ),
)
_TAIL_BYTES = 12000
_LIVE_LINES = 200
_BLOCK = 65536
_LIFELESS_SECONDS = 5.0


class AgentNotFound(WaveError):
    """The run knows no such agent."""

    default_key = "agent-not-found"


def run(argv: list[str], root: str) -> int:
    """`wave attach`."""
    return guarded(argv, lambda: _attach(argv, root))


def _attach(argv: list[str], root: str) -> int:
    parsed = read_once(ATTACH, argv)
    if parsed is None:
        return 0
    if parsed.has("agent") == parsed.has("dashboard"):
        raise UsageError("Specify exactly one of --agent <id> or --dashboard")
    paths, submitted = required_run(parsed, root)
    try:
        if parsed.has("agent"):
            return _attach_agent(submitted, parsed)
        return _attach_dashboard(paths, submitted, parsed, root)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)


# --- one agent ------------------------------------------------------------------------------------------------------


def _attach_agent(submitted: RunPaths, parsed: Parsed) -> int:
    from ..definition.ids import is_id
    from ..runtime.agent_outcomes import Found, examine_agent
    from ..runtime.agent_records import is_terminal

    agent_id = str(parsed.text("agent"))
    record_path = os.path.join(submitted.agents_dir, f"{agent_id}.runtime.json")
    found, record = examine_agent(record_path) if is_id("agent", agent_id) else (Found.NONE, None)
    if record is None:
        known = sorted(name[: -len(".runtime.json")] for name in _names(submitted.agents_dir))
        raise AgentNotFound(
            f"No runtime record found for agent {agent_id}.",
            remedy=f"known agents: {', '.join(known)}" if known else "no agent has been launched yet",
        )
    log = record.get("logPath")
    if not log:
        raise WaveError(f"No log path recorded for agent {agent_id}.")
    lines = parsed.number("lines", 0) if parsed.has("lines") else None
    over = is_terminal(record) or found is not Found.LIVE
    if over or parsed.has("no-follow"):
        _put(_tail_lines(log, lines) if lines is not None else _tail_bytes(log))
        return 0
    _Follower(log, record_path, _LIVE_LINES if lines is None else lines).run()
    found, record = examine_agent(record_path)
    sys.stderr.write(f"[attach] agent {agent_id} {_how_it_ended(found, record or {})}\n")
    return 0


def _how_it_ended(found: Found, record: dict[str, Any]) -> str:
    from ..runtime.agent_outcomes import Found as Kinds
    from ..runtime.agent_records import ending_of_code, is_terminal, read_object

    code, word = record.get("exitCode"), record.get("terminalDisposition")
    if not is_terminal(record):
        if found is not Kinds.FINISHED:
            return "has no process any more, and nobody has recorded how it ended (wave supervise does)"
        # Its runner died between its last two writes.
        code = (read_object(str(record.get("statusPath"))) or {}).get("code")
        word = ending_of_code(code if isinstance(code, int) else 1).disposition
    return f"{word} exit_code={'n/a' if code is None else code}"


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(".runtime.json")]
    except OSError:
        return []


def _put(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _tail_bytes(path: str) -> bytes:
    """The last bytes of a file, cut to whole lines; read by seeking."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _TAIL_BYTES, 0))
            data = file.read(_TAIL_BYTES)
    except OSError:
        return b""
    return data if size <= _TAIL_BYTES else data[data.find(b"\n") + 1 :]


def _tail_lines(path: str, count: int, end: int | None = None) -> bytes:
    """The last lines of a file, or of what lies before `end`, read backwards in blocks."""
    data = b""
    try:
        with open(path, "rb") as file:
            at = os.fstat(file.fileno()).st_size if end is None else end
            while at > 0 and data.count(b"\n") <= count:
                step = min(_BLOCK, at)
                at -= step
                file.seek(at)
                data = file.read(step) + data
    except OSError:
        return b""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[-count:]) if count else b""


class _Follower:
    """Prints a log as it grows, across truncation and replacement, until its agent is over."""

    def __init__(self, log: str, record_path: str, lines: int) -> None:
        self.log, self.record_path = log, record_path
        self.file: Any = None
        self.inode = 0
        self.lifeless_since: float | None = None
        self._open()
        if self.file is not None:  # the end is fixed before the tail is read: what comes meanwhile comes after it
            end = self.file.seek(0, os.SEEK_END)
            _put(_tail_lines(log, lines, end))

    def run(self) -> None:
        """Follow until the agent is terminal; what it printed last is printed too."""
        from ..base.event_loop import EventLoop

        with EventLoop() as loop:
            self._watch(loop)
            while not self._over():
                self._drain()
                loop.run_once(1.0)
        self._drain()
        if self.file is not None:
            self.file.close()

    def _watch(self, loop: EventLoop) -> None:
        from ..base.files import read_json
        from ..base.process_identity import Identity, alive

        record = read_json(self.record_path).value or {}
        for path in (self.log, self.record_path):
            loop.watch_file(path, lambda: None)
        runner = Identity.from_json(record.get("runnerIdentity"))
        if runner is not None and alive(runner):
            loop.watch_process(runner.pid, lambda: None)

    def _over(self) -> bool:
        """Whether the agent ended, or died and nobody takes it up within a few seconds."""
        from ..runtime.agent_outcomes import Found, examine_agent
        from ..runtime.agent_records import is_terminal

        found, record = examine_agent(self.record_path)
        if is_terminal(record) or found in (Found.NONE, Found.FINISHED):
            return True
        if found is Found.LIVE:
            self.lifeless_since = None
            return False
        self.lifeless_since = self.lifeless_since or time.monotonic()
        return time.monotonic() - self.lifeless_since >= _LIFELESS_SECONDS

    def _open(self) -> None:
        try:
            self.file = open(self.log, "rb")  # noqa: SIM115 - kept open, for the file may be replaced at its path
            self.inode = os.fstat(self.file.fileno()).st_ino
        except OSError:
            self.file = None

    def _drain(self) -> None:
        if self.file is None:
            self._open()
        if self.file is None:
            return
        try:
            moved = os.stat(self.log).st_ino != self.inode
        except OSError:
            moved = False
        self._print_rest()
        if moved:  # asked before the rest was read: whoever replaced the file had written all of it by then
            self.file.close()
            self._open()
            if self.file is not None:
                self._print_rest()

    def _print_rest(self) -> None:
        if os.fstat(self.file.fileno()).st_size < self.file.tell():
            sys.stdout.write("[attach] log truncated\n")
            sys.stdout.flush()
            self.file.seek(0)
        while True:
            data = self.file.read(_BLOCK)
            if not data:
                break
            _put(data)


# --- the dashboard --------------------------------------------------------------------------------------------------


def _attach_dashboard(paths: SupervisorPaths, submitted: RunPaths, parsed: Parsed, root: str) -> int:
    """The live dashboard of the run's root, as `wave dashboard --attach current` shows it. Spec: SUP 19.4."""
    from . import dashboard_cli
    from .supervisor_context import is_legacy

    context = ["--project", str(parsed.text("project")), "--lane", str(parsed.text("lane"))]
    adhoc = parsed.text("adhoc-run")
    if adhoc and not is_legacy(paths):
        context += ["--adhoc-run", adhoc]
    if not parsed.has("no-follow"):
        return int(dashboard_cli.run(["--attach", "current", *context], root))
    for name in ("global.json", *_by_age(os.path.join(paths.state_dir, "dashboards"))):
        path = os.path.join(paths.state_dir, "dashboards", name)
        if os.path.exists(path):
            return int(dashboard_cli.run(["--dashboard-file", path, *context], root))
    raise WaveError(
        f"No current dashboard has been written for lane {parsed.text('lane')}.", paths.rel(paths.state_dir)
    )


def _by_age(folder: str) -> list[str]:
    try:
        names = [name for name in os.listdir(folder) if name.startswith("wave-") and name.endswith(".json")]
    except OSError:
        return []
    return sorted(names, key=lambda name: os.stat(os.path.join(folder, name)).st_mtime, reverse=True)
