"""Doctor's checks of the workspace as a whole and of its projects. Spec: WORK 3.1, 3.2."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from .. import PACKAGE_NAME, __version__
from .doctor_findings import Finding, Findings
from .install import STATE_FILE, missing_ignore_entries

if TYPE_CHECKING:
    from .doctor_scope import ProjectView, Workspace

OLDEST_PYTHON = (3, 9)
_INERT_CONDITIONS = ("requireProofSignals", "requireTestsPass")
_INERT_KEYS = ("testCommand", "testCommandTimeout")


def python_version(workspace: Workspace) -> Findings:
    """The interpreter is new enough."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding(f"Python {sys.version.split()[0]} is older than {'.'.join(map(str, OLDEST_PYTHON))}")


def install_state_missing(workspace: Workspace) -> Findings:
    """The workspace was initialized."""
    if workspace.install_state == (None, None):
        yield Finding("This workspace is not initialized. Run `wave init`.", STATE_FILE)


def install_state_invalid(workspace: Workspace) -> Findings:
    """The install state can be read."""
    if workspace.install_state.error:
        yield Finding(str(workspace.install_state.error), STATE_FILE)


def install_state_version(workspace: Workspace) -> Findings:
    """The workspace was last upgraded with this version; other packages count their versions differently."""
    state = workspace.install_state.value or {}
    recorded = state.get("installedVersion")
    if state.get("packageName") == PACKAGE_NAME and recorded != __version__:
        text = f"The workspace records version {recorded}, this is {__version__}. Run `wave upgrade`."
        yield Finding(text, STATE_FILE)


def config_missing(workspace: Workspace) -> Findings:
    """There is a configuration."""
    if workspace.config is not None and not workspace.config.present:
        yield Finding("Missing wave.config.json: every setting is its default. Run `wave init`.", "wave.config.json")


def config_invalid(workspace: Workspace) -> Findings:
    """The configuration loads, for every lane of it."""
    if workspace.config_file.error:
        yield Finding(str(workspace.config_file.error), "wave.config.json")
    for project, lane, error in workspace.lane_errors:
        yield Finding(str(error), "wave.config.json", project=project, lane=lane)


def config_warnings(workspace: Workspace) -> Findings:
    """What the loader noticed: unknown keys, keys given twice, settings without effect."""
    for text in workspace.config.warnings if workspace.config else ():
        yield Finding(f"wave.config.json: {text}", "wave.config.json")
    for view in workspace.lanes:
        for text in view.profile.warnings:
            yield Finding(text, "wave.config.json", project=view.profile.project_id, lane=view.profile.lane)


def config_inert(workspace: Workspace) -> Findings:
    """Settings that are read and kept, and that no gate acts on. Spec: GATE 8.3."""
    raw = workspace.config.raw if workspace.config else {}
    for place, block in _validation_blocks(raw, ""):
        conditions = block.get("bootstrapPassConditions")
        found = [f"{place}.{key}" for key in _INERT_KEYS if block.get(key) is not None]
        if isinstance(conditions, dict):
            found += [f"{place}.bootstrapPassConditions.{key}" for key in _INERT_CONDITIONS if key in conditions]
        for name in found:
            yield Finding(f"{name} is set, and no gate acts on it", "wave.config.json")


def _validation_blocks(raw: dict[str, Any], place: str) -> list[tuple[str, dict[str, Any]]]:
    """`validation` of this level and of the projects and lanes below it, with its dotted name."""
    own = raw.get("validation")
    found = [(f"{place}validation", own)] if isinstance(own, dict) else []
    for key in ("projects", "lanes"):
        inner = raw.get(key)
        for name, block in inner.items() if isinstance(inner, dict) else ():
            if isinstance(block, dict):
                found += _validation_blocks(block, f"{place}{key}.{name}.")
    return found


def profile_invalid(project: ProjectView) -> Findings:
    """A saved project profile can be read."""
    if project.saved_profile.error:
        yield Finding(str(project.saved_profile.error))


def gitignore_missing(workspace: Workspace) -> Findings:
    """There is a `.gitignore`."""
    if not os.path.exists(os.path.join(workspace.root, ".gitignore")):
        yield Finding("Missing .gitignore: state and caches would be committed", ".gitignore")


def gitignore_entries(workspace: Workspace) -> Findings:
    """`.gitignore` names state and caches."""
    try:
        with open(os.path.join(workspace.root, ".gitignore"), encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return
    for entry in missing_ignore_entries(text):
        yield Finding(f"Missing recommended .gitignore entry: {entry}", ".gitignore")


def git_work_tree(workspace: Workspace) -> Findings:
    """Agents change files; without git nobody can see what, or take it back."""
    import shutil

    if shutil.which("git") is None:
        yield Finding("git is not on PATH")
    folder = workspace.root
    while not os.path.exists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            yield Finding("The workspace is not in a git work tree")
            return
        folder = parent


def tmux(project: ProjectView) -> Findings:
    """A saved terminal surface `tmux` needs tmux."""
    import shutil

    saved = project.saved_profile.value
    if saved and saved.default_terminal_surface == "tmux" and shutil.which("tmux") is None:
        yield Finding("The saved terminal surface is tmux, and tmux is not on PATH")


# --- the planner's files --------------------------------------------------------------------------------------------

_ROLE = "docs/agents/wave-planner-role.md"
_LESSONS = "docs/reference/wave-planning-lessons.md"
_SKILL = "skills/role-planner/"
_CORPUS = "docs/context7/planner-agent/"
_OWN_BUNDLE = "planner-agentic"
_PLANNER_FILES = (
    _ROLE,
    _LESSONS,
    f"{_SKILL}SKILL.md",
    f"{_CORPUS}README.md",
    f"{_CORPUS}manifest.json",
    f"{_CORPUS}topics/planning-and-orchestration.md",
)


def _missing_surface(project: ProjectView) -> list[str]:
    root = project.config.root
    missing = [path for path in (_ROLE, _SKILL, _CORPUS, _LESSONS) if not _holds_something(os.path.join(root, path))]
    if project.lane is not None and _planner(project)["context7Bundle"] == _OWN_BUNDLE:
        bundles = project.lane.references.bundles
        if bundles is None or _OWN_BUNDLE not in bundles.bundles:
            missing.append(f"docs/context7/bundles.json#{_OWN_BUNDLE}")
    return missing


def _holds_something(path: str) -> bool:
    return os.path.isfile(path) if not path.endswith("/") else os.path.isdir(path) and bool(os.listdir(path))


def _planner(project: ProjectView) -> dict[str, Any]:
    assert project.lane is not None
    block: dict[str, Any] = project.lane.profile.planner["agentic"]
    return block


def planner_incomplete(project: ProjectView) -> Findings:
    """What planning by an agent starts from is there."""
    missing = _missing_surface(project)
    if missing:
        text = f"Planner starter surface is incomplete: {', '.join(missing)}. Run `wave init --seed-missing`."
        yield Finding(text)


def planner_files(project: ProjectView) -> Findings:
    """Each file of it, once the surface as such is there."""
    if not _missing_surface(project):
        for path in _PLANNER_FILES:
            if not os.path.isfile(os.path.join(project.config.root, path)):
                yield Finding(f"Missing planner file: {path}", path)


def planner_bundle(project: ProjectView) -> Findings:
    """The planner's documentation bundle exists."""
    if project.lane is None or project.lane.references.bundles is None:
        return
    bundle = _planner(project)["context7Bundle"]
    if bundle not in project.lane.references.bundles.bundles:
        path = project.lane.profile.paths.context7_bundle_index_path
        yield Finding(f'planner.agentic.context7Bundle "{bundle}" is not in {path}', path)


def planner_profile(project: ProjectView) -> Findings:
    """The planner's executor profile exists."""
    if project.lane is None:
        return
    name = _planner(project)["executorProfile"]
    if name not in (project.lane.profile.executors.get("profiles") or {}):
        yield Finding(f'planner.agentic.executorProfile "{name}" is not defined', "wave.config.json")

