"""What a running agent seems to be doing, read off its log for people to see. Decides nothing.

Spec: LAUNCH 15.3 (agent refresh).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import tail
from .dashboard_state import add_event, find_agent, set_agent

if TYPE_CHECKING:
    from collections.abc import Mapping

    JsonObject = dict[str, Any]

MARKER_CHARACTERS = 30_000
GUESS_CHARACTERS = 14_000

PHASES = (
    "pending",
    "launching",
    "running",
    "coding",
    "validating",
    "deploying",
    "finalizing",
    "completed",
    "failed",
    "timed_out",
)
_FINAL_PHASES = ("completed", "failed", "timed_out")

_PHASE = re.compile(r"^\s*\[wave-phase\]\s+(?:state=)?([a-z_]+)\s*$", re.I | re.M)
_DEPLOY = re.compile(
    r"^\s*\[deploy-status\]\s+service=(\S+)\s+state=(deploying|healthy|failed|rolledover)(?:\s+detail=(.*))?$",
    re.I | re.M,
)
_INFRA = re.compile(r"^\s*\[infra-status\]\s+kind=(\S+)\s+target=(\S+)\s+state=(\S+)(?:\s+detail=(.*))?$", re.I | re.M)

_GUESSES = (
    (
        "deploying",
        re.compile(r"deployment_list|deployment_logs|deployment_status|railway|\bdeploy\b|deploying|deployment|rollover"),
    ),
    ("validating", re.compile(r"vitest|pytest|typecheck|\btsc\b|go test|^.*pnpm.*\b(?:test|build|check|lint)\b", re.M)),
    ("finalizing", re.compile(r"git commit|conventional commit|git push|\bpushed\b")),
    ("coding", re.compile(r"apply_patch|update file|add file|\bediting\b|implementing|starting file edits")),
)
_INFRA_ERRORS = ("drift", "blocked", "failed")
_INFRA_WARNINGS = ("setup-required", "setup-in-progress", "action-required", "action-approved")


class LogSignals(NamedTuple):
    """The last phase, deployment and infra marker of a log, each None when there is none."""

    phase: str | None
    deployment: JsonObject | None
    infra: JsonObject | None

    def to_json(self) -> JsonObject:
        """`{phase, deployment, infra}`."""
        return dict(self._asdict())


def parse_structured_signals_from_log(path: str) -> LogSignals:
    """Markers in the last 30,000 characters of a log; the last one of each kind wins."""
    return parse_structured_signals(tail(path, MARKER_CHARACTERS))


def parse_structured_signals(text: str) -> LogSignals:
    """As `parse_structured_signals_from_log`, from text."""
    phase = next((found for found in reversed(_PHASE.findall(text)) if found.lower() in PHASES), None)
    deploys, infras = _DEPLOY.findall(text), _INFRA.findall(text)
    deployment = infra = None
    if deploys:
        service, state, detail = deploys[-1]
        deployment = {"service": service, "state": state.lower(), "detail": detail.strip()}
    if infras:
        kind, target, state, detail = infras[-1]
        infra = {"kind": kind.lower(), "target": target, "state": state.lower(), "detail": detail.strip()}
    return LogSignals(phase.lower() if phase else None, deployment, infra)


def guess_activity(text: str) -> str:
    """`deploying`, `validating`, `finalizing`, `coding` or `running`, from the words at the end of a log."""
    end = text[-GUESS_CHARACTERS:].lower()
    return next((state for state, words in _GUESSES if words.search(end)), "running")


def refresh_agent(
    wave_dashboard: JsonObject,
    global_dashboard: JsonObject | None,
    agent_id: str,
    status: Mapping[str, Any] | None,
    log_text: str,
    now: str,
) -> None:
    """Bring one launched agent's entry up to date from its status record (None: it runs) and the end of its log."""
    agent = find_agent(wave_dashboard, agent_id)
    if agent is None:
        return
    signals = parse_structured_signals(log_text)
    if status is not None:
        _apply_status(wave_dashboard, agent_id, status, now)
    elif signals.phase and signals.phase not in _FINAL_PHASES:
        if agent["state"] != signals.phase:
            set_agent(wave_dashboard, agent_id, now, state=signals.phase)
            add_event(wave_dashboard, global_dashboard, f"Phase signaled: {signals.phase}", now, agent_id=agent_id)
    else:
        set_agent(wave_dashboard, agent_id, now, state=guess_activity(log_text))
    if signals.deployment:
        _apply_deployment(wave_dashboard, global_dashboard, agent, signals.deployment, now)
    if signals.infra:
        _apply_infra(wave_dashboard, global_dashboard, agent, signals.infra, now)


def _apply_status(dashboard: JsonObject, agent_id: str, status: Mapping[str, Any], now: str) -> None:
    code = status["code"]
    state = {0: "completed", 124: "timed_out"}.get(code, "failed")
    completed_at = status.get("completedAt") or now
    agent = find_agent(dashboard, agent_id)
    if agent is not None and (agent["state"], agent["exitCode"]) == (state, code):
        return  # a later detail (for example a gate's) stays
    set_agent(dashboard, agent_id, now, state=state, exitCode=code, completedAt=completed_at, detail=f"Exit {code}")


def _apply_deployment(
    wave_dashboard: JsonObject, global_dashboard: JsonObject | None, agent: JsonObject, found: JsonObject, now: str
) -> None:
    shown = (agent["deploymentService"], agent["deploymentState"], agent["deploymentDetail"])
    if shown == (found["service"], found["state"], found["detail"]):
        return
    set_agent(
        wave_dashboard,
        agent["agentId"],
        now,
        deploymentService=found["service"],
        deploymentState=found["state"],
        deploymentDetail=found["detail"],
    )
    message = f"Deployment {found['service']}: {found['state']}" + (f" ({found['detail']})" if found["detail"] else "")
    level = "error" if found["state"] == "failed" else "info"
    add_event(wave_dashboard, global_dashboard, message, now, level=level, agent_id=agent["agentId"])


def _apply_infra(
    wave_dashboard: JsonObject, global_dashboard: JsonObject | None, agent: JsonObject, found: JsonObject, now: str
) -> None:
    shown = (agent["infraKind"], agent["infraTarget"], agent["infraState"], agent["infraDetail"])
    if shown == (found["kind"], found["target"], found["state"], found["detail"]):
        return
    set_agent(
        wave_dashboard,
        agent["agentId"],
        now,
        infraKind=found["kind"],
        infraTarget=found["target"],
        infraState=found["state"],
        infraDetail=found["detail"],
    )
    message = f"Infra {found['kind']} {found['target']}: {found['state']}"
    message += f" ({found['detail']})" if found["detail"] else ""
    state = found["state"]
    level = "error" if state in _INFRA_ERRORS else "warn" if state in _INFRA_WARNINGS else "info"
    add_event(wave_dashboard, global_dashboard, message, now, level=level, agent_id=agent["agentId"])
