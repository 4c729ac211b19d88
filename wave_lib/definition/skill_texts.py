"""What skills become: the catalog for prompts, the expanded text, the files of an agent's overlay, the digest.

The files are returned as text; the runtime writes them.

Spec: WORK 9.4 (digest), 9.5 (texts), 9.6 (files).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ..base.errors import WaveError
from ..base.text import compact_json, sha256_text
from .skill_bundles import SkillBundle
from .wave_types import skills_summary

HEADER = "Active skill packs for this run:"
_STANDING_BULLETS = (
    "- Skills are additive guidance: repository source, role prompts, shared summaries and file ownership come first.",
    "- Use this catalog first. Open the full files of a pack only when the task needs them.",
)


def resolution(
    root: str, bundles: list[SkillBundle], role: str | None, runtime: str | None, deploy_kind: str | None
) -> dict[str, Any]:
    """`skillsResolved`: ids, inputs, digest, bundles, and the three texts. Raises WaveError for an unreadable file."""
    runtime_id = runtime or "local"
    prompt_text = catalog_text(bundles, runtime_id) if bundles else ""
    return {
        "ids": [bundle.id for bundle in bundles],
        "role": role,
        "runtime": runtime_id,
        "deployKind": deploy_kind,
        "promptHash": prompt_digest(bundles, role, runtime, deploy_kind, prompt_text),
        "bundles": [bundle_json(bundle, runtime_id) for bundle in bundles],
        "promptText": prompt_text,
        "expandedPromptText": expanded_text(root, bundles, runtime_id) if bundles else "",
        "runtimeText": runtime_text(bundles, runtime_id) if bundles else "",
    }


def bundle_json(bundle: SkillBundle, runtime: str) -> dict[str, Any]:
    """One entry of `bundles[]` in `skills.metadata.json`. WORK 9.6."""
    return {
        "id": bundle.id,
        "title": bundle.title,
        "description": bundle.description,
        "version": bundle.version,
        "tags": list(bundle.tags),
        "activation": bundle.activation,
        "termination": bundle.termination,
        "permissions": bundle.permissions,
        "trust": bundle.trust,
        "evalCases": list(bundle.eval_cases),
        "bundlePath": bundle.bundle_path,
        "manifestPath": bundle.manifest_path,
        "skillPath": bundle.skill_path,
        "adapterPath": bundle.adapters.get(runtime),
        "referencePaths": list(bundle.reference_paths),
        "bundleHash": bundle.bundle_hash,
        "sourceFiles": [{"path": path, "sha256": digest} for path, digest in bundle.source_files],
    }


def catalog_text(bundles: list[SkillBundle], runtime: str) -> str:
    """The compact catalog (`promptText`). WORK 9.5."""
    lines = [HEADER, *(f"- {bundle.id}: {bundle.description}" for bundle in bundles), *_STANDING_BULLETS]
    for bundle in bundles:
        activation, permissions = bundle.activation, bundle.permissions
        granted = (("network", "network"), ("shell", "shell"), ("mcp", "mcpServers"))
        declared = "; ".join(f"{name}={', '.join(permissions[key])}" for name, key in granted if permissions[key])
        lines += [
            "",
            f"## Skill {bundle.id}",
            f"- Summary: {bundle.description}",
            f"- Bundle: {bundle.bundle_path}",
            f"- Manifest: {bundle.manifest_path}",
            f"- Canonical instructions: {bundle.skill_path}",
            f"- Activation: {activation['when']}",
            f"- Activation roles: {', '.join(activation['roles']) or 'any'}",
            f"- Activation runtimes: {', '.join(activation['runtimes']) or 'any'}",
            f"- Activation deploy kinds: {', '.join(activation['deployKinds']) or 'any'}",
        ]
        if bundle.termination:
            lines.append(f"- Termination: {bundle.termination['when']}")
        if bundle.trust:
            lines.append(f"- Trust tier: {bundle.trust['tier']}")
        lines.append(f"- Permissions: {declared or 'none declared'}")
        lines.append(f"- Runtime adapter ({runtime}): {bundle.adapters.get(runtime, 'none')}")
        lines += [f"- Reference: {path}" for path in bundle.reference_paths]
    return "\n".join(lines)


def expanded_text(root: str, bundles: list[SkillBundle], runtime: str) -> str:
    """The catalog with the bodies of the instructions and adapters. WORK 9.5."""
    lines = [HEADER]
    for bundle in bundles:
        lines += [
            "",
            f"## Skill {bundle.id}",
            f"- Summary: {bundle.description}",
            f"- Manifest: {bundle.manifest_path}",
            f"- Canonical instructions: {bundle.skill_path}",
            "",
            "### Canonical instructions",
            *_fenced(_body(root, bundle.skill_path)),
        ]
        adapter = bundle.adapters.get(runtime)
        if adapter:
            lines += ["", f"### {runtime} adapter ({adapter})", *_fenced(_body(root, adapter))]
        if bundle.reference_paths:
            lines += ["", "### Available references", *(f"- {path}" for path in bundle.reference_paths)]
    return "\n".join(lines)


def runtime_text(bundles: list[SkillBundle], runtime: str) -> str:
    """One line a bundle: where its adapter and manifest are. WORK 9.5."""
    lines = [
        f"- {item.id}: adapter={item.adapters.get(runtime, 'none')} manifest={item.manifest_path}" for item in bundles
    ]
    return "\n".join([f"Runtime skill catalog for {runtime}:", *lines])


def skill_artifacts(resolved: Mapping[str, Any], overlay_dir: str) -> dict[str, str]:
    """`artifacts` of the metadata: where the files of a resolution lie below `overlay_dir`. WORK 9.6."""
    return {
        "promptPath": f"{overlay_dir}/skills.resolved.md",
        "expandedPromptPath": f"{overlay_dir}/skills.expanded.md",
        "metadataPath": f"{overlay_dir}/skills.metadata.json",
        "runtimePromptPath": f"{overlay_dir}/{resolved['runtime']}-skills.txt",
    }


def skill_files(resolved: Mapping[str, Any] | None, overlay_dir: str) -> dict[str, str]:
    """File name -> content of an overlay directory's skill files; `{}` without skills. WORK 9.6.

    `overlay_dir` is repo-relative and only names the artifacts. The caller writes the files and removes the other ones
    that `is_skill_file` knows: they belong to an earlier attempt.
    """
    if not resolved or not resolved["ids"]:
        return {}
    metadata = {**skills_summary(resolved), "artifacts": skill_artifacts(resolved, overlay_dir)}
    return {
        "skills.resolved.md": resolved["promptText"] + "\n",
        "skills.expanded.md": resolved["expandedPromptText"] + "\n",
        f"{resolved['runtime']}-skills.txt": resolved["runtimeText"] + "\n",
        "skills.metadata.json": json.dumps(metadata, indent=2, ensure_ascii=False) + "\n",
    }


def is_skill_file(name: str) -> bool:
    """Whether a file of an overlay directory is one that skills make, for this attempt or an earlier one."""
    return name in ("skills.resolved.md", "skills.expanded.md", "skills.metadata.json") or name.endswith("-skills.txt")


def prompt_digest(
    bundles: list[SkillBundle], role: str | None, runtime: str | None, deploy_kind: str | None, prompt_text: str
) -> str:
    """`promptHash` of a resolution, equal to Node's for equal input. WORK 9.4."""
    return sha256_text(
        compact_json(
            {
                "ids": [bundle.id for bundle in bundles],
                "role": role,
                "runtimeId": runtime or "local",
                "deployKind": deploy_kind,
                "promptText": prompt_text,
                "bundles": [
                    {
                        "id": bundle.id,
                        "bundleHash": bundle.bundle_hash,
                        "adapterPath": bundle.adapters.get(runtime or "local"),
                        "activation": bundle.activation,
                        "termination": bundle.termination,
                        "permissions": bundle.permissions,
                        "trust": bundle.trust,
                        "referencePaths": list(bundle.reference_paths),
                    }
                    for bundle in bundles
                ],
            }
        )
    )


def _body(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path), encoding="utf-8-sig") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise WaveError(f"skill file cannot be read: {error}", path) from None


def _fenced(body: str) -> list[str]:
    """The body in a `text` fence that is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", body, fence]
