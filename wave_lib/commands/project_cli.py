"""`wave project`: set up and show the profile of a project. Spec: WORK 4.3, 4.4."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..base.errors import ExitCode, UsageError
from .arguments import JSON, PROJECT, SWITCH, Command, Flag, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.project_profile import ProjectProfile

COMMAND = Command(
    "project",
    "Set up a project's profile (posture, terminal surface, draft defaults, deploy environments), or show it.",
    (
        PROJECT,
        Flag("--defaults", SWITCH, "setup: ask nothing, save the present profile or the default one"),
        JSON,
    ),
    ("setup|show",),
    1,
    notes="Questions go to stderr. Answers may be piped in, one a line; an empty line takes the default.",
)


def run(argv: Sequence[str], root: str) -> int:
    """Entry point of `wave project`."""
    given = read(COMMAND, argv)
    if given is None:
        return ExitCode.DONE
    action = given.positionals[0]
    if action == "show" and given.has("defaults"):
        raise UsageError("--defaults belongs to `wave project setup`")
    from ..definition.config import load_wave_config, resolve_project
    from ..definition.project_profile import profile_path, profile_to_json, read_profile

    config = load_wave_config(root)
    project = resolve_project(config, given.text("project")).project_id
    if action == "setup":
        from ..runtime.project_setup import set_up_project
        from ..runtime.questions import Questions

        profile: ProjectProfile | None = set_up_project(config, project, Questions(defaults=given.has("defaults")))
    else:
        profile = read_profile(config, project)
    path = profile_path("", project).lstrip("/")
    if given.has("json"):
        document = {"profilePath": path, "profile": profile_to_json(profile) if profile else None}
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.DONE
    for line in _setup_lines(path, profile) if profile and action == "setup" else _show_lines(path, profile):
        print(f"[wave:project] {line}")
    return ExitCode.DONE


def _setup_lines(path: str, profile: ProjectProfile) -> list[str]:
    return [
        f"profile: {path}",
        f"project_id={profile.project_id}",
        f"lane={profile.lane}",
        f"template={profile.template}",
        f"oversight={profile.default_oversight_mode}",
        f"terminal_surface={profile.default_terminal_surface}",
    ]


def _show_lines(path: str, profile: ProjectProfile | None) -> list[str]:
    if profile is None:
        return [f"no saved profile at {path}"]
    return [
        f"profile: {path}",
        f"project_id={profile.project_id}",
        f"project={profile.project_name}",
        f"lane={profile.lane}",
        f"template={profile.template}",
        f"new_project={'yes' if profile.new_project else 'no'}",
        f"deploy_envs={len(profile.deploy_environments)}",
    ]
