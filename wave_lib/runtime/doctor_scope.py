"""What `wave doctor` looks at: the workspace, its projects and its lanes, each part read once and never written.

A part that cannot be read is kept as its error, so that every check can run whatever the others find.

Spec: WORK 3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..definition.config import load_wave_config, resolve_project
from ..definition.lane_paths import build_lane_paths
from ..definition.project_profile import read_profile
from ..definition.rule_context import References
from ..definition.skills import SkillLibrary
from ..definition.wave_files import parse_wave_files
from ..definition.wave_resolution import resolve_wave
from ..definition.wave_validation import Verdict, load_references, validate_wave
from ..state.run_state import completed_waves, read_run_state
from .install import read_install_state

if TYPE_CHECKING:
    from ..definition.config import WaveConfig
    from ..definition.lane_paths import LanePaths
    from ..definition.lane_profile import LaneProfile
    from ..definition.wave_files import ParsedWaves
    from ..definition.wave_types import Wave


class Loaded(NamedTuple):
    """A value, or the error that stood in its way."""

    value: Any = None
    error: WaveError | None = None


class JudgedWave(NamedTuple):
    """One readable wave: with executors, skills and documentation when they could be resolved, and its verdict."""

    wave: Wave
    verdict: Verdict
    error: WaveError | None
    completed: bool


def attempt(load: Callable[[], Any]) -> Loaded:
    """What `load` returns, or the WaveError that it raises."""
    try:
        return Loaded(load())
    except WaveError as error:
        return Loaded(None, error)


class LaneView:
    """One lane as configured and as its files are."""

    def __init__(self, paths: LanePaths) -> None:
        self.paths = paths
        self.root = paths.root
        self.profile: LaneProfile = paths.profile

    @cached_property
    def references(self) -> References:
        """Matrix, catalog, Context7 index and skills; unreadable parts are None with their problem."""
        return load_references(self.paths)

    @cached_property
    def library(self) -> SkillLibrary:
        """The lane's skill bundles."""
        return self.references.library or SkillLibrary(self.root, self.profile.skills.dir)

    @cached_property
    def parsed(self) -> Loaded:
        """`ParsedWaves`, or why there are none."""
        return attempt(lambda: parse_wave_files(self.paths))

    @cached_property
    def waves(self) -> list[JudgedWave]:
        """Every wave that follows the grammar, judged. A completed wave only warns."""
        parsed: ParsedWaves | None = self.parsed.value
        state = attempt(lambda: read_run_state(self.paths.run_state)).value
        completed = frozenset(completed_waves(state)) if state else frozenset()
        return [self._judge(wave, completed) for wave in parsed.waves] if parsed else []

    def _judge(self, wave: Wave, completed: frozenset[int]) -> JudgedWave:
        mode = str(self.profile.executors["default"])
        selected = wave.wave not in completed
        verdict = validate_wave(wave, self.profile, self.references, completed, selected, executor_mode=mode)
        resolved = attempt(lambda: resolve_wave(wave, self.paths, self.references, mode))
        return JudgedWave(resolved.value or wave, verdict, resolved.error, not selected)


class ProjectView:
    """One project: its saved profile, and its first lane for what lanes of a project share."""

    def __init__(self, config: WaveConfig, project_id: str, lane: LaneView | None) -> None:
        self.config = config
        self.project_id = project_id
        self.lane = lane

    @cached_property
    def saved_profile(self) -> Loaded:
        """The `ProjectProfile` that `wave project setup` wrote, None without one, or why it cannot be read."""
        return attempt(lambda: read_profile(self.config, self.project_id))


class Workspace:
    """The scope of one doctor run. `lane_errors` are `(project, lane, error)` of lanes that cannot be resolved."""

    def __init__(self, root: str, environ: Mapping[str, str], project: str | None, lane: str | None) -> None:
        """Raises ConfigError when `project` or `lane` name what does not exist."""
        self.root = root
        self.environ = environ
        self.install_state = attempt(lambda: read_install_state(root))
        self.config_file = attempt(lambda: load_wave_config(root))
        self.lanes: list[LaneView] = []
        self.projects: list[ProjectView] = []
        self.lane_errors: list[tuple[str, str, WaveError]] = []
        if self.config is not None:
            self._enter_projects(self.config, project, lane)

    @property
    def config(self) -> WaveConfig | None:
        """The configuration, None when the file is broken."""
        config: WaveConfig | None = self.config_file.value
        return config

    def _enter_projects(self, config: WaveConfig, project: str | None, lane: str | None) -> None:
        ids = [resolve_project(config, project).project_id] if project is not None else config.project_ids()
        for project_id in ids:
            names = [lane] if lane is not None else _lanes_of(config, project_id)
            views = [view for name in names if (view := self._enter_lane(config, project_id, name, lane is not None))]
            self.lanes += views
            self.projects.append(ProjectView(config, project_id, views[0] if views else None))
        if lane is not None and not self.lanes and self.lane_errors:
            raise self.lane_errors[0][2]

    def _enter_lane(self, config: WaveConfig, project_id: str, name: str, asked: bool) -> LaneView | None:
        try:
            return LaneView(build_lane_paths(config, name, project_id, new_lane=not asked))
        except WaveError as error:
            self.lane_errors.append((project_id, name, error))
            return None


def _lanes_of(config: WaveConfig, project_id: str) -> list[str]:
    """Every configured lane; the default lane too where the project has none, or where it is in use."""
    names = list(resolve_project(config, project_id).raw.get("lanes") or config.values.get("lanes") or {})
    if config.default_lane not in names:
        paths = attempt(lambda: build_lane_paths(config, config.default_lane, project_id)).value
        if not names or (paths and os.path.isdir(paths.waves_dir)):
            names.insert(0, config.default_lane)
    return names
