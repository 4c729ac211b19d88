"""The progress journal of a supervised launcher: what a resumed launcher and the supervisor go by.

Holds: nothing.
Writes: `supervisor/runs/<runId>/launcher-progress.json` of the live tree; only the launcher of that run does.
When killed: the journal tells of the last step before; `finalized` is false, so the run counts as lost, not as over.

Spec: LAUNCH 14, SUP 4.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.files import read_json, write_json
from ..base.timestamps import now_iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    JsonObject = dict[str, Any]

PHASES = (
    "starting",
    "wave-started",
    "attempt-starting",
    "attempt-running",
    "adopting",
    "attempt-succeeded",
    "attempt-failed",
    "design-complete",
    "closure-running",
    "waiting-shared-component",
    "retry-queued",
    "recovery-queued",
    "wave-completed",
    "completed",
    "failed",
    "cancelled",
)
"""Phases in their order: the rank of a phase is part of the progress key of SUP 10.4."""

FINAL_DISPOSITIONS = ("completed", "failed", "cancelled")

_NUMBERS = ("launchGeneration", "waveNumber", "attemptNumber")
_ID_LISTS = ("selectedAgentIds", "launchedAgentIds", "completedAgentIds")
_TEXTS = ("resumeFromPhase", "closureStage")


def normalize_progress(payload: object) -> JsonObject:
    """Any JSON value as a journal: known keys only, in on-disk order, each of its type. Spec: SUP 4.6."""
    raw: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    disposition = raw.get("finalDisposition")
    return {
        "runId": _text(raw.get("runId")),
        "launchGeneration": _integer(raw.get("launchGeneration")),
        "seq": _integer(raw.get("seq")) or 0,
        "waveNumber": _integer(raw.get("waveNumber")),
        "attemptNumber": _integer(raw.get("attemptNumber")),
        "phase": _text(raw.get("phase")),
        "selectedWaves": _numbers(raw.get("selectedWaves")),
        "completedWaves": _numbers(raw.get("completedWaves")),
        **{key: _ids(raw.get(key)) for key in _ID_LISTS},
        **{key: _text(raw.get(key)) for key in _TEXTS},
        "forwardedClosureGaps": [gap for gap in _list(raw.get("forwardedClosureGaps")) if isinstance(gap, dict)],
        "gateSnapshotSummary": raw["gateSnapshotSummary"] if isinstance(raw.get("gateSnapshotSummary"), dict) else None,
        "finalized": raw.get("finalized") is True,
        "finalDisposition": disposition if disposition in FINAL_DISPOSITIONS else None,
        "exitCode": _integer(raw.get("exitCode")),
        "updatedAt": _text(raw.get("updatedAt")),
    }


def read_progress(path: str) -> JsonObject | None:
    """The normalised journal, None when there is no file; unparsable content reads as an empty journal."""
    reading = read_json(path)
    return None if reading.outcome.value == "absent" else normalize_progress(reading.value)


class ProgressJournal:
    """Writer of one run's journal. `path` None makes every write a no-op: the launch is not supervised."""

    def __init__(self, path: str | None, run_id: str | None = None, generation: int | None = None) -> None:
        self.path = path
        stored = read_progress(path) if path else None
        self._current = {**(stored or normalize_progress(None)), "runId": run_id, "launchGeneration": generation}

    @property
    def current(self) -> JsonObject:
        """The journal as last written or found."""
        return dict(self._current)

    def start(self, selected_waves: list[int]) -> None:
        """Phase `starting`: the waves are known, everything else begins anew. `completedWaves` of the run is kept."""
        kept = {key: self._current[key] for key in ("runId", "launchGeneration", "seq", "completedWaves")}
        self._current = {**normalize_progress(None), **kept}
        self.write("starting", selectedWaves=selected_waves)

    def write(self, phase: str, **changes: Any) -> None:
        """Merge `changes` (keys as on disk) into the journal, set its phase, and write it. Spec: LAUNCH 14."""
        if self.path is None:
            return
        merged = normalize_progress({**self._current, **changes, "phase": phase})
        merged["seq"] = self._current["seq"] + 1
        merged["updatedAt"] = now_iso()
        write_json(self.path, merged)
        self._current = merged

    def finish(self, disposition: str, exit_code: int) -> None:
        """The last entry: phase and disposition are the same word (`completed`, `failed`, `cancelled`)."""
        self.write(disposition, finalized=True, finalDisposition=disposition, exitCode=exit_code)


def progress_key(journal: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """How far a journal got: it grows whenever the run made progress (SUP 10.4; terminal records are added there)."""
    phase = journal.get("phase")
    return (
        len(journal.get("completedWaves") or ()),
        -1 if journal.get("waveNumber") is None else journal["waveNumber"],
        journal.get("attemptNumber") or 0,
        PHASES.index(phase) if phase in PHASES else -1,
        len(journal.get("completedAgentIds") or ()),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, (list, tuple)) else []  # type: ignore[return-value]


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _numbers(value: object) -> list[int]:
    return sorted({number for number in map(_integer, _list(value)) if number is not None})


def _ids(value: object) -> list[str]:
    return list(dict.fromkeys(text for text in map(_text, _list(value)) if text))
