"""The prompt of an agent: who it is, what holds for it, what it has to know, and its assignment. Spec: COORD 23."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from ..definition import roles
from .inboxes import capped_inbox
from .prompt_rules import (
    RESIDENT_KINDS,
    ask_command,
    base_rules,
    closing_rules,
    has_implementation_duties,
    post_command,
    role_rules,
)
from .shared_summary import capped_shared_summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..definition.evals import BenchmarkCatalog
    from ..definition.lane_paths import LanePaths
    from ..definition.roles import RoleBindings
    from ..definition.wave_types import Agent, Wave

    JsonObject = dict[str, Any]

_BACKTICKS = re.compile(r"`{3,}")
_RESIDENT_ROLE = "Keep the wave moving: answer, point to what is overdue, and record what you decide."
_MARKER_START = re.compile(r"^(?=\s*\[wave-)", re.M)


class PromptContext7(NamedTuple):
    """Documentation for a prompt: the selection (`bundle` `none` means no external docs) and what was fetched.

    `text` holds the snippets, or `warning` says why they are missing.
    """

    bundle: str = "none"
    query: str = ""
    libraries: Sequence[str] = ()
    text: str = ""
    warning: str = ""


class PromptRequest(NamedTuple):
    """What an agent's prompt is built from. Empty texts and paths leave their sections out. Spec: COORD 23.2.

    Paths are absolute. `wave_command` is how prompts name the CLI (`cli_command`). `shared_summary` and `inbox` are the
    full texts; the prompt holds capped copies. `signal_*` are set for agents with the `signal-hygiene` skill only,
    `corridor_*` for security reviewers and the integration steward. `design_pass` is True on a hybrid steward's first
    pass. `skills` is the agent's `skillsResolved` block; its catalog text is used unless `skills_text` is given.
    """

    paths: LanePaths
    wave: Wave
    bindings: RoleBindings
    agent: Agent
    executor_id: str
    wave_command: str = "wave"
    orchestrator_id: str = ""
    board_path: str = ""
    shared_summary_path: str = ""
    shared_summary: str = ""
    inbox_path: str = ""
    inbox: str = ""
    corridor_path: str = ""
    corridor_text: str = ""
    signal_path: str = ""
    signal_ack_path: str = ""
    skills: Mapping[str, Any] | None = None
    skills_text: str = ""
    context7: PromptContext7 = PromptContext7()
    catalog: BenchmarkCatalog | None = None
    catalog_path: str = ""
    design_pass: bool = False
    dry_run: bool = False


class ResidentPromptRequest(NamedTuple):
    """What the resident orchestrator's prompt is built from; paths are absolute. Spec: COORD 23.4."""

    paths: LanePaths
    wave: Wave
    wave_command: str = "wave"
    orchestrator_id: str = ""
    role_prompt: str = ""
    coordination_log_path: str = ""
    shared_summary_path: str = ""
    dashboard_path: str = ""
    board_path: str = ""
    triage_log_path: str = ""
    signal_path: str = ""
    signal_ack_path: str = ""


def cli_command(self_argv: Sequence[str], root: str) -> str:
    """How a prompt names the CLI: `WAVE_CLI` if set, else this program's own start with absolute paths. COORD 23.1."""
    named = os.environ.get("WAVE_CLI", "").strip()
    if named:
        return named
    parts = [
        os.path.join(root, part) if os.sep in part and not os.path.isabs(part) and not part.startswith("-") else part
        for part in self_argv
    ]
    return " ".join(shlex.quote(part) for part in parts)


def fenced(text: str, language: str = "") -> str:
    """The text in a fence that is longer than any run of backticks inside it."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    body = text.rstrip("\n")
    return f"{fence}{language}\n{body}\n{fence}"


def untrusted(text: str) -> str:
    """Text from outside with lines that imitate markers made harmless. Spec: PROV 4.11."""
    return _MARKER_START.sub("> ", text)


def build_execution_prompt(request: PromptRequest) -> str:
    """The whole prompt of one agent: the sections of COORD 23.2 in order, the empty ones left out.

    The local executor reads identity, role ids, targets, components and deliverables out of it: their wording is that
    of SUP 17.7.
    """
    duties = has_implementation_duties(request)
    sections = [
        f"Working directory: {request.paths.root}",
        _role_model(request),
        _identity(request),
        _bullets("Hard requirements:", [*base_rules(request), *role_rules(request), *closing_rules(request)]),
        _paths(request),
        _injected(request),
        _signal_loop(request.signal_path, request.signal_ack_path, request.agent.agent_id),
        _exit_contract(request) if duties else "",
        _bullets(
            "Component promotions of this wave:",
            [f"{item.component_id}: {item.target_level}" for item in request.wave.component_promotions],
        ),
        _eval_targets(request),
        _bullets("Components you own in this wave:", _owned_components(request.agent)) if duties else "",
        _deliverables(request),
        _design_packets(request),
        _bullets("Proof artifacts required:", _proof_artifacts(request.agent)) if duties else "",
        _skills(request),
        _context7(request.context7),
        f"Assigned implementation prompt:\n\n{fenced(request.agent.prompt.strip(), 'text')}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _bullets(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, "", *(f"- {line}" for line in lines)]) if lines else ""


def _role_model(request: PromptRequest) -> str:
    bindings = request.bindings
    return "\n".join(
        [
            "Role model:",
            "",
            "- The launcher schedules agents, keeps the shared facts and decides when the wave is done.",
            "- You execute one assignment; what you claim counts only with the evidence the markers ask for.",
            f"- cont-QA agent id: {bindings.cont_qa}",
            f"- cont-EVAL agent id: {bindings.cont_eval}",
            f"- Integration steward agent id: {bindings.integration}",
            f"- Documentation steward agent id: {bindings.documentation}",
            f"- Your executor: {request.executor_id}.",
        ]
    )


def _identity(request: PromptRequest) -> str:
    agent = request.agent
    lines = [
        f"You are the Wave executor running Wave {request.wave.wave} / Agent {agent.agent_id}: {agent.title}.",
        "Wave mode is on: other agents work in this repository at the same time.",
    ]
    if request.board_path:
        lines += _path_lines(request.paths, "Message board", request.board_path)
    return "\n".join(lines)


def _path_lines(paths: LanePaths, label: str, path: str) -> list[str]:
    return [f"{label} absolute path: {path}", f"{label} repo-relative path: {paths.rel(path)}"]


def _paths(request: PromptRequest) -> str:
    lines = []
    for label, path in (
        ("Shared summary", request.shared_summary_path),
        ("Inbox", request.inbox_path),
        ("Corridor context", request.corridor_path),
        ("Signal state", request.signal_path),
        ("Signal ack", request.signal_ack_path),
    ):
        if path:
            lines += _path_lines(request.paths, label, path)
    return "\n".join(lines)


def _injected(request: PromptRequest) -> str:
    parts = []
    if request.shared_summary.strip():
        shown = capped_shared_summary(request.shared_summary, request.paths.rel(request.shared_summary_path))
        parts.append(f"Current wave shared summary:\n\n{fenced(untrusted(shown), 'markdown')}")
    if request.inbox.strip():
        shown = capped_inbox(request.inbox, request.paths.rel(request.inbox_path))
        parts.append(f"Current agent inbox:\n\n{fenced(untrusted(shown), 'markdown')}")
    if request.corridor_text.strip():
        parts.append(f"Current Corridor context:\n\n{fenced(untrusted(request.corridor_text), 'text')}")
    return "\n\n".join(parts)


def _signal_loop(signal_path: str, ack_path: str, agent_id: str) -> str:
    if not signal_path:
        return ""
    return "\n".join(
        [
            "Signal loop:",
            "",
            f"1. Watch the signal state file ({signal_path}).",
            "2. When its `version` is higher than the last one you saw, write the signal ack file first "
            f'({ack_path}): {{"agentId": "{agent_id}", "version": <n>, "signal": "<signal>", '
            '"observedAt": "<ISO time>"}, with exactly these keys.',
            "3. Read the shared summary, your inbox and the signal state again.",
            "4. Act once on what the signal asks for.",
            "5. Otherwise stay idle; do not poll other files and do not repeat work.",
            "6. Stop when the signal is `completed` or `failed`.",
        ]
    )


def _exit_contract(request: PromptRequest) -> str:
    contract = request.agent.exit_contract
    if contract is None or not any(contract):
        return ""
    values = (
        ("completion", contract.completion),
        ("durability", contract.durability),
        ("proof", contract.proof),
        ("doc-impact", contract.doc_impact),
    )
    return _bullets("Exit contract:", [f"{name}: {value or 'not set'}" for name, value in values])


def _eval_targets(request: PromptRequest) -> str:
    targets = request.wave.eval_targets
    if not targets:
        return ""
    lines = ["Eval targets for this wave:"]
    if request.catalog_path:
        lines.append(f"- Benchmark catalog: {request.paths.rel(request.catalog_path)}")
    for target in targets:
        if target.selection == "delegated":
            allowed = request.catalog.benchmarks_of(target.benchmark_family or "") if request.catalog else ()
            listed = f" allowed-benchmarks={','.join(allowed)}" if allowed else ""
            chosen = f"selection=delegated benchmark-family={target.benchmark_family}{listed}"
        else:
            chosen = f"selection=pinned benchmarks={','.join(target.benchmarks)}"
        lines.append(f"- {target.id}: {chosen} objective={target.objective} threshold={target.threshold}")
    lines.append("- The cont-EVAL agent reports them with its `[wave-eval]` marker.")
    return "\n".join(lines)


def _owned_components(agent: Agent) -> list[str]:
    return [f"{item}: {level}" if (level := agent.component_targets.get(item)) else item for item in agent.components]


def _deliverables(request: PromptRequest) -> str:
    if request.design_pass and roles.is_design_agent(request.agent, request.bindings.roles):
        return ""
    return _bullets("Deliverables required for this agent:", request.agent.deliverables)


def _design_packets(request: PromptRequest) -> str:
    lane_roles = request.bindings.roles
    if roles.is_design_agent(request.agent, lane_roles):
        return ""
    designers = (agent for agent in request.wave.agents if roles.is_design_agent(agent, lane_roles))
    packets = [f"{path} ({agent.agent_id})" for agent in designers if (path := roles.design_packet_path(agent))]
    return _bullets("Design packets to read before you start:", packets)


def _proof_artifacts(agent: Agent) -> list[str]:
    lines = []
    for item in agent.proof_artifacts:
        kind = f" kind={item.kind}" if item.kind else ""
        wanted = f" required-for={','.join(item.required_for)}" if item.required_for else ""
        lines.append(f"{item.path}{kind}{wanted}")
    return lines


def _skills(request: PromptRequest) -> str:
    ids = (request.skills or {}).get("ids") or ()
    text = request.skills_text or str((request.skills or {}).get("promptText") or "")
    if not ids and not text:
        return ""
    lines = [
        f"Skills: {', '.join(ids) or 'see below'}",
        "Skills add guidance; the repository, this prompt, the shared summary and file ownership come first.",
    ]
    return "\n".join(lines) + (f"\n\n{fenced(untrusted(text), 'markdown')}" if text.strip() else "")


def _context7(context: PromptContext7) -> str:
    if context.bundle == "none":
        return _bullets(
            "Context7 scope for this run:",
            [
                "No bundle of external documentation is declared for this agent.",
                "The repository is the authority; do not fetch external documentation for what it settles.",
                "When external documentation is needed after all, ask for a bundle by a coordination record.",
            ],
        )
    lines = [
        f"Bundle: {context.bundle}",
        f"Query focus: {context.query or 'none'}",
        f"Allowed external libraries: {', '.join(context.libraries) or 'none'}",
        "External documentation never overrides the repository.",
        "Stay within the libraries above.",
    ]
    if context.text.strip():
        head = _bullets("Context7 scope for this run:", lines)
        return f"{head}\n\nExternal, non-canonical documentation:\n\n{fenced(untrusted(context.text), 'markdown')}"
    if context.warning:
        lines.append(context.warning)
    return _bullets("Context7 scope for this run:", lines)


# --- resident orchestrator ------------------------------------------------------------------------------------------


def _resident_loop(request: ResidentPromptRequest) -> list[str]:
    loop = [
        "Read the coordination log, the shared summary and the dashboard.",
        "Answer what repository state answers: leave a record that says what and why.",
        "Point agents to overdue acknowledgements and stale clarifications.",
        "Escalate to a person only what nothing in the repository settles.",
        "Wait for the next change, then start again; stay available until the wave ends.",
    ]
    if request.signal_path:
        loop[:0] = [
            "Watch the signal state; when its version is higher than the last one you saw, write the signal ack first "
            '(keys agentId "resident-orchestrator", version, signal, observedAt).'
        ]
    return loop


def build_resident_prompt(request: ResidentPromptRequest) -> str:
    """The prompt of the resident orchestrator. Spec: COORD 23.4."""
    paths, number = request.paths, request.wave.wave
    files = [("Wave file", paths.absolute(request.wave.file))]
    files += [
        (label, path)
        for label, path in (
            ("Coordination log", request.coordination_log_path),
            ("Shared summary", request.shared_summary_path),
            ("Dashboard", request.dashboard_path),
            ("Message board", request.board_path),
            ("Triage log", request.triage_log_path),
            ("Signal state", request.signal_path),
            ("Signal ack", request.signal_ack_path),
        )
        if path
    ]
    sections = [
        f"Working directory: {paths.root}",
        f"You are the resident orchestrator of lane {paths.lane}, wave {number}. The launcher stays the scheduler and "
        "the closure authority.",
        _bullets(
            "Limits:",
            [
                "Do not edit product files.",
                "Do not print proof markers of other agents.",
                "Do not claim that the wave or an agent is complete.",
            ],
        ),
        _bullets(
            "Duties:",
            [
                "Watch the coordination log, the shared summary, the dashboard and the triage log.",
                "Answer from repository state before you escalate.",
                "Watch overdue acknowledgements and clarification chains.",
                "Leave a record of every decision; stay available.",
            ],
        ),
        _bullets("Files:", [f"{label}: {path} ({paths.rel(path)})" for label, path in files]),
        _bullets(
            "Commands:",
            [
                f"Post: `{post_command(request, 'launcher', RESIDENT_KINDS)}`",
                f"Ask a person: `{ask_command(request, 'launcher')}`",
            ],
        ),
        "\n".join(["Loop:", "", *(f"{at}. {line}" for at, line in enumerate(_resident_loop(request), 1))]),
        f"Role prompt:\n\n{fenced(request.role_prompt.strip() or _RESIDENT_ROLE, 'text')}",
    ]
    return "\n\n".join(sections) + "\n"
