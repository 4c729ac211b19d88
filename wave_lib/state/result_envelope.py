"""Result envelopes: the immutable record of what one agent delivered in one attempt.

The launcher writes each once; gates read them, through `project_summary`, in every mode.

Holds: nothing.
Writes: `results/wave-<n>/attempt-<a>/<agentId>.json` and, when evidence changes, its predecessor under `superseded/`.
When killed: an envelope is whole or absent; a predecessor may stand in both places, never in none.

Spec: GATE 6.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base import files
from ..definition import roles as role_rules
from .agent_state import ENVELOPE_ROLES, envelope_role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave

JsonObject = dict[str, Any]

SCHEMA_VERSION = 2
SECTION_OF_ROLE = {
    "design": "design",
    "implementation": "implementation",
    "integration": "integration",
    "documentation": "documentation",
    "cont-qa": "contQa",
    "cont-eval": "contEval",
    "security": "security",
    "deploy": "deploy",
}
_PROOF_STATE = {"met": "satisfied", "gap": "partial", "failed": "failed"}
_SUMMARY_STATE = {written: state for state, written in _PROOF_STATE.items()}
_DEPLOY_SEVERITY = ("failed", "rolledover", "deploying", "healthy")
# marker of a role -> (envelope section, fields besides `state` and `detail`)
_MARKER_SECTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "design": ("design", ("decisions", "assumptions", "openQuestions")),
    "integration": ("integration", ("claims", "conflicts", "blockers")),
    "eval": ("contEval", ("targets", "benchmarks", "regressions", "targetIds", "benchmarkIds")),
    "security": ("security", ("findings", "approvals")),
}
_LIST_FIELDS = frozenset(("targetIds", "benchmarkIds"))
_GATE_FIELDS = ("architecture", "integration", "durability", "live", "docs")


class EnvelopeReading(NamedTuple):
    """What was found for an agent. `source` is one of GATE 6.4; `path` is the expected file of the run path."""

    source: str
    valid: bool
    errors: tuple[str, ...] = ()
    detail: str = ""
    envelope: JsonObject | None = None
    path: str = ""

    @property
    def attempt(self) -> int | None:
        """The attempt the envelope belongs to."""
        value = (self.envelope or {}).get("attempt")
        return value if isinstance(value, int) else None


def held_roles(agent: Agent, bindings: RoleBindings) -> tuple[str, ...]:
    """The agent's envelope role first, then every other closure role it is bound to."""
    closure = ["security" if key == "security-review" else key for key in role_rules.closure_roles(agent, bindings)]
    return tuple(dict.fromkeys([envelope_role(agent, bindings), *closure]))


def build_envelope(
    summary: JsonObject, agent: Agent, bindings: RoleBindings, *, wave_number: int, attempt: int
) -> JsonObject:
    """The envelope that says what a summary says. Pure. Spec: GATE 6.2."""
    proof = summary.get("proof")
    envelope: JsonObject = {
        "schemaVersion": SCHEMA_VERSION,
        "agentId": agent.agent_id,
        "waveNumber": wave_number,
        "attempt": attempt,
        "completedAt": summary.get("completedAt"),
        "exitCode": summary.get("exitCode"),
        "role": envelope_role(agent, bindings),
        "proof": {
            "state": _PROOF_STATE.get(proof["state"], "failed") if proof else "not_applicable",
            "completion": proof["completion"] if proof else None,
            "durability": proof["durability"] if proof else None,
            "proofLevel": proof["proof"] if proof else None,
            "detail": _text(proof) if proof else None,
        },
        "deliverables": [_pick(item, "path", "exists", "sha256") for item in summary.get("deliverables") or []],
        "proofArtifacts": [
            _pick(item, "path", "kind", "exists", "sha256", "requiredFor")
            for item in summary.get("proofArtifacts") or []
        ],
        "gaps": list(summary.get("gaps") or []),
        "unresolvedBlockers": [],
        "riskNotes": [],
        "facts": [],
        "_synthesizedFromLegacy": True,
        "promptHash": summary.get("promptHash"),
        "logPath": summary.get("logPath"),
        "reportPath": summary.get("reportPath"),
        "reportExists": bool(summary.get("reportExists")),
        "reportSha256": summary.get("reportSha256"),
        "reportModifiedAt": summary.get("reportModifiedAt"),
        "verdictSource": summary.get("verdictSource"),
        "structuredSignalDiagnostics": summary.get("structuredSignalDiagnostics"),
        "termination": {
            "reason": summary.get("terminationReason"),
            "hint": summary.get("terminationHint") or "",
            "observedTurnLimit": summary.get("terminationObservedTurnLimit"),
        },
        "deployments": list(summary.get("deployments") or []),
        "infra": list(summary.get("infra") or []),
    }
    for role in held_roles(agent, bindings):
        envelope[SECTION_OF_ROLE[role]] = _section(role, summary)
    if summary.get("docDelta") or summary.get("components"):
        envelope["implementation"] = _section("implementation", summary)
    return envelope


def _section(role: str, summary: JsonObject) -> JsonObject:
    """The role section of an envelope; its values are null when the marker is missing."""
    if role == "implementation":
        return {
            "docDelta": _with_paths(summary.get("docDelta")),
            "components": list(summary.get("components") or []),
        }
    if role == "documentation":
        return {"docClosure": _with_paths(summary.get("docClosure"))}
    if role == "cont-qa":
        verdict, gate = summary.get("verdict"), summary.get("gate")
        section: JsonObject = {
            "verdict": {"verdict": verdict["verdict"] if verdict else None, "detail": _text(verdict)}
        }
        if gate:
            section["gateClaims"] = {**{name: gate[name] for name in _GATE_FIELDS}, "detail": _text(gate)}
        return section
    if role == "deploy":
        states = [item.get("state") for item in summary.get("deployments") or []]
        worst = next((state for state in _DEPLOY_SEVERITY if state in states), "not_applicable")
        return {"state": worst, "environment": None, "healthCheck": None, "rolloutArtifact": None, "detail": None}
    kind = "eval" if role == "cont-eval" else role
    marker = summary.get(kind) or {}
    fields = _MARKER_SECTIONS[kind][1]
    values = {name: marker.get(name) if name not in _LIST_FIELDS else marker.get(name) or [] for name in fields}
    return {"state": marker.get("state"), **values, "detail": _text(marker)}


def _with_paths(marker: JsonObject | None) -> JsonObject | None:
    return (
        {"state": marker["state"], "paths": list(marker.get("paths") or []), "detail": _text(marker)}
        if marker
        else None
    )


def _text(marker: JsonObject | None) -> str | None:
    return (marker or {}).get("detail") or None


def _pick(item: JsonObject, *keys: str) -> JsonObject:
    return {key: item.get(key) for key in keys}


def project_summary(envelope: JsonObject) -> JsonObject:
    """The summary that the gates work on. What the envelope does not say is null. Pure. Spec: GATE 6.5."""
    written_by_agent = envelope.get("termination")
    termination = written_by_agent if isinstance(written_by_agent, dict) else {}
    implementation, documentation = _object(envelope, "implementation"), _object(envelope, "documentation")
    qa = _object(envelope, "contQa")
    verdict, claims = _object(qa, "verdict"), _object(qa, "gateClaims")
    summary: JsonObject = {
        "agentId": envelope.get("agentId"),
        "role": envelope.get("role"),
        "waveNumber": envelope.get("waveNumber"),
        "attempt": envelope.get("attempt"),
        "promptHash": envelope.get("promptHash"),
        "exitCode": envelope.get("exitCode"),
        "completedAt": envelope.get("completedAt"),
        "proof": _projected_proof(_object(envelope, "proof")),
        "docDelta": _projected_paths(_object(implementation, "docDelta")),
        "docClosure": _projected_paths(_object(documentation, "docClosure")),
        "gate": {**{name: claims.get(name) for name in _GATE_FIELDS}, "detail": claims.get("detail") or ""}
        if claims
        else None,
        "components": [_detailed(item) for item in _objects(implementation, "components")],
        "gaps": [_detailed(item) for item in _objects(envelope, "gaps")],
        "deliverables": _objects(envelope, "deliverables"),
        "proofArtifacts": _objects(envelope, "proofArtifacts"),
        "verdict": _detailed(verdict) if verdict.get("verdict") else None,
        "verdictSource": envelope.get("verdictSource"),
        "deployments": _projected_deployments(envelope),
        "infra": _objects(envelope, "infra"),
        "structuredSignalDiagnostics": _object(envelope, "structuredSignalDiagnostics"),
        "terminationReason": termination.get("reason"),
        "terminationHint": termination.get("hint") or "",
        "terminationObservedTurnLimit": termination.get("observedTurnLimit"),
        "logPath": envelope.get("logPath"),
        "reportPath": envelope.get("reportPath"),
        "reportExists": envelope.get("reportExists"),
        "reportSha256": envelope.get("reportSha256"),
        "reportModifiedAt": envelope.get("reportModifiedAt"),
    }
    for kind, (section_key, fields) in _MARKER_SECTIONS.items():
        section = _object(envelope, section_key)
        summary[kind] = (
            {"state": section["state"], **{name: section.get(name) for name in fields}, "detail": _text(section) or ""}
            if section.get("state")
            else None
        )
    return summary


def _projected_proof(proof: JsonObject) -> JsonObject | None:
    state = _SUMMARY_STATE.get(str(proof.get("state")))
    if state is None:
        return None
    return {
        "completion": proof.get("completion"),
        "durability": proof.get("durability"),
        "proof": proof.get("proofLevel"),
        "state": state,
        "detail": proof.get("detail") or "",
    }


def _projected_paths(marker: JsonObject) -> JsonObject | None:
    if not marker.get("state"):
        return None
    return {"state": marker["state"], "paths": list(marker.get("paths") or []), "detail": marker.get("detail") or ""}


def _projected_deployments(envelope: JsonObject) -> list[JsonObject]:
    """The deployments; an envelope written by Node has one state for all services."""
    if "deployments" in envelope:
        return _objects(envelope, "deployments")
    deploy = _object(envelope, "deploy")
    state = deploy.get("state")
    if state not in _DEPLOY_SEVERITY:
        return []
    service = deploy.get("environment") or envelope.get("agentId")
    return [{"service": service, "state": state, "detail": deploy.get("detail") or ""}]


def _detailed(item: JsonObject) -> JsonObject:
    return {**item, "detail": item.get("detail") or ""}


def _object(holder: JsonObject, key: str) -> JsonObject:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _objects(holder: JsonObject, key: str) -> list[JsonObject]:
    value = holder.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def validate_envelope(envelope: object, agent_id: str, role: str, wave_number: int | None = None) -> tuple[str, ...]:
    """What is wrong with an envelope, nothing when it is valid. `role` is the definition's. Spec: GATE 6.3."""
    if not isinstance(envelope, dict):
        return ("envelope is not an object",)
    errors = []
    if envelope.get("schemaVersion") != SCHEMA_VERSION:
        errors.append(f"schemaVersion is {envelope.get('schemaVersion')!r}, expected {SCHEMA_VERSION}")
    if envelope.get("agentId") != agent_id:
        errors.append(f"agentId is {envelope.get('agentId')!r}, expected {agent_id!r}")
    written_role = envelope.get("role")
    if written_role not in ENVELOPE_ROLES:
        errors.append(f"role is {written_role!r}, expected {role!r}")
    # Node calls an agent whose role marker is missing an implementation agent.
    section = SECTION_OF_ROLE["implementation" if written_role == "implementation" else role]
    if not isinstance(envelope.get(section), dict):
        errors.append(f"section {section} is missing or not an object")
    if not isinstance(envelope.get("proof"), dict):
        errors.append("proof is missing or not an object")
    number = envelope.get("waveNumber")
    if wave_number is not None and number is not None and number != wave_number:
        errors.append(f"waveNumber is {number!r}, expected {wave_number}")
    return tuple(errors)


def write_envelope_once(path: str, envelope: JsonObject) -> bool:
    """Store an envelope; equal content is left alone, different content is first kept under `superseded/`. GATE 6.1.

    Returns whether the file was written.
    """
    old = files.read_json(path)
    if old.outcome is files.Outcome.WHOLE and old.value == envelope:
        return False
    if old.outcome is not files.Outcome.ABSENT:
        completed = old.value.get("completedAt") if isinstance(old.value, dict) else None
        digits = re.sub(r"\D", "", completed if isinstance(completed, str) else "") or "unknown"
        stem = os.path.join(os.path.dirname(path), "superseded", f"{os.path.basename(path)[: -len('.json')]}-{digits}")
        kept, number = f"{stem}.json", 2
        while os.path.exists(kept):
            kept, number = f"{stem}-{number}.json", number + 1
        files.copy_file(path, kept)
    files.write_json(path, envelope)
    return True


def attempt_of(
    paths: LanePaths, wave_number: int, agent_id: str, status: JsonObject | None, last_attempt: int | None = None
) -> int:
    """The attempt in which an agent last ran. Spec: GATE 6.1."""
    for value in ((status or {}).get("attempt"), last_attempt):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    results = os.path.dirname(os.path.dirname(paths.result_envelope(wave_number, 1, agent_id)))
    found = [1]
    for name in os.listdir(results) if os.path.isdir(results) else []:
        number = name[len("attempt-") :] if name.startswith("attempt-") else ""
        if number.isdigit() and os.path.exists(paths.result_envelope(wave_number, int(number), agent_id)):
            found.append(int(number))
    return max(found)


def read_run_envelope(
    paths: LanePaths,
    wave: Wave,
    agent: Agent,
    status: JsonObject | None,
    mode: str = "live",
    *,
    bindings: RoleBindings | None = None,
    last_attempt: int | None = None,
    inline: JsonObject | None = None,
) -> EnvelopeReading:
    """The envelope of an agent's last run. Mode `live` takes the run path only; any other word also takes the older
    forms. `inline` is an envelope or summary held in memory. Writes nothing. Spec: GATE 6.4."""
    bound = bindings or role_rules.resolve_wave_role_bindings(wave, paths.profile.roles)
    role = envelope_role(agent, bound)
    live = mode == "live"
    attempt = attempt_of(paths, wave.wave, agent.agent_id, status, last_attempt)
    path = paths.result_envelope(wave.wave, attempt, agent.agent_id)

    def judged(source: str, value: object) -> EnvelopeReading:
        errors = validate_envelope(value, agent.agent_id, role, wave.wave)
        envelope = value if isinstance(value, dict) else None
        return EnvelopeReading(source, not errors, errors, "; ".join(errors), envelope, path)

    def synthesised(source: str, summary: JsonObject) -> EnvelopeReading:
        return judged(source, build_envelope(_complete(summary), agent, bound, wave_number=wave.wave, attempt=attempt))

    if inline is not None and inline.get("schemaVersion") == SCHEMA_VERSION:
        return judged("inline-envelope", inline)
    if inline is not None and not live:
        return synthesised("inline-legacy-summary", inline)
    if status is not None:
        stored = files.read_json(path)
        if stored.outcome is files.Outcome.WHOLE:
            reading = judged("run-envelope", stored.value)
            if live or reading.valid:
                return reading
        elif stored.outcome is not files.Outcome.ABSENT and live:
            errors = (stored.detail or "the envelope file is not readable",)
            return EnvelopeReading("run-envelope", False, errors, errors[0], None, path)
    if not live:
        status_path = paths.status_file(wave.wave, agent.slug)
        stem = status_path[: -len(".status")]
        legacy = _load(f"{stem}.envelope.json")
        if legacy is not None:
            reading = judged("legacy-status-envelope", legacy)
            if reading.valid:
                return reading
        summary = _load(paths.summary_file(wave.wave, agent.slug))
        if summary is not None:
            return synthesised("summary-file-legacy" if status is None else "status-summary-legacy", summary)
    detail = f"No result envelope of agent {agent.agent_id} at {paths.rel(path)}."
    return EnvelopeReading("missing-envelope", False, (), detail, None, path)


def _load(path: str) -> JsonObject | None:
    reading = files.read_json(path)
    return reading.value if reading.outcome is files.Outcome.WHOLE and isinstance(reading.value, dict) else None


def _complete(summary: JsonObject) -> JsonObject:
    """A stored summary whose markers have every field, so that an old or foreign file cannot break the reader."""
    complete = dict(summary)
    for kind, fields in (("proof", ("completion", "durability", "proof", "state")), ("gate", _GATE_FIELDS)):
        marker = summary.get(kind)
        if not isinstance(marker, dict) or not all(isinstance(marker.get(name), str) for name in fields):
            complete[kind] = None
    for kind in ("docDelta", "docClosure", "integration", "eval", "security", "design"):
        marker = summary.get(kind)
        if not isinstance(marker, dict) or not marker.get("state"):
            complete[kind] = None
    verdict = summary.get("verdict")
    if not isinstance(verdict, dict) or not verdict.get("verdict"):
        complete["verdict"] = None
    for key in ("components", "gaps", "deliverables", "proofArtifacts", "deployments", "infra"):
        complete[key] = _objects(summary, key)
    return complete
