"""What readers and writers of logs share. Spec: COORD 2."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING

from ..base.files import ensure_dir, log_lock_path
from ..base.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..base.locks import FileLock



@contextlib.contextmanager
def locked_log(path: str, shown: str = "") -> Iterator[FileLock]:
    """Holds a log from the reading to the append, so that nobody acts on a version that is already old.

    The lock is what `append_jsonl(..., lock=)` takes. LockHeldError after 5 s.
    """
    ensure_dir(os.path.dirname(path) or ".")
    with locked(log_lock_path(path), shown=shown or path, guarded=path) as lock:
        yield lock


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
