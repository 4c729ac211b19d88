"""The one door to files: how each kind is written; reading is that of `file_reading`. Spec: CFG 1, COORD 2, SUP 4.

Holds:       nothing between calls; an append holds the lock `<log>.flock` while it writes.
Writes:      whole files by temp file, fsync, `os.replace`, fsync of the folder; logs by one `write` of whole lines.
When killed: a file is the old one or the new one, with perhaps a stray `.<name>.*.tmp` (`sweep_temp_files`); a log may
             end in half a line, which readers drop and report and the next append moves to `<log>.torn`.

Exceptions, each for a reason: the lease (`base/lease.py`, in place under its lock), owner records where there is no
flock (`base/owner_files.py`), the exit record of an agent (a shell's `mv`), its log (`open_log`, shared with it).
"""

from __future__ import annotations

import errno
import functools
import json
import os
import stat
from typing import TYPE_CHECKING

from .durable_steps import DurableStep
from .errors import DiskError, StateError
from .file_reading import (
    JsonlReading,
    Outcome,
    Reading,
    disk_error,
    load_json,
    read_bytes,
    read_json,
    read_jsonl,
    read_text,
    tail,
)
from .locks import FileLock, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "JsonlReading",
    "Outcome",
    "Reading",
    "Unforced",
    "append_jsonl",
    "append_text",
    "copy_file",
    "create_bytes",
    "disk_error",
    "ensure_dir",
    "load_json",
    "log_lock_path",
    "make_fifo",
    "mask_in_log",
    "move",
    "move_aside",
    "on_full_disk",
    "open_log",
    "publish",
    "read_bytes",
    "read_json",
    "read_jsonl",
    "read_text",
    "remove",
    "remove_empty_folder",
    "remove_tree",
    "sweep_temp_files",
    "tail",
    "write_bytes",
    "write_json",
    "write_text",
]

_GONE = (FileNotFoundError, NotADirectoryError)
_fdatasync = getattr(os, "fdatasync", os.fsync)
_forcing = True


class Unforced:
    """Within it this process forces nothing to the disk: for a tree that its next use writes anew (a dry run)."""

    def __enter__(self) -> None:
        global _forcing
        _forcing = False

    def __exit__(self, *error: object) -> None:
        global _forcing
        _forcing = True


# --- a full disk -----------------------------------------------------------------------------------------------------

_on_full_disk: Callable[[DiskError, int], bool] | None = None


def on_full_disk(ask: Callable[[DiskError, int], bool] | None) -> None:
    """From now on `ask(error, tries)` is called when a write finds no space: True tries again, after its own pause.

    For long-lived processes whose work would be lost with the write; None, as at the beginning, lets the error through.
    """
    global _on_full_disk
    _on_full_disk = ask


def _patient(write: F) -> F:
    """Every write of this module either happened whole or not at all, so that it can be tried again."""

    def tried(*arguments: Any, **options: Any) -> Any:
        tries = 0
        while True:
            try:
                return write(*arguments, **options)
            except DiskError as error:
                tries += 1
                if error.key != "no-space" or _on_full_disk is None or not _on_full_disk(error, tries):
                    raise

    return functools.update_wrapper(tried, write)  # type: ignore[return-value]


# --- writing whole files ---------------------------------------------------------------------------------------------


def write_json(
    path: str, value: Any, *, durable: bool = True, if_changed: bool = False, mode: int = 0o600
) -> bool:
    """Writes two-space JSON with a final newline; see `write_bytes`. Raises StateError for what is not JSON."""
    return write_bytes(path, _encode(value, path, indent=2), durable=durable, if_changed=if_changed, mode=mode)


def write_text(path: str, text: str, *, durable: bool = True, if_changed: bool = False, mode: int = 0o600) -> bool:
    """Writes text as UTF-8; see `write_bytes`."""
    data = text.encode("utf-8", "surrogateescape" if _escaped_bytes_only(text) else "replace")
    return write_bytes(path, data, durable=durable, if_changed=if_changed, mode=mode)


@_patient
def write_bytes(
    path: str, data: bytes, *, durable: bool = True, if_changed: bool = False, mode: int = 0o600
) -> bool:
    """Replaces a file atomically; True when it was written.

    Missing parents are made. `durable=False` skips both fsyncs (projections and caches only); `if_changed` skips a
    write of equal bytes. `mode` 0644 is for files of the user's repository. Raises DiskError; the old file then stays.
    """
    if if_changed and read_bytes(path) == data:
        return False
    folder = os.path.dirname(path) or "."
    with DurableStep("write", path):
        try:
            ensure_dir(folder, 0o700 if mode & 0o077 == 0 else 0o755, durable)
            fresh = _write_fresh(path, data, durable, mode)
            try:
                os.replace(fresh, path)
            except OSError:
                _unlink_quietly(fresh)
                raise
            if durable:
                _sync_folder(folder)
        except OSError as error:
            raise disk_error(path, error) from None
    return True


@_patient
def create_bytes(path: str, data: bytes, *, durable: bool = True, mode: int = 0o644) -> bool:
    """Makes a file where there is none; False, and nothing is changed, when the path is taken. WORK 2.3.

    The file is there whole or not at all. Missing parents are made. Raises DiskError.
    """
    with DurableStep("create", path):
        try:
            ensure_dir(os.path.dirname(path) or ".", 0o700 if mode & 0o077 == 0 else 0o755, durable)
            fresh = _write_fresh(path, data, durable, mode)
            try:
                os.link(fresh, path)  # fails when the path is taken, as a rename would not
            except FileExistsError:
                return False
            finally:
                _unlink_quietly(fresh)
            if durable:
                _sync_folder(os.path.dirname(path) or ".")
        except OSError as error:
            raise disk_error(path, error) from None
    return True


def copy_file(source: str, target: str, *, durable: bool = True, mode: int = 0o600) -> bool:
    """Copies a file's bytes atomically; False when the source is missing."""
    data = read_bytes(source)
    return data is not None and write_bytes(target, data, durable=durable, mode=mode)


def _write_fresh(path: str, data: bytes, durable: bool, mode: int) -> str:
    """A new temp file in the folder of `path`. Fresh names: a stray one of a killed writer can do no harm."""
    folder, name = os.path.split(path)
    fresh = os.path.join(folder, f".{name[:80]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if durable and _forcing:
            os.fsync(fd)
    except BaseException:
        _unlink_quietly(fresh)
        raise
    finally:
        os.close(fd)
    return fresh


def _encode(value: Any, path: str, indent: int | None = None) -> bytes:
    separators = None if indent else (",", ":")
    try:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
            return text.encode("utf-8") + b"\n"
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form, but an escape
            return json.dumps(value, allow_nan=False, indent=indent, separators=separators).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"cannot be written as JSON: {error}", path) from None


def _escaped_bytes_only(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


# --- appending to logs -----------------------------------------------------------------------------------------------


def log_lock_path(path: str) -> str:
    """The lock of a log: the sidecar `<log>.flock`. COORD 2."""
    return path + ".flock"


def append_jsonl(
    path: str,
    records: dict[str, Any] | Iterable[dict[str, Any]],
    *,
    lock: FileLock | None = None,
    durable: bool = True,
    shown: str = "",
) -> int:
    """Appends one record or several as whole lines in a single write; returns the size of the log afterwards.

    Who reads before the append and decides by it holds `locked(log_lock_path(path))` over both and passes the lock.
    A torn tail is moved to `<path>.torn` first; after a short write, or an fsync that failed, the log is cut back to
    what it was. Raises DiskError, StateError, LockHeldError (after 5 s).
    """
    batch = [records] if isinstance(records, dict) else list(records)
    data = b"".join(_encode(record, path) for record in batch)
    return _append(path, data, lock, durable, shown)


@_patient
def _append(path: str, data: bytes, lock: FileLock | None, durable: bool, shown: str) -> int:
    if lock is not None:
        return _append_locked(path, data, durable)
    try:
        ensure_dir(os.path.dirname(path) or ".")
    except OSError as error:
        raise disk_error(path, error) from None
    with locked(log_lock_path(path), shown=shown or path, guarded=path):
        return _append_locked(path, data, durable)


def _append_locked(path: str, data: bytes, durable: bool) -> int:
    with DurableStep("append", path):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(path, error) from None
        try:
            end = os.fstat(fd).st_size
            is_new = end == 0
            if end and os.pread(fd, 1, end - 1) != b"\n":
                end = _move_torn_tail_aside(path, fd, end)
            if not data:
                return end
            _write_whole_or_not_at_all(fd, data, end, durable)
            if durable and is_new:
                _sync_folder(os.path.dirname(path) or ".")
            return end + len(data)
        except OSError as error:
            raise disk_error(path, error) from None
        finally:
            os.close(fd)


def _write_whole_or_not_at_all(fd: int, data: bytes, end: int, durable: bool) -> None:
    try:
        written = os.write(fd, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable and _forcing:
            _fdatasync(fd)
    except OSError:
        os.ftruncate(fd, end)  # half a line never stays
        raise


def _move_torn_tail_aside(path: str, fd: int, size: int) -> int:
    """Cuts the log back to its last newline; what stood behind it is kept in `<path>.torn`. Returns the new size."""
    start, torn = size, b""
    while start and b"\n" not in torn:
        step = min(start, 65536)
        start -= step
        torn = os.pread(fd, step, start) + torn
    cut = start + torn.rfind(b"\n") + 1
    torn_fd = os.open(path + ".torn", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(torn_fd, torn[cut - start :] + b"\n")
        os.fsync(torn_fd)
    finally:
        os.close(torn_fd)
    os.ftruncate(fd, cut)
    return cut


# --- folders, removal, special files ---------------------------------------------------------------------------------


def ensure_dir(path: str, mode: int = 0o700, durable: bool = True) -> None:
    """Makes a folder and its missing parents. `durable=False`: they hold projections and caches. Raises OSError."""
    if os.path.isdir(path or "."):
        return
    parent = os.path.dirname(path.rstrip("/"))
    if parent and parent != path:
        ensure_dir(parent, mode, durable)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        if durable:
            _sync_folder(parent or ".")


def remove(path: str) -> bool:
    """Removes a file; False when there was none. Raises DiskError."""
    with DurableStep("remove", path):
        try:
            os.unlink(path)
        except _GONE:
            return False
        except OSError as error:
            raise disk_error(path, error, "remove") from None
    return True


def remove_empty_folder(path: str) -> bool:
    """Removes a folder that holds nothing; False when it holds something, is no folder, or is missing."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def remove_tree(path: str) -> None:
    """Removes a folder with all it holds; a missing one is no error. Never follows symbolic links. Raises DiskError."""
    import shutil

    try:
        shutil.rmtree(path)
    except _GONE:
        pass
    except OSError as error:
        raise disk_error(path, error, "remove") from None


@_patient
def publish(staged: str, path: str) -> None:
    """Renames a finished file or folder to its place, durably: it is there whole or not at all. SUP 7.4."""
    with DurableStep("publish", path):
        try:
            os.rename(staged, path)
            _sync_folder(os.path.dirname(path) or ".")
        except OSError as error:
            raise disk_error(path, error) from None


def move(source: str, target: str) -> bool:
    """Renames a file of a cache, not durably; False when it is gone. Missing parents of the target are made."""
    with DurableStep("move", target):
        try:
            ensure_dir(os.path.dirname(target) or ".")
            os.rename(source, target)
        except _GONE:
            return False
        except OSError as error:
            raise disk_error(target, error) from None
    return True


def move_aside(path: str, suffix: str) -> str:
    """Renames a damaged file to `<path>.<suffix>` (numbered when taken), so that it is kept; returns the new path."""
    target, number = f"{path}.{suffix}", 1
    while os.path.lexists(target):
        number += 1
        target = f"{path}.{suffix}-{number}"
    publish(path, target)
    return target


@_patient
def open_log(path: str, truncate: bool = False) -> int:
    """A descriptor that appends to a plain-text log, for a child's stdout and stderr. The caller closes it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
    try:
        ensure_dir(os.path.dirname(path) or ".")
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise disk_error(path, error) from None


@_patient
def append_text(path: str, text: str) -> None:
    """Appends whole lines to a plain-text log in one write; no lock, no fsync: for people to read.

    They begin a new line even when the last one has no end: a marker that another program printed last, without a
    line feed, must stay a line of its own.
    """
    fd = open_log(path)
    try:
        unfinished = os.fstat(fd).st_size > 0 and tail(path, 1) != "\n"
        os.write(fd, (("\n" if unfinished else "") + text).encode("utf-8", "replace"))
    except OSError as error:
        raise disk_error(path, error) from None
    finally:
        os.close(fd)


def mask_in_log(path: str, words: list[bytes]) -> int:
    """Overwrites words of a plain-text log with asterisks, in place, so that offsets hold and a writer may go on.

    Returns how many were found; an absent log holds none.
    """
    longest, found = max(map(len, words), default=0), 0
    if not longest or not os.path.exists(path):
        return 0
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            start = 0
            while True:
                piece = os.pread(fd, 1 << 20, start)
                for word in words:
                    at = piece.find(word)
                    while at >= 0:
                        found += os.pwrite(fd, b"*" * len(word), start + at) > 0
                        at = piece.find(word, at + len(word))
                if len(piece) < longest:
                    return found
                start += len(piece) - longest + 1  # a word may lie across two pieces
        finally:
            os.close(fd)
    except OSError as error:
        raise disk_error(path, error) from None


def make_fifo(path: str) -> bool:
    """Makes a FIFO, or keeps the one that is there; False where the file system knows none."""
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
    return True


def sweep_temp_files(folder: str, older_than_seconds: float, now: float) -> list[str]:
    """Removes stray temp files of killed writers; returns their names. `now` in seconds since 1970."""
    swept = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    for name in names:
        path = os.path.join(folder, name)
        try:
            if name.startswith(".") and name.endswith(".tmp") and now - os.stat(path).st_mtime > older_than_seconds:
                os.unlink(path)
                swept.append(name)
        except OSError:
            continue
    return swept


def _sync_folder(folder: str) -> None:
    if not _forcing:
        return
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):  # some file systems sync no folders
            raise
    finally:
        os.close(fd)


def _unlink_quietly(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
