"""Merging the layers of a lane and turning the result into its record: defaults, then the checks across keys.

Pure: takes what `config.load_wave_config` checked, touches no file. Spec: CFG 5.2, 5.3; PROV 3.3, 3.4; SUP 5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.errors import ConfigError
from . import config_schema as schema
from .command_template import check_prompt_transport
from .executor_schema import EXECUTORS
from .lane_profile import (
    AutoClosure,
    BootstrapPassConditions,
    LanePathsConfig,
    LaneProfile,
    ModeThresholds,
    ProjectConfig,
    Roles,
    RuntimePolicy,
    SkillsConfig,
    Validation,
)
from .schema_types import Block, Leaf, fill, merge
from .values import UNSET

_PLAN_DOCS = ("current-state.md", "master-plan.md", "migration.md")

_BLOCKS: dict[str, Block] = {
    "roles": schema.ROLES,
    "validation": schema.VALIDATION,
    "executors": EXECUTORS,
    "skills": schema.SKILLS,
    "capabilityRouting": schema.CAPABILITY_ROUTING,
    "runtimePolicy": schema.RUNTIME_POLICY,
    "waveControl": schema.WAVE_CONTROL,
    "externalProviders": schema.EXTERNAL_PROVIDERS,
    "supervisor": schema.SUPERVISOR,
    "planner": schema.PLANNER,
}


def layered(top: dict[str, Any], project: ProjectConfig, lane: dict[str, Any]) -> dict[str, Any]:
    """Each block merged over global, project and lane, with defaults. Spec: CFG 5.2."""
    layers = [_global_layer(top, project), project.raw, _lane_layer(lane)]
    merged = {}
    for name, block in _BLOCKS.items():
        value: Any = UNSET
        for layer in layers:
            inner = layer.get(name, UNSET)
            if name == "waveControl":
                value = _without_outer_tokens(value, inner)
            value = merge(block, value, inner)
        merged[name] = fill(block, value)
    return merged


def _global_layer(top: dict[str, Any], project: ProjectConfig) -> dict[str, Any]:
    """The top level; its report project id names one project only, so explicit projects do not inherit it."""
    if not project.explicit or "projectId" not in top.get("waveControl", {}):
        return top
    control = {key: value for key, value in top["waveControl"].items() if key != "projectId"}
    return {**top, "waveControl": control}


def _lane_layer(lane: dict[str, Any]) -> dict[str, Any]:
    """The lane with its shorthands moved to where they belong."""
    shorthands = {key: lane[key] for key in schema.RUNTIME_POLICY.fields if key in lane}
    return {**lane, "runtimePolicy": {**lane.get("runtimePolicy", {}), **shorthands}} if shorthands else lane


def _without_outer_tokens(outer: Any, inner: Any) -> Any:
    """The most specific layer that names a token variable decides: a single name drops the list of outer layers."""
    if outer is UNSET or inner is UNSET or "authTokenEnvVar" not in inner or "authTokenEnvVars" in inner:
        return outer
    return {key: value for key, value in outer.items() if key != "authTokenEnvVars"}


class _Directories(NamedTuple):
    docs: str
    plans: str
    waves: str
    shared_plan_docs: tuple[str, ...]


def lane_record(
    top: dict[str, Any],
    project: ProjectConfig,
    lane_id: str,
    lane: dict[str, Any],
    layers: dict[str, Any],
    default_lane: str,
) -> LaneProfile:
    """The lane profile from its merged blocks. Raises ConfigError for contradictions between keys."""
    own_docs = top.get("repoMode", "single-repo") != "single-repo" or lane_id != default_lane
    places = _directories(top, project, lane_id, lane, own_docs)
    control = _wave_control(layers["waveControl"], project.project_id)
    warnings = _check_corridor(layers["externalProviders"]["corridor"])
    _check_executors(layers["executors"])
    _check_supervisor(layers["supervisor"])
    return LaneProfile(
        project_id=project.project_id,
        project_name=project.project_name,
        project_root_dir=project.root_dir,
        explicit_project=project.explicit,
        lane=lane_id,
        known=False,
        docs_dir=places.docs,
        plans_dir=places.plans,
        waves_dir=places.waves,
        shared_plan_docs=places.shared_plan_docs,
        roles=_roles(layers["roles"]),
        validation=_validation(layers["validation"]),
        executors=layers["executors"],
        skills=_skills(layers["skills"]),
        capability_routing=layers["capabilityRouting"],
        runtime_policy=_runtime_policy(layers["runtimePolicy"]),
        external_providers=layers["externalProviders"],
        wave_control=control,
        planner=layers["planner"],
        supervisor=layers["supervisor"],
        paths=_lane_locations(top, project, lane),
        warnings=tuple(warnings),
    )


# Directories. Spec: CFG 5.3


def join(directory: str, name: str) -> str:
    """Join repo-relative paths; `.` is the root."""
    return name if directory == "." else directory if name == "." else f"{directory}/{name}"


def project_directories(top: dict[str, Any], project: dict[str, Any]) -> dict[str, str]:
    """Every `paths.*` key of a project, resolved over the global ones."""
    outer, own = top.get("paths", {}), project.get("paths", {})
    places = {key: leaf.default for key, leaf in schema.PATHS.fields.items() if isinstance(leaf, Leaf)}
    places.update(outer)
    docs = own.get("docsDir") or join(project.get("rootDir", "."), places["docsDir"])
    places.update(own)
    places["docsDir"] = docs
    for suffix in ("Doc", "Json"):
        key = f"componentCutoverMatrix{suffix}Path"
        ending = "md" if suffix == "Doc" else "json"
        places[key] = places[key] or join(docs, f"plans/component-cutover-matrix.{ending}")
    return places


def _directories(
    top: dict[str, Any], project: ProjectConfig, lane_id: str, lane: dict[str, Any], own_docs: bool
) -> _Directories:
    docs = lane.get("docsDir") or (join(project.docs_dir, lane_id) if own_docs else project.docs_dir)
    plans = lane.get("plansDir") or join(docs, "plans")
    waves = lane.get("wavesDir") or join(plans, "waves")
    for layer in (lane, project.raw, top):
        if "sharedPlanDocs" in layer:
            return _Directories(docs, plans, waves, tuple(layer["sharedPlanDocs"]))
    return _Directories(docs, plans, waves, tuple(join(plans, name) for name in _PLAN_DOCS))


def _lane_locations(top: dict[str, Any], project: ProjectConfig, lane: dict[str, Any]) -> LanePathsConfig:
    places = {**project_directories(top, project.raw), **{key: lane[key] for key in schema.PATHS.fields if key in lane}}
    return LanePathsConfig(
        state_root=places["stateRoot"],
        orchestrator_state_dir=places["orchestratorStateDir"],
        terminals_path=places["terminalsPath"],
        context7_bundle_index_path=places["context7BundleIndexPath"],
        benchmark_catalog_path=places["benchmarkCatalogPath"],
        component_cutover_matrix_doc_path=places["componentCutoverMatrixDocPath"],
        component_cutover_matrix_json_path=places["componentCutoverMatrixJsonPath"],
    )


# Records and their checks


def snake_case(key: str) -> str:
    """`requireA0Verdict` -> `require_a0_verdict`."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in key)


def _snaked(block: dict[str, Any]) -> dict[str, Any]:
    return {snake_case(key): tuple(value) if isinstance(value, list) else value for key, value in block.items()}


def _roles(block: dict[str, Any]) -> Roles:
    holders: dict[str, str] = {}
    for key, agent_id in block.items():
        if not key.endswith("AgentId"):
            continue
        other = holders.setdefault(agent_id, key)
        if other != key:
            raise ConfigError(
                f"roles.{other} and roles.{key} are both {agent_id!r}", remedy="give each closure role its own agent"
            )
    return Roles(**_snaked(block))


def _validation(block: dict[str, Any]) -> Validation:
    fields = _snaked(block)
    gate = block["gateModeThresholds"]
    fields["gate_mode_thresholds"] = None if gate is None else ModeThresholds(**gate)
    fields["closure_mode_thresholds"] = ModeThresholds(**block["closureModeThresholds"])
    fields["auto_closure"] = AutoClosure(**_snaked(block["autoClosure"]))
    fields["bootstrap_pass_conditions"] = BootstrapPassConditions(**_snaked(block["bootstrapPassConditions"]))
    return Validation(**fields)


def _skills(block: dict[str, Any]) -> SkillsConfig:
    maps = ({key: tuple(ids) for key, ids in block[name].items()} for name in ("byRole", "byRuntime", "byDeployKind"))
    return SkillsConfig(block["dir"], tuple(block["base"]), *maps)


def _runtime_policy(block: dict[str, Any]) -> RuntimePolicy:
    mix = {mode: count for mode, count in block["runtimeMixTargets"].items() if count is not None}
    roles = {role: mode for role, mode in block["defaultExecutorByRole"].items() if mode is not None}
    return RuntimePolicy(mix, roles, tuple(block["fallbackExecutorOrder"]))


def _wave_control(block: dict[str, Any], project_id: str) -> dict[str, Any]:
    block["projectId"] = block["projectId"] or project_id
    block["enabled"] = block["enabled"] and block["reportMode"] != "disabled"
    if not block["authTokenEnvVars"]:
        names = (block["authTokenEnvVar"], schema.LEGACY_TOKEN_VARIABLE)
        block["authTokenEnvVars"] = list(dict.fromkeys(names))
    leased = {schema.CREDENTIAL_PROVIDERS[name]: name for name in block["credentialProviders"]}
    for index, entry in enumerate(block["credentials"]):
        if entry["envVar"] in leased:
            raise ConfigError(
                f"waveControl.credentials[{index}].envVar {entry['envVar']} is already provided by "
                f"credentialProviders {leased[entry['envVar']]!r}",
                remedy="remove one of the two",
            )
    return block


def _check_corridor(corridor: dict[str, Any]) -> list[str]:
    """Direct mode needs both ids, hybrid mode loses its fallback without them. Spec: CFG 4.11."""
    missing = [key for key in ("teamId", "projectId") if not corridor[key]]
    if not corridor["enabled"] or corridor["mode"] == "broker" or not missing:
        return []
    names = " and ".join(f"externalProviders.corridor.{key}" for key in missing)
    if corridor["mode"] == "direct":
        raise ConfigError(
            f"Corridor is enabled in direct mode, so {names} must be set", remedy="set them, or use the mode `broker`"
        )
    return [f"Corridor in hybrid mode without {names}: there is no direct fallback"]


def _check_executors(executors: dict[str, Any]) -> None:
    command = executors.get("command")
    if command and command["argv"]:
        check_prompt_transport(command, "executors.command")


def _check_supervisor(block: dict[str, Any]) -> None:
    if block["heartbeatSeconds"] * 3 > block["leaseSeconds"]:
        raise ConfigError(
            f"supervisor.heartbeatSeconds {block['heartbeatSeconds']} is more than a third of "
            f"supervisor.leaseSeconds {block['leaseSeconds']}",
            remedy="shorten the heartbeat or lengthen the lease",
        )
