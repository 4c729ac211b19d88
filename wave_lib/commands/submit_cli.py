"""`wave submit`: check a launch, queue it durably, wake or start the supervisor, and leave. Spec: SUP 7."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import UsageError, WaveError
from .arguments import usage
from .launch_flags import LAUNCH, normalised_args, parse_launch_args
from .supervisor_context import guarded, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.supervisor_paths import RunPaths, SupervisorPaths
    from ..runtime.launcher_options import LauncherOptions

    JsonObject = dict[str, Any]

_TOKEN = r"[A-Za-z0-9._:-]{1,128}"
_DUPLICATES_LOOK_BACK = 100
_LIVE = ("pending", "running")
NOTES = (
    "Submit options:\n"
    "  --request-id <token>  a submission with the same token gives the same run\n"
    "  --no-daemon           queue only; start no supervisor\n"
    "  --json                print one JSON document"
)


class Submission:
    """What `submit` was asked: its own flags, and the launch."""

    def __init__(self, argv: Sequence[str]) -> None:
        rest, self.request_id, self.daemon, self.json, self.help = split_flags(argv)
        self.argv = normalised_args(rest)
        options = parse_launch_args(self.argv)
        self.help = self.help or options is None
        if options is not None:
            self.options = options
            if options.reconcile_status:
                raise UsageError("--reconcile-status launches nothing and cannot be submitted")


def run(argv: list[str], root: str) -> int:
    """`wave submit`."""
    return guarded(argv, lambda: _submit(argv, root))


def _submit(argv: list[str], root: str) -> int:
    asked = Submission(argv)
    if asked.help:
        sys.stdout.write(usage(LAUNCH._replace(name="submit", summary="Queue a launch and return.", notes=NOTES)))
        return 0
    submitted = submit(root, asked.argv, asked.options, asked.request_id)
    if submitted is None:
        print("Nothing to submit: all waves are complete.", file=sys.stderr if asked.json else sys.stdout)
        if asked.json:
            print_json({"runId": None, "reason": "all-complete"})
        return 0
    paths, state, duplicate, duplicate_of = submitted
    from ..runtime.supervisor_client import Reached, reach_supervisor

    reached = Reached("skipped")
    if asked.daemon:
        reached = reach_supervisor(paths, state["project"], state["lane"], state["adhocRunId"])
    if duplicate_of is not None:
        other, status = duplicate_of
        sys.stderr.write(f"[submit] note: run {other} with the same arguments is still {status}\n")
    if reached.state == "unavailable":
        sys.stderr.write(
            f"[submit] warning: the run is queued, but no supervisor could be started: {reached.problem}\n"
        )
    document = _document(paths, state, duplicate, duplicate_of)
    document["daemon"] = reached.to_json()
    if asked.json:
        print_json(document)
    else:
        _print_text(document)
    return 0


def split_flags(argv: Sequence[str]) -> tuple[list[str], str | None, bool, bool, bool]:
    """(launch arguments, request id, whether to start a supervisor, json, help) out of a submit command line."""
    rest: list[str] = []
    request_id, daemon, as_json, wants_help = None, True, False, False
    items = iter(argv)
    for item in items:
        name, equals, value = item.partition("=")
        if name == "--request-id":
            request_id = value if equals else next(items, "")
            if not request_id.strip():
                raise UsageError("--request-id requires a value")
            if not re.fullmatch(_TOKEN, request_id):
                raise UsageError("--request-id takes 1 to 128 characters of A-Za-z0-9._:-")
        elif item == "--no-daemon":
            daemon = False
        elif item == "--json":
            as_json = True
        elif item in ("--help", "-h"):
            wants_help = True
        else:
            rest.append(item)
    return rest, request_id, daemon, as_json, wants_help


def submit(
    root: str, argv: list[str], options: LauncherOptions, request_id: str | None
) -> tuple[SupervisorPaths, JsonObject, bool, tuple[str, str] | None] | None:
    """Queue a launch: (paths, snapshot, whether it was there already, another run with the same arguments).

    None when there is nothing to do (`--auto-next` and all waves complete). Nothing is written unless everything is
    in order. Raises WaveError.
    """
    from .submit_checks import check

    checked = check(root, options)
    if checked.complete:
        return None
    paths = checked.paths
    from ..runtime.supervisor_client import prepare_root

    prepare_root(paths)
    context = (
        [] if options.project else ["--project", checked.project],
        [] if options.lane else ["--lane", checked.lane],
    )
    request = _request(checked, [*context[0], *context[1], *argv], options, request_id)
    if request_id is None:
        same = _same_arguments(paths, request["launcherArgs"])
        return paths, _publish(paths, request), False, same
    from ..base.locks import locked

    with locked(paths.submit_lock, shown=paths.rel(paths.submit_lock)):
        known = _by_request_id(paths, request_id)
        if known is not None:
            return paths, known, True, None
        return paths, _publish(paths, request), False, None


def _request(checked: Any, launcher_args: list[str], options: LauncherOptions, request_id: str | None) -> JsonObject:
    from .. import __version__
    from ..base.timestamps import iso_of_ms

    now = time.time_ns() // 1_000_000
    tail = _token_tail(request_id) if request_id else os.urandom(4).hex()
    return {
        "schemaVersion": 1,
        "runId": f"run-{now}-{tail}",
        "project": checked.project,
        "lane": checked.lane,
        "adhocRunId": checked.adhoc_run,
        "submittedAt": iso_of_ms(now),
        "launcherArgs": launcher_args,
        "requestId": request_id,
        "submittedBy": {"user": _user(), "hostname": os.uname().nodename, "pid": os.getpid()},
        "dryRun": options.dry_run,
        "waveSelection": {
            "startWave": options.start_wave,
            "endWave": options.end_wave,
            "autoNext": options.auto_next,
            "waves": None if options.auto_next else list(checked.waves),
        },
        "waveLibVersion": __version__,
    }


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())


def _token_tail(request_id: str) -> str:
    """The random part of a run id comes from the token, so that a repeated submission finds its run by name."""
    from zlib import crc32

    return f"{crc32(request_id.encode()):08x}"


def _publish(paths: SupervisorPaths, request: JsonObject) -> JsonObject:
    """Steps 1 to 6 of SUP 7.4: the run is there completely or not at all."""
    from ..base.errors import DiskError
    from ..base.files import append_jsonl, ensure_dir, publish, remove_tree, write_json
    from ..definition.supervisor_paths import STAGING
    from ..state.supervisor_state import new_state

    run_id = request["runId"]
    final = paths.run(run_id)
    staging = os.path.join(paths.runs_dir, f"{STAGING}{run_id}")
    state = new_state(request, final)
    event = {
        "recordedAt": request["submittedAt"],
        "seq": 1,
        "type": "submitted",
        "runId": run_id,
        "supervisorId": None,
        "epoch": None,
        "key": "submitted:g0",
        **{key: request[key] for key in ("project", "lane", "adhocRunId")},
    }
    try:
        ensure_dir(paths.runs_dir)
        ensure_dir(os.path.join(staging, "agents"), durable=False)  # what is written into it next forces it too
        write_json(os.path.join(staging, "request.json"), request)
        write_json(os.path.join(staging, "state.json"), state)
        append_jsonl(os.path.join(staging, "events.jsonl"), event)
        publish(staging, final.directory)
    except (DiskError, OSError) as error:
        try:
            remove_tree(staging)
        except WaveError:
            pass
        if isinstance(error, DiskError):
            raise
        from ..base.files import disk_error

        raise disk_error(paths.runs_dir, error) from None
    return state


def _by_request_id(paths: SupervisorPaths, request_id: str) -> JsonObject | None:
    from ..state.supervisor_state import read_object, read_state, run_ids

    tail = "-" + _token_tail(request_id)
    for run_id in run_ids(paths):
        if run_id.endswith(tail):
            found: RunPaths = paths.run(run_id)
            if (read_object(found.request) or {}).get("requestId") == request_id:
                return read_state(found) or read_object(found.request)
    return None


def _same_arguments(paths: SupervisorPaths, launcher_args: list[str]) -> tuple[str, str] | None:
    from ..state.supervisor_state import recent_states

    for state in recent_states(paths, _DUPLICATES_LOOK_BACK):
        if state["status"] in _LIVE and state["launcherArgs"] == launcher_args:
            return str(state["runId"]), str(state["status"])
    return None


def _document(
    paths: SupervisorPaths, state: JsonObject, duplicate: bool, duplicate_of: tuple[str, str] | None
) -> JsonObject:
    found = paths.run(state["runId"])
    return {
        "runId": state["runId"],
        "project": state["project"],
        "lane": state["lane"],
        "adhocRunId": state["adhocRunId"],
        "statePath": paths.rel(found.state),
        "requestPath": paths.rel(found.request),
        "submittedAt": state["submittedAt"],
        "status": state.get("status", "pending"),
        "duplicate": duplicate,
        "duplicateOf": duplicate_of[0] if duplicate_of else None,
    }


def _print_text(document: JsonObject) -> None:
    print(f"run_id={document['runId']}")
    print(f"project={document['project']}")
    print(f"lane={document['lane']}")
    if document["adhocRunId"]:
        print(f"adhoc_run={document['adhocRunId']}")
    print(f"state_path={document['statePath']}")
