"""Value primitives of the configuration: what each accepts and what it becomes.

A `Kind` reads one JSON value under a dotted label and returns its normal form, `UNSET` where the value counts as not
given (so that an outer layer or the default applies), or raises ConfigError naming the label. Spec: CFG 3.
"""

from __future__ import annotations

import re
from typing import Any, Callable, NamedTuple

from ..base.errors import ConfigError
from .ids import check_agent_id, is_id, sanitize_lane, sanitize_project
from .lane_profile import EXECUTOR_MODES

UNSET: Any = type("Unset", (), {"__repr__": lambda self: "UNSET", "__bool__": lambda self: False})()
"""Stands for a value that was not given."""


class Kind(NamedTuple):
    """One primitive: `name` as the documentation shows it, `read(value, label)` to check and normalise."""

    name: str
    read: Callable[[object, str], Any]
    is_list: bool = False


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def as_text(value: object, label: str) -> Any:
    """Trimmed text of a string, number or boolean; UNSET when null or empty."""
    if value is None:
        return UNSET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise ConfigError(f"{label} must be text, got {shown(value)}")
    return value.strip() or UNSET


def shown(value: object) -> str:
    """A value as an error message shows it: JSON, cut to 60 characters."""
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _lower(value: object, label: str) -> Any:
    text = as_text(value, label)
    return text.lower() if text is not UNSET else UNSET


def as_text_list(value: object, label: str) -> Any:
    """Trimmed, non-empty items of an array, order kept; UNSET when null."""
    if value is None:
        return UNSET
    if not isinstance(value, list):
        raise ConfigError(f"{label} must be a list, got {shown(value)}")
    items = [as_text(item, f"{label}[{index}]") for index, item in enumerate(value)]
    return [item for item in items if item is not UNSET]


def _lower_list(value: object, label: str) -> Any:
    items = as_text_list(value, label)
    return UNSET if items is UNSET else unique(item.lower() for item in items)


def _unique_list(value: object, label: str) -> Any:
    items = as_text_list(value, label)
    return UNSET if items is UNSET else unique(items)


def _one_or_list(value: object, label: str) -> Any:
    if _absent(value):
        return UNSET
    return [value.strip()] if isinstance(value, str) else as_text_list(value, label)


def unique(items: Any) -> list[str]:
    """The items without repetitions, in order of first appearance."""
    return list(dict.fromkeys(items))


def as_integer(value: object) -> int | None:
    """A JSON integer or all-digit string as int; None for anything else (booleans, fractions, `5x`)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value.strip()):
        return int(value.strip())
    return None


def _integer_from(least: int) -> Callable[[object, str], Any]:
    def read(value: object, label: str) -> Any:
        if _absent(value):
            return UNSET
        number = as_integer(value)
        if number is None or number < least:
            raise ConfigError(f"{label} must be an integer >= {least}, got {shown(value)}")
        return number

    return read


def _number(least_words: str, fits: Callable[[float], bool]) -> Callable[[object, str], Any]:
    def read(value: object, label: str) -> Any:
        if _absent(value):
            return UNSET
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else as_integer(value)
        if number is None or not fits(number):
            raise ConfigError(f"{label} must be a number {least_words}, got {shown(value)}")
        return number

    return read


def _threshold(value: object, label: str) -> Any:
    if value is None:
        return None
    number = as_integer(value)
    if number is None or number < 0:
        raise ConfigError(f"{label}: invalid threshold {shown(value)}, wanted an integer >= 0 or null (rule off)")
    return number


_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


def as_bool(value: object, label: str) -> Any:
    """true or false from a boolean or one of `true 1 yes on`, `false 0 no off` in any case; UNSET when empty."""
    if isinstance(value, bool):
        return value
    if _absent(value):
        return UNSET
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ConfigError(f"{label} must be true or false, got {shown(value)}")


def as_member(value: object, label: str, members: tuple[str, ...]) -> Any:
    """The lower-cased member of a closed set; UNSET when empty; ConfigError listing the members otherwise."""
    word = _lower(value, label)
    if word is UNSET or word in members:
        return word
    raise ConfigError(f"{label} must be one of {', '.join(members)} (got: {shown(value)})")


def _object(value: object, label: str) -> Any:
    if _absent(value):
        return UNSET
    if not isinstance(value, dict):
        raise ConfigError(f"{label} must be an object, got {shown(value)}")
    return deep_copy(value)


def deep_copy(value: Any) -> Any:
    """A copy of a JSON value that shares no list or object with the original."""
    if isinstance(value, dict):
        return {key: deep_copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [deep_copy(item) for item in value]
    return value


def as_repo_path(value: object, label: str) -> str:
    """A path relative to the workspace root with `/`, without `./`, `//` or a trailing `/`; `.` is the root itself.

    Raises ConfigError when it is empty, absolute, carries a drive letter or contains a `..` segment. Spec: CFG 3.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{label} is required" if _absent(value) else f"{label} must be a path, got {shown(value)}")
    text = value.strip().replace("\\", "/")
    segments = text.split("/")
    if text.startswith("/") or re.match(r"[A-Za-z]:", text) or ".." in segments or "\0" in text:
        raise ConfigError(f"{label} must stay within the repository, got {shown(value)}")
    return "/".join(segment for segment in segments if segment not in ("", ".")) or "."


def _path(value: object, label: str) -> Any:
    return UNSET if value is None else as_repo_path(value, label)


def _paths(value: object, label: str) -> Any:
    items = as_text_list(value, label)
    return UNSET if items is UNSET else [as_repo_path(item, f"{label}[{i}]") for i, item in enumerate(items)]


def as_modes(value: object, label: str) -> Any:
    """Executor modes from an array or a comma-separated string, each checked; UNSET when null or empty text."""
    if _absent(value):
        return UNSET
    items = value.split(",") if isinstance(value, str) else as_text_list(value, label)
    modes = (as_member(item, f"{label}[{i}]", EXECUTOR_MODES) for i, item in enumerate(items))
    return [mode for mode in modes if mode is not UNSET]


def _agent_id(value: object, label: str) -> Any:
    text = as_text(value, label)
    if text is UNSET:
        return UNSET
    try:
        return check_agent_id(text)
    except ConfigError as error:
        raise ConfigError(f"{label}: {error.what}", remedy=error.remedy) from None


def _with_label(sanitize: Callable[[object], str]) -> Callable[[object, str], Any]:
    def read(value: object, label: str) -> Any:
        text = as_text(value, label)
        if text is UNSET:
            return UNSET
        try:
            return sanitize(text)
        except ConfigError as error:
            raise ConfigError(f"{label}: {error.what}", remedy=error.remedy) from None

    return read


def _skill_ids(value: object, label: str) -> Any:
    items = _lower_list(value, label)
    for item in items or ():
        if not is_id("skill", item):
            raise ConfigError(f"{label}: invalid skill id {item!r}", remedy="use a-z, 0-9, `.`, `_` and `-`")
    return items


def normalize_endpoint(value: object, label: str = "waveControl.endpoint") -> str | None:
    """A Wave Control endpoint in normal form, None when empty. Spec: PROV 2.3.

    Trailing `/` and `/ingest/batches` go, an empty path becomes `/api/v1`. ConfigError when it is no absolute http(s)
    URL with a host, or has user info, query or fragment.
    """
    url = as_url(value, label)
    if url is UNSET:
        return None
    if url.endswith("/ingest/batches"):
        url = url[: -len("/ingest/batches")].rstrip("/")
    return str(url) if "/" in url.split("://", 1)[1] else f"{url}/api/v1"


def as_url(value: object, label: str) -> Any:
    """An absolute http(s) URL without user info, query, fragment or trailing `/`; UNSET when empty."""
    text = as_text(value, label)
    if text is UNSET:
        return UNSET
    if not re.fullmatch(r"(?i:https?)://[^\s/?#@]+(/[^\s?#]*)?", text):
        raise ConfigError(
            f"{label} must be an http or https URL with a host and without user info, query or fragment; "
            f"got {shown(re.sub(r'//[^/@]*@', '//…@', text))}"
        )
    return text.rstrip("/")


def _endpoint(value: object, label: str) -> Any:
    url = normalize_endpoint(value, label)
    return UNSET if url is None else url


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _env_map(value: object, label: str) -> Any:
    entries = _object(value, label)
    for name, text in (entries or {}).items():
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"{label}: {name!r} is not an environment variable name")
        if not isinstance(text, str) or "\0" in text:
            raise ConfigError(f"{label}.{name} must be text, got {shown(text)}")
    return entries


def _env_names(value: object, label: str) -> Any:
    names = _unique_list(value, label)
    for name in names or ():
        if not _VARIABLE.fullmatch(name):
            raise ConfigError(f"{label}: {name!r} is not an environment variable name")
    return names


def _int_list(value: object, label: str) -> Any:
    if value is None:
        return UNSET
    numbers = [as_integer(item) for item in value] if isinstance(value, list) else [None]
    if not numbers or None in numbers:
        raise ConfigError(f"{label} must be a non-empty list of integers, got {shown(value)}")
    return numbers


TEXT = Kind("text", as_text)
LOWER = Kind("text, lower-cased", _lower)
TEXTS = Kind("list of text", as_text_list, is_list=True)
UNIQUE_TEXTS = Kind("list of text, without repetitions", _unique_list, is_list=True)
LOWER_TEXTS = Kind("list of text, lower-cased", _lower_list, is_list=True)
ONE_OR_LIST = Kind("text or list of text", _one_or_list, is_list=True)
POSITIVE = Kind("integer >= 1", _integer_from(1))
COUNT = Kind("integer >= 0", _integer_from(0))
INTEGERS = Kind("list of integers", _int_list, is_list=True)
SECONDS = Kind("seconds > 0", _number("> 0", lambda number: number > 0))
SECONDS_OR_ZERO = Kind("seconds >= 0", _number(">= 0", lambda number: number >= 0))
BOOL = Kind("true or false", as_bool)
OBJECT = Kind("object", _object)
THRESHOLD = Kind("integer >= 0 or null (off)", _threshold)
PATH = Kind("repo-relative path", _path)
PATHS = Kind("list of repo-relative paths", _paths, is_list=True)
MODES = Kind("executor modes, list or comma-separated", as_modes, is_list=True)
AGENT_ID = Kind("agent id", _agent_id)
LANE_ID = Kind("lane id", _with_label(sanitize_lane))
PROJECT_ID = Kind("project id", _with_label(sanitize_project))
SKILL_IDS = Kind("list of skill ids", _skill_ids, is_list=True)
URL = Kind("http(s) URL", as_url)
ENDPOINT = Kind("http(s) URL", _endpoint)
ENV_MAP = Kind("object of environment variables", _env_map)
ENV_NAMES = Kind("list of environment variable names", _env_names, is_list=True)


def choice(*members: str) -> Kind:
    """The kind of a closed set of words."""
    return Kind(" | ".join(members), lambda value, label: as_member(value, label, members))


MODE = choice(*EXECUTOR_MODES)
