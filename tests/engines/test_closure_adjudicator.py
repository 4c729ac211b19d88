"""Malformed markers: recovered, redone or left to a human. GATE 11, case 47."""

from __future__ import annotations

from typing import Any

import pytest
from gate_scenes import CORE, DELTA, PROOF, STEWARDS, profile, summary_of, wave_of, worker

from wave_lib.engines.closure_adjudicator import Adjudication, adjudicate
from wave_lib.engines.summary_validation import validate_implementation_summary

AGENT = worker(deliverables=("src/a.py",))
WAVE = wave_of(AGENT, *STEWARDS)


def decided(log: str, records: list[dict[str, Any]] | None = None) -> Adjudication:
    summary = summary_of(AGENT, WAVE, log, lane=profile())
    verdict = validate_implementation_summary(AGENT, summary)
    return adjudicate(verdict, summary, AGENT, records=records or [], recommendation="ready-for-doc-closure")


@pytest.mark.parametrize(
    ("log", "status", "reason"),
    [
        (f"{PROOF},\n{DELTA}\n{CORE}", "pass", "recovered-canonical-signal"),
        (f"{PROOF},\n{DELTA};\n{CORE}.", "pass", "recovered-canonical-signal"),
        (f"{DELTA}\n{CORE}", "ambiguous", "not-eligible"),
        (f"{PROOF.replace('met', 'gap,')}\n{DELTA}\n{CORE}", "rework-required", "semantic-negative-signal"),
        (
            f"{PROOF.replace('met', 'gap,')}\n{PROOF},\n{DELTA}\n{CORE}",
            "rework-required",
            "semantic-negative-signal",
        ),
        (f"{PROOF},\n{DELTA}\n{CORE}\n[wave-gap] kind=ops", "rework-required", "semantic-negative-signal"),
        (f"{PROOF.replace('met', 'nearly')}\n{DELTA}\n{CORE}", "rework-required", "reconstruction-failed"),
        (f"{PROOF},\n{DELTA}", "rework-required", "recovered-signal-failed-validation"),
        (
            f"{PROOF}\n{DELTA}\n{CORE.replace('repo-landed', 'pilot-live')},",
            "rework-required",
            "recovered-signal-failed-validation",
        ),
        # an agent that only repeats its instructions has proven nothing
        (f"{PROOF.replace('met', '<met|gap>')}\n{DELTA}\n{CORE}", "rework-required", "reconstruction-failed"),
        (f"{PROOF}\n[wave-doc-delta] state=none|owned|shared-plan\n{CORE}", "rework-required", "reconstruction-failed"),
        # a malformed marker of another component is no sample of this one
        (f"{PROOF}\n{DELTA}\n{CORE.replace('core', 'other')},", "ambiguous", "not-eligible"),
    ],
)
def test_decisions(log: str, status: str, reason: str) -> None:
    found = decided(log)
    assert (found.status, found.reason) == (status, reason)


def test_the_newest_readable_sample_is_taken_and_recorded() -> None:
    found = decided(f"{PROOF.replace('unit', 'live')},\n{PROOF},\n{DELTA}\n{CORE}")
    assert found.synthesized_signals[-1] == PROOF
    record = found.to_json()
    assert record["failureClass"] == "transport-failure"
    assert [item["kind"] for item in record["evidence"]] == [
        "exit-code",
        "deliverables",
        "proof-artifacts",
        "envelope-role",
        "integration-summary",
    ]
    assert record["evidence"][1]["value"] == [{"path": "src/a.py", "exists": True}]


def record(**members: Any) -> dict[str, Any]:
    given = {"id": "r1", "kind": "request", "status": "open", "blocking": True, "agentId": "A9", "source": "agent"}
    return {"targets": [], "priority": "normal", "dependsOn": [], "closureCondition": "", **given, **members}


@pytest.mark.parametrize(
    ("members", "ambiguous"),
    [
        ({"targets": ["agent:A1"]}, True),
        ({"targets": ["A1"]}, True),
        ({"agentId": "A1"}, True),
        ({"targets": ["agent:A2"]}, False),
        ({"targets": ["agent:A1"], "status": "resolved"}, False),
        ({"targets": ["agent:A1"], "blocking": False}, False),
        ({"id": "wave-0-agent-A1-request", "source": "launcher", "targets": ["agent:A1"]}, False),
    ],
)
def test_only_open_blocking_records_about_the_agent_stand_in_the_way(members: dict[str, Any], ambiguous: bool) -> None:
    found = decided(f"{PROOF},\n{DELTA}\n{CORE}", [record(**members)])
    assert found.reason == ("blocking-coordination" if ambiguous else "recovered-canonical-signal")
