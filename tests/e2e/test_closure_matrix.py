"""Every closure stage with every way it can end, with and without the stages after it. Real launches.

The expected codes are those of GATE 7.4-7.11; what follows from them is LAUNCH 10.3-10.7 (the sweep), 7.7 (the end),
11.3, 11.6 and 11.7 (who runs again), 11.8 (recovery). LAUNCH 21 cases 15-18, 30, 32 are cells of this table.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from launch_lab import CLEAR, GAP, NO_CHANGE, READY, SATISFIED, STEWARDS, LaunchLab

ORDER = ("E0", "A7", "A8", "A9", "A0")
PHASES = {
    "E0": "cont-eval",
    "A7": "security-review",
    "A8": "integrating",
    "A9": "docs-closure",
    "A0": "cont-qa-closure",
}
GATE = "[wave-gate] architecture=pass integration=pass durability=pass live=pass docs=pass detail=good"
PASS = "[wave-verdict] pass detail=good"

# What each steward prints; `malformed` and `no-report` also admit a proof gap, which must not soften them (GATE 7.11).
WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "E0": {
        "good": (SATISFIED,),
        "concerns": (SATISFIED.replace("satisfied", "needs-more-work"),),
        "blocked": (SATISFIED.replace("satisfied", "blocked"),),
        "malformed": (SATISFIED.replace("satisfied", "great"), GAP),
    },
    "A7": {
        "good": (CLEAR,),
        "concerns": (CLEAR.replace("state=clear findings=0", "state=concerns findings=1"),),
        "blocked": (CLEAR.replace("state=clear findings=0", "state=blocked findings=1"),),
        "malformed": (CLEAR.replace("findings=0", "findings=few"), GAP),
    },
    "A8": {
        "good": (READY,),
        "concerns": (READY.replace("ready-for-doc-closure", "needs-more-work"),),
        "blocked": (READY.replace("blockers=0", "blockers=2"),),
        "malformed": (READY.replace("conflicts=0", "conflicts="), GAP),
    },
    "A9": {
        "good": (NO_CHANGE,),
        "concerns": (NO_CHANGE.replace("no-change", "delta"),),
        "blocked": (NO_CHANGE.replace("no-change", "delta"),),
        "malformed": (NO_CHANGE.replace("no-change", "perhaps"), GAP),
    },
    "A0": {
        "good": (GATE, PASS),
        "concerns": (GATE, PASS.replace("pass", "concerns")),
        "blocked": (GATE, PASS.replace("pass", "blocked")),
        "malformed": (GATE.replace("docs=pass", "docs=perhaps"), PASS, GAP),
    },
}
# Status code of the stage, None where it passes: security concerns do, and two roles owe no report.
CODES: dict[str, dict[str, str | None]] = {
    "E0": {
        "concerns": "cont-eval-needs-more-work",
        "blocked": "cont-eval-blocked",
        "malformed": "missing-wave-eval",
        "no-report": "missing-cont-eval-report",
    },
    "A7": {
        "concerns": None,
        "blocked": "security-blocked",
        "malformed": "missing-wave-security",
        "no-report": "missing-security-report",
    },
    "A8": {
        "concerns": "integration-needs-more-work",
        "blocked": "integration-needs-more-work",
        "malformed": "missing-wave-integration",
        "no-report": None,
    },
    "A9": {
        "concerns": "doc-closure-open",
        "blocked": "doc-closure-open",
        "malformed": "missing-doc-closure",
        "no-report": None,
    },
    "A0": {
        "concerns": "cont-qa-concerns",
        "blocked": "cont-qa-blocked",
        "malformed": "missing-wave-gate",
        "no-report": "missing-cont-qa-report",
    },
}
SHARED: dict[str, str | None] = {
    "clear": None,
    "gap": "wave-proof-gap",
    "crash": "7",
    "timeout": "timeout-no-status",
    "lost": "missing-status",  # every process of the agent killed: no status, hence no envelope
}
OUTCOMES = ("clear", "gap", "concerns", "blocked", "malformed", "no-report", "lost", "crash", "timeout")
# The runner is the parent of the shim, which is the parent of the script; the runner must not see the others die.
KILL_ALL = (
    'shim=$PPID; runner=$(sed -n "s/^PPid:[[:space:]]*//p" "/proc/$shim/status")\n'
    'kill -KILL "$runner"; kill -KILL "$shim"; kill -KILL $$\n'
)


Done = subprocess.CompletedProcess  # of str
Launched = Callable[[bool, str, str], tuple[LaunchLab, Done]]


@pytest.fixture(scope="module")
def launched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """The workspace and the ended launch of a cell. All chosen cells are launched from the start, three at a time."""
    items = [item for item in request.session.items if item.module is request.module and hasattr(item, "callspec")]
    cells: dict[tuple[bool, str, str], tuple[LaunchLab, Future[Done]]] = {}
    with ThreadPoolExecutor(3) as pool:
        for item in items:
            later = item.function is test_with_every_later_stage
            agent, outcome = item.callspec.params["agent"], item.callspec.params["outcome"]
            work = workspace(tmp_path_factory.mktemp("cell"), agent, outcome, later)
            options = ("--max-retries-per-wave", "1" if later else "0")
            future = pool.submit(work.launch, *options, hurried=agent if outcome == "timeout" else "")
            cells[later, agent, outcome] = (work, future)
        yield lambda *cell: (cells[cell][0], cells[cell][1].result())
        for work, future in cells.values():
            future.cancel()
            work.close()


def workspace(root: Path, agent: str, outcome: str, later: bool) -> LaunchLab:
    """The stage with A1 before it and every stage after it, or alone: then only cont-QA, which every wave needs."""
    stewards = tuple(item for item in ORDER[ORDER.index(agent) :] if item != "A0")
    work = LaunchLab(root, stewards=stewards) if later else LaunchLab(root, workers=(), stewards=(agent,))
    work.script(agent, script(agent, outcome))
    return work


def script(agent: str, outcome: str) -> str:
    """Shell text of a steward that ends this way."""
    report = "docs/reviews/wave-$2-cont-qa.md" if agent == "A0" else f"docs/reports/{agent}-{STEWARDS.get(agent)}.md"
    text = "" if outcome == "no-report" else f'mkdir -p docs/reviews docs/reports; echo done > "{report}"\n'
    lines = WORDS[agent].get(outcome, WORDS[agent]["good"])
    if outcome == "gap" or (outcome == "no-report" and CODES[agent]["no-report"]):
        lines = (*lines, GAP)
    text += LaunchLab.echo(*lines)
    return text + {"crash": "exit 7\n", "timeout": "sleep 60\n", "lost": KILL_ALL}.get(outcome, "")


def expected_code(agent: str, outcome: str) -> str | None:
    """The failure that this outcome is, None for none."""
    return SHARED[outcome] if outcome in SHARED else CODES[agent][outcome]


def exit_code(code: str | None) -> int:
    """LAUNCH 2.5: cont-QA's own word is 42, what may heal by itself is queued and 43."""
    if code is None:
        return 0
    if code in ("timeout-no-status", "missing-status"):
        return 43
    return 42 if code.startswith("cont-qa-") else 1


def last_action(work: LaunchLab) -> Any:
    """The last control-plane word on the wave."""
    return work.events("wave_run")[-1]["action"]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("agent", ORDER)
def test_with_every_later_stage(agent: str, outcome: str, launched: Launched) -> None:
    later = ORDER[ORDER.index(agent) + 1 :]
    work, done = launched(True, agent, outcome)
    code = expected_code(agent, outcome)
    assert done.returncode == exit_code(code), done.stdout + done.stderr
    goes_on = code in (None, "wave-proof-gap")
    first = ["A1", agent, *(later if goes_on else ())]
    # The second pass relaunches the stage and, where the sweep goes on, everything after it: A1 is proven.
    assert work.ran() == first + ([] if code is None else first[1:])
    assert last_action(work) == {0: "completed", 43: "blocked"}.get(done.returncode, "failed")
    assert work.state("run-state.json")["waves"]["0"]["currentState"] == ("blocked" if code else "completed")
    plan = work.root / ".tmp/main-wave-launcher/status/relaunch-plan-wave-0.json"
    assert plan.exists() == (code is not None)
    if code is not None:
        explained(done.stdout, agent, code)
        check_plan(work.state("status/relaunch-plan-wave-0.json"), agent, later, code)


def explained(text: str, agent: str, code: str) -> None:
    """The end of the launch names the agent, the code, the evidence and what to do. Spec: issue 3, point 7."""
    lines = text.splitlines()
    at = next((place for place, line in enumerate(lines) if line.startswith(f"  {agent} [{code}]: ")), None)
    assert at is not None, text
    told = "\n".join(lines[at : at + 4])
    log = rf"\.tmp/main-wave-launcher/logs/wave-0-0-{agent.lower()}\.log:[1-9]\d*"
    assert re.search(rf"see: {log}$", told, re.MULTILINE), told
    assert "to do: " in told
    assert lines[-1].startswith("  Next: wave launch --lane main --start-wave 0 --end-wave 0")


def check_plan(plan: dict[str, Any], agent: str, later: tuple[str, ...], code: str) -> None:
    """LAUNCH 11.6, 11.7: the stage's own agents, its phase, and what a forwarded gap invalidates."""
    assert plan["selectedAgentIds"] == [agent]
    assert plan["resumeFromPhase"] == PHASES[agent]
    assert agent in plan["invalidatedAgentIds"] and "A1" not in plan["invalidatedAgentIds"]
    assert plan["reusableAgentIds"] == ["A1"]
    assert plan["reasonBuckets"]["closureGate"] is True
    gaps = [(gap["stageKey"], gap["agentId"], gap["attempt"]) for gap in plan["forwardedClosureGaps"]]
    if code == "wave-proof-gap":
        assert gaps == [(PHASES[agent], agent, 1)]
        assert set(later) <= set(plan["invalidatedAgentIds"])
    else:
        assert gaps == []


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("agent", ORDER[:-1])
def test_without_later_stages(agent: str, outcome: str, launched: Launched) -> None:
    """Nobody implements, so the wave is closure alone."""
    work, done = launched(False, agent, outcome)
    code = expected_code(agent, outcome)
    assert done.returncode == exit_code(code), done.stdout + done.stderr
    assert work.ran() == [agent, *(["A0"] if code in (None, "wave-proof-gap") else [])]
    if code is None:
        assert work.state("run-state.json")["completedWaves"] == [0]
    else:
        assert f"  - {agent}: exit={code}" in done.stderr or done.returncode == 43
        explained(done.stdout, agent, code)
