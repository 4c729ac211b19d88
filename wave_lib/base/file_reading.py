"""Reading files: the five outcomes told apart, logs line by line. Nothing here writes. Spec: CFG 1, COORD 2, SUP 4."""

from __future__ import annotations

import enum
import errno
import json
import os
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .errors import DiskError, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_GONE = (FileNotFoundError, NotADirectoryError)


class Outcome(enum.Enum):
    """What reading a file can come to. None of them means "start over"."""

    ABSENT = "absent"
    WHOLE = "whole"
    TORN = "torn"
    FOREIGN = "foreign"
    NEWER = "newer"


class Reading(NamedTuple):
    """`value` is there when WHOLE, and to be shown only when FOREIGN or NEWER; `detail` says what is wrong."""

    outcome: Outcome
    value: Any = None
    detail: str = ""


class JsonlReading(NamedTuple):
    """The whole lines of a log from an offset on.

    `records` are the objects; `next_offset` is where the next reading goes on (smaller than the offset asked for when
    the log has shrunk: read again from 0); `torn` tells of bytes behind the last newline; `bad_lines` are whole lines
    that are no JSON object, as (line number, text); `next_line` is the number of the line at `next_offset`;
    `blank_lines` are the numbers of lines with nothing in them, which are no harm.
    """

    records: list[dict[str, Any]]
    next_offset: int
    torn: bool
    bad_lines: list[tuple[int, str]]
    next_line: int = 1
    blank_lines: tuple[int, ...] = ()

    def record_lines(self, first_line: int = 1) -> Iterator[int]:
        """The line numbers of `records`, in order; `first_line` as it was given to the reading."""
        taken = {*self.blank_lines, *(line for line, _ in self.bad_lines)}
        return (line for line in range(first_line, self.next_line) if line not in taken)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json(path: str, schema_version: int | None = None, kind: str | None = None) -> Reading:
    """Reads a JSON file and tells the five outcomes apart.

    With `kind` or `schema_version` the value must be an object; a `kind` that differs makes it FOREIGN, a
    `schemaVersion` above ours NEWER. Files of older versions that lack one of the two are accepted. Raises DiskError
    when the file exists and cannot be read.
    """
    data = read_bytes(path)
    if data is None:
        return Reading(Outcome.ABSENT, None, "no such file")
    try:
        value = _decoder.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return Reading(Outcome.TORN, None, "empty file" if not data.strip() else f"not JSON: {error}")
    if schema_version is None and kind is None:
        return Reading(Outcome.WHOLE, value)
    if not isinstance(value, dict):
        return Reading(Outcome.FOREIGN, value, "not a JSON object")
    if kind is not None and value.get("kind", kind) != kind:
        return Reading(Outcome.FOREIGN, value, f"kind is {value['kind']!r}, expected {kind!r}")
    if schema_version is not None:
        found = value.get("schemaVersion", schema_version)
        if not isinstance(found, int) or isinstance(found, bool):
            return Reading(Outcome.FOREIGN, value, f"schemaVersion is {found!r}")
        if found > schema_version:
            return Reading(Outcome.NEWER, value, f"schemaVersion {found} is newer than {schema_version}")
    return Reading(Outcome.WHOLE, value)


def load_json(path: str, default: Any = None, schema_version: int | None = None, kind: str | None = None) -> Any:
    """The value of a whole file, `default` when there is none. Raises StateError for torn, foreign and newer ones."""
    reading = read_json(path, schema_version, kind)
    if reading.outcome is Outcome.WHOLE:
        return reading.value
    if reading.outcome is Outcome.ABSENT:
        return default
    remedy = {
        Outcome.TORN: "repair the file or move it aside",
        Outcome.FOREIGN: "another program wrote it; move it aside",
        Outcome.NEWER: "a newer wave wrote it; update this one",
    }[reading.outcome]
    raise StateError(reading.detail, path, remedy)


def read_text(path: str, default: str = "") -> str:
    """The text of a file (bad bytes replaced), `default` when there is none."""
    data = read_bytes(path)
    return default if data is None else data.decode("utf-8", "replace")


def tail(path: str, count: int) -> str:
    """The last `count` characters, "" when the file is missing. Reads no more than it needs. CFG 1."""
    if count <= 0:
        return ""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - 4 * count - 3, 0))
            data = file.read()
    except _GONE:
        return ""
    except OSError as error:
        raise disk_error(path, error, "read") from None
    return data.decode("utf-8", "replace")[-count:]


def read_jsonl(path: str, offset: int = 0, first_line: int = 1, end: int | None = None) -> JsonlReading:
    """Reads the whole lines of a log from a byte offset on (0, or the `next_offset` of an earlier reading).

    With `end`, a later `next_offset`, no further than there.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < offset:
                return JsonlReading([], size, False, [], first_line)
            file.seek(offset)
            data = file.read(-1 if end is None else max(end - offset, 0))
    except _GONE:
        return JsonlReading([], 0, False, [], 1)
    except OSError as error:
        raise disk_error(path, error, "read") from None
    whole = data.rfind(b"\n") + 1
    records, bad_lines, blank, lines = _parse_lines(data[:whole], first_line)
    return JsonlReading(records, offset + whole, whole < len(data), bad_lines, first_line + lines, blank)


def _parse_lines(
    data: bytes, first_line: int
) -> tuple[list[dict[str, Any]], list[tuple[int, str]], tuple[int, ...], int]:
    """Records, bad lines, numbers of blank lines, number of all lines."""
    records: list[dict[str, Any]] = []
    bad_lines: list[tuple[int, str]] = []
    blank: list[int] = []
    if not data:
        return records, bad_lines, (), 0
    # Only "\n" ends a line: `splitlines` would cut at U+2028 inside a string. A bad byte becomes a lone surrogate.
    lines = data[:-1].decode("utf-8", "surrogateescape").split("\n")
    decode = _decoder.raw_decode
    for number, line in enumerate(lines, first_line):
        try:
            value, end = decode(line if line[:1] == "{" else line.lstrip())
            if end != len(line):
                value = _decoder.decode(line)  # blanks around the record are no harm, anything else raises
            good = type(value) is dict and (line.isascii() or _is_utf8(line))
        except (ValueError, RecursionError):
            good = False
        if good:
            records.append(value)
        elif line.strip():
            bad_lines.append((number, line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")))
        else:
            blank.append(number)
    return records, bad_lines, tuple(blank), len(lines)


def _is_utf8(line: str) -> bool:
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_bytes(path: str) -> bytes | None:
    """The bytes of a file, None when there is none. Raises DiskError."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except _GONE:
        return None
    except OSError as error:
        raise disk_error(path, error, "read") from None


_DISK_KEYS = {
    errno.ENOSPC: ("no-space", "free some space and try again"),
    errno.EDQUOT: ("no-space", "the quota is used up; free some space and try again"),
    errno.EFBIG: ("no-space", "the file size limit is reached (ulimit -f)"),
    errno.EROFS: ("not-writable", "the file system is read-only"),
    errno.EACCES: ("not-writable", "check owner and permissions"),
    errno.EPERM: ("not-writable", "check owner and permissions"),
}


def disk_error(path: str, error: OSError, act: str = "write") -> DiskError:
    """A DiskError for an OSError; `key` is `no-space`, `not-writable` or `disk`. SUP 6, 13."""
    key, remedy = _DISK_KEYS.get(error.errno or 0, ("disk", ""))
    if act == "read" and key == "not-writable":
        key = "not-readable"
    return DiskError(f"cannot {act}: {error.strerror or error}", path, remedy, key=key)
