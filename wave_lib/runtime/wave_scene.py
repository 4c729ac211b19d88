"""One wave of one lane, opened for a command that is no launcher: its definition, and its results as they lie on disk.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: COORD 24 (flags), 25, 27 (which wave without `--wave`).
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import ConfigError, WaveError
from ..base.files import read_json
from ..base.locks import held
from ..base.process_identity import pid_exists
from ..definition.lane_paths import build_lane_paths
from ..definition.roles import apply_role_bindings, resolve_wave_role_bindings
from ..definition.wave_files import parse_wave_file
from . import telemetry_step

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from .derived_state import DerivedContext, DerivedFacts
    from .wave_context import WaveContext

    JsonObject = dict[str, Any]

_ENDED = ("completed", "completed_with_drift", "failed", "timed_out")


class WaveScene(NamedTuple):
    """A wave with its paths and role bindings."""

    paths: LanePaths
    wave: Wave
    bindings: RoleBindings

    @property
    def number(self) -> int:
        """The wave's number."""
        return self.wave.wave

    @property
    def agent_ids(self) -> list[str]:
        """Ids of the wave's agents, in definition order."""
        return [agent.agent_id for agent in self.wave.agents]

    def require_agents(self, agent_ids: list[str]) -> None:
        """WaveError when one of the ids is no agent of the wave. Spec: COORD 25."""
        unknown = [agent_id for agent_id in agent_ids if self.wave.agent(agent_id) is None]
        if unknown:
            raise WaveError(f"Unknown wave agent id{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}")


def open_wave(paths: LanePaths, number: int) -> WaveScene:
    """The wave as its file says now. ConfigError when there is no such file, WaveParseError when it is broken."""
    path = paths.wave_file(number)
    if not os.path.isfile(path):
        raise ConfigError(f"Wave {number} not found in {paths.rel(paths.waves_dir)}")
    wave = parse_wave_file(path, paths.profile, paths.root)
    bindings = resolve_wave_role_bindings(wave, paths.profile.roles)
    return WaveScene(paths, apply_role_bindings(wave, bindings, paths.lane), bindings)


def lane_paths(
    root: str, project: str | None, lane: str | None, run_id: str | None = None, *, dry_run: bool = False
) -> LanePaths:
    """Paths of a lane, or of an ad-hoc run whose record names project and lane."""
    from ..definition.config import load_wave_config

    if run_id:
        project, lane = adhoc_place(root, run_id, project, lane)
    paths = build_lane_paths(
        load_wave_config(root), lane, project, adhoc_run_id=run_id, run_variant="dry-run" if dry_run else ""
    )
    telemetry_step.install(paths)
    return paths


def adhoc_place(root: str, run_id: str, project: str | None, lane: str | None) -> tuple[str | None, str | None]:
    """Project and lane as the ad-hoc run's record has them; what is given already wins."""
    store = os.path.join(root, ".wave", "adhoc")
    places = glob.glob(os.path.join(glob.escape(store), "*", "runs", glob.escape(run_id), "result.json"))
    legacy = os.path.join(store, "runs", run_id, "result.json")
    for place in [*([legacy] if os.path.isfile(legacy) else []), *sorted(places)]:
        record = read_json(place).value
        if isinstance(record, dict):
            return project or record.get("project"), lane or record.get("lane")
    return project, lane


def default_wave(paths: LanePaths) -> int:
    """The wave that people mean without saying: the one at work, else the highest not ended, else the last completed.

    Spec: COORD 27.
    """
    if launcher_is_active(paths):
        logs = glob.glob(os.path.join(glob.escape(paths.control_plane_dir), "wave-*.jsonl"))
        newest = max(logs, key=_modified, default="")
        number = os.path.basename(newest)[len("wave-") : -len(".jsonl")]
        if number.isdigit():
            return int(number)
    from ..state.run_state import read_run_state

    waves = {int(key): entry.get("currentState") for key, entry in read_run_state(paths.run_state)["waves"].items()}
    unfinished = [number for number, state in waves.items() if state not in _ENDED]
    finished = [number for number, state in waves.items() if str(state).startswith("completed")]
    return max(unfinished, default=max(finished, default=0))


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def launcher_is_active(paths: LanePaths) -> bool:
    """Whether a launcher owns the lane: by the kernel lock, or in a tree of Node by the process it names.

    Spec: COORD 25.1 (Live).
    """
    if held(paths.launcher_lock):
        return True
    holder = read_json(paths.launcher_lock).value
    if not isinstance(holder, dict) or "identity" in holder:
        return False
    pid = holder.get("pid")
    return isinstance(pid, int) and pid_exists(pid) and _started_before(pid, holder.get("startedAt"))


def _started_before(pid: int, started_at: object) -> bool:
    """Whether the process is old enough to have written the file; a process whose start cannot be told counts."""
    from ..base.timestamps import parse_iso

    written = parse_iso(started_at)
    try:
        began = os.stat(f"/proc/{pid}").st_mtime
    except OSError:
        return True
    return written is None or began <= written + 5


# --- results as they lie on disk ------------------------------------------------------------------------------------


def reading_context(scene: WaveScene, logs: DerivedContext | None = None) -> WaveContext:
    """The context that fact collection reads by, for a process that launches nothing.

    `logs`: the wave's logs, when they were read already.
    """
    from ..base.event_loop import EventLoop
    from ..definition.executor_resolution import apply_executor_selections
    from .console import Console
    from .launcher_options import LauncherOptions
    from .wave_context import LaneRun, WaveContext

    wave = scene.wave
    try:
        wave = apply_executor_selections(wave, scene.paths.profile, None, None)
    except WaveError:
        pass  # a wave whose executors cannot be resolved still has a state to tell
    with EventLoop() as loop:  # closed at once: nothing is waited for
        lane = LaneRun(scene.paths, LauncherOptions(orchestrator_id="control"), Console(), loop)
    lane.orchestrator_id = ""  # questions of every orchestrator count
    context = WaveContext(lane, wave, scene.bindings)
    context.derived_context = logs or derived_context(scene)
    latest = context.derived_context.control.refresh().latest_attempt
    context.attempt = (latest or {}).get("attemptNumber") or 0
    return context


def derived_facts(context: WaveContext) -> DerivedFacts:
    """What agents left and the logs do not hold, as the launcher would collect it. Spec: COORD 20."""
    from . import fact_collection
    from .derived_state import DerivedFacts

    control = fact_collection.wave_logs(context).control.refresh()
    catalog, catalog_error = fact_collection.load_catalog(context)
    return DerivedFacts(
        attempt=context.attempt,
        summaries=fact_collection.summaries(context, fact_collection.envelope_readings(context), control),
        runs={run.agent_id: fact_collection.executor_facts(run) for run in context.runs.values()},
        presence=fact_collection.presence(context),
        catalog=catalog,
        catalog_error=catalog_error,
    )


def derived_context(scene: WaveScene) -> DerivedContext:
    """The context of derived-state refreshes of the wave."""
    from .derived_state import DerivedContext

    return DerivedContext(scene.paths, scene.wave, scene.bindings)
