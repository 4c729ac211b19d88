"""Every path of a lane, and the only place that builds one. Spec: CFG 6; SUP 4.

`build_lane_paths` looks at the disk in two places only (does the waves directory exist, is there a tree from before
`projects`) and creates nothing. Templates, classes and writers stand in `state_tree`, their methods in `state_paths`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..base.errors import ConfigError
from .config import require_known_lane, resolve_lane
from .config_merge import join
from .ids import safe_id, sanitize_adhoc_run
from .state_paths import StatePaths, number, render
from .state_tree import ENTRIES, LIVE_DIRECTORIES, SHARED_DIRECTORIES, STATE_DIRECTORIES, STATE_TREE, Entry

if TYPE_CHECKING:
    from .config import WaveConfig
    from .lane_profile import LaneProfile

__all__ = ["ENTRIES", "STATE_TREE", "Entry", "LanePaths", "agent_base", "build_lane_paths", "safe_id"]

DRY_RUN = "dry-run"


class LanePaths(StatePaths):
    """Absolute paths of one lane, or of one ad-hoc run in it. Files that depend on an id are methods.

    `run_kind` is `roadmap` or `adhoc`, `run_id` the ad-hoc run id or None, `run_variant` `""` or `dry-run`.
    `live_state_dir` is the state directory without the dry-run part; the supervisor lives there. `waves_dir` is where
    the wave files of this run are. Methods raise ConfigError for an id that is not well formed.
    """

    __slots__ = ()

    @property
    def lane(self) -> str:
        """Lane id."""
        return self.profile.lane

    @property
    def project_id(self) -> str:
        """Project id."""
        return self.profile.project_id

    @property
    def dry_run(self) -> bool:
        """Whether these are the paths of a dry run."""
        return self.run_variant == DRY_RUN

    def rel(self, path: str) -> str:
        """A path as JSON stores it: relative to the root with `/`; unchanged when it lies outside. Spec: CFG 1."""
        if not os.path.isabs(path):
            return path
        relative = os.path.relpath(path, self.root)
        return path if relative.split(os.sep, 1)[0] == ".." else relative.replace(os.sep, "/")

    def absolute(self, path: str) -> str:
        """The inverse of `rel`."""
        return path if os.path.isabs(path) else os.path.join(self.root, path)

    # Configured files

    @property
    def component_matrix_json(self) -> str:
        """Component cutover matrix, authoritative."""
        return self.absolute(self.profile.paths.component_cutover_matrix_json_path)

    @property
    def component_matrix_doc(self) -> str:
        """Component cutover matrix, for people."""
        return self.absolute(self.profile.paths.component_cutover_matrix_doc_path)

    @property
    def benchmark_catalog(self) -> str:
        """Benchmark catalog."""
        return self.absolute(self.profile.paths.benchmark_catalog_path)

    @property
    def context7_bundle_index(self) -> str:
        """Documentation bundles."""
        return self.absolute(self.profile.paths.context7_bundle_index_path)

    @property
    def terminals(self) -> str:
        """Terminals of the editor."""
        return self.absolute(self.profile.paths.terminals_path)

    @property
    def skills_dir(self) -> str:
        """Skill bundles."""
        return self.absolute(self.profile.skills.dir)

    def wave_file(self, wave: int) -> str:
        """Markdown file of a wave."""
        return os.path.join(self.waves_dir, f"wave-{number('wave', wave)}.md")

    # Names of terminals and reports. Spec: CFG 6.1, SUP 15.8

    @property
    def terminal_name_prefix(self) -> str:
        """Prefix of the terminals of this lane."""
        return f"{self.project_id}-{self.lane}-wave"

    @property
    def dashboard_terminal_prefix(self) -> str:
        """Prefix of the dashboard terminals."""
        return f"{self.terminal_name_prefix}-dashboard"

    @property
    def global_dashboard_terminal_name(self) -> str:
        """Name of the terminal with the global dashboard."""
        return f"{self.dashboard_terminal_prefix}-global"

    @property
    def workspace_token(self) -> str:
        """Short name of this workspace that no other workspace of this machine has."""
        from hashlib import sha1

        name = re.sub(r"[^a-z0-9]+", "_", os.path.basename(self.root).lower()).strip("_")[:12] or "repo"
        return f"{name}_{sha1(os.fsencode(self.root), usedforsecurity=False).hexdigest()[:8]}"

    @property
    def tmux_session_prefix(self) -> str:
        """Prefix of session names."""
        return f"{self._tmux_base}_wave"

    @property
    def tmux_dashboard_session_prefix(self) -> str:
        """Prefix of the sessions of dashboards."""
        return f"{self._tmux_base}_wave_dashboard"

    @property
    def tmux_global_dashboard_session_prefix(self) -> str:
        """Prefix of the sessions of global dashboards."""
        return f"{self._tmux_base}_wave_dashboard_global"

    def tmux_dashboard_session(self, target: str) -> str:
        """The session that shows a dashboard, `current` or `global`. Spec: SUP 18.2."""
        prefixes = {"current": self.tmux_dashboard_session_prefix, "global": self.tmux_global_dashboard_session_prefix}
        return f"{prefixes[target]}_current"

    @property
    def tmux_socket_name(self) -> str:
        """Name of the tmux socket of this lane."""
        return f"{self._tmux_base}_waves"

    @property
    def _tmux_base(self) -> str:
        project, lane = self.project_id.replace("-", "_"), self.lane.replace("-", "_")
        return f"oc_{project}_{lane}_{self.workspace_token}"

    def session_name(self, wave: int, slug: str) -> str:
        """Label of an agent's session. Spec: SUP 15.8."""
        return re.sub(r"[^A-Za-z0-9:_-]", "_", f"{self.tmux_session_prefix}{wave}_{slug}")

    @property
    def telemetry_project_id(self) -> str:
        """Project id in reports. Spec: CFG 6.1, PROV 3.3."""
        name = self.profile.wave_control.get("projectId") or self.project_id or os.path.basename(self.root)
        return re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9._-]+", "-", str(name).lower())).strip("-") or "wave"


def agent_base(runtime_path: str) -> str:
    """The path that names the other files of an agent: a runtime record's path without `.runtime.json`. Spec: SUP 4."""
    suffix = ".runtime.json"
    if not runtime_path.endswith(suffix):
        raise ConfigError(f"{runtime_path} is no runtime record")
    return runtime_path[: -len(suffix)]


def build_lane_paths(
    config: WaveConfig,
    lane: str | None = None,
    project: str | None = None,
    adhoc_run_id: str | None = None,
    run_variant: str = "",
    *,
    new_lane: bool = False,
    orchestrator_id: str | None = None,
    runtime_version: str | None = None,
) -> LanePaths:
    """Paths of a lane (default: `defaultLane`) of a project, or of one ad-hoc run in it. Spec: CFG 6.1.

    ConfigError for an unknown project or lane (unless `new_lane`, or an ad-hoc run), a malformed id or variant.
    """
    if run_variant not in ("", DRY_RUN):
        raise ConfigError(f"unknown run variant {run_variant!r}", remedy=f"use {DRY_RUN} or nothing")
    profile = resolve_lane(config, lane, project)
    run_id = None if adhoc_run_id is None else sanitize_adhoc_run(adhoc_run_id)
    if run_id is None:
        if not new_lane:
            require_known_lane(config, profile)
    else:
        profile = _for_adhoc_run(profile)
    root = os.path.abspath(config.root)
    live, warnings = _live_state_dir(root, config, profile, run_id)
    state = f"{live}/{DRY_RUN}" if run_variant else live
    workspace = _under(root, profile.paths.orchestrator_state_dir)
    shared = f"{state}/orchestrator" if run_variant else _under(workspace, _prefix(profile).rstrip("/") or ".")
    directories = {name: f"{state}/{path}" for name, path in STATE_DIRECTORIES.items()}
    directories.update((name, f"{live}/{path}") for name, path in LIVE_DIRECTORIES.items())
    directories.update((name, f"{shared}/{path}") for name, path in SHARED_DIRECTORIES.items())
    return LanePaths(
        root=root,
        config_path=config.path,
        profile=profile,
        run_kind="roadmap" if run_id is None else "adhoc",
        run_id=run_id,
        run_variant=run_variant,
        state_dir=state,
        live_state_dir=live,
        orchestrator_state_dir=shared,
        workspace_orchestrator_dir=workspace,
        waves_dir=_waves_dir(root, profile, run_id),
        docs_dir=_under(root, profile.docs_dir),
        plans_dir=_under(root, profile.plans_dir),
        **directories,
        warnings=(*config.warnings, *profile.warnings, *warnings),
        orchestrator_id=orchestrator_id,
        runtime_version=runtime_version,
    )


def _under(directory: str, relative: str) -> str:
    return directory if relative == "." else f"{directory}/{relative}"


def _prefix(profile: LaneProfile) -> str:
    return f"projects/{profile.project_id}/" if profile.explicit_project else ""


def _for_adhoc_run(profile: LaneProfile) -> LaneProfile:
    """An ad-hoc run promotes no components."""
    validation = profile.validation._replace(
        require_component_promotions_from_wave=None, require_agent_components_from_wave=None
    )
    return profile._replace(validation=validation)


def _live_state_dir(
    root: str, config: WaveConfig, profile: LaneProfile, run_id: str | None
) -> tuple[str, tuple[str, ...]]:
    """The live state directory, and a warning when the waves done so far lie where they would not be found."""
    state_root = _under(root, profile.paths.state_root)
    tree = f"{profile.lane}-wave-launcher"
    base = f"{state_root}/{_prefix(profile)}{tree}"
    warnings: tuple[str, ...] = ()
    former = f"{state_root}/{tree}"
    is_default = profile.explicit_project and profile.project_id == config.default_project
    if is_default and os.path.isdir(former) and not os.path.isdir(base):
        warnings = (
            f"state of lane {profile.lane} from before `projects` is at {join(profile.paths.state_root, tree)} and is "
            f"not used; move it to {join(profile.paths.state_root, _prefix(profile) + tree)} to keep completed waves",
        )
    return (base if run_id is None else f"{base}/adhoc/{run_id}"), warnings


def _waves_dir(root: str, profile: LaneProfile, run_id: str | None) -> str:
    if run_id is not None:
        return f"{root}/{render(ENTRIES['adhoc_dir'], {'project': profile.project_id, 'adhoc_run': run_id})}"
    waves = _under(root, profile.waves_dir)
    other = _under(root, join(profile.docs_dir, "waves"))
    return other if not os.path.isdir(waves) and os.path.isdir(other) else waves
