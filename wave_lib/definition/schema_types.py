"""How the configuration schema is written down, and the three things done with it: read, merge, fill.

`read` checks one layer and keeps only what it sets, `merge` lays an inner layer over an outer one, `fill` adds the
defaults at the end. So no default of an outer layer ever hides a value of an inner one. Spec: CFG 3, 4.1, 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Union

from ..base.errors import ConfigError
from ..base.text import nearest
from .values import UNSET, Kind, deep_copy, shown, unique


class Leaf(NamedTuple):
    """One key. `added`: unknown to the Node package, stored only when it differs from the default (CFG 4.6)."""

    kind: Kind
    default: Any = None
    text: str = ""
    added: bool = False
    union: bool = False


class Block(NamedTuple):
    """An object with known keys. `optional`: an absent or empty one is null; `removed`: former key -> its successor."""

    fields: Mapping[str, Node]
    text: str = ""
    optional: bool = False
    added: bool = False
    removed: Mapping[str, str] = {}


class Keyed(NamedTuple):
    """An object with free keys: `key(raw, label)` gives the id, or UNSET to warn and drop the entry.

    `merge` says how an inner layer meets an outer one: `replace` the whole, `by-key` replace equal entries, `deep`
    merge equal entries, `union` join their lists.
    """

    item: Node
    key: Callable[[str, str], Any]
    text: str = ""
    merge: str = "replace"
    key_name: str = "<id>"


Node = Union[Leaf, Block, Keyed]


def read(node: Node, value: object, label: str, warnings: list[str]) -> Any:
    """Check `value` and return what it sets, UNSET for nothing. Adds unknown keys to `warnings`; raises ConfigError."""
    if isinstance(node, Leaf):
        return node.kind.read(value, label)
    if value is None:
        return UNSET if isinstance(node, Block) and node.optional else {}
    if not isinstance(value, dict):
        raise ConfigError(f"{label or 'the configuration'} must be an object, got {shown(value)}")
    if isinstance(node, Keyed):
        return _read_keyed(node, value, label, warnings)
    known = {}
    for key, item in value.items():
        dotted = f"{label}.{key}" if label else key
        if key in node.removed:
            raise ConfigError(f"{dotted} was renamed to {node.removed[key]}")
        if key not in node.fields:
            close = nearest(key, node.fields)
            warnings.append(f"unknown key {dotted}" + (f" (did you mean {close}?)" if close else ""))
            continue
        entry = read(node.fields[key], item, dotted, warnings)
        if entry is not UNSET:
            known[key] = entry
    return known


def _read_keyed(node: Keyed, value: dict[str, Any], label: str, warnings: list[str]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for raw, item in value.items():
        key = node.key(raw, label)
        if key is UNSET:
            warnings.append(f"unknown key {label}.{raw}")
            continue
        if key in spelled:
            raise ConfigError(f"{label} has two keys for {key!r}: {spelled[key]!r} and {raw!r}", remedy="remove one")
        spelled[key] = raw
        entry = read(node.item, item, f"{label}.{raw}", warnings)
        if entry is not UNSET:
            entries[key] = entry
    return entries


def merge(node: Node, outer: Any, inner: Any) -> Any:
    """Lay `inner` over `outer` (both from `read`, or UNSET); neither is changed."""
    if inner is UNSET or outer is UNSET:
        return deep_copy(outer if inner is UNSET else inner)
    if isinstance(node, Leaf):
        return unique([*outer, *inner]) if node.union else deep_copy(inner)
    if isinstance(node, Keyed) and node.merge == "replace":
        return deep_copy(inner)
    merged = deep_copy(outer)
    for key, item in inner.items():
        child = node.fields[key] if isinstance(node, Block) else node.item
        by_key = isinstance(node, Keyed) and node.merge == "by-key"
        merged[key] = deep_copy(item) if by_key else merge(child, outer.get(key, UNSET), item)
    return merged


def fill(node: Node, value: Any) -> Any:
    """The complete value: every key present, in the order of the table, defaults where nothing was set."""
    if isinstance(node, Leaf):
        return deep_copy(node.default if value is UNSET else value)
    if not value and isinstance(node, Block) and node.optional:
        return None
    given = value or {}
    if isinstance(node, Keyed):
        keys = sorted(given) if node.merge == "union" else list(given)
        return {key: fill(node.item, given[key]) for key in keys}
    filled = {}
    for key, child in node.fields.items():
        item = fill(child, given.get(key, UNSET))
        if not getattr(child, "added", False) or item != fill(child, UNSET):
            filled[key] = item
    return filled


def inheritable(block: Block, without: tuple[str, ...] = (), sparse: bool = False) -> Block:
    """The block as a profile may set it: nothing has a default, an omitted key inherits. Spec: CFG 4.6.

    `sparse` also leaves omitted keys out of the stored object.
    """
    fields: dict[str, Node] = {}
    for key, child in block.fields.items():
        if key in without:
            continue
        if isinstance(child, Leaf):
            added = sparse or child.added
            fields[key] = child._replace(default=() if child.kind.is_list and not sparse else None, added=added)
        else:
            fields[key] = inheritable(child, sparse=sparse) if isinstance(child, Block) else child
    return block._replace(fields=fields, optional=True)


def word_key(raw: str, label: str) -> str:
    """The key of a map of free words: trimmed, lower-cased."""
    if not raw.strip():
        raise ConfigError(f"{label} has an empty key")
    return raw.strip().lower()
