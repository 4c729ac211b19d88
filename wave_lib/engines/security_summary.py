"""What the security reviewers and Corridor say together. Pure. Spec: COORD 18, PROV 4.11."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..definition.roles import security_report_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave
    from .gate_results import Verdict

    JsonObject = dict[str, Any]

_RANK = ("not-applicable", "clear", "concerns", "pending", "blocked")


def corridor_view(artifact: JsonObject | None, config: Mapping[str, Any]) -> JsonObject | None:
    """The summary block of the Corridor artifact, None when Corridor is not enabled."""
    if not config.get("enabled"):
        return None
    if artifact is None:
        return {
            "ok": False,
            "providerMode": config.get("mode"),
            "source": None,
            "requiredAtClosure": config.get("requiredAtClosure") is not False,
            "severityThreshold": config.get("severityThreshold"),
            "fetchedAt": None,
            "blocking": False,
            "blockingFindings": [],
            "matchedFindings": [],
            "error": None,
        }
    keys = ("providerMode", "source", "severityThreshold", "fetchedAt", "error")
    return {
        "ok": bool(artifact.get("ok")),
        "providerMode": artifact.get(keys[0]),
        "source": artifact.get(keys[1]),
        "requiredAtClosure": artifact.get("requiredAtClosure") is not False,
        "severityThreshold": artifact.get(keys[2]),
        "fetchedAt": artifact.get(keys[3]),
        "blocking": bool(artifact.get("blocking")),
        "blockingFindings": list(artifact.get("blockingFindings") or ()),
        "matchedFindings": list(artifact.get("matchedFindings") or ()),
        "error": artifact.get(keys[4]),
    }


def corridor_is_pending(view: Mapping[str, Any]) -> bool:
    """Not materialised yet: neither fetched nor failed."""
    return not view["ok"] and not view["error"] and not view["fetchedAt"]


def corridor_failed(view: Mapping[str, Any]) -> bool:
    """Fetched without a usable result."""
    return (not view["ok"] or bool(view["error"])) and not corridor_is_pending(view)


def corridor_word(view: Mapping[str, Any] | None) -> str:
    """`not-configured`, `fetch-failed`, `blocking` or `clear`, as the Markdown shows it."""
    if view is None:
        return "not-configured"
    if corridor_failed(view) or corridor_is_pending(view):
        return "fetch-failed"
    return "blocking" if view["blocking"] else "clear"


def build_security_summary(
    wave: Wave,
    bindings: RoleBindings,
    lane: str,
    attempt: int,
    summaries: Mapping[str, JsonObject | None],
    verdicts: Mapping[str, Verdict],
    corridor: JsonObject | None,
    now: str,
) -> JsonObject:
    """The security document; `verdicts` are the security validator's, by reviewer, `corridor` is a `corridor_view`."""
    agents = [
        _review(agent, summaries.get(agent.agent_id), verdicts[agent.agent_id])
        for agent in wave.agents
        if agent.agent_id in bindings.security_reviewers
    ]
    states = [agent["state"] for agent in agents]
    overall = next((state for state in ("blocked", "pending", "concerns") if state in states), "clear")
    if not agents:
        overall = "not-applicable"
    corridor_state, corridor_detail = _corridor_state(corridor)
    if _RANK.index(corridor_state) > _RANK.index(overall):
        overall = corridor_state
    concerns = [agent["agentId"] for agent in agents if agent["state"] == "concerns"]
    blocked = [agent["agentId"] for agent in agents if agent["state"] == "blocked"]
    return {
        "wave": wave.wave,
        "lane": lane,
        "attempt": attempt,
        "overallState": overall,
        "totalFindings": sum(agent["findings"] for agent in agents),
        "totalApprovals": sum(agent["approvals"] for agent in agents),
        "concernAgentIds": concerns,
        "blockedAgentIds": blocked,
        "detail": corridor_detail or _detail(agents, overall),
        "corridor": corridor,
        "agents": agents,
        "createdAt": now,
        "updatedAt": now,
    }


def _review(agent: Agent, summary: JsonObject | None, verdict: Verdict) -> JsonObject:
    marker = (summary or {}).get("security") or {}
    if verdict.ok:
        state = marker.get("state") or "clear"
    else:
        state = "blocked" if marker.get("state") == "blocked" else "pending"
    return {
        "agentId": agent.agent_id,
        "title": agent.title,
        "state": state,
        "findings": int(marker.get("findings") or 0),
        "approvals": int(marker.get("approvals") or 0),
        "detail": marker.get("detail") or verdict.detail,
        "reportPath": (summary or {}).get("reportPath") or security_report_path(agent),
        "statusCode": verdict.status_code,
        "ok": verdict.ok,
    }


def _corridor_state(view: JsonObject | None) -> tuple[str, str]:
    """The overall state Corridor demands, and why; why is empty unless it holds something back."""
    if view is None:
        return "not-applicable", ""
    if view["blocking"] and not corridor_failed(view):
        return "blocked", f"Corridor reports {len(view['blockingFindings'])} blocking finding(s)."
    if view["requiredAtClosure"]:
        if corridor_is_pending(view):
            return "pending", "Corridor has not been fetched yet and is required at closure."
        if corridor_failed(view):
            why = view["error"] or "no result"
            return "blocked", f"Corridor could not be fetched and is required at closure: {why}"
    return "not-applicable", ""


def _detail(agents: list[JsonObject], overall: str) -> str:
    if overall == "not-applicable":
        return "The wave has no security reviewer."
    named = ", ".join(agent["agentId"] for agent in agents if agent["state"] == overall)
    return {
        "blocked": f"Blocked by {named}.",
        "pending": f"Review outstanding: {named}.",
        "concerns": f"Concerns raised by {named}.",
    }.get(overall, "All security reviews are clear.")
