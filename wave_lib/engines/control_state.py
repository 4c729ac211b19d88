"""How a wave stands, seen from the outside: phase, states, who is selected, what every agent's part is. Pure.

Spec: COORD 25.1, 25.2, 25.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.timestamps import parse_iso
from .task_snapshots import EdgeFacts, blocking_edge
from .wave_signals import TERMINAL, AgentFacts, SignalFacts, is_actionable_task, task_agent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave
    from ..state.control_plane import ControlPlaneState
    from ..state.coordination_store import CoordinationState
    from .derived_state import DerivedState
    from .gate_results import Verdict

    JsonObject = dict[str, Any]

PLANNED = "planned"
TERMINAL_PHASES = frozenset((*TERMINAL, "timed_out"))


class StatusFacts(NamedTuple):
    """Everything that `control status` is made from, at one moment.

    `statuses`, `verdicts` (all validators of the agent's roles as one) and `adjudications` are by agent id, None where
    there is none. `records`, `feedback` and `tasks` are what stands on file (seeds overlaid), without what the next
    refresh of the derived state is going to add. `rerun_agents` are those that the active rerun request selects.
    `runtime_live` says whether a supervised agent process lives.
    """

    lane: str
    wave: Wave
    bindings: RoleBindings
    derived: DerivedState
    control: ControlPlaneState
    records: CoordinationState
    feedback: Sequence[JsonObject]
    tasks: Sequence[JsonObject]
    statuses: Mapping[str, JsonObject | None]
    verdicts: Mapping[str, Verdict]
    adjudications: Mapping[str, JsonObject | None] = {}
    run_state_entry: JsonObject | None = None
    rerun_request: JsonObject | None = None
    rerun_agents: Sequence[str] = ()
    relaunch_plan: JsonObject | None = None
    launcher_active: bool = False
    runtime_live: bool = False
    supervisor: JsonObject | None = None

    @property
    def live_attempt(self) -> JsonObject | None:
        """The running attempt, if a launcher is there to run it."""
        return self.control.active_attempt if self.launcher_active else None


class Selection(NamedTuple):
    """Who is, or is going to be, at work, and what says so."""

    source: str
    agents: tuple[str, ...] = ()

    @property
    def for_rerun(self) -> frozenset[str]:
        """The agents, unless they are at work already."""
        return frozenset(self.agents if self.source in ("rerun-request", "relaunch-plan") else ())


class WaveStatus(NamedTuple):
    """What `control status` says about a wave."""

    phase: str
    execution: str
    closure: str
    controller: str
    selection: Selection
    edge: JsonObject | None
    agents: list[JsonObject]


def wave_status(facts: StatusFacts, only: str | None = None) -> WaveStatus:
    """The status of the wave; `only` restricts edge and agents to one agent."""
    phase = wave_phase(facts)
    selection = selected(facts)
    everyone = logical_agents(facts, phase, selection)
    agents = [agent for agent in everyone if only is None or agent["agentId"] == only]
    edge = edge_of(facts, phase, only)
    execution = _execution(facts, phase, agents)
    return WaveStatus(
        phase,
        execution,
        _closure(facts, phase, execution, edge, agents),
        _controller(facts, execution),
        selection,
        edge,
        agents,
    )


# --- phase and selection --------------------------------------------------------------------------------------------


def wave_phase(facts: StatusFacts) -> str:
    """How the wave ended when it has ended and nothing newer is going on, else the ledger's phase."""
    ended, at = _last_word(facts)
    request = facts.rerun_request
    newer = request is not None and (parse_iso(request.get("createdAt")) or 0.0) > at
    if ended and facts.live_attempt is None and not newer:
        return ended
    ran = facts.control.last_wave_run is not None or facts.control.attempts or any(facts.statuses.values())
    return str(facts.derived.ledger["phase"]) if ran else PLANNED


def _last_word(facts: StatusFacts) -> tuple[str | None, float]:
    """The terminal phase that the newer of log and run state names, and when it was written."""
    words = []
    event = facts.control.last_wave_run
    if event is not None:
        words.append((parse_iso(event["recordedAt"]) or 0.0, 1, str(event["action"])))
    entry = facts.run_state_entry
    # The run state has no word for failed: `blocked` for this reason repeats what the event says. Spec: LAUNCH 4.1.
    failed = (entry or {}).get("currentState") == "blocked" and (entry or {}).get("lastReasonCode") == "wave-failed"
    if entry is not None and not (failed and words):
        word = "failed" if failed else str(entry.get("currentState"))
        words.append((parse_iso(entry.get("lastTransitionAt")) or 0.0, 0, word))
    if not words:
        return None, 0.0
    at, _, word = max(words)
    phase = "completed" if word.startswith("completed") else word
    return (phase if phase in TERMINAL_PHASES else None), at


def selected(facts: StatusFacts) -> Selection:
    """The first non-empty selection of live attempt, rerun request and relaunch plan."""
    attempt, plan = facts.live_attempt, facts.relaunch_plan
    if attempt is not None and attempt["selectedAgentIds"]:
        return Selection("active-attempt", tuple(attempt["selectedAgentIds"]))
    if facts.rerun_agents:
        return Selection("rerun-request", tuple(facts.rerun_agents))
    if plan is not None and plan["selectedAgentIds"]:
        return Selection("relaunch-plan", tuple(plan["selectedAgentIds"]))
    return Selection("none")


def edge_of(facts: StatusFacts, phase: str, only: str | None = None) -> JsonObject | None:
    """The blocking edge. Spec: COORD 25.2."""
    attempt, plan, request = facts.live_attempt, facts.relaunch_plan, facts.rerun_request
    shown = None if request is None else {**request, "selectedAgentIds": list(facts.rerun_agents)}
    return blocking_edge(
        EdgeFacts(
            wave=facts.wave.wave,
            phase=phase,
            tasks=facts.tasks,
            state=facts.records,
            assignments=facts.derived.capability_assignments,
            dependencies=facts.derived.dependency_snapshot,
            contradictions=facts.derived.contradictions,
            rerun_request=shown,
            relaunch_agents=plan["selectedAgentIds"] if plan else (),
            live_agents=attempt["selectedAgentIds"] if attempt else None,
            only=only,
        )
    )


# --- the three states -----------------------------------------------------------------------------------------------


def _execution(facts: StatusFacts, phase: str, agents: Sequence[JsonObject]) -> str:
    if facts.live_attempt is not None or facts.runtime_live:
        return "active"
    settled = any(agent["executionState"] == "settled" or agent["closureState"] == "passed" for agent in agents)
    return "settled" if phase in TERMINAL_PHASES or settled else "pending"


def _controller(facts: StatusFacts, execution: str) -> str:
    if execution == "active":
        return "active"
    recovery = (facts.supervisor or {}).get("recoveryState")
    if facts.control.active_attempt is not None or recovery in ("degraded", "failed"):
        return "stale"
    plan = facts.relaunch_plan
    return "relaunch-planned" if plan is not None and plan["selectedAgentIds"] else "idle"


def _closure(
    facts: StatusFacts, phase: str, execution: str, edge: JsonObject | None, agents: Sequence[JsonObject]
) -> str:
    if phase in ("failed", "timed_out"):
        return "failed"
    states = [agent["closureState"] for agent in agents]
    if "awaiting-adjudication" in states:
        return "awaiting-adjudication"
    plan = facts.relaunch_plan
    if "failed" in states or edge is not None or (plan is not None and plan["selectedAgentIds"]):
        return "blocked"
    if phase == "completed" or (states and all(state == "passed" for state in states)):
        return "passed"
    return "evaluating" if execution == "active" or "evaluating" in states else "pending"


# --- logical agents -------------------------------------------------------------------------------------------------


def logical_agents(facts: StatusFacts, phase: str, selection: Selection) -> list[JsonObject]:
    """One row for every agent of the wave. Spec: COORD 25.3."""
    live = frozenset(facts.live_attempt["selectedAgentIds"] if facts.live_attempt else ())
    tasks: dict[str | None, list[JsonObject]] = {}
    for task in facts.tasks:
        if not task["seed"]:
            tasks.setdefault(task_agent(task), []).append(task)
    rows = []
    for agent in facts.wave.agents:
        agent_id = agent.agent_id
        own = tasks.get(agent_id, [])
        chosen = agent_id in selection.for_rerun
        state, closure, reason = _agent_state(facts, phase, agent_id, own, agent_id in live, chosen)
        status = facts.statuses.get(agent_id)
        rows.append(
            {
                "agentId": agent_id,
                "state": state,
                "reason": reason,
                "executionState": "active" if agent_id in live else "settled" if status else "pending",
                "closureState": closure,
                "taskIds": [task["taskId"] for task in own],
                "selectedForRerun": chosen,
                "selectedForActiveAttempt": agent_id in live,
                "activeProofBundleIds": [
                    bundle["proofBundleId"]
                    for bundle in facts.control.active_proof_bundles
                    if bundle["agentId"] == agent_id
                ],
            }
        )
    return rows


def _agent_state(
    facts: StatusFacts, phase: str, agent_id: str, own: Sequence[JsonObject], in_attempt: bool, for_rerun: bool
) -> tuple[str, str, str | None]:
    """State, closure state and reason: the first row of the table that applies."""
    status, verdict = facts.statuses.get(agent_id), facts.verdicts[agent_id]
    adjudication = facts.adjudications.get(agent_id) or {}
    exit_code = status["code"] if status else None
    satisfied = exit_code == 0 and (verdict.ok or adjudication.get("status") == "pass")
    done = "closed" if agent_id in facts.bindings.closure_agents else "satisfied"
    if in_attempt:
        return "working", "evaluating", "The agent is part of the live attempt."
    if for_rerun:
        return "needs-rerun", "failed", "The agent is selected to run again."
    if phase == "completed" and satisfied:
        return done, "passed", None
    tasks = [task for task in own if task["blocking"] and task["state"] in _OPEN]
    working = next((task for task in tasks if task["state"] == "working"), None)
    if working is not None:
        return "working", "evaluating", f"Works on {working['taskId']}: {working['title']}"
    standing = _what_blocks(facts, agent_id, tasks)
    if standing is not None:
        return "blocked", "blocked", standing
    if satisfied:
        return done, "passed", None
    if adjudication.get("status") == "ambiguous" and adjudication.get("reason") != "not-eligible":
        return "awaiting-adjudication", "awaiting-adjudication", str(adjudication.get("detail") or verdict.detail)
    if adjudication.get("status") == "rework-required":
        return "needs-rerun", "failed", str(adjudication.get("detail") or verdict.detail)
    if exit_code not in (None, 0):
        return "needs-rerun", "failed", f"The agent's process ended with exit code {exit_code}."
    if exit_code == 0:
        return "needs-rerun", "failed", f"{verdict.status_code}: {verdict.detail}".rstrip(": ")
    return PLANNED, "pending", None


_OPEN = ("open", "working", "input-required")


def _what_blocks(facts: StatusFacts, agent_id: str, tasks: Sequence[JsonObject]) -> str | None:
    if tasks:
        return f"{tasks[0]['taskType']} {tasks[0]['taskId']}: {tasks[0]['title']}"
    for item in facts.derived.capability_assignments:
        if item["blocking"] and item["assignedAgentId"] == agent_id:
            return f"helper assignment of {item['requestId']}: {item['summary'] or item['detail']}"
    for item in facts.derived.dependency_snapshot["requiredInbound"]:
        if item["assignedAgentId"] == agent_id:
            return f"required dependency {item['id']}: {item['summary']}"
    return None


# --- for signals ----------------------------------------------------------------------------------------------------


def signal_facts(facts: StatusFacts) -> SignalFacts:
    """What the signals of the wave are decided from: always the unfiltered view. Spec: COORD 26.1."""
    status = wave_status(facts)
    attempt = facts.live_attempt
    runs: dict[str, list[JsonObject]] = {}
    for event in facts.control.agent_runs:
        agent_id = str(event["data"].get("agentId") or event["entityId"].rpartition("-agent-")[2])
        runs.setdefault(agent_id, []).append(event)
    return SignalFacts(
        lane=facts.lane,
        wave=facts.wave.wave,
        phase=status.phase,
        attempt=int(attempt["attemptNumber"] or 0) if attempt else 0,
        launcher_active=facts.launcher_active or facts.runtime_live,
        edge=status.edge,
        tasks=[task for task in facts.tasks if is_actionable_task(task)],
        feedback=facts.feedback,
        agents=[_signal_agent(row, runs.get(row["agentId"], []), facts) for row in status.agents],
        selection_source=status.selection.source,
        selected_agent_ids=status.selection.agents,
        attempt_started=str((facts.control.latest_attempt or {}).get("createdAt") or ""),
    )


def _signal_agent(row: JsonObject, runs: Sequence[JsonObject], facts: StatusFacts) -> AgentFacts:
    started = [str(event["data"].get("startedAt") or event["recordedAt"]) for event in runs if _starts(event)]
    status = facts.statuses.get(row["agentId"])
    failed = bool(runs) and runs[-1]["action"] in ("failed", "timed_out")
    return AgentFacts(
        agent_id=row["agentId"],
        logical_state=row["state"],
        in_attempt=row["selectedForActiveAttempt"],
        selected_for_rerun=row["selectedForRerun"],
        run_failed=failed or (status is not None and status["code"] != 0),
        run_started=started[-1] if started else "",
    )


def _starts(event: JsonObject) -> bool:
    return bool(event["action"] == "started")
