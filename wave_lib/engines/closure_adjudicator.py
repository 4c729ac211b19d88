"""What becomes of a marker that was printed and cannot be read: recovered, redone, or left to a human.

It must not cost a rerun when everything else is in place, and must not pass by guesswork. Pure; the records are stored
by `state.closure_adjudication`. Spec: GATE 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..state.coordination_records import is_seed, record_blocks_wave, target_agent
from ..state.marker_grammar import canonical_line
from ..state.marker_recovery import recover
from .gate_results import TRANSPORT, Verdict
from .summary_validation import clean_token, rejected_samples, required_artifacts, validate_implementation_summary

if TYPE_CHECKING:
    from ..definition.wave_types import Agent

JsonObject = dict[str, Any]

PASS, REWORK, AMBIGUOUS = "pass", "rework-required", "ambiguous"


class Adjudication(NamedTuple):
    """The decision about one agent. `summary` is the summary with what was recovered, `verdict` what that validates to.

    `status` is `pass`, `rework-required` or `ambiguous`.
    """

    status: str
    reason: str
    detail: str
    failure_class: str | None = None
    evidence: tuple[JsonObject, ...] = ()
    synthesized_signals: tuple[str, ...] = ()
    summary: JsonObject | None = None
    verdict: Verdict | None = None

    def to_json(self) -> JsonObject:
        """The members that GATE 11 stores besides the header."""
        return {
            "status": self.status,
            "failureClass": self.failure_class,
            "reason": self.reason,
            "detail": self.detail,
            "evidence": list(self.evidence),
            "synthesizedSignals": list(self.synthesized_signals),
        }


def adjudicate(
    verdict: Verdict,
    summary: JsonObject | None,
    agent: Agent,
    *,
    records: Iterable[Mapping[str, Any]] = (),
    presence: Mapping[str, bool] | None = None,
    role: str = "implementation",
    recommendation: str | None = None,
) -> Adjudication:
    """Decide about a failed implementation verdict. `records` are the latest coordination records of the wave,
    `recommendation` is the derived integration summary's. First matching row of GATE 11 wins."""
    if verdict.failure_class != TRANSPORT or not verdict.eligible_for_adjudication or summary is None:
        return Adjudication(AMBIGUOUS, "not-eligible", verdict.detail, verdict.failure_class)
    evidence = _evidence(agent, summary, role, recommendation)
    base = Adjudication(AMBIGUOUS, "", "", verdict.failure_class, evidence)
    if _says_gap(agent, summary):
        return base._replace(
            status=REWORK, reason="semantic-negative-signal", detail="The agent itself reported a gap."
        )
    blocking = [str(item["id"]) for item in records if _concerns(item, agent.agent_id)]
    if blocking:
        return base._replace(
            reason="blocking-coordination", detail=f"Open records concern the agent: {', '.join(blocking)}."
        )
    return _recover_all(verdict, summary, agent, base, presence)


def _recover_all(
    verdict: Verdict, summary: JsonObject, agent: Agent, base: Adjudication, presence: Mapping[str, bool] | None
) -> Adjudication:
    """Rows 4 to 6: recover one marker after the other until the summary validates or stops being adjudicable."""
    recovered: list[str] = []
    signals = _known_signals(summary)
    current, state = verdict, summary
    while current.eligible_for_adjudication and current.adjudication_hint:
        found = _recover_hinted(current.adjudication_hint, state)
        if found is None:
            return base._replace(status=REWORK, reason="reconstruction-failed", detail=current.detail)
        state, line = found
        recovered.append(line)
        current = validate_implementation_summary(agent, state, presence)
    base = base._replace(synthesized_signals=(*signals, *recovered), summary=state, verdict=current)
    if not current.ok:
        return base._replace(status=REWORK, reason="recovered-signal-failed-validation", detail=current.detail)
    detail = f"Recovered from a malformed line: {'; '.join(recovered)}"
    return base._replace(status=PASS, reason="recovered-canonical-signal", detail=detail)


def _recover_hinted(hint: str, summary: JsonObject) -> tuple[JsonObject, str] | None:
    """The summary with the hinted marker recovered from its newest usable sample, and its canonical line."""
    kind, _, component_id = hint.partition(":")
    for sample in reversed(rejected_samples(summary, kind)):
        marker = recover(kind, str(sample.get("line") or "")).marker
        if marker is None or marker.values is None:
            continue
        if kind != "component":
            return {**summary, kind: marker.values}, marker.canonical
        if marker.values["componentId"] == component_id:
            others = [item for item in summary.get("components") or [] if item.get("componentId") != component_id]
            return {**summary, "components": [*others, marker.values]}, marker.canonical
    return None


def _says_gap(agent: Agent, summary: JsonObject) -> bool:
    """Row 2: a gap in the accepted markers, or in a malformed one that no accepted marker has replaced."""
    if (summary.get("proof") or {}).get("state") == "gap" or summary.get("gaps"):
        return True
    if not summary.get("proof") and any(_gap("proof", sample) for sample in rejected_samples(summary, "proof")):
        return True
    accepted = {item.get("componentId") for item in summary.get("components") or []}
    missing = set(agent.components) - accepted
    return any(
        _gap("component", sample)
        for sample in rejected_samples(summary, "component")
        if clean_token(sample.get("componentId")) in missing | {""}
    )


def _gap(kind: str, sample: JsonObject) -> bool:
    return recover(kind, str(sample.get("line") or "")).gap


def _concerns(record: Mapping[str, Any], agent_id: str) -> bool:
    """Row 3: an open record that blocks the wave, by this agent or for it; the launcher's own requests do not count."""
    if is_seed(record) or not record_blocks_wave(record):
        return False
    targets = record.get("targets") or ()
    return record.get("agentId") == agent_id or any(target_agent(str(target)) == agent_id for target in targets)


def _known_signals(summary: JsonObject) -> list[str]:
    lines = [canonical_line(kind, summary[kind]) for kind in ("proof", "docDelta") if summary.get(kind)]
    return lines + [canonical_line("component", item) for item in summary.get("components") or []]


def _evidence(agent: Agent, summary: JsonObject, role: str, recommendation: str | None) -> tuple[JsonObject, ...]:
    def present(key: str, paths: Iterable[str]) -> list[JsonObject]:
        records = {item.get("path"): item for item in summary.get(key) or []}
        return [{"path": path, "exists": bool((records.get(path) or {}).get("exists"))} for path in paths]

    return (
        {"kind": "exit-code", "value": summary.get("exitCode")},
        {"kind": "deliverables", "value": present("deliverables", agent.deliverables)},
        {"kind": "proof-artifacts", "value": present("proofArtifacts", required_artifacts(agent))},
        {"kind": "envelope-role", "value": role},
        {"kind": "integration-summary", "value": recommendation},
    )
