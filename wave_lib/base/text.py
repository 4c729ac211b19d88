"""Text helpers with fixed semantics: shortening, slugs, digests, the hash form of JSON, near misses.

Spec: CFG 1, 3, 15.
"""

from __future__ import annotations

import json
import math
import re
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Patterns stay texts: `re` compiles them at first use and keeps them, so that importing costs nothing.
_NOT_SLUG = r"[^a-z0-9]+"
_ARRAY_INDEX = r"0|[1-9][0-9]{0,9}"
_LONE_SURROGATE = r"[\ud800-\udfff]"
_UNLIKE_JAVASCRIPT = r"""[{,]"[0-9]+":|(?:^|[\[:,])-?[0-9]+[.eE]|[\ud800-\udfff]"""


def compact(text: str, limit: int) -> str:
    """Whitespace runs become one space; more than `limit` characters are cut to `limit - 1` and an ellipsis. CFG 1."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)] + "…"


def slugify(value: str) -> str:
    """Lower case, runs outside `[a-z0-9]` become one dash, at most 48 characters. CFG 3."""
    return re.sub(_NOT_SLUG, "-", value.lower()).strip("-")[:48]


def sha256_text(text: str) -> str:
    """Lower-case hex SHA-256 of the UTF-8 form."""
    return sha256_bytes(text.encode("utf-8", "surrogatepass"))


def sha256_bytes(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    from hashlib import sha256

    return sha256(data).hexdigest()


def sha256_file(path: str) -> str:
    """Lower-case hex SHA-256 of a file's raw bytes, read in pieces. Raises OSError."""
    from hashlib import sha256

    digest = sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def compact_json(value: Any, sort_keys: bool = False) -> str:
    """The form that is hashed, equal byte for byte to what JavaScript prints. CFG 15.

    No blanks; insertion order, except that keys which look like array indices come first in ascending order (or all
    keys sorted, with `sort_keys`); whole floats without a fraction; NaN and infinities as null.
    """
    if not sort_keys:
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError:
            text = ""
        # Nearly always that is the very form; the rare rest (or a string that merely looks like it) takes the long way.
        if text and not re.search(_UNLIKE_JAVASCRIPT, text):
            return text
    parts: list[str] = []
    _emit(value, sort_keys, parts.append)
    return "".join(parts)


def _emit(value: Any, sort_keys: bool, put: Any) -> None:
    if value is None:
        put("null")
    elif value is True or value is False:
        put("true" if value else "false")
    elif isinstance(value, str):
        put(_json_string(value))
    elif isinstance(value, int):
        put(str(int(value)))
    elif isinstance(value, float):
        put(_js_number(value))
    elif isinstance(value, dict):
        between = "{"
        for key in _key_order(value, sort_keys):
            put(f"{between}{_json_string(key)}:")
            _emit(value[key], sort_keys, put)
            between = ","
        put("}" if value else "{}")
    elif isinstance(value, (list, tuple)):
        between = "["
        for item in value:
            put(between)
            _emit(item, sort_keys, put)
            between = ","
        put("]" if value else "[]")
    else:
        raise TypeError(f"not JSON: {type(value).__name__}")


def _json_string(text: str) -> str:
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else re.sub(_LONE_SURROGATE, _escape_surrogate, quoted)


def _escape_surrogate(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _key_order(value: dict[str, Any], sort_keys: bool) -> list[str]:
    if sort_keys:
        return sorted(value)
    indices = [key for key in value if key[:1].isdigit() and re.fullmatch(_ARRAY_INDEX, key) and int(key) < 2**32 - 1]
    if not indices:
        return list(value)
    first = set(indices)
    return sorted(indices, key=int) + [key for key in value if key not in first]


def _js_number(number: float) -> str:
    """A float as JavaScript prints it: the same shortest digits as Python's, other rules for the exponent."""
    if not math.isfinite(number):
        return "null"
    if number == int(number) and abs(number) < 1e21:
        return _js_whole(number)
    digits, _, exponent = repr(number).partition("e")
    if not exponent:
        return digits
    power = int(exponent)
    if -7 < power < 0:
        sign = "-" if number < 0 else ""
        return f"{sign}0.{'0' * (-power - 1)}{digits.lstrip('-').replace('.', '')}"
    return f"{digits[:-2] if digits.endswith('.0') else digits}e{'+' if power > 0 else ''}{power}"


def _js_whole(number: float) -> str:
    """A whole float below 1e21: its shortest digits, filled up with zeros (2**70 is not printed exactly)."""
    digits, _, exponent = repr(number).partition("e")
    if not exponent:
        return str(int(number))
    sign = "-" if number < 0 else ""
    mantissa = digits.lstrip("-").replace(".", "")
    return sign + mantissa.ljust(int(exponent) + 1, "0")


def edit_distance(left: str, right: str) -> int:
    """Insertions, deletions and substitutions that turn one word into the other."""
    row = list(range(len(right) + 1))
    for at, char in enumerate(left, 1):
        diagonal, row[0] = row[0], at
        for column, other in enumerate(right, 1):
            diagonal, row[column] = row[column], min(
                row[column] + 1, row[column - 1] + 1, diagonal + (char != other)
            )
    return row[-1]


def nearest(word: str, known: Iterable[str], limit: int = 2) -> str | None:
    """The known word closest to `word`, None when all are further than `limit` edits. Equals win over order."""
    best, best_distance = None, limit + 1
    for candidate in known:
        if abs(len(candidate) - len(word)) < best_distance:
            distance = edit_distance(word, candidate)
            if distance < best_distance:
                best, best_distance = candidate, distance
    return best
