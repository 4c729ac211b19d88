"""The project profile: posture, terminal surface, environments, draft defaults of one project. Spec: CFG 7, WORK 4.1.

Holds:       `<profile>.lock` during an update.
Writes:      `.wave/project-profile.json`, `.wave/projects/<id>/project-profile.json`.
When killed: the old profile or the new one is there, whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from ..base.errors import ConfigError, StateError
from ..base.files import Outcome, read_json, write_json
from ..base.locks import locked
from ..base.timestamps import now_iso
from .config import resolve_project
from .ids import is_id
from .lane_profile import DEPLOY_KINDS
from .state_paths import render
from .state_tree import ENTRIES
from .values import UNSET, as_member, as_text, shown

if TYPE_CHECKING:
    from .config import WaveConfig

SCHEMA_VERSION = 1
OVERSIGHT_MODES = ("oversight", "dark-factory")
TERMINAL_SURFACES = ("vscode", "tmux")
TEMPLATES = ("implementation", "qa", "infra", "release")


class Environment(NamedTuple):
    """A place this project is deployed to; exactly one of a profile is the default."""

    id: str
    name: str
    kind: str
    is_default: bool = False
    notes: str | None = None


class ProjectProfile(NamedTuple):
    """One profile. Times are ISO-8601 stamps."""

    initialized_at: str
    updated_at: str
    new_project: bool
    default_oversight_mode: str
    default_terminal_surface: str
    deploy_environments: tuple[Environment, ...]
    template: str
    lane: str
    project_id: str
    project_name: str
    config_path: str


def profile_path(root: str, project_id: str) -> str:
    """Where the profile of a project is; that of the literal id `default` has a place of its own."""
    if project_id == "default":
        return f"{root}/{ENTRIES['default_project_profile'].template}"
    return f"{root}/{render(ENTRIES['project_profile'], {'project': project_id})}"


def default_profile(config: WaveConfig, project: str | None = None, now: str | None = None) -> ProjectProfile:
    """The profile of a project nobody has set up. ConfigError for an unknown project."""
    return profile_from_json({}, config, project, now)


def read_profile(config: WaveConfig, project: str | None = None) -> ProjectProfile | None:
    """The saved profile, None when there is none. Writes nothing.

    StateError naming the file when it is no JSON object, from a newer version, or holds a value that is not allowed.
    """
    project_id = resolve_project(config, project).project_id
    path = profile_path(config.root, project_id)
    reading = read_json(path)
    if reading.outcome is Outcome.ABSENT:
        return None
    if reading.outcome is not Outcome.WHOLE or not isinstance(reading.value, dict):
        raise StateError(f"not a project profile: {reading.detail or 'no JSON object'}", path, "correct or remove it")
    try:
        return profile_from_json(reading.value, config, project_id)
    except ConfigError as error:
        raise StateError(error.what, where=path, remedy=error.remedy or "correct or remove it") from None


def update_profile(
    config: WaveConfig, project: str | None, change: Callable[[ProjectProfile], ProjectProfile]
) -> ProjectProfile:
    """Read, change and write a profile under its lock; the default profile is the start when there is none.

    Returns what was written: `updatedAt` is now, `initializedAt` stays. Errors as `read_profile`.
    """
    project_id = resolve_project(config, project).project_id
    path = profile_path(config.root, project_id)
    with locked(f"{path}.lock"):
        saved = read_profile(config, project_id)
        start = saved or default_profile(config, project_id)
        changed = change(start)._replace(initialized_at=start.initialized_at, updated_at=now_iso())
        payload = profile_to_json(changed)
        checked = profile_from_json(payload, config, project_id)
        write_json(path, profile_to_json(checked))
    return checked


def profile_from_json(
    payload: dict[str, Any], config: WaveConfig, project: str | None = None, now: str | None = None
) -> ProjectProfile:
    """A profile in normal form; what is missing takes its default. ConfigError naming the field."""
    owner = resolve_project(config, project)
    source = _part(payload, "source")
    planner = _part(payload, "plannerDefaults")
    surface = payload.get("defaultTerminalSurface")
    if isinstance(surface, str) and surface.strip().lower() == "none":
        surface = "vscode"
    stamp = now or now_iso()
    version = payload.get("schemaVersion", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ConfigError(f"schemaVersion {shown(version)} is not {SCHEMA_VERSION}")
    return ProjectProfile(
        initialized_at=_text(payload, "initializedAt", stamp),
        updated_at=_text(payload, "updatedAt", stamp),
        new_project=payload.get("newProject") is True,
        default_oversight_mode=_member(payload, "defaultOversightMode", OVERSIGHT_MODES),
        default_terminal_surface=as_member(surface, "defaultTerminalSurface", TERMINAL_SURFACES) or "vscode",
        deploy_environments=normalize_environments(payload.get("deployEnvironments")),
        template=as_member(planner.get("template"), "plannerDefaults.template", TEMPLATES) or TEMPLATES[0],
        lane=_text(planner, "lane", config.default_lane),
        project_id=_text(source, "projectId", owner.project_id),
        project_name=_text(source, "projectName", owner.project_name),
        config_path=_text(source, "configPath", _config_path(config)),
    )


def profile_to_json(profile: ProjectProfile) -> dict[str, Any]:
    """The profile as its file holds it."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "initializedAt": profile.initialized_at,
        "updatedAt": profile.updated_at,
        "newProject": profile.new_project,
        "defaultOversightMode": profile.default_oversight_mode,
        "defaultTerminalSurface": profile.default_terminal_surface,
        "deployEnvironments": [
            {"id": item.id, "name": item.name, "kind": item.kind, "isDefault": item.is_default, "notes": item.notes}
            for item in profile.deploy_environments
        ],
        "plannerDefaults": {"template": profile.template, "lane": profile.lane},
        "source": {
            "projectId": profile.project_id,
            "projectName": profile.project_name,
            "configPath": profile.config_path,
        },
    }


def normalize_environments(value: object) -> tuple[Environment, ...]:
    """Environments in normal form with exactly one default: the first marked one, else the first.

    ConfigError for a malformed entry, an unknown kind or an id given twice.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ConfigError(f"deployEnvironments must be a list, got {shown(value)}")
    found: list[Environment] = []
    for index, item in enumerate(value):
        environment = _environment(item, f"deployEnvironments[{index}]")
        if any(environment.id == other.id for other in found):
            raise ConfigError(f"deployEnvironments[{index}].id repeats {environment.id!r}")
        found.append(environment)
    default = next((index for index, item in enumerate(found) if item.is_default), 0)
    return tuple(item._replace(is_default=index == default) for index, item in enumerate(found))


def _environment(item: object, label: str) -> Environment:
    if not isinstance(item, dict):
        raise ConfigError(f"{label} must be an object, got {shown(item)}")
    environment_id = str(as_text(item.get("id"), f"{label}.id") or "").lower()
    if not is_id("component", environment_id):
        raise ConfigError(f"{label}.id must consist of a-z, 0-9, `.`, `_` and `-`, got {shown(item.get('id'))}")
    kind = as_member(item.get("kind"), f"{label}.kind", DEPLOY_KINDS)
    if kind is UNSET:
        raise ConfigError(f"{label}.kind is required", remedy=f"use one of {', '.join(DEPLOY_KINDS)}")
    notes = as_text(item.get("notes"), f"{label}.notes")
    name = as_text(item.get("name"), f"{label}.name") or environment_id
    return Environment(environment_id, name, kind, item.get("isDefault") is True, None if notes is UNSET else notes)


def _part(payload: dict[str, Any], key: str) -> dict[str, Any]:
    part = payload.get(key)
    if part is None:
        return {}
    if not isinstance(part, dict):
        raise ConfigError(f"{key} must be an object, got {shown(part)}")
    return part


def _text(payload: dict[str, Any], key: str, default: str) -> str:
    return str(as_text(payload.get(key), key) or default)


def _member(payload: dict[str, Any], key: str, members: tuple[str, ...]) -> str:
    return str(as_member(payload.get(key), key, members) or members[0])


def _config_path(config: WaveConfig) -> str:
    prefix = config.root.rstrip("/") + "/"
    return config.path[len(prefix) :] if config.path.startswith(prefix) else config.path
