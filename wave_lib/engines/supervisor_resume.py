"""How a lost launcher is started again, and how often: plan, progress, budget. Pure. Spec: SUP 9.4, 10.3, 10.4."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

RESUME_FLAG = "--resume-control-state"
HARD_LIMIT = 50
_RANGE_FLAGS = ("--start-wave", "--end-wave")

JsonObject = dict[str, Any]


class ResumePlan(NamedTuple):
    """`action` is a `resumeAction` of SUP 9.1; None when no wave remains."""

    action: str | None
    argv: tuple[str, ...] = ()
    wave: int | None = None


def resume_plan(
    request: Mapping[str, Any],
    journal: Mapping[str, Any] | None,
    selected: Sequence[int],
    completed: Collection[int],
    agents_live: bool,
) -> ResumePlan:
    """Where the next launcher of a run goes on.

    `selected` and `completed` are the waves of this run as known from all its launchers. A dry run, which leaves no
    trace of completed waves, and a run of which nothing is known start from the beginning.
    """
    argv = tuple(request.get("launcherArgs") or ())
    selection = request.get("waveSelection") or {}
    known = journal is not None and journal.get("phase") not in (None, "starting")
    if request.get("dryRun") or (not known and not completed):
        action = "resume-and-adopt" if agents_live else "relaunch-from-start"
        return ResumePlan(action, _with_flag(argv))
    rest = [wave for wave in sorted(selected) if wave not in completed]
    if selected and not rest:
        return ResumePlan(None)
    wave = rest[0] if rest else None
    at_wave = journal is not None and journal.get("waveNumber") == wave
    action = "resume-current-wave" if at_wave or wave is None else "resume-next-wave"
    if agents_live:
        action = "resume-and-adopt"
    start, end = selection.get("startWave"), selection.get("endWave")
    base = list(_base(argv))
    if selection.get("autoNext"):
        base.append("--auto-next")
    elif wave is not None:
        start = wave
    if start is not None:
        base += ["--start-wave", str(start)]
    if end is not None:
        base += ["--end-wave", str(end)]
    return ResumePlan(action, _with_flag(tuple(base)), wave)


def _base(argv: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for token in argv:
        if skip:
            skip = False
        elif token in _RANGE_FLAGS:
            skip = True
        elif token not in ("--auto-next", RESUME_FLAG):
            kept.append(token)
    return kept


def _with_flag(argv: tuple[str, ...]) -> tuple[str, ...]:
    return argv if RESUME_FLAG in argv else (*argv, RESUME_FLAG)


def progressed(key: Sequence[int], last: Sequence[int] | None) -> bool:
    """Whether a progress key grew since the last resume; keys are compared from left to right."""
    return last is None or tuple(key) > tuple(last)


def budget_left(state: Mapping[str, Any], key: Sequence[int], limit: int) -> bool:
    """Fact B: whether the launcher may be resumed once more. Spec: SUP 10.4."""
    if state.get("resumeAttempts", 0) >= HARD_LIMIT:
        return False
    return resumes_since_progress(state, key) < limit


def resumes_since_progress(state: Mapping[str, Any], key: Sequence[int]) -> int:
    """Resumes since the run last made progress; 0 when it did since the last one."""
    last = parse_key(state.get("lastProgressKey"))
    count: int = state.get("resumeAttemptsSinceProgress", 0)
    return 0 if last is not None and progressed(key, last) else count


def key_text(key: Sequence[int]) -> str:
    """A progress key as `state.json` holds it."""
    return ":".join(map(str, key))


def parse_key(text: object) -> tuple[int, ...] | None:
    """The inverse of `key_text`; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        return tuple(int(part) for part in text.split(":"))
    except ValueError:
        return None


def resume_delay(resumes: int, random: float) -> float:
    """Seconds before the resume after `resumes` ones without progress; `random` lies in 0..1."""
    return min(60.0, 1.0 * 2.0 ** min(resumes, 10)) * (0.5 + random / 2)


def deferral_delay(deferrals: int, random: float) -> float:
    """Seconds before a launch is tried again that found the lane busy. Spec: SUP 9.3 row 7."""
    return min(60.0, 5.0 * 2.0 ** min(deferrals, 10)) * (0.5 + random / 2)


def active_wave(state: Mapping[str, Any], journal: Mapping[str, Any] | None, done: bool, end: int | None) -> int | None:
    """The wave a run is at, or ended with. Spec: SUP 9.4."""
    number = (journal or {}).get("waveNumber")
    if isinstance(number, int):
        return number
    if done:
        selected = state.get("selectedWaves") or ()
        return selected[-1] if selected else end
    current: int | None = state.get("activeWave")
    return current
