"""A wave from its manifest form: the inverse of `wave_types.wave_to_json`, for traces. Spec: CFG 8.9, 14; LAUNCH 18."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .evals import EvalTarget
from .wave_types import (
    EXIT_CONTRACT_FIELDS,
    Agent,
    ComponentPromotion,
    Context7Config,
    DeployEnvironment,
    ExitContract,
    ProofArtifact,
    Wave,
)


def wave_from_json(payload: Mapping[str, Any]) -> Wave:
    """The wave that a manifest entry describes; line numbers are not stored, so there are none."""
    security = payload.get("securityReviewerAgentIds")
    closure = payload.get("closureAgentIds")
    return Wave(
        wave=int(payload["wave"]),
        file=str(payload.get("file") or ""),
        title=payload.get("title"),
        commit_message=payload.get("commitMessage"),
        deploy_environments=tuple(
            DeployEnvironment(item["id"], item["kind"], bool(item.get("isDefault")), item.get("notes"))
            for item in payload.get("deployEnvironments") or ()
        ),
        eval_targets=tuple(_eval_target(item) for item in payload.get("evalTargets") or ()),
        context7_defaults=_context7(payload.get("context7Defaults")),
        component_promotions=tuple(
            ComponentPromotion(item["componentId"], item["targetLevel"])
            for item in payload.get("componentPromotions") or ()
        ),
        agents=tuple(agent_from_json(item) for item in payload.get("agents") or ()),
        cont_qa_report_path=payload.get("contQaReportPath"),
        cont_eval_report_path=payload.get("contEvalReportPath"),
        warnings=tuple(payload.get("warnings") or ()),
        lane=payload.get("lane"),
        cont_qa_agent_id=payload.get("contQaAgentId"),
        cont_eval_agent_id=payload.get("contEvalAgentId"),
        integration_agent_id=payload.get("integrationAgentId"),
        documentation_agent_id=payload.get("documentationAgentId"),
        security_reviewer_agent_ids=None if security is None else tuple(security),
        closure_agent_ids=None if closure is None else tuple(closure),
    )


def agent_from_json(payload: Mapping[str, Any]) -> Agent:
    """One agent of a manifest entry."""
    return Agent(
        agent_id=str(payload["agentId"]),
        title=str(payload.get("title") or ""),
        slug=str(payload.get("slug") or ""),
        prompt=str(payload.get("prompt") or ""),
        prompt_overlay=str(payload.get("promptOverlay") or ""),
        role_prompt_paths=tuple(payload.get("rolePromptPaths") or ()),
        context7_config=_context7(payload.get("context7Config")),
        exit_contract=_exit_contract(payload.get("exitContract")),
        executor_config=payload.get("executorConfig"),
        components=tuple(payload.get("components") or ()),
        capabilities=tuple(payload.get("capabilities") or ()),
        skills=tuple(payload.get("skills") or ()),
        deliverables=tuple(payload.get("deliverables") or ()),
        proof_artifacts=tuple(
            ProofArtifact(item["path"], item.get("kind"), tuple(item.get("requiredFor") or ()))
            for item in payload.get("proofArtifacts") or ()
        ),
        owned_paths=tuple(payload.get("ownedPaths") or ()),
        component_targets=dict(payload.get("componentTargets") or {}),
        executor_resolved=payload.get("executorResolved"),
        skills_resolved=payload.get("skillsResolved"),
        context7_resolved=payload.get("context7Resolved"),
    )


def _exit_contract(payload: Mapping[str, Any] | None) -> ExitContract | None:
    if not payload:
        return None
    return ExitContract(**{name: payload.get(key) for name, (key, _) in EXIT_CONTRACT_FIELDS.items()})


def _context7(payload: Mapping[str, Any] | None) -> Context7Config | None:
    return Context7Config(payload.get("bundle"), payload.get("query")) if payload else None


def _eval_target(payload: Mapping[str, Any]) -> EvalTarget:
    return EvalTarget(
        id=payload["id"],
        selection=payload["selection"],
        benchmark_family=payload.get("benchmarkFamily"),
        benchmarks=tuple(payload.get("benchmarks") or ()),
        objective=payload.get("objective") or "",
        threshold=payload.get("threshold") or "",
    )
