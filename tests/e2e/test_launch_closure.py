"""Closure, forwarding, human input and recovery with a real launcher. Spec: LAUNCH 10, 11, 21."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from launch_lab import CLEAR, DELTA, GAP, PROOF, READY, LaunchLab, labs

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.state.coordination_store import append_record, read_state
from wave_lib.state.feedback_store import Answer, answer_request, create_request

Make = Callable[..., LaunchLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(LaunchLab, tmp_path) as make:
        yield make


def report(agent: str, role: str, *lines: str) -> str:
    """Shell text of a steward that writes its report and prints these lines."""
    return f"mkdir -p docs/reports; echo done > docs/reports/{agent}-{role}.md\n" + LaunchLab.echo(*lines)


def test_the_stages_run_in_their_order(lab: Make) -> None:
    work = lab(stewards=("A9", "A8", "A7"))
    done = work.launch()
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["A1", "A7", "A8", "A9", "A0"]
    ends = [event["data"]["agentId"] for event in work.events("agent_run") if event["action"] == "completed"]
    assert ends == work.ran()  # closure agents are recorded like the others


def test_a_forwarded_gap_reaches_the_later_stages_and_is_closed(lab: Make) -> None:
    work = lab(stewards=("A7", "A8"))
    gap, clean = report("A7", "security", CLEAR, GAP), report("A7", "security", CLEAR)
    work.script("A7", f"if [ -e once ]; then {clean}else touch once; {gap}fi\n")
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1
    assert work.ran() == ["A1", "A7", "A8", "A0"]  # the sweep went on, and yet the wave is not closed
    assert "  - A7: exit=wave-proof-gap" in done.stderr
    paths = build_lane_paths(load_wave_config(str(work.root)))
    record = read_state(paths, 0).by_id["wave-0-closure-gap-security-review-A7-attempt-1"]
    assert (record["status"], record["blockerSeverity"]) == ("open", "closure-critical")
    assert record["targets"] == ["agent:A8", "agent:A0"]
    assert (
        "closure-gap-security-review"
        in (work.root / ".tmp/main-wave-launcher/prompts/wave-0-0-a8.prompt.md").read_text()
    )
    again = work.launch()
    assert again.returncode == 0, again.stderr + again.stdout
    assert work.ran()[4:] == ["A7", "A8", "A0"]
    assert read_state(paths, 0).by_id[record["id"]]["status"] == "resolved"
    assert "Event: closure_gap_resolved." in work.board()


def test_a_stop_ends_the_sweep_and_the_retry_starts_there(lab: Make) -> None:
    work = lab(stewards=("A8", "A9"))
    refusal = READY.replace("ready-for-doc-closure", "needs-more-work")
    work.script("A8", f"if [ -e once ]; then echo '{READY}'; else touch once; echo '{refusal}'; fi\n")
    done = work.launch()
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["A1", "A8", "A8", "A9", "A0"]


def test_open_human_input_waits_for_people(lab: Make) -> None:
    work = lab()
    paths = build_lane_paths(load_wave_config(str(work.root)))
    escalation = {"id": "e1", "kind": "human-escalation", "agentId": "A1", "summary": "Which colour?", "status": "open"}
    append_record(paths, 0, escalation)
    question = create_request(paths, 0, "A1", "Which size?")
    work.prints("A1", GAP, DELTA)
    done = work.launch()
    assert done.returncode == 43
    assert "no safe relaunch target is available" in done.stderr
    asked = next(line for line in done.stdout.splitlines() if line.startswith("  Next: wave control task act answer "))
    assert f"--lane main --wave 0 --id {question['id']} --response" in asked
    assert "Waits for a person" in done.stdout and "Which size?" in done.stdout
    assert work.ran() == ["A1"]
    assert [event["action"] for event in work.events("wave_run")] == ["started", "blocked"]
    assert work.state("run-state.json")["waves"]["0"]["lastReasonCode"] == "wave-blocked"
    assert work.state("dashboards/wave-0.json")["status"] == "blocked"
    work.prints("A1", PROOF, DELTA)
    append_record(paths, 0, {**escalation, "status": "resolved"})
    answer_request(paths, question["id"], Answer("Large"))
    assert work.launch().returncode == 0


def test_an_exhausted_rate_limit_queues_a_recovery(lab: Make) -> None:
    work = lab()
    work.script("A1", "echo 'Error: 429 Too Many Requests'; exit 1\n")
    done = work.launch("--max-retries-per-wave", "0", "--agent-rate-limit-retries", "0")
    assert done.returncode == 43
    request = next(event for event in work.events("rerun_request") if event["action"] == "requested")
    assert request["entityId"] in done.stderr
    assert request["data"]["selectedAgentIds"] == ["A1"]
    assert request["data"]["requestedBy"] == "launcher-recovery"
    blocked = work.events("wave_run")[-1]
    assert (blocked["action"], blocked["data"]["recoverable"]) == ("blocked", True)
    work.prints("A1", PROOF, DELTA)
    again = work.launch()
    assert again.returncode == 0, again.stderr
    assert work.ran() == ["A1", "A1", "A0"]
    assert work.events("rerun_request")[-1]["action"] == "applied"


def test_a_completed_wave_of_the_run_only_gets_its_books_finished(lab: Make) -> None:
    work = lab()
    run_dir = work.root / ".tmp/main-wave-launcher/supervisor/runs/run-1-abcdef01"
    (run_dir / "agents").mkdir(parents=True)
    env = {
        "WAVE_SUPERVISOR_RUN_ID": "run-1-abcdef01",
        "WAVE_SUPERVISOR_RUN_DIR": str(run_dir),
        "WAVE_SUPERVISOR_GENERATION": "1",
        "WAVE_SUPERVISOR_EPOCH": "1",
    }
    assert work.launch(env=env).returncode == 0
    (work.root / ".tmp/main-wave-launcher/run-state.json").unlink()
    again = work.launch("--resume-control-state", env={**env, "WAVE_SUPERVISOR_GENERATION": "2"})
    assert again.returncode == 0, again.stderr
    assert work.ran() == ["A1", "A0"]
    entry = work.state("run-state.json")["waves"]["0"]
    assert entry["lastEvidence"]["supervisorRunId"] == "run-1-abcdef01"
    journal = json.loads((run_dir / "launcher-progress.json").read_text())
    assert journal["finalDisposition"] == "completed"


def test_a_design_agent_hands_over_without_using_a_retry(lab: Make, tmp_path: Path) -> None:
    work = lab(stewards=())
    design = (
        "## Agent D1: Design\n\n### Role prompts\n\n- docs/agents/wave-design-role.md\n\n"
        "### Prompt\n\n```text\nDesign it.\n\n"
        "File ownership (only touch these paths):\n- docs/design/packet.md\n```\n"
    )
    wave = tmp_path / "docs/plans/waves/wave-0.md"
    wave.write_text(wave.read_text() + "\n" + design)
    work.write("docs/agents/wave-design-role.md", "# Role\n\n## Standing prompt\n\n```text\nYou design.\n```\n")
    ready = "[wave-design] state=ready-for-implementation decisions=1 assumptions=0 open_questions=0 detail=clear"
    work.script("D1", "mkdir -p docs/design; echo plan > docs/design/packet.md\n" + LaunchLab.echo(ready))
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["D1", "A1", "A0"]
    assert "Event: wave_design_ready." in work.board()


def test_a_line_that_cannot_be_read_stops_the_wave_and_is_named(lab: Make) -> None:
    work = lab()
    work.write(".tmp/main-wave-launcher/coordination/wave-0.jsonl", '{"id": broken}\n')
    done = work.launch("--max-retries-per-wave", "2")
    assert done.returncode == 43 and work.ran() == ["A1", "A0"]
    assert "said: .tmp/main-wave-launcher/coordination/wave-0.jsonl:1: not a JSON object" in done.stdout
