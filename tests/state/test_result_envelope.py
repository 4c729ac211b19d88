"""Envelopes: written once, read by mode, projected back. GATE 6 and cases 31 to 36 of GATE 17."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from gate_scenes import (
    CORE,
    DELTA,
    DESIGNER,
    EVALUATOR,
    GOOD,
    PROOF,
    REVIEWER,
    STEWARDS,
    profile,
    summary_of,
    wave_of,
    worker,
)

from wave_lib.definition.config import config_from_payload
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent
from wave_lib.state.result_envelope import (
    attempt_of,
    build_envelope,
    project_summary,
    read_run_envelope,
    validate_envelope,
    write_envelope_once,
)

A1 = worker(deliverables=("src/a.py",))
WAVE = wave_of(DESIGNER, A1, EVALUATOR, REVIEWER, *STEWARDS)
LANE = profile()
BINDINGS = resolve_wave_role_bindings(WAVE, LANE.roles)
A0 = STEWARDS[2]


@pytest.fixture
def paths(tmp_path: Path) -> LanePaths:
    return build_lane_paths(config_from_payload(str(tmp_path), {}))


def made(item: Agent, log: str, attempt: int = 1, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    summary = summary_of(item, WAVE, log, lane=LANE, attempt=attempt, **options)
    return summary, build_envelope(summary, item, BINDINGS, wave_number=0, attempt=attempt)


@pytest.mark.parametrize("agent_id", list(GOOD))
def test_projection_gives_back_what_the_agent_said(agent_id: str) -> None:
    item = WAVE.agent(agent_id)
    assert item
    summary, envelope = made(item, GOOD[agent_id])
    envelope = json.loads(json.dumps(envelope))
    projected = project_summary(envelope)
    for key in summary:
        if key not in ("deliverables", "proofArtifacts"):
            assert projected[key] == summary[key], key
    assert validate_envelope(envelope, agent_id, envelope["role"], 0) == ()


def test_absence_stays_absence() -> None:
    _, envelope = made(A1, PROOF)
    assert envelope["implementation"] == {"docDelta": None, "components": []}
    assert project_summary(envelope)["docDelta"] is None
    _, silent = made(STEWARDS[1], DELTA)
    assert silent["documentation"] == {"docClosure": None}
    assert project_summary(silent)["docClosure"] is None
    _, mute = made(A0, "")
    assert mute["contQa"] == {"verdict": {"verdict": None, "detail": None}}
    assert project_summary(mute)["verdict"] is None


def test_the_definition_decides_the_role() -> None:
    _, envelope = made(A0, f"{GOOD['A0']}\n{GOOD['A8']}")
    assert envelope["role"] == "cont-qa" and "integration" not in envelope
    assert envelope["contQa"]["gateClaims"]["live"] == "pass"
    assert project_summary(envelope)["integration"] is None


def test_an_agent_with_two_roles_has_both_sections() -> None:
    double = STEWARDS[0]._replace(capabilities=("security-review",))
    wave = wave_of(A1, double, *STEWARDS[1:])
    bindings = resolve_wave_role_bindings(wave, LANE.roles)
    summary = summary_of(double, wave, f"{GOOD['A8']}\n{GOOD['S1']}", lane=LANE)
    envelope = build_envelope(summary, double, bindings, wave_number=0, attempt=1)
    assert envelope["role"] == "integration" and envelope["security"]["state"] == "clear"


def test_written_once_and_superseded_evidence_is_kept(paths: LanePaths) -> None:
    path = paths.result_envelope(0, 3, "A1")
    _, first = made(A1, GOOD["A1"], 3)
    assert write_envelope_once(path, first)
    before = os.stat(path).st_mtime_ns
    assert not write_envelope_once(path, first) and os.stat(path).st_mtime_ns == before
    for log in (f"{PROOF}\n{DELTA}", f"{PROOF}\n{CORE}"):
        assert write_envelope_once(path, made(A1, log, 3)[1])
    kept = sorted(os.listdir(os.path.join(os.path.dirname(path), "superseded")))
    assert kept == ["A1-20260101000000000-2.json", "A1-20260101000000000.json"]
    oldest = json.loads(Path(os.path.dirname(path), "superseded", kept[1]).read_text())
    assert oldest == first


def test_attempt_resolution(paths: LanePaths) -> None:
    assert attempt_of(paths, 0, "A1", None) == 1
    write_envelope_once(paths.result_envelope(0, 2, "A1"), made(A1, "", 2)[1])
    write_envelope_once(paths.result_envelope(0, 10, "A1"), made(A1, "", 10)[1])
    assert attempt_of(paths, 0, "A1", {"attempt": None}) == 10
    assert attempt_of(paths, 0, "A1", {"attempt": 3}, 4) == 3
    assert attempt_of(paths, 0, "A1", {"attempt": "x"}, 4) == 4


def test_reading_by_mode(paths: LanePaths) -> None:
    status = {"code": 0, "attempt": 1}
    missing = read_run_envelope(paths, WAVE, A1, status)
    assert (missing.source, missing.valid) == ("missing-envelope", False) and "A1" in missing.detail
    summary, envelope = made(A1, GOOD["A1"])
    stored = Path(paths.summary_file(0, A1.slug))
    stored.parent.mkdir(parents=True)
    stored.write_text(json.dumps(summary))
    assert read_run_envelope(paths, WAVE, A1, status).source == "missing-envelope"
    assert read_run_envelope(paths, WAVE, A1, status, "compat").source == "status-summary-legacy"
    assert read_run_envelope(paths, WAVE, A1, None, "compat").source == "summary-file-legacy"
    write_envelope_once(paths.result_envelope(0, 1, "A1"), envelope)
    assert read_run_envelope(paths, WAVE, A1, status).source == "run-envelope"
    assert read_run_envelope(paths, WAVE, A1, None).source == "missing-envelope"
    inline = read_run_envelope(paths, WAVE, A1, None, inline=envelope)
    assert (inline.source, inline.valid) == ("inline-envelope", True)
    assert read_run_envelope(paths, WAVE, A1, None, "compat", inline=summary).source == "inline-legacy-summary"
    listing = sorted(str(path) for path in Path(paths.root).rglob("*"))
    read_run_envelope(paths, WAVE, A1, status, "compat")
    assert sorted(str(path) for path in Path(paths.root).rglob("*")) == listing


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"agentId": "A2"},
        {"proof": None},
        {"implementation": []},
        {"waveNumber": 3},
        {"role": "boss"},
    ],
)
def test_an_invalid_envelope_is_final_in_live_and_skipped_in_compat(paths: LanePaths, change: dict[str, Any]) -> None:
    write_envelope_once(paths.result_envelope(0, 1, "A1"), {**made(A1, GOOD["A1"])[1], **change})
    reading = read_run_envelope(paths, WAVE, A1, {"code": 0, "attempt": 1})
    assert reading.source == "run-envelope" and not reading.valid and len(reading.errors) == 1
    assert read_run_envelope(paths, WAVE, A1, {"code": 0, "attempt": 1}, "compat").source == "missing-envelope"


def test_a_torn_envelope_blocks(paths: LanePaths) -> None:
    path = Path(paths.result_envelope(0, 1, "A1"))
    path.parent.mkdir(parents=True)
    path.write_text('{"schemaVersion": 2,')
    reading = read_run_envelope(paths, WAVE, A1, {"code": 0, "attempt": 1})
    assert (reading.source, reading.valid) == ("run-envelope", False) and reading.errors


NODE = {
    "schemaVersion": 2,
    "agentId": "A8",
    "waveNumber": 0,
    "attempt": 1,
    "exitCode": 0,
    "role": "implementation",
    "proof": {"state": "not_applicable", "completion": None, "durability": None, "proofLevel": None, "detail": None},
    "implementation": {"docDelta": {"state": "none", "paths": [], "detail": None}, "components": []},
}


def test_envelopes_written_by_node() -> None:
    assert validate_envelope(NODE, "A8", "integration", 0) == ()
    projected = project_summary(NODE)
    assert projected["proof"] is None and projected["integration"] is None
    assert projected["docDelta"] == {"state": "none", "paths": [], "detail": ""}
    deploy = project_summary({**NODE, "deploy": {"state": "failed", "environment": "eu"}})
    assert deploy["deployments"] == [{"service": "eu", "state": "failed", "detail": ""}]
    assert validate_envelope("x", "A8", "integration") == ("envelope is not an object",)
