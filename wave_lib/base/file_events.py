"""Linux: the kernel tells of changes in a folder (inotify). Only the fact is used; what changed is asked by `stat`.

Only long-lived waiters import this: `ctypes` costs several milliseconds.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _DELETE_SELF = 0x2, 0x40, 0x80, 0x100, 0x200, 0x400
_INTERESTING = _MODIFY | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF


class FileEvents:
    """A descriptor that becomes readable when something changes in one of the added folders."""

    def __init__(self, fd: int, libc: Any) -> None:
        self.fd = fd
        self._libc = libc

    @classmethod
    def open(cls) -> FileEvents | None:
        """None where the system offers no inotify, or no more of it."""
        if not sys.platform.startswith("linux"):
            return None
        try:
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        except (ImportError, OSError, AttributeError):
            return None
        return cls(fd, libc) if fd >= 0 else None

    def add(self, folder: str) -> bool:
        """False when the folder cannot be watched (missing, or the limit is reached). Adding it twice is no error."""
        return bool(self._libc.inotify_add_watch(self.fd, os.fsencode(folder), _INTERESTING) >= 0)

    def drain(self) -> None:
        """Takes all pending events out."""
        try:
            while os.read(self.fd, 65536):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self.fd)
