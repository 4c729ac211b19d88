"""Workspaces for the benchmarks: as small as the validation rules allow, with the built-in `local` executor."""

from __future__ import annotations

import json
import os

IDLER = """sleep 8
echo "[wave-proof] completion=contract durability=none proof=unit state=met"
echo "[wave-doc-delta] state=none"
"""
CONFIG = {
    "version": 1,
    "projectName": "benchmark",
    "executors": {
        "default": "local",
        # An agent that works for a while without being a second Python: what is measured is the orchestrator.
        "profiles": {"idler": {"id": "command", "command": {"argv": ["sh", "-c", IDLER, "idler", "{agentId}"]}}},
    },
    "validation": {
        "requiredPromptReferences": [],
        "requireDocumentationStewardFromWave": None,
        "requireContext7DeclarationsFromWave": None,
        "requireExitContractsFromWave": None,
        "requireIntegrationStewardFromWave": None,
        "requireComponentPromotionsFromWave": None,
        "requireAgentComponentsFromWave": None,
    },
}
ROLES = {"A0": "cont-qa", "A8": "integration", "A9": "documentation"}
REPORTS = {
    "A0": "docs/plans/waves/reviews/wave-{wave}-cont-qa.md",
    "A8": "docs/integration-{wave}.md",
    "A9": "docs/closure-{wave}.md",
}
ROLE_PROMPT = "# {role}\n\n## Standing prompt\n\n```text\nYou hold the {role} role.\n```\n"
AGENT = (
    "## Agent {agent}: {title}\n{role}\n### Prompt\n```text\n{text}\n\n"
    "File ownership (only touch these paths):\n- {owned}\n```\n\n"
)
CONTRACT = "\n### Exit contract\n- completion: contract\n- durability: none\n- proof: unit\n- doc-impact: none\n"


def make_workspace(folder: str, waves: int, workers: int, profile: str = "") -> None:
    """Write a workspace with `waves` wave files of `workers` implementation agents and three stewards each.

    `profile`: the executor profile of the implementation agents; without one they use `local`.
    """
    _write(folder, "wave.config.json", json.dumps(CONFIG, indent=2))
    for role in ROLES.values():
        _write(folder, f"docs/agents/wave-{role}-role.md", ROLE_PROMPT.format(role=role))
    for number in range(waves):
        _write(folder, f"docs/plans/waves/wave-{number}.md", wave_text(number, workers, profile))


def wave_text(number: int, workers: int, profile: str = "") -> str:
    """The markdown of one wave."""
    parts = [f"# Wave {number}\n\n"]
    section = f"\n### Executor\n- profile: {profile}\n{CONTRACT}" if profile else CONTRACT
    for place in range(1, workers + 1):
        parts.append(_agent(f"W{place}", "Worker", section, f"out/{number}-{place}.txt", "Write the file."))
    for agent, role in ROLES.items():
        imports = f"\n### Role prompts\n- docs/agents/wave-{role}-role.md\n"
        parts.append(_agent(agent, role, imports, REPORTS[agent].format(wave=number), f"Do the {role} pass."))
    return "".join(parts)


def _agent(agent: str, title: str, section: str, owned: str, text: str) -> str:
    return AGENT.format(agent=agent, title=title, role=section, owned=owned, text=text)


def _write(folder: str, path: str, text: str) -> None:
    full = os.path.join(folder, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as handle:
        handle.write(text)
