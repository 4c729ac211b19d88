"""The interview that makes or changes a project's profile.

Holds:       nothing while it asks; the profile's lock for the moment of the write.
Writes:      the project profile.
When killed: while it asks nothing has changed; afterwards the whole new profile is there.

Spec: WORK 4.3, LAUNCH 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..definition.config import resolve_project
from ..definition.ids import is_id
from ..definition.lane_profile import DEPLOY_KINDS
from ..definition.project_profile import (
    OVERSIGHT_MODES,
    TEMPLATES,
    TERMINAL_SURFACES,
    Environment,
    ProjectProfile,
    default_profile,
    normalize_environments,
    profile_to_json,
    read_profile,
    update_profile,
)

if TYPE_CHECKING:
    from ..definition.config import WaveConfig
    from .questions import Questions


def set_up_project(config: WaveConfig, project: str | None, ask: Questions) -> ProjectProfile:
    """Ask for everything a profile holds, starting from the saved or default one, and save it.

    Returns what was written. ConfigError for an unknown project, StateError for a saved profile that cannot be read
    (nothing is asked then), WaveError for an answer that is none.
    """
    start = read_profile(config, project) or default_profile(config, project)
    answered = interview(start, lanes_of(config, project), ask)
    fresh = default_profile(config, project)
    answered = answered._replace(
        project_id=fresh.project_id, project_name=fresh.project_name, config_path=fresh.config_path
    )
    return update_profile(config, project, lambda _: answered)


def lanes_of(config: WaveConfig, project: str | None) -> list[str]:
    """The lanes to choose from: the default lane, the project's, those of the whole configuration."""
    own = resolve_project(config, project)
    return config.lane_names(own.project_id)


def interview(start: ProjectProfile, lanes: list[str], ask: Questions) -> ProjectProfile:
    """The questions in the order of WORK 4.3; `start` gives the defaults."""
    ask.explain(
        f"Project setup: {start.project_name} ({start.project_id}). An empty answer takes what stands in brackets.",
        "",
        "A new project has no code yet: drafted waves then begin with the groundwork.",
    )
    new_project = ask.yes("Is this a new project?", start.new_project)
    ask.explain(
        "",
        "Execution posture: `oversight` keeps a person in the loop at gates and releases;",
        "`dark-factory` lets waves run through and asks a person only when it must.",
    )
    posture = ask.choice("Execution posture", OVERSIGHT_MODES, start.default_oversight_mode)
    ask.explain(
        "",
        "Terminal surface: where you watch. Live agents always run in detached processes; this choice affects",
        "only viewing. `vscode` lists log tails and dashboards as editor terminals, `tmux` as tmux sessions.",
    )
    surface = ask.choice("Terminal surface", TERMINAL_SURFACES, start.default_terminal_surface)
    ask.explain(
        "",
        "Draft template: what `wave draft` starts from. `implementation` builds a feature, `qa` tests and judges,",
        "`infra` changes environments, `release` prepares and ships a version.",
    )
    template = ask.choice("Draft template", TEMPLATES, start.template)
    ask.explain("", "Draft lane: the lane that drafted waves belong to.")
    lane = ask.choice("Draft lane", lanes, start.lane)
    ask.explain("", "Deploy environments: where this project runs. 0 environments is fine.")
    count = ask.count("How many deploy environments?", len(start.deploy_environments))
    return start._replace(
        new_project=new_project,
        default_oversight_mode=posture,
        default_terminal_surface=surface,
        template=template,
        lane=lane,
        deploy_environments=_environments(start, count, ask),
    )


def _environments(start: ProjectProfile, count: int, ask: Questions) -> tuple[Environment, ...]:
    known = start.deploy_environments
    found: list[Environment] = []
    for index in range(count):
        before = known[index] if index < len(known) else None
        found.append(_environment(before, index, bool(known), {item.id for item in found}, ask))
    # One place decides which of several marked environments is the default one.
    document = profile_to_json(start._replace(deploy_environments=tuple(found)))
    return normalize_environments(document["deployEnvironments"])


def _environment(
    before: Environment | None, index: int, any_known: bool, taken: set[str], ask: Questions
) -> Environment:
    label = f"Environment {index + 1}"

    def wrong(answer: str) -> str | None:
        if answer.lower() in taken:
            return "an id that no other environment has"
        return None if is_id("component", answer.lower()) else "lower-case letters, digits, `.`, `_` and `-`"

    ask.explain("")
    proposed = before.id if before else ("default" if index == 0 else f"env-{index + 1}")
    environment_id = ask.text(f"{label}: id", proposed, wrong).lower()
    name = ask.text(f"{label}: name", before.name if before else environment_id)
    kind = ask.choice(f"{label}: provider kind", DEPLOY_KINDS, before.kind if before else "custom")
    is_default = ask.yes(f"{label}: is it the default?", before.is_default if before else index == 0 and not any_known)
    notes = ask.text(f"{label}: notes", (before.notes if before else None) or "")
    return Environment(environment_id, name, kind, is_default, notes or None)
