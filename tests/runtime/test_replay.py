"""Trace bundles: written once, validated, judged again elsewhere. Spec: LAUNCH 17, 18, 21 (cases 50-53)."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from lane_lab import LaneLab

from wave_lib.commands import trace_cli
from wave_lib.projections.trace_bundle import validate_trace_bundle
from wave_lib.runtime.replay import diff_paths, replay_trace_bundle


@pytest.fixture
def lab(tmp_path):
    made = LaneLab(tmp_path / "ws")
    made.ran("A1")
    made.ran("A0")
    return made


def test_a_bundle_replays_as_it_was_stored(lab):
    written = lab.trace()
    assert validate_trace_bundle(written.trace_dir).errors == ()
    result = replay_trace_bundle(written.trace_dir)
    assert result["comparison"] == {
        "gateSnapshot": {"matches": True, "diffPaths": []},
        "quality": {"matches": True, "diffPaths": []},
    }
    assert result["ok"] and result["replayMode"] == "hermetic" and result["wave"] == 0
    assert result["gateSnapshot"]["overall"]["gate"] == "pass"


def test_a_bundle_needs_nothing_but_itself(lab, tmp_path):
    written = lab.trace()
    elsewhere = tmp_path / "copy"
    shutil.copytree(written.trace_dir, elsewhere)
    shutil.rmtree(lab.root)
    result = replay_trace_bundle(str(elsewhere))
    assert result["ok"] and result["matchesStoredGateSnapshot"] and result["matchesStoredQuality"]


def test_a_failed_pass_replays_to_the_same_failure(tmp_path):
    lab = LaneLab(tmp_path)
    lab.ran("A1", log=["[wave-proof] completion=contract durability=none proof=unit state=gap detail=half done"])
    lab.ran("A0")
    result = replay_trace_bundle(lab.trace().trace_dir)
    assert result["ok"] is False and result["matchesStoredGateSnapshot"] and result["matchesStoredQuality"]
    gate = result["gateSnapshot"]["implementationGate"]
    assert (gate["statusCode"], gate["logPath"]) == ("wave-proof-gap", None)
    assert result["quality"]["proofCompletenessRatio"] == 0


def test_what_a_bundle_holds(lab):
    written = lab.trace()
    found = {
        os.path.relpath(os.path.join(folder, name), written.trace_dir)
        for folder, _, names in os.walk(written.trace_dir)
        for name in names
    }
    assert {
        "manifest.json",
        "coordination.raw.jsonl",
        "coordination.materialized.json",
        "ledger.json",
        "docs-queue.json",
        "capability-assignments.json",
        "dependency-snapshot.json",
        "security.json",
        "integration.json",
        "quality.json",
        "structured-signals.json",
        "outcome.json",
        "shared-summary.md",
        "run-metadata.json",
        "prompts/0-a1.prompt.md",
        "logs/0-a1.log",
        "status/0-a1.status",
        "summaries/0-a1.summary.json",
        "inboxes/0-a1.md",
        "results/A1.json",
        "reports/0-a0.md",
    } <= found
    metadata = written.metadata
    assert (metadata["traceVersion"], metadata["attempt"], metadata["cumulativeAttemptCount"]) == (2, 1, 1)
    assert metadata["agents"][0]["launchedInAttempt"] is True
    assert written.structured_signals["A1"]["phase"] == "coding"
    assert not [name for name in os.listdir(os.path.dirname(written.trace_dir)) if name.endswith(".tmp")]


def test_an_attempts_bundle_is_never_overwritten(lab):
    first = lab.trace()
    before = {name: os.stat(os.path.join(first.trace_dir, name)).st_mtime_ns for name in os.listdir(first.trace_dir)}
    again = lab.trace()
    assert (first.written, again.written) == (True, False)
    assert again.quality == first.quality and again.metadata == first.metadata
    after = {name: os.stat(os.path.join(first.trace_dir, name)).st_mtime_ns for name in os.listdir(first.trace_dir)}
    assert before == after


def test_history_is_cumulative(lab):
    lab.trace(1)
    second = lab.trace(2, launched=("A1",))
    history = second.metadata["historySnapshot"]
    assert [(event["attempt"], event["agentId"]) for event in history["launchEvents"]] == [
        (1, "A0"),
        (1, "A1"),
        (2, "A1"),
    ]
    assert [item["attempt"] for item in history["contQaStatuses"]] == [1, 2]
    assert second.quality["relaunchCountByExecutor"] == {"claude": 1}
    assert second.quality["runtimeFallbackCount"] == 2 and second.quality["runtimeFallbackRate"] == 0.67
    assert replay_trace_bundle(second.trace_dir)["matchesStoredQuality"]


def test_one_changed_byte_is_found(lab):
    directory = lab.trace().trace_dir
    path = os.path.join(directory, "ledger.json")
    with open(path, "r+b") as file:
        file.seek(5)
        file.write(b"#")
    found = validate_trace_bundle(directory)
    assert not found.ok and any(error.startswith("ledger:") for error in found.errors)
    result = replay_trace_bundle(directory)
    assert result["ok"] is False and "gateSnapshot" not in result


@pytest.mark.parametrize(
    "name, expected",
    [
        ("quality.json", "quality: quality.json is required"),
        ("logs/0-a1.log", "agents.A1.log"),
        ("outcome.json", "outcome"),
    ],
)
def test_missing_files_are_named(lab, name, expected):
    directory = lab.trace().trace_dir
    os.unlink(os.path.join(directory, name))
    assert any(error.startswith(expected) for error in validate_trace_bundle(directory).errors)


def edit(directory, change):
    path = os.path.join(directory, "run-metadata.json")
    with open(path) as file:
        metadata = json.load(file)
    change(metadata)
    with open(path, "w") as file:
        json.dump(metadata, file)


def test_descriptors_must_stay_inside(lab):
    directory = lab.trace().trace_dir
    edit(directory, lambda data: data["artifacts"]["ledger"].update(path="../../../run-state.json"))
    assert any("leads out of the bundle" in error for error in validate_trace_bundle(directory).errors)


def test_versions(lab, tmp_path):
    directory = lab.trace().trace_dir
    edit(directory, lambda data: data.update(traceVersion=7))
    assert validate_trace_bundle(directory).replay_mode == "invalid"
    edit(directory, lambda data: data.update(traceVersion=1))
    legacy = validate_trace_bundle(directory)
    assert (legacy.ok, legacy.replay_mode, len(legacy.warnings)) == (True, "legacy-best-effort", 1)
    assert validate_trace_bundle(str(tmp_path)).replay_mode == "invalid"


def test_a_promoted_component_needs_its_matrix(lab):
    lab.wave = lab.wave._replace(component_promotions=_promotion())
    found = validate_trace_bundle(lab.trace().trace_dir)
    assert any("componentMatrix" in error for error in found.errors)


def _promotion():
    from retry_lab import promotes

    return promotes()


def test_diff_paths():
    assert diff_paths({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ["a[1].b"]
    assert diff_paths({"a": [1]}, {"a": [1, 2]}) == ["a"]
    assert diff_paths(1, 2) == ["<root>"]
    assert diff_paths({"a": True}, {"a": 1, "c": 0}) == ["a", "c"]
    assert diff_paths({"a": 1}, {"a": 1.0}) == []


def test_the_command(lab, capsys):
    lab.trace()
    arguments = ["--lane", "main", "--wave", "0", "--attempt", "1"]
    assert trace_cli.run(["validate", *arguments], str(lab.root)) == 0
    assert "valid (hermetic)" in capsys.readouterr().out
    assert trace_cli.run(["replay", *arguments, "--json"], str(lab.root)) == 0
    assert json.loads(capsys.readouterr().out)["matchesStoredGateSnapshot"] is True
    edit(lab.paths.trace_dir(0, 1), lambda data: data["replayContext"]["presence"].update({"src/widget.py": False}))
    assert trace_cli.run(["replay", *arguments], str(lab.root)) == 1
    assert "gates: differ at implementationGate.ok" in capsys.readouterr().out
