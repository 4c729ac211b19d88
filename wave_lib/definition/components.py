"""The component cutover matrix: which component is how far, and what each wave promotes. Spec: CFG 12.1.

The JSON file is authoritative. The checks of promotions (CFG 12.2, 12.3) are decisions and stand in the engines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..base.errors import ConfigError
from .documents import load_object
from .ids import is_id
from .values import as_integer, as_text, as_text_list, shown

MATURITY_LEVELS = (
    "inventoried",
    "contract-frozen",
    "repo-landed",
    "baseline-proved",
    "pilot-live",
    "qa-proved",
    "fleet-ready",
    "cutover-ready",
    "deprecation-ready",
)
"""Built-in maturity levels, weakest first; `required-for` and the proof-centric rule use these."""


class Promotion(NamedTuple):
    """Wave number `wave` brings the component to level `target`."""

    wave: int
    target: str


class Component(NamedTuple):
    """One component of the matrix."""

    component_id: str
    title: str
    current_level: str
    promotions: tuple[Promotion, ...] = ()
    canonical_docs: tuple[str, ...] = ()
    proof_surfaces: tuple[str, ...] = ()

    def promotion_of(self, wave: int) -> Promotion | None:
        """What this wave promises for the component, or None."""
        return next((promotion for promotion in self.promotions if promotion.wave == wave), None)


class ComponentMatrix(NamedTuple):
    """The whole matrix; `levels` in maturity order, weakest first, `path` for messages."""

    version: int
    levels: tuple[str, ...]
    components: dict[str, Component]
    path: str


def compare_levels(levels: Sequence[str], left: str, right: str) -> int:
    """Negative when `left` is below `right`, 0 when equal, positive when above; an unknown level is below all."""
    return rank(levels, left) - rank(levels, right)


def rank(levels: Sequence[str], level: str) -> int:
    """Position of a level, -1 when the order does not know it."""
    return levels.index(level) if level in levels else -1


def load_component_matrix(source: str | dict[str, Any], shown_path: str | None = None) -> ComponentMatrix:
    """Read the matrix from a file, or check a payload already in memory (trace replay; `shown_path` names it).

    ConfigError when it is missing, no JSON object, or breaks a rule of the table in CFG 12.1.
    """
    path = shown_path or (source if isinstance(source, str) else "component matrix")
    payload = load_object(source, path, "Component matrix") if isinstance(source, str) else source
    try:
        return _matrix(payload, path)
    except ConfigError as error:
        raise ConfigError(error.what, where=error.where or path, remedy=error.remedy) from None


def _matrix(payload: Any, path: str) -> ComponentMatrix:
    if not isinstance(payload, dict):
        raise ConfigError("Component matrix is missing or invalid: not a JSON object")
    levels = tuple(as_text_list(payload.get("levels"), "levels") or ())
    if not levels:
        raise ConfigError("levels is required and must not be empty")
    if len(set(levels)) != len(levels):
        raise ConfigError("levels holds a level twice")
    entries = payload.get("components")
    if not isinstance(entries, dict):
        raise ConfigError("components must be an object")
    version = as_integer(payload.get("version", 1))
    if version is None:
        raise ConfigError(f"version must be an integer, got {shown(payload.get('version'))}")
    components = {key: _component(key, entry, levels) for key, entry in entries.items()}
    return ComponentMatrix(version, levels, components, path)


def _component(component_id: str, entry: object, levels: tuple[str, ...]) -> Component:
    label = f"components.{component_id}"
    if not is_id("component", component_id):
        raise ConfigError(f"{label}: invalid component id", remedy="use a-z, 0-9, `.`, `_` and `-`")
    if not isinstance(entry, dict):
        raise ConfigError(f"{label} must be an object")
    return Component(
        component_id,
        as_text(entry.get("title"), f"{label}.title") or component_id,
        _level(entry.get("currentLevel"), f"{label}.currentLevel", levels),
        _promotions(entry.get("promotions"), f"{label}.promotions", levels),
        tuple(as_text_list(entry.get("canonicalDocs"), f"{label}.canonicalDocs") or ()),
        tuple(as_text_list(entry.get("proofSurfaces"), f"{label}.proofSurfaces") or ()),
    )


def _level(value: object, label: str, levels: tuple[str, ...]) -> str:
    level = as_text(value, label)
    if level not in levels:
        raise ConfigError(f"{label} must be one of {', '.join(levels)} (got: {shown(value)})")
    return str(level)


def _promotions(value: object, label: str, levels: tuple[str, ...]) -> tuple[Promotion, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ConfigError(f"{label} must be a list")
    promotions: list[Promotion] = []
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise ConfigError(f"{label}[{index}] must be an object with wave and target")
        wave = as_integer(item.get("wave"))
        if wave is None or wave < 0:
            raise ConfigError(f"{label}[{index}].wave must be an integer >= 0, got {shown(item.get('wave'))}")
        if any(promotion.wave == wave for promotion in promotions):
            raise ConfigError(f"{label} has two entries for wave {wave}", remedy="keep one")
        promotions.append(Promotion(wave, _level(item.get("target"), f"{label}[{index}].target", levels)))
    return tuple(promotions)


def matrix_to_json(matrix: ComponentMatrix) -> dict[str, Any]:
    """The matrix as its JSON file holds it, in normal form."""
    return {
        "version": matrix.version,
        "levels": list(matrix.levels),
        "components": {
            component.component_id: {
                "title": component.title,
                "currentLevel": component.current_level,
                "promotions": [{"wave": item.wave, "target": item.target} for item in component.promotions],
                "canonicalDocs": list(component.canonical_docs),
                "proofSurfaces": list(component.proof_surfaces),
            }
            for component in matrix.components.values()
        },
    }


_BULLET = re.compile(r"^\s*-\s+`([^`]+)`:", re.MULTILINE)
_TABLE_ROW = re.compile(r"^\s*\|\s*`([^`]+)`\s*\|\s*`([^`]+)`\s*\|", re.MULTILINE)


def matrix_differences(matrix: ComponentMatrix, markdown: str) -> list[str]:
    """Where the markdown for people disagrees with the JSON, one line each; empty when they agree. Spec: CFG 12.1."""
    listed = {name for name in _BULLET.findall(markdown) if name not in matrix.levels}
    levels = {name: level for name, level in _TABLE_ROW.findall(markdown) if name not in matrix.levels}
    differences = []
    for name, component in matrix.components.items():
        if name not in listed:
            differences.append(f"component {name} is not listed in the markdown")
        if name not in levels:
            differences.append(f"component {name} has no current level in the markdown")
        elif levels[name] != component.current_level:
            differences.append(f"component {name} is {component.current_level} in JSON, {levels[name]} in markdown")
    unknown = sorted((listed | set(levels)) - set(matrix.components))
    return differences + [f"component {name} is not in the JSON" for name in unknown]
