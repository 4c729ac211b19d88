"""The Context7 bundle index and selection. Spec: PROV 5.1, 5.3."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from wave_lib.base.errors import ConfigError
from wave_lib.definition.context7_bundles import (
    derived_query,
    empty_index,
    load_bundle_index,
    parse_bundle_index,
    select_context7,
)
from wave_lib.definition.wave_types import Agent, Context7Config, Wave

INDEX: dict[str, Any] = {
    "defaultBundle": "core",
    "laneDefaults": {" Main ": "web", "other": " "},
    "bundles": {
        "none": {},
        "core": {"description": '"Core   docs"', "libraries": [{"libraryId": "/o/l", "queryHint": "x"}]},
        "web": {"libraries": [{"libraryName": "forms"}]},
    },
}
AGENT = Agent("A1", "Code", "a", prompt_overlay="Build é.\n\nFile ownership:\n- a\n outputs stay\nOutput: x")


def selected(
    agent: Context7Config | None = None, shared: Context7Config | None = None, lane: str = "free"
) -> dict[str, Any]:
    wave = Wave(0, "w.md", context7_defaults=shared)
    return select_context7(AGENT._replace(context7_config=agent), wave, lane, parse_bundle_index(INDEX, "i.json"))


def sha(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def test_the_index_hash_is_that_of_its_normal_form() -> None:
    none = {"description": "", "libraries": []}
    core = {"description": "Core docs", "libraries": [{"libraryId": "/o/l", "libraryName": None, "queryHint": "x"}]}
    web = {"description": "", "libraries": [{"libraryId": None, "libraryName": "forms", "queryHint": None}]}
    content = {
        "version": 1,
        "defaultBundle": "core",
        "laneDefaults": {"main": "web"},
        "bundles": {"none": none, "core": core, "web": web},
    }
    assert parse_bundle_index(INDEX, "i.json").content_hash == sha(content)


def test_who_chooses_bundle_and_query() -> None:
    own, shared = Context7Config("core", None), Context7Config("web", "wave words")
    assert [selected(own, shared)[key] for key in ("bundleId", "bundleSource", "query", "querySource")] == [
        "core",
        "agent",
        "wave words",
        "wave",
    ]
    assert selected(Context7Config(None, "mine"), shared)["querySource"] == "agent"
    assert selected(lane="main")["bundleSource"] == "lane"
    default = selected()
    assert (default["bundleSource"], default["query"]) == ("default", "Build é. - a outputs stay")
    assert default["querySource"] == "derived"
    none = selected(Context7Config("none", "ignored"))
    assert (none["query"], none["querySource"]) == ("", "none")


def test_the_selection_hash_covers_the_seven_fields_in_order() -> None:
    selection = selected()
    digest = selection.pop("selectionHash")
    assert ",".join(selection) == "bundleId,description,libraries,query,bundleSource,querySource,indexHash"
    assert digest == sha(selection)


def test_a_title_stands_in_for_an_empty_prompt() -> None:
    assert derived_query(AGENT._replace(prompt_overlay="Validation:\n")) == "Code"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ([], "bundles"),
        ({"bundles": {}}, '"none"'),
        ({"bundles": {"none": {}}, "defaultBundle": "x"}, '"x"'),
        ({"bundles": {"none": {}}, "laneDefaults": {"api": "x"}}, "laneDefaults.api"),
        ({"bundles": {"none": {}, "b": {"libraries": [{"queryHint": "x"}]}}}, '"b"'),
        ({"bundles": {"none": []}}, '"none"'),
    ],
)
def test_wrong_indexes(payload: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_bundle_index(payload, "docs/i.json")
    assert "docs/i.json" in str(caught.value)


def test_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="i.json: the Context7 bundle index is missing"):
        load_bundle_index(str(tmp_path), "i.json")
    (tmp_path / "i.json").write_text('{"bundles":\n oops}')
    with pytest.raises(ConfigError, match="i.json:2:2"):
        load_bundle_index(str(tmp_path), "i.json")
    (tmp_path / "i.json").write_text(json.dumps(INDEX))
    assert load_bundle_index(str(tmp_path), "i.json").default_bundle == "core"


def test_without_an_index_nothing_is_selected() -> None:
    selection = select_context7(AGENT, Wave(0, "w.md"), "main", empty_index())
    assert (selection["bundleId"], selection["bundleSource"]) == ("none", "default")
