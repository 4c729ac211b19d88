"""A lane with one finished wave, made by the real parsers and writers, without starting any process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.prompt_fingerprint import definition_hash, prompt_hash
from wave_lib.definition.roles import RoleBindings, apply_role_bindings, resolve_wave_role_bindings
from wave_lib.definition.wave_files import parse_wave_file
from wave_lib.definition.wave_types import Wave
from wave_lib.engines.facts import WaveFacts
from wave_lib.engines.gate_engine import evaluate_gates
from wave_lib.projections.projection_writer import write_wave_derived_projections
from wave_lib.projections.traces import TraceAgent, TraceInputs, TraceResult, write_trace_bundle
from wave_lib.runtime.derived_state import DerivedContext, DerivedFacts, refresh_derived_state
from wave_lib.state.agent_state import build_agent_execution_summary, collect_summary_facts, report_path
from wave_lib.state.result_envelope import build_envelope, project_summary, read_run_envelope, write_envelope_once

NOW = "2026-01-02T03:04:05.678Z"

WAVE = """# Wave 0 - Lean

**Commit message**: `Feat: lean wave`

## Agent A0: cont-QA

### Role prompts

- docs/agents/wave-cont-qa-role.md

### Prompt

```text
Judge the wave.

File ownership (only touch these paths):
- docs/reviews/wave-0-cont-qa.md
```

## Agent A1: Widget

### Deliverables

- src/widget.py

### Exit contract

- completion: contract
- durability: none
- proof: unit
- doc-impact: owned

### Prompt

```text
Build the widget.

File ownership (only touch these paths):
- src/widget.py
```
"""

LOGS = {
    "A1": [
        "[wave-phase] coding",
        "[wave-proof] completion=contract durability=none proof=unit state=met detail=unit tests pass",
        "[wave-doc-delta] state=owned paths=docs/widget.md detail=doc",
    ],
    "A0": [
        "[wave-gate] architecture=pass integration=pass durability=pass live=pass docs=pass detail=good",
        "[wave-verdict] pass detail=good",
    ],
}


class LaneLab:
    """A workspace with wave 0 (A1 implements, A0 judges), whose agents can be made to have run."""

    def __init__(self, root: Path, validation: dict[str, Any] | None = None) -> None:
        self.root = root
        self.write("wave.config.json", json.dumps({"validation": {**_LAX, **(validation or {})}}))
        self.write("docs/plans/waves/wave-0.md", WAVE)
        self.write("docs/agents/wave-cont-qa-role.md", "# cont-QA\n\n## Standing prompt\n\n```text\nYou judge.\n```\n")
        self.paths: LanePaths = build_lane_paths(load_wave_config(str(root)))
        self.wave, self.bindings = self.parse()

    def write(self, path: str, text: str) -> Path:
        """A file of the workspace."""
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
        return full

    def parse(self) -> tuple[Wave, RoleBindings]:
        """The wave as its file says now."""
        wave = parse_wave_file(self.paths.wave_file(0), self.paths.profile, str(self.root))
        bindings = resolve_wave_role_bindings(wave, self.paths.profile.roles)
        return apply_role_bindings(wave, bindings, self.paths.lane), bindings

    def ran(self, agent_id: str, *, code: int = 0, log: list[str] | None = None, attempt: int = 1) -> None:
        """Leave what an agent leaves that ran: its files, log, status and envelope."""
        agent = self.wave.agent(agent_id)
        assert agent is not None
        if agent_id == "A1":
            self.write("src/widget.py", "widget = 1\n")
        if agent_id == "A0":
            self.write("docs/reviews/wave-0-cont-qa.md", "# cont-QA\n\nVerdict: PASS\n")
        lines = LOGS[agent_id] if log is None else log
        self.write(self.paths.log_file(0, agent.slug), "\n".join(lines) + "\n")
        self.write(self.paths.prompt_file(0, agent.slug), agent.prompt)
        status = {
            "code": code,
            "promptHash": prompt_hash(agent),
            "definitionHash": definition_hash(agent),
            "attempt": attempt,
            "completedAt": NOW,
            "launchId": f"{agent_id}-{attempt}",
        }
        self.write(self.paths.status_file(0, agent.slug), json.dumps(status))
        summary = build_agent_execution_summary(
            collect_summary_facts(agent, self.wave, self.bindings, self.paths, status)
        )
        envelope = build_envelope(summary, agent, self.bindings, wave_number=0, attempt=attempt)
        write_envelope_once(self.paths.result_envelope(0, attempt, agent_id), envelope)

    def facts(self, attempt: int = 1) -> WaveFacts:
        """The facts that the launcher would collect."""
        readings = {}
        for agent in self.wave.agents:
            status = _json(self.paths.status_file(0, agent.slug))
            readings[agent.agent_id] = read_run_envelope(
                self.paths, self.wave, agent, status, "live", bindings=self.bindings
            )
        summaries = {
            agent_id: project_summary(reading.envelope) if reading.valid and reading.envelope else None
            for agent_id, reading in readings.items()
        }
        judged = ["src/widget.py", "docs/reviews/wave-0-cont-qa.md"]
        presence = {path: (self.root / path).is_file() for path in judged}
        context = DerivedContext(self.paths, self.wave, self.bindings)
        derived = refresh_derived_state(context, DerivedFacts(attempt, summaries, presence=presence))
        write_wave_derived_projections(self.paths, self.wave, derived)
        return WaveFacts(
            self.wave,
            self.bindings,
            self.paths.profile,
            self.paths.lane,
            attempt,
            readings=readings,
            summaries=summaries,
            logs={item.agent_id: self.paths.rel(self.paths.log_file(0, item.slug)) for item in self.wave.agents},
            presence=presence,
            derived=derived,
            now=NOW,
        )

    def trace(self, attempt: int = 1, launched: tuple[str, ...] = ("A1", "A0")) -> TraceResult:
        """The trace bundle of an attempt."""
        facts = self.facts(attempt)
        assert facts.derived is not None
        agents = []
        for agent in self.wave.agents:
            reading = facts.readings[agent.agent_id]
            report = report_path(agent, self.wave, self.bindings)
            agents.append(
                TraceAgent(
                    agent=agent._replace(executor_resolved=_executor(attempt)),
                    prompt_path=self.paths.prompt_file(0, agent.slug),
                    log_path=self.paths.log_file(0, agent.slug),
                    status_path=self.paths.status_file(0, agent.slug),
                    launched=agent.agent_id in launched,
                    envelope_path=reading.path if reading.envelope else None,
                    report_path=report,
                )
            )
        return write_trace_bundle(
            TraceInputs(
                self.paths,
                self.wave,
                self.bindings,
                attempt,
                tuple(agents),
                facts,
                facts.derived,
                evaluate_gates(facts).to_json(),
                {"timeoutMinutes": 1, "maxRetriesPerWave": 1, "dryRun": False, "runVariant": "live"},
                NOW,
            )
        )


_LAX = {
    "requireDocumentationStewardFromWave": None,
    "requireIntegrationStewardFromWave": None,
    "requireComponentPromotionsFromWave": None,
    "requireAgentComponentsFromWave": None,
}


def _executor(attempt: int) -> dict[str, Any]:
    history = [{"attempt": 0, "executorId": "codex", "reason": "initial"}]
    if attempt > 1:
        history.append({"attempt": attempt, "executorId": "claude", "reason": "retry:1"})
    return {
        "id": history[-1]["executorId"],
        "role": "implementation",
        "initialExecutorId": "codex",
        "executorHistory": history,
    }


def _json(path: str) -> dict[str, Any] | None:
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return None
