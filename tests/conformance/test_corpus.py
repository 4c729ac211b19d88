"""Runs the recorded scenarios beside the project against this program; skipped where the corpus is not there.

The harness runs all chosen scenarios once, two at a time; each of them is then a test of its own. `deviations.json`
lists the facts in which the specification asks for something other than what was recorded, each with its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
    chosen = [item.callspec.params["name"] for item in request.session.items if item.module is request.module]
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
