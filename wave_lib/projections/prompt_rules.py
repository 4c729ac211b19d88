"""What a prompt tells an agent to do: the rules for everybody, and those of its role. Spec: COORD 23.2 (base), 23.3.

Marker lines are shown as `marker_grammar.placeholder_line` gives them: the parser rejects them, so that a prompt
that is echoed into a log claims nothing.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ..definition import roles
from ..state.coordination_records import KINDS
from ..state.marker_grammar import placeholder_line

if TYPE_CHECKING:
    from .prompts import PromptRequest, ResidentPromptRequest

_POST_KINDS = tuple(kind for kind in KINDS if kind not in ("human-feedback", "integration-summary"))
RESIDENT_KINDS = (
    "request",
    "ack",
    "decision",
    "blocker",
    "clarification-request",
    "orchestrator-guidance",
    "resolved-by-policy",
    "human-escalation",
    "human-feedback",
)


# --- commands -------------------------------------------------------------------------------------------------------


def place_flags(request: PromptRequest | ResidentPromptRequest) -> str:
    """`--project … --lane … --wave …`, and `--run` or `--dry-run` where the state is not the roadmap's. COORD 23.1."""
    paths = request.paths
    flags = ["--project", paths.project_id, "--lane", paths.lane, "--wave", str(request.wave.wave)]
    if paths.run_id:
        flags += ["--run", paths.run_id]
    if paths.dry_run:
        flags.append("--dry-run")
    return " ".join(shlex.quote(flag) for flag in flags)


def post_command(request: PromptRequest | ResidentPromptRequest, author: str, kinds: tuple[str, ...]) -> str:
    """How to leave a coordination record."""
    return (
        f"{request.wave_command} coord post {place_flags(request)} --agent {author} "
        f'--kind "<{"|".join(kinds)}>" --summary "<one line>" --detail "<what is known and what is needed>" '
        "[--target agent:<id>|capability:<name>]"
    )


def act_command(request: PromptRequest, author: str) -> str:
    """How to acknowledge or close a record."""
    return f"{request.wave_command} coord act <ack|resolve> {place_flags(request)} --id <record id> --agent {author}"


def ask_command(request: PromptRequest | ResidentPromptRequest, author: str) -> str:
    """How to ask a person."""
    who = f" --orchestrator-id {shlex.quote(request.orchestrator_id)}" if request.orchestrator_id else ""
    return (
        f"{request.wave_command} feedback ask {place_flags(request)} --agent {author}{who} "
        '--question "<question>" --context "<what was tried, what is assumed meanwhile>"'
    )


# --- rules for everybody --------------------------------------------------------------------------------------------


def base_rules(request: PromptRequest) -> list[str]:
    """The hard requirements of every agent, in order."""
    author = request.agent.agent_id
    return [
        "Read and follow the agent instruction files of this repository (AGENTS.md, CLAUDE.md and their like).",
        "Read the shared summary and your inbox at the start of every turn; they are the current truth of the wave.",
        "Post a coordination record on every meaningful turn: claims, evidence, decisions, blockers, handoffs.",
        "Answer requests that are addressed to you first: acknowledge them, resolve them, or ask back.",
        "Read the message board again before major edits, a commit, a push, and your final report.",
        "Name exact files, fields and signatures when an interface changes.",
        "When the work needs a schema migration, write it; do not leave it as a note.",
        "When something is unclear, post a `clarification-request` first: routing asks the agent who owns the answer.",
        "Ask a person only when that cannot settle the question.",
        "While you wait, go on with a stated assumption, and name it in the record.",
        f"To post: `{post_command(request, author, _POST_KINDS)}`",
        f"To acknowledge or close a record: `{act_command(request, author)}`",
        f"To ask a person: `{ask_command(request, author)}`",
        "Run the tests and linters that concern your files before you report.",
        f"Report progress with `{placeholder_line('phase')}`, one of coding, validating, deploying, finalizing.",
        f"Report deployments with `{placeholder_line('deploy')}`.",
        f"Report infrastructure with `{placeholder_line('infra')}`: kinds conformance, role-drift, dependency, "
        "identity, admission, action; states checking, setup-required, setup-in-progress, conformant, drift, blocked, "
        "failed, action-required, action-approved, action-complete.",
        "Print markers as plain lines of your output, each on its own line, outside of code fences.",
    ]


def closing_rules(request: PromptRequest) -> list[str]:
    """Documentation, push and cleanup."""
    docs = ", ".join(shared_plan_docs(request))
    steward = request.bindings.documentation
    if request.agent.agent_id == steward:
        shared = f"You keep the shared plan docs true: {docs}."
    elif request.wave.agent(steward) is not None:
        shared = f"Shared plan docs ({docs}) belong to {steward}: report the change you need, do not edit them."
    else:
        shared = f"Update the shared plan docs ({docs}) when your work changes what they say."
    return [
        shared,
        "Touch only the files you own unless a coordination record settles otherwise.",
        "Commit and push only when your assignment says so.",
        "Leave no background process, temporary file or debugging output behind.",
    ]


def shared_plan_docs(request: PromptRequest) -> tuple[str, ...]:
    """The lane's shared plan docs, else the conventional ones."""
    profile = request.paths.profile
    if profile.shared_plan_docs:
        return profile.shared_plan_docs
    folder = "docs/plans" if profile.lane == "main" else f"docs/{profile.lane}/plans"
    return tuple(f"{folder}/{name}" for name in ("master-plan.md", "current-state.md", "migration.md"))


# --- rules of a role ------------------------------------------------------------------------------------------------


def has_implementation_duties(request: PromptRequest) -> bool:
    """Whether the agent delivers product work on this pass. Spec: COORD 23.3, last row."""
    if not roles.is_implementation_owning(request.agent, request.bindings):
        return False
    return not (request.design_pass and roles.is_design_agent(request.agent, request.bindings.roles))


def role_rules(request: PromptRequest) -> list[str]:
    """What the agent's roles must state. Spec: COORD 23.3."""
    agent, bindings = request.agent, request.bindings
    lines: list[str] = []
    if agent.agent_id == bindings.cont_qa:
        lines += _cont_qa()
    if agent.agent_id == bindings.cont_eval:
        lines += _cont_eval(roles.is_cont_eval_report_only(agent, bindings))
    if agent.agent_id == bindings.documentation:
        lines += _documentation()
    if agent.agent_id == bindings.integration:
        lines += _integration()
    if roles.is_security_reviewer(agent, bindings.roles):
        lines += _security()
    if roles.is_design_agent(agent, bindings.roles):
        lines += _design(request)
    if has_implementation_duties(request):
        lines += _implementation(request)
    return lines


def _cont_qa() -> list[str]:
    return [
        "Your report ends with one line `Verdict: PASS`, `Verdict: CONCERNS` or `Verdict: BLOCKED`.",
        f"Print the matching verdict marker: `{placeholder_line('verdict')}`.",
        f"Print the gate marker: `{placeholder_line('gate')}`.",
        "PASS only when the next wave may start on this ground and the documentation gate is closed.",
        "The last section of the report and the last marker count; correct yourself by writing a new one.",
    ]


def _cont_eval(report_only: bool) -> list[str]:
    scope = (
        "You only write your report; changes of product files are requests to their owners."
        if report_only
        else "You may change the files you own to reach the targets."
    )
    return [
        "You own the tuning loop: measure, change or request a change, measure again.",
        scope,
        f"Print: `{placeholder_line('eval', ('target_ids', 'benchmark_ids', 'detail'))}`; "
        "counts are those of the ids you list.",
        "A target is satisfied only by what you observed, never by expectation.",
    ]


def _documentation() -> list[str]:
    return [
        f"Print: `{placeholder_line('docClosure', ('paths', 'detail'))}`.",
        "Notes you take before the other agents are done are provisional; close only on what was delivered.",
    ]


def _integration() -> list[str]:
    return [
        f"Print: `{placeholder_line('integration')}`.",
        "Ready means: no open conflict and no open blocker, and you say why the remaining gaps may stay.",
        "Do not print `[wave-proof]`, `[wave-doc-delta]` or component markers: they are for those who implement.",
    ]


def _security() -> list[str]:
    return [
        "Your report has the sections Threat Model, Risky Surfaces, Findings, Required Approvals, Requested Fixes and "
        "Final Disposition.",
        f"Print: `{placeholder_line('security')}`; clear means no findings and no approvals.",
    ]


def _design(request: PromptRequest) -> list[str]:
    packet = roles.design_packet_path(request.agent)
    lines = [
        f"Your design packet{f' ({packet})' if packet else ''} has the sections Problem, Constraints, Decisions, "
        "Assumptions, Open Questions, Interface Impacts, Validation Plan and Implementation Handoff.",
        f"Print: `{placeholder_line('design')}`.",
    ]
    if roles.is_hybrid_design(request.agent, request.bindings.roles):
        if request.design_pass:
            lines.append("This first pass is still design-only: write the packet, touch no implementation files.")
        else:
            lines.append("This is the implementation-pass: the packet stands, now deliver the implementation you own.")
    return lines


def _implementation(request: PromptRequest) -> list[str]:
    lines = [
        "Finish with these markers; they are what the wave is judged by:",
        f"`{placeholder_line('proof')}`",
        f"`{placeholder_line('docDelta', ('paths', 'detail'))}`",
    ]
    for component in request.agent.components:
        shown = placeholder_line("component").replace("<component-id>", component)
        lines.append(f"`{shown}` for component {component}")
    lines += [
        "Incomplete work keeps the markers and says `state=gap` with the reason in the detail.",
        "Other open issues go into a coordination record; print no gap marker after your final markers.",
    ]
    return lines
