"""Wall-clock stamps: ISO-8601 UTC with milliseconds and `Z`.

They are for people and ordering hints, never for deadlines. Spec: CFG 1, SUP 3.5.
"""

from __future__ import annotations

import re
import time

# Patterns stay texts: `re` compiles them at first use and keeps them, so that importing costs nothing.
_ISO = (
    r"(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d{2}:?\d{2})?)?"
)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def now_iso() -> str:
    """The present moment, such as `2026-01-31T09:05:07.042Z`."""
    return iso_of_ms(time.time_ns() // 1_000_000)


def iso_of(seconds: float) -> str:
    """The stamp of a moment in seconds since 1970; halves of a millisecond round up."""
    return iso_of_ms(int(seconds * 1000 + 0.5))


def iso_of_ms(milliseconds: int) -> str:
    """The stamp of a moment in milliseconds since 1970."""
    seconds, rest = divmod(milliseconds, 1000)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{rest:03d}Z"


def compact_stamp(seconds: float | None = None) -> str:
    """A stamp that may stand in a file name, such as `20260131T090507042Z`."""
    iso = now_iso() if seconds is None else iso_of(seconds)
    return iso.replace("-", "").replace(":", "").replace(".", "")


def parse_iso(text: object) -> float | None:
    """Seconds since 1970 of an ISO-8601 stamp, None when it is none. A stamp without a zone counts as UTC."""
    found = re.fullmatch(_ISO, text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= (28 if month == 2 and not leap else _DAYS_IN_MONTH[month - 1]):
        return None
    if hour > 24 or minute > 59 or second > 60 or (hour == 24 and (minute or second)):
        return None
    fraction = float(f"0.{found[7]}") if found[7] else 0.0
    clock = hour * 3600 + minute * 60 + second - _zone_seconds(found[8])
    return _days_since_1970(year, month, day) * 86400 + clock + fraction


def _zone_seconds(zone: str | None) -> int:
    if not zone or zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "")
    offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -offset if zone[0] == "-" else offset


def _days_since_1970(year: int, month: int, day: int) -> int:
    # Years that begin in March put the leap day last, which makes the day of the year a formula.
    year, month = (year - 1, month + 9) if month <= 2 else (year, month - 3)
    return year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 + 2) // 5 + day - 1 - 719468
