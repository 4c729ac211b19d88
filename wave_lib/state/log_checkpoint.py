"""Checkpoints of long logs: what the lines up to some byte add up to, so that nobody has to fold them again.

Holds: nothing.
Writes: `checkpoints/<log>-wave-<n>.json`, a cache: without it the log is read from its start, to the same end.
When killed: the checkpoint before stays; one that does not fit the bytes of its log is not used.
Spec: COORD 2 (readers never write), 4, 7.3.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.files import Outcome, read_json, write_text
from .coordination_records import LogDiagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable

    JsonObject = dict[str, Any]

VERSION = 2
"""Another number when records are normalised or folded differently: checkpoints of before are then of no use."""
KIND = "wave-log-checkpoint"
LEAST = 1 << 20
"""Bytes of a log that are read faster than a checkpoint of them is checked."""
_CHUNK = 1 << 20


class Checkpoint(NamedTuple):
    """The first `size` bytes of a log: `content` is what they add up to, as the log's reader has it; `next_line` is the
    number of the line behind."""

    size: int
    next_line: int
    bad_lines: list[LogDiagnostic]
    content: JsonObject


class CheckpointFile:
    """The checkpoint of one log, for one reader of it; without a path there is none."""

    def __init__(self, path: str, log: str) -> None:
        self.path = path
        self._log = log
        self._saved = 0

    def read(self) -> Checkpoint | None:
        """The checkpoint, if it is whole, of this version, and of exactly the bytes that the log begins with."""
        if not self.path:
            return None
        try:
            reading = read_json(self.path, VERSION, KIND)
            found = reading.value
            if reading.outcome is not Outcome.WHOLE or found.get("schemaVersion") != VERSION:
                return None
            if found["sha256"] != _digest(self._log, found["size"]):
                return None
            bad = [LogDiagnostic(self._log, int(line), str(reason)) for line, reason in found["badLines"]]
            self._saved = found["size"]
            return Checkpoint(found["size"], int(found["nextLine"]), bad, found["content"])
        except (WaveError, KeyError, TypeError, ValueError):
            return None  # a cache that cannot be read is none

    def is_due(self, size: int) -> bool:
        """Whether a log of `size` bytes has grown enough since its last checkpoint for the next one to pay."""
        return bool(self.path) and size - self._saved >= max(LEAST, size // 8)

    def write(self, part: Checkpoint) -> None:
        """Write it, for writers only; a log that was cut meanwhile gets none. DiskError."""
        digest = _digest(self._log, part.size)
        if digest is None:
            return
        document = {
            "schemaVersion": VERSION,
            "kind": KIND,
            "size": part.size,
            "sha256": digest,
            "nextLine": part.next_line,
            "badLines": [(bad.line, bad.reason) for bad in part.bad_lines],
            "content": part.content,
        }
        write_text(self.path, json.dumps(document, separators=(",", ":")) + "\n", durable=False)
        self._saved = part.size


def pack(records: Iterable[JsonObject], fields: Iterable[str]) -> JsonObject:
    """Records that all have these fields, as what each has that the first has not: a fraction of the text to read."""
    rows = list(records)
    base = {key: rows[0][key] for key in fields} if rows else {}
    return {"base": base, "rows": [{key: row[key] for key in row if not _same(row[key], base, key)} for row in rows]}


def unpack(packed: JsonObject) -> list[JsonObject]:
    """The records of `pack`; equal values are shared between them."""
    base = packed["base"]
    return [{**base, **row} for row in packed["rows"]]


def _same(value: object, base: JsonObject, key: str) -> bool:
    return key in base and value == base[key] and type(value) is type(base[key])


def _digest(path: str, size: int) -> str | None:
    """SHA-256 of the first bytes of a file, None when it has fewer."""
    from hashlib import sha256

    digest, left = sha256(), size
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < size:
                return None
            while left > 0:
                chunk = file.read(min(left, _CHUNK))
                if not chunk:
                    return None
                digest.update(chunk)
                left -= len(chunk)
    except OSError:
        return None
    return digest.hexdigest()
