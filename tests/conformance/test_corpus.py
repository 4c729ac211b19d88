"""Runs the recorded scenarios beside the project against this program; skipped where the corpus is not there.

The harness runs all chosen scenarios once, two at a time; each of them is then a test of its own. `deviations.json`
lists the facts in which the specification asks for something other than what was recorded, each with its place.
"""

from __future__ import annotations

import fnmatch
import json
import os
import subprocess
import sys
from typing import Any

import pytest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CORPUS = os.environ.get("WAVE_CONFORMANCE") or os.path.join(os.path.dirname(REPOSITORY), "shared", "conformance")
DEVIATIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "deviations.json")
PASSED = ("pass", "deviates", "refbug-same", "refbug-differs")


def scenario_names() -> list[str]:
    """The scenarios beside the project, if there are any."""
    folder = os.path.join(CORPUS, "scenarios")
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> dict[str, dict]:
    """Scenario name to the harness's result, for the scenarios that this test run selected."""
    items = (item for item in request.session.items if item.module is request.module and hasattr(item, "callspec"))
    chosen = [item.callspec.params["name"] for item in items]
    command = [sys.executable, os.path.join(CORPUS, "harness.py"), "check", "--json", "--jobs", "2"]
    command += ["--cmd", f'"{sys.executable}" "{os.path.join(REPOSITORY, "wave.py")}"', "--deviations", DEVIATIONS]
    command += ["--only", ",".join(chosen)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return {row["scenario"]: row for row in json.loads(ran.stdout)["results"]}


@pytest.mark.skipif(not scenario_names(), reason="the conformance corpus does not lie beside this checkout")
@pytest.mark.parametrize("name", scenario_names() or ["none"])
def test_scenario(name: str, results: dict[str, dict]) -> None:
    result = results[name]
    shown = [f"{where}: recorded {wanted!r}, here {got!r}" for where, wanted, got in result.get("diffs", [])[:12]]
    assert result["status"] in PASSED, "\n".join([name, result.get("error", ""), *shown])
    differing = [where for where, _, _ in result.get("deviations", [])]
    stale = [glob for glob in deviations().get(name, {}).get("facts", ()) if not fnmatch.filter(differing, glob)]
    assert stale == [], f"{name}: nothing differs there any more"


def test_every_deviation_says_which_facts_and_where_the_specification_asks_for_them() -> None:
    for name, entry in deviations().items():
        assert sorted(entry) == ["facts", "spec"], name
        assert entry["facts"] and "*" not in entry["facts"], f"{name}: name the facts"
        assert entry["spec"].split(" ")[0] in ("CFG", "GATE", "COORD", "LAUNCH", "SUP", "PROV", "WORK"), name


def deviations() -> dict[str, dict[str, Any]]:
    """Scenario name to `{facts, spec}`."""
    with open(DEVIATIONS, encoding="utf-8") as handle:
        return dict(json.load(handle))
