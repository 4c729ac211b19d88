"""A coordination log in memory while a refresh decides: what was read plus what is going to be appended.

Pure. Each decision sees the records of the decisions before it, as if they had been written and read back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.coordination_records import is_open, normalize_record, updated_record
from ..state.coordination_store import CoordinationFold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..state.coordination_store import CoordinationState

    JsonObject = dict[str, Any]


class WorkingLog:
    """`state` is what holds now, `appended` what has to be written for it; `place` completes new records."""

    def __init__(self, state: CoordinationState, place: Mapping[str, Any], now: str) -> None:
        self.state = state
        self.appended: list[JsonObject] = []
        self._place = dict(place)
        self.now = now
        self._fold: CoordinationFold | None = None  # made when something is appended: rarely

    def extend(self, records: Iterable[JsonObject]) -> None:
        """Append whole records."""
        added = list(records)
        if not added:
            return
        self.appended += added
        if self._fold is None:
            self._fold = CoordinationFold.resume(self.state)
        for record in added:
            self._fold.add(record)
        self.state = self._fold.state()

    def create(self, **raw: Any) -> JsonObject:
        """A new launcher record; appended unless `append=False`."""
        append = raw.pop("append", True)
        record = normalize_record({"agentId": "launcher", "source": "launcher", **self._place, **raw}, self.now)
        if append:
            self.extend([record])
        return record

    def update(self, record: Mapping[str, Any], **changes: Any) -> JsonObject:
        """The next version of a record, appended."""
        attempt = self._place.get("attempt")
        updated = updated_record(record, self.now, **{"attempt": attempt, **changes})
        self.extend([updated])
        return updated

    def open_escalations(self, closure_condition: str) -> list[JsonObject]:
        """Open human escalations with this closure condition."""
        return [
            record
            for record in self.state.of_kind("human-escalation")
            if is_open(record) and record["closureCondition"] == closure_condition
        ]


def with_records(state: CoordinationState, added: Iterable[JsonObject]) -> CoordinationState:
    """The state after these records: only the views that they touch are made anew."""
    fold = CoordinationFold.resume(state)
    for record in added:
        fold.add(record)
    return fold.state()
