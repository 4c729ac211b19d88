"""Which executor a failed agent tries next. Spec: LAUNCH 11.5. Pure.

Executor states are the plain `executorResolved` dicts of CFG 10; key order is kept because it is hashed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..definition.lane_profile import LaneProfile

ExecutorState = dict[str, Any]

APPLIED = "fallback-applied"
NO_STATE = "no-executor-state"
NOT_CONFIGURED = "no-fallback-configured"
UNAVAILABLE = "fallback-unavailable"
BLOCKED = "retry-fallback-blocked"


class FallbackOutcome(NamedTuple):
    """What became of one agent's executor. `state` is the new executor state when it was changed, else None."""

    agent_id: str
    status_code: str
    detail: str
    state: ExecutorState | None = None

    @property
    def blocking(self) -> bool:
        """Whether the agent cannot be retried at all."""
        return self.status_code == BLOCKED


def fallback_chain(state: Mapping[str, Any]) -> tuple[str, ...]:
    """Executors an agent may change to after a failure, in order."""
    if state.get("retryPolicy") == "sticky" or state.get("allowFallbackOnRetry") is False:
        return ()
    return tuple(state.get("fallbacks") or ())


def fits_mix(states: Iterable[Mapping[str, Any]], targets: Mapping[str, int]) -> bool:
    """Whether the number of agents per executor stays within the lane's targets."""
    counts = Counter(str(state["id"]) for state in states)
    return all(count <= targets[executor] for executor, count in counts.items() if executor in targets)


def with_executor(
    state: Mapping[str, Any], executor_id: str, *, reason: str, attempt: int, selected_by: str, model: str | None
) -> ExecutorState:
    """The state after a change of executor: history grows, `initialExecutorId` and everything authored stay."""
    initial = state.get("initialExecutorId") or state["id"]
    history = list(state.get("executorHistory") or [])
    return {
        **state,
        "id": executor_id,
        "initialExecutorId": initial,
        "model": model,
        "selectedBy": selected_by,
        "fallbackUsed": True,
        "fallbackReason": reason,
        "executorHistory": [*history, {"attempt": attempt, "executorId": executor_id, "reason": reason}],
    }


def resolve_fallbacks(
    status_codes: Mapping[str, str],
    states: Mapping[str, ExecutorState],
    available: Mapping[str, Collection[str]],
    profile: LaneProfile,
    attempt: int,
) -> list[FallbackOutcome]:
    """One outcome per failed agent, in the order given.

    `status_codes`: agent id -> status code of its runtime failure (other failures keep their executor). `states`: the
    executor state of every agent of the wave. `available`: agent id -> executors whose command can be run for it.
    `attempt`: the pass that is being planned.
    """
    current = dict(states)
    outcomes = []
    for agent_id, status_code in status_codes.items():
        outcome = _resolve_one(agent_id, status_code, current, available.get(agent_id, ()), profile, attempt)
        if outcome.state is not None:
            current[agent_id] = outcome.state  # the next agent is counted beside this change
        outcomes.append(outcome)
    return outcomes


def _resolve_one(
    agent_id: str,
    status_code: str,
    states: Mapping[str, ExecutorState],
    available: Collection[str],
    profile: LaneProfile,
    attempt: int,
) -> FallbackOutcome:
    state = states.get(agent_id)
    if not state:
        return FallbackOutcome(agent_id, NO_STATE, f"{agent_id} has no resolved executor.")
    chain = fallback_chain(state)
    if not chain:
        return FallbackOutcome(agent_id, NOT_CONFIGURED, f"{agent_id} has no fallback for executor {state['id']}.")
    used = {state["id"], *(item.get("executorId") for item in state.get("executorHistory") or [])}
    targets = profile.runtime_policy.runtime_mix_targets
    others = [other for other_id, other in states.items() if other_id != agent_id and other]
    for candidate in chain:
        if candidate in used or candidate not in available or not fits_mix([*others, {"id": candidate}], targets):
            continue
        changed = with_executor(
            state,
            candidate,
            reason=f"retry:{status_code}",
            attempt=attempt,
            selected_by="retry-fallback",
            model=default_model(candidate, profile),
        )
        return FallbackOutcome(agent_id, APPLIED, f"{agent_id}: {state['id']} -> {candidate}", changed)
    tried = " -> ".join(chain)
    if state["id"] in available:
        return FallbackOutcome(agent_id, UNAVAILABLE, f"{agent_id} stays on {state['id']}; no fallback fits ({tried}).")
    return FallbackOutcome(
        agent_id, BLOCKED, f"{agent_id}: executor {state['id']} is not available and no fallback fits ({tried})."
    )


def default_model(executor_id: str, profile: LaneProfile) -> str | None:
    """Model of the executor's own section; codex, local and command have none here."""
    if executor_id not in ("claude", "opencode"):
        return None
    model = (profile.executors.get(executor_id) or {}).get("model")
    return model if isinstance(model, str) else None
