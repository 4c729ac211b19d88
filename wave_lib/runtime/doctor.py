"""`wave doctor`: a table of checks, each of which looks at the workspace, at a project, or at a lane. Reads only.

To add a check: write a generator of findings beside the others, add its row here; its place is its place in the report.

Spec: WORK 3; PROV 2.1, 3.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import doctor_lanes as lanes
from . import doctor_providers as providers
from . import doctor_workspace as whole
from .doctor_findings import ERROR, LANE, OK, PROJECT, WARNING, WORKSPACE, Check, Finding
from .doctor_scope import LaneView, ProjectView, Workspace

CHECKS: tuple[Check, ...] = (
    Check("env.python", ERROR, WORKSPACE, whole.python_version),
    Check("install-state.missing", ERROR, WORKSPACE, whole.install_state_missing),
    Check("install-state.invalid", ERROR, WORKSPACE, whole.install_state_invalid),
    Check("config.missing", ERROR, WORKSPACE, whole.config_missing),
    Check("config.invalid", ERROR, WORKSPACE, whole.config_invalid),
    Check("config.warning", WARNING, WORKSPACE, whole.config_warnings),
    Check("providers.broker-endpoint", ERROR, LANE, providers.broker_endpoint),
    Check("providers.broker-token", ERROR, LANE, providers.broker_token),
    Check("providers.leases", ERROR, LANE, providers.leases),
    Check("providers.corridor-token", ERROR, LANE, providers.corridor_token),
    Check("providers.token-invalid", ERROR, LANE, providers.invalid_tokens),
    Check("providers.telemetry", OK, LANE, providers.telemetry),
    Check("providers.fallback", WARNING, LANE, providers.fallbacks),
    Check("providers.context7-key", WARNING, LANE, providers.context7_key),
    Check("providers.insecure-endpoint", ERROR, LANE, providers.insecure_endpoint),
    Check("providers.library-id", WARNING, LANE, providers.library_ids),
    Check("providers.token-variable", WARNING, LANE, providers.token_variables),
    Check("providers.env-file-mode", WARNING, WORKSPACE, providers.env_file_mode),
    Check("providers.env-file-tracked", WARNING, WORKSPACE, providers.env_file_tracked),
    Check("config.inert", WARNING, WORKSPACE, whole.config_inert),
    Check("shared-plan.missing", ERROR, LANE, lanes.shared_plan_docs),
    Check("required-file.missing", ERROR, LANE, lanes.required_files),
    Check("role-prompt.invalid", ERROR, LANE, lanes.role_prompts),
    Check("context7.invalid", ERROR, LANE, lanes.context7_index),
    Check("planner.incomplete", ERROR, PROJECT, whole.planner_incomplete),
    Check("planner.file", ERROR, PROJECT, whole.planner_files),
    Check("planner.bundle", ERROR, PROJECT, whole.planner_bundle),
    Check("planner.profile", WARNING, PROJECT, whole.planner_profile),
    Check("matrix.invalid", ERROR, LANE, lanes.matrix),
    Check("matrix.docs", WARNING, LANE, lanes.matrix_documents),
    Check("evals.invalid", ERROR, LANE, lanes.evals),
    Check("skills.invalid", ERROR, LANE, lanes.skills),
    Check("waves.dir", WARNING, LANE, lanes.waves_folder),
    Check("waves.invalid", ERROR, LANE, lanes.waves),
    Check("waves.warning", WARNING, LANE, lanes.wave_warnings),
    Check("profile.invalid", ERROR, PROJECT, whole.profile_invalid),
    Check("gitignore.missing", WARNING, WORKSPACE, whole.gitignore_missing),
    Check("gitignore.entry", WARNING, WORKSPACE, whole.gitignore_entries),
    Check("install-state.version", WARNING, WORKSPACE, whole.install_state_version),
    Check("env.git", WARNING, WORKSPACE, whole.git_work_tree),
    Check("env.executor", WARNING, LANE, lanes.executor_commands),
    Check("env.tmux", WARNING, PROJECT, whole.tmux),
    Check("env.state-root", ERROR, LANE, lanes.state_root),
)


class Diagnosis(NamedTuple):
    """Texts that concern several lanes stand once in `errors`, `warnings` and `notes`; `checks`: as in WORK 3.3."""

    errors: list[str]
    warnings: list[str]
    checks: list[dict[str, Any]]
    notes: list[str]

    @property
    def ok(self) -> bool:
        return not self.errors


def examine(
    root: str, environ: Mapping[str, str], project: str | None = None, lane: str | None = None
) -> Diagnosis:
    """Run every check on the workspace. Raises ConfigError when `project` or `lane` name what does not exist."""
    workspace = Workspace(root, environ, project, lane)
    subjects: dict[str, Sequence[Any]] = {
        WORKSPACE: [workspace],
        PROJECT: workspace.projects,
        LANE: workspace.lanes,
    }
    diagnosis = Diagnosis([], [], [], [])
    shown = {ERROR: diagnosis.errors, WARNING: diagnosis.warnings, OK: diagnosis.notes}
    for check in CHECKS:
        found = [_placed(finding, subject) for subject in subjects[check.scope] for finding in check.look(subject)]
        for finding in found:
            severity = finding.severity or check.severity
            texts = shown[severity]
            if finding.message not in texts:
                texts.append(finding.message)
            diagnosis.checks.append(_entry(check.id, severity, finding))
        if not found:
            diagnosis.checks.append(_entry(check.id, OK, Finding("")))
    return diagnosis


def _placed(finding: Finding, subject: Workspace | ProjectView | LaneView) -> Finding:
    """The finding with the project and lane it was made in."""
    if isinstance(subject, LaneView):
        return finding._replace(project=subject.profile.project_id, lane=subject.profile.lane)
    return finding._replace(project=subject.project_id) if isinstance(subject, ProjectView) else finding


def _entry(check_id: str, severity: str, finding: Finding) -> dict[str, Any]:
    return {
        "id": check_id,
        "severity": severity,
        "message": finding.message,
        "path": finding.path,
        "project": finding.project,
        "lane": finding.lane,
    }
