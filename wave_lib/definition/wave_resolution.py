"""From a parsed wave to the wave as it runs: executors, skills, Context7 selection, role ids. Spec: CFG 9, 10, 14."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .context7_bundles import apply_context7, empty_index
from .executor_resolution import apply_executor_selections
from .roles import apply_role_bindings, resolve_wave_role_bindings
from .skills import SkillLibrary, apply_skills

if TYPE_CHECKING:
    from .lane_paths import LanePaths
    from .rule_context import References
    from .wave_types import Wave


def resolve_wave(
    wave: Wave,
    paths: LanePaths,
    references: References,
    executor_mode: str | None = None,
    codex_sandbox: str | None = None,
) -> Wave:
    """The wave with everything resolved. Raises WaveError for what cannot be.

    `references` are those of the lane (`load_references`); the modes are what the command line says instead of the
    configuration.
    """
    profile = paths.profile
    library = references.library or SkillLibrary(paths.root, profile.skills.dir)
    wave = apply_executor_selections(wave, profile, executor_mode, codex_sandbox)
    wave = apply_skills(wave, profile.skills, library)
    wave = apply_context7(wave, paths.lane, references.bundles or empty_index())
    return apply_role_bindings(wave, resolve_wave_role_bindings(wave, profile.roles), paths.lane)
