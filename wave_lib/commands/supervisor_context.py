"""What the supervisor commands share: context flags, the root they name, the run in it, output and errors.

A client that observes lives for milliseconds: the whole configuration is read only when the plain layout cannot be
told without it. Spec: SUP 6.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from ..base.errors import UsageError, WaveError
from ..definition.supervisor_paths import SupervisorPaths, is_run_id, quick_state_dir
from .arguments import LANE, PROJECT, TEXT, Flag, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..definition.lane_paths import LanePaths
    from ..definition.supervisor_paths import RunPaths
    from .arguments import Command, Parsed

ADHOC = Flag("--adhoc-run", TEXT, "the supervisor of this ad-hoc run", metavar="id")
RUN_ID = Flag("--run-id", TEXT, "the submitted run", metavar="id")
CONTEXT = (PROJECT, LANE, ADHOC)


class RunNotFound(WaveError):
    """No run with this id in the root that was named."""

    default_key = "run-not-found"


def guarded(argv: Sequence[str], work: Callable[[], int]) -> int:
    """Run a command; with `--json` an error is one JSON document on stdout too. Spec: SUP 6."""
    try:
        return work()
    except WaveError as error:
        if "--json" in argv:
            print_json({"ok": False, "error": {"code": error_key(error), "message": str(error)}})
        raise


def error_key(error: WaveError) -> str:
    """The stable word of an error."""
    if str(error.what).startswith("Unknown project"):
        return "unknown-project"
    if str(error.what).startswith("Unknown lane"):
        return "unknown-lane"
    return error.key


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def read_once(command: Command, argv: Sequence[str]) -> Parsed | None:
    """`arguments.read`; a context flag that is given twice with different values is an error. Spec: SUP 6."""
    seen: dict[str, str] = {}
    names = {flag.name for flag in (*CONTEXT, RUN_ID)}
    for at, token in enumerate(argv):
        name, equals, value = token.partition("=")
        if name in names and (equals or at + 1 < len(argv)):
            value = value if equals else argv[at + 1]
            if seen.setdefault(name, value) != value:
                raise UsageError(f"{name} is given twice, with different values")
    return read(command, argv)


def required_run(parsed: Parsed, root: str) -> tuple[SupervisorPaths, RunPaths]:
    """The run that `--run-id`, `--project` and `--lane` name. Raises UsageError, ConfigError, RunNotFound."""
    run_id, project, lane = parsed.text("run-id"), parsed.text("project"), parsed.text("lane")
    if run_id is None:
        raise UsageError("--run-id is required")
    if project is None or lane is None:
        raise UsageError("--project and --lane are required")
    paths = root_of(root, project, lane, parsed.text("adhoc-run"))
    if not is_run_id(run_id):
        raise RunNotFound(f"Run {run_id} not found.")
    run = paths.run(run_id)
    if not os.path.isdir(run.directory):
        legacy = legacy_run(paths, run_id)
        if legacy is not None:
            return legacy
        raise RunNotFound(f"Run {run_id} not found.", remedy=_hint(root, run_id))
    return paths, run


def root_of(root: str, project: str, lane: str, adhoc_run: str | None) -> SupervisorPaths:
    """The supervisor root of a context. ConfigError for an unknown project or lane."""
    quick = quick_state_dir(root, project, lane, adhoc_run)
    if quick is not None:
        return SupervisorPaths(os.path.abspath(root), quick)
    return paths_of(lane_paths(root, project, lane, adhoc_run))


def lane_paths(root: str, project: str | None, lane: str | None, adhoc_run: str | None) -> LanePaths:
    """The whole configuration of a context."""
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths

    return build_lane_paths(load_wave_config(root), lane, project, adhoc_run)


def paths_of(lane: LanePaths) -> SupervisorPaths:
    """The supervisor root of a lane."""
    return SupervisorPaths(lane.root, lane.live_state_dir)


def legacy_run(paths: SupervisorPaths, run_id: str) -> tuple[SupervisorPaths, RunPaths] | None:
    """A run of the Node package, which kept its supervisor under `control/`; shown, never touched. Spec: SUP 20."""
    old = SupervisorPaths(paths.root, f"{paths.state_dir}/control")
    run = old.run(run_id)
    return (old, run) if os.path.isdir(run.directory) else None


def is_legacy(paths: SupervisorPaths) -> bool:
    """Whether the root is one of the Node package."""
    return paths.state_dir.endswith("/control")


def all_roots(root: str) -> list[tuple[str, str, str | None, SupervisorPaths]]:
    """(project, lane, ad-hoc run, paths) of every supervisor root of the workspace that exists."""
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths

    config = load_wave_config(root)
    found = []
    for project in config.project_ids():
        first = build_lane_paths(config, None, project, new_lane=True)
        parent = os.path.dirname(first.live_state_dir)
        suffix = "-wave-launcher"
        for name in sorted(os.listdir(parent)) if os.path.isdir(parent) else []:
            if not name.endswith(suffix):
                continue
            lane, state = name[: -len(suffix)], os.path.join(parent, name)
            candidates: list[tuple[str | None, str]] = [(None, state)]
            adhoc = os.path.join(state, "adhoc")
            names = sorted(os.listdir(adhoc)) if os.path.isdir(adhoc) else []
            candidates += [(run, os.path.join(adhoc, run)) for run in names]
            for run, place in candidates:
                paths = SupervisorPaths(os.path.abspath(root), place)
                if os.path.isdir(paths.runs_dir):
                    found.append((project, lane, run, paths))
    return found


def _hint(root: str, run_id: str) -> str:
    for project, lane, adhoc, paths in all_roots(root):
        if os.path.isdir(paths.run(run_id).directory):
            more = f" --adhoc-run {adhoc}" if adhoc else ""
            return f"it belongs to --project {project} --lane {lane}{more}"
    return ""
