"""Doctor's checks of one lane: its documents, waves, skills and executors. Spec: WORK 3.1, 9.7; CFG 12.1."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ..base.errors import WaveError
from ..definition.components import matrix_differences
from ..definition.ids import is_id
from ..definition.skills import SkillReport, validate_lane_skills
from ..definition.wave_agent_section import read_standing_prompt
from ..definition.wave_files import list_wave_files
from ..definition.wave_validation import invalid_wave_error
from .doctor_findings import ERROR, WARNING, Finding, Findings
from .executor_preflight import command_available, executor_command

if TYPE_CHECKING:
    from ..definition.evals import BenchmarkCatalog
    from .doctor_scope import LaneView

_ARMS = ("single-agent", "multi-agent-minimal", "full-wave", "full-wave-plus-improvement")


def shared_plan_docs(view: LaneView) -> Findings:
    """The documents that every wave reconciles exist."""
    for path in view.profile.shared_plan_docs:
        if not _is_file(view, path):
            yield Finding(f"Missing shared plan doc: {path}", path)


def required_files(view: LaneView) -> Findings:
    """Closure role prompts, benchmark catalog and documentation index exist."""
    roles, places = view.profile.roles, view.profile.paths
    for path in (
        roles.cont_qa_role_prompt_path,
        roles.cont_eval_role_prompt_path,
        roles.integration_role_prompt_path,
        roles.documentation_role_prompt_path,
        places.benchmark_catalog_path,
        places.context7_bundle_index_path,
    ):
        if not _is_file(view, path):
            yield Finding(f"Missing required Wave file: {path}", path)


def role_prompts(view: LaneView) -> Findings:
    """A role prompt that is there has the part that agents receive."""
    roles = view.profile.roles
    for path in (
        roles.cont_qa_role_prompt_path,
        roles.cont_eval_role_prompt_path,
        roles.integration_role_prompt_path,
        roles.documentation_role_prompt_path,
        roles.security_role_prompt_path,
        roles.design_role_prompt_path,
    ):
        if _is_file(view, path):
            _, problem = read_standing_prompt(view.root, path)
            if problem:
                yield Finding(f"Role prompt {path} {problem}", path)


def context7_index(view: LaneView) -> Findings:
    """The documentation index loads, with every bundle it points to."""
    if view.references.bundles is None:
        yield Finding(view.references.bundles_problem, view.profile.paths.context7_bundle_index_path)


def matrix(view: LaneView) -> Findings:
    """The component matrix loads. A lane without component rules needs none."""
    path = view.profile.paths.component_cutover_matrix_json_path
    needed = view.profile.validation.require_component_promotions_from_wave is not None
    if view.references.matrix is None and (needed or _is_file(view, path)):
        yield Finding(view.references.matrix_problem, path)


def matrix_documents(view: LaneView) -> Findings:
    """The matrix that people read agrees with the one that gates read."""
    path = view.profile.paths.component_cutover_matrix_doc_path
    if view.references.matrix is None:
        return
    try:
        with open(view.paths.absolute(path), encoding="utf-8-sig", errors="replace") as file:
            markdown = file.read()
    except OSError as error:
        yield Finding(f"{path}: cannot be read: {error.strerror}", path)
        return
    for difference in matrix_differences(view.references.matrix, markdown):
        yield Finding(f"{path}: {difference}", path)


def evals(view: LaneView) -> Findings:
    """Benchmark catalog and local cases load. Spec: CFG 13.2, WORK 11.2."""
    path = view.profile.paths.benchmark_catalog_path
    if view.references.catalog is None:
        if _is_file(view, path):  # a missing one is reported by `required-file.missing`
            yield Finding(view.references.catalog_problem, path)
        return
    folder = os.path.join(os.path.dirname(path), "cases")
    seen: dict[str, str] = {}
    for name in _names(view.paths.absolute(folder), ".json"):
        shown = f"{folder}/{name}"
        case = _read_object(view.paths.absolute(shown))
        for problem in [case] if isinstance(case, str) else _case_problems(case, view.references.catalog, seen, shown):
            yield Finding(f"{shown}: {problem}", shown)


def _case_problems(
    case: dict[str, Any], catalog: BenchmarkCatalog, seen: dict[str, str], shown: str
) -> list[str]:
    """What is wrong with the identity of a case; `seen` maps the ids of earlier cases to their files."""
    problems = []
    case_id, family, benchmark = (
        str(case.get(key) or "").strip().lower() for key in ("id", "familyId", "benchmarkId")
    )
    if not is_id("component", case_id):
        problems.append(f"invalid case id {case.get('id')!r}")
    elif seen.setdefault(case_id, shown) != shown:
        problems.append(f"case id {case_id} is also used by {seen[case_id]}")
    if family not in catalog.families:
        problems.append(f"unknown benchmark family {case.get('familyId')!r}")
    elif benchmark not in catalog.benchmarks_of(family):
        problems.append(f"family {family} has no benchmark {case.get('benchmarkId')!r}")
    else:
        listed = catalog.families[family]["benchmarks"][benchmark]["localCases"]
        listed = [*listed, *catalog.families[family]["localCases"]]
        if listed and case_id not in listed:
            problems.append(f"the catalog does not list {case_id} under {family} or {benchmark}")
    arms = case.get("supportedArms", _ARMS[:3])
    if not isinstance(arms, (list, tuple)) or not arms or any(arm not in _ARMS for arm in arms):
        problems.append(f"supportedArms must be some of {', '.join(_ARMS)}")
    fixture = case.get("fixture")
    if not isinstance(fixture, dict) or not fixture.get("agents") or not fixture.get("records"):
        problems.append("fixture needs at least one agent and one record")
    return problems


def _skill_report(view: LaneView) -> SkillReport:
    waves = [judged.wave for judged in view.waves]
    return validate_lane_skills(view.profile.skills, view.library, waves)


def skills(view: LaneView) -> Findings:
    """Skill bundles load, fit their configuration, and pass their own activation cases. Spec: WORK 9.7."""
    report = _skill_report(view)
    for text in report.errors:
        yield Finding(text)
    for text in report.warnings:
        yield Finding(text, severity=WARNING)


def waves_folder(view: LaneView) -> Findings:
    """The lane has waves."""
    shown = view.paths.rel(view.paths.waves_dir)
    if not os.path.isdir(view.paths.waves_dir):
        yield Finding(f"Waves directory not found: {shown}", shown)
    elif not os.access(view.paths.waves_dir, os.R_OK | os.X_OK):
        yield Finding(f"Waves directory cannot be read: {shown}", shown, severity=ERROR)
    elif not any(name.startswith("wave-") for name in _names(view.paths.waves_dir, ".md")):
        yield Finding(f"No wave files in {shown}", shown)


def waves(view: LaneView) -> Findings:
    """Every wave parses, resolves and keeps the rules: one finding for each that does not."""
    parsed = view.parsed.value
    if parsed is None:
        yield from _unreadable_waves(view)
        return
    for error in parsed.errors:
        yield Finding(str(error), error.file)
    for judged in view.waves:
        if judged.verdict.problems:
            yield Finding(str(invalid_wave_error(judged.wave, judged.verdict.problems)), judged.wave.file)
        elif judged.error is not None:
            severity = WARNING if judged.completed else None
            text = f"Invalid wave {judged.wave.wave} ({judged.wave.file}): {judged.error}"
            yield Finding(text, judged.wave.file, severity)


def _unreadable_waves(view: LaneView) -> Findings:
    """Duplicate numbers and the like; absent or empty folders are `waves.dir`."""
    folder = view.paths.waves_dir
    if any(name.startswith("wave-") for name in _names(folder, ".md")):
        try:
            list_wave_files(folder, view.paths.rel(folder))
        except WaveError as error:
            yield Finding(str(error), view.paths.rel(folder))


def wave_warnings(view: LaneView) -> Findings:
    """What is odd about waves and stops nobody."""
    for text in view.parsed.value.warnings if view.parsed.value else ():
        yield Finding(text)
    for judged in view.waves:
        for problem in judged.verdict.warnings:
            yield Finding(f"wave {judged.wave.wave} ({judged.wave.file}): {problem}", judged.wave.file)


def executor_commands(view: LaneView) -> Findings:
    """A live launch would fail on a command that is not there."""
    users: dict[str, list[str]] = {}
    for judged in view.waves:
        for agent in judged.wave.agents:
            resolved = agent.executor_resolved
            if resolved is None or judged.completed:
                continue
            command = executor_command(resolved["id"], resolved, view.profile)
            if command is not None:
                users.setdefault(command, []).append(f"wave {judged.wave.wave} {agent.agent_id}")
    for command, agents in users.items():
        if not command_available(command, view.root):
            more = f" and {len(agents) - 3} more" if len(agents) > 3 else ""
            needed = f"needed by {', '.join(agents[:3])}{more}"
            yield Finding(f"Executor command not found on PATH: {command or '(none configured)'} ({needed})")


def state_root(view: LaneView) -> Findings:
    """The state root, once it exists, can be written."""
    path = view.profile.paths.state_root
    full = view.paths.absolute(path)
    if os.path.lexists(full) and not (os.path.isdir(full) and os.access(full, os.W_OK | os.X_OK)):
        yield Finding(f"The state root {path} is not a writable directory", path)


def _is_file(view: LaneView, path: str) -> bool:
    return os.path.isfile(view.paths.absolute(path))


def _names(folder: str, ending: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(ending))
    except OSError:
        return []


def _read_object(path: str) -> dict[str, Any] | str:
    """The JSON object in a file, or what is wrong with it."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            value = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        return f"cannot be loaded: {error}"
    return value if isinstance(value, dict) else "is not a JSON object"
