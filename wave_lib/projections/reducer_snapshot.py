"""The reduced state on disk, with the resume plan and a comparison with the launcher's own decisions.

Holds: nothing.
Writes: `reducer/wave-<n>.json` (a cache: it is computed again whenever it is needed).
When killed: the snapshot is the old one or the new one.
Spec: COORD 22.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..definition.lane_paths import LanePaths

    JsonObject = dict[str, Any]

SLICES = (
    "helperAssignmentBarrier",
    "dependencyBarrier",
    "overallGate",
    "blockers",
    "contradictions",
    "closureReadiness",
    "retryPlan",
)
_GATE_KEYS = ("ok", "agentId", "componentId", "statusCode", "detail")


def compute_reducer_snapshot(
    lane: str,
    wave: int,
    state: JsonObject,
    resume_plan: JsonObject | None,
    live: Mapping[str, Any] | None,
    now: str,
) -> JsonObject:
    """The snapshot document. `live` holds the launcher's decisions by slice name (see `SLICES`), missing ones null."""
    return {
        "schemaVersion": 1,
        "kind": "wave-state-snapshot",
        "_meta": {"surfaceClass": "canonical-snapshot"},
        "lane": lane,
        "wave": wave,
        **{key: value for key, value in state.items() if key not in ("lane", "wave")},
        "resumePlan": resume_plan,
        "shadowDiff": shadow_diff(live or {}, reducer_slices(state, resume_plan)),
        "generatedAt": now,
    }


def write_reducer_snapshot(paths: LanePaths, wave: int, snapshot: JsonObject) -> None:
    """Persist the snapshot."""
    write_json(paths.reducer_snapshot(wave), snapshot, durable=False)


def reducer_slices(state: Mapping[str, Any], resume_plan: Mapping[str, Any] | None) -> JsonObject:
    """What the reducer says about each slice."""
    gates = state.get("gateSnapshot") or {}
    return {
        "helperAssignmentBarrier": comparable_gate(gates.get("helperAssignmentBarrier")),
        "dependencyBarrier": comparable_gate(gates.get("dependencyBarrier")),
        "overallGate": comparable_gate(gates.get("overall")),
        "blockers": sorted(item["id"] for item in state.get("openBlockers") or () if item["kind"] != "gate-failure"),
        "contradictions": sorted(state.get("contradictions") or {}),
        "closureReadiness": dict(state.get("closureEligibility") or {}) or None,
        "retryPlan": None if resume_plan is None else dict(resume_plan),
    }


def comparable_gate(gate: Mapping[str, Any] | None) -> JsonObject | None:
    """A gate reduced to what has to agree."""
    if gate is None:
        return None
    waiting = sorted(gate.get("waitingOnAgentIds") or ())
    return {**{key: gate.get(key) for key in _GATE_KEYS}, "waitingOnAgentIds": waiting}


def shadow_diff(compatibility: Mapping[str, Any], reducer: Mapping[str, Any]) -> JsonObject:
    """Where both sides agree; slices with a null side are not counted, records are compared by their common keys."""
    slices = {}
    for name in SLICES:
        left, right = compatibility.get(name), reducer.get(name)
        slices[name] = {"matches": _agree(left, right), "compatibility": left, "reducer": right}
    counted = [item for item in slices.values() if item["compatibility"] is not None and item["reducer"] is not None]
    return {
        "comparedSliceCount": len(counted),
        "matches": all(item["matches"] for item in counted),
        "slices": slices,
    }


def _agree(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        return all(_plain(left[key]) == _plain(right[key]) for key in left.keys() & right.keys())
    return bool(_plain(left) == _plain(right))


def _plain(value: Any) -> Any:
    """Lists of ids compare without regard to order."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return value
