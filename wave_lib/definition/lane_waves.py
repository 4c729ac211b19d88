"""All waves of a lane, parsed, resolved and validated: what a launch, a dry run and `doctor` begin with.

Spec: CFG 8.1 (broken files), 11 (which problems stop whom), LAUNCH 3 (order of the steps).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ..base.errors import WaveError, WaveValidationError
from .context7_bundles import apply_context7, empty_index
from .executor_resolution import apply_executor_selections
from .roles import apply_role_bindings, resolve_wave_role_bindings
from .rule_context import References
from .skills import SkillLibrary, apply_skills
from .wave_files import parse_wave_files
from .wave_validation import invalid_wave_error, load_references, validate_wave

if TYPE_CHECKING:
    from .lane_paths import LanePaths
    from .wave_types import Wave


class InvalidWaves(WaveValidationError):
    """Waves that the caller asked for are broken or invalid; `errors` holds one error for each."""

    def __init__(self, errors: list[WaveError]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = tuple(errors)


class LaneWaves(NamedTuple):
    """The usable waves by number, resolved, with role ids; what they refer to; warnings for stderr."""

    waves: tuple[Wave, ...]
    references: References
    warnings: tuple[str, ...]

    def wave(self, number: int) -> Wave | None:
        """The wave with this number, or None."""
        return next((wave for wave in self.waves if wave.wave == number), None)


def load_lane_waves(
    paths: LanePaths,
    *,
    first: int = 0,
    last: int | None = None,
    completed: Collection[int] = frozenset(),
    ran: Collection[int] = frozenset(),
    executor_mode: str | None = None,
    codex_sandbox: str | None = None,
) -> LaneWaves:
    """Parse, resolve and validate every wave of the lane.

    `first` to `last` (None: to the end) is the range asked for: everything wrong in it is raised together as
    InvalidWaves. Outside it, broken files are warnings and left out; invalid waves that completed or never ran
    (`ran`: numbers that ran at least once) are warnings too. Raises WaveError when there are no wave files.
    """
    profile, library = paths.profile, SkillLibrary(paths.root, paths.profile.skills.dir)
    parsed, references = parse_wave_files(paths), load_references(paths)._replace(library=library)
    errors: list[WaveError] = []
    warnings = list(parsed.warnings)
    for broken in parsed.errors:
        if first <= broken.wave and (last is None or broken.wave <= last):
            errors.append(broken)
        else:
            warnings.append(str(broken))
    waves: list[Wave] = []
    for wave in parsed.waves:
        selected = first <= wave.wave and (last is None or wave.wave <= last)
        verdict = validate_wave(wave, profile, references, completed, selected, ran, executor_mode)
        warnings.extend(f"{problem.file}:{problem.line}: {problem.message}" for problem in verdict.warnings)
        if verdict.problems:
            errors.append(invalid_wave_error(wave, verdict.problems))
            continue
        try:
            waves.append(_resolved(wave, paths, references, library, executor_mode, codex_sandbox))
        except WaveError as error:
            if selected:
                errors.append(error)
            else:
                warnings.append(f"wave {wave.wave} is left out: {error}")
    if errors:
        raise InvalidWaves(errors)
    return LaneWaves(tuple(waves), references, tuple(warnings))


def _resolved(
    wave: Wave,
    paths: LanePaths,
    references: References,
    library: SkillLibrary,
    executor_mode: str | None,
    codex_sandbox: str | None,
) -> Wave:
    """Executors, skills, Context7 and role ids, in this order. Raises WaveError for what cannot be resolved."""
    profile = paths.profile
    wave = apply_executor_selections(wave, profile, executor_mode, codex_sandbox)
    wave = apply_skills(wave, profile.skills, library)
    wave = apply_context7(wave, paths.lane, references.bundles or empty_index())
    return apply_role_bindings(wave, resolve_wave_role_bindings(wave, profile.roles), paths.lane)
