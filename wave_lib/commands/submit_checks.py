"""Whether a launch may be queued: its context, its waves, its place on disk. Nothing is written but the cache.

Parsing a lane takes longer than everything else that `submit` does. What was found sound is remembered with the stamps
of the files it rests on, so that the next submission of the same lane only compares stamps. Spec: SUP 7.1.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..base.files import Outcome, read_json, write_json
from ..definition.supervisor_paths import SupervisorPaths, quick_state_dir

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..runtime.launcher_options import LauncherOptions

_CACHE_VERSION = 1


class Checked:
    """A sound launch. `waves` are the numbers in its range; `complete` says that `--auto-next` has nothing to do."""

    def __init__(
        self, paths: SupervisorPaths, project: str, lane: str, adhoc_run: str | None, waves: tuple[int, ...]
    ) -> None:
        self.paths, self.project, self.lane, self.adhoc_run, self.waves = paths, project, lane, adhoc_run, waves
        self.complete = False


class InvalidRequest(WaveError):
    """The launch would fail at once."""

    default_key = "invalid-request"


def check(root: str, options: LauncherOptions) -> Checked:
    """Points 4 to 6 of SUP 7.1. Raises ConfigError, WaveParseError, InvalidRequest."""
    return _from_cache(root, options) or _thoroughly(root, options)


def _thoroughly(root: str, options: LauncherOptions) -> Checked:
    from ..definition.config import load_wave_config
    from ..definition.lane_paths import build_lane_paths
    from ..definition.wave_files import parse_wave_files

    lane = build_lane_paths(load_wave_config(root), options.lane, options.project, options.adhoc_run)
    parsed = parse_wave_files(lane)
    broken = [error for error in parsed.errors if _in_range(error.wave, options)]
    if broken:
        raise broken[0]
    paths = SupervisorPaths(lane.root, lane.live_state_dir)
    numbers = [wave.wave for wave in parsed.waves]
    checked = Checked(paths, lane.project_id, lane.lane, lane.run_id, _selected(numbers, options))
    if options.auto_next:
        checked.complete = _all_complete(lane, numbers, options)
        return checked
    if not checked.waves:
        end = "last" if options.end_wave is None else options.end_wave
        raise InvalidRequest(f"No waves available for range start={options.start_wave or 0}, end={end}")
    if not parsed.errors:
        _remember(lane, paths, numbers)
    return checked


def _selected(numbers: list[int], options: LauncherOptions) -> tuple[int, ...]:
    return tuple(number for number in sorted(numbers) if _in_range(number, options))


def _in_range(number: int, options: LauncherOptions) -> bool:
    return number >= (options.start_wave or 0) and (options.end_wave is None or number <= options.end_wave)


def _all_complete(lane: LanePaths, numbers: list[int], options: LauncherOptions) -> bool:
    from ..state.run_state import completed_waves, read_run_state

    path = lane.absolute(options.state_file) if options.state_file else lane.run_state
    done = set(completed_waves(read_run_state(path)))
    return not [number for number in numbers if _in_range(number, options) and number not in done]


# --- the cache ------------------------------------------------------------------------------------------------------


def _stamp(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns]


def _stamps(root: str, waves_dir: str) -> dict[str, Any]:
    """Everything that parsing reads: the configuration, the wave files, and the program itself."""
    names = sorted(os.listdir(waves_dir)) if os.path.isdir(waves_dir) else []
    files = {name: _stamp(os.path.join(waves_dir, name)) for name in names if name.endswith(".md")}
    program = _stamp(os.path.dirname(os.path.abspath(__file__)))
    return {"config": _stamp(os.path.join(root, "wave.config.json")), "waves": files, "program": program}


def _remember(lane: LanePaths, paths: SupervisorPaths, numbers: list[int]) -> None:
    if lane.run_id is not None or not os.path.isdir(paths.directory):
        return  # a root that does not exist yet is made by the submission itself
    content = {
        "schemaVersion": _CACHE_VERSION,
        "wavesDir": lane.waves_dir,
        "project": lane.project_id,
        "lane": lane.lane,
        "waves": sorted(numbers),
        "stamps": _stamps(lane.root, lane.waves_dir),
    }
    try:
        write_json(paths.submit_cache, content, durable=False)
    except WaveError:
        pass


def _from_cache(root: str, options: LauncherOptions) -> Checked | None:
    if options.auto_next or options.adhoc_run or not options.lane or not options.project:
        return None
    state_dir = quick_state_dir(root, options.project, options.lane, None)
    if state_dir is None:
        return None
    paths = SupervisorPaths(os.path.abspath(root), state_dir)
    reading = read_json(paths.submit_cache, _CACHE_VERSION)
    if reading.outcome is not Outcome.WHOLE or not isinstance(reading.value, dict):
        return None
    cache = reading.value
    if (cache.get("project"), cache.get("lane")) != (options.project, options.lane):
        return None
    if cache.get("stamps") != _stamps(paths.root, str(cache.get("wavesDir"))):
        return None
    waves = _selected(list(cache.get("waves") or ()), options)
    return Checked(paths, options.project, options.lane, None, waves) if waves else None
