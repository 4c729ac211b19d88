"""What follows a closure that did not close: later attempts, lost caches, and the same judgement from the trace.

Spec: LAUNCH 10.6, 11.6, 12, 17, 18, 21 (cases 28-31, 33, 35, 50, 52); DESIGN 3 (canonical state only).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_lab import CLEAR, DELTA, GAP, NO_CHANGE, PROOF, READY, ROOT, LaunchLab

from wave_lib.commands import control_cli
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.state_tree import STATE, STATE_TREE
from wave_lib.engines.gate_engine import evaluate_gates
from wave_lib.runtime import fact_collection
from wave_lib.runtime.derived_state import preview_derived_state
from wave_lib.runtime.replay import diff_paths, replay_trace_bundle
from wave_lib.runtime.wave_scene import derived_context, derived_facts, open_wave, reading_context
from wave_lib.state.coordination_store import read_state
from wave_lib.state.retry_state import request_rerun

Make = Callable[..., LaunchLab]
REPORTS = {"A7": "security", "A8": "integration", "A9": "documentation"}
WORDS = {"A7": CLEAR, "A8": READY, "A9": NO_CHANGE}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    made: list[LaunchLab] = []

    def make(name: str = "ws", **options: Any) -> LaunchLab:
        made.append(LaunchLab(tmp_path / name, **{"stewards": ("A7", "A8", "A9"), **options}))
        return made[-1]

    yield make
    for item in made:
        item.close()


def steward(agent: str, *lines: str) -> str:
    """Shell text of a steward with a report that says this."""
    return f"mkdir -p docs/reports; echo done > docs/reports/{agent}-{REPORTS[agent]}.md\n" + LaunchLab.echo(*lines)


def gaps_first(work: LaunchLab, agent: str, times: int) -> None:
    """The steward reports a proof gap in its first runs, then none."""
    count = f"n=$(cat agents/{agent}.count 2>/dev/null || echo 0); echo $((n + 1)) > agents/{agent}.count\n"
    gap, clean = steward(agent, WORDS[agent], GAP), steward(agent, WORDS[agent])
    work.script(agent, f"{count}if [ $n -lt {times} ]; then\n{gap}else\n{clean}fi\n")


def paths_of(work: LaunchLab) -> LanePaths:
    return build_lane_paths(load_wave_config(str(work.root)))


# --- attempts after a forwarded gap ---------------------------------------------------------------------------------


def test_two_more_attempts_run_what_the_gap_invalidated_and_nothing_else(lab: Make) -> None:
    """LAUNCH 21 cases 30, 31, with the gap reported twice."""
    work = lab(workers=("A1", "A2"))
    gaps_first(work, "A8", 2)
    done = work.launch("--max-retries-per-wave", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    later = ["A8", "A9", "A0"]
    assert sorted(work.ran()[:2]) == ["A1", "A2"]
    assert work.ran()[2:] == ["A7", *later, *later, *later]  # neither A1, A2 nor the clean review runs again
    state = read_state(paths_of(work), 0)
    records = [record for record in state.latest if "closure-gap" in record["id"]]
    assert [(record["id"][-len("A8-attempt-1") :], record["status"]) for record in records] == [
        ("A8-attempt-1", "resolved"),
        ("A8-attempt-2", "resolved"),
    ]
    assert work.board().count("Event: closure_gap_forwarded.") == 2


def test_a_second_stage_may_forward_after_the_first_is_clean(lab: Make) -> None:
    work = lab()
    gaps_first(work, "A7", 1)
    gaps_first(work, "A8", 2)  # A8 gaps beside A7, and once more when A7 is clean
    done = work.launch("--max-retries-per-wave", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["A1", "A7", "A8", "A9", "A0", "A7", "A8", "A9", "A0", "A8", "A9", "A0"]


def test_gaps_of_two_stages_do_not_keep_each_other_open(lab: Make) -> None:
    work = lab()
    gaps_first(work, "A8", 1)
    gaps_first(work, "A9", 2)
    done = work.launch("--max-retries-per-wave", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["A1", "A7", "A8", "A9", "A0", "A8", "A9", "A0", "A9", "A0"]


def test_a_gap_is_kept_beside_the_stop_after_it(lab: Make) -> None:
    """LAUNCH 21 case 33: failures = [A8 gap, A9 stop], A0 not launched."""
    work = lab()
    work.script("A8", steward("A8", READY, GAP))
    work.script("A9", steward("A9", NO_CHANGE.replace("no-change", "delta")))
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1
    assert work.ran() == ["A1", "A7", "A8", "A9"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("  - ")]
    assert [line.split(",")[0] for line in lines] == ["  - A8: exit=wave-proof-gap", "  - A9: exit=doc-closure-open"]


def test_later_launches_keep_the_proof_of_the_implementation_only(lab: Make) -> None:
    work = lab()
    gaps_first(work, "A8", 2)
    assert work.launch("--max-retries-per-wave", "0").returncode == 1
    fresh = work.launch("--max-retries-per-wave", "0")  # no plan: closure runs anew, A1 is reused
    assert fresh.returncode == 1
    assert work.ran()[5:] == ["A7", "A8", "A9", "A0"]
    assert "[wave 0] reused results: A1" in fresh.stdout
    assert work.launch("--max-retries-per-wave", "0").returncode == 0
    assert read_state(paths_of(work), 0).by_id["wave-0-closure-gap-integration-A8-attempt-1"]["status"] == "resolved"
    envelopes = paths_of(work).results_dir
    assert sorted(os.listdir(os.path.join(envelopes, "wave-0"))) == ["attempt-1", "attempt-2", "attempt-3"]


def test_a_documentation_delta_is_repaired_with_integration_as_it_is(lab: Make) -> None:
    """LAUNCH 21 case 29."""
    work = lab()
    delta, clean = steward("A9", NO_CHANGE.replace("no-change", "delta")), steward("A9", NO_CHANGE)
    work.script("A9", f"if [ -e once ]; then\n{clean}else\ntouch once\n{delta}fi\n")
    done = work.launch("--max-retries-per-wave", "1")
    assert done.returncode == 0, done.stderr
    assert work.ran() == ["A1", "A7", "A8", "A9", "A9", "A0"]


def test_a_crashed_steward_runs_again_before_the_stages_after_it(lab: Make) -> None:
    """A steward that printed its marker and then failed has proven nothing (LAUNCH 10.2, 21 cases 15, 16)."""
    work = lab()
    work.script("A8", f"{steward('A8', READY)}[ -e once ] || {{ touch once; exit 7; }}\n")
    done = work.launch("--max-retries-per-wave", "1")
    assert done.returncode == 0, done.stderr
    assert work.ran() == ["A1", "A7", "A8", "A8", "A9", "A0"]


@pytest.mark.parametrize(
    "phase, ran",
    [
        ("integrating", ["A8", "A9", "A0"]),
        ("docs-closure", ["A9", "A0"]),
        ("cont-qa-closure", ["A0"]),
        ("security-review", ["A7", "A8", "A9", "A0"]),
        ("implementation", ["A1", "A7", "A8", "A9", "A0"]),
    ],
)
def test_a_rerun_by_phase_runs_all_later_stages(lab: Make, phase: str, ran: list[str]) -> None:
    """LAUNCH 10.2: all later stages run; 12.2: `applyOnce`."""
    work = lab()
    assert work.launch().returncode == 0
    request_rerun(paths_of(work), 0, {"resumeCursor": phase})
    again = work.launch()
    assert again.returncode == 0, again.stderr
    assert work.ran()[5:] == ran
    assert work.events("rerun_request")[-1]["action"] == "applied"


def test_a_request_that_stays_is_used_by_every_launch(lab: Make) -> None:
    """LAUNCH 12.2 `applyOnce` false, `invalidateComponentIds`, and case 43: a reusable agent runs again."""
    work = lab(workers=("A1", "A2"), stewards=())
    assert work.launch().returncode == 0
    request_rerun(paths_of(work), 0, {"selectedAgentIds": ["A2"], "applyOnce": False})
    for _ in range(2):
        assert work.launch().returncode == 0
    assert work.ran()[3:] == ["A2", "A0", "A2", "A0"]
    assert [event["action"] for event in work.events("rerun_request")] == ["requested"]


# --- caches and projections decide nothing --------------------------------------------------------------------------


def delete_caches(paths: LanePaths) -> list[str]:
    """Delete every file of the classes C and P in the lane's state; the names of the entries that were there."""
    found = []
    for entry in STATE_TREE:
        if entry.kind not in ("C", "P") or entry.base != STATE:
            continue
        pattern = entry.template
        for name in ("wave", "attempt", "slug", "agent_id", "digest"):
            pattern = pattern.replace("{" + name + "}", "*")
        for path in sorted(Path(paths.state_dir).glob(pattern)):
            found.append(entry.name)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return found


# When something was made; and how often a signal changed, which only its file knows.
VOLATILE = ("at", "now", "version", "pendingPersist")


def without_times(value: Any) -> Any:
    """The value without what only tells when it was made."""
    if isinstance(value, dict):
        return {
            key: without_times(item)
            for key, item in value.items()
            if key not in VOLATILE and not key.endswith(("AgeMs", "At"))
        }
    return [without_times(item) for item in value] if isinstance(value, list) else value


def decided(work: LaunchLab, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Gates and status of the wave as canonical state has them now."""
    paths = paths_of(work)
    scene = open_wave(paths, 0)
    ctx = reading_context(scene)
    ctx.derived = preview_derived_state(derived_context(scene), derived_facts(ctx))
    gates = evaluate_gates(fact_collection.collect_wave_facts(ctx)).to_json()
    capsys.readouterr()
    assert control_cli.run(["status", "--lane", "main", "--wave", "0", "--json"], str(work.root)) == 0
    return {"gates": gates, "status": without_times(json.loads(capsys.readouterr().out))}


@pytest.mark.parametrize("blocked", [False, True])
def test_deleted_caches_and_projections_change_no_decision(
    lab: Make, blocked: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    works = [lab(name) for name in ("kept", "deleted")]
    for work in works:
        if blocked:
            gaps_first(work, "A8", 1)
        assert work.launch("--max-retries-per-wave", "0").returncode == (1 if blocked else 0)
    kept, deleted = works
    before = decided(deleted, capsys)
    assert before["gates"]["overall"]["ok"] is not blocked
    gone = set(delete_caches(paths_of(deleted)))
    assert {"ledger", "reducer_snapshot", "summary_file", "inbox", "dashboard_wave", "trace_dir", "prompt_file"} <= gone
    after = decided(deleted, capsys)
    assert diff_paths(before, after) == []
    # And the next launch does the same work in both.
    ends = [work.launch("--resume-control-state") for work in works]
    assert [end.returncode for end in ends] == [0, 0], ends[1].stderr
    assert deleted.ran() == kept.ran()
    assert [event["action"] for event in deleted.events("wave_run")] == [e["action"] for e in kept.events("wave_run")]


# --- the trace tells the same -----------------------------------------------------------------------------------------


def bundles(work: LaunchLab) -> list[str]:
    """The wave's bundles, oldest first."""
    folder = paths_of(work).trace_dir(0, 1)
    return sorted(str(path) for path in Path(folder).parent.iterdir())


def replays_alike(work: LaunchLab, *overall: str) -> None:
    """Every bundle gives the recorded decisions, away from the workspace too."""
    found = bundles(work)
    elsewhere = work.root.parent / "elsewhere"
    copies = [shutil.copytree(path, elsewhere / os.path.basename(path)) for path in found]
    shutil.rmtree(work.root)
    codes = []
    for copy in copies:
        result = replay_trace_bundle(str(copy))
        assert result["validation"]["errors"] == []
        assert result["comparison"]["gateSnapshot"] == {"matches": True, "diffPaths": []}
        assert result["comparison"]["quality"] == {"matches": True, "diffPaths": []}
        codes.append(result["gateSnapshot"]["overall"]["statusCode"])
    assert codes == list(overall)


def test_replay_of_a_completed_wave(lab: Make) -> None:
    work = lab()
    assert work.launch().returncode == 0
    replays_alike(work, "pass")


def test_replay_of_forwarded_gaps_until_the_wave_closes(lab: Make) -> None:
    work = lab()
    gaps_first(work, "A8", 2)
    assert work.launch("--max-retries-per-wave", "2").returncode == 0
    replays_alike(work, "blocker-open", "blocker-open", "pass")


@pytest.mark.parametrize(
    "agent, text, code",
    [
        ("A1", LaunchLab.echo(GAP, DELTA), "wave-proof-gap"),
        ("A1", LaunchLab.echo(PROOF, DELTA) + "exit 7\n", "nonzero-exit"),
        ("A7", steward("A7", CLEAR.replace("state=clear findings=0", "state=blocked findings=2")), "security-blocked"),
        ("A8", steward("A8", READY) + "exit 9\n", "nonzero-exit"),
        ("A9", steward("A9", "nothing to say"), "missing-doc-closure-empty-run"),
    ],
)
def test_replay_of_a_blocked_wave(lab: Make, agent: str, text: str, code: str) -> None:
    work = lab()
    work.script(agent, text)
    assert work.launch("--max-retries-per-wave", "0").returncode == 1
    replays_alike(work, code)


def test_replay_of_an_auto_closed_wave(lab: Make) -> None:
    """LAUNCH 21 case 35: nobody but A1 is launched, and the bundle knows why."""
    switches = ("allowInferredIntegration", "allowAutoDocNoChange", "allowSkipContQaInBootstrap")
    off = ("DocumentationSteward", "IntegrationSteward", "ComponentPromotions", "AgentComponents")
    validation = {
        "requiredPromptReferences": [],
        **{f"require{name}FromWave": None for name in off},
        "autoClosure": {name: True for name in switches},
        "closureModeThresholds": {"bootstrap": 0, "standard": 4, "strict": 10},
        "gateModeThresholds": {"bootstrap": 0, "standard": 4, "strict": 10},
    }
    work = lab(stewards=("A8", "A9"), validation=validation)
    done = work.launch()
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["A1"]
    argv = [sys.executable, str(ROOT / "wave.py"), "launch", "--reconcile-status"]
    kept = subprocess.run(argv, cwd=work.root, capture_output=True, text=True, check=True)
    assert "[reconcile] completed waves now: 0" in kept.stdout
    assert work.state("run-state.json")["completedWaves"] == [0]
    replays_alike(work, "pass")


@pytest.mark.parametrize(
    "name, error",
    [("ledger.json", "ledger"), ("results/A8.json", "A8"), ("summaries/0-a1.summary.json", "A1")],
)
def test_a_changed_bundle_is_reported(lab: Make, name: str, error: str) -> None:
    """LAUNCH 21 case 51."""
    work = lab()
    assert work.launch().returncode == 0
    path = Path(bundles(work)[0]) / name
    path.write_text(path.read_text().replace("completed", "completee").replace("met", "mat") + " ")
    result = replay_trace_bundle(bundles(work)[0])
    assert result["ok"] is False
    assert any(error in line for line in result["validation"]["errors"]), result["validation"]


def test_a_bundle_with_changed_decisions_does_not_match(lab: Make) -> None:
    """A forger who also mends the hashes still cannot make the gates say what was stored."""
    import hashlib

    work = lab()
    assert work.launch().returncode == 0
    folder = Path(bundles(work)[0])
    summary = folder / "summaries/0-a8.summary.json"
    document = json.loads(summary.read_text())
    document["integration"]["state"] = "needs-more-work"
    summary.write_text(json.dumps(document))
    metadata = json.loads((folder / "run-metadata.json").read_text())
    metadata["artifacts"]["agents"]["A8"]["summary"]["sha256"] = hashlib.sha256(summary.read_bytes()).hexdigest()
    (folder / "run-metadata.json").write_text(json.dumps(metadata))
    result = replay_trace_bundle(str(folder))
    assert result["validation"]["ok"] and not result["matchesStoredGateSnapshot"]
    assert any(path.startswith("integration") for path in result["comparison"]["gateSnapshot"]["diffPaths"])
