"""Fingerprints of agents. Spec: CFG 15, test case 60."""

from __future__ import annotations

import hashlib

from wave_lib.definition.prompt_fingerprint import definition_hash, fingerprint_match, prompt_hash
from wave_lib.definition.wave_types import Agent, ExitContract, ProofArtifact

AGENT = Agent(
    "A1",
    "Code",
    "0-a1",
    prompt="Größe: 日本\n",
    exit_contract=ExitContract("contract", "none", "unit", "owned"),
    deliverables=("a.md",),
    proof_artifacts=(ProofArtifact("p.json", "live", ("pilot-live",)),),
    components=("api",),
    component_targets={"api": "repo-landed"},
    executor_resolved={"id": "codex", "claude": {"settingsJson": {"b": 1.0, "10": 2, "2": 3}}},
    skills_resolved={
        "ids": ["x"],
        "role": "r",
        "runtime": "codex",
        "deployKind": None,
        "promptHash": "h",
        "bundles": [],
    },
    context7_resolved={"selectionHash": "s"},
)
DEFINITION = (
    '{"prompt":"Größe: 日本\\n","context7SelectionHash":"s",'
    '"exitContract":{"completion":"contract","durability":"none",'
    '"proof":"unit","docImpact":"owned"},"deliverables":["a.md"],"proofArtifacts":[{"path":"p.json","kind":"live",'
    '"requiredFor":["pilot-live"]}],"components":["api"],"componentTargets":{"api":"repo-landed"}'
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_hashes_are_those_of_the_compact_json() -> None:
    assert definition_hash(AGENT) == sha(DEFINITION + "}")
    executor = '{"id":"codex","claude":{"settingsJson":{"2":3,"10":2,"b":1}}}'
    skills = '{"ids":["x"],"role":"r","runtime":"codex","deployKind":null,"promptHash":"h"}'
    assert prompt_hash(AGENT) == sha(f'{DEFINITION},"executorResolved":{executor},"skillsResolved":{skills}}}')


def test_absent_members_have_fixed_values() -> None:
    bare = Agent("ORCH", "Orchestrator", "0-resident-orchestrator", prompt="p")
    assert prompt_hash(bare) == sha(
        '{"prompt":"p","context7SelectionHash":"","exitContract":null,"deliverables":[],"proofArtifacts":[],'
        '"components":[],"componentTargets":{},"executorResolved":null,"skillsResolved":null}'
    )


def test_match_accepts_either_hash() -> None:
    moved = AGENT._replace(executor_resolved={"id": "claude"})
    record = {"promptHash": prompt_hash(AGENT), "definitionHash": definition_hash(AGENT)}
    assert fingerprint_match(record, AGENT) == "match" == fingerprint_match(record, moved)
    assert fingerprint_match({"promptHash": record["promptHash"]}, moved) == "mismatch"
    assert fingerprint_match(record, AGENT._replace(prompt="other")) == "mismatch"
    assert fingerprint_match({"code": 0}, AGENT) == "missing" == fingerprint_match(None, AGENT)
