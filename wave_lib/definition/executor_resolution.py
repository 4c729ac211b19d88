"""Which executor runs an agent, and with which settings: lane, profile and agent layered into one object.

The result keeps its JSON shape and key order, because both are hashed into the prompt fingerprint.

Spec: CFG 10; SUP 17.2, 17.8, 17.11 (added keys, present only when they differ from their defaults).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.errors import WaveError
from ..base.text import nearest
from .component_rules import is_proof_centric_agent, is_proof_centric_wave
from .executor_schema import EXECUTORS
from .lane_profile import LaneProfile
from .roles import RoleBindings, resolve_wave_role_bindings, runtime_role
from .schema_types import fill
from .values import deep_copy, unique
from .wave_types import Agent, Wave

LIST_KEYS = {
    "codex": ("config", "images", "addDirs"),
    "claude": ("mcpConfig", "allowedTools", "disallowedTools", "allowedHttpHookUrls"),
    "opencode": ("instructions", "files"),
    "command": (),
}
"""Lists that add up over lane, profile and agent instead of replacing each other."""

_CODEX_DEFAULTS: dict[str, Any] = {
    "command": "codex",
    "sandbox": "danger-full-access",
    "profileName": None,
    "config": [],
    "search": False,
    "images": [],
    "addDirs": [],
    "json": False,
    "ephemeral": False,
}


class RuntimeMix(NamedTuple):
    """Outcome of the runtime mix check; `counts` are agents per executor. Spec: CFG 10."""

    ok: bool
    status: str
    detail: str
    counts: dict[str, int]
    targets: dict[str, int]


def executor_profile(agent: Agent, profile: LaneProfile) -> dict[str, Any]:
    """The named profile an agent selects, `{}` when it names none. Raises WaveError for an unknown name."""
    name = (agent.executor_config or {}).get("profile")
    if not name:
        return {}
    profiles: dict[str, dict[str, Any]] = profile.executors.get("profiles") or {}
    if name not in profiles:
        guess = nearest(name, profiles)
        known = f"did you mean {guess}?" if guess else f"known profiles: {', '.join(profiles) or 'none'}"
        raise WaveError(f'Agent {agent.agent_id}: unknown executor profile "{name}"', remedy=known)
    return profiles[name]


def resolve_agent_executor(
    agent: Agent,
    profile: LaneProfile,
    wave: Wave,
    executor_mode: str | None = None,
    codex_sandbox: str | None = None,
    bindings: RoleBindings | None = None,
) -> dict[str, Any]:
    """The `executorResolved` object of one agent, keys in the order of CFG 10.

    `executor_mode` and `codex_sandbox` are the launcher's (command line or lane default). Raises WaveError for an
    unknown profile.
    """
    own = agent.executor_config or {}
    named = executor_profile(agent, profile)
    role = runtime_role(agent, bindings or resolve_wave_role_bindings(wave, profile.roles))
    executor_id, selected_by = _select(own, named, role, profile, executor_mode)
    lane_block = profile.executors.get(executor_id) or {}
    model = own.get("model") or named.get("model") or lane_block.get("model")
    policy, may_fall_back = _retry_policy(own, named, is_proof_centric_agent(agent) or is_proof_centric_wave(wave))
    candidates = unique([*(named.get("fallbacks") or []), *(own.get("fallbacks") or [])])
    if not candidates:
        candidates = [mode for mode in profile.runtime_policy.fallback_executor_order if mode != executor_id]
    resolved: dict[str, Any] = {
        "id": executor_id,
        "initialExecutorId": executor_id,
        "model": model,
        "role": role,
        "profile": own.get("profile"),
        "selectedBy": selected_by,
        "fallbacks": candidates if may_fall_back else [],
        "tags": unique([*(named.get("tags") or []), *(own.get("tags") or [])]),
        "retryPolicy": policy,
        "allowFallbackOnRetry": may_fall_back,
        "budget": _budget(own.get("budget") or {}, named.get("budget") or {}),
        "fallbackUsed": False,
        "fallbackReason": None,
        "executorHistory": [{"attempt": 0, "executorId": executor_id, "reason": "initial"}],
    }
    layers = (profile.executors, named, own)
    resolved["codex"] = _codex(layers, executor_id, codex_sandbox)
    resolved["claude"] = _limited("claude", "maxTurns", layers, model if executor_id == "claude" else None)
    resolved["opencode"] = _limited("opencode", "steps", layers, model if executor_id == "opencode" else None)
    if executor_id == "command":
        resolved["command"] = fill(EXECUTORS.fields["command"], _layered("command", layers))
    resolved.update(_added_settings(profile.executors, named))
    return resolved


def apply_executor_selections(
    wave: Wave,
    profile: LaneProfile,
    executor_mode: str | None = None,
    codex_sandbox: str | None = None,
) -> Wave:
    """The wave with `executor_resolved` on every agent; skills are resolved after it (`skills.apply_skills`)."""
    bindings = resolve_wave_role_bindings(wave, profile.roles)
    agents = tuple(
        agent._replace(
            executor_resolved=resolve_agent_executor(agent, profile, wave, executor_mode, codex_sandbox, bindings)
        )
        for agent in wave.agents
    )
    return wave._replace(agents=agents)


def validate_runtime_mix(wave: Wave, profile: LaneProfile, executor_mode: str | None = None) -> RuntimeMix:
    """Whether the wave stays within `runtimePolicy.runtimeMixTargets`. Spec: CFG 10, V35."""
    targets = dict(profile.runtime_policy.runtime_mix_targets)
    counts: dict[str, int] = {}
    for agent in wave.agents:
        chosen = (agent.executor_resolved or {}).get("id") or executor_mode or profile.executors.get("default", "codex")
        counts[chosen] = counts.get(chosen, 0) + 1
    exceeded = [
        f"{mode}={counts[mode]} (target {most})" for mode, most in targets.items() if counts.get(mode, 0) > most
    ]
    if exceeded:
        detail = f"runtime mix target exceeded: {', '.join(exceeded)}"
        return RuntimeMix(False, "runtime-mix-exceeded", detail, counts, targets)
    return RuntimeMix(True, "pass", "runtime mix within its targets", counts, targets)


def _select(
    own: dict[str, Any], named: dict[str, Any], role: str, profile: LaneProfile, executor_mode: str | None
) -> tuple[str, str]:
    """`(executor id, who chose it)`: agent, profile, role default, command line, lane."""
    for chosen, selected_by in (
        (own.get("id"), "agent-id"),
        (named.get("id"), "agent-profile"),
        (profile.runtime_policy.default_executor_by_role.get(role), "lane-role-default"),
        (executor_mode, "cli-default"),
    ):
        if chosen:
            return chosen, selected_by
    return profile.executors.get("default") or "codex", "lane-default"


def _retry_policy(own: dict[str, Any], named: dict[str, Any], proof_centric: bool) -> tuple[str, bool]:
    """`(retryPolicy, allowFallbackOnRetry)`; live proof keeps its executor unless told otherwise."""
    policy = own.get("retryPolicy") or named.get("retryPolicy")
    allowed = own.get("allowFallbackOnRetry")
    if allowed is None:
        allowed = named.get("allowFallbackOnRetry")
    if allowed is None:
        allowed = policy != "sticky" if policy else not proof_centric
    return policy or ("fallback-allowed" if allowed else "sticky"), bool(allowed)


def _budget(own: dict[str, Any], named: dict[str, Any]) -> dict[str, Any] | None:
    budget = {key: own.get(key) or named.get(key) for key in ("turns", "minutes")}
    return budget if any(budget.values()) else None


def _layered(block: str, layers: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """One runtime block over lane, profile and agent: non-null keys replace in place, the list keys add up."""
    merged: dict[str, Any] = {}
    parts = [layer.get(block) or {} for layer in layers]
    for part in parts:
        for key, value in part.items():
            if value is not None:
                merged[key] = deep_copy(value)
    for key in LIST_KEYS[block]:
        items = unique(text for part in parts for text in (str(item).strip() for item in part.get(key) or ()) if text)
        if items:
            merged[key] = items
    return merged


def _codex(layers: tuple[dict[str, Any], ...], executor_id: str, cli_sandbox: str | None) -> dict[str, Any]:
    lane, named, own = (layer.get("codex") or {} for layer in layers)
    merged = _layered("codex", layers)
    override = cli_sandbox if executor_id == "codex" else None
    sandbox = own.get("sandbox") or named.get("sandbox") or override or lane.get("sandbox")
    if sandbox:
        merged["sandbox"] = sandbox
    for key, default in _CODEX_DEFAULTS.items():
        merged.setdefault(key, deep_copy(default))
    return merged


def _limited(block: str, limit: str, layers: tuple[dict[str, Any], ...], model: str | None) -> dict[str, Any]:
    """A block with a model and one hard limit (`maxTurns` or `steps`) whose source is recorded."""
    merged = _layered(block, layers)
    merged["model"] = model or (layers[0].get(block) or {}).get("model")
    merged.setdefault(limit, None)
    merged[f"{limit}Source"] = f"{block}.{limit}" if merged[limit] else None
    return merged


def _added_settings(lane: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """Environment and session rules of agents, only where they differ from their defaults (SUP 17.2, 17.11)."""
    settings: dict[str, Any] = {key: lane[key] for key in ("resumeSessions", "resumeLimit") if key in lane}
    parts = [part for part in (lane.get("env"), named.get("env")) if part]
    if parts:
        settings["env"] = {
            "mode": next((part["mode"] for part in reversed(parts) if part.get("mode")), "inherit"),
            "pass": unique(name for part in parts for name in part.get("pass") or ()),
            "strip": unique(name for part in parts for name in part.get("strip") or ()),
            "set": {name: text for part in parts for name, text in (part.get("set") or {}).items()},
        }
    return settings
