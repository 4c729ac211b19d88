"""Checkpoints of long logs: what the lines up to some byte add up to, so that nobody has to fold them again.

Holds: nothing.
Writes: `checkpoints/coordination-wave-<n>.json`, a cache: without it the log is read from its start, to the same end.
When killed: the checkpoint before stays; one that does not fit the bytes of its log is not used.
Spec: COORD 2 (readers never write), 4.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import WaveError
from ..base.files import Outcome, read_json, write_text

if TYPE_CHECKING:
    JsonObject = dict[str, Any]

VERSION = 1
"""Another number when records are normalised or folded differently: checkpoints of before are then of no use."""
KIND = "wave-log-checkpoint"
LEAST = 1 << 20
"""Bytes of a log that are read faster than a checkpoint of them is checked."""
_CHUNK = 1 << 20


class Checkpoint(NamedTuple):
    """The first `size` bytes of a log: latest version of each id in the order of their first, and `first` versions
    where they differ; `bad_lines` are (line, reason), `next_line` is the number of the line behind."""

    size: int
    next_line: int
    bad_lines: list[tuple[int, str]]
    latest: list[JsonObject]
    first: list[JsonObject]


def is_due(size: int, saved: int) -> bool:
    """Whether a log of `size` bytes has grown enough since its last checkpoint for the next one to pay."""
    return size - saved >= max(LEAST, size // 8)


def write_checkpoint(path: str, log: str, part: Checkpoint) -> None:
    """Write the checkpoint of a log's first bytes; a log that was cut meanwhile gets none. DiskError."""
    digest = _digest(log, part.size)
    if digest is None:
        return
    document = {
        "schemaVersion": VERSION,
        "kind": KIND,
        "size": part.size,
        "sha256": digest,
        "nextLine": part.next_line,
        "badLines": part.bad_lines,
        "latest": part.latest,
        "first": part.first,
    }
    write_text(path, json.dumps(document, separators=(",", ":")) + "\n", durable=False)


def read_checkpoint(path: str, log: str) -> Checkpoint | None:
    """The checkpoint, if it is whole, of this version, and of exactly the bytes that the log begins with."""
    try:
        reading = read_json(path, VERSION, KIND)
        found = reading.value
        if reading.outcome is not Outcome.WHOLE or found.get("schemaVersion") != VERSION:
            return None
        if found["sha256"] != _digest(log, found["size"]):
            return None
        bad = [(int(line), str(reason)) for line, reason in found["badLines"]]
        return Checkpoint(found["size"], int(found["nextLine"]), bad, found["latest"], found["first"])
    except (WaveError, KeyError, TypeError, ValueError):
        return None  # a cache that cannot be read is none


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
