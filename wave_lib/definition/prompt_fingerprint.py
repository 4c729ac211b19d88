"""Fingerprints of an agent's definition: has what was asked changed since it was answered?

Spec: CFG 15. Equal input gives the same hash as the Node package, so results carry over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..base.text import compact_json, sha256_text
from .wave_types import exit_contract_to_json, proof_artifacts_to_json

if TYPE_CHECKING:
    from .wave_types import Agent

_SKILL_KEYS = ("ids", "role", "runtime", "deployKind", "promptHash")


def prompt_hash(agent: Agent) -> str:
    """Digest of everything the agent is given, executor and skills included. Compute it once, from the first
    resolution, and keep it for the run: a fallback must not change it. CFG 15."""
    skills = agent.skills_resolved
    content = _definition(agent)
    content["executorResolved"] = agent.executor_resolved
    content["skillsResolved"] = {key: skills[key] for key in _SKILL_KEYS} if skills else None
    return sha256_text(compact_json(content))


def definition_hash(agent: Agent) -> str:
    """Digest of what the wave file asks for, whatever executor answers it. CFG 15."""
    return sha256_text(compact_json(_definition(agent)))


def fingerprint_match(status: Mapping[str, Any] | None, agent: Agent) -> str:
    """`match`, `missing` (the status record carries no hash) or `mismatch`. CFG 15.

    `status` holds `promptHash` and `definitionHash`. Reusing an old success needs equal prompt hashes instead.
    """
    old_prompt = (status or {}).get("promptHash")
    old_definition = (status or {}).get("definitionHash")
    if not old_prompt and not old_definition:
        return "missing"
    if old_definition and old_definition == definition_hash(agent):
        return "match"
    return "match" if old_prompt and old_prompt == prompt_hash(agent) else "mismatch"


def _definition(agent: Agent) -> dict[str, Any]:
    """The hashed object, keys in exactly this order."""
    return {
        "prompt": agent.prompt,
        "context7SelectionHash": (agent.context7_resolved or {}).get("selectionHash") or "",
        "exitContract": exit_contract_to_json(agent.exit_contract),
        "deliverables": list(agent.deliverables),
        "proofArtifacts": proof_artifacts_to_json(agent.proof_artifacts),
        "components": list(agent.components),
        "componentTargets": dict(agent.component_targets),
    }
