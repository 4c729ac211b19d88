"""Versioned signals of a wave, its agents and the resident orchestrator, for whoever watches. Spec: COORD 26.3, 26.4.

Holds: `signals/wave-<n>.flock` while it compares and writes.
Writes: `signals/wave-<n>.json`, `signals/wave-<n>/<agentId>.json`.
When killed: some signals are older than others; the next sync brings them up to date, versions only grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import ExitCode
from ..base.files import Outcome, read_json, write_json
from ..base.locks import locked
from ..base.text import compact_json, sha256_text
from ..engines.wave_signals import (
    ACTIONABLE,
    Decision,
    agent_decision,
    is_actionable_task,
    pending_tasks,
    wave_decision,
)
from ..state.coordination_records import parse_int

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths
    from ..engines.wave_signals import AgentFacts, SignalFacts

    JsonObject = dict[str, Any]

RESIDENT = "resident-orchestrator"
_NOT_COMPARED = ("artifacts",)
"""Snapshot fields that never make a new version; version, times and ack are added after the comparison."""


class SignalSet(NamedTuple):
    """All signals of a wave; `changed` lists those whose version grew (`wave`, or an agent id)."""

    wave: JsonObject
    agents: dict[str, JsonObject]
    resident: JsonObject | None
    changed: tuple[str, ...] = ()


def sync_wave_signals(paths: LanePaths, facts: SignalFacts, now: str, *, resident: bool = False) -> SignalSet:
    """Compute all signals, write those that changed, and return them."""
    with locked(paths.signal_lock(facts.wave)):
        signals = build_wave_signals(paths, facts, now, resident=resident)
        _put(paths.signal_wave(facts.wave), signals.wave)
        for agent_id, snapshot in signals.agents.items():
            _put(paths.signal_agent(facts.wave, agent_id), snapshot)
        if signals.resident is not None:
            _put(paths.signal_agent(facts.wave, RESIDENT), signals.resident)
    return signals


def build_wave_signals(paths: LanePaths, facts: SignalFacts, now: str, *, resident: bool = False) -> SignalSet:
    """The signals as a sync would write them; writes nothing."""
    decision = wave_decision(facts)
    changed = []
    stored = _read(paths.signal_wave(facts.wave))
    wave = _versioned(_wave_snapshot(paths, facts, decision), stored, now)
    if wave["version"] != (stored or {}).get("version"):
        changed.append("wave")
    agents = {}
    for agent in facts.agents:
        stored = _read(paths.signal_agent(facts.wave, agent.agent_id))
        snapshot = _versioned(_agent_snapshot(paths, facts, agent), stored, now)
        agents[agent.agent_id] = _with_ack(snapshot, _read(paths.signal_ack(facts.wave, agent.agent_id)))
        if snapshot["version"] != (stored or {}).get("version"):
            changed.append(agent.agent_id)
    shown = None
    if resident:
        stored = _read(paths.signal_agent(facts.wave, RESIDENT))
        shown = _versioned(_resident_snapshot(paths, facts, decision), stored, now)
        if shown["version"] != (stored or {}).get("version"):
            changed.append(RESIDENT)
        shown = _with_ack(shown, _read(paths.signal_ack(facts.wave, RESIDENT)))
    return SignalSet(wave, agents, shown, tuple(changed))


def _wave_snapshot(paths: LanePaths, facts: SignalFacts, decision: Decision) -> JsonObject:
    return {
        "kind": "wave-signal",
        "lane": facts.lane,
        "wave": facts.wave,
        "status": decision.status,
        "phase": facts.phase,
        "signal": decision.signal,
        "reason": decision.reason,
        "attempt": facts.attempt,
        "blocking": facts.edge,
        "selectionSource": facts.selection_source,
        "targetAgentIds": list(decision.agents),
        "openFeedbackRequestIds": [row["id"] for row in facts.feedback if row["status"] == "pending"],
        "answeredFeedbackRequestIds": [row["id"] for row in facts.feedback if row["status"] == "answered"],
        "pendingTaskIds": [task["taskId"] for task in facts.tasks if is_actionable_task(task)],
        "artifacts": {
            "signalPath": paths.rel(paths.signal_wave(facts.wave)),
            "messageBoardPath": paths.rel(paths.messageboard(facts.wave)),
            "sharedSummaryPath": paths.rel(paths.shared_summary(facts.wave)),
            "dashboardPath": paths.rel(paths.dashboard_wave(facts.wave)),
        },
    }


def _agent_snapshot(paths: LanePaths, facts: SignalFacts, agent: AgentFacts) -> JsonObject:
    decision = agent_decision(facts, agent)
    tasks = pending_tasks(facts, agent.agent_id)
    mine = [row for row in facts.feedback if row["agentId"] == agent.agent_id]
    edge = facts.edge
    action = None
    if tasks:
        action = {key: tasks[0][key] for key in ("taskId", "taskType", "state", "title")}
    return {
        "kind": "agent-signal",
        "lane": facts.lane,
        "wave": facts.wave,
        "agentId": agent.agent_id,
        "status": decision.status,
        "phase": facts.phase,
        "signal": decision.signal,
        "reason": decision.reason,
        "attempt": facts.attempt,
        "logicalState": agent.logical_state,
        "selectedForRerun": agent.selected_for_rerun,
        "selectedForActiveAttempt": agent.in_attempt,
        "blocking": edge if edge and edge.get("agentId") == agent.agent_id else None,
        "pendingTaskIds": [task["taskId"] for task in tasks],
        "pendingCoordinationAction": action,
        "openFeedbackRequestIds": [row["id"] for row in mine if row["status"] == "pending"],
        "answeredFeedbackRequestIds": [row["id"] for row in mine if row["status"] == "answered"],
        "artifacts": {
            "signalPath": paths.rel(paths.signal_agent(facts.wave, agent.agent_id)),
            "ackPath": paths.rel(paths.signal_ack(facts.wave, agent.agent_id)),
            "messageBoardPath": paths.rel(paths.messageboard(facts.wave)),
            "sharedSummaryPath": paths.rel(paths.shared_summary(facts.wave)),
            "inboxPath": paths.rel(paths.inbox(facts.wave, agent.agent_id)),
            "dashboardPath": paths.rel(paths.dashboard_wave(facts.wave)),
        },
    }


def _resident_snapshot(paths: LanePaths, facts: SignalFacts, decision: Decision) -> JsonObject:
    return {
        "kind": "resident-orchestrator-signal",
        "lane": facts.lane,
        "wave": facts.wave,
        "agentId": RESIDENT,
        "status": decision.status,
        "phase": facts.phase,
        "signal": decision.signal,
        "reason": decision.reason,
        "attempt": facts.attempt,
        "targetAgentIds": list(decision.agents),
        "artifacts": {
            "signalPath": paths.rel(paths.signal_agent(facts.wave, RESIDENT)),
            "ackPath": paths.rel(paths.signal_ack(facts.wave, RESIDENT)),
            "messageBoardPath": paths.rel(paths.messageboard(facts.wave)),
            "sharedSummaryPath": paths.rel(paths.shared_summary(facts.wave)),
            "dashboardPath": paths.rel(paths.dashboard_wave(facts.wave)),
            "coordinationLogPath": paths.rel(paths.coordination_log(facts.wave)),
            "triagePath": paths.rel(paths.triage_log(facts.wave)),
        },
    }


# --- versions and acknowledgements ----------------------------------------------------------------------------------


def _versioned(snapshot: JsonObject, stored: JsonObject | None, now: str) -> JsonObject:
    """The snapshot with the stored version while nothing that matters changed, else with the next one."""
    comparable = {key: value for key, value in snapshot.items() if key not in _NOT_COMPARED}
    version, changed_at = 1, now
    if stored is not None:
        same = stored.get("comparable") == comparable
        version = (parse_int(stored.get("version")) or 0) + (0 if same else 1)
        changed_at = str(stored.get("changedAt") or now) if same else now
    fingerprint = sha256_text(compact_json(comparable, sort_keys=True))[:12]
    return {
        **snapshot,
        "version": version,
        "changedAt": changed_at,
        "fingerprint": fingerprint,
        "comparable": comparable,
    }


def _with_ack(snapshot: JsonObject, ack: JsonObject | None) -> JsonObject:
    """The snapshot with its valid acknowledgement, and whether its watcher should wake."""
    version = snapshot["version"]
    acked = parse_int((ack or {}).get("version"))
    if ack is None or ack.get("agentId") != snapshot["agentId"] or acked is None or acked > version:
        ack, acked = None, None
    wake = snapshot["signal"] in ACTIONABLE and (acked is None or acked < version)
    return {**snapshot, "ack": ack, "shouldWake": wake}


def _read(path: str) -> JsonObject | None:
    reading = read_json(path)
    return reading.value if reading.outcome is Outcome.WHOLE and isinstance(reading.value, dict) else None


def _put(path: str, snapshot: JsonObject) -> None:
    write_json(path, snapshot, durable=False, if_changed=True)


def without_comparable(snapshot: Mapping[str, Any], stored_version: int | None) -> JsonObject:
    """The snapshot as `control status` shows it; `pendingPersist` when no sync has written this version yet."""
    shown = {key: value for key, value in snapshot.items() if key != "comparable"}
    if stored_version != snapshot["version"]:
        shown["pendingPersist"] = True
    return shown


# --- for wrappers ---------------------------------------------------------------------------------------------------


def signal_line(snapshot: Mapping[str, Any]) -> str:
    """The one-line form. Spec: COORD 26.4."""
    edge = snapshot.get("blocking") or {}
    if "agentId" in snapshot:
        who = f"agent={snapshot['agentId']}"
    else:
        who = f"agents={','.join(snapshot['targetAgentIds']) or 'none'}"
    wake = snapshot.get("shouldWake")
    shown = "n/a" if wake is None else ("yes" if wake else "no")
    return (
        f"signal={snapshot['signal']} lane={snapshot['lane']} wave={snapshot['wave']} phase={snapshot['phase']} "
        f"status={snapshot['status']} blocking={edge.get('kind') or 'none'} attempt={snapshot['attempt']} {who} "
        f"version={snapshot['version']} should_wake={shown}"
    )


def wave_signal_exit_code(snapshot: Mapping[str, Any]) -> int:
    """0 completed, 40 failed, 20 a person is asked, 10 anything else. Spec: COORD 27."""
    return {"completed": int(ExitCode.DONE), "failed": 40, "feedback-requested": 20}.get(str(snapshot["signal"]), 10)
