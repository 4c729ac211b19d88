"""Corridor's rules: which paths count, which findings match them, what blocks, and which artifact may be believed.

Pure; the broker of the owned service uses the same functions. Spec: PROV 4.2-4.4, 4.9, 4.11.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.text import compact, compact_json, sha256_text
from ..definition.roles import is_cont_eval_report_only, is_design_agent, is_security_reviewer, is_text_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..definition.lane_profile import LaneProfile
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave

    JsonObject = dict[str, Any]

SCHEMA_VERSION = 1
WHOLE_REPOSITORY = "."
NO_PATHS_DETAIL = "The wave has no implementation-owned path that Corridor findings could match."

_SEVERITIES = {
    "critical": ("critical", "blocker", "severe", "urgent"),
    "high": ("high", "major", "important", "error"),
    "medium": ("medium", "moderate", "warning"),
    "low": ("low", "minor"),
    "info": ("info", "informational", "note", "none", "negligible"),
}
_NORMAL_SEVERITY = {word: severity for severity, words in _SEVERITIES.items() for word in words}
# What nobody can rank counts as the worst: a gate that guesses must guess on the safe side.
_RANKS = {"info": 0, "low": 1, "medium": 2, "high": 3, "critical": 4, "unknown": 4}

_LOCATION = re.compile(r"(:\d+(:\d+|-\d+)?|#L\d+(-L\d+)?)\Z")
_TEXT_LIMIT = 200


# --- paths ------------------------------------------------------------------------------------------------------------


def normalize_repo_path(text: object, kind: str, root: str = "") -> str | None:
    """A repo-relative POSIX path, `.` for the whole repository, or None. `kind`: `owned` or `finding`. PROV 4.3."""
    path = ("" if text is None else str(text)).strip()
    if len(path) >= 2 and path[0] == path[-1] and path[0] in "`'\"":
        path = path[1:-1].strip()
    if path.startswith("file://"):
        path = path[len("file://") :]
    path = path.replace("\\", "/")
    if kind == "finding":
        path = _LOCATION.sub("", path)
    top = root.replace("\\", "/").rstrip("/")
    if top and (path == top or path.startswith(top + "/")):
        path = path[len(top) :]
    segments: list[str] = []
    for segment in path.split("/"):
        if segment in ("", "."):
            continue
        if segment == "..":
            if not segments:
                return None
            segments.pop()
        elif kind == "owned" and any(char in segment for char in "*?["):
            break
        else:
            segments.append(segment)
    if segments:
        return "/".join(segments)
    return WHOLE_REPOSITORY if kind == "owned" else None


def matches(finding: str, owned: str) -> bool:
    """Whether a finding's path is the owned path or below it; both normalised. Spec: PROV 4.3."""
    return owned == WHOLE_REPOSITORY or finding == owned or finding.startswith(owned + "/")


def keep_eligible(paths: Iterable[object], root: str = "", state_dirs: Sequence[str] = ()) -> list[str]:
    """Owned paths in normal form without documents, text files and state; order kept, each once. Spec: PROV 4.2."""
    kept: dict[str, None] = {}
    for text in paths:
        path = normalize_repo_path(text, "owned", root)
        if path is None or is_text_report(path):
            continue
        excluded = (".tmp", "docs", *filter(None, state_dirs))
        if not any(matches(path, directory) for directory in excluded if directory != WHOLE_REPOSITORY):
            kept[path] = None
    return list(kept)


def eligible_owned_paths(wave: Wave, bindings: RoleBindings, profile: LaneProfile, root: str = "") -> list[str]:
    """The paths that findings are matched with. Spec: PROV 4.2."""
    owned = [path for agent in wave.agents if contributes(agent, bindings) for path in agent.owned_paths]
    return keep_eligible(owned, root, _state_dirs(profile, root))


def contributes(agent: Agent, bindings: RoleBindings) -> bool:
    """Whether an agent's owned paths are implementation that Corridor looks at; the table of PROV 4.2."""
    return not (
        is_security_reviewer(agent, bindings.roles)
        or is_design_agent(agent, bindings.roles)
        or agent.agent_id in (bindings.integration, bindings.documentation, bindings.cont_qa)
        or is_cont_eval_report_only(agent, bindings)
    )


def finding_owners(wave: Wave, bindings: RoleBindings, findings: Iterable[JsonObject]) -> tuple[str, ...]:
    """The agents whose paths the findings touch, in file order. Spec: PROV 4.10."""
    named = (path for finding in findings for path in finding.get("matchedOwnedPaths") or [])
    matched = {normalize_repo_path(path, "owned") for path in named}
    return tuple(
        agent.agent_id
        for agent in wave.agents
        if contributes(agent, bindings)
        and not matched.isdisjoint(normalize_repo_path(path, "owned") for path in agent.owned_paths)
    )


def _state_dirs(profile: LaneProfile, root: str) -> list[str]:
    places = (profile.paths.state_root, profile.paths.orchestrator_state_dir)
    return [normalize_repo_path(place, "owned", root) or "" for place in places]


# --- findings ---------------------------------------------------------------------------------------------------------


class Findings(NamedTuple):
    """Matched findings in provider order, the blocking ones among them, and how many named no usable file."""

    matched: list[JsonObject]
    blocking: list[JsonObject]
    unlocated: int


def normal_severity(value: object) -> str:
    """`critical`, `high`, `medium`, `low`, `info`, or `unknown` for everything else. Spec: PROV 4.4."""
    return _NORMAL_SEVERITY.get(value.strip().lower(), "unknown") if isinstance(value, str) else "unknown"


def blocks(finding: Mapping[str, Any], threshold: str) -> bool:
    """Whether a finding is at or above the threshold; unknown severities always are. Spec: PROV 4.4."""
    return _RANKS[normal_severity(finding.get("severity"))] >= _RANKS[threshold]


def match_findings(
    raw: Iterable[JsonObject], eligible: Sequence[str], threshold: str, root: str = "", *, brokered: bool = False
) -> Findings:
    """Projects raw findings and keeps those that touch an eligible path, each once. Spec: PROV 4.4.

    `brokered`: the findings name the paths that a broker matched; those of ours are kept. Spec: PROV 4.7.
    """
    kept: dict[tuple[object, ...], JsonObject] = {}
    unlocated = 0
    for finding in raw:
        located = [(text, normalize_repo_path(text, "finding", root)) for text in _files(finding)]
        usable = [(text, path) for text, path in located if path is not None]
        hits = _believed(finding, eligible) if brokered else []
        if not usable and not hits:
            unlocated += 1
            continue
        hits = hits or [owned for owned in eligible if any(matches(path, owned) for _, path in usable)]
        if not hits:
            continue
        file = next((text for text, path in usable if any(matches(path, owned) for owned in hits)), None)
        entry = _projected(finding, file or (usable[0][0] if usable else ""), hits)
        same = ("id", "affectedFile") if entry["id"] is not None else ("title", "affectedFile", "severity")
        kept.setdefault(tuple(entry[name] for name in same), entry)
    matched = list(kept.values())
    return Findings(matched, [entry for entry in matched if blocks(entry, threshold)], unlocated)


def in_states(findings: Iterable[JsonObject], states: Sequence[str]) -> list[JsonObject]:
    """Findings whose state is configured; one without a state was filtered by the request. Spec: PROV 4.5."""
    if not states:
        return list(findings)
    return [item for item in findings if not _state(item) or _state(item) in states]


def _state(finding: JsonObject) -> str:
    value = finding.get("state")
    return value.strip().lower() if isinstance(value, str) else ""


def _files(finding: JsonObject) -> list[str]:
    for key in ("affectedFile", "affectedFiles"):
        value = finding.get(key)
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        found = [text for text in texts if isinstance(text, str) and text.strip()]
        if found:
            return found
    return []


def _believed(finding: JsonObject, eligible: Sequence[str]) -> list[str]:
    """What a broker says it matched, as far as it is ours to match."""
    claimed = finding.get("matchedOwnedPaths")
    return [path for path in eligible if path in claimed] if isinstance(claimed, list) else []


def _projected(finding: JsonObject, file: str, hits: list[str]) -> JsonObject:
    severity = finding.get("severity")
    return {
        "id": one_line(finding.get("id")),
        "title": one_line(finding.get("title")),
        "affectedFile": " ".join(file.split()) or None,
        "cwe": one_line(finding.get("cwe")),
        "severity": one_line(severity),
        "severityNormalized": normal_severity(severity),
        "state": one_line(finding.get("state")),
        "createdAt": one_line(finding.get("createdAt")),
        "matchedOwnedPaths": hits,
    }


def one_line(value: object) -> str | None:
    """A provider's value as one short line; None for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return compact(str(value), _TEXT_LIMIT) or None


# --- the artifact -----------------------------------------------------------------------------------------------------


def config_fingerprint(config: Mapping[str, Any]) -> str:
    """What an artifact was made with; another fingerprint makes it worthless. Spec: PROV 4.8."""
    keys = ("mode", "baseUrl", "projectId", "severityThreshold", "findingStates", "requiredAtClosure")
    return sha256_text(compact_json({key: config.get(key) for key in keys}, sort_keys=True))[:16]


def valid_artifact(
    artifact: object, config: Mapping[str, Any], *, wave: int, lane: str, project_id: str, eligible: Sequence[str]
) -> JsonObject | None:
    """The artifact that gate and summaries may use, None when it is not materialised. Spec: PROV 4.9.

    A wave without eligible paths needs no artifact: then a clean one is made up.
    """
    if not config.get("enabled"):
        return None
    if isinstance(artifact, dict) and _is_current(artifact, config, wave, lane, project_id, eligible):
        return artifact
    return None if eligible else clean_result(config)


def _is_current(
    artifact: JsonObject, config: Mapping[str, Any], wave: int, lane: str, project_id: str, eligible: Sequence[str]
) -> bool:
    relevant = artifact.get("relevantOwnedPaths")
    identity = (artifact.get("schemaVersion"), artifact.get("wave"), artifact.get("lane"), artifact.get("projectId"))
    return (
        identity == (SCHEMA_VERSION, wave, lane, project_id)
        and isinstance(relevant, list)
        and sorted(set(map(str, relevant))) == sorted(set(eligible))
        and artifact.get("configFingerprint") in (None, config_fingerprint(config))
    )


def clean_result(config: Mapping[str, Any]) -> JsonObject:
    """The result of a wave that has nothing to match. Spec: PROV 4.8, last paragraph."""
    return {
        "ok": True,
        "providerMode": config.get("mode"),
        "source": None,
        "requiredAtClosure": config.get("requiredAtClosure") is not False,
        "severityThreshold": config.get("severityThreshold"),
        "fetchedAt": None,
        "matchedFindings": [],
        "blockingFindings": [],
        "blocking": False,
        "error": None,
        "detail": NO_PATHS_DETAIL,
    }


def prompt_lines(artifact: JsonObject) -> list[str]:
    """What agents read about an artifact, at most five findings, worst first. Spec: PROV 4.11."""
    if artifact.get("ok") is not True:
        return [f"Corridor provider fetch failed: {one_line(artifact.get('error')) or 'no result'}"]
    blocking = [item for item in artifact.get("blockingFindings") or [] if isinstance(item, dict)]
    blocking.sort(key=lambda item: -_RANKS[normal_severity(item.get("severity"))])
    return [
        f"Corridor source: {one_line(artifact.get('source')) or artifact.get('providerMode') or 'unknown'}",
        f"Corridor blocking: {'yes' if artifact.get('blocking') else 'no'}",
        f"Corridor threshold: {one_line(artifact.get('severityThreshold'))}",
        f"Corridor matched findings: {len(artifact.get('matchedFindings') or ())}",
        *(
            f"- {one_line(item.get('severity')) or 'unknown'} {one_line(item.get('affectedFile')) or 'unknown-file'}: "
            f"{one_line(item.get('title')) or 'finding'}"
            for item in blocking[:5]
        ),
    ]
