"""`wave control proof`, and its older form `wave proof`: what an operator vouches for. Spec: COORD 25.6, GATE 13."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import ExitCode
from .arguments import JSON, SWITCH, TEXT, Command, Flag, Parsed
from .subcommands import PLACE, Verb, ids_flag, ids_of, print_json, required, scene_of, warn

if TYPE_CHECKING:
    from ..runtime.wave_scene import WaveScene
    from ..state.proof_registry import BundleRequest, Registered

    JsonObject = dict[str, Any]

_ID = Flag("--id", TEXT, "id of the bundle", metavar="id")
_OPERATOR = Flag("--operator", TEXT, "who vouches", metavar="name", default="human-operator")
_DETAIL = Flag("--detail", TEXT, "what was seen", metavar="text")
_BUNDLE_FLAGS = (
    Flag("--agent", TEXT, "whose work it proves", metavar="id"),
    ids_flag("--artifact", "files that prove it"),
    Flag("--component", TEXT, "components that it proves", metavar="id[:level]", repeatable=True),
    Flag("--authoritative", SWITCH, "the bundle satisfies the agent's exit contract"),
    Flag("--satisfy-owned-components", SWITCH, "it proves every component of the agent"),
    Flag("--completion", TEXT, "completion level proved", metavar="level"),
    Flag("--durability", TEXT, "durability level proved", metavar="level"),
    Flag("--proof-level", TEXT, "proof level reached", metavar="level"),
    Flag("--doc-delta", TEXT, "state of the documentation", metavar="state"),
    _OPERATOR,
    _DETAIL,
    JSON,
)
REGISTER = Command("control proof register", "Register a proof bundle for an agent.", (*PLACE, *_BUNDLE_FLAGS))
GET = Command(
    "control proof get",
    "Show the proof bundles of a wave.",
    (*PLACE, Flag("--agent", TEXT, "only those of this agent", metavar="id"), _ID, JSON),
)
SUPERSEDE = Command(
    "control proof supersede",
    "Put a new bundle in the place of an active one; what is not given comes from the old one.",
    (*PLACE, _ID, *_BUNDLE_FLAGS),
)
REVOKE = Command("control proof revoke", "Withdraw a bundle.", (*PLACE, _ID, _OPERATOR, _DETAIL, JSON))


def register(given: Parsed, root: str) -> int:
    """`control proof register`."""
    from ..state.proof_registry import register_bundle

    scene = scene_of(given, root)
    request = _request(given, scene)
    registered = register_bundle(scene.paths, scene.wave, request)
    _finish(scene, request, registered)
    registry, bundle_id = _registry(scene), registered.bundle["proofBundleId"]
    print_json({**_place(scene), "entry": _entry_of(registry, bundle_id), "registry": registry})
    return ExitCode.DONE


def get(given: Parsed, root: str) -> int:
    """`control proof get`."""
    print_json(_entries(given, root, with_path=True))
    return ExitCode.DONE


def show(given: Parsed, root: str) -> int:
    """`wave proof show`."""
    print_json(_entries(given, root, with_path=False))
    return ExitCode.DONE


def supersede(given: Parsed, root: str) -> int:
    """`control proof supersede`."""
    from ..state.proof_registry import supersede_bundle

    (bundle_id,) = required(given, "id")
    scene = scene_of(given, root)
    request = _request(given, scene)
    registered = supersede_bundle(scene.paths, scene.wave, bundle_id, request)
    request = request._replace(artifacts=tuple(item["path"] for item in registered.bundle["artifacts"]))
    _finish(scene, request, registered)
    registry = _registry(scene)
    old, new = _entry_of(registry, bundle_id), _entry_of(registry, registered.bundle["proofBundleId"])
    print_json({**_place(scene), "superseded": old, "entry": new, "registry": registry})
    return ExitCode.DONE


def revoke(given: Parsed, root: str) -> int:
    """`control proof revoke`."""
    from ..runtime.operator_actions import settle
    from ..state.proof_registry import DEFAULT_OPERATOR, revoke_bundle

    (bundle_id,) = required(given, "id")
    scene = scene_of(given, root)
    revoke_bundle(
        scene.paths,
        scene.number,
        bundle_id,
        operator=given.text("operator") or DEFAULT_OPERATOR,
        detail=given.text("detail") or "",
    )
    settle(scene)
    print_json({**_place(scene), "revokedId": bundle_id, "registry": _registry(scene)})
    return ExitCode.DONE


def _request(given: Parsed, scene: WaveScene) -> BundleRequest:
    from ..state.proof_registry import DEFAULT_OPERATOR, BundleRequest

    (agent_id,) = required(given, "agent")
    scene.require_agents([agent_id])
    return BundleRequest(
        agent_id=agent_id,
        artifacts=tuple(ids_of(given, "artifact")),
        components=tuple(ids_of(given, "component")),
        authoritative=given.has("authoritative"),
        satisfy_owned_components=given.has("satisfy-owned-components"),
        completion=given.text("completion"),
        durability=given.text("durability"),
        proof=given.text("proof-level"),
        doc_delta=given.text("doc-delta"),
        operator=given.text("operator") or DEFAULT_OPERATOR,
        detail=given.text("detail") or "",
    )


def _finish(scene: WaveScene, request: BundleRequest, registered: Registered) -> None:
    """Warnings for people, and the evidence record that tells the agents. Spec: GATE 13.3."""
    from ..runtime.operator_actions import post_record

    for warning in registered.warnings:
        warn(warning)
    bundle, bindings = registered.bundle, scene.bindings
    told = (request.agent_id, bindings.integration, bindings.cont_qa)
    post_record(
        scene,
        {
            "id": bundle["proofBundleId"],
            "kind": "evidence",
            "status": "resolved",
            "source": "operator",
            "agentId": request.operator,
            "targets": [f"agent:{agent_id}" for agent_id in told if scene.wave.agent(agent_id) is not None],
            "priority": "high" if bundle["authoritative"] else "normal",
            "artifactRefs": list(request.artifacts),
            "summary": f"Proof bundle for {request.agent_id} registered by {request.operator}",
            "detail": bundle["detail"],
        },
    )


def _place(scene: WaveScene) -> JsonObject:
    return {"lane": scene.paths.lane, "wave": scene.number}


def _entry_of(registry: JsonObject | None, bundle_id: str) -> JsonObject | None:
    entries = registry["entries"] if registry else ()
    return next((entry for entry in entries if entry["id"] == bundle_id), None)


def _registry(scene: WaveScene) -> JsonObject | None:
    from ..state.control_plane import proof_registry, read_control_plane

    return proof_registry(scene.paths, scene.number, read_control_plane(scene.paths, scene.number))


def _entries(given: Parsed, root: str, *, with_path: bool) -> JsonObject:
    from ..runtime.control_status import proof_entries
    from ..state.control_plane import read_control_plane

    scene = scene_of(given, root)
    agent_id, bundle_id = given.text("agent"), given.text("id")
    if agent_id is not None:
        scene.require_agents([agent_id])
    entries = [
        entry
        for entry in proof_entries(scene, read_control_plane(scene.paths, scene.number))
        if agent_id in (None, entry.get("agentId")) and bundle_id in (None, entry.get("id"))
    ]
    path = {"registryPath": scene.paths.proof_registry(scene.number)} if with_path else {}
    return {**_place(scene), "entries": entries, **path}


PROOF_VERBS = {
    "proof register": Verb(REGISTER, register),
    "proof get": Verb(GET, get),
    "proof supersede": Verb(SUPERSEDE, supersede),
    "proof revoke": Verb(REVOKE, revoke),
}
