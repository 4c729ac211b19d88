"""The status of a wave as JSON and as text for people. Pure. Spec: COORD 25.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.terminal import Style, printable
from ..engines.closure_engine import STAGES
from ..engines.control_state import TERMINAL_PHASES, StatusFacts, WaveStatus
from ..engines.task_snapshots import next_task_deadline
from .signals import signal_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    JsonObject = dict[str, Any]

_PHASES = {word: rank for rank, stage in enumerate(STAGES) for word in (stage.key, stage.phase)}
_COLOURS = {
    "closed": "green",
    "satisfied": "green",
    "passed": "green",
    "completed": "green",
    "working": "cyan",
    "active": "cyan",
    "evaluating": "cyan",
    "blocked": "yellow",
    "awaiting-adjudication": "yellow",
    "stale": "yellow",
    "needs-rerun": "red",
    "failed": "red",
    "timed_out": "red",
}


def status_payload(
    facts: StatusFacts,
    status: WaveStatus,
    signals: JsonObject,
    *,
    agent_id: str | None,
    proof_bundles: Sequence[JsonObject],
    diagnostics: Sequence[JsonObject],
) -> JsonObject:
    """The document of `control status --json`; filtered lists hold what concerns `agent_id` only."""
    plan, attempt = facts.relaunch_plan, facts.control.active_attempt
    derived, event = facts.derived, facts.control.last_wave_run
    tasks = [task for task in facts.tasks if _concerns(agent_id, task["ownerAgentId"], task["assigneeAgentId"])]
    inbound, outbound = derived.dependency_snapshot["openInbound"], derived.dependency_snapshot["openOutbound"]
    request = facts.rerun_request
    return {
        "lane": facts.lane,
        "wave": facts.wave.wave,
        "agentId": agent_id,
        "phase": status.phase,
        "waveRunState": {"action": event["action"], "at": event["recordedAt"]} if event else None,
        "executionState": status.execution,
        "closureState": status.closure,
        "controllerState": status.controller,
        "blockingEdge": status.edge,
        "logicalAgents": status.agents,
        "tasks": tasks,
        "helperAssignments": [
            item
            for item in derived.capability_assignments
            if item["blocking"] and _concerns(agent_id, item["assignedAgentId"], item["sourceAgentId"])
        ],
        "dependencies": [
            *(item for item in inbound if _concerns(agent_id, item["assignedAgentId"])),
            *(item for item in outbound if _concerns(agent_id, item["agentId"])),
        ],
        "proofBundles": [item for item in proof_bundles if _concerns(agent_id, item.get("agentId"))],
        "feedbackRequests": [row for row in facts.feedback if _concerns(agent_id, row["agentId"])],
        "selectionSource": status.selection.source,
        "rerunRequest": {**request, "effectiveSelectedAgentIds": list(facts.rerun_agents)} if request else None,
        "relaunchPlan": plan,
        "forwardedClosureGaps": gaps_in_stage_order(plan),
        "corridor": corridor_state(facts),
        "supervisor": facts.supervisor,
        "nextTimer": None if status.phase in TERMINAL_PHASES else next_task_deadline(tasks),
        "activeAttempt": {**attempt, "live": facts.launcher_active} if attempt else None,
        "contradictions": [item for item in derived.contradictions if item["status"] not in ("resolved", "waived")],
        "logDiagnostics": list(diagnostics),
        "signals": signals,
    }


def gaps_in_stage_order(plan: Mapping[str, Any] | None) -> list[JsonObject]:
    """The forwarded gaps of a relaunch plan, earliest closure stage first."""
    gaps = list((plan or {}).get("forwardedClosureGaps") or ())
    return sorted(gaps, key=lambda gap: _PHASES.get(str(gap.get("stageKey")), len(_PHASES)))


def corridor_state(facts: StatusFacts) -> JsonObject:
    """The Corridor line of the status. Spec: PROV 4.11."""
    view = facts.derived.security_summary.get("corridor")
    if view is None:
        view = {"ok": None, "blocking": False, "matchedFindings": [], "blockingFindings": []}
        return {"enabled": False, "materialized": False, **_corridor_counts(view)}
    return {"enabled": True, "materialized": bool(view["fetchedAt"] or view["error"]), **_corridor_counts(view)}


def _corridor_counts(view: Mapping[str, Any]) -> JsonObject:
    return {
        "ok": view["ok"],
        "blocking": view["blocking"],
        "matchedCount": len(view["matchedFindings"]),
        "blockingCount": len(view["blockingFindings"]),
        "fetchedAt": view.get("fetchedAt"),
        "error": view.get("error"),
    }


def _concerns(agent_id: str | None, *agents: object) -> bool:
    return agent_id is None or agent_id in agents


# --- for people -----------------------------------------------------------------------------------------------------


def status_lines(payload: Mapping[str, Any], signal: Mapping[str, Any], style: Style) -> list[str]:
    """The text form, one fact a line. `signal` is the one to show: the wave's, or the chosen agent's."""

    def word(value: str) -> str:
        return style.paint(value, *([_COLOURS[value]] if value in _COLOURS else []))

    edge = payload["blockingEdge"]
    lines = [
        style.paint(f"lane={payload['lane']} wave={payload['wave']}", "bold") + f" phase={word(payload['phase'])}",
        f"execution={word(payload['executionState'])} closure={word(payload['closureState'])} "
        f"controller={word(payload['controllerState'])}",
        signal_line(signal),
    ]
    if edge:
        shown = f"blocking={edge['kind']} {edge['id']}: {one_line(edge['detail'])}"
        lines.append(style.paint(shown, "yellow"))
    else:
        lines.append("blocking=none")
    lines += _supervisor_lines(payload["supervisor"])
    if payload["forwardedClosureGaps"]:
        lines.append("forwarded-closure-gaps:")
        lines += [_gap_line(gap) for gap in payload["forwardedClosureGaps"]]
    timer = payload["nextTimer"]
    if timer:
        lines.append(f"next-timer={timer['kind']} {timer['taskId']} at {timer['at']}")
    lines += [
        style.paint(f"warning: {item['path']}:{item['line']}: {one_line(item['reason'])}", "yellow")
        for item in payload["logDiagnostics"]
    ]
    lines.append("logical-agents:")
    return lines + _agent_lines(payload["logicalAgents"], word)


def _agent_lines(agents: Sequence[Mapping[str, Any]], word: Any) -> list[str]:
    """One aligned line for each agent; padding comes after the colour so that columns hold on a terminal too."""
    columns = ("agentId", "state", "executionState", "closureState")
    widths = [max((len(str(agent[key])) for agent in agents), default=0) for key in columns]
    lines = []
    for agent in agents:
        name, state, execution, closure = (
            word(str(agent[key])) + " " * (width - len(str(agent[key]))) for key, width in zip(columns, widths)
        )
        line = f"- {name} {state} execution={execution} closure={closure}".rstrip()
        lines.append(f"{line}: {one_line(agent['reason'])}" if agent["reason"] else line)
    return lines


def _gap_line(gap: Mapping[str, Any]) -> str:
    targets = ",".join(map(str, gap.get("targets") or ()))
    return (
        f"- {gap.get('stageKey')} agent={gap.get('agentId')} attempt={gap.get('attempt')} targets={targets} "
        f"detail={one_line(gap.get('detail'))}"
    )


def _supervisor_lines(run: Mapping[str, Any] | None) -> list[str]:
    if not run:
        return []
    lines = [
        f"supervisor={run.get('terminalDisposition') or run.get('status')} run_id={run.get('runId')} "
        f"launcher_pid={run.get('launcherPid') or 'none'}",
        f"supervisor-backend={run.get('sessionBackend') or 'none'} recovery={run.get('recoveryState') or 'none'} "
        f"resume={run.get('resumeAction') or 'none'}",
    ]
    runtimes = run.get("agentRuntimeSummary") or []
    if runtimes:
        lines.append("supervisor-runtime:")
    for item in runtimes:
        lines.append(
            f"- {item.get('agentId')} {item.get('terminalDisposition') or 'unknown'} pid={item.get('pid') or 'none'} "
            f"backend={item.get('sessionBackend') or 'none'} attach={item.get('attachMode') or 'none'} "
            f"heartbeat={item.get('lastHeartbeatAt') or 'none'}"
        )
    return lines


def one_line(text: object, limit: int = 200) -> str:
    """Text of others on one line, without anything that could repaint a terminal."""
    from ..base.text import compact

    return compact(printable(str(text or "")), limit)
