"""The example workspace of `wave demo`: what it has beside the starter files. Texts only.

The wave is small and whole: two implementation agents, and every closure role that a wave without evaluation has.

Spec: WORK 13; CFG 8, 12.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

WAVE_NUMBER = 0
WAVE_FILE = f"docs/plans/waves/wave-{WAVE_NUMBER}.md"
REVIEWS = "docs/plans/waves/reviews"
LEVEL = "repo-landed"
COMPONENTS = {
    "greeting-library": ("Greeting library", "src/greeting.py"),
    "greeting-command": ("Greeting command", "src/greet_cli.py"),
}


class DemoAgent(NamedTuple):
    """One agent of the example wave. `sections` come before the prompt."""

    agent_id: str
    title: str
    goal: str
    owns: tuple[str, ...]
    role_prompt: str = ""
    sections: str = ""


def _worker(component: str, deliverables: tuple[str, ...]) -> str:
    listed = "\n".join(f"- {path}" for path in deliverables)
    return (
        f"### Components\n\n- {component}\n\n### Deliverables\n\n{listed}\n\n"
        "### Exit contract\n\n- completion: contract\n- durability: none\n- proof: unit\n- doc-impact: owned\n\n"
    )


_LIBRARY = ("src/greeting.py", "tests/test_greeting.py")
_COMMAND = ("src/greet_cli.py", "docs/greet-command.md")

AGENTS = (
    DemoAgent(
        "A1",
        "Greeting Library",
        "Write a function that greets a person by name, with a test.",
        _LIBRARY,
        sections=_worker("greeting-library", _LIBRARY),
    ),
    DemoAgent(
        "A2",
        "Greeting Command",
        "Write a command that prints the greeting, and a page that shows how to call it.",
        _COMMAND,
        sections=_worker("greeting-command", _COMMAND),
    ),
    DemoAgent(
        "A7",
        "Security Review",
        "Say what an attacker could do with a name that the command prints.",
        (f"{REVIEWS}/wave-{WAVE_NUMBER}-security.md",),
        "docs/agents/wave-security-role.md",
    ),
    DemoAgent(
        "A8",
        "Integration",
        "Reconcile what A1 and A2 claim with what is in the repository.",
        (
            f".tmp/main-wave-launcher/integration/wave-{WAVE_NUMBER}.md",
            f".tmp/main-wave-launcher/integration/wave-{WAVE_NUMBER}.json",
        ),
        "docs/agents/wave-integration-role.md",
        "### Capabilities\n\n- integration\n- docs-shared-plan\n\n",
    ),
    DemoAgent(
        "A9",
        "Documentation",
        "Bring the shared plan documents in line with what landed.",
        (
            "docs/plans/current-state.md",
            "docs/plans/master-plan.md",
            "docs/plans/migration.md",
            "docs/plans/component-cutover-matrix.md",
            "docs/plans/component-cutover-matrix.json",
        ),
        "docs/agents/wave-documentation-role.md",
    ),
    DemoAgent(
        "A0",
        "cont-QA",
        "Judge last whether the wave may close.",
        (f"{REVIEWS}/wave-{WAVE_NUMBER}-cont-qa.md",),
        "docs/agents/wave-cont-qa-role.md",
    ),
)


def demo_files(starter_config: dict[str, Any]) -> dict[str, str]:
    """The files that differ from the starter's, path to text. `starter_config` is the starter's `wave.config.json`."""
    return {
        "wave.config.json": _json(demo_config(starter_config)),
        WAVE_FILE: wave_text(),
        "docs/plans/component-cutover-matrix.json": _json(_matrix()),
        "docs/plans/component-cutover-matrix.md": _matrix_page(),
    }


def demo_config(starter: dict[str, Any]) -> dict[str, Any]:
    """The starter's configuration with the built-in executor, and with every closure stage run in every wave."""
    from_the_start = {"bootstrap": 0, "standard": 0, "strict": 0}
    validation = {**starter.get("validation", {}), "closureModeThresholds": from_the_start}
    validation.pop("autoClosure", None)
    executors = {**starter.get("executors", {}), "default": "local"}
    return {**starter, "projectName": "Wave demo", "validation": validation, "executors": executors}


def wave_text() -> str:
    """The wave file."""
    promotions = "\n".join(f"- {component}: {LEVEL}" for component in COMPONENTS)
    head = (
        f"# Wave {WAVE_NUMBER} - Say Hello\n\n**Commit message**: `Feat: greet people by name`\n\n"
        "Two agents build a small greeting; four others review, reconcile, document and judge it.\n\n"
        f"## Component promotions\n\n{promotions}\n\n## Context7 defaults\n\n- bundle: none\n\n"
    )
    return head + "\n".join(_agent_text(agent) for agent in AGENTS)


def _agent_text(agent: DemoAgent) -> str:
    owns = "\n".join(f"- {path}" for path in agent.owns)
    role = f"### Role prompts\n\n- {agent.role_prompt}\n\n" if agent.role_prompt else ""
    return (
        f"## Agent {agent.agent_id}: {agent.title}\n\n{role}### Executor\n\n- id: local\n\n"
        f"### Context7\n\n- bundle: none\n\n{agent.sections}### Prompt\n\n"
        f"```text\nPrimary goal:\n- {agent.goal}\n\n"
        "Required context before coding:\n- Read docs/reference/repository-guidance.md.\n"
        "- Read docs/research/agent-context-sources.md.\n\n"
        f"File ownership (only touch these paths):\n{owns}\n```\n"
    )


def _matrix() -> dict[str, Any]:
    return {
        "version": 1,
        "levels": ["inventoried", "contract-frozen", LEVEL, "baseline-proved"],
        "components": {
            component: {
                "title": title,
                "currentLevel": LEVEL,
                "promotions": [{"wave": WAVE_NUMBER, "target": LEVEL}],
                "canonicalDocs": [WAVE_FILE],
                "proofSurfaces": [surface],
            }
            for component, (title, surface) in COMPONENTS.items()
        },
    }


def _matrix_page() -> str:
    listed = "\n".join(f"- `{component}`: {title}" for component, (title, _) in COMPONENTS.items())
    rows = "\n".join(f"| `{component}` | `{LEVEL}` | {surface} |" for component, (_, surface) in COMPONENTS.items())
    return (
        f"# Component Cutover Matrix\n\n## Components\n\n{listed}\n\n## Current Levels\n\n"
        f"| Component | Current level | Proof surfaces |\n| --- | --- | --- |\n{rows}\n"
    )


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
