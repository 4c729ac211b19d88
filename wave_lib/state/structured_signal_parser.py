"""The markers an agent printed: its log, streamed line by line, becomes `Signals`.

Reads only; a log of any size costs constant memory. Spec: GATE 3.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from .event_lines import AGENT, EventReader, EventText, parse_event_line
from .marker_grammar import MARKERS
from .marker_line import ParsedLine, parse_marker_line, strip_escapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Signals", "collect_text", "extract_markers", "log_lines", "parse_marker_line", "scan_text"]

MAX_LINE_BYTES = 8 << 20
SAMPLES = 3
BUCKETS = tuple(kind for kind in MARKERS if kind != "phase")
_CHUNK = 1 << 18
_LINE_END = re.compile(r"\r\n|\n|\r")
# First bytes of a line that may be a marker, a list item, a fence, an event or coloured; anything else is prose.
_INTERESTING = frozenset(b"[{`*-+0123456789\x1b\xc2")


class Signals(NamedTuple):
    """What an agent's log claims. Spec: GATE 3.4, 3.5.

    `latest` has the winning marker of each single-valued kind (`proof`, `verdict`, `phase`, …) with the fields of its
    row in `marker_grammar`; the others are lists in order of first appearance. `diagnostics` is
    `structuredSignalDiagnostics`.
    """

    latest: dict[str, dict[str, Any]]
    components: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    deployments: list[dict[str, Any]]
    infra: list[dict[str, Any]]
    diagnostics: dict[str, Any]


class _Fences:
    """The code-fence rule of one text: tells which candidate lines count. Spec: GATE 3.3."""

    def __init__(self, emit: Callable[[ParsedLine], None]) -> None:
        self._emit = emit
        self._block: list[ParsedLine] | None = None
        self._prose = False

    @property
    def open(self) -> bool:
        return self._block is not None

    def line(self, line: str) -> None:
        if "\x1b" in line:
            line = strip_escapes(line)
        text = line.strip()
        if text.startswith("```"):
            self._fence(bool(text.lstrip("`").strip()))
            return
        candidate = parse_marker_line(text)
        if self._block is None:
            if candidate:
                self._emit(candidate)
        elif candidate:
            self._block.append(candidate)
        elif text:
            self._prose = True

    def prose(self) -> None:
        """A line that is known to be neither fence nor candidate nor blank."""
        self._prose = True

    def end(self) -> None:
        """The text ends; an open block counts line by line."""
        for candidate in self._block or ():
            self._emit(candidate)
        self._block = None

    def _fence(self, has_info: bool) -> None:
        if self._block is not None and not has_info:
            if self._prose:
                self._block = None
            self.end()
            return
        self.end()
        self._block, self._prose = [], False


class _Collector:
    """Applies "which one wins" and counts. Spec: GATE 3.4, 3.5."""

    def __init__(self) -> None:
        self.latest: dict[str, dict[str, Any]] = {}
        self.keyed: dict[str, dict[Any, dict[str, Any]]] = {"component": {}, "gap": {}, "deploy": {}, "infra": {}}
        self.buckets: dict[str, dict[str, Any]] = {kind: _bucket() for kind in BUCKETS}
        self.seen_components: set[str] = set()
        self.oversized = 0

    def accept(self, candidate: ParsedLine) -> None:
        kind = candidate.kind
        if kind is None:
            return
        if kind in self.buckets:
            self._count(self.buckets[kind], candidate)
        values = candidate.values
        if values is None:
            return
        if kind not in self.keyed:
            self.latest[kind] = values
        elif kind == "component":
            self.keyed[kind][values["componentId"]] = values
        elif kind == "gap":
            self.keyed[kind].setdefault((values["kind"], values["detail"]), values)
        elif kind == "deploy":
            self.keyed[kind][values["service"]] = values
        else:
            self.keyed[kind][values["kind"], values["target"]] = values

    def ignore(self, candidate: ParsedLine) -> None:
        if candidate.kind in self.buckets:
            self.buckets[candidate.kind]["ignoredToolCount"] += 1

    def _count(self, bucket: dict[str, Any], candidate: ParsedLine) -> None:
        bucket["rawCount"] += 1
        bucket["unknownKeysSeen"].update(candidate.unknown_keys)
        component = candidate.raw_values.get("component") if candidate.kind == "component" else None
        if component:
            self.seen_components.add(component)
        if candidate.values is None:
            bucket["rejectedCount"] += 1
            sample: dict[str, Any] = {
                "line": candidate.line,
                "rawValues": candidate.raw_values,
                "unknownKeys": list(candidate.unknown_keys),
                "reason": candidate.reason,
            }
            if component:
                sample["componentId"] = component
            _keep_last(bucket["rejectedSamples"], sample)
            return
        bucket["acceptedCount"] += 1
        if candidate.normalized:
            bucket["normalizedCount"] += 1
            _keep_last(bucket["normalizedSamples"], {"from": candidate.line, "to": candidate.canonical})

    def signals(self) -> Signals:
        diagnostics: dict[str, Any] = {}
        for kind, bucket in self.buckets.items():
            bucket["unknownKeysSeen"] = sorted(bucket["unknownKeysSeen"])
            diagnostics[kind] = bucket
        diagnostics["component"]["seenComponentIds"] = sorted(self.seen_components)
        if self.oversized:
            diagnostics["oversizedLineCount"] = self.oversized
        lists = [list(self.keyed[kind].values()) for kind in ("component", "gap", "deploy", "infra")]
        return Signals(self.latest, lists[0], lists[1], lists[2], lists[3], diagnostics)


def extract_markers(
    source: str | Iterable[str], offset: int = 0, ignore_ranges: Sequence[Sequence[int]] = ()
) -> Signals:
    """The markers of a log file (a path) or of given lines.

    `offset` and `ignore_ranges` (pairs of begin and end, bytes of the file) leave out what is not this attempt's own
    output; both only apply to a path. A missing or unreadable file gives no markers. Spec: GATE 3.1.
    """
    collector = _Collector()
    own, reader = _Fences(collector.accept), EventReader()
    if isinstance(source, str):
        for raw in log_lines(source, offset, ignore_ranges):
            if raw is None:
                collector.oversized += 1
                continue
            start = raw.lstrip()
            if start and start[0] not in _INTERESTING:
                own.prose()
            elif start:
                _feed(raw.decode("utf-8", "replace"), own, reader, collector)
    else:
        for line in source:
            _feed(line, own, reader, collector)
    own.end()
    return collector.signals()


def scan_text(text: str) -> Signals:
    """The markers of one text, such as a file that Wave ships. Spec: GATE 2.6."""
    return extract_markers(_LINE_END.split(text))


def log_lines(path: str, offset: int = 0, ignore_ranges: Sequence[Sequence[int]] = ()) -> Iterator[bytes | None]:
    """Lines of a file without their ends, from `offset`, without the ignored ranges; None for an oversized line."""
    carry, oversized = b"", False
    for chunk in _pieces(path, offset, ignore_ranges):
        lines = (carry + chunk).splitlines(keepends=True)
        # A trailing CR may be the first half of CR LF, so it waits for the next piece.
        carry = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            line = line.rstrip(b"\r\n")
            yield None if oversized or len(line) > MAX_LINE_BYTES else line
            oversized = False
        if len(carry) > MAX_LINE_BYTES:
            carry, oversized = b"", True
    if carry or oversized:
        yield None if oversized else carry.rstrip(b"\r\n")


def collect_text(path: str, offset: int = 0, ignore_ranges: Sequence[Sequence[int]] = (), limit: int = 1 << 16) -> str:
    """The end of what the agent itself said: plain lines, its event texts, error fields. Spec: GATE 5."""
    from collections import deque

    kept: deque[str] = deque()
    size = 0
    reader = EventReader()
    for raw in log_lines(path, offset, ignore_ranges):
        if not raw:
            continue
        line = raw.decode("utf-8", "replace")
        event = parse_event_line(line.strip())
        texts = [line] if event is None else [text.text for text in reader.texts(event) if text.provenance != "tool"]
        for text in texts:
            kept.append(text[-limit:])
            size += len(kept[-1]) + 1
        while len(kept) > 1 and size - len(kept[0]) > limit:
            size -= len(kept.popleft()) + 1
    return "\n".join(kept)[-limit:]


def _feed(line: str, own: _Fences, reader: EventReader, collector: _Collector) -> None:
    event = parse_event_line(line.strip())
    if event is None:
        own.line(line)
        return
    for text in reader.texts(event):
        _scan_event_text(text, collector)


def _scan_event_text(text: EventText, collector: _Collector) -> None:
    if text.provenance != AGENT and text.provenance != "tool":
        return
    fences = _Fences(collector.accept if text.counts else collector.ignore)
    for line in _LINE_END.split(text.text):
        fences.line(line)
    fences.end()


def _pieces(path: str, offset: int, ignore_ranges: Sequence[Sequence[int]]) -> Iterator[bytes]:
    """The bytes of a file that count, in pieces."""
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        position = max(offset, 0)
        for begin, end in [*sorted(_clean_ranges(ignore_ranges)), (-1, -1)]:
            stop = os.fstat(file.fileno()).st_size if begin < 0 else begin
            file.seek(position)
            while position < stop:
                chunk = file.read(min(_CHUNK, stop - position))
                if not chunk:
                    break
                position += len(chunk)
                yield chunk
            position = max(position, end)


def _clean_ranges(ranges: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    pairs = []
    for item in ranges if isinstance(ranges, (list, tuple)) else ():
        is_pair = isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(edge, int) for edge in item)
        if is_pair and 0 <= item[0] < item[1]:
            pairs.append((item[0], item[1]))
    return pairs


def _bucket() -> dict[str, Any]:
    return {
        "rawCount": 0,
        "acceptedCount": 0,
        "normalizedCount": 0,
        "rejectedCount": 0,
        "rejectedSamples": [],
        "normalizedSamples": [],
        "unknownKeysSeen": set(),
        "ignoredToolCount": 0,
    }


def _keep_last(samples: list[Any], sample: Any) -> None:
    samples.append(sample)
    del samples[:-SAMPLES]
