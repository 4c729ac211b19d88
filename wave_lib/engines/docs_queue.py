"""What the wave owes the documentation. Pure. Spec: COORD 16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Wave

    JsonObject = dict[str, Any]


def build_docs_queue(
    wave: Wave,
    bindings: RoleBindings,
    lane: str,
    shared_plan_docs: Sequence[str],
    summaries: Mapping[str, JsonObject | None],
    runtime_assignments: Sequence[JsonObject],
    now: str,
    created_at: str | None = None,
) -> JsonObject:
    """The docs-queue document. `summaries` by agent id; `created_at` keeps the time of an earlier queue."""
    items = []
    for agent in wave.agents:
        delta = (summaries.get(agent.agent_id) or {}).get("docDelta") or {}
        paths = list(delta.get("paths") or ())
        detail = str(delta.get("detail") or "")
        if delta.get("state") == "owned":
            for path in paths:
                summary = f"{agent.agent_id} documents {path}"
                items.append(_item(agent.agent_id, "owned", "owned-doc", agent.agent_id, path, summary, detail))
        elif delta.get("state") == "shared-plan":
            for path in paths or shared_plan_docs:
                summary = f"{agent.agent_id} asks for a change of {path}"
                owner = bindings.documentation
                items.append(_item(agent.agent_id, "shared", "shared-plan", owner, path, summary, detail))
    for promotion in wave.component_promotions:
        items.append(
            {
                "id": f"component-matrix:{promotion.component_id}",
                "kind": "component-matrix",
                "agentId": None,
                "ownerAgentId": bindings.documentation,
                "path": promotion.component_id,
                "summary": f"Component matrix shows {promotion.component_id} at {promotion.target_level}",
                "detail": "",
                "targets": [bindings.documentation],
            }
        )
    return {
        "lane": lane,
        "wave": wave.wave,
        "createdAt": created_at or now,
        "updatedAt": now,
        "releaseNotesRequired": any(item["kind"] == "shared-plan" for item in items),
        "runtimeAssignments": list(runtime_assignments),
        "items": items,
    }


def _item(reporter: str, word: str, kind: str, owner: str, path: str, summary: str, detail: str) -> JsonObject:
    return {
        "id": f"{reporter}:{word}:{path}",
        "kind": kind,
        "agentId": reporter,
        "ownerAgentId": owner,
        "path": path,
        "summary": summary,
        "detail": detail,
        "targets": [owner],
    }
