"""Does what an agent reported satisfy its role? One validator a role; the first failing row of its table decides.

Pure: summaries are projected from envelopes, `presence` says which paths are regular files now.
Spec: GATE 7 (rules), 7.1 (order of strength), 7.2 (verdicts); CFG 12 (levels).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition.components import MATURITY_LEVELS
from ..definition.wave_types import EXIT_CONTRACT_FIELDS, ExitContract
from ..state.marker_grammar import GATE_DIMENSIONS
from .gate_results import ARTIFACT, PROOF_GAP, SEMANTIC, STATE, TRANSPORT, Verdict

if TYPE_CHECKING:
    from ..definition.wave_types import Agent

JsonObject = dict[str, Any]

CLEARED_INFRA_STATES = frozenset(
    ("conformant", "setup-required", "setup-in-progress", "action-required", "action-approved", "action-complete")
)
_STATE_CODES = frozenset(
    (
        "missing-summary",
        "nonzero-exit",
        "missing-cont-eval-contract",
        "cont-eval-catalog-invalid",
        "missing-result-envelope",
        "invalid-result-envelope",
    )
)
_ARTIFACT_PREFIXES = ("missing-deliverable", "missing-proof-artifact", "missing-design-packet")
_TRANSPORT_PREFIXES = ("missing-wave-", "missing-doc-", "missing-cont-qa-verdict", "missing-cont-eval-")


class Report(NamedTuple):
    """The report a role must leave: its path by definition (None: the agent owns none) and whether it is there."""

    path: str | None
    exists: bool


def failure_class(code: str) -> str:
    """The failure class of a status code. Spec: GATE 7.2."""
    if code in _STATE_CODES or code.startswith("corridor-"):
        return STATE
    if code.startswith(_ARTIFACT_PREFIXES) or (code.startswith("missing-") and code.endswith("-report")):
        return ARTIFACT
    if code.startswith(_TRANSPORT_PREFIXES) or (code.startswith("invalid-") and code.endswith("-format")):
        return TRANSPORT
    return SEMANTIC


def accept(detail: str = "", code: str = "pass") -> Verdict:
    """An ok verdict."""
    return Verdict(True, code, detail)


def refuse(code: str, detail: str, summary: JsonObject | None = None, **more: Any) -> Verdict:
    """A failing verdict with its class; the termination hint is added where a marker is missing or malformed."""
    kind = failure_class(code)
    hint = (summary or {}).get("terminationHint")
    if hint and kind == TRANSPORT:
        detail = f"{detail} {hint}"
    return Verdict(False, code, detail, kind, **more)


def bucket(summary: JsonObject | None, kind: str) -> JsonObject:
    """The diagnostics of one marker kind, empty when there are none."""
    diagnostics = (summary or {}).get("structuredSignalDiagnostics")
    value = diagnostics.get(kind) if isinstance(diagnostics, dict) else None
    return value if isinstance(value, dict) else {}


def raw_but_rejected(summary: JsonObject | None, kind: str) -> bool:
    """Markers of this kind were printed and none was accepted. Spec: GATE 7.2."""
    counts = bucket(summary, kind)
    return bool(counts.get("rawCount")) and not counts.get("acceptedCount")


def rejected_samples(summary: JsonObject | None, kind: str) -> list[JsonObject]:
    """The rejected samples of a kind, oldest first."""
    samples = bucket(summary, kind).get("rejectedSamples")
    return [sample for sample in samples if isinstance(sample, dict)] if isinstance(samples, list) else []


def clean_token(raw: object) -> str:
    """A component id without the punctuation that made its marker unreadable."""
    words = str(raw or "").split()
    return words[0].strip("\"'`*()[]{}<>").rstrip(".,;:!|") if words else ""


def weaker(actual: str | None, required: str | None, order: tuple[str, ...]) -> bool:
    """Whether a level is below the required one; no requirement is met by anything, unknown meets nothing. GATE 7.1."""
    if not required:
        return False
    if actual not in order or required not in order:
        return True
    return order.index(actual) < order.index(required)


def has_contract(contract: ExitContract | None) -> bool:
    """Whether any member of the exit contract is set."""
    return contract is not None and any(contract)


def highest_target(agent: Agent) -> int | None:
    """Rank of the agent's highest component target, None without targets; levels outside the list rank below."""
    ranks = [_rank(level) for level in agent.component_targets.values() if level]
    return max(ranks) if ranks else None


def _rank(level: str) -> int:
    return MATURITY_LEVELS.index(level) if level in MATURITY_LEVELS else -1


def required_artifacts(agent: Agent) -> list[str]:
    """Paths of the proof artifacts that this agent must deliver. Spec: GATE 7.1."""
    highest = highest_target(agent)
    return [
        item.path
        for item in agent.proof_artifacts
        if not item.required_for or highest is None or any(highest >= _rank(level) for level in item.required_for)
    ]


def validate_implementation_summary(
    agent: Agent, summary: JsonObject | None, presence: Mapping[str, bool] | None = None
) -> Verdict:
    """Exit contract, documentation impact, components, files and exit code of an agent. Spec: GATE 7.3."""
    presence = presence or {}
    proof = (summary or {}).get("proof")
    code = (summary or {}).get("exitCode")
    contract = agent.exit_contract if has_contract(agent.exit_contract) else None
    declared = bool(agent.deliverables or agent.proof_artifacts)
    if contract is None and not declared and not code and (proof or {}).get("state") != "gap":
        return accept("No exit contract is declared.")
    if summary is None:
        return refuse("missing-summary", f"Agent {agent.agent_id} has no execution summary.")
    failure = None
    if contract is not None:
        failure = _check_markers(agent, contract, summary, presence)
    elif proof and proof.get("state") != "met":
        failure = _proof_gap(agent, summary)
    failure = failure or _check_files(agent, summary, presence)
    if failure:
        return failure
    if isinstance(code, int) and code != 0:
        return refuse("nonzero-exit", f"Agent {agent.agent_id} exited with code {code}.")
    return accept("Exit contract, deliverables and proof artifacts are satisfied.")


def _check_markers(
    agent: Agent, contract: ExitContract, summary: JsonObject, presence: Mapping[str, bool]
) -> Verdict | None:
    """Rows 3 to 12 of GATE 7.3."""
    return (
        _check_proof(agent, contract, summary, presence)
        or _check_doc_delta(agent, contract, summary, presence)
        or next(
            (found for item in agent.components if (found := check_component(agent, item, summary, presence))), None
        )
    )


def _check_proof(
    agent: Agent, contract: ExitContract, summary: JsonObject, presence: Mapping[str, bool]
) -> Verdict | None:
    proof = summary.get("proof")
    if proof is None:
        return _missing(agent, summary, presence, "proof", "invalid-wave-proof-format", "missing-wave-proof")
    if proof.get("state") != "met":
        return _proof_gap(agent, summary)
    for name, code in (
        ("completion", "completion-gap"),
        ("durability", "durability-gap"),
        ("proof", "proof-level-gap"),
    ):
        required, actual = getattr(contract, name), proof.get(name)
        if weaker(actual, required, EXIT_CONTRACT_FIELDS[name][1]):
            return refuse(code, f"Agent {agent.agent_id} reported {name} {actual}, the contract requires {required}.")
    return None


def _check_doc_delta(
    agent: Agent, contract: ExitContract, summary: JsonObject, presence: Mapping[str, bool]
) -> Verdict | None:
    delta = summary.get("docDelta")
    if delta is None:
        return _missing(agent, summary, presence, "docDelta", "invalid-doc-delta-format", "missing-doc-delta")
    if weaker(delta.get("state"), contract.doc_impact, EXIT_CONTRACT_FIELDS["doc_impact"][1]):
        return refuse(
            "doc-impact-gap",
            f"Agent {agent.agent_id} reported doc impact {delta.get('state')}, "
            f"the contract requires {contract.doc_impact}.",
        )
    return None


def check_component(
    agent: Agent, component_id: str, summary: JsonObject | None, presence: Mapping[str, bool] | None = None
) -> Verdict | None:
    """Rows 10 to 12 of GATE 7.3 for one owned component; None when its marker is good."""
    markers = (summary or {}).get("components") or []
    marker = next((item for item in markers if item.get("componentId") == component_id), None)
    if marker is None:
        counts = bucket(summary, "component")
        seen = {clean_token(item) for item in counts.get("seenComponentIds") or []}
        malformed = counts.get("rawCount") and (component_id in seen or not counts.get("acceptedCount"))
        if not malformed or summary is None:
            return refuse(
                "missing-wave-component",
                f"Agent {agent.agent_id} printed no [wave-component] marker for {component_id}.",
                summary,
                component_id=component_id,
            )
        return _malformed(agent, summary, presence or {}, "component", "invalid-wave-component-format", component_id)
    target = agent.component_targets.get(component_id)
    if target and marker.get("level") != target:
        return refuse(
            "component-level-mismatch",
            f"Agent {agent.agent_id} reported {component_id} at {marker.get('level')}, its target is {target}.",
            component_id=component_id,
        )
    if marker.get("state") != "met":
        return refuse(
            "component-gap",
            with_detail(f"Agent {agent.agent_id} reported a gap for component {component_id}", marker),
            component_id=component_id,
        )
    return None


def _missing(
    agent: Agent, summary: JsonObject, presence: Mapping[str, bool], kind: str, malformed: str, missing: str
) -> Verdict:
    if raw_but_rejected(summary, kind):
        return _malformed(agent, summary, presence, kind, malformed)
    tag = "[wave-proof]" if kind == "proof" else "[wave-doc-delta]"
    return refuse(missing, f"Agent {agent.agent_id} printed no {tag} marker.", summary)


def _malformed(
    agent: Agent,
    summary: JsonObject,
    presence: Mapping[str, bool],
    kind: str,
    code: str,
    component_id: str | None = None,
) -> Verdict:
    """A marker was printed that nobody can read; eligible for adjudication when everything else is in place."""
    samples = rejected_samples(summary, kind)
    if component_id:
        samples = [item for item in samples if clean_token(item.get("componentId")) in ("", component_id)]
    in_place = summary.get("exitCode") == 0 and _check_files(agent, summary, presence) is None
    quoted = f" Last rejected line ({samples[-1].get('reason')}): {samples[-1].get('line')}" if samples else ""
    return refuse(
        code,
        f"Agent {agent.agent_id} printed a {kind} marker that cannot be read.{quoted}",
        summary,
        eligible_for_adjudication=in_place and bool(samples),
        adjudication_hint=(f"component:{component_id}" if component_id else kind) if in_place and samples else None,
        component_id=component_id,
    )


def _proof_gap(agent: Agent, summary: JsonObject) -> Verdict:
    return refuse(PROOF_GAP, with_detail(f"Agent {agent.agent_id} reported a proof gap", summary.get("proof")))


def with_detail(sentence: str, marker: JsonObject | None) -> str:
    """The sentence, followed by what the agent said about it."""
    detail = (marker or {}).get("detail")
    return f"{sentence}: {detail}" if detail else f"{sentence}."


def _check_files(agent: Agent, summary: JsonObject, presence: Mapping[str, bool]) -> Verdict | None:
    """Rows 13 to 16 of GATE 7.3: recorded in the envelope, present then, present now."""
    for noun, key, wanted in (
        ("deliverable", "deliverables", list(agent.deliverables)),
        ("proof-artifact", "proofArtifacts", required_artifacts(agent)),
    ):
        records = {item.get("path"): item for item in summary.get(key) or []}
        words = noun.replace("-", " ")
        for path in wanted:
            record = records.get(path)
            if record is None:
                return refuse(f"missing-{noun}-summary", f"Agent {agent.agent_id} has no record of {words} {path}.")
            if not record.get("exists") or presence.get(path) is False:
                return refuse(f"missing-{noun}", f"Agent {agent.agent_id} has not delivered {words} {path}.")
    return None


def of_steward(verdict: Verdict, summary: JsonObject | None, kind: str, agent_id: str) -> Verdict:
    """A steward's own verdict, after what counts for every steward: its process, and a proof gap it reports.

    As for implementation (GATE 7.3 row 17), good markers do not undo a failed process: else the pass after a crash
    would find the stage satisfied. A proof gap counts when the steward otherwise passed or never printed its marker.
    Spec: GATE 7.11; LAUNCH 10.2 (earlier stages are judged on stored results), 21 cases 15, 16.
    """
    verdict = _with_exit(verdict, summary, agent_id)
    proof = (summary or {}).get("proof") or {}
    absent = not (summary or {}).get(kind) and not bucket(summary, kind).get("rawCount")
    if proof.get("state") != "gap" or not (verdict.ok or absent):
        return verdict
    return refuse(PROOF_GAP, proof.get("detail") or f"Agent {agent_id} reported a proof gap.")


def _with_exit(verdict: Verdict, summary: JsonObject | None, agent_id: str) -> Verdict:
    code = (summary or {}).get("exitCode")
    if verdict.ok and isinstance(code, int) and code != 0:
        return refuse("nonzero-exit", f"Agent {agent_id} exited with code {code}.")
    return verdict


def validate_documentation_summary(agent: Agent, summary: JsonObject | None) -> Verdict:
    """Did the documentation steward close documentation? Spec: GATE 7.4, 7.11."""
    return of_steward(_documentation(agent, summary or {}), summary, "docClosure", agent.agent_id)


def _documentation(agent: Agent, summary: JsonObject) -> Verdict:
    closure = summary.get("docClosure")
    if closure is None:
        diagnostics = summary.get("structuredSignalDiagnostics") or {}
        printed = any(item.get("rawCount") for item in diagnostics.values() if isinstance(item, dict))
        if summary.get("exitCode") == 0 and not printed and not summary.get("gaps"):
            return refuse(
                "missing-doc-closure-empty-run",
                f"Agent {agent.agent_id} ended without printing any marker.",
                summary,
                eligible_for_fallback=True,
            )
        return refuse("missing-doc-closure", no_marker(agent, summary, "docClosure", "[wave-doc-closure]"), summary)
    if closure.get("state") not in ("closed", "no-change"):
        return refuse("doc-closure-open", with_detail("Documentation closure is still open", closure))
    return accept(closure.get("detail") or f"Documentation is {closure['state']}.")


def no_marker(agent: Agent, summary: JsonObject | None, kind: str, tag: str) -> str:
    """The sentence for a missing marker; it quotes the last line that could not be read."""
    samples = rejected_samples(summary, kind)
    if not samples:
        return f"Agent {agent.agent_id} printed no {tag} marker."
    last = samples[-1]
    return f"Agent {agent.agent_id} printed no readable {tag} marker ({last.get('reason')}): {last.get('line')}"


def validate_security_summary(agent: Agent, summary: JsonObject | None, report: Report) -> Verdict:
    """The word of one security reviewer; concerns pass with their own code. Spec: GATE 7.5, 7.11."""
    return of_steward(_security(agent, summary, report), summary, "security", agent.agent_id)


def _security(agent: Agent, summary: JsonObject | None, report: Report) -> Verdict:
    marker = (summary or {}).get("security")
    if marker is None:
        return refuse("missing-wave-security", no_marker(agent, summary, "security", "[wave-security]"), summary)
    if not report.exists:
        return refuse("missing-security-report", no_report(agent, "security report", report))
    state = marker.get("state")
    if state == "clear" and ((marker.get("findings") or 0) > 0 or (marker.get("approvals") or 0) > 0):
        return refuse(
            "invalid-security-clear-state",
            f"Agent {agent.agent_id} reported clear with {marker.get('findings')} findings and "
            f"{marker.get('approvals')} approvals.",
        )
    if state == "concerns":
        return accept(with_detail(f"Agent {agent.agent_id} reported concerns", marker), "security-concerns")
    if state != "clear":
        return refuse("security-blocked", with_detail(f"Agent {agent.agent_id} blocked the wave", marker))
    return accept(marker.get("detail") or "Security review is clear.")


def no_report(agent: Agent, words: str, report: Report) -> str:
    """The sentence for a missing report."""
    if report.path is None:
        return f"Agent {agent.agent_id} owns no path for its {words}."
    return f"Agent {agent.agent_id} has not written its {words} {report.path}."


def validate_design_summary(agent: Agent, summary: JsonObject | None, report: Report) -> Verdict:
    """Is the design packet ready for implementation? Spec: GATE 7.6."""
    marker = (summary or {}).get("design")
    if marker is None:
        return refuse("missing-wave-design", no_marker(agent, summary, "design", "[wave-design]"), summary)
    if not report.exists:
        return refuse("missing-design-packet", no_report(agent, "design packet", report))
    state = marker.get("state")
    if state == "needs-clarification":
        return refuse("design-needs-clarification", with_detail(f"Agent {agent.agent_id} needs clarification", marker))
    if state != "ready-for-implementation":
        return refuse("design-blocked", with_detail(f"Agent {agent.agent_id} is blocked", marker))
    return _with_exit(accept(marker.get("detail") or "The design packet is ready."), summary, agent.agent_id)


def validate_integration_summary(agent: Agent, summary: JsonObject | None) -> Verdict:
    """The integration steward's word: ready, with nothing open that blocks. Spec: GATE 7.7, 7.11."""
    return of_steward(_integration(agent, summary), summary, "integration", agent.agent_id)


def _integration(agent: Agent, summary: JsonObject | None) -> Verdict:
    marker = (summary or {}).get("integration")
    if marker is None:
        text = no_marker(agent, summary, "integration", "[wave-integration]")
        return refuse("missing-wave-integration", text, summary)
    open_counts = [f"{marker[name]} {name}" for name in ("conflicts", "blockers") if (marker.get(name) or 0) > 0]
    if marker.get("state") != "ready-for-doc-closure" or open_counts:
        counts = f" ({', '.join(open_counts)})" if open_counts else ""
        return refuse("integration-needs-more-work", with_detail(f"Integration needs more work{counts}", marker))
    return accept(marker.get("detail") or "Integration is ready for documentation closure.")


def validate_cont_qa_summary(agent: Agent, summary: JsonObject | None, report: Report, mode: str = "live") -> Verdict:
    """The final word of cont-QA: gate claims and verdict. Spec: GATE 7.9, 7.11."""
    return of_steward(_cont_qa(agent, summary, report, mode), summary, "gate", agent.agent_id)


def _cont_qa(agent: Agent, summary: JsonObject | None, report: Report, mode: str) -> Verdict:
    gate = (summary or {}).get("gate")
    if gate is None:
        return refuse("missing-wave-gate", no_marker(agent, summary, "gate", "[wave-gate]"), summary)
    if mode == "live" and not report.exists:
        return refuse("missing-cont-qa-report", no_report(agent, "cont-QA report", report))
    verdict = (summary or {}).get("verdict")
    if not verdict:
        return refuse("missing-cont-qa-verdict", f"Agent {agent.agent_id} gave no verdict.", summary)
    word = verdict.get("verdict")
    if word != "pass":
        return refuse(f"cont-qa-{word}", with_detail(f"cont-QA verdict is {word}", verdict))
    for name in GATE_DIMENSIONS:
        if gate.get(name) not in ("pass", "gap"):
            return refuse(
                f"gate-{name}-{gate.get(name)}", with_detail(f"cont-QA gate {name} is {gate.get(name)}", gate)
            )
    gaps = [name for name in GATE_DIMENSIONS if gate.get(name) == "gap"]
    if gaps:
        return accept(f"Passed with documented gaps: {', '.join(gaps)}.", "conditional-pass")
    return accept(verdict.get("detail") or "cont-QA passed.")


def validate_deploy_summary(deployments: Collection[JsonObject]) -> Verdict:
    """The states of all services. Spec: GATE 7.10."""
    failed = [str(item.get("service")) for item in deployments if item.get("state") == "failed"]
    if failed:
        return refuse("deploy-failed", f"Deployment failed: {', '.join(failed)}.")
    open_ones = [
        f"{item.get('service')} {item.get('state')}"
        for item in deployments
        if item.get("state") in ("rolledover", "deploying")
    ]
    return accept(f"Needs attention: {', '.join(open_ones)}.", "deploy-attention") if open_ones else accept()


def validate_infra_summary(entries: Collection[JsonObject]) -> Verdict:
    """The states of all infra checks; an unknown state blocks. Spec: GATE 7.10."""
    for item in entries:
        state = item.get("state") or ""
        if state not in CLEARED_INFRA_STATES:
            name = f"{item.get('kind')} {item.get('target')}"
            return refuse(f"infra-{state or 'blocked'}", with_detail(f"Infra {name} is {state or 'blocked'}", item))
    return accept()
