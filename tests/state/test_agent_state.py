"""Status records, verdicts, terminations and summaries from real files: GATE 4, 5 and cases 25 to 34 of GATE 17."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from gate_scenes import GOOD, PROOF, STEWARDS, agent, wave_of, worker

from wave_lib.base.timestamps import iso_of
from wave_lib.definition.config import config_from_payload
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, Wave
from wave_lib.state.agent_state import (
    build_agent_execution_summary,
    collect_summary_facts,
    read_agent_execution_summary,
    read_status_record,
    summary_path,
)
from wave_lib.state.report_verdict import report_verdict, resolve_verdict
from wave_lib.state.termination import classify_termination

A1 = worker(deliverables=("src/a.py", "src", "../outside"))
WAVE = wave_of(A1, *STEWARDS)


@pytest.fixture
def paths(tmp_path: Path) -> LanePaths:
    return build_lane_paths(config_from_payload(str(tmp_path), {}))


def put(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(text)


def summary(paths: LanePaths, item: Agent, log: str, status: dict[str, Any], wave: Wave = WAVE, **more: Any) -> Any:
    put(paths.log_file(0, item.slug), log)
    bindings = resolve_wave_role_bindings(wave, paths.profile.roles)
    return build_agent_execution_summary(collect_summary_facts(item, wave, bindings, paths, status, **more))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"code": 0}', 0),
        ('{"code": "7"}', 7),
        ("139", 139),
        ("0abc", None),
        ("", None),
        ('{"code": true}', None),
        ('{"code": null}', None),
        ("[]", None),
    ],
)
def test_status_codes(tmp_path: Path, text: str, code: int | None) -> None:
    path = tmp_path / "a.status"
    path.write_text(text)
    record = read_status_record(str(path))
    assert (record["code"] if record else None) == code
    assert read_status_record(str(tmp_path / "none")) is None


def test_status_members_are_kept_and_unusable_ones_null(tmp_path: Path) -> None:
    path = tmp_path / "a.status"
    path.write_text(json.dumps({"code": 0, "attempt": 3, "promptHash": 5, "logOffset": -1, "ignoreRanges": 1, "x": 2}))
    record = read_status_record(str(path))
    assert record and record["attempt"] == 3 and record["promptHash"] is None and record["definitionHash"] is None
    assert (record["logOffset"], record["ignoreRanges"], record["x"]) == (0, [], 2)
    assert summary_path("a/wave-0-x.status") == "a/wave-0-x.summary.json" and summary_path("a") == "a.summary.json"


def test_summary_of_real_files(paths: LanePaths, tmp_path: Path) -> None:
    put(str(tmp_path / "src/a.py"), "x")
    found = summary(paths, A1, GOOD["A1"], {"code": 0, "attempt": 3, "logOffset": 0})
    assert [item["exists"] for item in found["deliverables"]] == [True, False, False]
    assert found["deliverables"][0]["sha256"].startswith("2d711642b726b044")
    assert (found["attempt"], found["exitCode"], found["role"]) == (3, 0, "implementation")
    assert found["logPath"] == paths.rel(paths.log_file(0, A1.slug))
    assert found["proof"]["state"] == "met" and found["verdict"] is None
    assert found["terminationReason"] is None and found["terminationObservedTurnLimit"] is None


def test_a_link_out_of_the_repository_is_no_evidence(paths: LanePaths, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("x")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").symlink_to(outside)
    assert summary(paths, A1, "", {"code": 0})["deliverables"][0]["exists"] is False
    outside.unlink()


def test_only_this_attempts_own_output_counts(paths: LanePaths) -> None:
    found = summary(paths, A1, GOOD["A1"], {"code": 0, "logOffset": len(GOOD["A1"])})
    assert found["proof"] is None and found["components"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Verdict: PASS\n\n## Note\n", ("pass", "", 1)),
        ("# One\nVerdict: PASS\n# Two\n**Verdict: BLOCKED** - tests fail\n", ("blocked", "tests fail", 2)),
        ("  ## - Verdict: hold: detail=wait", ("hold", "wait", 1)),
        ("Verdict: FAIL", ("blocked", "", 1)),
        ("```\nVerdict: PASS\n```", None),
        ("Verdict: PASSED", None),
        ("The Verdict: PASS", None),
        (" " * 50_000 + "x", None),
    ],
)
def test_verdict_lines(text: str, expected: tuple[str, str, int] | None) -> None:
    found = report_verdict(text)
    assert (tuple(found) if found else None) == expected


QA = STEWARDS[2]
REPORT = QA.owned_paths[0]


@pytest.mark.parametrize(
    ("log", "report", "age", "expected", "source"),
    [
        ("", "Verdict: PASS\n\nVerdict: BLOCKED", 0, "blocked", "report"),
        ("[wave-verdict] blocked", "Verdict: PASS", 0, "blocked", "log"),
        ("[wave-verdict] pass", "Verdict: CONCERNS", 0, "concerns", "report"),
        ("[wave-verdict] pass", "Verdict: CONCERNS", 100, "pass", "log"),
        ("[wave-verdict] pass", "Verdict: PASS\nVerdict: CONCERNS", 0, "pass", "log"),
        ("", "Verdict: PASS", 100, None, None),
    ],
)
def test_which_verdict_counts(
    paths: LanePaths, tmp_path: Path, log: str, report: str, age: int, expected: str | None, source: str | None
) -> None:
    put(str(tmp_path / REPORT), report)
    start = (tmp_path / REPORT).stat().st_mtime + age - 0.005
    found = summary(paths, QA, log, {"code": 0}, started_at=iso_of(start))
    assert (found["verdict"] or {}).get("verdict") == expected
    assert found["verdictSource"] == source and found["reportPath"] == REPORT and found["reportExists"]


def test_a_report_counts_when_the_start_is_unknown() -> None:
    assert resolve_verdict(None, report_verdict("Verdict: PASS"), fresh=None)[1] == "report"


ENDINGS: list[tuple[int | None, str, dict[str, Any], str | None]] = [
    (0, "a test timed out after 5s", {}, None),
    (1, "Reached max turns (12)", {"executor_id": "codex"}, "max-turns"),
    (1, "error_max_turns", {}, "max-turns"),
    (124, "", {}, "timeout"),
    (143, "", {"runtime": {"exitReason": "timeout", "timeoutSeconds": 120}}, "timeout"),
    (0, "", {"runtime": {"terminalDisposition": "terminated"}}, None),
    (1, "stream error: 429 Too Many Requests", {}, "rate-limit"),
    (1, "Not logged in. Please run /login", {}, "auth"),
    (127, "", {"executor_id": "codex"}, "missing-binary"),
    (1, "rg: command not found", {}, "exit-code"),
    (1, "[main-wave-launcher] codex: command not found", {}, "missing-binary"),
    (1, "waiting timed out after 30 s. bye", {}, "timeout"),
    (1, "", {"status": {"detail": "no luck"}}, "status-detail"),
    (7, "", {}, "exit-code"),
    (None, "", {}, None),
]


@pytest.mark.parametrize(("code", "text", "facts", "reason"), ENDINGS)
def test_terminations(code: int | None, text: str, facts: dict[str, Any], reason: str | None) -> None:
    assert classify_termination(code, text, **facts).reason == reason


def test_termination_hints() -> None:
    limit = classify_termination(1, "Reached max turns (12)", executor_id="codex")
    assert limit.observed_turn_limit == 12 and "launch-preview.json" in limit.hint and limit.recoverable
    late = classify_termination(143, "", runtime={"exitReason": "timeout", "timeoutSeconds": 90})
    assert "1.5 minutes" in late.hint
    assert classify_termination(1, "x\nHTTP 429 Too Many Requests y\nz").hint == "HTTP 429 Too Many Requests y"
    assert not classify_termination(127, "").recoverable


def test_an_incomplete_stored_summary_is_read_again_and_not_written_back(paths: LanePaths) -> None:
    stored = paths.summary_file(0, A1.slug)
    put(stored, json.dumps({"agentId": "A1", "proof": None, "docDelta": None, "components": []}))
    bindings = resolve_wave_role_bindings(WAVE, paths.profile.roles)
    before = Path(stored).read_bytes()
    assert read_agent_execution_summary(A1, WAVE, bindings, paths) == json.loads(before)
    put(paths.log_file(0, A1.slug), PROOF)
    put(paths.status_file(0, A1.slug), '{"code": 0}')
    found = read_agent_execution_summary(A1, WAVE, bindings, paths)
    assert found and found["proof"]["state"] == "met" and Path(stored).read_bytes() == before
    assert read_agent_execution_summary(agent("A2"), WAVE, bindings, paths) is None
