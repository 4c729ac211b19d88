"""Which signal a wave and its agents give: what a watcher has to do next. Pure. Spec: COORD 26.1, 26.2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.timestamps import parse_iso
from .task_snapshots import OPEN_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    JsonObject = dict[str, Any]

SIGNALS = (
    "stable",
    "waiting",
    "feedback-requested",
    "feedback-answered",
    "coordination-action",
    "resume-ready",
    "completed",
    "failed",
)
ACTIONABLE = frozenset(SIGNALS) - {"stable", "waiting"}
TERMINAL = frozenset(("completed", "failed"))
_ACTIONABLE_TYPES = frozenset(("request", "blocker", "clarification", "human-input", "escalation"))
_SEVERITY_RANK = ("hard", "proof-critical", "closure-critical", "soft", "advisory", "stale")


class AgentFacts(NamedTuple):
    """One agent as signals see it. `run_started` is the start of its latest run (ISO, empty without one)."""

    agent_id: str
    logical_state: str
    in_attempt: bool = False
    selected_for_rerun: bool = False
    run_failed: bool = False
    run_started: str = ""


class SignalFacts(NamedTuple):
    """The unfiltered view of a wave. `attempt` is the number of the live attempt or 0."""

    lane: str
    wave: int
    phase: str
    attempt: int
    launcher_active: bool
    edge: JsonObject | None
    tasks: Sequence[JsonObject]
    feedback: Sequence[JsonObject]
    agents: Sequence[AgentFacts]
    selection_source: str = "none"
    selected_agent_ids: Sequence[str] = ()
    attempt_started: str = ""


class Decision(NamedTuple):
    """A signal, the status beside it, why, and whom it concerns."""

    signal: str
    status: str
    reason: str
    agents: tuple[str, ...] = ()


def is_actionable_task(task: Mapping[str, Any]) -> bool:
    """Whether the task may wake anybody: blocking work that is open, no seed."""
    return (
        task["taskType"] in _ACTIONABLE_TYPES
        and task["state"] in OPEN_STATES
        and task["blocking"] is True
        and not task["seed"]
    )


def task_agent(task: Mapping[str, Any]) -> str | None:
    """Who has to act: the assignee, or the owner while there is none."""
    agent: str | None = task["assigneeAgentId"] or task["ownerAgentId"]
    return agent


def wave_decision(facts: SignalFacts) -> Decision:
    """The signal of the wave: the first row of COORD 26.2 that applies."""
    ended = _terminal(facts.phase)
    if ended:
        return ended
    edge = facts.edge
    status = "blocked" if edge else "running"
    pending = [row for row in facts.feedback if row["status"] == "pending"]
    if pending or (edge and edge["kind"] in ("human-input", "human-escalation")):
        reason = pending[0]["question"] if pending else str((edge or {})["detail"])
        agents = [row["agentId"] for row in pending] or [(edge or {}).get("agentId")]
        return _decision("feedback-requested", "blocked", reason, agents)
    task = _most_pressing([task for task in facts.tasks if is_actionable_task(task)], edge)
    if task:
        agents = [task["assigneeAgentId"], task["ownerAgentId"]]
        return _decision("coordination-action", status, task["title"], agents)
    if not facts.attempt and facts.selection_source in ("rerun-request", "relaunch-plan"):
        return _decision("resume-ready", "running", "Agents are selected to run again.", facts.selected_agent_ids)
    fresh = [row for row in facts.feedback if _is_fresh(row, facts.attempt_started)]
    if fresh:
        return _decision("feedback-answered", "running", fresh[-1]["responseText"], [row["agentId"] for row in fresh])
    if facts.attempt or edge:
        reason = edge["detail"] if edge else "Agents are at work."
        return _decision("waiting", status, reason, facts.selected_agent_ids)
    return _decision("stable", "running", "Nothing to do.", facts.selected_agent_ids)


def agent_decision(facts: SignalFacts, agent: AgentFacts) -> Decision:
    """The signal of one agent: the first row of COORD 26.2 that applies."""
    ended = _terminal(facts.phase)
    if ended:
        return ended
    mine = [row for row in facts.feedback if row["agentId"] == agent.agent_id]
    pending = next((row for row in mine if row["status"] == "pending"), None)
    if pending:
        return Decision("feedback-requested", "blocked", pending["question"])
    task = _most_pressing(pending_tasks(facts, agent.agent_id), None)
    if task:
        return Decision(
            "coordination-action", "blocked" if task["state"] == "input-required" else "running", task["title"]
        )
    if agent.selected_for_rerun:
        return Decision("resume-ready", "running", "The agent is selected to run again.")
    fresh = [row for row in mine if _is_fresh(row, agent.run_started)]
    if fresh:
        return Decision("feedback-answered", "running", fresh[-1]["responseText"])
    if agent.run_failed and not facts.launcher_active:
        return Decision("failed", "failed", "The agent's last run failed.")
    if agent.in_attempt or agent.logical_state in ("working", "blocked") or agent.run_failed:
        blocked = agent.logical_state == "blocked"
        return Decision("waiting", "blocked" if blocked else "running", "The agent waits or is at work.")
    return Decision("stable", "waiting", "Nothing to do.")


def pending_tasks(facts: SignalFacts, agent_id: str) -> list[JsonObject]:
    """Actionable tasks that this agent has to act on."""
    return [task for task in facts.tasks if is_actionable_task(task) and task_agent(task) == agent_id]


def _terminal(phase: str) -> Decision | None:
    if phase == "completed":
        return Decision("completed", "completed", "The wave is completed.")
    if phase in ("failed", "timed_out"):
        return Decision("failed", "failed", f"The wave ended as {phase}.")
    return None


def _decision(signal: str, status: str, reason: str, agents: Sequence[str | None]) -> Decision:
    return Decision(signal, status, reason, tuple(sorted({agent for agent in agents if agent})))


def _most_pressing(tasks: Sequence[JsonObject], edge: Mapping[str, Any] | None) -> JsonObject | None:
    """The blocking edge's task if it is among them, else the most severe, then the oldest."""
    if edge:
        for task in tasks:
            if task["taskId"] == edge["id"]:
                return task

    def weight(task: JsonObject) -> tuple[int, float]:
        severity = task["blockerSeverity"]
        rank = _SEVERITY_RANK.index(severity) if severity in _SEVERITY_RANK else len(_SEVERITY_RANK)
        return rank, parse_iso(task["createdAt"]) or 0.0

    return min(tasks, key=weight, default=None)


def _is_fresh(row: Mapping[str, Any], since: str) -> bool:
    """Answered after the run started that is to learn of it."""
    if row["status"] != "answered":
        return False
    answered, start = parse_iso(row["answeredAt"]), parse_iso(since)
    return answered is not None and (start is None or answered > start)
