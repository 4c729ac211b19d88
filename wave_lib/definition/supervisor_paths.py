"""Paths of a supervisor root, cheap enough for clients that live for milliseconds. Spec: SUP 4, 6.

The templates stand in `state_tree`; `LanePaths` builds the same paths from the whole configuration. `quick_state_dir`
knows only the common layout and says so when a configuration needs more.
"""

from __future__ import annotations

import json
import os

from .state_tree import ENTRIES, LIVE_DIRECTORIES

STAGING = ".staging-"
# Plain loops below, for compiling a pattern costs a client more than everything else that it does.
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_NAME = _LOWER | set("_-")
_RUN_ID = _NAME | set("ABCDEFGHIJKLMNOPQRSTUVWXYZ.")


class RunPaths:
    """Absolute paths of one submitted run. A plain class: a named tuple costs every client a third of a millisecond."""

    def __init__(self, live_state_dir: str, run_id: str) -> None:
        def at(name: str) -> str:
            return f"{live_state_dir}/{ENTRIES[name].template.format(run_id=run_id)}"

        self.run_id = run_id
        self.directory = at("supervisor_run_dir")
        self.request = at("supervisor_request")
        self.state = at("supervisor_state")
        self.events = at("supervisor_events")
        self.cancel = at("supervisor_cancel")
        self.launcher_flock = at("launcher_flock")
        self.process = at("launcher_process")
        self.status = at("launcher_status")
        self.progress = at("launcher_progress")
        self.log = at("launcher_log")
        self.agents_dir = at("run_agents_dir")

    def status_of(self, generation: int) -> str:
        """Where the status of an earlier launcher of this run is kept."""
        return os.path.join(self.directory, f"launcher-status.g{generation}.json")


class SupervisorPaths:
    """Absolute paths of one supervisor root: one project, lane and ad-hoc run of a workspace."""

    def __init__(self, root: str, live_state_dir: str) -> None:
        self.root = root
        self.state_dir = live_state_dir
        self.directory = f"{live_state_dir}/{LIVE_DIRECTORIES['supervisor_dir']}"
        self.runs_dir = f"{live_state_dir}/{LIVE_DIRECTORIES['supervisor_runs_dir']}"
        self.lock = self._at("daemon_lock")
        self.log = self._at("daemon_log")
        self.wake = self._at("daemon_wake")
        self.submit_lock = self._at("submit_lock")
        self.submit_cache = self._at("submit_cache")
        self.launcher_lock = f"{live_state_dir}/{ENTRIES['launcher_lock'].template}"
        self.run_state = f"{live_state_dir}/{ENTRIES['run_state'].template}"

    def run(self, run_id: str) -> RunPaths:
        """The paths of one run; the id has been checked (`is_run_id`)."""
        return RunPaths(self.state_dir, run_id)

    def control_plane_log(self, wave: int) -> str:
        """Lifecycle events of a wave."""
        return f"{self.state_dir}/{ENTRIES['control_plane_log'].template.format(wave=wave)}"

    def rel(self, path: str) -> str:
        """A path relative to the workspace, as output shows it."""
        return path[len(self.root) + 1 :] if path.startswith(self.root + "/") else path

    def _at(self, name: str) -> str:
        return f"{self.state_dir}/{ENTRIES[name].template}"


def is_run_id(text: str) -> bool:
    """Whether the text may name a run, so that it cannot leave the tree. Spec: SUP 4."""
    return 0 < len(text) <= 128 and _RUN_ID.issuperset(text) and text[0] not in "._-"


def quick_state_dir(root: str, project: str, lane: str, adhoc_run: str | None) -> str | None:
    """The live state directory of a plain configuration; None when only the whole configuration can tell.

    Gives what `build_lane_paths(...).live_state_dir` gives. None for ids that are not in normal form, for a lane or
    project that the file does not plainly know, and for a configuration that moves the state somewhere else.
    """
    if not (_is_name(project, _NAME) and _is_name(lane, _NAME)):
        return None
    if adhoc_run is not None and not _is_name(adhoc_run, _NAME | {"."}):
        return None
    config = _plain_config(os.path.join(root, "wave.config.json"))
    if config is None:
        return None
    projects = config.get("projects")
    own: object = {}
    if isinstance(projects, dict):
        own = projects.get(project)
    elif projects is not None or project != config.get("defaultProject", "default"):
        return None
    if not isinstance(own, dict) or not _plainly_known(config, own, lane):
        return None
    prefix = f"projects/{project}/" if isinstance(projects, dict) else ""
    base = f"{os.path.abspath(root)}/.tmp/{prefix}{lane}-wave-launcher"
    return base if adhoc_run is None else f"{base}/adhoc/{adhoc_run}"


def _is_name(text: str, allowed: frozenset[str] | set[str]) -> bool:
    return bool(text) and text[0] in _LOWER and allowed.issuperset(text)


def _plain_config(path: str) -> dict[str, object] | None:
    try:
        with open(path, "rb") as file:
            text = file.read()
        config = json.loads(text) if b"stateRoot" not in text and b"\\u" not in text else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _plainly_known(config: dict[str, object], own: dict[str, object], lane: str) -> bool:
    if lane == config.get("defaultLane", "main"):
        return True
    return any(isinstance(lanes, dict) and lane in lanes for lanes in (own.get("lanes"), config.get("lanes")))
