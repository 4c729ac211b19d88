"""The command table and its router: finds the workspace, then imports the one module that the command needs.

Every command module offers `run(argv, root) -> int`: `argv` without the command's name, `root` the absolute path of the
workspace, the result an exit code. Errors are raised as WaveError; only this module prints them.

Spec: WORK 1.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import NamedTuple

from .base import standard_streams
from .base.errors import ExitCode, UsageError, WaveError


class Entry(NamedTuple):
    """One line of the command table."""

    name: str
    module: str  # below this package
    synopsis: str
    summary: str
    hidden: bool = False


COMMANDS: tuple[Entry, ...] = (
    Entry("demo", "commands.demo_cli", "demo [--keep <dir>] [--json]", "run a small real wave in a temporary folder"),
    Entry(
        "init",
        "commands.init_cli",
        "init [--adopt-existing] [--seed-missing] [--write-gitignore] [--json]",
        "make this folder a wave workspace",
    ),
    Entry(
        "doctor",
        "commands.doctor_cli",
        "doctor [--project <id>] [--lane <lane>] [--json]",
        "check the workspace and say what to mend",
    ),
    Entry(
        "project",
        "commands.project_cli",
        "project setup|show [--project <id>] [--defaults] [--json]",
        "the profile of a project",
    ),
    Entry(
        "submit",
        "commands.submit_cli",
        "submit [launcher options] [--request-id <token>] [--no-daemon] [--json]",
        "queue a launch and return at once",
    ),
    Entry(
        "supervise",
        "commands.supervise_cli",
        "supervise [--once|--until-idle|--stop] [supervisor options]",
        "own the submitted runs of a lane",
    ),
    Entry(
        "status",
        "commands.status_cli",
        "status --run-id <id> --project <id> --lane <name> [--json]",
        "show how a submitted run stands",
    ),
    Entry(
        "wait",
        "commands.wait_cli",
        "wait --run-id <id> --project <id> --lane <name> [--timeout-seconds <n>] [--json]",
        "wait until a submitted run is over",
    ),
    Entry(
        "attach",
        "commands.attach_cli",
        "attach --run-id <id> --project <id> --lane <name> (--agent <id>|--dashboard)",
        "follow an agent's log, or the dashboard",
    ),
    Entry(
        "cancel",
        "commands.cancel_cli",
        "cancel (--run-id <id>|--wave <n>) --project <id> --lane <name> [--force] [--wait] [--json]",
        "end a submitted run and its agents",
    ),
    Entry("runs", "commands.runs_cli", "runs [--all-roots] [--status <list>] [--prune] [--json]", "list the runs"),
    Entry(
        "autonomous",
        "commands.autonomous_cli",
        "autonomous [autonomous options]",
        "run all waves of a lane through the supervisor",
    ),
    Entry("launch", "commands.launch_cli", "launch [launcher options]", "run waves in the foreground"),
    Entry("dashboard", "commands.dashboard_cli", "dashboard [dashboard options]", "watch a wave or a launch"),
    Entry("watch", "commands.watch_cli", "watch [--wave <n>] [options]", "wait for something to happen to a wave"),
    Entry("explain", "commands.explain_cli", "explain [--wave <n>] [--json]", "say why a wave is not closed"),
    Entry("feedback", "commands.feedback_cli", "feedback [feedback options]", "questions from agents to people"),
    Entry("control", "commands.control_cli", "control [control-plane options]", "status of a wave, operator actions"),
    Entry("coord", "commands.coord_cli", "coord [coordination options]", "the shared record of a wave"),
    Entry("dep", "commands.dep_cli", "dep [dependency options]", "tickets between lanes"),
    Entry("proof", "commands.proof_cli", "proof show|register [options]", "proof bundles of a wave"),
    Entry("signal", "commands.signal_cli", "signal <kind> [marker fields] [--json]", "print one marker line"),
    Entry("local", "commands.local_cli", "local [local executor options]", "the built-in executor for trials"),
    Entry("retry", "commands.retry_cli", "retry show|apply|clear [options]", "choose what the next attempt runs"),
    Entry("trace", "commands.trace_cli", "trace replay|validate [options]", "judge a stored attempt again"),
    Entry("context7", "commands.context7_cli", "context7 check [--json]", "ask Context7 for every pinned library"),
    Entry(
        "control-server",
        "commands.control_server_cli",
        "control-server [options]",
        "run an owned Wave Control service",
    ),
    Entry(
        "vendor",
        "commands.vendor_cli",
        "vendor <dir> [--name <package>] [--json]",
        "copy this program into another repository",
    ),
    Entry("bundle", "commands.bundle_cli", "bundle <out> [--json]", "write this program as one file"),
    Entry("completion", "commands.completion_cli", "completion bash|zsh", "print a shell completion script"),
    Entry("version", "commands.version_cli", "version [--json]", "print the version"),
    Entry("help", "commands.help_cli", "help [command]", "print this list, or the help of one command"),
    Entry("launcher-wrapper", "runtime.launcher_wrapper", "launcher-wrapper …", "sees one launcher to its end", True),
    Entry("agent-runner", "runtime.agent_process_runner", "agent-runner <payload>", "sees one agent to its end", True),
)
_SHORT_LIVED = ("status", "submit")
"""Clients that a sandbox calls again and again: everything counts that they do besides their work."""
_FEEDBACK = ("wave-human-feedback", "wave-feedback")
"""What `wave feedback` is called elsewhere; its errors then begin with the first of these names. Spec: COORD 11.3."""
_ALIASES = {
    "-h": "help",
    "--help": "help",
    "-V": "version",
    "--version": "version",
    **dict.fromkeys(_FEEDBACK, "feedback"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line; returns its exit code. Prints every error as one `[wave]` line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    short = argv is None and arguments[:1] and arguments[0] in _SHORT_LIVED
    if short:
        gc.disable()
    standard_streams.complete()
    try:
        code = _dispatch(list(arguments))
        sys.stdout.flush()
        if short:
            os._exit(code)  # the interpreter's tidying up would take longer than the command itself
        return code
    except WaveError as error:
        said_by = _FEEDBACK[0] if arguments[:1] and arguments[0] in _FEEDBACK else "wave"
        standard_streams.say_error(f"[{said_by}] {error}")
        if isinstance(error, UnknownCommand):
            standard_streams.say_error(general_help().rstrip())
        return int(error.code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left: nothing is wrong, and the interpreter must not complain at exit either.
        standard_streams.drop(sys.stdout)
        return int(ExitCode.DONE)
    except UnicodeEncodeError as error:
        where = error.object[max(error.start - 60, 0) : error.end + 20].strip()
        standard_streams.say_error(f"[wave] {ascii(where)}: not UTF-8; rename the file or folder")
        return int(ExitCode.FAILED)
    except Exception as error:  # the last line of defence: one line for people, the rest on request
        if os.environ.get("WAVE_DEBUG") == "1":
            raise
        broken = standard_streams.stdout_error()
        if broken:
            standard_streams.drop(sys.stdout)
            standard_streams.say_error(f"[wave] stdout: cannot be written: {broken}")
            return int(ExitCode.FAILED)
        text = " ".join(str(error).split()) or type(error).__name__
        standard_streams.say_error(f"[wave] unexpected {type(error).__name__}: {text} (WAVE_DEBUG=1 shows where)")
        return int(ExitCode.FAILED)


def feedback() -> int:
    """Entry point of the console scripts `wave-human-feedback` and `wave-feedback`."""
    return main([_FEEDBACK[0], *sys.argv[1:]])


class UnknownCommand(UsageError):
    """The first word names no command; the list of commands follows the error."""


def unknown_command(word: str) -> UnknownCommand:
    """The error for a first word that names no command, with the command that was probably meant."""
    from .base.text import nearest

    meant = nearest(word.lower(), (entry.name for entry in COMMANDS if not entry.hidden))
    return UnknownCommand(f"Unknown subcommand: {word}", remedy=f"did you mean `wave {meant}`?" if meant else "")


def find(name: str) -> Entry | None:
    """The table's entry for a command name, or None."""
    return next((entry for entry in COMMANDS if entry.name == name), None)


def general_help() -> str:
    """The text of `wave help`."""
    lines = ["Usage:"]
    lines += [f"  wave {entry.synopsis}" for entry in COMMANDS if not entry.hidden]
    lines += ["", "Global options:", "  --repo-root <path>  act on the workspace at this path", ""]
    return "\n".join(lines)


def run_command(name: str, argv: list[str], root: str) -> int:
    """Import the module of a command and run it. Raises UnknownCommand."""
    entry = find(name)
    if entry is None:
        raise unknown_command(name)
    code: int = import_module("." + entry.module, __package__).run(argv, root)
    return code


def _dispatch(arguments: list[str]) -> int:
    from .definition.roots import split_repo_root, workspace_root

    arguments, chosen = split_repo_root(arguments)
    word = arguments.pop(0).strip() if arguments else "help"
    name = _ALIASES.get(word, word.lower())
    if find(name) is None:
        raise unknown_command(word)
    root = workspace_root(chosen, os.environ)
    if name == "init" and not chosen and not os.environ.get("WAVE_REPO_ROOT"):
        root = os.getcwd()  # a new workspace is made here, not in the one that surrounds this folder
    os.environ["WAVE_REPO_ROOT"] = root
    if name not in ("agent-runner", "launcher-wrapper", "help", "version", "control-server"):
        from .base.env_file import load_env_file

        for warning in load_env_file(os.path.join(root, ".env.local"), os.environ):
            print(f"[wave:config] warning: {warning}", file=sys.stderr)
    return run_command(name, arguments, root)
