"""Skill bundles: loading, choosing, hashing, texts, files, lane checks. Spec: WORK 9, test cases 56-61."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from wave_lab import Lab, agent, role, wave

from wave_lib.base.errors import WaveError
from wave_lib.definition.executor_resolution import apply_executor_selections
from wave_lib.definition.skill_texts import is_skill_file, skill_files
from wave_lib.definition.skills import SkillLibrary, apply_skills, resolve_agent_skills, validate_lane_skills
from wave_lib.definition.wave_types import Wave

SKILLS = {
    "base": ["core", "rules"],
    "byRole": {"deploy": ["deploying"]},
    "byRuntime": {"claude": ["on-claude"]},
    "byDeployKind": {"railway-cli": ["railway"]},
}
RAILWAY = "## Deploy environments\n\n- spare: aws\n- live: railway-cli default"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path, skills=SKILLS)
    for skill_id in ("core", "rules", "deploying", "on-claude", "github"):
        lab.skill(skill_id)
    lab.skill("railway", activation={"roles": ["deploy", "infra"], "deployKinds": ["railway-cli"]})
    return lab


def library(lab: Lab) -> SkillLibrary:
    return SkillLibrary(str(lab.root), "skills")


def resolved(lab: Lab, *blocks: str, head: str = RAILWAY) -> Wave:
    profile = lab.paths.profile
    return apply_skills(
        apply_executor_selections(lab.parse(wave(*blocks, head=head)), profile), profile.skills, library(lab)
    )


def ids(parsed: Wave, agent_id: str) -> list[str]:
    found = parsed.agent(agent_id)
    assert found is not None and found.skills_resolved is not None
    return list(found.skills_resolved["ids"])


def test_configured_skills_follow_activation_and_named_ones_always_attach(lab: Lab) -> None:
    parsed = resolved(
        lab,
        agent("A1", "Deploy", executor="- id: claude", skills="- github\n- core"),
        role("A9", "documentation", "x.md"),
        agent("A2", owns=("b",), skills="- railway"),
    )
    assert ids(parsed, "A1") == ["core", "rules", "deploying", "on-claude", "railway", "github"]
    assert ids(parsed, "A9") == ["core", "rules"]
    assert ids(parsed, "A2") == ["core", "rules", "railway"]
    skills = parsed.agents[1].skills_resolved or {}
    assert (skills["role"], skills["runtime"], skills["deployKind"]) == ("deploy", "claude", "railway-cli")


def test_hashes_cover_every_file_and_the_choice(lab: Lab) -> None:
    lab.write("skills/core/references/deep/notes.md", "notes")
    bundle = library(lab).bundle("core")
    lines = [
        f"{path}:{hashlib.sha256((lab.root / path).read_bytes()).hexdigest()}"
        for path in ("skills/core/SKILL.md", "skills/core/references/deep/notes.md", "skills/core/skill.json")
    ]
    assert bundle.bundle_hash == hashlib.sha256("\n".join(lines).encode()).hexdigest()
    before = resolved(lab, agent()).agents[1].skills_resolved or {}
    digest = hashlib.sha256(
        json.dumps(
            {
                "ids": before["ids"],
                "role": "implementation",
                "runtimeId": "codex",
                "deployKind": "railway-cli",
                "promptText": before["promptText"],
                "bundles": [
                    {key: item[key] for key in ("id", "bundleHash", "adapterPath", "activation", "termination")}
                    | {key: item[key] for key in ("permissions", "trust", "referencePaths")}
                    for item in before["bundles"]
                ],
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
    ).hexdigest()
    assert before["promptHash"] == digest
    lab.write("skills/core/references/deep/notes.md", "other notes")
    assert (resolved(lab, agent()).agents[1].skills_resolved or {})["promptHash"] != digest


def test_editor_leftovers_are_no_source_and_links_stay_inside(lab: Lab) -> None:
    before = library(lab).bundle("core").bundle_hash
    for name in (".DS_Store", "SKILL.md~", ".SKILL.md.swp", "__pycache__/x.pyc"):
        lab.write(f"skills/core/{name}", "noise")
    os.symlink("SKILL.md", lab.root / "skills/core/also.md")
    assert "skills/core/also.md" in dict(library(lab).bundle("core").source_files)
    (lab.root / "skills/core/also.md").unlink()
    assert library(lab).bundle("core").bundle_hash == before
    os.symlink("/etc", lab.root / "skills/core/etc")
    with pytest.raises(WaveError, match="core"):
        library(lab).bundle("core")


@pytest.mark.parametrize(
    "manifest",
    [
        {"id": "other"},
        {"title": ""},
        {"description": None},
        {"activation": {"when": ""}},
        {"activation": {"roles": ["chief"]}},
        {"activation": {"runtimes": ["basic"]}},
        {"activation": {"deployKinds": ["Not A Kind"]}},
        {"trust": {"tier": "a b"}},
        {"permissions": []},
        {"evalCases": [{"id": "x", "role": "deploy", "runtime": "codex"}]},
    ],
)
def test_a_wrong_manifest_names_bundle_and_file(lab: Lab, manifest: dict[str, Any]) -> None:
    lab.skill("core", **manifest)
    with pytest.raises(WaveError) as caught:
        library(lab).bundle("core")
    assert '"core"' in str(caught.value) and "skills/core/skill.json" in str(caught.value)


def test_broken_and_missing_bundles(lab: Lab) -> None:
    lab.write("skills/core/skill.json", '{"id":\n oops')
    with pytest.raises(WaveError, match=r"skills/core/skill.json:2:2: "):
        library(lab).bundle("core")
    with pytest.raises(WaveError, match="did you mean railway"):
        library(lab).bundle("railawy")
    parsed = apply_executor_selections(lab.parse(wave(agent(skills="- gone"))), lab.paths.profile)
    lab.skill("core")
    with pytest.raises(WaveError, match='Agent A1: skill "gone" not found'):
        resolve_agent_skills(parsed.agents[1], parsed, lab.paths.profile.skills, library(lab))


def test_texts(lab: Lab) -> None:
    body = "Run:\n\n````\n```\nls\n```\n````\n"
    lab.skill("core", activation={"runtimes": ["codex"]}, termination="Stop when done.", trust="repo-owned")
    lab.write("skills/core/SKILL.md", body)
    lab.write("skills/core/adapters/codex.md", "With codex.")
    lab.write("skills/core/references/notes.md", "x")
    skills = resolved(lab, agent()).agents[1].skills_resolved or {}
    catalog = skills["promptText"].split("\n")
    assert catalog[0] == "Active skill packs for this run:"
    assert catalog[1] == "- core: About core."
    assert any(line.startswith("- Use this catalog first.") for line in catalog)
    for line in (
        "## Skill core",
        "- Activation runtimes: codex",
        "- Activation roles: any",
        "- Termination: Stop when done.",
        "- Trust tier: repo-owned",
        "- Permissions: none declared",
        "- Runtime adapter (codex): skills/core/adapters/codex.md",
        "- Reference: skills/core/references/notes.md",
    ):
        assert line in catalog
    assert f"`````text\n{body.strip()}\n`````" in skills["expandedPromptText"]
    assert "### codex adapter (skills/core/adapters/codex.md)" in skills["expandedPromptText"]
    assert skills["runtimeText"].split("\n")[:2] == [
        "Runtime skill catalog for codex:",
        "- core: adapter=skills/core/adapters/codex.md manifest=skills/core/skill.json",
    ]


def test_overlay_files_follow_the_runtime(lab: Lab) -> None:
    parsed = resolved(lab, agent(), agent("A2", owns=("b",), executor="- id: claude"))
    codex, claude = (skill_files(item.skills_resolved, "overlay") for item in parsed.agents[1:])
    assert set(codex) - set(claude) == {"codex-skills.txt"} and is_skill_file("codex-skills.txt")
    assert not is_skill_file("launch-preview.json")
    metadata = json.loads(claude["skills.metadata.json"])
    assert list(metadata) == ["ids", "role", "runtime", "deployKind", "promptHash", "bundles", "artifacts"]
    assert metadata["artifacts"]["runtimePromptPath"] == "overlay/claude-skills.txt"
    assert metadata["bundles"][0]["sourceFiles"][0]["path"] == "skills/core/SKILL.md"
    empty = {**(parsed.agents[1].skills_resolved or {}), "ids": []}
    assert skill_files(empty, "overlay") == {} == skill_files(None, "overlay")


def test_lane_validation_finds_typos_misplaced_and_failing_cases(lab: Lab) -> None:
    config = lab.paths.profile.skills
    assert validate_lane_skills(config, library(lab)).ok
    case = {"id": "c", "role": "deploy", "runtime": "codex", "expectActive": True}
    lab.skill("railway", activation={"deployKinds": ["railway-mcp"]}, evalCases=[case], activtion={})
    kinds = {**config.by_deploy_kind, "railawy": (), "own-kind": ()}
    parsed = lab.parse(wave(agent(skills="- gone"), head="## Deploy environments\n\n- x: own-kind"))
    report = validate_lane_skills(config._replace(by_deploy_kind=kinds), library(lab), [parsed])
    assert not report.ok and (report.evaluated_bundles, report.evaluated_cases) == (6, 1)
    for words in ("byDeployKind.railway-cli names", "railawy", 'eval case "c"', 'skill "gone" not found'):
        assert sum(words in error for error in report.errors) == 1
    assert len(report.errors) == 4
    assert any("did you mean activation" in warning for warning in report.warnings)
