"""Record types of one resolved lane: what global, project and lane configuration add up to.

Spec: CFG 4, 5. The values are made by `config.resolve_lane`; nothing here reads a file. Paths are relative to the
workspace root, with `/`. Blocks whose JSON key order is hashed or that stay open (executors, providers, Wave Control,
planner, supervisor) are plain dicts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

EXECUTOR_MODES = ("codex", "claude", "opencode", "local", "command")
"""Executor modes in their fixed order. Spec: CFG 3, SUP 17.8."""

SKILL_ROLES = (
    "design",
    "implementation",
    "integration",
    "documentation",
    "cont-qa",
    "cont-eval",
    "security",
    "infra",
    "deploy",
    "research",
)
"""Roles that `skills.byRole` and `runtimePolicy.defaultExecutorByRole` may name. Spec: CFG 4.7."""

DEPLOY_KINDS = (
    "railway-cli",
    "railway-mcp",
    "docker-compose",
    "kubernetes",
    "ssh-manual",
    "custom",
    "aws",
    "github-release",
)
"""Built-in provider kinds of deploy environments. Spec: CFG 4.7, 7."""


class Roles(NamedTuple):
    """Closure agent ids and role prompt files. Spec: CFG 4.4."""

    role_prompt_dir: str = "docs/agents"
    cont_qa_agent_id: str = "A0"
    cont_eval_agent_id: str = "E0"
    integration_agent_id: str = "A8"
    documentation_agent_id: str = "A9"
    cont_qa_role_prompt_path: str = "docs/agents/wave-cont-qa-role.md"
    cont_eval_role_prompt_path: str = "docs/agents/wave-cont-eval-role.md"
    integration_role_prompt_path: str = "docs/agents/wave-integration-role.md"
    documentation_role_prompt_path: str = "docs/agents/wave-documentation-role.md"
    security_role_prompt_path: str = "docs/agents/wave-security-role.md"
    design_role_prompt_path: str = "docs/agents/wave-design-role.md"


class ModeThresholds(NamedTuple):
    """First wave of each mode; the members may stand in any order (`mode_of` sorts that out)."""

    bootstrap: int = 0
    standard: int = 4
    strict: int = 10


class AutoClosure(NamedTuple):
    """What closure may infer by itself. Spec: CFG 4.5, GATE 9."""

    allow_inferred_integration: bool = False
    allow_auto_doc_no_change: bool = False
    allow_auto_doc_projection: bool = False
    allow_skip_cont_qa_in_bootstrap: bool = False


class BootstrapPassConditions(NamedTuple):
    """What a wave in bootstrap gate mode must still show. Spec: CFG 4.5, GATE 8.3."""

    require_a0_verdict: bool = False
    require_proof_signals: bool = False
    require_tests_pass: bool = True
    require_deliverables_exist: bool = True
    require_exit_code_zero: bool = True


class Validation(NamedTuple):
    """`validation.*`: a threshold is the first wave a rule holds for, None switches the rule off. Spec: CFG 4.5."""

    required_prompt_references: tuple[str, ...] = (
        "docs/reference/repository-guidance.md",
        "docs/research/agent-context-sources.md",
    )
    require_documentation_steward_from_wave: int | None = 0
    require_context7_declarations_from_wave: int | None = 6
    require_exit_contracts_from_wave: int | None = 6
    require_integration_steward_from_wave: int | None = None
    require_component_promotions_from_wave: int | None = 0
    require_agent_components_from_wave: int | None = 0
    gate_mode_thresholds: ModeThresholds | None = None
    closure_mode_thresholds: ModeThresholds = ModeThresholds()
    auto_closure: AutoClosure = AutoClosure()
    bootstrap_pass_conditions: BootstrapPassConditions = BootstrapPassConditions()
    test_command: str | None = None
    test_command_timeout: float = 120


class SkillsConfig(NamedTuple):
    """Configured skill ids. The maps go from role, runtime or deploy kind to skill ids. Spec: CFG 4.7."""

    dir: str
    base: tuple[str, ...]
    by_role: dict[str, tuple[str, ...]]
    by_runtime: dict[str, tuple[str, ...]]
    by_deploy_kind: dict[str, tuple[str, ...]]


class RuntimePolicy(NamedTuple):
    """How many agents may use a runtime, and who gets which. A mode without a target is unlimited. Spec: CFG 4.8."""

    runtime_mix_targets: dict[str, int]
    default_executor_by_role: dict[str, str]
    fallback_executor_order: tuple[str, ...]


class LanePathsConfig(NamedTuple):
    """Configured locations of a lane, relative to the workspace root. Spec: CFG 4.3, 5.3."""

    state_root: str
    orchestrator_state_dir: str
    terminals_path: str
    context7_bundle_index_path: str
    benchmark_catalog_path: str
    component_cutover_matrix_doc_path: str
    component_cutover_matrix_json_path: str


class ProjectConfig(NamedTuple):
    """A project as configured: identity and directories, before any lane is chosen. Spec: CFG 4.12, 5.3."""

    project_id: str
    project_name: str
    root_dir: str
    explicit: bool
    docs_dir: str
    raw: dict[str, Any]


class LaneProfile(NamedTuple):
    """Everything that configuration says about one lane of one project, merged and checked. Spec: CFG 5.3.

    `executors`, `external_providers`, `wave_control`, `planner` and `supervisor` keep the JSON shape and key order of
    CFG 4.6, 4.9-4.11 and SUP 5. `capability_routing` is `{"preferredAgents": {capability: [agent id, …]}}`.
    `warnings` are about this lane only (those about the file are in `WaveConfig.warnings`).
    """

    project_id: str
    project_name: str
    project_root_dir: str
    explicit_project: bool
    lane: str
    known: bool
    docs_dir: str
    plans_dir: str
    waves_dir: str
    shared_plan_docs: tuple[str, ...]
    roles: Roles
    validation: Validation
    executors: dict[str, Any]
    skills: SkillsConfig
    capability_routing: dict[str, Any]
    runtime_policy: RuntimePolicy
    external_providers: dict[str, Any]
    wave_control: dict[str, Any]
    planner: dict[str, Any]
    supervisor: dict[str, Any]
    paths: LanePathsConfig
    warnings: tuple[str, ...] = ()


def active(threshold: int | None, wave: int) -> bool:
    """Whether a rule with this threshold holds for wave number `wave`. Spec: CFG 4.5."""
    return threshold is not None and wave >= threshold


def mode_of(thresholds: ModeThresholds | None, wave: int) -> str:
    """`bootstrap`, `standard` or `strict`; no thresholds at all mean `strict`. Spec: CFG 4.5."""
    if thresholds is None:
        return "strict"
    standard = max(thresholds.bootstrap, thresholds.standard)
    if wave >= max(standard, thresholds.strict):
        return "strict"
    return "standard" if wave >= standard else "bootstrap"


def gate_mode(validation: Validation, wave: int) -> str:
    """How strict the gates of wave number `wave` are. Spec: CFG 4.5, GATE 8.3."""
    return mode_of(validation.gate_mode_thresholds, wave)


def closure_mode(validation: Validation, wave: int) -> str:
    """How strict the closure policy of wave number `wave` is. Spec: CFG 4.5, GATE 9."""
    return mode_of(validation.closure_mode_thresholds, wave)
