"""The decision table of a submitted run, row by row, and that nothing falls between the rows. Spec: SUP 9.3."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from wave_lib.engines.supervisor_decisions import Act, Facts, decide


def facts(**changes: Any) -> Facts:
    return Facts(status="running", disposition="running", recovery="healthy")._replace(**changes)


LOST: dict[str, Any] = {"launcher": "dead"}
ALIVE: dict[str, Any] = {"launcher": "alive"}


@pytest.mark.parametrize(
    ("given", "row", "disposition", "recovery", "act", "code"),
    [
        (facts(status="completed", disposition="completed"), 1, "completed", "healthy", Act.NOTHING, None),
        (facts(status="pending", cancel=True), 2, "cancelled", "pending", Act.FINISH, 130),
        (facts(status="pending"), 3, "pending", "pending", Act.LAUNCH, None),
        (facts(**LOST, never_launched=True), 3, "launching", "healthy", Act.RELAUNCH, None),
        (facts(**ALIVE, cancel=True), 4, "cancelling", "healthy", Act.CANCEL, None),
        (facts(**ALIVE), 5, "running", "healthy", Act.NOTHING, None),
        (facts(**ALIVE, recovery="resuming"), 5, "running", "resuming", Act.NOTHING, None),
        (facts(**ALIVE, recovery="resuming", journal="open"), 5, "running", "healthy", Act.NOTHING, None),
        (facts(launcher="unknown", agents="live"), 6, "running", "unconfirmed", Act.NOTHING, None),
        (facts(**LOST, exit_code=32), 7, "pending", "pending", Act.DEFER, None),
        (facts(**LOST, journal="failed", journal_code=32), 7, "pending", "pending", Act.DEFER, None),
        (facts(**ALIVE, exit_code=1, agents="live"), 8, "launcher-exited-agents-draining", "healthy", Act.DRAIN, None),
        (facts(**LOST, exit_code=0), 9, "completed", "healthy", Act.FINISH, 0),
        (facts(**LOST, exit_code=43), 10, "failed", "healthy", Act.FINISH, 43),
        (facts(**LOST, exit_code=143, cancel=True), 10, "cancelled", "healthy", Act.FINISH, 130),
        (facts(**LOST, journal="completed"), 11, "completed", "recovered-from-progress", Act.FINISH, 0),
        (facts(**LOST, journal="failed", journal_code=42), 11, "failed", "recovered-from-progress", Act.FINISH, 42),
        (facts(**LOST, journal="cancelled"), 11, "cancelled", "recovered-from-progress", Act.FINISH, 130),
        (facts(**LOST, cancel=True, agents="live"), 12, "cancelling", "degraded", Act.CANCEL, None),
        (facts(**LOST, cancel=True), 12, "cancelled", "degraded", Act.FINISH, 130),
        (facts(**LOST, canonical="all"), 13, "completed", "recovered-from-run-state", Act.FINISH, 0),
        (
            facts(**LOST, canonical="all", agents="live"),
            13,
            "launcher-exited-agents-draining",
            "healthy",
            Act.DRAIN,
            None,
        ),
        (facts(**LOST, agents="live"), 14, "launcher-lost-agents-running", "degraded", Act.RESUME, None),
        (
            facts(**LOST, agents="live", budget=False),
            15,
            "launcher-lost-agents-running",
            "degraded",
            Act.NOTHING,
            None,
        ),
        (
            facts(**LOST, agents="settled", inferred=True),
            16,
            "completed",
            "recovered-from-runtime-facts",
            Act.FINISH,
            0,
        ),
        (facts(**LOST, signal="SIGKILL"), 17, "launcher-lost", "degraded", Act.RESUME, None),
        (facts(**LOST, agents="lost"), 17, "launcher-lost", "degraded", Act.RESUME, None),
        (facts(**LOST, budget=False), 18, "launcher-lost-before-status", "failed", Act.FINISH, None),
    ],
)
def test_each_row(given: Facts, row: int, disposition: str, recovery: str, act: Act, code: int | None) -> None:
    decision = decide(given)
    assert (decision.row, decision.disposition, decision.recovery, decision.act, decision.exit_code) == (
        row,
        disposition,
        recovery,
        act,
        code,
    )
    assert decision.because


def test_every_combination_is_decided_and_terminal_means_finish() -> None:
    for status, launcher, code, signal, journal, agents, canonical, cancel, budget in itertools.product(
        ("pending", "running", "failed"),
        ("alive", "dead", "unknown"),
        (None, 0, 1, 32),
        (None, "SIGKILL"),
        ("none", "open", "completed", "failed", "cancelled"),
        ("none", "live", "settled", "lost"),
        ("all", "open", "unknown"),
        (False, True),
        (False, True),
    ):
        given = facts(
            status=status,
            launcher=launcher,
            exit_code=code,
            signal=signal,
            journal=journal,
            agents=agents,
            canonical=canonical,
            cancel=cancel,
            budget=budget,
        )
        decision = decide(given)
        if decision.row != 1:
            assert decision.terminal == (decision.act is Act.FINISH)
        if decision.act is Act.FINISH:
            assert given.agents != "live" or given.status == "pending"  # nothing is over while an agent may edit
            assert given.launcher == "dead" or given.exit_code is not None or given.status == "pending" or signal
        if decision.act in (Act.RESUME, Act.RELAUNCH):
            assert given.launcher == "dead" or given.signal  # never two launchers
            assert not given.cancel
