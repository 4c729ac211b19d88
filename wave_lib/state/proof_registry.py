"""Proof bundles: what an operator vouches for, and what that changes in a summary.

Holds: nothing.
Writes: `proof_bundle` events of the control-plane log (in one locked step with what they were decided from), and its
mirror `proof/wave-<n>.json`.
When killed: an operation is in the log whole or not at all; the mirror is rewritten by the next operation.

Spec: GATE 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.errors import UsageError, WaveError
from ..base.timestamps import now_iso, parse_iso
from ..definition.wave_types import EXIT_CONTRACT_FIELDS
from . import control_plane
from .file_facts import FileFact, describe, inside

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..definition.wave_types import Agent, Wave
    from .control_plane import ControlPlaneState

JsonObject = dict[str, Any]

DEFAULT_OPERATOR = "human-operator"
DRIFT = "proof-bundle-drift"
_LEVELS = ("completion", "durability", "proof")


class BundleRequest(NamedTuple):
    """What an operator asks to register. `components` are `id` or `id:level`; levels and docDelta may be None."""

    agent_id: str
    artifacts: tuple[str, ...]
    components: tuple[str, ...] = ()
    authoritative: bool = False
    satisfy_owned_components: bool = False
    completion: str | None = None
    durability: str | None = None
    proof: str | None = None
    doc_delta: str | None = None
    operator: str = DEFAULT_OPERATOR
    detail: str = ""


class Registered(NamedTuple):
    """The new bundle, warnings for people, and the bundle it replaced, if any."""

    bundle: JsonObject
    warnings: tuple[str, ...] = ()
    superseded: JsonObject | None = None


class Applied(NamedTuple):
    """A summary after proof bundles. `drifted` are ids of bundles whose artifacts are not what was registered."""

    summary: JsonObject | None
    bundle_id: str | None = None
    drifted: tuple[str, ...] = ()


def build_bundle(root: str, agent: Agent, request: BundleRequest, *, now: str) -> Registered:
    """The bundle of a request; reads the artifacts and writes nothing. Spec: GATE 13.2.

    UsageError (2) for a level outside its list; WaveError (1) for an artifact that may not be evidence.
    """
    _check_levels(request)
    artifacts, warnings = _artifacts(root, agent, request)
    components = _components(agent, request)
    contract = agent.exit_contract
    given = {name: getattr(request, name) for name in _LEVELS}
    detail = request.detail or None
    proof = None
    if request.authoritative or any(given.values()):
        required = {name: getattr(contract, name) if contract else None for name in _LEVELS}
        proof = {"state": "met", **{name: given[name] or required[name] for name in _LEVELS}, "detail": detail}
    bundle = {
        "proofBundleId": _bundle_id(request.agent_id, now),
        "agentId": request.agent_id,
        "state": "active",
        "authoritative": request.authoritative,
        "recordedAt": now,
        "recordedBy": request.operator,
        "detail": detail,
        "summary": "",
        "satisfyOwnedComponents": request.satisfy_owned_components,
        "proof": proof,
        "docDelta": {"state": request.doc_delta, "detail": detail} if request.doc_delta else None,
        "components": components,
        "artifacts": artifacts,
        "scope": "wave",
        "satisfies": [item["componentId"] for item in components],
        "supersedes": None,
        "supersededBy": None,
        "attestation": None,
        "updatedAt": now,
    }
    return Registered(bundle, tuple(warnings))


def _bundle_id(agent_id: str, now: str) -> str:
    import secrets

    digits = "".join(char for char in now if char.isdigit())[:14]
    return f"proof-{agent_id}-{digits}-{secrets.token_hex(2)}"


def _check_levels(request: BundleRequest) -> None:
    for name, flag, value in (
        ("completion", "--completion", request.completion),
        ("durability", "--durability", request.durability),
        ("proof", "--proof-level", request.proof),
        ("doc_impact", "--doc-delta", request.doc_delta),
    ):
        allowed = EXIT_CONTRACT_FIELDS[name][1]
        if value is not None and value not in allowed:
            raise UsageError(f"{flag} must be one of: {', '.join(allowed)} (got: {value})")
    if not request.artifacts:
        raise UsageError("--artifact is required", remedy="name at least one file that proves the claim")


def _artifacts(root: str, agent: Agent, request: BundleRequest) -> tuple[list[JsonObject], list[str]]:
    import os

    declared = {item.path: item for item in agent.proof_artifacts}
    artifacts, warnings = [], []
    for path in request.artifacts:
        absolute = os.path.realpath(os.path.join(root, path))
        if os.path.isabs(path) or not absolute.startswith(os.path.realpath(root).rstrip(os.sep) + os.sep):
            raise WaveError(f"Proof artifact is outside the repository: {path}", "--artifact", "name a file inside it")
        if os.path.isdir(absolute):
            raise WaveError(f"Proof artifact is a folder: {path}", "--artifact", "name the files in it")
        if inside(root, path) is None:
            if request.authoritative:
                raise WaveError(
                    f"Proof artifact does not exist: {path}", "--artifact", "an authoritative bundle needs the file"
                )
            warnings.append(f"Proof artifact does not exist yet: {path}")
        fact, known = describe(root, path), declared.get(path)
        artifacts.append(
            {
                "path": path,
                "kind": known.kind if known else None,
                "requiredFor": list(known.required_for) if known else [],
                "exists": fact["exists"],
                "sha256": fact["sha256"],
            }
        )
    return artifacts, warnings


def _components(agent: Agent, request: BundleRequest) -> list[JsonObject]:
    levels: dict[str, str | None] = {}
    for item in request.components:
        component_id, _, level = item.partition(":")
        levels[component_id] = level or None
    for component_id in agent.components if request.satisfy_owned_components else ():
        levels.setdefault(component_id, None)
    return [
        {
            "componentId": component_id,
            "level": level or agent.component_targets.get(component_id),
            "state": "met",
            "detail": request.detail or None,
        }
        for component_id, level in levels.items()
    ]


def register_bundle(paths: LanePaths, wave: Wave, request: BundleRequest) -> Registered:
    """Register a bundle. Nothing is written when the request is refused. Spec: GATE 13.2."""
    agent = _agent(wave, request.agent_id)
    registered = build_bundle(paths.root, agent, request, now=now_iso())
    _append(paths, wave.wave, lambda _state: [_event(registered.bundle, "registered", request.operator)])
    return registered


def supersede_bundle(paths: LanePaths, wave: Wave, bundle_id: str, request: BundleRequest) -> Registered:
    """Register a bundle in place of an active one; artifacts, levels and components left out come from the old one.

    Spec: GATE 13.3.
    """
    old = find_bundle(control_plane.read_control_plane(paths, wave.wave), bundle_id)
    _require_active(old, bundle_id)
    registered = build_bundle(paths.root, _agent(wave, request.agent_id), _inherit(request, old), now=now_iso())
    bundle = {**registered.bundle, "supersedes": bundle_id}
    changed = {
        "proofBundleId": bundle_id,
        "state": "superseded",
        "supersededBy": bundle["proofBundleId"],
        "updatedAt": bundle["updatedAt"],
    }

    def decide(state: ControlPlaneState) -> list[JsonObject]:
        _require_active(find_bundle(state, bundle_id), bundle_id)
        return [
            _event(bundle, "registered", request.operator),
            _event({**old, **changed}, "superseded", request.operator),
        ]

    _append(paths, wave.wave, decide)
    return Registered(bundle, registered.warnings, {**old, **changed})


def revoke_bundle(
    paths: LanePaths, wave_number: int, bundle_id: str, *, operator: str = DEFAULT_OPERATOR, detail: str = ""
) -> JsonObject:
    """Revoke a bundle and return it; a revoked one stays as it is. WaveError for an unknown or superseded one."""
    result: list[JsonObject] = []

    def decide(state: ControlPlaneState) -> list[JsonObject]:
        old = find_bundle(state, bundle_id)
        if old["state"] == "superseded":
            raise WaveError(f"Proof bundle {bundle_id} is superseded by {old.get('supersededBy')}", "--id")
        if old["state"] == "revoked":
            result.append(old)
            return []
        text = detail or old.get("detail") or f"Revoked by {operator}."
        result.append({**old, "state": "revoked", "detail": text, "updatedAt": now_iso()})
        return [_event(result[0], "revoked", operator)]

    _append(paths, wave_number, decide)
    return result[0]


def find_bundle(state: ControlPlaneState, bundle_id: str) -> JsonObject:
    """The bundle of this id. WaveError when there is none."""
    bundle = state.proof_bundles.get(bundle_id)
    if bundle is None:
        raise WaveError(f"Proof bundle not found: {bundle_id}", remedy="`wave control proof get` lists the ids")
    return bundle


def _require_active(bundle: JsonObject, bundle_id: str) -> None:
    if bundle["state"] != "active":
        raise WaveError(f"Proof bundle {bundle_id} is {bundle['state']}", "--id", "supersede an active bundle")


def _inherit(request: BundleRequest, old: JsonObject) -> BundleRequest:
    proof, delta = old.get("proof") or {}, old.get("docDelta") or {}
    components = tuple(
        f"{item['componentId']}:{item['level']}" if item.get("level") else str(item["componentId"])
        for item in old.get("components") or []
    )
    return request._replace(
        artifacts=request.artifacts or tuple(item["path"] for item in old.get("artifacts") or []),
        components=request.components or components,
        authoritative=request.authoritative or bool(old.get("authoritative")),
        satisfy_owned_components=request.satisfy_owned_components or bool(old.get("satisfyOwnedComponents")),
        completion=request.completion or proof.get("completion"),
        durability=request.durability or proof.get("durability"),
        proof=request.proof or proof.get("proof"),
        doc_delta=request.doc_delta or delta.get("state"),
        detail=request.detail or old.get("detail") or "",
    )


def _agent(wave: Wave, agent_id: str) -> Agent:
    agent = wave.agent(agent_id)
    if agent is None:
        known = ", ".join(item.agent_id for item in wave.agents)
        raise WaveError(f"Wave {wave.wave} has no agent {agent_id}", "--agent", f"use one of {known}")
    return agent


def _event(bundle: JsonObject, action: str, operator: str) -> JsonObject:
    identity = bundle["proofBundleId"]
    data = {key: value for key, value in bundle.items() if key not in ("createdAt", "id")}
    return control_plane.event_of("proof_bundle", identity, action, data, source="operator", actor=operator)


def _append(
    paths: LanePaths, wave_number: int, decide: Callable[[ControlPlaneState], Sequence[Mapping[str, Any]]]
) -> None:
    control_plane.update_events(paths, wave_number, decide)
    control_plane.sync_mirrors(paths, wave_number)


def bundle_paths(bundles: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every artifact path whose fact `apply_bundles` needs."""
    found = (str(item.get("path")) for bundle in bundles for item in bundle.get("artifacts") or [])
    return list(dict.fromkeys(found))


def apply_bundles(
    agent: Agent, summary: JsonObject | None, bundles: Iterable[JsonObject], facts: Mapping[str, FileFact]
) -> Applied:
    """The summary as the newest active authoritative bundle of the agent makes it. Pure. Spec: GATE 13.4.

    `facts` are by path, for the artifacts of the bundles and the agent's deliverables (`file_facts.file_fact`).
    """
    own = [
        bundle
        for bundle in bundles
        if bundle.get("agentId") == agent.agent_id and bundle.get("state") == "active" and bundle.get("authoritative")
    ]
    drifted = tuple(str(bundle["proofBundleId"]) for bundle in own if _has_drifted(bundle, facts))
    if not own:
        return Applied(summary)
    newest = max(own, key=lambda bundle: (parse_iso(bundle.get("recordedAt")) or 0.0, str(bundle["proofBundleId"])))
    if newest["proofBundleId"] in drifted or _denied_since(summary, newest):
        return Applied(summary, None, drifted)
    return Applied(_merged(agent, summary, newest, facts), newest["proofBundleId"], drifted)


def _has_drifted(bundle: JsonObject, facts: Mapping[str, FileFact]) -> bool:
    artifacts = bundle.get("artifacts") or []
    for item in artifacts:
        fact = facts.get(str(item.get("path")), FileFact(False))
        if not fact.exists or item.get("sha256") not in (fact.sha256, fact.text_sha256):
            return True
    return not artifacts


def _denied_since(summary: JsonObject | None, bundle: JsonObject) -> bool:
    """The agent itself reported a gap after the bundle was recorded."""
    if ((summary or {}).get("proof") or {}).get("state") != "gap":
        return False
    said, recorded = parse_iso((summary or {}).get("completedAt")), parse_iso(bundle.get("recordedAt"))
    return said is not None and recorded is not None and said > recorded


def _merged(agent: Agent, summary: JsonObject | None, bundle: JsonObject, facts: Mapping[str, FileFact]) -> JsonObject:
    result: JsonObject = {"agentId": agent.agent_id, "exitCode": None, **(summary or {})}
    vouched, own, contract = bundle.get("proof"), result.get("proof") or {}, agent.exit_contract
    if vouched and vouched.get("state") == "met":
        levels = {
            name: vouched.get(name) or own.get(name) or (getattr(contract, name) if contract else None)
            for name in _LEVELS
        }
        result["proof"] = {**levels, "state": "met", "detail": vouched.get("detail") or own.get("detail") or ""}
    if bundle.get("docDelta"):
        old_delta = result.get("docDelta") or {}
        result["docDelta"] = {"paths": old_delta.get("paths") or [], **bundle["docDelta"]}
    result["proofArtifacts"] = _merged_artifacts(result.get("proofArtifacts"), bundle)
    result["components"] = _merged_components(agent, result.get("components"), bundle)
    known = {item.get("path") for item in result.get("deliverables") or []}
    missing = [path for path in agent.deliverables if path not in known and path in facts]
    result["deliverables"] = [
        *(result.get("deliverables") or []),
        *({"path": path, "exists": facts[path].exists, "sha256": facts[path].sha256} for path in missing),
    ]
    return result


def _merged_artifacts(own: list[JsonObject] | None, bundle: JsonObject) -> list[JsonObject]:
    merged = {item.get("path"): item for item in own or []}
    for item in bundle.get("artifacts") or []:
        before = merged.get(item["path"]) or {}
        exists = bool(before.get("exists") or item.get("exists"))
        merged[item["path"]] = {**before, **item, "exists": exists}
    return list(merged.values())


def _merged_components(agent: Agent, own: list[JsonObject] | None, bundle: JsonObject) -> list[JsonObject]:
    merged = {item.get("componentId"): item for item in own or []}
    vouched = bundle.get("components") or []
    if not vouched and bundle.get("satisfyOwnedComponents"):
        vouched = [{"componentId": item, "level": agent.component_targets.get(item)} for item in agent.components]
    for item in vouched:
        identity = item["componentId"]
        level = item.get("level") or (merged.get(identity) or {}).get("level")
        merged[identity] = {"componentId": identity, "level": level, "state": "met", "detail": item.get("detail") or ""}
    return list(merged.values())
