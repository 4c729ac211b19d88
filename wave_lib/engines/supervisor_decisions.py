"""What follows from the facts about one submitted run: the decision table, pure. Spec: SUP 9.

Used twice: by the supervisor, which acts, and by readers, which show what would be decided. The first row that applies
decides; every decision carries the row and the reason.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

LANE_BUSY = 32
CANCELLED_CODE = 130
GIVEN_UP_ROW = 18


class Act(enum.Enum):
    """What the supervisor does about a decision."""

    NOTHING = "nothing"
    LAUNCH = "launch"  # when it is the run's turn
    RELAUNCH = "relaunch"  # a launch that never began: again, costs no resume
    CANCEL = "cancel"  # end launcher and agents
    DEFER = "defer"  # somebody else holds the lane
    DRAIN = "drain"  # the launcher is over, its agents must be gone too
    RESUME = "resume"  # start the launcher again, when the pause is over
    FINISH = "finish"


class Facts(NamedTuple):
    """The facts of SUP 9.2. `launcher` is `alive`, `dead` or `unknown`; times and files are not in here."""

    status: str
    disposition: str
    recovery: str
    cancel: bool = False
    launcher: str = "dead"
    exit_code: int | None = None  # X: the launcher ended by exiting with this code
    signal: str | None = None  # X: the launcher was ended by this signal
    journal: str = "none"  # P: none, open, completed, failed, cancelled
    journal_code: int | None = None
    agents: str = "none"  # A: live, settled, lost, none
    live_agent_ids: tuple[str, ...] = ()
    canonical: str = "unknown"  # R: all, open, unknown
    inferred: bool = False  # 10.5 b holds for the last missing wave
    budget: bool = True  # B
    resume_action: str = "relaunch-from-start"
    never_launched: bool = False  # intent recorded, and nothing was started for it


class Decision(NamedTuple):
    """What a run is now, and what has to be done. `exit_code` counts for terminal decisions only."""

    row: int
    status: str
    disposition: str
    recovery: str
    resume_action: str | None
    act: Act
    because: str
    exit_code: int | None = None
    source: str | None = None  # where the outcome was read, for `launcher-status-reconciled`

    @property
    def terminal(self) -> bool:
        """Whether the run is over."""
        return self.status in ("completed", "failed")

    @property
    def needs_supervisor(self) -> bool:
        """Whether nothing more happens to the run until a supervisor acts."""
        return self.act not in (Act.NOTHING, Act.FINISH)


def decide(facts: Facts) -> Decision:
    """The first row of SUP 9.3 that applies."""
    if facts.status in ("completed", "failed"):
        return Decision(1, facts.status, facts.disposition, facts.recovery, None, Act.NOTHING, "the run is over")
    if facts.status == "pending":
        return _pending(facts)
    ended = facts.exit_code is not None or facts.signal is not None
    if facts.launcher == "alive" and not ended:
        return _alive(facts)
    if facts.launcher == "unknown" and not ended:
        text = "the launcher can be neither confirmed nor excluded"
        return Decision(6, "running", facts.disposition, "unconfirmed", "confirm-launcher", Act.NOTHING, text)
    over = facts.exit_code is not None or facts.journal in ("completed", "failed", "cancelled")
    if facts.exit_code == LANE_BUSY or (facts.exit_code is None and _final_code(facts) == LANE_BUSY):
        return Decision(7, "pending", "pending", "pending", None, Act.DEFER, "another launcher holds the lane")
    if over:
        return _over(facts)
    return _lost(facts)


def _pending(facts: Facts) -> Decision:
    if facts.cancel:
        return _cancelled(2, "cancelled before it was launched", "pending")
    return Decision(3, "pending", "pending", "pending", None, Act.LAUNCH, "waits for its turn")


def _alive(facts: Facts) -> Decision:
    if facts.cancel:
        return Decision(4, "running", "cancelling", facts.recovery, None, Act.CANCEL, "cancellation was requested")
    recovery = "resuming" if facts.recovery == "resuming" and facts.journal == "none" else "healthy"
    return Decision(5, "running", "running", recovery, None, Act.NOTHING, "the launcher runs")


def _over(facts: Facts) -> Decision:
    """Rows 8 to 11: the launcher said how it ended, by its exit or in its journal."""
    if facts.agents == "live":
        return _drain(8, "the launcher is over, its agents are not", facts)
    if facts.exit_code == 0:
        return _completed(9, "healthy", "launcher exited with 0", "launcher-status")
    if facts.exit_code is not None:
        if facts.cancel or facts.journal == "cancelled":
            return _cancelled(10, "cancelled", facts.recovery, "launcher-status")
        return _failed(10, facts.exit_code, f"launcher exited with {facts.exit_code}", "launcher-status", "healthy")
    if facts.journal == "completed":
        return _completed(11, "recovered-from-progress", "the journal says completed", "progress-journal")
    if facts.journal == "cancelled" or facts.cancel:
        return _cancelled(11, "cancelled", "recovered-from-progress", "progress-journal")
    code = _final_code(facts)
    return _failed(11, code, f"the journal says failed ({code})", "progress-journal", "recovered-from-progress")


def _lost(facts: Facts) -> Decision:
    """Rows 12 to 18: the launcher is gone and did not say how it ended."""
    if facts.cancel:
        if facts.agents == "live":
            return Decision(12, "running", "cancelling", "degraded", None, Act.CANCEL, "agents are being ended")
        return _cancelled(12, "cancelled", "degraded")
    if facts.canonical == "all":
        if facts.agents == "live":
            return _drain(13, "every wave is recorded as completed", facts)
        return _completed(13, "recovered-from-run-state", "every wave is recorded as completed", "run-state")
    if facts.never_launched:
        return Decision(
            3, "running", "launching", facts.recovery, None, Act.RELAUNCH, "the launch was announced and never begun"
        )
    reason = f"the launcher was lost{f' ({facts.signal})' if facts.signal else ''}"
    if facts.agents == "live":
        live, row = "launcher-lost-agents-running", 14
        if facts.budget:
            text = f"{reason}; agents go on"
            return Decision(14, "running", live, "degraded", "resume-and-adopt", Act.RESUME, text)
        row = 15
        text = f"{reason}; no resume is left, agents are waited for"
        return Decision(row, "running", live, "degraded", "wait-for-live-agents", Act.NOTHING, text)
    if facts.agents == "settled" and facts.inferred:
        return _completed(16, "recovered-from-runtime-facts", "status files and gates say completed", "runtime-facts")
    if facts.budget:
        return Decision(17, "running", "launcher-lost", "degraded", facts.resume_action, Act.RESUME, reason)
    return Decision(
        18,
        "failed",
        "launcher-lost-before-status",
        "failed",
        None,
        Act.FINISH,
        f"{reason}, and resuming made no progress",
    )


def _final_code(facts: Facts) -> int | None:
    if facts.journal != "failed":
        return None
    return 1 if facts.journal_code is None else facts.journal_code


def _drain(row: int, text: str, facts: Facts) -> Decision:
    ids = ", ".join(facts.live_agent_ids)
    return Decision(
        row,
        "running",
        "launcher-exited-agents-draining",
        facts.recovery,
        None,
        Act.DRAIN,
        f"{text}: {ids}" if ids else text,
    )


def _completed(row: int, recovery: str, text: str, source: str) -> Decision:
    return Decision(row, "completed", "completed", recovery, None, Act.FINISH, text, 0, source)


def _failed(row: int, code: int | None, text: str, source: str, recovery: str) -> Decision:
    return Decision(row, "failed", "failed", recovery, None, Act.FINISH, text, code, source)


def _cancelled(row: int, text: str, recovery: str, source: str | None = None) -> Decision:
    return Decision(row, "failed", "cancelled", recovery, None, Act.FINISH, text, CANCELLED_CODE, source)
