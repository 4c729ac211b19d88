"""Status records, and the execution summary of one agent: what it printed, what it left on disk, how it ended.

A summary is a cache of what the result envelope holds; deleting it changes no decision. Readers write nothing.
Spec: GATE 4; CFG 16.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base import files
from ..base.timestamps import parse_iso
from ..definition import roles as role_rules
from .file_facts import describe, inside
from .report_verdict import ReportVerdict, report_verdict, resolve_verdict
from .structured_signal_parser import Signals, collect_text, extract_markers
from .termination import Termination, classify_termination

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave

JsonObject = dict[str, Any]

ENVELOPE_ROLES = (
    "design",
    "implementation",
    "integration",
    "documentation",
    "cont-qa",
    "cont-eval",
    "security",
    "deploy",
)
_STATUS_TEXTS = ("promptHash", "definitionHash", "orchestratorId", "completedAt", "launchId", "signal", "exitReason")
# File systems stamp with the kernel's tick, which may lag behind the clock that stamped the attempt's start.
_STAMP_TOLERANCE_SECONDS = 0.02


class ReportFact(NamedTuple):
    """The agent's report file: where, whether, when, which bytes, and the verdict it ends with."""

    path: str | None = None
    exists: bool = False
    sha256: str | None = None
    modified_at: str | None = None
    verdict: ReportVerdict | None = None
    fresh: bool | None = None


class SummaryFacts(NamedTuple):
    """Everything a summary is built from; `collect_summary_facts` reads it, tests build it by hand."""

    agent: Agent
    role: str
    wave_number: int
    attempt: int | None
    status: JsonObject | None
    signals: Signals
    deliverables: list[JsonObject]
    proof_artifacts: list[JsonObject]
    report: ReportFact
    termination: Termination
    log_path: str | None


def read_status_record(path: str) -> JsonObject | None:
    """The status record at `path` with all members present, unusable ones null; None when there is no usable record.

    A bare integer is the legacy form. Spec: CFG 16, SUP 16.6.
    """
    reading = files.read_json(path)
    value = reading.value if reading.outcome is files.Outcome.WHOLE else None
    if isinstance(value, int) and not isinstance(value, bool):
        value = {"code": value}
    if not isinstance(value, dict):
        return None
    code = _integer(value.get("code"))
    if code is None:
        return None
    record: JsonObject = {**value, "code": code}
    for key in _STATUS_TEXTS:
        text = value.get(key)
        record[key] = text if isinstance(text, str) and text else None
    attempt = _integer(value.get("attempt"))
    record["attempt"] = attempt if attempt and attempt > 0 else None
    record["logOffset"] = max(_integer(value.get("logOffset")) or 0, 0)
    ranges = value.get("ignoreRanges")
    record["ignoreRanges"] = ranges if isinstance(ranges, list) else []
    return record


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return None


def summary_path(status_path: str) -> str:
    """Where the summary beside a status record lies. Spec: GATE 4.1."""
    stem = status_path[: -len(".status")] if status_path.endswith(".status") else status_path
    return f"{stem}.summary.json"


def envelope_role(agent: Agent, bindings: RoleBindings) -> str:
    """The role an envelope names; infra and research agents count as implementation. Spec: GATE 6.2, 8.2."""
    role = role_rules.runtime_role(agent, bindings)
    return role if role in ENVELOPE_ROLES else "implementation"


def report_path(agent: Agent, wave: Wave, bindings: RoleBindings) -> str | None:
    """The repo-relative report that the agent's role must leave, None for roles without one. Spec: GATE 4.2."""
    if agent.agent_id == bindings.cont_qa:
        return wave.cont_qa_report_path or role_rules.cont_qa_report_path(agent)
    if agent.agent_id == bindings.cont_eval:
        return wave.cont_eval_report_path or role_rules.cont_eval_report_path(agent)
    if role_rules.is_security_reviewer(agent, bindings.roles):
        return role_rules.security_report_path(agent)
    if role_rules.is_design_agent(agent, bindings.roles):
        return role_rules.design_packet_path(agent)
    return None


def collect_summary_facts(
    agent: Agent,
    wave: Wave,
    bindings: RoleBindings,
    paths: LanePaths,
    status: JsonObject | None,
    *,
    runtime: Mapping[str, Any] | None = None,
    started_at: str | None = None,
) -> SummaryFacts:
    """Read log, report and declared files of an agent as they are now. Writes nothing. Spec: GATE 4.2, 5.

    `status` is its status record, `runtime` its runtime record; `started_at` (ISO) is the attempt's start, by default
    the runtime record's `startedAt`.
    """
    status, runtime = status or {}, runtime or {}
    log = paths.log_file(wave.wave, agent.slug)
    offset, ignored = status.get("logOffset") or 0, status.get("ignoreRanges") or []
    signals = extract_markers(log, offset, ignored)
    root = paths.root
    code = status.get("code")
    badly = code != 0 or runtime.get("terminalDisposition") == "terminated"
    resolved = agent.executor_resolved or {}
    termination = classify_termination(
        code,
        collect_text(log, offset, ignored) if badly else "",
        runtime=runtime,
        status=status,
        executor_id=runtime.get("executorId") or resolved.get("id"),
    )
    start = parse_iso(started_at or runtime.get("startedAt"))
    return SummaryFacts(
        agent=agent,
        role=envelope_role(agent, bindings),
        wave_number=wave.wave,
        attempt=status.get("attempt"),
        status=status or None,
        signals=signals,
        deliverables=[describe(root, path) for path in agent.deliverables],
        proof_artifacts=[
            {
                "path": item.path,
                "kind": item.kind,
                "requiredFor": list(item.required_for),
                **_without_path(describe(root, item.path)),
            }
            for item in agent.proof_artifacts
        ],
        report=_report_fact(root, report_path(agent, wave, bindings), start),
        termination=termination,
        log_path=paths.rel(log) if os.path.exists(log) else None,
    )


def _without_path(fact: JsonObject) -> JsonObject:
    return {key: value for key, value in fact.items() if key != "path"}


def _report_fact(root: str, path: str | None, start: float | None) -> ReportFact:
    if path is None:
        return ReportFact()
    fact = describe(root, path)
    real = inside(root, path)
    modified = parse_iso(fact["modifiedAt"])
    fresh = None if start is None or modified is None else modified + _STAMP_TOLERANCE_SECONDS >= start
    verdict = report_verdict(files.read_text(real)) if real else None
    return ReportFact(path, fact["exists"], fact["sha256"], fact["modifiedAt"], verdict, fresh)


def build_agent_execution_summary(facts: SummaryFacts) -> JsonObject:
    """The execution summary; a marker that was never printed is null. Pure. Spec: GATE 4.2."""
    status = facts.status or {}
    latest = facts.signals.latest
    is_qa = facts.role == "cont-qa"
    verdict, source = resolve_verdict(
        latest.get("verdict"), facts.report.verdict if is_qa else None, fresh=facts.report.fresh
    )
    return {
        "agentId": facts.agent.agent_id,
        "role": facts.role,
        "waveNumber": facts.wave_number,
        "attempt": facts.attempt,
        "promptHash": status.get("promptHash"),
        "exitCode": status.get("code"),
        "completedAt": status.get("completedAt"),
        "proof": latest.get("proof"),
        "docDelta": latest.get("docDelta"),
        "docClosure": latest.get("docClosure"),
        "integration": latest.get("integration"),
        "eval": latest.get("eval"),
        "security": latest.get("security"),
        "design": latest.get("design"),
        "gate": latest.get("gate"),
        "components": facts.signals.components,
        "gaps": facts.signals.gaps,
        "deliverables": facts.deliverables,
        "proofArtifacts": facts.proof_artifacts,
        "verdict": verdict,
        "verdictSource": source,
        "deployments": facts.signals.deployments,
        "infra": facts.signals.infra,
        "structuredSignalDiagnostics": facts.signals.diagnostics,
        "terminationReason": facts.termination.reason,
        "terminationHint": facts.termination.hint,
        "terminationObservedTurnLimit": facts.termination.observed_turn_limit,
        "logPath": facts.log_path,
        "reportPath": facts.report.path,
        "reportExists": facts.report.exists,
        "reportSha256": facts.report.sha256,
        "reportModifiedAt": facts.report.modified_at,
    }


def read_agent_execution_summary(
    agent: Agent, wave: Wave, bindings: RoleBindings, paths: LanePaths, *, runtime: Mapping[str, Any] | None = None
) -> JsonObject | None:
    """The stored summary of an agent, or None; extracted again, in memory, when it is incomplete. Spec: GATE 4.4."""
    stored = files.read_json(paths.summary_file(wave.wave, agent.slug))
    summary = stored.value if stored.outcome is files.Outcome.WHOLE and isinstance(stored.value, dict) else None
    if summary is None or not _is_incomplete(agent, summary):
        return summary
    status = read_status_record(paths.status_file(wave.wave, agent.slug))
    if status is None or not os.path.exists(paths.log_file(wave.wave, agent.slug)):
        return summary
    return build_agent_execution_summary(collect_summary_facts(agent, wave, bindings, paths, status, runtime=runtime))


def _is_incomplete(agent: Agent, summary: JsonObject) -> bool:
    if agent.exit_contract is None:
        return False
    components = summary.get("components")
    seen = {item.get("componentId") for item in components if isinstance(item, dict)} if components else set()
    return not summary.get("proof") or not summary.get("docDelta") or not set(agent.components) <= seen
