"""The component cutover matrix. Spec: CFG 12.1."""

from __future__ import annotations

import copy
import json

import pytest

from wave_lib.base.errors import ConfigError
from wave_lib.definition.components import (
    MATURITY_LEVELS,
    Promotion,
    compare_levels,
    load_component_matrix,
    matrix_differences,
    matrix_to_json,
)

MATRIX = {
    "version": 2,
    "levels": ["contract", "landed", "live"],
    "components": {
        "api": {
            "title": "API",
            "currentLevel": "landed",
            "promotions": [{"wave": 0, "target": "landed"}, {"wave": 4, "target": "live"}],
            "canonicalDocs": ["docs/api.md"],
            "proofSurfaces": ["tests"],
        },
        "web.ui": {"currentLevel": "contract"},
    },
}
MARKDOWN = """
Levels: `contract`, `landed`, `live`
- `contract`: written down
- `api`: the API
- `web.ui`: pages

| Component | Level |
| --- | --- |
| `api` | `landed` | x |
| `web.ui` | `contract` | y |
"""


def changed(**components):
    matrix = copy.deepcopy(MATRIX)
    matrix["components"] = components
    return matrix


def test_a_file_and_a_payload_give_the_same_matrix(tmp_path):
    path = tmp_path / "matrix.json"
    path.write_text(json.dumps(MATRIX))
    matrix = load_component_matrix(str(path))
    assert matrix == load_component_matrix(MATRIX, str(path))
    assert matrix.version == 2 and matrix.components["web.ui"].title == "web.ui"
    assert matrix.components["api"].promotion_of(4) == Promotion(4, "live")
    assert matrix.components["api"].promotion_of(1) is None
    assert load_component_matrix(matrix_to_json(matrix), str(path)) == matrix


def test_levels_compare_in_their_order():
    levels = MATRIX["levels"]
    assert compare_levels(levels, "contract", "live") < 0 < compare_levels(levels, "live", "landed")
    assert compare_levels(levels, "live", "live") == 0 and compare_levels(levels, "unknown", "contract") < 0
    assert MATURITY_LEVELS.index("pilot-live") == 4


@pytest.mark.parametrize(
    "payload, words",
    [
        ({**MATRIX, "levels": []}, "levels"),
        ({**MATRIX, "levels": ["a", "a"]}, "twice"),
        ({**MATRIX, "components": []}, "components"),
        ({**MATRIX, "version": "x"}, "version"),
        (changed(Bad={"currentLevel": "live"}), "components.Bad"),
        (changed(a={}), "components.a.currentLevel"),
        (changed(a={"currentLevel": "qa"}), "components.a.currentLevel"),
        (changed(a={"currentLevel": "live", "promotions": [{"wave": -1, "target": "live"}]}), "promotions[0].wave"),
        (changed(a={"currentLevel": "live", "promotions": [{"wave": 1, "target": "x"}]}), "promotions[0].target"),
        (
            changed(
                a={"currentLevel": "live", "promotions": [{"wave": 1, "target": "live"}, {"wave": 1, "target": "live"}]}
            ),
            "two entries for wave 1",
        ),
        (changed(a={"currentLevel": "live", "canonicalDocs": "x"}), "canonicalDocs"),
    ],
)
def test_a_malformed_matrix_is_an_error_that_names_the_place(payload, words):
    with pytest.raises(ConfigError) as caught:
        load_component_matrix(payload, "m.json")
    assert words in str(caught.value) and str(caught.value).startswith("m.json: ")


@pytest.mark.parametrize("text, where", [(None, ""), ("[]", ""), ('{"levels":\n x}', ":2:2")])
def test_a_missing_or_invalid_file_is_an_error_with_its_path(tmp_path, text, where):
    path = tmp_path / "matrix.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match="missing or invalid") as caught:
        load_component_matrix(str(path))
    assert f"{path}{where}:" in str(caught.value)


def test_the_markdown_must_agree():
    matrix = load_component_matrix(MATRIX)
    assert matrix_differences(matrix, MARKDOWN) == []
    other = MARKDOWN.replace("| `api` | `landed`", "| `api` | `live`").replace("- `web.ui`: pages", "- `cli`: tool")
    differences = "\n".join(matrix_differences(matrix, other))
    assert "api is landed in JSON, live in markdown" in differences
    assert "web.ui is not listed" in differences and "cli is not in the JSON" in differences
