"""Security summary, integration summary and dependency snapshot for people. Spec: COORD 18, 19, LAUNCH 16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..engines.security_summary import corridor_word
from .record_lines import dependency_line, runtime_line, section

if TYPE_CHECKING:
    from collections.abc import Mapping

_LISTS = (
    ("Open Claims", "openClaims"),
    ("Conflicting Claims", "conflictingClaims"),
    ("Unresolved Blockers", "unresolvedBlockers"),
    ("Changed Interfaces", "changedInterfaces"),
    ("Cross-Component Impacts", "crossComponentImpacts"),
    ("Proof Gaps", "proofGaps"),
    ("Deploy Risks", "deployRisks"),
    ("Security Findings", "securityFindings"),
    ("Security Approvals", "securityApprovals"),
    ("Inbound Dependencies", "inboundDependencies"),
    ("Outbound Dependencies", "outboundDependencies"),
    ("Helper Assignments", "helperAssignments"),
    ("Documentation Gaps", "docGaps"),
)


def security_markdown(summary: Mapping[str, Any]) -> str:
    """`security/wave-<n>.md`."""
    corridor = summary["corridor"]
    reviewers = ", ".join(review["agentId"] for review in summary["agents"]) or "none"
    lines = [
        f"# Wave {summary['wave']} Security Summary",
        "",
        f"- State: {summary['overallState']}",
        f"- Detail: {summary['detail']}",
        f"- Total findings: {summary['totalFindings']}",
        f"- Total approvals: {summary['totalApprovals']}",
        f"- Reviewers: {reviewers}",
        f"- Corridor: {corridor_word(corridor)}",
    ]
    if corridor:
        told = [
            f"- Source: {corridor['source'] or corridor['providerMode'] or 'unknown'}",
            f"- Matched findings: {len(corridor['matchedFindings'])}",
            f"- Blocking findings: {len(corridor['blockingFindings'])}",
        ]
        if corridor["error"]:
            told.append(f"- Error: {' '.join(str(corridor['error']).split())}")
        lines += section("Corridor", told)
    reviews = [
        f"- {item['agentId']}: state={item['state']} findings={item['findings']} approvals={item['approvals']} "
        f"report={item['reportPath'] or 'n/a'} detail={' '.join(str(item['detail']).split()) or 'n/a'}"
        for item in summary["agents"]
    ]
    return "\n".join(lines + section("Reviews", reviews)) + "\n"


def integration_markdown(summary: Mapping[str, Any]) -> str:
    """`integration/wave-<n>.md`."""
    corridor = summary["corridor"] or {}
    lines = [
        f"# Wave {summary['wave']} Integration Summary",
        "",
        f"- Recommendation: {summary['recommendation']}",
        f"- Detail: {summary['detail'] or 'n/a'}",
        *(f"- {label}: {len(summary[key])}" for label, key in _LISTS),
        f"- Corridor blocking findings: {len(corridor.get('blockingFindings') or ())}",
    ]
    for label, key in _LISTS[:-1]:
        if key == "securityApprovals":
            found = [f"- {entry}" for entry in summary["securityFindings"] if entry.startswith("corridor: ")]
            lines += section("Corridor Findings", found)
        lines += section(label, [f"- {entry}" for entry in summary[key]])
    lines += section("Runtime Assignments", [runtime_line(item) for item in summary["runtimeAssignments"]])
    lines += section("Documentation Gaps", [f"- {entry}" for entry in summary["docGaps"]])
    return "\n".join(lines) + "\n"


def dependency_markdown(snapshot: Mapping[str, Any]) -> str:
    """`dependencies/wave-<n>.md`."""
    lines = [
        f"# Wave {snapshot['wave']} Dependencies",
        "",
        f"- Required inbound: {len(snapshot['requiredInbound'])}",
        f"- Required outbound: {len(snapshot['requiredOutbound'])}",
        f"- Unassigned required inbound: {len(snapshot['unresolvedInboundAssignments'])}",
        *section("Inbound", [f"{dependency_line(item)} ({item['status']})" for item in snapshot["inbound"]]),
        *section("Outbound", [f"{dependency_line(item)} ({item['status']})" for item in snapshot["outbound"]]),
    ]
    return "\n".join(lines) + "\n"
