"""The coordination log of a wave: append, read, and the state its records add up to.

Holds: what was read of the log updated last; the log's kernel lock (`<log>.flock`) while it appends.
Writes: `coordination/wave-<n>.jsonl`, and `<log>.torn` when it mends a torn tail.
When killed: the log ends with a whole record or with a torn line that readers drop and the next writer sets aside.
Spec: COORD 2, 3.5, 3.6, 4.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.files import append_jsonl, read_jsonl, tail
from ..base.timestamps import iso_of, now_iso, parse_iso
from . import telemetry_sink
from .coordination_records import (
    FIELDS,
    OPEN_STATUSES,
    LogDiagnostic,
    is_normal,
    is_targeted,
    normalize_record,
    updated_record,
)
from .log_access import collector_paused, locked_log, read_pieces
from .log_checkpoint import Checkpoint, CheckpointFile, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..base.files import JsonlReading
    from ..definition.lane_paths import LanePaths
    from ..definition.wave_types import Agent

    JsonObject = dict[str, Any]

VIEWS = {
    "requests": "request",
    "acks": "ack",
    "blockers": "blocker",
    "claims": "claim",
    "evidence": "evidence",
    "decisions": "decision",
    "handoffs": "handoff",
    "clarifications": "clarification-request",
    "orchestratorGuidance": "orchestrator-guidance",
    "resolvedByPolicy": "resolved-by-policy",
    "humanEscalations": "human-escalation",
    "humanFeedback": "human-feedback",
    "integrationSummaries": "integration-summary",
}
"""View name of the serialised state -> record kind. Spec: COORD 4."""


class LogReading(NamedTuple):
    """What a log holds: the usable records in file order, and the lines that are none."""

    records: list[JsonObject]
    bad_lines: list[LogDiagnostic]


class CoordinationState(NamedTuple):
    """Materialised log: every version, and the latest version of each id sorted by (updatedAt, id). Spec: COORD 4.

    `first` is the first version of each id: what was said before anybody answered.
    """

    records: Sequence[JsonObject]
    latest: list[JsonObject]
    by_id: dict[str, JsonObject]
    by_kind: dict[str, list[JsonObject]]
    open: list[JsonObject]
    first: dict[str, JsonObject] = {}

    def of_kind(self, kind: str) -> list[JsonObject]:
        """Latest records of one kind."""
        return self.by_kind.get(kind, [])

    def open_of_kind(self, kind: str) -> list[JsonObject]:
        """Latest records of one kind that are open."""
        return [record for record in self.open if record["kind"] == kind]


class Versions(Sequence):  # type: ignore[type-arg]  # no subscript at run time: Python 3.9 is fine, mypy is told
    """Every version in a log: read only when somebody wants them, which is rare; to keep them all takes much memory."""

    def __init__(self, read: Callable[[], list[JsonObject]], added: Sequence[JsonObject] = ()) -> None:
        self.read = read
        self.added = list(added)
        self._whole: list[JsonObject] | None = None

    def _all(self) -> list[JsonObject]:
        if self._whole is None:
            self._whole = [*self.read(), *self.added]
        return self._whole

    def __getitem__(self, index: Any) -> Any:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == list(other)


def _key(record: JsonObject) -> tuple[str, str]:
    """What records are sorted by."""
    return _order_time(record["updatedAt"]), record["id"]


class _View:
    """Records sorted by (updatedAt, id); taking one in or out costs a search and a shift of the list."""

    def __init__(self, records: Sequence[JsonObject] = ()) -> None:
        self.records = list(records)

    def put(self, record: JsonObject) -> None:
        """Take in a record that is not there."""
        self.records.insert(self._place(record), record)

    def drop(self, record: JsonObject) -> None:
        """Take out a record that is there."""
        del self.records[self._place(record)]

    def _place(self, record: JsonObject) -> int:
        wanted, low, high = _key(record), 0, len(self.records)
        while low < high:  # `bisect_left` takes a key from Python 3.10 on
            middle = (low + high) // 2
            if _key(self.records[middle]) < wanted:
                low = middle + 1
            else:
                high = middle
        return low


_SORTED_AS_FAST = 20
"""One in so many records is put in its place as fast as all are sorted anew."""


class CoordinationFold:
    """Folds records in log order and keeps the sorted views up to date: the cost of an append is one record's.

    `add` takes records as read from the log; `state()` is a snapshot that later additions leave alone.
    """

    def __init__(self) -> None:
        self._records: list[JsonObject] = []
        self._unread: Callable[[], list[JsonObject]] | None = None
        self._by_id: dict[str, JsonObject] = {}
        self._first: dict[str, JsonObject] = {}
        self._latest = _View()
        self._open = _View()
        self._by_kind: dict[str, _View] = {}
        self._waiting: list[tuple[JsonObject | None, JsonObject]] | None = []  # for their place; None: all of them

    @classmethod
    def resume(cls, state: CoordinationState) -> CoordinationFold:
        """A fold that goes on where a state ended."""
        fold = cls()
        if isinstance(state.records, Versions):
            fold._unread, fold._records = state.records.read, list(state.records.added)
        else:
            fold._records = list(state.records)
        fold._by_id = dict(state.by_id)
        fold._first = dict(state.first)
        fold._latest, fold._open = _View(state.latest), _View(state.open)
        fold._by_kind = {kind: _View(records) for kind, records in state.by_kind.items()}
        return fold

    @classmethod
    def from_checkpoint(cls, latest: Iterable[JsonObject], first: Iterable[JsonObject]) -> CoordinationFold:
        """A fold of the latest version of each id; `first` are the first versions that differ from them."""
        fold = cls()
        fold._by_id = {record["id"]: record for record in latest}
        fold._first = {**fold._by_id, **{record["id"]: record for record in first}}
        fold._waiting = None
        return fold

    @property
    def by_id(self) -> Mapping[str, JsonObject]:
        """Latest version of each id; later additions change it."""
        return self._by_id

    def read_versions_by(self, read: Callable[[], list[JsonObject]]) -> None:
        """The versions until now are what `read` gives, when somebody wants them; none of them is kept here."""
        self._unread, self._records = read, []

    def add(self, record: JsonObject) -> None:
        """Fold one version: later values win key by key, `id` and `createdAt` of the first version stay.

        The views follow when somebody asks for them: who only appends does not.
        """
        record_id = record["id"]
        previous = self._by_id.get(record_id)
        if previous is None:
            self._first[record_id] = merged = record
        else:
            merged = {**previous, **record, "createdAt": previous["createdAt"]}
        self._records.append(record)
        self._by_id[record_id] = merged
        if self._waiting is not None:
            self._waiting.append((previous, merged))
            if len(self._waiting) * _SORTED_AS_FAST > len(self._by_id):
                self._waiting = None

    def _place_waiting(self) -> None:
        if self._waiting is None:
            self._fill()
        for previous, merged in self._waiting or ():
            if previous is not None:
                for view in self._views_of(previous):
                    view.drop(previous)
            for view in self._views_of(merged):
                view.put(merged)
        self._waiting = []

    def _views_of(self, record: JsonObject) -> list[_View]:
        views = [self._latest, self._by_kind.setdefault(record["kind"], _View())]
        return [*views, self._open] if record["status"] in OPEN_STATUSES else views

    def _fill(self) -> None:
        self._latest = _View(sorted(self._by_id.values(), key=_key))
        by_kind: dict[str, list[JsonObject]] = {}
        for record in self._latest.records:
            by_kind.setdefault(record["kind"], []).append(record)
        self._by_kind = {kind: _View(records) for kind, records in by_kind.items()}
        self._open = _View([record for record in self._latest.records if record["status"] in OPEN_STATUSES])

    def state(self) -> CoordinationState:
        """The present state; lists are copies, records are shared and never changed in place."""
        self._place_waiting()
        return CoordinationState(
            list(self._records) if self._unread is None else Versions(self._unread, self._records),
            list(self._latest.records),
            dict(self._by_id),
            {kind: list(view.records) for kind, view in self._by_kind.items() if view.records},
            list(self._open.records),
            dict(self._first),
        )


def _order_time(stamp: str) -> str:
    """A time stamp in the form whose text order is the order of time; what cannot be parsed sorts first."""
    if len(stamp) == 24 and stamp[10] == "T" and stamp[-1] == "Z":
        return stamp  # as this program writes it: no need to parse 100,000 of them
    seconds = parse_iso(stamp)
    return "" if seconds is None else iso_of(seconds)


def materialize(records: Iterable[JsonObject]) -> CoordinationState:
    """The state that records in log order add up to. Spec: COORD 4."""
    fold = CoordinationFold()
    for record in records:
        fold.add(record)
    return fold.state()


def serialize_state(state: CoordinationState) -> JsonObject:
    """Plain JSON of a state, with the keys of COORD 4."""
    by_agent: dict[str, list[JsonObject]] = {}
    by_target: dict[str, list[JsonObject]] = {}
    for record in state.latest:
        by_agent.setdefault(record["agentId"], []).append(record)
        for target in record["targets"]:
            by_target.setdefault(target, []).append(record)
    return {
        "records": list(state.records),
        "byId": state.by_id,
        "latestRecords": state.latest,
        "openRecords": state.open,
        "recordsByAgentId": by_agent,
        "recordsByTarget": by_target,
        **{view: state.of_kind(kind) for view, kind in VIEWS.items()},
    }


# --- reading --------------------------------------------------------------------------------------------------------


class CoordinationLog:
    """Incremental reader of one log file: `refresh` reads only what was appended since the last call.

    A log that became shorter (mended, restored) is read again from the start. With the path of a checkpoint the first
    reading goes on from there, if it is one of this very log; `save_checkpoint` is for writers (readers never write).
    """

    def __init__(self, path: str, checkpoint: str = "") -> None:
        self.path = path
        self._checkpoint = CheckpointFile(checkpoint, path)
        self._begun = False
        self._fold = CoordinationFold()
        self._offset = 0
        self._next_line = 1
        self._latest_raw: dict[str, JsonObject] = {}
        self._state: CoordinationState | None = None
        self.bad_lines: list[LogDiagnostic] = []

    def refresh(self) -> CoordinationState:
        """The state of the log as it stands on disk now."""
        with collector_paused():
            if self._read_on() or self._state is None:
                self._state = self._fold.state()
        return self._state

    def refresh_latest(self) -> Mapping[str, JsonObject]:
        """Only the latest version of each id, as it stands on disk now: a view that the next reading changes."""
        with collector_paused():
            if self._read_on():
                self._state = None
        return self._fold.by_id

    def save_checkpoint(self) -> bool:
        """Write a checkpoint when the log grew much since the last one. For writers only."""
        if self._state is None or not self._checkpoint.is_due(self._offset):
            return False
        state = self._state
        first = [record for record_id, record in state.first.items() if state.by_id[record_id] is not record]
        content = {"latest": pack(state.by_id.values(), FIELDS), "first": pack(first, FIELDS)}
        self._checkpoint.write(Checkpoint(self._offset, self._next_line, self.bad_lines, content))
        return True

    def _resume(self) -> None:
        found = self._checkpoint.read()
        if found is None:
            return
        try:
            fold = CoordinationFold.from_checkpoint(unpack(found.content["latest"]), unpack(found.content["first"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            return  # a cache that cannot be read is none
        self._fold = fold
        self._latest_raw = dict(fold.by_id)
        self._offset = found.size
        self._next_line = found.next_line
        self.bad_lines = found.bad_lines

    def _read_on(self) -> bool:
        """Fold what was appended; whether there was anything."""
        if not self._begun:
            self._resume()
        self._begun = True
        before = self._offset
        for reading in read_pieces(self.path, self._offset, self._next_line):
            if reading.next_offset < self._offset:
                self.__init__(self.path)  # type: ignore[misc]
                self._read_on()
                return True
            records, bad = parse_lines(self.path, reading, self._latest_raw, self._next_line)
            for record in records:
                self._fold.add(record)
            self._fold.read_versions_by(self._versions_until(reading.next_offset))
            self._next_line = reading.next_line
            self._offset = reading.next_offset
            self.bad_lines += bad
        return self._offset != before

    def _versions_until(self, end: int) -> Callable[[], list[JsonObject]]:
        path = self.path  # not `self`: fold and log would keep each other, and a long log is a lot to keep
        return lambda: parse_lines(path, read_jsonl(path, end=end), {}).records


_SHAPE = dict.fromkeys(FIELDS)
"""Records made of this one share their keys; as they come from JSON each has its own, three times as large."""


def parse_lines(
    path: str, reading: JsonlReading, previous: dict[str, JsonObject], first_line: int = 1
) -> LogReading:
    """Records and bad lines of what was just read; `previous` (id -> version) completes partial updates."""
    bad = [LogDiagnostic(path, line, "not a JSON object") for line, _ in reading.bad_lines]
    records: list[JsonObject] = []
    for line, raw in zip(reading.record_lines(first_line), reading.records):
        if is_normal(raw):
            raw = {**_SHAPE, **raw}
        else:
            try:
                raw = normalize_record({**previous.get(str(raw.get("id")), {}), **raw}, reading=True)
            except WaveError as error:
                bad.append(LogDiagnostic(path, line, str(error)))
                continue
        before = previous.get(raw["id"])
        kept = before is None or before["createdAt"] == raw["createdAt"]
        previous[raw["id"]] = raw if kept or before is None else {**raw, "createdAt": before["createdAt"]}
        records.append(raw)
    bad.sort(key=lambda found: found.line)
    return LogReading(records, bad)


def read_record_file(path: str) -> LogReading:
    """All records of any file of coordination records (log, triage log, tickets); absent means empty."""
    reading = read_jsonl(path)
    return parse_lines(path, reading, {})


def read_records(paths: LanePaths, wave: int) -> LogReading:
    """All versions in the coordination log of a wave, and its bad lines. Writes nothing."""
    return read_record_file(paths.coordination_log(wave))


def read_state(paths: LanePaths, wave: int) -> CoordinationState:
    """Materialised coordination log of a wave."""
    return materialize(read_records(paths, wave).records)


# --- writing --------------------------------------------------------------------------------------------------------

def append_record(
    paths: LanePaths, wave: int, record: Mapping[str, Any], *, agents: Sequence[Agent] = ()
) -> JsonObject:
    """Normalise and append one record, with the acknowledgements it implies, in one write; returns the record.

    Missing `lane`, `wave` and `project` come from `paths` and `wave`; `agents` says who owns which capability for the
    acknowledgement rule. StateError for a bad record. Spec: COORD 3.5, 3.6.
    """
    raw = {"lane": paths.lane, "wave": wave, "project": paths.project_id, **record}
    path = paths.coordination_log(wave)
    fresh = normalize_record(raw, now_iso())
    if not raw.get("id") and fresh["kind"] != "ack":
        with locked_log(path) as log:  # nothing in the log can change it, so that a long log need not be read
            fresh["id"] = _id_of_place(path, fresh)
            append_jsonl(path, fresh, lock=log)
        return fresh
    if fresh["kind"] == "ack":
        return update_log(path, lambda state: with_acknowledgements(state, raw, agents, now_iso()))[0]
    reader = _take_reader(path)
    with locked_log(path) as log:
        written = append_versions(path, reader.refresh_latest(), [fresh], log)
    _keep_reader(reader)
    return written[0]


def _id_of_place(path: str, record: JsonObject) -> str:
    """An id that no other record of the log gets: eight random digits repeat once in some ten thousand records.

    The place at which a record begins is its own; multiplied by an odd number it stays so and looks like any other id.
    """
    try:
        place = os.stat(path).st_size
    except OSError:
        place = 0
    if place and tail(path, 1) != "\n":
        return str(record["id"])  # behind a torn line, which is set aside first: the place is not known yet
    return f"coord-{record['kind']}-{(place * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF:08x}"


def update_log(path: str, decide: Callable[[CoordinationState], Sequence[Mapping[str, Any]]]) -> list[JsonObject]:
    """Read a log, ask `decide` what to append, append it: one locked step, one write. Returns what was appended.

    A record whose id exists already becomes its next version (later `updatedAt`, first `createdAt`). What is long is
    read before the lock is taken, and once only by a process that goes on updating the log. Spec: COORD 2.
    """
    reader = _take_reader(path)
    with locked_log(path) as log:
        state = reader.refresh()
        written = append_versions(path, state.by_id, decide(state), log)
    _keep_reader(reader)
    return written


_kept: dict[str, tuple[CoordinationLog, tuple[int, int]]] = {}
"""The log updated last, as far as it was read, and which file that was. Nobody else has it while it is used."""


def _take_reader(path: str) -> CoordinationLog:
    reader, file = _kept.pop(path, (None, None))
    if reader is None or file != _file_of(path):
        reader = CoordinationLog(path)
    reader.refresh_latest()
    return reader


def _keep_reader(reader: CoordinationLog) -> None:
    _kept.clear()
    _kept[reader.path] = reader, _file_of(reader.path)


def _file_of(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def append_versions(
    path: str, by_id: Mapping[str, JsonObject], raws: Sequence[Mapping[str, Any]], log: Any = None
) -> list[JsonObject]:
    """Append normalised records under a lock already held (`log`, from `locked_log`); returns them."""
    now = now_iso()
    known = dict(by_id)
    records = []
    for raw in raws:
        previous = known.get(str(raw.get("id")))
        if previous is None:
            record = normalize_record(raw, now)
        else:
            changes = {key: value for key, value in raw.items() if key not in ("createdAt", "updatedAt")}
            record = updated_record(previous, now, **changes)
        known[record["id"]] = record
        records.append(record)
    if records:
        append_jsonl(path, records, lock=log)
    telemetry_sink.emit(telemetry_sink.COORDINATION, records)
    return records


def with_acknowledgements(
    state: CoordinationState, raw: Mapping[str, Any], agents: Sequence[Agent], now: str
) -> list[JsonObject]:
    """A new record and what it implies: an `ack` acknowledges the open records it depends on. Spec: COORD 3.6."""
    record = normalize_record(raw, now)
    while not raw.get("id") and record["id"] in state.by_id:
        record = normalize_record(raw, now)  # another eight digits
    records = [record]
    if record["kind"] == "ack":
        author = record["agentId"]
        capabilities = {cap.lower() for agent in agents if agent.agent_id == author for cap in agent.capabilities}
        for named in record["dependsOn"]:
            target = state.by_id.get(named)
            if target is None or target["status"] != "open":
                continue
            if not target["targets"] or is_targeted(target, author, capabilities):
                records.append(updated_record(target, now, status="acknowledged"))
    return records
