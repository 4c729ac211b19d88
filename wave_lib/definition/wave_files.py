"""Wave files: finding them, and reading one into a `Wave`.

All grammar problems of a file are reported together. A reader that needs one wave parses that file alone.

Spec: CFG 8 (grammar), 8.1 (files of a lane), 8.3 (header), 8.4 (wave-level sections).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..base.errors import ConfigError, WaveError, WaveParseError
from ..base.text import nearest
from .evals import EvalTarget, parse_eval_target
from .roles import cont_eval_report_path, cont_qa_report_path, resolve_wave_role_bindings
from .wave_agent_section import ParseContext, is_agent_heading, parse_agent, parse_context7
from .wave_sections import Findings, Section, Source, bullets, read_source, shown
from .wave_types import Agent, ComponentPromotion, DeployEnvironment, Problem, Wave

if TYPE_CHECKING:
    from .lane_paths import LanePaths
    from .lane_profile import LaneProfile, Roles

WAVE_SECTIONS = (
    "component promotions",
    "deploy environments",
    "eval targets",
    "context7 defaults",
    "project profile",
    "sequencing note",
    "reference rule",
)

_FILE_NAME = re.compile(r"wave-(\d+)\.md")
_COMMIT_MESSAGE = re.compile(r"\*\*Commit message\*\*:[ \t]*`([^`]+)`")
_TITLE_NUMBER = re.compile(r"wave[ \t]+(\d+)\b", re.I)
_PROMOTION = re.compile(r"([a-z0-9][a-z0-9._-]*)[ \t]*:[ \t]*(\S+)")
_ENVIRONMENT = re.compile(
    r"`?([a-z0-9][a-z0-9._-]*)`?[ \t]*:[ \t]*`?([a-z0-9][a-z0-9._-]*)`?(?:[ \t]+(default))?(?:[ \t]+\((.*)\))?", re.I
)


class WaveFileError(WaveParseError):
    """The file of wave number `wave` breaks the grammar; `problems` and the message show everything found."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        first, rest = problems[0], problems[1:]
        what = "; ".join([first.message, *(f"line {problem.line}: {problem.message}" for problem in rest)])
        super().__init__(what, file, first.line)
        self.wave = wave_number(file) or 0
        self.problems = tuple(problems)


class ParsedWaves(NamedTuple):
    """The readable waves of a lane by number, one error for each broken file, and warnings `<file>:<line>: <text>`."""

    waves: list[Wave]
    errors: list[WaveFileError]
    warnings: list[str]


def wave_number(path: str) -> int | None:
    """The number in a wave file's name, None for any other file."""
    found = _FILE_NAME.fullmatch(os.path.basename(path))
    return int(found[1]) if found else None


def list_wave_files(directory: str, shown_as: str = "") -> list[tuple[int, str]]:
    """`(number, path)` of every wave file directly in `directory`, by number. Spec: CFG 8.1.

    Raises WaveError when the directory is missing, holds none, or holds two files with the same number.
    """
    name = shown_as or directory
    try:
        with os.scandir(directory) as entries:
            files = [entry.path for entry in entries if wave_number(entry.name) is not None and _is_file(entry)]
    except (FileNotFoundError, NotADirectoryError):
        raise WaveError(f"Waves directory not found: {name}", remedy="`wave draft` writes a first wave") from None
    except OSError as error:
        raise WaveError(f"cannot read the waves directory {name}: {error.strerror}") from None
    if not files:
        raise WaveError(f"No wave files found in {name}", remedy="add one, such as wave-0.md")
    numbered = sorted((wave_number(path) or 0, path) for path in files)
    for (number, path), (other, twin) in zip(numbered, numbered[1:]):
        if number == other:
            raise WaveError(
                f"duplicate wave {number}: {os.path.basename(path)} and {os.path.basename(twin)}",
                where=name,
                remedy="rename one of them",
            )
    return numbered


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or entry.is_symlink()  # a link to nowhere is an error of its own, not an absent wave
    except OSError:  # links in a circle
        return True


def parse_wave_file(path: str, profile: LaneProfile, root: str) -> Wave:
    """Read one wave file. Raises WaveFileError with every grammar problem of the file. Spec: CFG 8."""
    return _parse_file(path, profile.roles, root, {})


def parse_wave_files(paths: LanePaths, numbers: Iterable[int] | None = None) -> ParsedWaves:
    """Read all wave files of a lane, or those with the given numbers. Spec: CFG 8.1.

    Broken files do not stop the others; whether they matter is the caller's decision. Raises WaveError when the
    directory is missing or holds no (or two equal) waves.
    """
    wanted = None if numbers is None else set(numbers)
    result = ParsedWaves([], [], [])
    standing_prompts: dict[str, tuple[str, str]] = {}
    for number, path in list_wave_files(paths.waves_dir, paths.rel(paths.waves_dir)):
        if wanted is not None and number not in wanted:
            continue
        try:
            wave = _parse_file(path, paths.profile.roles, paths.root, standing_prompts)
        except WaveFileError as error:
            result.errors.append(error)
        else:
            result.waves.append(wave)
            result.warnings.extend(wave.warnings)
    return result


def parse_wave_text(text: str, number: int, file: str, roles: Roles, root: str) -> Wave:
    """Read a wave from its text; `file` is the repo-relative name that findings carry. Raises WaveFileError."""
    return _parse_text(text, number, file, roles, root, {})


def _parse_file(path: str, roles: Roles, root: str, standing_prompts: dict[str, tuple[str, str]]) -> Wave:
    file = os.path.relpath(path, root).replace(os.sep, "/")
    number = wave_number(path)
    if number is None:
        raise WaveFileError(file, [Problem("grammar", "the file name must be wave-<number>.md", file)])
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise WaveFileError(file, [Problem("grammar", f"cannot be read: {error.strerror}", file)]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WaveFileError(file, [Problem("grammar", "the file is not UTF-8", file, line)]) from None
    if "\0" in text:  # no path, no argument of a program can hold one
        line = text.count("\n", 0, text.index("\0")) + 1
        raise WaveFileError(file, [Problem("grammar", "the file holds a NUL character; remove it", file, line)])
    return _parse_text(text, number, file, roles, root, standing_prompts)


def _parse_text(
    text: str, number: int, file: str, roles: Roles, root: str, standing_prompts: dict[str, tuple[str, str]]
) -> Wave:
    findings = Findings()
    source = read_source(text)
    context = ParseContext(root, roles, findings, standing_prompts)
    wave = _header(source, number, file, findings)
    sections = _wave_sections(source, findings)
    promotions = _promotions(source, sections.get("component promotions"), findings)
    agents = _agents(source, number, context, {item.component_id: item.target_level for item in promotions})
    wave = wave._replace(
        deploy_environments=_environments(source, sections.get("deploy environments"), findings),
        eval_targets=_eval_targets(source, sections.get("eval targets"), findings),
        context7_defaults=parse_context7(source, sections.get("context7 defaults"), findings, "Context7 defaults"),
        component_promotions=promotions,
        agents=agents,
        lines={**wave.lines, **{name: section.line for name, section in sections.items()}},
    )
    _check_fences(source, findings)
    if findings.errors:
        notes = sorted(findings.errors)
        raise WaveFileError(file, [Problem("grammar", note.message, file, note.line) for note in notes])
    bindings = resolve_wave_role_bindings(wave, roles)
    return wave._replace(
        cont_qa_report_path=cont_qa_report_path(wave.agent(bindings.cont_qa)),
        cont_eval_report_path=cont_eval_report_path(wave.agent(bindings.cont_eval)),
        warnings=tuple(f"{file}:{note.line}: {note.message}" for note in sorted(findings.warnings)),
    )


def _header(source: Source, number: int, file: str, findings: Findings) -> Wave:
    """Title and commit message. Spec: CFG 8.3."""
    heading = next((section for section in source.headings if section.level == 1), None)
    title = heading.text or None if heading else None
    numbered = _TITLE_NUMBER.match(title or "")
    if heading and numbered and int(numbered[1]) != number:
        findings.warn(heading.line, f"the title says wave {numbered[1]}, the file name wave {number}")
    outside = (line for line, fenced in zip(source.lines, source.fenced) if not fenced)
    commit = next((found for found in map(_COMMIT_MESSAGE.search, outside) if found), None)
    lines = {"title": heading.line} if heading else {}
    return Wave(number, file, title, commit[1].strip() if commit else None, lines=lines)


def _wave_sections(source: Source, findings: Findings) -> dict[str, Section]:
    """The recognised wave-level sections by name; a repeated one is an error, a near miss a warning. CFG 8.2."""
    found: dict[str, Section] = {}
    for section in source.headings:
        if section.level != 2 or is_agent_heading(section):
            continue
        if section.name not in WAVE_SECTIONS:
            guess = nearest(section.name, WAVE_SECTIONS)
            if guess:
                findings.warn(section.line, f'unknown section "## {shown(section.text)}" (did you mean "{guess}"?)')
        elif section.name in found:
            first = found[section.name].line
            findings.error(section.line, f'duplicate section "{section.text}" (first on line {first})')
        else:
            found[section.name] = section
    return found


def _agents(source: Source, number: int, context: ParseContext, promoted: dict[str, str]) -> tuple[Agent, ...]:
    agents: list[Agent] = []
    for section in source.headings:
        if section.level != 2 or not is_agent_heading(section):
            continue
        agent = parse_agent(source, section, number, context)
        if agent is None:
            continue
        twin = next((other for other in agents if other.slug == agent.slug and other.agent_id != agent.agent_id), None)
        if twin:  # equal ids are V2's to report
            context.findings.error(
                section.line,
                f'Agent {agent.agent_id}: same slug "{agent.slug}" as agent {twin.agent_id}, they would share files',
            )
        targets = {component: promoted.get(component) for component in agent.components}
        agents.append(agent._replace(component_targets=targets))
    return tuple(agents)


def _promotions(source: Source, section: Section | None, findings: Findings) -> tuple[ComponentPromotion, ...]:
    found: dict[str, str] = {}
    for line, entry in bullets(source, section, findings, "component promotion") if section else ():
        match = _PROMOTION.fullmatch(entry)
        name = re.match(r"([\w.-]+)[ \t]*:[ \t]*\S+$", entry)
        if match is None and name:
            findings.error(line, f'invalid component id "{shown(name[1])}" (lower-case letters, digits, `.`, `_`, `-`)')
        elif match is None:
            findings.error(line, f'malformed component promotion "{shown(entry)}" (wanted `- <component>: <level>`)')
        elif match[1] in found:
            findings.error(line, f'duplicate component promotion "{match[1]}"')
        else:
            found[match[1]] = match[2]
    return tuple(ComponentPromotion(*item) for item in found.items())


def _environments(source: Source, section: Section | None, findings: Findings) -> tuple[DeployEnvironment, ...]:
    found: dict[str, DeployEnvironment] = {}
    for line, entry in bullets(source, section, findings, "deploy environment") if section else ():
        match = _ENVIRONMENT.fullmatch(entry)
        if match is None:
            findings.error(
                line, f'malformed deploy environment "{shown(entry)}" (wanted `- <id>: <kind> [default] [(notes)]`)'
            )
            continue
        name = match[1].lower()
        if name in found:
            findings.error(line, f'duplicate deploy environment "{name}"')
        elif match[3] and any(other.is_default for other in found.values()):
            findings.error(line, f'deploy environment "{name}" is the second default, one is allowed')
        else:
            found[name] = DeployEnvironment(name, match[2].lower(), bool(match[3]), (match[4] or "").strip() or None)
    environments = list(found.values())
    if environments and not any(environment.is_default for environment in environments):
        environments[0] = environments[0]._replace(is_default=True)
    return tuple(environments)


def _eval_targets(source: Source, section: Section | None, findings: Findings) -> tuple[EvalTarget, ...]:
    found: dict[str, EvalTarget] = {}
    for index, (line, entry) in enumerate(bullets(source, section, findings, "eval target") if section else ()):
        try:
            target = parse_eval_target(entry, f"evalTargets[{index}]")
        except ConfigError as error:
            findings.error(line, str(error))
            continue
        if target.id in found:
            findings.error(line, f'evalTargets[{index}].id repeats "{target.id}"')
        found.setdefault(target.id, target)
    return tuple(found.values())


def _check_fences(source: Source, findings: Findings) -> None:
    """Report a fence that never closes, unless a prompt's inner fence was already diagnosed as the cause. CFG 8.6."""
    last = source.fences[-1] if source.fences else None
    if last and not last.last and not findings.nested_fence:
        agents = [part for part in source.headings if part.level == 2 and part.line < last.first]
        owner = agents[-1].text.partition(":")[0] + ": " if agents and is_agent_heading(agents[-1]) else ""
        findings.error(last.first, f"{owner}the fence of this block is never closed")
