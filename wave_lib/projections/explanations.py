"""Why a wave is not closed, in plain words: which gate, on what evidence, and the next useful command.

Everything here is text made from a gate snapshot and a list of failures; nothing is read and nothing decided.
Used at the end of a blocked launch.

Spec: LAUNCH 7.7 (the failures), GATE 8.5 (the snapshot), GATE 16 (the codes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines.gate_results import GATE_LABELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Hint(NamedTuple):
    """One family of status codes: what it means for agent `{who}`, what helps, and the marker that shows it."""

    codes: tuple[str, ...]
    meaning: str
    remedy: str
    marker: str = ""


# A code that ends in `*` stands for every code with that beginning; the first row that fits is used.
HINTS: tuple[Hint, ...] = (
    Hint(
        (
            "missing-wave-proof",
            "missing-doc-delta",
            "missing-wave-component",
            "missing-wave-eval",
            "missing-wave-security",
            "missing-wave-design",
            "missing-wave-integration",
            "missing-wave-gate",
            "missing-doc-closure*",
        ),
        "{who} ended without printing the marker line that this role owes.",
        "read its log, then launch again; `wave signal --help` prints the exact line to the agent",
    ),
    Hint(
        ("invalid-wave-*", "invalid-doc-delta-format"),
        "{who} printed a marker line that cannot be read.",
        "compare the line with the form that `wave signal` prints, then launch again",
    ),
    Hint(
        ("wave-proof-gap",),
        "{who} itself reports that its proof is incomplete.",
        "close the gap it names, then launch again",
        "wave-proof",
    ),
    Hint(
        ("completion-gap", "durability-gap", "proof-level-gap"),
        "{who} proved less than its exit contract promises.",
        "raise the proof, or lower the contract in the wave file",
        "wave-proof",
    ),
    Hint(
        ("doc-impact-gap",),
        "{who} documented less than its exit contract promises.",
        "write the missing documentation, or lower `doc-impact` in the wave file",
        "wave-doc-delta",
    ),
    Hint(
        ("component-level-mismatch", "component-gap"),
        "{who} did not bring its component to the promised level.",
        "finish the component, or change the promotion in the wave file",
        "wave-component",
    ),
    Hint(
        ("missing-deliverable*", "missing-proof-artifact*"),
        "a file that {who} must deliver is not there.",
        "let {who} run again, or correct the path in the wave file",
    ),
    Hint(("nonzero-exit",), "{who}'s process failed, whatever it printed.", "read the end of its log"),
    Hint(
        ("shared-component-sibling-pending",),
        "{who} still owes its share of a component that others finished.",
        "launch again: only the owners that are waited for run",
    ),
    Hint(
        ("missing-component-promotions", "component-promotion-gap"),
        "a promoted component has no sufficient proof yet.",
        "finish the component, or change the promotion in the wave file",
    ),
    Hint(
        ("awaiting-adjudication",),
        "a marker of {who} was unreadable and could not be recovered for certain.",
        "see `wave control adjudication get`, then have the agent print it again",
    ),
    Hint(
        ("timeout-no-status", "timed_out"),
        "{who} did not finish within its time limit.",
        "raise --timeout-minutes or the agent's budget, or make its task smaller",
    ),
    Hint(
        ("missing-status", "runtime-failed-before-status", "orphaned"),
        "{who}'s process was lost before it could say how it ended.",
        "launch again: only {who} runs",
    ),
    Hint(
        ("human-feedback-open",),
        "somebody has to answer a question.",
        "`wave feedback list --pending`, then `wave feedback respond --id <id> --response <text>`",
    ),
    Hint(
        ("clarification-*",),
        "a request for clarification is open.",
        "`wave control status` shows it; answer or resolve it",
    ),
    Hint(("helper-assignment-*",), "a request for help is open.", "`wave control status` shows who is asked for what"),
    Hint(("dependency-*",), "a required dependency on another lane is open.", "`wave dep show` lists it"),
    Hint(("blocker-open",), "a blocking record is open.", "`wave control status` shows it; resolve it"),
    Hint(
        ("coordination-log-corrupt",),
        "a line of a coordination log cannot be read, so nothing can be concluded from it.",
        "repair or remove the line that the detail names",
    ),
    Hint(
        ("corridor-*",),
        "the Corridor security evidence is missing or says no.",
        "see the artifact under security/, fix the findings or the provider's configuration",
    ),
    Hint(
        ("security-blocked", "invalid-security-clear-state"),
        "the security reviewer refuses.",
        "resolve the findings in its report",
        "wave-security",
    ),
    Hint(
        ("missing-security-report", "missing-cont-qa-report", "missing-cont-eval-report", "missing-design-packet"),
        "the report that {who} must write is not there.",
        "let {who} run again",
    ),
    Hint(
        ("integration-*", "missing-integration*"),
        "the parts do not fit together yet.",
        "resolve what the integration summary lists",
        "wave-integration",
    ),
    Hint(
        ("doc-closure-open",),
        "the documentation steward still has open work.",
        "finish it, then launch again",
        "wave-doc-closure",
    ),
    Hint(
        ("component-current-level-stale", "component-matrix-invalid", "unknown-component"),
        "the component matrix does not say what the wave promotes.",
        "update the matrix, then launch again",
    ),
    Hint(
        ("cont-qa-*", "missing-cont-qa*", "gate-*"),
        "cont-QA does not let the wave pass.",
        "read its report and resolve what it names",
        "wave-gate",
    ),
    Hint(
        ("cont-eval-*", "missing-cont-eval*"),
        "the evaluation does not meet its targets.",
        "read the evaluation report",
        "wave-eval",
    ),
    Hint(("design-*",), "the design packet is not ready.", "answer what the packet leaves open", "wave-design"),
    Hint(
        ("infra-*", "deploy-failed"),
        "the infrastructure or a deployment is not in order.",
        "repair it, then launch again",
    ),
    Hint(
        ("retry-fallback-blocked",),
        "neither the executor nor one of its fallbacks can be used.",
        "install the command, or name another executor with --executor",
    ),
    Hint(
        ("credential-lease-*",), "a credential that {who} needs could not be leased.", "check the Wave Control provider"
    ),
    Hint(
        ("missing-closure-run",),
        "a closure stage needs an agent that the wave does not declare.",
        "add the agent to the wave file",
    ),
    Hint(
        ("missing-result-envelope", "invalid-result-envelope", "missing-summary"),
        "there is no usable result of {who} for this attempt.",
        "let {who} run",
    ),
)


def hint_for(status_code: str) -> Hint | None:
    """The row for a status code, None for an unknown one. An all-digit code is an exit code."""
    for hint in HINTS:
        for code in hint.codes:
            if code == status_code or (code.endswith("*") and status_code.startswith(code[:-1])):
                return hint
    if status_code.isdigit():
        return Hint((status_code,), f"{{who}}'s process ended with exit code {status_code}.", "read the end of its log")
    return None


def explain(
    wave: int,
    snapshot: Mapping[str, Any] | None,
    failures: Sequence[Mapping[str, Any]],
    *,
    evidence: Mapping[tuple[str, str], str] | None = None,
    next_command: str = "",
) -> list[str]:
    """Lines that say why wave `wave` is not closed.

    `snapshot`: gate snapshot in JSON form or None; `failures`: `{agentId, statusCode, detail, logPath}`; `evidence`:
    (agent id or `the wave`, status code) -> the file, with its line where known, that shows it; `next_command`: what to
    type next.
    """
    overall = dict((snapshot or {}).get("overall") or {})
    shown = list(failures) or ([overall] if overall and not overall.get("ok") else [])
    gate = str(overall.get("gate") or "")
    head = f"Wave {wave} is not closed"
    if gate in GATE_LABELS and not overall.get("ok"):
        head += f"; what stops it is: {GATE_LABELS[gate]}"
    lines = [head + "."]
    for failure in shown:
        lines += _explain_failure(failure, evidence or {})
    if next_command:
        lines.append(f"  Next: {next_command}")
    return lines


def _explain_failure(failure: Mapping[str, Any], evidence: Mapping[tuple[str, str], str]) -> list[str]:
    code = str(failure.get("statusCode") or "unknown")
    who = str(failure.get("agentId") or "the wave")
    hint = hint_for(code)
    meaning = hint.meaning.format(who=who) if hint else f"{who} failed."
    lines = [f"  {who} [{code}]: {meaning[0].upper()}{meaning[1:]}"]
    detail = " ".join(str(failure.get("detail") or "").split())
    if detail:
        lines.append(f"    said: {detail[:400]}")
    where = evidence.get((who, code))
    if where:
        lines.append(f"    see: {where}")
    if hint:
        lines.append(f"    to do: {hint.remedy.format(who=who)}")
    return lines
