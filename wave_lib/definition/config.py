"""`wave.config.json`: loading it, and resolving one project or lane out of its layers. Spec: CFG 4.1, 4.12, 5."""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

from ..base.errors import ConfigError
from ..base.text import nearest
from .config_merge import lane_record, layered, project_directories
from .config_schema import TOP
from .ids import sanitize_lane, sanitize_project
from .lane_profile import LaneProfile, ProjectConfig
from .schema_types import read
from .values import UNSET

CONFIG_NAME = "wave.config.json"


class WaveConfig(NamedTuple):
    """One loaded configuration file.

    `raw` is the JSON as written, `values` what it sets, checked and in normal form, without defaults. `warnings` are
    complete lines without prefix. `present` is False when there is no file.
    """

    root: str
    path: str
    present: bool
    raw: dict[str, Any]
    values: dict[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def repo_mode(self) -> str:
        """`single-repo` or `multi-lane`."""
        return str(self.values.get("repoMode", "single-repo"))

    @property
    def default_lane(self) -> str:
        """Lane of every command without `--lane`."""
        return str(self.values.get("defaultLane", "main"))

    @property
    def default_project(self) -> str:
        """Project of every command without `--project`."""
        return str(self.values.get("defaultProject", "default"))

    @property
    def explicit_projects(self) -> bool:
        """Whether the file has a `projects` map, which puts project ids into state paths."""
        return "projects" in self.values

    @property
    def update_check_url(self) -> str | None:
        """Where to ask for a newer version, or None. Spec: WORK 2.7."""
        url: str | None = (self.values.get("updateCheck") or {}).get("url")
        return url

    def project_ids(self) -> list[str]:
        """Ids of all projects, the implicit one included."""
        return list(self.values["projects"]) if self.explicit_projects else [self.default_project]

    def lane_names(self, project: str | None = None) -> list[str]:
        """Lanes of a project that need no new name: the default lane, then those with a lane object."""
        own = resolve_project(self, project).raw.get("lanes", {})
        return list(dict.fromkeys([self.default_lane, *own, *self.values.get("lanes", {})]))


def load_wave_config(root: str, path: str | None = None) -> WaveConfig:
    """Read `<root>/wave.config.json` (or `path`) and check every layer in it.

    An absent file gives defaults with `present=False`. Raises ConfigError naming file, place and remedy when the file
    cannot be read, is no JSON object, or any value of any layer is wrong; unknown keys are warnings. Spec: CFG 4.1.
    """
    path = path or os.path.join(root, CONFIG_NAME)
    warnings: list[str] = []
    raw = _read_json(path, warnings)
    if raw is UNSET:
        return WaveConfig(root, path, False, {}, {})
    if not isinstance(raw, dict):
        raise ConfigError("the top level must be a JSON object", where=path)
    return config_from_payload(root, raw, path, warnings)


def config_from_payload(
    root: str, raw: dict[str, Any], path: str = CONFIG_NAME, warnings: list[str] | None = None
) -> WaveConfig:
    """Check an already parsed configuration. Raises ConfigError as `load_wave_config` does."""
    notes = list(warnings or [])
    try:
        values = read(TOP, raw, "", notes)
        if raw.get("projects") is None:
            values.pop("projects", None)
        _check_top(values)
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or path, remedy=error.remedy) from None
    if values.get("version", 1) > 1:
        notes.append(f"version {values['version']} is newer than this program knows")
    return WaveConfig(root, path, True, raw, values, tuple(notes))


def _check_top(values: dict[str, Any]) -> None:
    projects = values.get("projects")
    if projects is None:
        return
    default = values.get("defaultProject", "default")
    if default not in projects:
        raise ConfigError(
            f"defaultProject {default!r} is not in projects",
            remedy=f"set defaultProject to one of {', '.join(projects)}" if projects else "add the project",
        )


def _read_json(path: str, warnings: list[str]) -> Any:
    """The parsed file, UNSET when absent. A byte order mark is accepted; a key given twice is a warning."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            twice = sorted({key for key, _ in items if sum(1 for other, _ in items if other == key) > 1})
            warnings.append(f"key given twice, the last one counts: {', '.join(twice)}")
        return found

    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.loads(file.read(), object_pairs_hook=pairs)
    except FileNotFoundError:
        return UNSET
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError(f"not valid JSON: {error.msg}", where=where, remedy="correct the file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(*_undecodable(path, error)) from None
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        raise ConfigError("not JSON that can be read", where=path, remedy="correct the file") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=path) from None


def _undecodable(path: str, error: UnicodeDecodeError) -> tuple[str, str, str]:
    before = error.object[: error.start]
    line = before.count(b"\n") + 1
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    return "not UTF-8", f"{path}:{line}:{column}", "save the file as UTF-8"


def resolve_project(config: WaveConfig, project: str | None = None) -> ProjectConfig:
    """The project with this id, or the default one. ConfigError `Unknown project: <input>` otherwise. Spec: CFG 5.1."""
    wanted = config.default_project if project is None else project
    try:
        project_id = sanitize_project(wanted)
    except ConfigError:
        project_id = ""
    if project_id not in config.project_ids():
        known = config.project_ids()
        close = nearest(project_id, known) if project_id else None
        raise ConfigError(
            f"Unknown project: {wanted}",
            where=config.path,
            remedy=f"did you mean {close}?" if close else f"use one of {', '.join(known)}",
        )
    values = config.values
    own = values["projects"][project_id] if config.explicit_projects else {}
    name = own.get("projectName") or values.get("projectName")
    if not name:
        name = project_id if config.explicit_projects else "Wave Orchestrator"
    directories = project_directories(values, own)
    return ProjectConfig(
        project_id, name, own.get("rootDir", "."), config.explicit_projects, directories["docsDir"], own
    )


def resolve_lane(config: WaveConfig, lane: str | None = None, project: str | None = None) -> LaneProfile:
    """Merge global, project and lane layers, add defaults, check the result. Spec: CFG 5.

    Raises ConfigError for an unknown project or a contradiction in the merged values. An unknown lane is no error
    here (`draft` and `adhoc` may name new ones): see `LaneProfile.known` and `require_known_lane`.
    """
    own_project = resolve_project(config, project)
    lane_id = sanitize_lane(config.default_lane if lane is None else lane)
    lanes = own_project.raw.get("lanes", {})
    own_lane = lanes.get(lane_id, config.values.get("lanes", {}).get(lane_id))
    layers = layered(config.values, own_project, own_lane or {})
    try:
        profile = lane_record(config.values, own_project, lane_id, own_lane or {}, layers, config.default_lane)
    except ConfigError as error:
        where = error.where or f"{config.path} (project {own_project.project_id}, lane {lane_id})"
        raise ConfigError(error.what, where=where, remedy=error.remedy) from None
    known = own_lane is not None or lane_id == config.default_lane or _has_waves(config.root, profile)
    return profile._replace(known=known)


def _has_waves(root: str, profile: LaneProfile) -> bool:
    candidates = (profile.waves_dir, os.path.join(profile.docs_dir, "waves"))
    return any(os.path.isdir(os.path.join(root, candidate)) for candidate in candidates)


def require_known_lane(config: WaveConfig, profile: LaneProfile) -> None:
    """ConfigError `Unknown lane: <lane>` unless the lane is configured, the default, or has waves. Spec: CFG 5.1."""
    if profile.known:
        return
    names = config.lane_names(profile.project_id)
    close = nearest(profile.lane, names)
    remedy = f"did you mean {close}?" if close else f"use one of {', '.join(names)}, or create {profile.waves_dir}"
    raise ConfigError(f"Unknown lane: {profile.lane} (no waves found)", where="--lane", remedy=remedy)
