"""Eval targets and the benchmark catalog. Spec: CFG 13."""

from __future__ import annotations

import copy
import json

import pytest

from wave_lib.base.errors import ConfigError
from wave_lib.definition.evals import EvalTarget, check_target, load_benchmark_catalog, parse_eval_targets

PINNED = "- id: Speed | selection: pinned | benchmarks: fast, `Slow` | objective: `be quick` | threshold: p95 < 1s |"
DELEGATED = 'id: q | Selection: Delegated | benchmark-family: quality | objective: "good: enough" | threshold: 0.9'
CATALOG = {
    "version": 1,
    "families": {
        "quality": {
            "title": "Quality",
            "localCases": ["case-1", "case-2"],
            "primaryMetric": {"id": "score", "direction": "higher-is-better"},
            "paperReferences": [{"title": "On Waves & Tides", "year": 2024}],
            "benchmarks": {"exact": {"localCases": ["case-2"], "scoring": {"rubric": "r"}}},
        },
        "speed": {
            "sotaBaseline": {"source": "s", "paper": "p", "metric": "m", "value": 3.5},
            "benchmarks": {"fast": {}, "slow": {"failureModes": ["hang"]}},
        },
    },
}


@pytest.fixture
def catalog_of(tmp_path):
    def load(payload):
        path = tmp_path / "catalog.json"
        path.write_text(json.dumps(payload))
        return load_benchmark_catalog(str(path), "docs/catalog.json")

    return load


def test_target_lines():
    pinned, delegated = parse_eval_targets([PINNED, DELEGATED])
    assert pinned == EvalTarget("speed", "pinned", None, ("fast", "slow"), "be quick", "p95 < 1s")
    assert delegated == EvalTarget("q", "delegated", "quality", (), "good: enough", "0.9")
    assert parse_eval_targets([]) == ()


@pytest.mark.parametrize(
    "lines, words",
    [
        (["id: a | selection: pinned | objective: o | threshold: t"], "evalTargets[0].benchmarks"),
        (["id: a | selection: delegated | objective: o | threshold: t"], "evalTargets[0].benchmark-family"),
        (["id: a | selection: free | objective: o | threshold: t"], "evalTargets[0].selection"),
        (["selection: pinned"], "evalTargets[0].id"),
        (["id: A B | selection: pinned"], "evalTargets[0].id"),
        ([PINNED.replace("objective", "objectiv")], "evalTargets[0].objectiv"),
        ([PINNED.replace("| objective: `be quick`", "")], "evalTargets[0].objective"),
        ([PINNED, "id | x"], "evalTargets[1]: malformed field 'id'"),
        (["id: | x"], "malformed"),
        ([PINNED, PINNED.replace("Speed", "SPEED")], "evalTargets[1].id repeats"),
        (["id: a | id: b"], "given twice"),
    ],
)
def test_malformed_target_lines_name_their_field(lines, words):
    with pytest.raises(ConfigError) as caught:
        parse_eval_targets(lines)
    assert words in str(caught.value)


def test_the_catalog_and_its_indexes(catalog_of):
    catalog = catalog_of(CATALOG)
    assert catalog.benchmark_index == {"exact": "quality", "fast": "speed", "slow": "speed"}
    assert catalog.local_case_index == {
        "case-1": {"familyId": "quality", "benchmarkId": None},
        "case-2": {"familyId": "quality", "benchmarkId": "exact"},
    }
    quality = catalog.families["quality"]
    assert quality["paperReferences"][0]["id"] == "on-waves-tides"
    assert quality["primaryMetric"]["direction"] == "higher-is-better" and quality["secondaryMetrics"] == []
    assert catalog.families["speed"]["title"] == "speed"
    assert catalog.families["speed"]["sotaBaseline"]["value"] == 3.5


def _with(change):
    payload = copy.deepcopy(CATALOG)
    change(payload["families"])
    return payload


@pytest.mark.parametrize(
    "payload, words",
    [
        ({"families": []}, "families must be an object"),
        (_with(lambda f: f["speed"].update(benchmarks={})), "families.speed.benchmarks must not be empty"),
        (_with(lambda f: f["speed"]["sotaBaseline"].pop("metric")), "families.speed.sotaBaseline.metric"),
        (_with(lambda f: f["speed"]["sotaBaseline"].update(value=True)), "sotaBaseline.value"),
        (_with(lambda f: f["speed"]["benchmarks"].update(exact={})), "'exact' is in the families"),
        (_with(lambda f: f["quality"].update(localCases="x")), "families.quality.localCases"),
        (_with(lambda f: f["quality"].update(secondaryMetrics={})), "secondaryMetrics must be a list"),
        (_with(lambda f: f["quality"]["primaryMetric"].update(direction="up")), "primaryMetric.direction"),
        (_with(lambda f: f["quality"]["primaryMetric"].pop("id")), "primaryMetric.id"),
        (_with(lambda f: f["quality"]["paperReferences"][0].update(year=1800)), "paperReferences[0].year"),
        (_with(lambda f: f["quality"]["paperReferences"][0].pop("title")), "paperReferences[0].title"),
        (_with(lambda f: f.update({"SPEED": f["speed"]})), "two keys for 'speed'"),
    ],
)
def test_a_malformed_catalog_names_file_and_field(catalog_of, payload, words):
    with pytest.raises(ConfigError) as caught:
        catalog_of(payload)
    assert words in str(caught.value) and str(caught.value).startswith("docs/catalog.json: ")


def test_a_missing_catalog_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="missing or invalid"):
        load_benchmark_catalog(str(tmp_path / "none.json"))


def test_targets_are_checked_against_the_catalog(catalog_of):
    catalog = catalog_of(CATALOG)
    pinned, delegated = parse_eval_targets([PINNED, DELEGATED])
    assert check_target(pinned, catalog) == ("fast", "slow")
    assert check_target(delegated._replace(benchmarks=("ignored",)), catalog) == ("exact",)
    for target, words in (
        (pinned._replace(benchmark_family="quality"), "belongs to family 'speed'"),
        (pinned._replace(benchmarks=("none",)), "unknown benchmark 'none'"),
        (delegated._replace(benchmark_family="none"), "unknown benchmark family 'none'"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_target(target, catalog)
