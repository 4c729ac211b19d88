"""Records of a parsed wave and their JSON form.

A wave file is parsed once into these immutable records; resolution (executor, skills, Context7) makes changed
copies with ``_replace``. Attribute names are snake_case, JSON keys camelCase, and only the codecs below know both.

Spec: CFG 8.9 (parsed wave object), CFG 14 (the manifest holds exactly this form).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .evals import EvalTarget

COMPLETION_VALUES = ("contract", "integrated", "authoritative", "live")
DURABILITY_VALUES = ("none", "ephemeral", "durable")
PROOF_VALUES = ("unit", "integration", "live")
DOC_IMPACT_VALUES = ("none", "owned", "shared-plan")


class ExitContract(NamedTuple):
    """What an implementation agent promises to reach. Values as written; V19 checks them (CFG 8.5, 11)."""

    completion: str | None = None
    durability: str | None = None
    proof: str | None = None
    doc_impact: str | None = None


# attribute -> (JSON key, allowed values weakest first); one table for parser, validator and markers
EXIT_CONTRACT_FIELDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "completion": ("completion", COMPLETION_VALUES),
    "durability": ("durability", DURABILITY_VALUES),
    "proof": ("proof", PROOF_VALUES),
    "doc_impact": ("docImpact", DOC_IMPACT_VALUES),
}


class ProofArtifact(NamedTuple):
    """A file that proves something; an empty `required_for` means it is always required."""

    path: str
    kind: str | None = None
    required_for: tuple[str, ...] = ()


class Context7Config(NamedTuple):
    """A declared documentation bundle and query (wave defaults or one agent)."""

    bundle: str | None = None
    query: str | None = None


class DeployEnvironment(NamedTuple):
    """One entry of ``## Deploy environments``; exactly one of a wave is the default."""

    id: str
    kind: str
    is_default: bool = False
    notes: str | None = None


class ComponentPromotion(NamedTuple):
    """One entry of ``## Component promotions``."""

    component_id: str
    target_level: str


class Agent(NamedTuple):
    """One agent of a wave. `lines` maps a section name (`agent`, `executor`, `prompt`, …) to its line in the file."""

    agent_id: str
    title: str
    slug: str
    prompt: str = ""
    prompt_overlay: str = ""
    role_prompt_paths: tuple[str, ...] = ()
    context7_config: Context7Config | None = None
    exit_contract: ExitContract | None = None
    executor_config: dict[str, Any] | None = None
    components: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    deliverables: tuple[str, ...] = ()
    proof_artifacts: tuple[ProofArtifact, ...] = ()
    owned_paths: tuple[str, ...] = ()
    component_targets: Mapping[str, str | None] = {}
    executor_resolved: dict[str, Any] | None = None
    skills_resolved: dict[str, Any] | None = None
    context7_resolved: dict[str, Any] | None = None
    lines: Mapping[str, int] = {}

    def line(self, section: str = "agent") -> int:
        """Line of a section of this agent, else of its heading, else 0 (agents that come from no file)."""
        return self.lines.get(section) or self.lines.get("agent", 0)


class Wave(NamedTuple):
    """One wave. `file` is repo-relative; the role ids are null until bindings are applied (CFG 9.3)."""

    wave: int
    file: str
    title: str | None = None
    commit_message: str | None = None
    deploy_environments: tuple[DeployEnvironment, ...] = ()
    eval_targets: tuple[EvalTarget, ...] = ()
    context7_defaults: Context7Config | None = None
    component_promotions: tuple[ComponentPromotion, ...] = ()
    agents: tuple[Agent, ...] = ()
    cont_qa_report_path: str | None = None
    cont_eval_report_path: str | None = None
    warnings: tuple[str, ...] = ()
    lane: str | None = None
    cont_qa_agent_id: str | None = None
    cont_eval_agent_id: str | None = None
    integration_agent_id: str | None = None
    documentation_agent_id: str | None = None
    security_reviewer_agent_ids: tuple[str, ...] | None = None
    closure_agent_ids: tuple[str, ...] | None = None
    lines: Mapping[str, int] = {}

    def line(self, section: str = "title") -> int:
        """Line of a wave-level section, or 1."""
        return self.lines.get(section, 1)

    def agent(self, agent_id: str | None) -> Agent | None:
        """The agent with this id, or None."""
        return next((agent for agent in self.agents if agent.agent_id == agent_id), None)

    def promoted_levels(self) -> dict[str, str]:
        """Component id -> promoted level, in file order."""
        return {promotion.component_id: promotion.target_level for promotion in self.component_promotions}


class Problem(NamedTuple):
    """One failed rule of CFG 11: the rule's name (`V18`, `W1`), one clause without `;`, and where it stands."""

    rule: str
    message: str
    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.message} (line {self.line})" if self.line > 1 else self.message


def exit_contract_to_json(contract: ExitContract | None) -> dict[str, Any] | None:
    """`{completion, durability, proof, docImpact}` or null (key order is hashed, CFG 15)."""
    if contract is None:
        return None
    return {key: getattr(contract, name) for name, (key, _) in EXIT_CONTRACT_FIELDS.items()}


def proof_artifacts_to_json(artifacts: tuple[ProofArtifact, ...]) -> list[dict[str, Any]]:
    """`[{path, kind, requiredFor}]` (key order is hashed, CFG 15)."""
    return [{"path": item.path, "kind": item.kind, "requiredFor": list(item.required_for)} for item in artifacts]


def skills_summary(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """`skillsResolved` without its texts, as launch preview and traces show it (WORK 9.6)."""
    keys = ("ids", "role", "runtime", "deployKind", "promptHash", "bundles")
    return {key: resolved[key] for key in keys if key in resolved}


def _skills_in_manifest(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The summary with bundles as id and digest only: in full they would be most of a large lane's manifest."""
    bundles = [{"id": bundle["id"], "bundleHash": bundle["bundleHash"]} for bundle in resolved.get("bundles", ())]
    return {**skills_summary(resolved), "bundles": bundles}


def agent_to_json(agent: Agent) -> dict[str, Any]:
    """The agent as it stands in the manifest; resolved blocks only when they were resolved (CFG 8.9)."""
    context7 = agent.context7_config
    payload: dict[str, Any] = {
        "agentId": agent.agent_id,
        "title": agent.title,
        "slug": agent.slug,
        "prompt": agent.prompt,
        "promptOverlay": agent.prompt_overlay,
        "rolePromptPaths": list(agent.role_prompt_paths),
        "context7Config": context7._asdict() if context7 else None,
        "exitContract": exit_contract_to_json(agent.exit_contract),
        "executorConfig": agent.executor_config,
        "components": list(agent.components),
        "capabilities": list(agent.capabilities),
        "skills": list(agent.skills),
        "deliverables": list(agent.deliverables),
        "proofArtifacts": proof_artifacts_to_json(agent.proof_artifacts),
        "ownedPaths": list(agent.owned_paths),
        "componentTargets": dict(agent.component_targets),
    }
    for key, value in (
        ("executorResolved", agent.executor_resolved),
        ("skillsResolved", agent.skills_resolved and _skills_in_manifest(agent.skills_resolved)),
        ("context7Resolved", agent.context7_resolved),
    ):
        if value is not None:
            payload[key] = value
    return payload


def wave_to_json(wave: Wave) -> dict[str, Any]:
    """The wave as it stands in the manifest; role ids only once bindings were applied (CFG 8.9)."""
    defaults = wave.context7_defaults
    payload: dict[str, Any] = {
        "wave": wave.wave,
        "file": wave.file,
        "title": wave.title,
        "commitMessage": wave.commit_message,
        "deployEnvironments": [
            {"id": env.id, "kind": env.kind, "isDefault": env.is_default, "notes": env.notes}
            for env in wave.deploy_environments
        ],
        "evalTargets": [eval_target_to_json(target) for target in wave.eval_targets],
        "context7Defaults": defaults._asdict() if defaults else None,
        "componentPromotions": [
            {"componentId": item.component_id, "targetLevel": item.target_level} for item in wave.component_promotions
        ],
        "agents": [agent_to_json(agent) for agent in wave.agents],
        "contQaReportPath": wave.cont_qa_report_path,
        "contEvalReportPath": wave.cont_eval_report_path,
        "warnings": list(wave.warnings),
    }
    if wave.lane is not None:
        payload.update(
            lane=wave.lane,
            contQaAgentId=wave.cont_qa_agent_id,
            contEvalAgentId=wave.cont_eval_agent_id,
            integrationAgentId=wave.integration_agent_id,
            documentationAgentId=wave.documentation_agent_id,
            securityReviewerAgentIds=list(wave.security_reviewer_agent_ids or ()),
            closureAgentIds=list(wave.closure_agent_ids or ()),
        )
    return payload


def eval_target_to_json(target: EvalTarget) -> dict[str, Any]:
    """`{id, selection, benchmarkFamily, benchmarks, objective, threshold}` (CFG 13.1)."""
    return {
        "id": target.id,
        "selection": target.selection,
        "benchmarkFamily": target.benchmark_family,
        "benchmarks": list(target.benchmarks),
        "objective": target.objective,
        "threshold": target.threshold,
    }
