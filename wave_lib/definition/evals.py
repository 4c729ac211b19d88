"""Eval targets of a wave and the benchmark catalog they point into. Spec: CFG 13, WORK 10."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Callable, NamedTuple

from ..base.errors import ConfigError
from .documents import load_object
from .ids import is_id
from .values import UNSET, as_integer, as_member, as_text, as_text_list, shown

SELECTIONS = ("pinned", "delegated")
DIRECTIONS = ("higher-is-better", "lower-is-better", "target", "rubric")
TARGET_FIELDS = ("id", "selection", "benchmark-family", "benchmarks", "objective", "threshold")


class EvalTarget(NamedTuple):
    """One line of `## Eval targets`. `delegated` leaves the choice inside the family to cont-EVAL."""

    id: str
    selection: str
    benchmark_family: str | None
    benchmarks: tuple[str, ...]
    objective: str
    threshold: str


class BenchmarkCatalog(NamedTuple):
    """The loaded catalog: families in normal form (JSON-shaped), and the indexes over them.

    `benchmark_index` goes from benchmark id to family id, `local_case_index` from case id to
    `{"familyId", "benchmarkId" or None}`.
    """

    path: str
    version: int
    families: dict[str, dict[str, Any]]
    benchmark_index: dict[str, str]
    local_case_index: dict[str, dict[str, Any]]

    def benchmarks_of(self, family: str) -> tuple[str, ...]:
        """Benchmark ids of a family, empty when it does not exist."""
        return tuple(self.families.get(family, {}).get("benchmarks", ()))


# Targets. Spec: CFG 13.1, 13.3


def parse_eval_targets(lines: Iterable[str]) -> tuple[EvalTarget, ...]:
    """Targets from the lines of the section, with or without the leading `- `.

    ConfigError naming `evalTargets[<index>].<field>` for a malformed line or a repeated id.
    """
    targets: list[EvalTarget] = []
    for index, line in enumerate(lines):
        target = parse_eval_target(line, f"evalTargets[{index}]")
        if any(target.id == other.id for other in targets):
            raise ConfigError(f"evalTargets[{index}].id repeats {target.id!r}", remedy="give each target its own id")
        targets.append(target)
    return tuple(targets)


def parse_eval_target(line: str, label: str) -> EvalTarget:
    """One target line. ConfigError naming `<label>.<field>`."""
    fields = _target_fields(line, label)
    target_id = _required_id(fields.get("id"), f"{label}.id")
    selection = as_member(_required(fields.get("selection"), f"{label}.selection"), f"{label}.selection", SELECTIONS)
    family = fields.get("benchmark-family")
    if family is not None:
        family = _required_id(family, f"{label}.benchmark-family")
    elif selection == "delegated":
        raise ConfigError(f"{label}.benchmark-family is required when the selection is delegated")
    names = [_unwrapped(name.strip()) for name in fields.get("benchmarks", "").split(",")]
    benchmarks = tuple(dict.fromkeys(_required_id(name, f"{label}.benchmarks") for name in names if name))
    if selection == "pinned" and not benchmarks:
        raise ConfigError(f"{label}.benchmarks needs at least one benchmark when the selection is pinned")
    objective = _required(fields.get("objective"), f"{label}.objective")
    threshold = _required(fields.get("threshold"), f"{label}.threshold")
    return EvalTarget(target_id, selection, family, benchmarks, objective, threshold)


def _target_fields(line: str, label: str) -> dict[str, str]:
    text = re.sub(r"^\s*-\s+", "", line).strip()
    fields: dict[str, str] = {}
    for part in text.split("|"):
        if not part.strip():
            continue
        key, colon, value = part.partition(":")
        name, content = key.strip().lower(), _unwrapped(value.strip())
        if not colon or not name or not content:
            raise ConfigError(f"{label}: malformed field {part.strip()!r}", remedy="write `key: value`")
        if name not in TARGET_FIELDS:
            raise ConfigError(f"{label}.{name} is unknown", remedy=f"use {', '.join(TARGET_FIELDS)}")
        if name in fields:
            raise ConfigError(f"{label}.{name} is given twice")
        fields[name] = content
    return fields


def _unwrapped(value: str) -> str:
    """Without one wrapping pair; in "`a`, `b`" the outer characters are no pair."""
    quote = value[:1]
    wrapped = len(value) >= 2 and quote in "\"'`" and value.endswith(quote) and quote not in value[1:-1]
    return value[1:-1].strip() if wrapped else value


def _required(value: str | None, label: str) -> str:
    if not value:
        raise ConfigError(f"{label} is required")
    return value


def _required_id(value: str | None, label: str) -> str:
    text = _required(value, label).lower()
    if not is_id("component", text):
        raise ConfigError(f"{label}: invalid id {value!r}", remedy="use a-z, 0-9, `.`, `_` and `-`")
    return text


def check_target(target: EvalTarget, catalog: BenchmarkCatalog, label: str | None = None) -> tuple[str, ...]:
    """The benchmarks this target allows. ConfigError when the catalog does not have what it names. Spec: CFG 13.3."""
    label = label or f"eval target {target.id}"
    family = target.benchmark_family
    if family is not None and family not in catalog.families:
        raise ConfigError(f"{label}: unknown benchmark family {family!r}", remedy=f"add it to {catalog.path}")
    if target.selection == "delegated":
        return catalog.benchmarks_of(family or "")
    for benchmark in target.benchmarks:
        owner = catalog.benchmark_index.get(benchmark)
        if owner is None:
            raise ConfigError(f"{label}: unknown benchmark {benchmark!r}", remedy=f"add it to {catalog.path}")
        if family is not None and owner != family:
            raise ConfigError(f"{label}: benchmark {benchmark!r} belongs to family {owner!r}, not {family!r}")
    return target.benchmarks


# Catalog. Spec: CFG 13.2


def load_benchmark_catalog(path: str, shown_path: str | None = None) -> BenchmarkCatalog:
    """Read and check the catalog. ConfigError naming the file and the dotted field."""
    shown_path = shown_path or path
    payload = load_object(path, shown_path, "Benchmark catalog")
    try:
        return _catalog(payload, shown_path)
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or shown_path, remedy=error.remedy) from None


def _catalog(payload: dict[str, Any], path: str) -> BenchmarkCatalog:
    families = payload.get("families")
    if not isinstance(families, dict):
        raise ConfigError("families must be an object")
    catalog = BenchmarkCatalog(path, as_integer(payload.get("version", 1)) or 1, {}, {}, {})
    for raw, entry in families.items():
        family_id = _key(raw, "families", catalog.families)
        family = _family(family_id, entry, f"families.{raw}")
        catalog.families[family_id] = family
        _index_cases(catalog, family["localCases"], family_id, None)
        for benchmark_id, benchmark in family["benchmarks"].items():
            owner = catalog.benchmark_index.setdefault(benchmark_id, family_id)
            if owner != family_id:
                raise ConfigError(f"benchmark {benchmark_id!r} is in the families {owner!r} and {family_id!r}")
            _index_cases(catalog, benchmark["localCases"], family_id, benchmark_id)
    return catalog


def _index_cases(catalog: BenchmarkCatalog, cases: list[str], family_id: str, benchmark_id: str | None) -> None:
    """A case named by a benchmark belongs to it, even when its family lists the case too."""
    for case in cases:
        known = catalog.local_case_index.get(case)
        if known is None or (known["benchmarkId"] is None and benchmark_id is not None):
            catalog.local_case_index[case] = {"familyId": family_id, "benchmarkId": benchmark_id}


def _key(raw: str, label: str, taken: dict[str, Any]) -> str:
    key = _required_id(raw.strip(), f"{label}.{raw}")
    if key in taken:
        raise ConfigError(f"{label} has two keys for {key!r}")
    return key


def _object(value: object, label: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{label} must be an object, got {shown(value)}")
    return value


def _text(entry: dict[str, Any], key: str, label: str) -> str | None:
    text = as_text(entry.get(key), f"{label}.{key}")
    return None if text is UNSET else str(text)


def _texts(entry: dict[str, Any], key: str, label: str) -> list[str]:
    return list(as_text_list(entry.get(key), f"{label}.{key}") or [])


def _ids(entry: dict[str, Any], key: str, label: str) -> list[str]:
    return list(dict.fromkeys(_required_id(item, f"{label}.{key}") for item in _texts(entry, key, label)))


def _each(entry: dict[str, Any], key: str, label: str, read: Callable[[object, str], Any]) -> list[Any]:
    items = entry.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise ConfigError(f"{label}.{key} must be a list, got {shown(items)}")
    return [read(item, f"{label}.{key}[{index}]") for index, item in enumerate(items)]


def _maybe(entry: dict[str, Any], key: str, label: str, read: Callable[[object, str], Any]) -> Any:
    value = entry.get(key)
    return None if value is None else read(value, f"{label}.{key}")


def _family(family_id: str, value: object, label: str) -> dict[str, Any]:
    entry = _object(value, label)
    members = _object(entry.get("benchmarks"), f"{label}.benchmarks")
    if not members:
        raise ConfigError(f"{label}.benchmarks must not be empty")
    benchmarks: dict[str, Any] = {}
    for raw, item in members.items():
        benchmark_id = _key(raw, f"{label}.benchmarks", benchmarks)
        benchmarks[benchmark_id] = _benchmark(benchmark_id, item, f"{label}.benchmarks.{raw}")
    return {
        "id": family_id,
        "title": _text(entry, "title", label) or family_id,
        "summary": _text(entry, "summary", label),
        "category": _text(entry, "category", label),
        "coordinationModel": _text(entry, "coordinationModel", label),
        "localCases": _ids(entry, "localCases", label),
        "primaryMetric": _maybe(entry, "primaryMetric", label, _metric),
        "secondaryMetrics": _each(entry, "secondaryMetrics", label, _metric),
        "paperReferences": _each(entry, "paperReferences", label, _paper),
        "sotaBaseline": _maybe(entry, "sotaBaseline", label, _baseline),
        "benchmarks": benchmarks,
    }


def _benchmark(benchmark_id: str, value: object, label: str) -> dict[str, Any]:
    entry = _object(value, label)
    return {
        "id": benchmark_id,
        "title": _text(entry, "title", label) or benchmark_id,
        "summary": _text(entry, "summary", label),
        "goal": _text(entry, "goal", label),
        "localCases": _ids(entry, "localCases", label),
        "failureModes": _texts(entry, "failureModes", label),
        "signals": _texts(entry, "signals", label),
        "scoring": _maybe(entry, "scoring", label, _scoring),
        "tuningNotes": _text(entry, "tuningNotes", label),
        "paperReferences": _each(entry, "paperReferences", label, _paper),
        "sotaBaseline": _maybe(entry, "sotaBaseline", label, _baseline),
    }


def _scoring(value: object, label: str) -> dict[str, Any]:
    entry = _object(value, label)
    return {key: _text(entry, key, label) for key in ("primaryMetric", "successCriterion", "rubric", "notes")}


def _metric(value: object, label: str) -> dict[str, Any]:
    entry = _object(value, label)
    metric_id = _required_id(_text(entry, "id", label), f"{label}.id")
    direction = as_member(entry.get("direction"), f"{label}.direction", DIRECTIONS)
    return {
        "id": metric_id,
        "title": _text(entry, "title", label),
        "unit": _text(entry, "unit", label),
        "direction": None if direction is UNSET else direction,
        "summary": _text(entry, "summary", label),
    }


def _paper(value: object, label: str) -> dict[str, Any]:
    entry = _object(value, label)
    title = _required(_text(entry, "title", label), f"{label}.title")
    named = _text(entry, "id", label)
    slug = re.sub(r"[^a-z0-9._-]+", "-", title.lower()).strip("-")
    return {
        "id": _required_id(named, f"{label}.id") if named else slug,
        "title": title,
        "year": _year(entry, label),
        "url": _text(entry, "url", label),
        "summary": _text(entry, "summary", label),
    }


def _baseline(value: object, label: str) -> dict[str, Any]:
    entry = _object(value, label)
    required = {key: _required(_text(entry, key, label), f"{label}.{key}") for key in ("source", "paper", "metric")}
    number = entry.get("value")
    if isinstance(number, bool) or not isinstance(number, (int, float, str, type(None))):
        raise ConfigError(f"{label}.value must be a number or text, got {shown(number)}")
    if isinstance(number, str) and not number.strip():
        raise ConfigError(f"{label}.value must not be empty")
    return {
        **required,
        "value": number.strip() if isinstance(number, str) else number,
        "year": _year(entry, label),
        "notes": _text(entry, "notes", label),
        "url": _text(entry, "url", label),
    }


def _year(entry: dict[str, Any], label: str) -> int | None:
    if entry.get("year") is None:
        return None
    year = as_integer(entry["year"])
    if year is None or not 1900 <= year <= 9999:
        raise ConfigError(f"{label}.year must be between 1900 and 9999, got {shown(entry['year'])}")
    return year
