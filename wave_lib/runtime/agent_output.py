"""What an agent printed, as far as its runner must know: echoes of the prompt, used-up allowances, the session's id.

Holds:       nothing.
Writes:      nothing (reads the agent's log).
When killed: nothing is lost.

Spec: SUP 16.4, 16.5, 17.11.
"""

from __future__ import annotations

import os
import re

TAIL_BYTES = 64 * 1024
_HEAD_BYTES = 64 * 1024
_EARLY_BYTES = 4 * 1024
_SHORTEST_ECHO = 16  # a shorter "copy" of the prompt would be a coincidence

# Patterns are compiled when they are first used (`re` keeps them): hundreds of runners start at once.
_LIMITED = (
    rb"(?i)429 too many requests|exceeded retry limit|last status: 429|rate limit|rate_limit_(?:error|exceeded)"
    rb"|hit your (?:[\w-]+ )?limit|usage limit reached"
    # Claude reports its allowance in every run; only an event that does not say "allowed" is news.
    rb'|"type":\s*"rate_limit_event"(?![^\n]*"status":\s*"allowed)'
)
_ROLE_MARKER = rb"\[wave-(?:proof|doc-delta|doc-closure|component|design|integration|security|eval|gate|verdict)\]"
_RESET_EPOCH = rb'(?:limit reached\||"resets_?[aA]t":\s*)(1\d{9})\b'
_RESET_CLOCK = rb"(?i)resets (?:at )?(\d{1,2})(?::(\d{2}))?\s*(am|pm)?\s*\(([A-Za-z0-9_+/-]+)\)"


def echo_ranges(log_path: str, offset: int, prompt_path: str | None) -> list[list[int]]:
    """Byte ranges `[start, end]` of exact copies of the prompt in the log at or after `offset` (end is exclusive)."""
    needle = _read(prompt_path, 0).strip() if prompt_path else b""
    if len(needle) < _SHORTEST_ECHO or _size(log_path) <= offset:
        return []
    from mmap import ACCESS_READ, mmap

    ranges = []
    with open(log_path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as log:
        at = log.find(needle, offset)
        while at >= 0:
            ranges.append([at, at + len(needle)])
            at = log.find(needle, at + len(needle))
    return ranges


def own_output(log_path: str, offset: int, ranges: list[list[int]], tail: int | None = None) -> bytes:
    """What the agent itself printed since `offset`: without the given ranges, at most the last `tail` bytes."""
    # Where much was echoed, the tail of the file may hold nothing else: cut by what is left, not by what was read.
    spare = sum(end - start for start, end in ranges)
    begin = offset if tail is None else max(offset, _size(log_path) - tail - spare)
    text = _read(log_path, begin)
    for start, end in sorted(ranges, reverse=True):
        text = text[: max(start - begin, 0)] + text[max(end - begin, 0) :]
    return text if tail is None else text[-tail:]


def limited(log_path: str, offset: int, ranges: list[list[int]], code: int, patterns: tuple[str, ...] = ()) -> bool:
    """Whether this try ended because of a rate limit or a used-up allowance. Spec: SUP 16.5.

    `code` is 0 for success; a success counts as limited only when the agent printed no role marker at all.
    """
    tail = own_output(log_path, offset, ranges, TAIL_BYTES)
    if not re.search(_LIMITED, tail) and not any(re.search(pattern.encode(), tail, re.I) for pattern in patterns):
        return False
    return code != 0 or not re.search(_ROLE_MARKER, own_output(log_path, offset, ranges))


def limited_until(log_path: str, offset: int, ranges: list[list[int]], now: float) -> float | None:
    """When the allowance is back, in seconds since 1970; None when the output does not say."""
    tail = own_output(log_path, offset, ranges, TAIL_BYTES)
    stamps = re.findall(_RESET_EPOCH, tail)
    if stamps:
        return float(stamps[-1])
    clocks = re.findall(_RESET_CLOCK, tail)
    return _next_clock(clocks[-1], now) if clocks else None


def session_id(log_path: str, offset: int, pattern: str, prompt_path: str | None = None) -> str | None:
    """The id that the CLI printed for its session near the start of a try; the echoed prompt does not count."""
    head = _read(log_path, offset, _HEAD_BYTES)
    echo = _read(prompt_path, 0).strip() if prompt_path else b""
    if len(echo) >= _SHORTEST_ECHO:
        head = head.replace(echo, b"")
    found = re.search(pattern.encode(), head)
    if found is None:
        return None
    return (found[1] if found.re.groups else found[0]).decode("utf-8", "replace")


def says(log_path: str, offset: int, ranges: list[list[int]], pattern: str) -> bool:
    """Whether the agent's own output since `offset` (its last 64 KiB) matches."""
    return re.search(pattern.encode(), own_output(log_path, offset, ranges, TAIL_BYTES)) is not None


def says_at_once(log_path: str, offset: int, ranges: list[list[int]], pattern: str) -> bool:
    """Whether the first thing that was printed since `offset` (4 KiB) matches: before the agent itself could say it."""
    return re.search(pattern.encode(), own_output(log_path, offset, ranges)[:_EARLY_BYTES]) is not None


def _next_clock(clock: tuple[bytes, bytes, bytes, bytes], now: float) -> float | None:
    from datetime import datetime, timedelta

    hour, minute = int(clock[0]), int(clock[1] or 0)
    if clock[2]:
        hour = hour % 12 + (12 if clock[2].lower() == b"pm" else 0)
    try:
        from zoneinfo import ZoneInfo

        here = datetime.fromtimestamp(now, ZoneInfo(clock[3].decode()))
        moment = here.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except (ImportError, LookupError, ValueError, OSError):
        return None  # an unknown zone, or a clock that does not exist
    return (moment if moment > here else moment + timedelta(days=1)).timestamp()


def _read(path: str, offset: int, limit: int = -1) -> bytes:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(limit)
    except OSError:
        return b""


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
