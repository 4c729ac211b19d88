"""The Context7 bundle index and which documentation an agent may look up. Fetching is the provider's job.

Spec: PROV 5.1 (index), 5.3 (selection).
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import ConfigError
from ..base.text import compact, compact_json, sha256_text
from .values import as_integer

if TYPE_CHECKING:
    from .wave_types import Agent, Context7Config, Wave

NO_BUNDLE = "none"

_SKIPPED_LINE = re.compile(r"(file ownership|validation|output)\b", re.I)


class BundleIndex(NamedTuple):
    """A checked index. `bundles` is `id -> {description, libraries}` in JSON shape, because it is hashed."""

    version: int
    default_bundle: str
    lane_defaults: dict[str, str]
    bundles: dict[str, dict[str, Any]]
    content_hash: str


def empty_index() -> BundleIndex:
    """The index of a workspace that has none: only the bundle `none`."""
    return _index(1, NO_BUNDLE, {}, {NO_BUNDLE: {"description": "", "libraries": []}})


def load_bundle_index(root: str, path: str) -> BundleIndex:
    """Read the index at the repo-relative `path`. Raises ConfigError naming file, bundle or lane. PROV 5.1."""
    try:
        with open(os.path.join(root, path), encoding="utf-8-sig") as file:
            payload = json.load(file)
    except FileNotFoundError:
        raise ConfigError("the Context7 bundle index is missing", path, "create it; `wave init` seeds one") from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise ConfigError(f"the Context7 bundle index is invalid JSON: {error.msg}", where) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"the Context7 bundle index cannot be read: {error}", path) from None
    return parse_bundle_index(payload, path)


def parse_bundle_index(payload: object, where: str) -> BundleIndex:
    """Check an index. `where` is named by errors."""
    if not isinstance(payload, dict) or not isinstance(payload.get("bundles"), dict):
        raise ConfigError("the Context7 bundle index must be an object with `bundles`", where)
    bundles = {key: _bundle(key, value, where) for key, value in payload["bundles"].items()}
    version = as_integer(payload.get("version", 1))
    default = _clean(payload.get("defaultBundle")) or NO_BUNDLE
    for needed in (NO_BUNDLE, default):
        if needed not in bundles:
            raise ConfigError(f'the Context7 bundle "{needed}" is not defined', where, "add it under `bundles`")
    lanes = payload.get("laneDefaults") or {}
    if version is None or not isinstance(lanes, dict):
        raise ConfigError("`version` must be an integer and `laneDefaults` an object", where)
    lane_defaults = {lane.strip().lower(): _clean(bundle) for lane, bundle in lanes.items() if _clean(bundle)}
    for lane, bundle in lane_defaults.items():
        if bundle not in bundles:
            raise ConfigError(f'laneDefaults.{lane} names the unknown Context7 bundle "{bundle}"', where)
    return _index(version, default, lane_defaults, bundles)


def select_context7(agent: Agent, wave: Wave, lane: str, index: BundleIndex) -> dict[str, Any]:
    """`context7Resolved` of one agent, with its `selectionHash`. Raises ConfigError for an unknown bundle. PROV 5.3."""
    own, shared = agent.context7_config, wave.context7_defaults
    bundle_id, bundle_source = next(
        (bundle, source)
        for bundle, source in (
            (own and own.bundle, "agent"),
            (shared and shared.bundle, "wave"),
            (index.lane_defaults.get(lane), "lane"),
            (index.default_bundle, "default"),
        )
        if bundle
    )
    if bundle_id not in index.bundles:
        raise ConfigError(f'Agent {agent.agent_id}: unknown Context7 bundle "{bundle_id}"', wave.file)
    query, query_source = _query(agent, shared) if bundle_id != NO_BUNDLE else ("", "none")
    bundle = index.bundles[bundle_id]
    selection = {
        "bundleId": bundle_id,
        "description": bundle["description"],
        "libraries": bundle["libraries"],
        "query": query,
        "bundleSource": bundle_source,
        "querySource": query_source,
        "indexHash": index.content_hash,
    }
    return {**selection, "selectionHash": sha256_text(compact_json(selection))}


def apply_context7(wave: Wave, lane: str, index: BundleIndex) -> Wave:
    """The wave with `context7_resolved` on every agent. Raises ConfigError for an unknown bundle."""
    agents = tuple(agent._replace(context7_resolved=select_context7(agent, wave, lane, index)) for agent in wave.agents)
    return wave._replace(agents=agents)


def _query(agent: Agent, shared: Context7Config | None) -> tuple[str, str]:
    """`(query, who gave it)`: agent, wave, else derived from the prompt."""
    if agent.context7_config and agent.context7_config.query:
        return agent.context7_config.query, "agent"
    if shared and shared.query:
        return shared.query, "wave"
    return derived_query(agent), "derived"


def derived_query(agent: Agent) -> str:
    """A query from the first six telling lines of the agent's prompt, else from its title. PROV 5.3."""
    lines = (line.strip() for line in (agent.prompt_overlay or agent.prompt).splitlines())
    telling = [line for line in lines if line and not _SKIPPED_LINE.match(line)]
    return compact(" ".join(telling[:6]), 260) or compact(agent.title, 120)


def _index(version: int, default: str, lanes: dict[str, str], bundles: dict[str, dict[str, Any]]) -> BundleIndex:
    content = {"version": version, "defaultBundle": default, "laneDefaults": lanes, "bundles": bundles}
    return BundleIndex(version, default, lanes, bundles, sha256_text(compact_json(content)))


def _bundle(bundle_id: str, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f'the Context7 bundle "{bundle_id}" must be an object', where)
    libraries = value.get("libraries")
    return {
        "description": compact(_clean(value.get("description")), 220),
        "libraries": [_library(item, bundle_id, where) for item in (libraries if isinstance(libraries, list) else [])],
    }


def _library(value: object, bundle_id: str, where: str) -> dict[str, Any]:
    block = value if isinstance(value, dict) else {}
    library = {key: _clean(block.get(key)) or None for key in ("libraryId", "libraryName")}
    if not any(library.values()):
        raise ConfigError(
            f'a library of the Context7 bundle "{bundle_id}" has neither libraryId nor libraryName', where
        )
    return {**library, "queryHint": compact(_clean(block.get("queryHint")), 220) or None}


def _clean(value: object) -> str:
    """Trimmed text without one pair of surrounding identical quotes; anything that is no text counts as empty."""
    text = value.strip() if isinstance(value, str) else ""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text
