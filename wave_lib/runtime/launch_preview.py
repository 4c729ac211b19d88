"""`launch-preview.json`: how an agent is started, for people to read. Never holds a secret.

Holds:       nothing.
Writes:      the preview of one agent; removes overlays that no agent of a dry run has any more.
When killed: a preview is the old one or the new one.

Spec: SUP 17.10; LAUNCH 5; PROV 6.3.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..base.files import remove, remove_tree, write_json
from ..base.redaction import HIDDEN, redact_value
from .agent_environment import looks_secret
from .executors.launch_spec import LaunchSpec

PREVIEW_FILE = "launch-preview.json"
REDACTED = HIDDEN


def build_launch_preview(
    spec: LaunchSpec,
    *,
    env: Mapping[str, str] | None = None,
    env_stripped: Iterable[str] = (),
    leased: Iterable[str] = (),
    credential_providers: Iterable[str] = (),
    credentials: Iterable[Mapping[str, Any]] = (),
    skills: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The preview object. `env` (default: that of the spec) is what is set; leased and secret-looking values go."""
    shown = {**(spec.env if env is None else env), **dict.fromkeys(leased, REDACTED)}
    return {
        "executorId": spec.executor_id,
        "command": spec.command,
        "argv": list(spec.argv),
        "stdin": spec.stdin_path,
        "env": {name: REDACTED if looks_secret(name) else value for name, value in shown.items()},
        "envStripped": list(env_stripped),
        "credentialProviders": list(credential_providers),
        "credentials": [dict(item) for item in credentials],
        "useRateLimitRetries": spec.use_rate_limit_retries,
        "invocationLines": list(spec.invocation_lines),
        "outputFormat": spec.output_format,
        "limits": dict(spec.limits),
        "skills": None if skills is None else dict(skills),
    }


def write_launch_preview(overlay_dir: str, preview: Mapping[str, Any]) -> str:
    """Write the preview of one agent; returns its path."""
    path = os.path.join(overlay_dir, PREVIEW_FILE)
    write_json(path, redact_value(dict(preview)), durable=False)
    return path


def with_observed_limit(preview: Mapping[str, Any], turns: int | None) -> dict[str, Any]:
    """The preview after a live attempt whose log showed a turn limit. Spec: LAUNCH 5."""
    if turns is None:
        return dict(preview)
    limits = {**preview.get("limits", {}), "observedTurnLimit": turns, "observedTurnLimitSource": "runtime-log"}
    return {**preview, "limits": limits}


def prune_overlays(executors_dir: str, keep: Mapping[int, Collection[str]]) -> list[str]:
    """Remove the overlays of waves and agents that no longer exist; `keep` maps wave number to slugs. Spec: LAUNCH 5.

    Returns the removed folders. Only folders named as overlays are (`wave-<n>/<slug>`) are touched.
    """
    removed = []
    for wave_name in _folders(executors_dir):
        found = re.fullmatch(r"wave-(\d+)", wave_name)
        if found is None:
            continue
        folder = os.path.join(executors_dir, wave_name)
        slugs = keep.get(int(found.group(1)), ())
        gone = [folder] if not slugs else [os.path.join(folder, slug) for slug in _folders(folder) if slug not in slugs]
        for path in gone:
            remove_tree(path)
        removed += gone
    return removed


def prune_files(folder: str, pattern: str, keep: Collection[str]) -> list[str]:
    """Remove files of a folder whose name matches wholly and is not kept, such as prompts of agents that are gone."""
    gone = []
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    for name in names:
        if re.fullmatch(pattern, name) and name not in keep:
            remove(os.path.join(folder, name))
            gone.append(name)
    return gone


def _folders(path: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
