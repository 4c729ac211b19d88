"""A whole wave whose agents are the real CLIs: each does its work with its own shell tool and prints its markers.

Opt-in like `test_real_clis`: `WAVE_REAL_CLI=/path/to/bin`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from launch_lab import DELTA, GATE, PROOF, VERDICT, LaunchLab
from real_cli.clis import BIN, need, point_at
from real_cli.model_server import ModelServer, Turn

pytestmark = pytest.mark.skipif(not BIN, reason="WAVE_REAL_CLI is not set")


def script(request: str) -> Turn:
    """cont-QA writes its report and judges; the worker writes its file and claims it."""
    done = '"tool_result"' in request or '"function_call_output"' in request
    if "Judge the wave." in request:
        report = "mkdir -p docs/reviews && printf '# QA\\n\\nVerdict: PASS\\n' > docs/reviews/wave-0-cont-qa.md"
        return Turn(f"The wave holds.\n\n{GATE}\n{VERDICT}\n", "" if done else report)
    return Turn(f"Built it.\n\n{PROOF}\n{DELTA}\n", "" if done else "mkdir -p src && echo built >> src/A1.txt")


@pytest.mark.parametrize(("worker", "judge"), [("claude", "codex"), ("codex", "claude")])
def test_a_wave_of_real_agents_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: str, judge: str
) -> None:
    need(worker)
    need(judge)
    executors = {"default": worker, "claude": {"allowRootBypass": True}}
    policy = {"defaultExecutorByRole": {"cont-qa": judge}, "fallbackExecutorOrder": []}
    lab = LaunchLab(tmp_path / "repository", executors=executors, runtimePolicy=policy)
    try:
        with ModelServer(script) as server:
            point_at(server, tmp_path / "home", monkeypatch)
            done = lab.finish(lab.start("--max-retries-per-wave", "0", "--timeout-minutes", "3"), within=200)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert lab.state("run-state.json")["completedWaves"] == [0]
        assert (lab.root / "src/A1.txt").read_text() == "built\n"
        used = {event["data"]["executorId"] for event in lab.events("agent_run") if event["action"] == "completed"}
        assert used == {worker, judge}
        envelope = json.loads(next(lab.root.glob(".tmp/main-wave-launcher/results/wave-0/*/A1.json")).read_text())
        assert envelope["proof"]["state"] == "satisfied"
    finally:
        lab.close()
