"""Why an agent's process ended badly. Pure. Spec: GATE 5."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

RECOVERABLE_REASONS = frozenset(("timeout", "max-turns", "rate-limit"))

_MAX_TURNS = re.compile(r"Reached max turns \((\d{1,9})\)|error_max_turns", re.IGNORECASE)
_RATE_LIMIT = re.compile(
    r"429 Too Many Requests|exceeded retry limit|last status: 429|rate[ _]limit|usage limit reached|overloaded_error",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"401 Unauthorized|invalid api key|authentication_error|not logged in|please run /login", re.IGNORECASE
)
# Only the runner's own lines count; a shell inside the agent may miss commands as it likes.
_NOT_FOUND = re.compile(r"^\[[^\]\n]*-wave-launcher\] (?:.*[\s:])?(\S+): command not found", re.MULTILINE)
_TIMED_OUT = re.compile(r"timed out(?: after [^.\n]*)?", re.IGNORECASE)
_STATUS_TEXTS = ("detail", "message", "error", "reason")
_CODEX_NOTE = "Wave sets no Codex turn limit; see limits in launch-preview.json for what applied"


class Termination(NamedTuple):
    """Reason (None: ended well), hint for people, and the turn limit that was observed, if any."""

    reason: str | None = None
    hint: str = ""
    observed_turn_limit: int | None = None

    @property
    def recoverable(self) -> bool:
        """Whether trying again may help without changing anything."""
        return self.reason in RECOVERABLE_REASONS

    def to_json(self) -> dict[str, Any]:
        """`{reason, hint, observedTurnLimit}`."""
        return {"reason": self.reason, "hint": self.hint, "observedTurnLimit": self.observed_turn_limit}


def classify_termination(
    exit_code: int | None,
    text: str,
    *,
    runtime: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    executor_id: str | None = None,
) -> Termination:
    """First matching row of GATE 5. `text` is the end of what the agent itself said (`collect_text`), `runtime` and
    `status` its records. An agent that exited 0 and was not ended by the launcher has no reason, whatever it wrote."""
    runtime, status = runtime or {}, status or {}
    ended = runtime.get("terminalDisposition") == "terminated" or runtime.get("exitReason") == "timeout"
    if exit_code == 0 and not ended:
        return Termination()
    if runtime.get("exitReason") == "timeout" or status.get("exitReason") == "timeout" or exit_code == 124:
        return Termination("timeout", _deadline_hint(runtime))
    return _from_text(exit_code, text, executor_id, runtime) or _from_records(exit_code, status)


def _deadline_hint(runtime: Mapping[str, Any]) -> str:
    seconds, deadline = runtime.get("timeoutSeconds"), runtime.get("deadlineAt")
    minutes = f" of {seconds / 60:g} minutes" if isinstance(seconds, (int, float)) and seconds > 0 else ""
    return f"Ended at its deadline{minutes}{f' ({deadline})' if isinstance(deadline, str) else ''}."


def _from_text(
    exit_code: int | None, text: str, executor_id: str | None, runtime: Mapping[str, Any]
) -> Termination | None:
    turns = _last(_MAX_TURNS, text)
    if turns:
        hint = f"{turns[0]}. {_CODEX_NOTE}." if executor_id == "codex" else turns[0]
        return Termination("max-turns", hint, int(turns[1]) if turns[1] else None)
    for reason, pattern in (("rate-limit", _RATE_LIMIT), ("auth", _AUTH)):
        found = _last(pattern, text)
        if found:
            return Termination(reason, _line_of(text, found.start()))
    missing = _last(_NOT_FOUND, text)
    if exit_code in (126, 127) or missing:
        name = missing[1] if missing else runtime.get("executorId") or executor_id or "the executor"
        state = "cannot be executed" if exit_code == 126 else "was not found"
        return Termination("missing-binary", f"The command {name} {state}.")
    late = _last(_TIMED_OUT, text)
    return Termination("timeout", late[0].strip()) if late else None


def _from_records(exit_code: int | None, status: Mapping[str, Any]) -> Termination:
    for key in _STATUS_TEXTS:
        value = status.get(key)
        if isinstance(value, str) and value.strip():
            return Termination("status-detail", value.strip())
    if exit_code:
        return Termination("exit-code", f"Exit code {exit_code}.")
    return Termination()


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(reversed(list(pattern.finditer(text))), None)


def _line_of(text: str, position: int) -> str:
    begin = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[begin : len(text) if end < 0 else end].strip()[:300]
