"""What the local executor reads out of a prompt, and what it makes of it. Pure: text in, texts out.

Spec: SUP 17.7.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

_AGENT_LINE = re.compile(r"You are the Wave executor running Wave \d+ / Agent ([^:\s]+):")
_FENCE = re.compile(r"^(`{3,}|~{3,})")
_FILE_ENDING = re.compile(r"\.(?:md|mdx|js|mjs|ts|go|json|yaml|yml|sh|sql|py|txt|toml)$")
_HEADING = re.compile(r"[A-Za-z][^:]*:")  # a line that is only `Name:`
_REVIEW = re.compile(r"review|cont-?qa", re.I)
_ROLE_LINES = {
    "cont-qa": ("- cont-QA agent id: ", "A0"),
    "cont-eval": ("- cont-EVAL agent id: ", "E0"),
    "integration": ("- Integration steward agent id: ", "A8"),
    "documentation": ("- Documentation steward agent id: ", "A9"),
}
_COMMENT_ENDINGS = (".py", ".sh", ".yaml", ".yml", ".toml")
_MODULE_ENDINGS = (".js", ".mjs", ".ts")
_PLACEHOLDER = "Placeholder made by the local executor of Wave."


class Assignment(NamedTuple):
    """What a prompt asks of an agent. `role` is a key of `_ROLES` below, None when the prompt names no agent."""

    agent_id: str | None
    role: str | None
    deliverables: tuple[str, ...]
    bullets: tuple[str, ...]
    components: tuple[tuple[str, str], ...]
    eval_ids: tuple[str, ...]
    benchmark_ids: tuple[str, ...]
    implements: bool


def read_assignment(text: str) -> Assignment:
    """Everything the local executor knows about its task."""
    found = _AGENT_LINE.search(text)
    agent_id = found.group(1) if found else None
    prompt = assigned_prompt(text)
    eval_ids, benchmark_ids = _eval_targets(text)
    return Assignment(
        agent_id=agent_id,
        role=_role(text, agent_id) if agent_id else None,
        deliverables=_deliverables(text, prompt),
        bullets=tuple(line.strip() for line in prompt.splitlines() if line.strip().startswith("- "))[:12],
        components=_components(text),
        eval_ids=eval_ids,
        benchmark_ids=benchmark_ids,
        implements="[wave-proof]" in text,
    )


def assigned_prompt(text: str) -> str:
    """The fenced block after `Assigned implementation prompt:`; the whole text if there is none.

    The closing fence is matched by length, so that fences inside the block survive.
    """
    lines = text.splitlines()
    try:
        start = next(at for at, line in enumerate(lines) if line.strip() == "Assigned implementation prompt:")
        opening = next(at for at in range(start + 1, len(lines)) if lines[at].strip())
    except StopIteration:
        return text
    fence = _FENCE.match(lines[opening].strip())
    if fence is None:
        return text
    block: list[str] = []
    for line in lines[opening + 1 :]:
        end = _FENCE.match(line.strip())
        if (
            end
            and end.group(1)[0] == fence.group(1)[0]
            and len(line.strip()) >= len(fence.group(1))
            and set(line.strip()) == {fence.group(1)[0]}
        ):
            return "\n".join(block)
        block.append(line)
    return text


def _role(text: str, agent_id: str) -> str:
    """The role of the agent. An id that the prompt binds says more than a word that occurs in it."""
    for role, (start, default) in _ROLE_LINES.items():
        found = re.search(rf"(?m)^{re.escape(start)}`?([^\s`]+)", text)
        if agent_id == (found.group(1) if found else default):
            return role
    if "[wave-security]" in text:
        return "security"
    if "[wave-design]" in text or re.search(r"(?i)\bwave design\b", text):
        return "design"
    return "implementation"


def _deliverables(text: str, prompt: str) -> tuple[str, ...]:
    named = _bullets_under(text.splitlines(), lambda line: line == "Deliverables required for this agent:")
    if not named:
        lines = prompt.splitlines()
        named = _bullets_under(lines, lambda line: line.startswith("File ownership"))
        named += [item.group(1) for line in lines if (item := re.match(r"\s*\d+[.)]\s+(.*)", line))]
    return tuple(dict.fromkeys(path for path in map(_cleaned, named) if "/" in path or _FILE_ENDING.search(path)))


def _cleaned(path: str) -> str:
    return re.sub(r"[\"'`]", "", path).strip()


def _components(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    for item in _bullets_under(text.splitlines(), lambda line: line == "Components you own in this wave:"):
        name, _, level = item.partition(":")
        found.append((_cleaned(name), level.strip() or "repo-landed"))
    return tuple(found)


def _bullets_under(lines: list[str], begins: Callable[[str], bool]) -> list[str]:
    """Bullets below the first line that `begins` accepts, until a line that is only `Name:`."""
    items: list[str] = []
    inside = False
    for line in map(str.strip, lines):
        if not inside:
            inside = begins(line)
        elif _HEADING.fullmatch(line):
            break
        elif line.startswith("- "):
            items.append(line[2:].strip())
    return items


def _eval_targets(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Target and benchmark ids, lower-cased, sorted, unique."""
    targets: set[str] = set()
    benchmarks: set[str] = set()
    lines = iter(text.splitlines())
    for line in lines:
        if line.strip() == "Eval targets for this wave:":
            break
    for line in lines:
        if not line.strip():
            break
        item = re.match(r"\s*- ([^\s:]+):(.*)", line)
        if item is None or "benchmark catalog" in line.lower() or "benchmark-catalog" in line.lower():
            continue
        targets.add(item.group(1).lower())
        for listed in re.findall(r"\b(?:allowed-)?benchmarks=(.*?)(?=\s[\w-]+=|$)", item.group(2)):
            benchmarks.update(name.strip().strip("`|;").lower() for name in listed.split(",") if name.strip("`|; "))
    return tuple(sorted(targets)), tuple(sorted(benchmarks - {""}))


def deliverable_text(path: str, assignment: Assignment) -> str:
    """A placeholder that fits the type of the file."""
    if path.endswith((".md", ".mdx")):
        return _markdown(path, assignment)
    if path.endswith(".json"):
        return "{}\n"
    if path.endswith(_COMMENT_ENDINGS):
        return f"# {_PLACEHOLDER}\n"
    if path.endswith(_MODULE_ENDINGS):
        return f"// {_PLACEHOLDER}\nexport {{}};\n"
    return f"-- {_PLACEHOLDER}\n" if path.endswith(".sql") else _code_or_text(path)


def _code_or_text(path: str) -> str:
    return "package placeholder\n" if path.endswith(".go") else f"{_PLACEHOLDER}\n"


def _markdown(path: str, assignment: Assignment) -> str:
    stem = os.path.splitext(os.path.basename(path))[0]
    lines = [f"# {' '.join(re.split(r'[-_.]+', stem)).strip().capitalize()}", "", _PLACEHOLDER, ""]
    if assignment.bullets:
        lines += ["The task it stands for:", "", *assignment.bullets, ""]
    if assignment.role == "cont-qa" and _REVIEW.search(path):
        lines += ["Verdict: PASS", ""]
    return "\n".join(lines)


def markers(assignment: Assignment) -> list[str]:
    """The marker lines of this agent; none without an agent id. Never claims more than placeholders prove."""
    if assignment.role is None:
        return []
    detail = "local-executor-smoke" if assignment.deliverables else "local-executor-no-deliverables"
    role = assignment.role
    if role == "cont-qa":
        areas = "architecture=pass integration=pass durability=pass live=pass docs=pass"
        return [f"[wave-gate] {areas} detail={detail}", f"[wave-verdict] pass detail={detail}"]
    if role == "cont-eval":
        own_work = len(assignment.deliverables) > 1
        return [_eval_marker(assignment, detail), *(_implementation(assignment, detail, "none") if own_work else ())]
    if role == "integration":
        return [f"[wave-integration] state=ready-for-doc-closure claims=0 conflicts=0 blockers=0 detail={detail}"]
    if role == "security":
        return [f"[wave-security] state=clear findings=0 approvals=0 detail={detail}"]
    if role == "design":
        decisions = 2 if assignment.deliverables else 1
        line = f"[wave-design] state=ready-for-implementation decisions={decisions} assumptions=1 open_questions=0"
        delta = "owned" if assignment.deliverables else "none"
        more = _implementation(assignment, detail, delta) if assignment.implements else []
        return [f"{line} detail={detail}", *more]
    if role == "documentation":
        return [f"[wave-doc-closure] state=no-change detail={detail}"]
    return _implementation(assignment, detail, "owned" if assignment.deliverables else "none")


def _implementation(assignment: Assignment, detail: str, delta: str) -> list[str]:
    return [
        f"[wave-proof] completion=contract durability=none proof=unit state=met detail={detail}",
        f"[wave-doc-delta] state={delta} detail={detail}",
        *(
            f"[wave-component] component={name} level={level} state=met detail={detail}"
            for name, level in assignment.components
        ),
    ]


def _eval_marker(assignment: Assignment, detail: str) -> str:
    targets, benchmarks = assignment.eval_ids, assignment.benchmark_ids
    ids = f" target_ids={','.join(targets)}" if targets else ""
    ids += f" benchmark_ids={','.join(benchmarks)}" if benchmarks else ""
    counts = f"targets={len(targets)} benchmarks={len(benchmarks)} regressions=0"
    return f"[wave-eval] state=satisfied {counts}{ids} detail={detail}"
