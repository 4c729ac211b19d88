"""A small workspace with role prompts, matrix, catalog and skills, and wave texts put together from parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wave_lib.definition.config import load_wave_config
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.wave_files import parse_wave_file, parse_wave_text
from wave_lib.definition.wave_types import Wave
from wave_lib.definition.wave_validation import Verdict, load_references, validate_wave

LEVELS = ["inventoried", "contract-frozen", "repo-landed", "baseline-proved", "pilot-live", "qa-proved"]
RELAXED = {
    "requiredPromptReferences": [],
    "requireDocumentationStewardFromWave": None,
    "requireContext7DeclarationsFromWave": None,
    "requireExitContractsFromWave": None,
    "requireIntegrationStewardFromWave": None,
    "requireComponentPromotionsFromWave": None,
    "requireAgentComponentsFromWave": None,
}
ROLES = ("cont-qa", "cont-eval", "integration", "documentation", "security", "design")


class Lab:
    """A workspace under `root`; every validation threshold is off unless `validation` sets it."""

    def __init__(self, root: Path, validation: dict[str, Any] | None = None, **config: Any) -> None:
        self.root = root
        for role in ROLES:
            self.write(f"docs/agents/wave-{role}-role.md", f"# {role}\n\n## Standing prompt\n\n```\nBe {role}.\n```\n")
        config.setdefault("validation", {**RELAXED, **(validation or {})})
        self.write("wave.config.json", json.dumps(config))
        self.matrix({"api": {"currentLevel": "repo-landed", "promotions": [{"wave": 0, "target": "repo-landed"}]}})
        self.write("docs/context7/bundles.json", json.dumps({"bundles": {"none": {}, "web": {"description": "Web"}}}))
        family = {"benchmarks": {"golden": {}}}
        self.write(
            "docs/evals/benchmark-catalog.json",
            json.dumps({"families": {"output": family, "speed": {"benchmarks": {"latency": {}}}}}),
        )

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def matrix(self, components: dict[str, Any]) -> None:
        payload = {"levels": LEVELS, "components": components}
        self.write("docs/plans/component-cutover-matrix.json", json.dumps(payload))

    def skill(self, skill_id: str, **manifest: Any) -> None:
        activation = {"when": "always", **manifest.pop("activation", {})}
        payload = {"title": skill_id, "description": f"About {skill_id}.", "activation": activation, **manifest}
        self.write(f"skills/{skill_id}/skill.json", json.dumps(payload))
        self.write(f"skills/{skill_id}/SKILL.md", f"Do {skill_id}.\n")

    @property
    def paths(self) -> LanePaths:
        return build_lane_paths(load_wave_config(str(self.root)), new_lane=True)

    def wave_file(self, text: str, number: int = 0) -> Path:
        return self.write(f"docs/plans/waves/wave-{number}.md", text)

    def parse_file(self, text: str, number: int = 0) -> Wave:
        return parse_wave_file(str(self.wave_file(text, number)), self.paths.profile, str(self.root))

    def parse(self, text: str, number: int = 0) -> Wave:
        file = f"docs/plans/waves/wave-{number}.md"
        return parse_wave_text(text, number, file, self.paths.profile.roles, str(self.root))

    def verdict(self, text: str, number: int = 0, **options: Any) -> Verdict:
        return validate_wave(self.parse(text, number), self.paths.profile, load_references(self.paths), **options)

    def rules(self, text: str, number: int = 0, **options: Any) -> list[str]:
        return [problem.rule for problem in self.verdict(text, number, **options).problems]


def agent(agent_id: str = "A1", title: str = "Code", owns: tuple[str, ...] = ("src/a.py",), **sections: str) -> str:
    """An agent block; `executor="- id: codex"` and the like become its sections, `prompt` its words."""
    words = sections.pop("prompt", "Build it.")
    ownership = "\n".join(f"- {path}" for path in owns)
    parts = [f"## Agent {agent_id}: {title}"]
    parts += [f"### {name.replace('_', ' ').capitalize()}\n\n{body}" for name, body in sections.items()]
    parts.append(f"### Prompt\n\n```text\n{words}\n\nFile ownership (only touch these):\n{ownership}\n```")
    return "\n\n".join(parts) + "\n\n"


def role(agent_id: str, name: str, *owns: str, **sections: str) -> str:
    """An agent that imports a role prompt."""
    return agent(agent_id, name, owns, role_prompts=f"- docs/agents/wave-{name}-role.md", **sections)


QA = role("A0", "cont-qa", "docs/reviews/qa.md")
EVALUATOR = role("E0", "cont-eval", "docs/reviews/eval.md")
CONTRACT = "- completion: contract\n- durability: none\n- proof: unit\n- doc-impact: owned"


def wave(*blocks: str, head: str = "") -> str:
    """A wave of cont-QA and the given agents; `head` is wave-level sections."""
    return f"# Wave 0 - Try\n\n**Commit message**: `Feat: try`\n\n{head}\n\n{QA}{''.join(blocks)}"
