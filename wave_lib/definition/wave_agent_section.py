"""One `## Agent …` block of a wave file: its sections, its prompt and the files it owns.

Spec: CFG 8.3 (ids), 8.5 (sections), 8.6 (prompt and role prompts), 8.7 (file ownership).
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from ..base.errors import ConfigError
from ..base.text import compact, nearest, slugify
from .components import MATURITY_LEVELS
from .ids import check_agent_id, is_id
from .lane_profile import Roles
from .roles import covers, is_design_agent, is_security_reviewer, normal_path
from .wave_executor_section import parse_executor
from .wave_sections import Findings, Section, Source, bare, bullets, pairs, read_source, shown, unquote
from .wave_types import EXIT_CONTRACT_FIELDS, Agent, Context7Config, ExitContract, ProofArtifact

AGENT_SECTIONS = (
    "role prompts",
    "executor",
    "context7",
    "skills",
    "components",
    "capabilities",
    "deliverables",
    "proof artifacts",
    "exit contract",
    "prompt",
)

_AGENT_HEADING = re.compile(r"agent[ \t]+(\S*?)[ \t]*:[ \t]*(.*)", re.I)
_OWNERSHIP = re.compile(r"file ownership\b", re.I)
_OWNED_BULLET = re.compile(r"[ \t]*-[ \t]+(.*)")
_LIST_END = re.compile(r" {0,3}#{1,6}([ \t]|$)|[ \t]*(```|~~~)|.*:[ \t]*$")
_COMMENTED_PATH = re.compile(r"(\S+)[ \t]+(?:\(.*\)|—.*)$")
_CONTEXT7_KEY = re.compile(r"[A-Za-z0-9_-]+")
_FIELD = re.compile(r"[ \t]*([A-Za-z][A-Za-z0-9_-]*)[ \t]*:[ \t]*(.*?)[ \t]*$")


class ParseContext(NamedTuple):
    """What parsing one file needs: the workspace, the lane's roles, the findings, role documents read so far."""

    root: str
    roles: Roles
    findings: Findings
    standing_prompts: dict[str, tuple[str, str]]  # path -> (standing prompt, problem), one of them empty


class OwnedPaths(NamedTuple):
    """`paths` in order without repetitions, `line` of the first label inside the prompt (0-based, -1 if there is none),
    `doubtful` entries as `(line, path)`: they hold a space or a glob sign and so name no file."""

    paths: tuple[str, ...]
    line: int
    doubtful: tuple[tuple[int, str], ...]


def is_agent_heading(section: Section) -> bool:
    """Whether a level-two heading begins an agent, well formed or not. `## Agents` and the like begin none."""
    return re.match(r"(?i:agent)(?![a-z])", section.text) is not None


def parse_agent(source: Source, section: Section, wave: int, context: ParseContext) -> Agent | None:
    """The agent of one block; every problem goes to `context.findings`. None when the heading itself is unusable.

    `component_targets` is left empty: it needs the promotions of the whole wave.
    """
    findings = context.findings
    heading = _AGENT_HEADING.fullmatch(section.text)
    if heading is None:
        findings.error(
            section.line, f'malformed agent heading "{shown(section.text)}" (wanted `## Agent <id>: <title>`)'
        )
        return None
    agent_id, title = heading[1], heading[2].strip()
    try:
        check_agent_id(agent_id)
    except ConfigError as error:
        findings.error(section.line, f"Agent {shown(agent_id)}: {error}")
        return None
    if not title:
        findings.error(section.line, f"Agent {agent_id}: the heading has no title")
        return None

    found = _sections(source, section, findings, agent_id)
    overlay, owned, ownership_line = _prompt(source, section, found.get("prompt"), findings, agent_id)
    role_prompts, standing = _role_prompts(source, found.get("role prompts"), context, agent_id)
    label = f"Agent {agent_id}:"
    agent = Agent(
        agent_id=agent_id,
        title=title,
        slug=slugify(f"{wave}-{agent_id}"),
        prompt="\n\n".join(part for part in (*standing, overlay) if part),
        prompt_overlay=overlay,
        role_prompt_paths=role_prompts,
        context7_config=parse_context7(source, found.get("context7"), findings, f"{label} Context7"),
        exit_contract=_exit_contract(source, found.get("exit contract"), findings, label),
        executor_config=parse_executor(source, found.get("executor"), findings, agent_id),
        components=_ids(source, found.get("components"), findings, label, "component"),
        capabilities=_ids(source, found.get("capabilities"), findings, label, "capability"),
        skills=_ids(source, found.get("skills"), findings, label, "skill"),
        owned_paths=owned.paths,
        lines={"agent": section.line, "ownership": ownership_line, **{name: part.line for name, part in found.items()}},
    )
    agent = agent._replace(
        deliverables=_deliverables(source, found.get("deliverables"), findings, agent),
        proof_artifacts=_proof_artifacts(source, found.get("proof artifacts"), findings, agent),
    )
    return _with_role_capabilities(agent, context.roles)


def parse_context7(source: Source, section: Section | None, findings: Findings, label: str) -> Context7Config | None:
    """Bundle and query of a Context7 section (wave level or agent), None when neither has a value. CFG 8.5."""
    if section is None:
        return None
    values: dict[str, str] = {}
    for key, (line, raw) in pairs(source, section, findings, label).items():
        if key in ("bundle", "query"):
            values[key] = _context7_value(raw)
        elif _CONTEXT7_KEY.fullmatch(key):
            findings.warn(line, f'{label} has the unknown key "{key}"')
        else:
            findings.error(line, f'{label} entry is malformed: "{shown(key)}" is no key')
    config = Context7Config(values.get("bundle") or None, compact(values.get("query", ""), 280) or None)
    return config if config.bundle or config.query else None


def extract_owned_paths(prompt_overlay: str) -> OwnedPaths:
    """The paths listed under `File ownership` in an agent's own prompt. Spec: CFG 8.7."""
    paths: dict[str, None] = {}
    doubtful: list[tuple[int, str]] = []
    label_line, is_open = -1, False
    for number, line in enumerate(prompt_overlay.split("\n")):
        bullet = _OWNED_BULLET.match(line)
        if _OWNERSHIP.match(line.strip()):
            is_open, label_line = True, number if label_line < 0 else label_line
        elif is_open and bullet:
            entry = re.sub("[`\"']", "", bullet[1]).strip()
            commented = _COMMENTED_PATH.fullmatch(entry)
            path = commented[1] if commented else entry
            if path and path not in paths:
                paths[path] = None
                if re.search(r"[ \t*?]", path):
                    doubtful.append((number, path))
        elif is_open and _LIST_END.match(line):
            is_open = False
    return OwnedPaths(tuple(paths), label_line, tuple(doubtful))


def _sections(source: Source, block: Section, findings: Findings, agent_id: str) -> dict[str, Section]:
    """The recognised level-three sections of an agent by name; a repeated one is an error, an unknown one a warning."""
    found: dict[str, Section] = {}
    for section in source.headings:
        if section.level != 3 or not block.first <= section.line <= block.last:
            continue
        if section.name not in AGENT_SECTIONS:
            guess = nearest(section.name, AGENT_SECTIONS)
            hint = f' (did you mean "{guess}"?)' if guess else ""
            findings.warn(section.line, f'Agent {agent_id}: unknown section "### {shown(section.text)}"{hint}')
        elif section.name in found:
            first = found[section.name].line
            findings.error(
                section.line, f'Agent {agent_id}: duplicate section "{section.text}" (first on line {first})'
            )
        else:
            found[section.name] = section
    return found


def _prompt(
    source: Source, block: Section, section: Section | None, findings: Findings, agent_id: str
) -> tuple[str, OwnedPaths, int]:
    """The prompt overlay, what it owns, and the line of the ownership list (of the prompt when there is none)."""
    nothing = OwnedPaths((), -1, ())
    if section is None:
        findings.error(block.line, f'Agent {agent_id}: the section "### Prompt" is missing')
        return "", nothing, block.line
    fences = source.fences_in(section)
    if not fences:
        findings.error(section.line, f"Agent {agent_id}: the prompt section has no fenced block")
        return "", nothing, section.line
    fence = fences[0]
    if len(fences) > 1:
        findings.nested_fence = True
        findings.error(
            fences[1].first,
            f"Agent {agent_id}: the prompt ended with its first code fence on line {fence.last} and another fence"
            " follows (use a longer outer fence, such as four backticks, around a prompt that holds code blocks)",
        )
    elif fence.last and any(line.strip() for line in source.lines[fence.last : section.last]):
        findings.warn(fence.last + 1, f"Agent {agent_id}: text after the closing fence is ignored")
    if not fence.text.strip():
        findings.error(fence.first, f"Agent {agent_id}: the fenced prompt block is empty")
    overlay = fence.text.strip()
    skipped = fence.text[: len(fence.text) - len(fence.text.lstrip())].count("\n")
    base = fence.first + 1 + skipped
    owned = extract_owned_paths(overlay)
    for number, path in owned.doubtful:
        findings.warn(
            base + number, f'Agent {agent_id}: owned path "{shown(path)}" is not one file: globs are not supported'
        )
    return overlay, owned, base + owned.line if owned.line >= 0 else section.line


def _role_prompts(
    source: Source, section: Section | None, context: ParseContext, agent_id: str
) -> tuple[tuple[str, ...], list[str]]:
    """The imported role documents and their standing prompts, in listed order."""
    if section is None:
        return (), []
    standing: dict[str, str] = {}
    for line, entry in bullets(source, section, context.findings, f"Agent {agent_id}: role prompt"):
        path = normal_path(bare(entry))
        if path in standing:
            continue
        problem = role_prompt_problem(path, context.roles)
        if not problem:
            if path not in context.standing_prompts:
                context.standing_prompts[path] = read_standing_prompt(context.root, path)
            standing[path], problem = context.standing_prompts[path]
        if problem:
            standing[path] = ""
            context.findings.error(line, f'Agent {agent_id}: role prompt "{shown(path)}" {problem}')
    return tuple(standing), list(standing.values())


def role_prompt_problem(path: str, roles: Roles) -> str:
    """What is wrong with the place of a role prompt, or an empty text. Spec: CFG 8.5, V12."""
    folder = normal_path(roles.role_prompt_dir).rstrip("/")
    inside = path.startswith("" if folder == "." else folder + "/") and not path.startswith("/")
    if not inside or ".." in path.split("/"):
        return f"is outside {folder}"
    return "" if path.endswith(".md") else "must be a .md file (not allowed)"


def read_standing_prompt(root: str, path: str) -> tuple[str, str]:
    """`(standing prompt, "")` of a role document, or `("", problem)`. Spec: CFG 8.6."""
    try:
        with open(os.path.join(root, path), encoding="utf-8-sig", newline="") as file:
            source = read_source(file.read())
    except FileNotFoundError:
        return "", "does not exist (missing file)"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"cannot be read: {error}"
    heading = next((part for part in source.headings if part.level == 2 and part.name == "standing prompt"), None)
    if heading is None:
        return "", 'has no "## Standing prompt" heading (missing standing prompt)'
    fence = next((fence for fence in source.fences if fence.first > heading.line), None)
    if fence is None:
        return "", "is missing the fenced block below its standing heading"
    return fence.text.strip(), ""


def _ids(source: Source, section: Section | None, findings: Findings, label: str, kind: str) -> tuple[str, ...]:
    """A list of ids; skills may be quoted and in any case. A repeated or malformed one is an error."""
    found: list[str] = []
    for line, entry in bullets(source, section, findings, f"{label} {kind}") if section else ():
        item = bare(entry).lower() if kind == "skill" else entry
        if not is_id("skill" if kind == "skill" else "component", item):
            findings.error(line, f"{label} {_id_problem(kind, item)}")
        elif item in found:
            findings.error(line, f'{label} duplicate {kind} "{item}"')
        else:
            found.append(item)
    return tuple(found)


def _id_problem(kind: str, item: str) -> str:
    """Capabilities have the form of component ids. Wrong letters make an invalid id, other text is no id at all."""
    if kind == "skill":
        return f'invalid skill "{shown(item)}"'
    form = "(a component id has lower-case letters, digits, `.`, `_` and `-`)"
    if not re.fullmatch(r"[\w.-]+", item):
        return f'malformed {"" if kind == "component" else kind + " or "}component entry "{shown(item)}" {form}'
    return f'invalid {kind} "{shown(item)}" {form}'


def _deliverables(source: Source, section: Section | None, findings: Findings, agent: Agent) -> tuple[str, ...]:
    found: list[str] = []
    label = f"Agent {agent.agent_id}: deliverable"
    for line, entry in bullets(source, section, findings, f"{label} path") if section else ():
        path = bare(entry)
        problem = _file_problem(path, agent, [normal_path(other) for other in found])
        if problem:
            findings.error(line, f'{label} "{shown(path)}" {problem}')
        else:
            found.append(path)
    return tuple(found)


def _proof_artifacts(
    source: Source, section: Section | None, findings: Findings, agent: Agent
) -> tuple[ProofArtifact, ...]:
    found: list[ProofArtifact] = []
    label = f"Agent {agent.agent_id}: proof artifact"
    for line, entry in bullets(source, section, findings, label) if section else ():
        artifact = _proof_artifact(line, entry, findings, label)
        if artifact is None:
            continue
        problem = _file_problem(artifact.path, agent, [normal_path(other.path) for other in found])
        if problem:
            findings.error(line, f'{label} "{shown(artifact.path)}" {problem}')
        else:
            found.append(artifact)
    return tuple(found)


def _proof_artifact(line: int, entry: str, findings: Findings, label: str) -> ProofArtifact | None:
    """One entry: a bare path, or fields `key: value` separated by `|`. None when an error was reported."""
    if "|" not in entry and not re.match(r"(path|kind|required-for)[ \t]*:", entry, re.I):
        return ProofArtifact(bare(entry))
    fields: dict[str, str] = {}
    for part in entry.split("|"):
        if not part.strip():
            continue
        match = _FIELD.match(part)
        if match is None or match[1].lower() in fields:
            problem = "is malformed" if match is None else "repeats a field"
            findings.error(line, f'{label} {problem} at "{shown(part)}"')
            return None
        fields[match[1].lower()] = unquote(match[2])
    for key in fields.keys() - {"path", "kind", "required-for"}:
        findings.warn(line, f'{label} has the unknown key "{key}"')
    if not fields.get("path"):
        findings.error(line, f"{label} entry has no path")
        return None
    levels = tuple(
        level for level in (bare(item).lower() for item in fields.get("required-for", "").split(",")) if level
    )
    for level in levels:
        if level not in MATURITY_LEVELS:
            findings.error(
                line, f'{label} "{shown(fields["path"])}": required-for names the invalid maturity level "{level}"'
            )
            return None
    return ProofArtifact(bare(fields["path"]), fields.get("kind") or None, levels)


def _file_problem(path: str, agent: Agent, earlier: list[str]) -> str:
    """Why a path cannot be promised by the agent, or an empty text. Spec: CFG 8.5, 8.7."""
    normal = normal_path(path)
    if not normal or normal.startswith("/") or re.match(r"[A-Za-z]:", normal):
        return "must be relative to the repository"
    if normal.endswith("/") or normal in (".", ".."):
        return "is a directory, a file is wanted"
    if agent.prompt_overlay and not any(covers(owned, normal) for owned in agent.owned_paths):  # no prompt: reported
        return "is not owned by the agent (no entry of its ownership list covers it)"
    return "is a duplicate" if normal in earlier else ""


def _exit_contract(source: Source, section: Section | None, findings: Findings, label: str) -> ExitContract | None:
    """The contract as written; its values are checked by validation (V18, V19)."""
    if section is None:
        return None
    keys = {"doc-impact": "doc_impact", **{key.lower(): name for name, (key, _) in EXIT_CONTRACT_FIELDS.items()}}
    values: dict[str, str] = {}
    for key, (line, raw) in pairs(source, section, findings, f"{label} exit contract").items():
        name = keys.get(key)
        if name is None:
            findings.warn(line, f'{label} exit contract has the unknown key "{key}"')
        elif name in values:
            findings.error(line, f'{label} exit contract has the duplicate key "{key}"')
        elif unquote(raw):
            values[name] = unquote(raw)
    return ExitContract(**values) if values else None


def _context7_value(raw: str) -> str:
    text = raw.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'`":
        inner = text[1:-1]
        return (inner.replace('\\"', '"') if text[0] == '"' else inner).strip()
    return text


def _with_role_capabilities(agent: Agent, roles: Roles) -> Agent:
    """Importing the design or security role prompt brings its capability. Spec: CFG 8.5."""
    gained = [
        capability
        for capability, holds in (
            ("design", is_design_agent(agent, roles)),
            ("security-review", is_security_reviewer(agent, roles)),
        )
        if holds and capability not in agent.capabilities
    ]
    return agent._replace(capabilities=(*agent.capabilities, *gained)) if gained else agent
