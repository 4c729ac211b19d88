"""What readers and writers of logs share. Spec: COORD 2."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING

from ..base.files import ensure_dir, log_lock_path, read_jsonl
from ..base.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..base.files import JsonlReading
    from ..base.locks import FileLock

PIECE = 4 << 20
"""Bytes of a log that are in memory at once while it is read."""


@contextlib.contextmanager
def locked_log(path: str, shown: str = "") -> Iterator[FileLock]:
    """Holds a log from the reading to the append, so that nobody acts on a version that is already old.

    The lock is what `append_jsonl(..., lock=)` takes. LockHeldError after 5 s.
    """
    ensure_dir(os.path.dirname(path) or ".")
    with locked(log_lock_path(path), shown=shown or path, guarded=path) as lock:
        yield lock


def read_pieces(path: str, offset: int, first_line: int) -> Iterator[JsonlReading]:
    """The whole lines of a log from a place on, piece by piece; the last piece may be empty. As `read_jsonl`."""
    size = PIECE
    while True:
        reading = read_jsonl(path, offset, first_line, offset + size)
        more = reading.next_offset >= offset and _size_of(path) > offset + size
        if more and reading.next_offset == offset:
            size *= 2  # a line longer than a piece
            continue
        yield reading
        if not more:
            return
        offset, first_line = reading.next_offset, reading.next_line


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No search for cycles meanwhile: records have none, and looking for some in 100,000 takes a third of the time.

    Freezing them for good would save later searches too, but whoever reads a long log often would never get them back.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
