"""`wave launch` as a whole: real launcher, real runners, agents that are shell scripts. Spec: LAUNCH 21."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launch_lab import DELTA, GAP, PROOF, LaunchLab, labs
from waiting import wait_until

from wave_lib.base.processes import group_alive

Make = Callable[..., LaunchLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(LaunchLab, tmp_path) as make:
        yield make


def test_a_wave_runs_and_closes(lab: Make) -> None:
    work = lab()
    done = work.launch()
    assert done.returncode == 0, done.stderr
    assert work.ran() == ["A1", "A0"]
    assert "[state] completed waves (.tmp/main-wave-launcher/run-state.json): 0" in done.stdout
    assert work.state("run-state.json")["completedWaves"] == [0]
    assert [event["action"] for event in work.events("wave_run")] == ["started", "completed"]
    assert [event["action"] for event in work.events("attempt")] == ["running", "completed"]
    dashboard = work.state("dashboards/wave-0.json")
    shown = (dashboard["executionState"], dashboard["closureState"], dashboard["controllerState"])
    assert shown == ("settled", "passed", "idle")
    assert work.state("launcher.lock") == {}
    assert "Event: wave_complete." in work.board()
    assert (work.root / ".tmp/main-wave-launcher/traces/wave-0/attempt-1/run-metadata.json").exists()


def test_a_gap_is_explained_and_retried(lab: Make) -> None:
    work = lab()
    work.script("A1", f"if [ -e once ]; then echo '{PROOF}'; else touch once; echo '{GAP}'; fi\necho '{DELTA}'\n")
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1
    assert work.ran() == ["A1"]  # closure does not run on an unproven implementation
    assert "A1 itself reports that its proof is incomplete." in done.stdout
    assert "see: .tmp/main-wave-launcher/logs/wave-0-0-a1.log:1" in done.stdout
    assert "exit=wave-proof-gap" in done.stderr
    shown = {item["agentId"]: item["state"] for item in work.state("dashboards/wave-0.json")["agents"]}
    assert shown == {"A1": "failed", "A0": "pending"}  # it ended with code 0, and yet the wave stands because of it
    assert work.state("run-state.json")["waves"]["0"]["currentState"] == "blocked"
    again = work.launch()
    assert again.returncode == 0, again.stderr
    assert work.ran() == ["A1", "A1", "A0"]
    numbers = [event["attempt"] for event in work.events("attempt") if event["action"] == "running"]
    assert numbers == [1, 2]  # attempts are numbered on over launches


def test_only_the_failed_agent_runs_again(lab: Make) -> None:
    work = lab(workers=("A1", "A2"))
    work.script("A2", f"if [ -e once ]; then echo '{PROOF}'; echo '{DELTA}'; else touch once; exit 7; fi\n")
    done = work.launch()
    assert done.returncode == 0, done.stderr
    assert sorted(work.ran()[:2]) == ["A1", "A2"]
    assert work.ran()[2:] == ["A2", "A0"]
    assert "[retry] Wave 0 had failures for agents: A2." in done.stderr
    failed = [event for event in work.events("agent_run") if event["action"] == "failed"]
    assert [(event["data"]["agentId"], event["data"]["exitCode"]) for event in failed] == [("A2", 7)]


def test_good_markers_do_not_undo_a_failed_process(lab: Make) -> None:
    work = lab()
    work.script("A1", LaunchLab.echo(PROOF, DELTA) + "exit 7\n")
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1
    assert "  - A1: exit=7" in done.stderr


def test_cont_qa_alone_gives_its_own_code(lab: Make) -> None:
    work = lab()
    refusal = "mkdir -p docs/reviews; echo 'Verdict: CONCERNS' > docs/reviews/wave-0-cont-qa.md\n"
    marks = "[wave-gate] architecture=pass integration=pass durability=pass live=pass docs=pass detail=good"
    work.script("A0", refusal + f"echo '{marks}'\n")
    assert work.launch("--max-retries-per-wave", "0").returncode == 42


def test_waves_run_in_order_and_auto_next_knows_the_end(lab: Make) -> None:
    work = lab(waves=2)
    assert work.launch("--end-wave", "0").returncode == 0
    done = work.launch("--auto-next")
    assert done.returncode == 0, done.stderr
    assert "[auto-next] last completed wave: 0; starting from wave 1." in done.stdout
    assert work.log()[4:] == ["start A1 1", "end A1 1", "start A0 1", "end A0 1"]
    over = work.launch("--auto-next")
    assert over.returncode == 0
    assert "[auto-next] All known waves are already marked complete" in over.stdout


def test_a_deadline_is_a_recoverable_failure(lab: Make, tmp_path: Path) -> None:
    work = lab()
    text = (tmp_path / "docs/plans/waves/wave-0.md").read_text()
    budget = '### Executor\n\n- id: command\n- command.argv: ["sh", "-c", "exit 9"]\n\n### Exit contract'
    (tmp_path / "docs/plans/waves/wave-0.md").write_text(text.replace("### Exit contract", budget))
    done = work.launch("--max-retries-per-wave", "0", "--agent-rate-limit-retries", "0")
    assert done.returncode == 1
    assert "  - A1: exit=9" in done.stderr


def test_bounded_concurrency(lab: Make) -> None:
    work = lab(workers=("A1", "A2", "A3"))
    assert work.launch("--max-parallel-agents", "1").returncode == 0
    marks = [line.split()[0] for line in work.log()]
    assert marks == ["start", "end"] * 4  # nobody started before the one before had ended


def test_a_second_launcher_is_refused(lab: Make, tmp_path: Path) -> None:
    work = lab()
    os.mkfifo(tmp_path / "gate")
    work.script("A1", "read -r _ < gate\n" + LaunchLab.echo(PROOF, DELTA))
    first = work.start()
    wait_until(lambda: work.ran() == ["A1"], what="the agent to run")
    second = work.launch()
    assert second.returncode == 32
    assert f"Another launcher is active (pid {first.pid}" in second.stderr
    assert "Event: launcher_lock_blocked." in work.board()
    busy = work.launch("--reconcile-status")
    assert busy.returncode == 0
    assert f"[reconcile] launcher active (pid {first.pid}); run-state left unchanged" in busy.stdout
    (tmp_path / "gate").write_text("go\n")
    assert work.finish(first).returncode == 0


def test_term_ends_the_agents_and_frees_the_lane(lab: Make) -> None:
    work = lab()
    work.script("A1", "trap '' INT; while :; do sleep 0.05; done\n")
    child = work.start()
    wait_until(lambda: work.ran() == ["A1"], what="the agent to run")
    child.send_signal(signal.SIGTERM)
    done = work.finish(child)
    assert done.returncode == 143
    assert [event["action"] for event in work.events("attempt")] == ["running", "cancelled"]
    assert [event["action"] for event in work.events("wave_run")] == ["started", "blocked"]
    assert work.state("run-state.json")["waves"]["0"]["lastReasonCode"] == "launcher-interrupted"
    assert work.state("launcher.lock") == {}
    record = work.state("status/wave-0-0-a1.runtime.json")
    assert record["terminalDisposition"] == "terminated"
    assert not group_alive(record["pgid"])


def test_a_killed_launcher_leaves_its_agent_to_the_next(lab: Make, tmp_path: Path) -> None:
    work = lab()
    os.mkfifo(tmp_path / "gate")
    work.script("A1", "read -r _ < gate\n" + LaunchLab.echo(PROOF, DELTA))
    first = work.start()
    wait_until(lambda: work.ran() == ["A1"], what="the agent to run")
    first.send_signal(signal.SIGKILL)
    work.finish(first)
    second = work.start()
    wait_until(lambda: len(work.events("attempt")) >= 3, what="the next launcher's attempt")
    (tmp_path / "gate").write_text("go\n")
    done = work.finish(second)
    assert done.returncode == 0, done.stderr
    assert work.ran() == ["A1", "A0"]  # adopted, not launched again
    assert "A1 was adopted from an earlier launcher" in done.stdout
    actions = [(event["attempt"], event["action"]) for event in work.events("attempt")]
    assert actions == [(1, "running"), (1, "cancelled"), (2, "running"), (2, "completed")]


def supervised(work: LaunchLab, generation: int) -> dict[str, str]:
    """The environment that the supervisor's wrapper gives a launcher."""
    run_dir = work.root / ".tmp/main-wave-launcher/supervisor/runs/run-1-abcdef01"
    (run_dir / "agents").mkdir(parents=True, exist_ok=True)
    return {
        "WAVE_SUPERVISOR_RUN_ID": "run-1-abcdef01",
        "WAVE_SUPERVISOR_RUN_DIR": str(run_dir),
        "WAVE_SUPERVISOR_GENERATION": str(generation),
        "WAVE_SUPERVISOR_EPOCH": "1",
    }


def test_a_supervised_run_goes_on_in_its_attempt(lab: Make, tmp_path: Path) -> None:
    work = lab(workers=("A1", "A2"))
    os.mkfifo(tmp_path / "gate")
    work.script("A1", "read -r _ < gate\n" + LaunchLab.echo(PROOF, DELTA))
    first = work.start(env=supervised(work, 1))
    wait_until(lambda: "end A2 0" in work.log() and "A1" in work.ran(), what="A2 done and A1 running")
    status = work.root / ".tmp/main-wave-launcher/status/wave-0-0-a2.status"
    wait_until(status.exists, what="the status of A2")
    first.send_signal(signal.SIGKILL)
    work.finish(first)
    second = work.start("--resume-control-state", env=supervised(work, 2))
    wait_until(lambda: len(work.events("wave_run")) >= 2, what="the second launcher to open the wave")
    (tmp_path / "gate").write_text("go\n")
    done = work.finish(second)
    assert done.returncode == 0, done.stderr
    assert sorted(work.ran()) == ["A0", "A1", "A2"]  # nobody ran twice
    numbers = {event["attempt"] for event in work.events("attempt")}
    assert numbers == {1}  # the interrupted attempt was entered again
    run_dir = work.root / ".tmp/main-wave-launcher/supervisor/runs/run-1-abcdef01"
    journal = json.loads((run_dir / "launcher-progress.json").read_text())
    assert (journal["finalized"], journal["finalDisposition"], journal["exitCode"]) == (True, "completed", 0)
    assert journal["completedWaves"] == [0]


def test_a_shutdown_leaves_a_supervised_runs_agents_alone(lab: Make, tmp_path: Path) -> None:
    work = lab()
    os.mkfifo(tmp_path / "gate")
    work.script("A1", "read -r _ < gate\n" + LaunchLab.echo(PROOF, DELTA))
    child = work.start(env=supervised(work, 1))
    wait_until(lambda: work.ran() == ["A1"], what="the agent to run")
    child.send_signal(signal.SIGTERM)
    assert work.finish(child).returncode == -signal.SIGTERM
    run_dir = work.root / ".tmp/main-wave-launcher/supervisor/runs/run-1-abcdef01"
    assert not json.loads((run_dir / "launcher-progress.json").read_text())["finalized"]
    assert json.loads((run_dir / "agents/A1.runtime.json").read_text())["terminalDisposition"] == "running"
    again = work.start("--resume-control-state", env=supervised(work, 2))
    wait_until(lambda: len(work.events("wave_run")) >= 2, what="the next launcher")
    (tmp_path / "gate").write_text("go\n")
    assert work.finish(again).returncode == 0
    assert work.ran() == ["A1", "A0"]


def test_a_dry_run_starts_nothing(lab: Make) -> None:
    work = lab()
    done = work.launch("--dry-run")
    assert done.returncode == 0, done.stderr
    assert work.ran() == []
    state = work.root / ".tmp/main-wave-launcher"
    assert [path.name for path in state.iterdir()] == ["dry-run"]
    assert (state / "dry-run/executors/wave-0/0-a1/launch-preview.json").exists()
    assert "Build widget A1." in (state / "dry-run/prompts/wave-0-0-a1.prompt.md").read_text()
    assert not (state / "dry-run/run-state.json").exists()
    assert list((state / "dry-run/traces").iterdir()) == []
    assert "Dry run enabled, skipping live execution" in done.stdout
    assert "no profile yet" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--bogus",), 2, "[wave] Unknown argument: --bogus"),
        (("--lane",), 2, "--lane requires a value"),
        (("--start-wave", "2", "--end-wave", "1"), 2, "--end-wave must be >= --start-wave"),
        (("--start-wave", "5x"), 2, "--start-wave must be a non-negative integer, got: 5x"),
        (("--start-wave", "9"), 1, "No waves available for range start=9, end=last"),
        (("--state-file", "."), 2, "--state-file must name a file, got: ."),
        (("--dry-run", "--reconcile-status"), 2, "--dry-run and --reconcile-status exclude each other"),
        (("--lane", "nope"), 1, "nope"),
    ],
)
def test_bad_command_lines(lab: Make, arguments: tuple[str, ...], code: int, message: str) -> None:
    work = lab()
    done = work.launch(*arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    assert "Traceback" not in done.stderr


def test_what_is_wrong_in_the_range_is_told_together_and_the_rest_only_warned_about(lab: Make) -> None:
    work = lab(waves=3)
    good = (work.root / "docs/plans/waves/wave-1.md").read_text()
    work.write("docs/plans/waves/wave-1.md", good.replace("- src/A1.txt", ""))
    work.write("docs/plans/waves/wave-2.md", "## Agent A1\n")
    done = work.launch("--dry-run", "--start-wave", "0", "--end-wave", "0")
    assert done.returncode == 0
    assert "warning" in done.stderr and "wave-1.md" in done.stderr and "wave-2.md:1" in done.stderr
    done = work.launch("--dry-run")
    assert done.returncode == 1
    assert "Invalid wave 1 (docs/plans/waves/wave-1.md)" in done.stderr and "wave-2.md:1" in done.stderr


def test_a_resident_orchestrator_talks_and_is_ended_with_the_wave(lab: Make) -> None:
    work = lab()
    work.script("ORCH", "while :; do sleep 0.05; done\n")
    work.script("A1", 'until grep -q "start ORCH" agents/log; do sleep 0.02; done\n' + LaunchLab.echo(PROOF, DELTA))
    done = work.launch("--resident-orchestrator")
    assert done.returncode == 0, done.stderr
    assert sorted(work.ran()) == ["A0", "A1", "ORCH"]
    assert "Event: resident_orchestrator_start." in work.board()
    record = work.state("status/wave-0-resident-orchestrator.runtime.json")
    assert record["terminalDisposition"] == "terminated"
    assert not group_alive(record["pgid"])
    prompt = (work.root / ".tmp/main-wave-launcher/prompts/wave-0-resident-orchestrator.prompt.md").read_text()
    assert "You watch this wave" in prompt


def test_terminal_entries_come_and_go(lab: Make, tmp_path: Path) -> None:
    work = lab()
    work.write(".vscode/terminals.json", '{\n  // mine\n  "terminals": [{"name": "own"},],\n}\n')
    work.script("A1", "cp .vscode/terminals.json seen.json\n" + LaunchLab.echo(PROOF, DELTA))
    argv = [sys.executable, str(Path(__file__).resolve().parents[2] / "wave.py"), "launch", "--lane", "main"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    seen = [item["name"] for item in json.loads((tmp_path / "seen.json").read_text())["terminals"]]
    assert seen[:1] == ["own"]
    assert "default-main-wave0-0-a1" in seen and "Current Wave Dashboard" in seen
    left = [item["name"] for item in json.loads((tmp_path / ".vscode/terminals.json").read_text())["terminals"]]
    assert left == ["own"]
