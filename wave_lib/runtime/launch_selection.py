"""Loading the waves of a lane, judging them, and choosing the ones to run.

Holds:       nothing.
Writes:      the run state, when it is reconciled before a live launch.
When killed: nothing was started yet.

Spec: LAUNCH 3.1 (steps 7-10), 3.5, 4.2; CFG 17.8.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError, WaveValidationError
from ..base.files import Outcome, read_json, write_json
from ..definition.wave_files import parse_wave_files
from ..definition.wave_resolution import resolve_wave
from ..definition.wave_validation import load_references, validate_wave
from ..state import control_plane, run_state
from . import run_state_reconcile

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..definition.wave_types import Wave
    from ..engines.run_state_reconciler import ReconcileResult
    from .wave_context import LaneRun


def load(lane: LaneRun) -> None:
    """Parse every wave of the lane and resolve executors, skills, documentation and roles. Spec: LAUNCH 3.1 step 7."""
    lane.parsed = parse_wave_files(lane.paths)
    lane.references = load_references(lane.paths)
    lane.waves, lane.unresolved = [], {}
    for wave in lane.parsed.waves:
        try:
            lane.waves.append(
                resolve_wave(wave, lane.paths, lane.references, lane.default_executor, lane.options.codex_sandbox)
            )
        except WaveError as error:
            lane.waves.append(wave)  # validation says what is wrong, in its own words
            lane.unresolved[wave.wave] = error


# --- validation -----------------------------------------------------------------------------------------------------


def validate(lane: LaneRun) -> None:
    """Check every wave and report all that fail together; unselected waves that never ran only warn. CFG 11, 17.8."""
    state = readable_run_state(lane)
    complete = set(
        run_state_reconcile.known_completed_waves(lane.live_paths, resolved_waves(lane), state_file=lane.state_file)
    )
    numbers = [wave.wave for wave in lane.waves] + [number_of(error) for error in lane.parsed.errors]
    chosen = in_range(lane, numbers, complete)
    ran = {number for number in numbers if str(number) in state["waves"]}
    problems: list[str] = []
    for error in lane.parsed.errors:
        if number_of(error) in chosen or number_of(error) in ran:
            problems.append(str(error))
        else:
            lane.console.warn(f"[wave] warning: {error}")
    for wave in lane.waves:
        verdict = validate_wave(
            wave, lane.profile, lane.references, complete, wave.wave in chosen, ran, lane.default_executor
        )
        for warning in verdict.warnings:
            lane.console.warn(f"[wave] warning: wave {wave.wave} ({wave.file}): {warning}")
        if verdict.problems:
            clauses = "; ".join(map(str, verdict.problems))
            problems.append(f"Invalid wave {wave.wave} ({wave.file}): {clauses}")
        elif wave.wave in lane.unresolved and wave.wave in chosen:
            problems.append(f"Invalid wave {wave.wave} ({wave.file}): {lane.unresolved[wave.wave]}")
    for text in lane.parsed.warnings:
        lane.console.warn(f"[wave] warning: {text}")
    if problems:
        raise WaveValidationError("; ".join(problems))


def number_of(error: Any) -> int:
    """Number of the wave that a grammar error is about."""
    digits = "".join(char for char in os.path.basename(str(error.file)) if char.isdigit())
    return int(digits) if digits else -1


def resolved_waves(lane: LaneRun) -> list[Wave]:
    """The waves whose executors and skills could be resolved."""
    return [wave for wave in lane.waves if wave.wave not in lane.unresolved]


def readable_run_state(lane: LaneRun) -> dict[str, Any]:
    """The run state; a live launch puts a damaged file aside and rebuilds it from status files. Spec: CFG 17.1."""
    if not lane.options.dry_run and read_json(lane.state_file).outcome is Outcome.TORN:
        moved = run_state.quarantine_run_state(lane.state_file)
        lane.console.warn(f"[wave] warning: run state was unreadable and is kept as {lane.paths.rel(str(moved))}")
    return run_state.read_run_state(lane.state_file)


def in_range(lane: LaneRun, numbers: Collection[int], complete: Collection[int]) -> set[int]:
    """The wave numbers that the flags select, given what is complete. Spec: LAUNCH 3.5."""
    options = lane.options
    start = options.start_wave or 0
    if options.auto_next:
        rest = [number for number in numbers if number >= start and number not in complete]
        start = min(rest, default=max(numbers, default=0) + 1)
    return {
        number for number in numbers if number >= start and (options.end_wave is None or number <= options.end_wave)
    }


# --- reconciling and selecting --------------------------------------------------------------------------------------


def reconcile(lane: LaneRun) -> ReconcileResult:
    """Write the transitions that follow from the status files; a lane without a run state gets an empty one.

    The wave that this very run was in when its launcher was lost is left alone: the files may show it complete while
    its attempt is open, and `--auto-next` would then pass it by. Spec: LAUNCH 4.2, CFG 17.5, SUP 10.3.
    """
    waves = [wave for wave in resolved_waves(lane) if not _in_hand(lane, wave.wave)]
    result = run_state_reconcile.reconcile_run_state(lane.paths, waves, state_file=lane.state_file)
    if not os.path.exists(lane.state_file):
        write_json(lane.state_file, run_state.empty_run_state())
    return result


def _in_hand(lane: LaneRun, number: int) -> bool:
    """Whether an earlier launcher of this run opened the wave and did not get as far as its run-state entry."""
    if lane.supervision is None or lane.journal.current.get("waveNumber") != number:
        return False
    run_id = lane.supervision.run_id
    last = control_plane.read_control_plane(lane.paths, number).last_wave_run
    if last is None or last["data"].get("supervisorRunId") != run_id or last["action"] not in ("started", "completed"):
        return False
    entry = run_state.entry_of(run_state.read_run_state(lane.state_file), number) or {}
    by_us = (entry.get("lastEvidence") or {}).get("supervisorRunId") == run_id
    return not (by_us and entry.get("currentState") == run_state.COMPLETED)


def select(lane: LaneRun) -> bool:
    """Choose the waves to run; False when `--auto-next` finds nothing left. Raises WaveError for an empty range."""
    options = lane.options
    state = run_state.read_run_state(lane.state_file)
    lane.completed = run_state.completed_waves(state)
    numbers = [wave.wave for wave in lane.waves]
    chosen = in_range(lane, numbers, lane.completed)
    lane.selected = [wave for wave in lane.waves if wave.wave in chosen]
    start = options.start_wave or 0
    if options.auto_next:
        if not lane.selected:
            return False
        start = lane.selected[0].wave
        last = max((number for number in lane.completed), default=None)
        shown = "none" if last is None else last
        lane.console.say(f"[auto-next] last completed wave: {shown}; starting from wave {start}.")
    if not lane.selected:
        end = "last" if options.end_wave is None else options.end_wave
        raise WaveError(f"No waves available for range start={start}, end={end}")
    _check_chosen(lane)
    if not options.dry_run:
        for wave in lane.selected:
            if wave.wave in lane.completed:
                lane.console.say(f"[launch] wave {wave.wave} is already marked completed; running it again")
    return True


def _check_chosen(lane: LaneRun) -> None:
    """A wave that only warned before and is in range now fails. Spec: CFG 17.8 step 7."""
    problems = []
    for wave in lane.selected:
        verdict = validate_wave(wave, lane.profile, lane.references, lane.completed, True, (), lane.default_executor)
        if verdict.problems:
            problems.append(f"Invalid wave {wave.wave} ({wave.file}): {'; '.join(map(str, verdict.problems))}")
    if problems:
        raise WaveValidationError("; ".join(problems))
