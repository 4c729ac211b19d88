"""What every agent of a wave is told. Spec: COORD 21.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..state.coordination_records import is_assignment_record, is_seed, record_blocks_wave
from .record_lines import (
    activity_line,
    assignment_line,
    cap_text,
    dependency_line,
    entry_lines,
    open_record_line,
    runtime_line,
    section,
    timing_lines,
)

if TYPE_CHECKING:
    from ..engines.derived_state import DerivedState

    JsonObject = dict[str, Any]

CAP = 4000
_EVIDENCE = (
    ("Integration conflicts", "conflictingClaims"),
    ("Changed interfaces", "changedInterfaces"),
    ("Cross-component impacts", "crossComponentImpacts"),
    ("Proof gaps", "proofGaps"),
    ("Deploy risks", "deployRisks"),
    ("Security findings", "securityFindings"),
    ("Security approvals", "securityApprovals"),
    ("Documentation gaps", "docGaps"),
)


def build_shared_summary(derived: DerivedState) -> str:
    """The full text of the shared summary."""
    state, metrics = derived.coordination_state, derived.response_metrics
    helpers = [item for item in derived.capability_assignments if item["blocking"]]
    dependencies = derived.dependency_snapshot
    blockers = [record for record in state.open_of_kind("blocker") if record_blocks_wave(record)]
    decisions = [
        record for record in state.of_kind("decision") if not is_seed(record) and not is_assignment_record(record)
    ]
    integration = derived.integration_summary
    lines = [
        f"# Wave {derived.wave_number} Shared Summary",
        "",
        *_count_lines(derived, len(blockers), len(helpers)),
        *timing_lines(metrics),
        *_integration_lines(derived),
        *section("Current blockers", [open_record_line(record, metrics) for record in blockers]),
        *section(
            "Current clarifications",
            [open_record_line(record, metrics) for record in state.open_of_kind("clarification-request")],
        ),
        *section("Helper assignments", [assignment_line(item) for item in helpers]),
        *section(
            "Cross-lane dependencies",
            [dependency_line(item) for item in [*dependencies["openInbound"], *dependencies["openOutbound"]]],
        ),
        *section("Current decisions", [activity_line(record) for record in decisions[-5:]]),
    ]
    for heading, key in _EVIDENCE:
        lines += section(heading, entry_lines(integration[key], 4))
    lines += section("Runtime assignments", [runtime_line(item) for item in derived.runtime_assignments])
    return "\n".join(lines) + "\n"


def _count_lines(derived: DerivedState, blockers: int, helpers: int) -> list[str]:
    state, dependencies = derived.coordination_state, derived.dependency_snapshot
    posted = [record for record in state.open if not is_seed(record)]
    requests = sum(1 for record in posted if record["kind"] == "request")
    return [
        f"- Open requests: {requests}",
        f"- Open blockers: {blockers}",
        f"- Open clarifications: {len(state.open_of_kind('clarification-request'))}",
        f"- Open human escalations: {len(state.open_of_kind('human-escalation'))}",
        f"- Open coordination items: {len(posted)}",
        f"- Open helper assignments: {helpers}",
        f"- Open inbound dependencies: {len(dependencies['openInbound'])}",
        f"- Open outbound dependencies: {len(dependencies['openOutbound'])}",
    ]


def _integration_lines(derived: DerivedState) -> list[str]:
    integration, security = derived.integration_summary, derived.security_summary
    return [
        f"- Integration recommendation: {integration['recommendation']}",
        f"- Integration conflicts: {len(integration['conflictingClaims'])}",
        f"- Proof gaps: {len(integration['proofGaps'])}",
        f"- Deploy risks: {len(integration['deployRisks'])}",
        f"- Documentation gaps: {len(integration['docGaps'])}",
        f"- Security review: {security['overallState']}",
        f"- Security findings: {len(integration['securityFindings'])}",
        f"- Security approvals: {len(integration['securityApprovals'])}",
        f"- Ledger phase: {derived.ledger['phase']}",
    ]


def capped_shared_summary(text: str, path: str, limit: int = CAP) -> str:
    """The copy for a prompt; `path` is where the full text is."""
    return cap_text(text, limit, f"[Shared summary truncated; full text: {path}]")
