"""The test cases of LAUNCH 21 that have no home elsewhere; each test names its case.

Elsewhere: 1-5, 7, 8, 12, 14, 24, 40, 54-56 `test_launch_waves`, `test_launch_closure`, `test_launch_signals`;
13 `test_launcher_lock`; 15-18, 30, 32 `test_closure_matrix`; 19, 20 `test_agent_sessions`; 28 `test_launch_waves`;
29, 31, 33, 35, 43, 50-52 `test_closure_retry`; 34, 60 `test_providers_in_waves`; 39, 45, 48, 49 `tests/engines`;
44 `test_retry_cli`; 53 `test_replay`; 57-59 `test_autonomous_cli`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launch_lab import DELTA, GAP, PROOF, LaunchLab, labs

from wave_lib.definition.components import MATURITY_LEVELS
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.state.retry_state import request_rerun

Make = Callable[..., LaunchLab]
STATE = ".tmp/main-wave-launcher"
READY = "[wave-design] state=ready-for-implementation decisions=1 assumptions=0 open_questions=0 detail=clear"
RUN_ID = "run-1-abcdef01"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(LaunchLab, tmp_path) as make:
        yield make


def edit_wave(work: LaunchLab, old: str, new: str) -> None:
    """Change the wave file; the old text must be there."""
    path = work.root / "docs/plans/waves/wave-0.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def supervised(work: LaunchLab) -> dict[str, str]:
    """The environment of a launcher that a supervisor started."""
    run_dir = work.root / STATE / "supervisor/runs" / RUN_ID
    (run_dir / "agents").mkdir(parents=True)
    return {
        "WAVE_SUPERVISOR_RUN_ID": RUN_ID,
        "WAVE_SUPERVISOR_RUN_DIR": str(run_dir),
        "WAVE_SUPERVISOR_GENERATION": "1",
        "WAVE_SUPERVISOR_EPOCH": "1",
    }


def test_06_nothing_left_to_do_finalises_the_journal(lab: Make) -> None:
    work = lab()
    assert work.launch().returncode == 0
    done = work.launch("--auto-next", env=supervised(work))
    assert done.returncode == 0
    assert "[auto-next] All known waves are already marked complete" in done.stdout
    journal = work.state(f"supervisor/runs/{RUN_ID}/launcher-progress.json")
    assert (journal["finalized"], journal["finalDisposition"], journal["exitCode"]) == (True, "completed", 0)


def test_09_a_dry_run_leaves_no_trace_and_no_telemetry(lab: Make) -> None:
    work = lab(waveControl={"endpoint": "http://127.0.0.1:9/api", "reportMode": "full-artifact-upload"})
    for flags in ((), ("--no-telemetry",)):
        assert work.launch("--dry-run", *flags).returncode == 0
    files = [str(path.relative_to(work.root)) for path in work.root.glob(".tmp/**/*") if path.is_file()]
    assert not [path for path in files if "telemetry" in path or "/traces/" in path]
    assert any("dry-run/executors/wave-0/0-a1/launch-preview.json" in path for path in files)


def test_10_a_removed_agent_leaves_the_dry_run_tree(lab: Make) -> None:
    work = lab(workers=("A1", "A2"))
    assert work.launch("--dry-run").returncode == 0
    dry = work.root / STATE / "dry-run"
    gone = [dry / "executors/wave-0/0-a2", dry / "prompts/wave-0-0-a2.prompt.md"]
    assert all(path.exists() for path in gone)
    text = (work.root / "docs/plans/waves/wave-0.md").read_text()
    (work.root / "docs/plans/waves/wave-0.md").write_text(text[: text.index("## Agent A2")])
    assert work.launch("--dry-run").returncode == 0
    assert not any(path.exists() for path in gone)
    manifest = json.loads((dry / "waves.manifest.json").read_text())
    assert [agent["agentId"] for agent in manifest["waves"][0]["agents"]] == ["A0", "A1"]


def test_11_a_dry_run_says_what_it_leaves_out(lab: Make) -> None:
    providers = {"corridor": {"enabled": True, "mode": "direct", "teamId": "t", "projectId": "p"}}
    work = lab(stewards=("A7",), externalProviders=providers)
    bundles = {"version": 1, "bundles": {"none": {}, "web": {"libraries": [{"libraryName": "react"}]}}}
    work.write("docs/context7/bundles.json", json.dumps(bundles))
    context = "### Context7\n\n- bundle: web\n- query: hooks\n\n### Prompt\n\n```text\nDo the security work."
    edit_wave(work, "### Prompt\n\n```text\nDo the security work.", context)
    done = work.launch("--dry-run")
    assert done.returncode == 0, done.stderr
    dry = work.root / STATE / "dry-run"
    prompt = (dry / "prompts/wave-0-0-a7.prompt.md").read_text().lower()
    assert "prefetch is skipped in a dry run" in prompt or "prefetch was skipped" in prompt
    assert [line for line in prompt.splitlines() if "corridor" in line and ("omitted" in line or "dry" in line)]
    assert not list(dry.glob("**/*-corridor.json")) and not list(dry.glob("context7-cache/*"))


def test_17_a_deadline_queues_a_recovery_with_its_id(lab: Make) -> None:
    work = lab()
    work.script("A1", "sleep 60\n")
    done = work.launch("--max-retries-per-wave", "0", hurried="A1")
    assert done.returncode == 43
    status = work.state("status/wave-0-0-a1.status")
    assert (status["code"], status["exitReason"]) == (124, "timeout")
    request = next(event for event in work.events("rerun_request") if event["action"] == "requested")
    assert request["entityId"].startswith("rerun-wave-0-") and f"request {request['entityId']} " in done.stderr
    dashboard = work.state("dashboards/wave-0.json")
    agents = {agent["agentId"]: agent["state"] for agent in dashboard["agents"]}
    assert (dashboard["status"], agents["A1"]) == ("blocked", "blocked")
    failure = work.events("wave_run")[-1]["data"]["failures"][0]
    assert (failure["statusCode"], failure["recoveryReason"]) == ("timeout-no-status", "timeout-no-status")


def test_21_a_late_status_of_an_older_launch_is_ignored(lab: Make) -> None:
    work = lab()
    late = {"code": 0, "promptHash": "x", "attempt": 1, "completedAt": "2020-01-01T00:00:00.000Z", "launchId": "old"}
    status = f"{STATE}/status/wave-0-0-a1.status"
    work.script("A1", f"echo '{json.dumps(late)}' > {status}\nsleep 0.5\n" + LaunchLab.echo(PROOF, DELTA) + "exit 9\n")
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1
    assert "  - A1: exit=9" in done.stderr
    assert work.ran() == ["A1"]


def test_22_an_exhausted_rate_limit_keeps_the_exit_code(lab: Make) -> None:
    work = lab()
    work.script("A1", "echo 'Error: 429 Too Many Requests'; exit 1\n")
    flags = ("--agent-rate-limit-retries", "1", "--agent-rate-limit-base-delay-seconds", "1")
    done = work.launch("--max-retries-per-wave", "0", *flags, "--agent-rate-limit-max-delay-seconds", "1")
    assert done.returncode == 43
    assert work.ran() == ["A1", "A1"]
    log = (work.root / STATE / "logs/wave-0-0-a1.log").read_text()
    assert log.count("rate-limit detected for A1; retry 1/2 after ") == 1
    status = work.state("status/wave-0-0-a1.status")
    assert (status["code"], status["exitReason"]) == (1, "rate-limit-exhausted")
    assert work.events("wave_run")[-1]["data"]["failures"][0]["recoveryReason"] == "rate-limit"


def test_23_words_of_a_test_output_make_nothing_recoverable(lab: Make) -> None:
    work = lab()
    work.prints("A1", "FAIL integration test timed out after 5s, rate limit reached", GAP, DELTA)
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1  # a recovery would be 43
    assert work.events("rerun_request") == []


DESIGN = (
    "## Agent D1: Design\n\n### Role prompts\n\n- docs/agents/wave-design-role.md\n\n{contract}"
    "### Prompt\n\n```text\nDesign it.\n\n"
    "File ownership (only touch these paths):\n- docs/design/packet.md\n{more}```\n"
)
CONTRACT = "### Exit contract\n\n- completion: contract\n- durability: none\n- proof: unit\n- doc-impact: owned\n\n"


def with_design(work: LaunchLab, contract: str = "", more: str = "") -> None:
    """The wave gets a design agent."""
    path = work.root / "docs/plans/waves/wave-0.md"
    path.write_text(path.read_text() + "\n" + DESIGN.format(contract=contract, more=more))
    work.write("docs/agents/wave-design-role.md", "# Role\n\n## Standing prompt\n\n```text\nYou design.\n```\n")


def test_25_an_unclear_design_stops_before_implementation(lab: Make) -> None:
    work = lab()
    with_design(work)
    packet = "mkdir -p docs/design; echo plan > docs/design/packet.md\n"
    work.script("D1", packet + LaunchLab.echo(READY.replace("ready-for-implementation", "needs-clarification")))
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1
    assert work.ran() == ["D1"]
    assert "  - D1: exit=design-needs-clarification" in done.stderr


def test_26_a_hybrid_design_agent_implements_in_the_second_pass(lab: Make) -> None:
    work = lab()
    with_design(work, CONTRACT, "- src/plan.js\n")
    packet = "mkdir -p docs/design; echo plan > docs/design/packet.md\n"
    keep = f"cp {STATE}/prompts/wave-0-0-d1.prompt.md d1.$(ls d1.* 2>/dev/null | wc -l).md\n"
    work.script("D1", packet + keep + LaunchLab.echo(READY, PROOF, DELTA))
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran()[0] == "D1" and sorted(work.ran()[1:3]) == ["A1", "D1"] and work.ran()[3:] == ["A0"]
    first, second = ((work.root / f"d1.{number}.md").read_text() for number in (0, 1))
    assert first != second


def test_25a_a_crashed_design_agent_runs_again_before_anybody_implements(lab: Make) -> None:
    """As cases 15, 16: a good marker does not undo a failed process."""
    work = lab()
    with_design(work)
    packet = "mkdir -p docs/design; echo plan > docs/design/packet.md\n"
    work.script("D1", packet + LaunchLab.echo(READY) + "[ -e once ] || { touch once; exit 7; }\n")
    done = work.launch("--max-retries-per-wave", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["D1", "D1", "A1", "A0"]


def test_27_closure_agents_wait_for_the_sweep(lab: Make) -> None:
    work = lab(stewards=("A7", "A8", "A9"))
    work.prints("A1", GAP, DELTA)
    assert work.launch("--max-retries-per-wave", "0").returncode == 1
    assert work.events("attempt")[0]["data"]["selectedAgentIds"] == ["A1"]
    assert work.ran() == ["A1"]


# --- executors --------------------------------------------------------------------------------------------------------


def with_clis(lab: Make, fallbacks: str = "claude", **mix: int) -> LaunchLab:
    """A1 runs on codex with a fallback; both programs are scripts."""
    executors = {
        "default": "command",
        "command": {"argv": ["sh", "agents/run.sh", "{agentId}", "{wave}"]},
        "codex": {"command": "./agents/codex"},
        "claude": {"command": "./agents/claude"},
    }
    policy = {"fallbackExecutorOrder": [], "runtimeMixTargets": mix}
    work = lab(executors=executors, runtimePolicy=policy)
    edit_wave(work, "### Exit contract", f"### Executor\n\n- id: codex\n- fallbacks: {fallbacks}\n\n### Exit contract")
    for name in ("codex", "claude"):
        program(work, name, LaunchLab.echo(PROOF, DELTA))
    return work


def program(work: LaunchLab, name: str, text: str) -> None:
    """What the CLI of this name does."""
    work.write(f"agents/{name}", f"#!/bin/sh\ncat > /dev/null\necho 'start {name} 0' >> agents/log\n{text}")
    os.chmod(work.root / "agents" / name, 0o755)


def executor_of(work: LaunchLab, attempt: int) -> dict[str, Any]:
    """A1's executor as the trace has it."""
    metadata = work.state(f"traces/wave-0/attempt-{attempt}/run-metadata.json")
    return next(agent["executor"] for agent in metadata["agents"] if agent["agentId"] == "A1")


def test_36_a_failed_process_is_retried_on_the_fallback(lab: Make) -> None:
    work = with_clis(lab)
    program(work, "codex", "exit 127\n")
    done = work.launch("--max-retries-per-wave", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["codex", "claude", "A0"]
    executor = executor_of(work, 2)
    assert (executor["executorId"], executor["initialExecutorId"]) == ("claude", "codex")
    assert (executor["fallbackUsed"], executor["fallbackReason"]) == (True, "retry:127")


def test_47_success_on_a_fallback_is_reusable(lab: Make) -> None:
    work = with_clis(lab)
    program(work, "codex", "exit 127\n")
    assert work.launch("--max-retries-per-wave", "1").returncode == 0
    again = work.launch()
    assert again.returncode == 0
    assert work.ran()[3:] == ["A0"]
    assert "[wave 0] reused results: A1" in again.stdout


def test_37_without_any_usable_executor_the_retry_is_blocked(lab: Make) -> None:
    work = with_clis(lab, claude=0)
    program(work, "codex", "rm agents/codex; exit 127\n")
    done = work.launch("--max-retries-per-wave", "1")
    assert done.returncode == 43
    assert "Wave 0 retry blocked: " in done.stderr
    assert "[retry-fallback-blocked]" in done.stdout
    assert not (work.root / STATE / "status/relaunch-plan-wave-0.json").exists()


@pytest.mark.parametrize("sticky", [False, True])
def test_38_with_its_own_command_there_the_agent_stays(lab: Make, sticky: bool) -> None:
    work = with_clis(lab, **({} if sticky else {"claude": 0}))
    if sticky:
        edit_wave(work, "- fallbacks: claude", "- fallbacks: claude\n- retry-policy: sticky")
    program(work, "codex", f"[ -e once ] || {{ touch once; exit 5; }}\n{LaunchLab.echo(PROOF, DELTA)}")
    done = work.launch("--max-retries-per-wave", "1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert work.ran() == ["codex", "codex", "A0"]


# --- plans and reuse --------------------------------------------------------------------------------------------------


def met(level: str = "repo-landed", state: str = "met") -> str:
    return f"[wave-component] component=core level={level} state={state} detail=core"


def with_shared_component(work: LaunchLab) -> None:
    """Every worker owns `core`, which the wave promotes."""
    path = work.root / "docs/plans/waves/wave-0.md"
    text = path.read_text().replace("### Exit contract", "### Components\n\n- core\n\n### Exit contract")
    path.write_text(text.replace("\n\n", "\n\n## Component promotions\n\n- core: repo-landed\n\n", 1))
    component = {"title": "Core", "currentLevel": "repo-landed", "canonicalDocs": [], "proofSurfaces": ["unit"]}
    component["promotions"] = [{"wave": 0, "target": "repo-landed"}]
    matrix = {"version": 1, "levels": list(MATURITY_LEVELS), "components": {"core": component}}
    work.write("docs/plans/component-cutover-matrix.json", json.dumps(matrix))
    work.write("docs/plans/component-cutover-matrix.md", "# Matrix\n\n- core\n")


def test_41_owners_that_are_waited_for_continue_without_a_retry(lab: Make) -> None:
    work = lab(workers=("A1", "A2", "A3"))
    with_shared_component(work)
    contract = "### Exit contract\n\n- completion: contract\n- durability: none\n- proof: unit\n- doc-impact: owned\n\n"
    head, first, rest = (work.root / "docs/plans/waves/wave-0.md").read_text().partition("## Agent A2")
    work.write("docs/plans/waves/wave-0.md", head + first + rest.replace(contract, ""))
    work.prints("A1", PROOF, DELTA, met())
    for agent in ("A2", "A3"):  # without a contract they pass on their own, yet their share of `core` is open at first
        work.script(agent, f"if [ -e {agent}.once ]; then\n{LaunchLab.echo(met())}else\ntouch {agent}.once\nfi\n")
    done = work.launch("--max-retries-per-wave", "0")
    assert done.returncode == 1  # both were in the pass: rule 1 of LAUNCH 7.7 is for agents that were not
    assert sorted(work.ran()) == ["A1", "A2", "A3"], done.stderr
    assert "exit=shared-component-sibling-pending" in done.stderr
    request_rerun(build_lane_paths(load_wave_config(str(work.root))), 0, {"selectedAgentIds": ["A1"]})
    again = work.launch("--max-retries-per-wave", "0")
    assert again.returncode == 0, again.stderr + again.stdout
    assert work.ran()[3] == "A1" and sorted(work.ran()[4:6]) == ["A2", "A3"] and work.ran()[6:] == ["A0"]
    assert "Event: wave_shared_component_continue." in work.board()
    assert work.events("wave_run")[-1]["data"]["attempts"] == 1


def test_42_a_relaunch_plan_is_dropped_or_kept(lab: Make) -> None:
    work = lab(stewards=("A8",))
    work.script("A8", "mkdir -p docs/reports; echo x > docs/reports/A8-integration.md; exit 3\n")
    assert work.launch("--max-retries-per-wave", "1").returncode == 1
    plan = work.root / STATE / "status/relaunch-plan-wave-0.json"
    assert json.loads(plan.read_text())["selectedAgentIds"] == ["A8"]
    assert work.launch("--max-retries-per-wave", "0", "--resume-control-state").returncode == 1
    assert plan.exists() and "wave_launch_state_reset" not in work.board()
    assert work.launch("--max-retries-per-wave", "0").returncode == 1
    assert not plan.exists()
    assert "Event: wave_launch_state_reset." in work.board() and "previous_agents=A8" in work.board()


def test_46_what_changed_is_not_reused(lab: Make) -> None:
    work = lab(workers=("A1", "A2"))
    assert work.launch().returncode == 0
    edit_wave(work, "Build widget A2.", "Build widget A2 anew.")
    assert work.launch().returncode == 0
    assert work.ran()[3:] == ["A2", "A0"]


def test_50_later_launches_number_on_and_change_nothing_before(lab: Make) -> None:
    work = lab()
    assert work.launch().returncode == 0
    kept = {
        path: path.read_bytes()
        for folder in ("traces/wave-0/attempt-1", "results/wave-0/attempt-1")
        for path in (work.root / STATE / folder).glob("**/*")
        if path.is_file()
    }
    assert work.launch().returncode == 0
    assert {path: path.read_bytes() for path in kept} == kept
    numbers = [event["attempt"] for event in work.events("attempt") if event["action"] == "running"]
    assert numbers == [1, 2]
    assert (work.root / STATE / "traces/wave-0/attempt-2/run-metadata.json").exists()
