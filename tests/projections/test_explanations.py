"""A blocked wave in plain words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wave_lib.projections.explanations import explain, hint_for

SPEC_CODES = """
missing-summary invalid-wave-proof-format missing-wave-proof wave-proof-gap completion-gap durability-gap
proof-level-gap invalid-doc-delta-format missing-doc-delta doc-impact-gap invalid-wave-component-format
missing-wave-component component-level-mismatch component-gap missing-deliverable-summary missing-deliverable
missing-proof-artifact-summary missing-proof-artifact nonzero-exit awaiting-adjudication missing-wave-design
missing-design-packet design-blocked design-needs-clarification design-gate-blocked
missing-component-promotions component-promotion-gap shared-component-sibling-pending component-matrix-invalid
unknown-component component-current-level-stale helper-assignment-unresolved helper-assignment-open
dependency-assignment-unresolved dependency-open blocker-open coordination-log-corrupt clarification-open
clarification-follow-up-open human-feedback-open missing-wave-eval missing-cont-eval-report cont-eval-blocked
cont-eval-needs-more-work corridor-fetch-failed corridor-blocked missing-wave-security missing-security-report
invalid-security-clear-state security-blocked missing-integration missing-wave-integration
integration-needs-more-work missing-integration-summary integration-contradiction-open missing-doc-closure
missing-doc-closure-empty-run doc-closure-open missing-cont-qa missing-wave-gate missing-cont-qa-report
missing-cont-qa-verdict cont-qa-concerns cont-qa-hold cont-qa-blocked gate-docs-blocked infra-drift
deploy-failed missing-closure-run timeout-no-status timed_out missing-status runtime-failed-before-status
retry-fallback-blocked credential-lease-unavailable orphaned missing-result-envelope invalid-result-envelope 7
"""


@pytest.mark.parametrize("code", SPEC_CODES.split())
def test_every_code_has_words(code: str) -> None:
    hint = hint_for(code)
    assert hint is not None
    assert hint.meaning.format(who="A1") and hint.remedy.format(who="A1")


def test_an_unknown_code_is_no_error() -> None:
    lines = explain(3, None, [{"agentId": "A1", "statusCode": "brand-new", "detail": "x"}])
    assert lines[0] == "Wave 3 is not closed."
    assert "A1 failed." in lines[1]


def test_what_is_said_and_where() -> None:
    snapshot = {"overall": {"ok": False, "gate": "implementationGate", "statusCode": "wave-proof-gap"}}
    failure = {"agentId": "A1", "statusCode": "wave-proof-gap", "detail": "tests\nmissing", "logPath": "logs/a1.log"}
    evidence = {("A1", "wave-proof-gap"): "logs/a1.log:12"}
    lines = explain(0, snapshot, [failure], evidence=evidence, next_command="wave launch")
    assert lines[0] == "Wave 0 is not closed; what stops it is: Implementation exit contract."
    assert lines[1].startswith("  A1 [wave-proof-gap]: A1 itself reports")
    assert "    said: tests missing" in lines
    assert "    see: logs/a1.log:12" in lines
    assert lines[-1] == "  Next: wave launch"


def test_a_gate_without_failures_speaks_for_itself() -> None:
    overall = {"ok": False, "gate": "blockerBarrier", "statusCode": "blocker-open", "detail": "b1", "agentId": None}
    lines = explain(0, {"overall": overall}, [])
    assert any("the wave [blocker-open]" in line for line in lines)


def test_the_commands_it_names_exist_in_the_specification() -> None:
    source = Path(__file__).parent.parent.parent / "wave_lib/projections/explanations.py"
    named = set(re.findall(r"`wave ([a-z]+)", source.read_text()))
    assert named <= {"signal", "control", "feedback", "dep", "retry", "launch"}
