"""The starter workspace: complete, valid, linked, and free of anything that a reader would take for proof."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wave_lib.base.errors import WaveError
from wave_lib.definition.components import compare_levels, load_component_matrix, matrix_differences
from wave_lib.definition.config import load_wave_config
from wave_lib.definition.context7_bundles import load_bundle_index
from wave_lib.definition.evals import load_benchmark_catalog
from wave_lib.definition.executor_resolution import resolve_agent_executor
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.skills import SkillLibrary, apply_skills, validate_lane_skills
from wave_lib.definition.starter_data import starter_bytes, starter_files, starter_mode
from wave_lib.definition.wave_files import parse_wave_file, parse_wave_files
from wave_lib.definition.wave_validation import load_references, validate_wave
from wave_lib.runtime.packaging import bundle
from wave_lib.state.structured_signal_parser import scan_text

FILES = starter_files()
TEXTS = [path for path in FILES if path.endswith((".md", ".json", ".sh"))]
PAGES = [path for path in FILES if path.endswith(".md")]
EXAMPLES = [path for path in FILES if path.startswith("docs/plans/examples/")]
CASES = [path for path in FILES if re.fullmatch(r"docs/evals/cases/[^/]+\.json", path)]
ROLE_PROMPTS = [path for path in FILES if path.startswith("docs/agents/")]
SKILLS = sorted({path.split("/")[1] for path in FILES if path.startswith("skills/") and path.count("/") > 1})

# The list of WORK 13.1, with its braces resolved by `expand`.
REQUIRED = """
wave.config.json
scripts/wave-{status,watch}.sh
docs/agents/wave-{cont-qa,cont-eval,integration,documentation,security,design,planner,infra}-role.md
docs/agents/wave-{deploy-verifier,launcher,orchestrator}-role.md
docs/context7/bundles.json
docs/context7/planner-agent/{README.md,manifest.json,topics/planning-and-orchestration.md}
docs/evals/{benchmark-catalog.json,external-benchmarks.json,external-command-config.sample.json}
docs/evals/{wave-benchmark-program.md,cases/README.md,pilots/README.md}
docs/evals/arm-templates/{README.md,single-agent.json,full-wave.json}
docs/plans/{current-state,master-plan,migration,wave-orchestrator,context7-wave-orchestrator}.md
docs/plans/component-cutover-matrix.{md,json}
docs/plans/{end-state-architecture,sandbox-end-state-architecture,waves/wave-0}.md
docs/plans/examples/wave-example-{live-proof,design-handoff,rollout-fidelity}.md
docs/plans/examples/wave-benchmark-improvement.md
docs/reference/{repository-guidance,wave-planning-lessons,live-proof-waves,sample-waves,skills,cli-reference}.md
docs/reference/{coordination-and-closure,corridor,wave-control}.md
docs/reference/runtime-config/{README,codex,claude,opencode}.md
docs/research/{agent-context-sources,coordination-failure-review}.md
docs/guides/{author-and-run-waves,planner,monorepo-projects,sandboxed-environments,signal-wrappers}.md
docs/guides/{terminal-surfaces,recommendations-0.9.2}.md
docs/concepts/{what-is-a-wave,operating-modes,runtime-agnostic-orchestration,context7-vs-skills}.md
skills/README.md
"""
MARKERS_OF_ROLE = {
    "cont-qa": ["wave-gate", "wave-verdict"],
    "cont-eval": ["wave-eval"],
    "integration": ["wave-integration"],
    "documentation": ["wave-doc-closure"],
    "security": ["wave-security"],
    "design": ["wave-design"],
    "infra": ["infra-status"],
    "deploy-verifier": ["deploy-status"],
    "planner": [],
    "launcher": [],
    "orchestrator": [],
}


def expand(pattern: str) -> list[str]:
    match = re.search(r"\{([^}]*)\}", pattern)
    if not match:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [text for part in match[1].split(",") for text in expand(before + part + after)]


def text_of(path: str) -> str:
    return starter_bytes(path).decode("utf-8")


def json_of(path: str) -> Any:
    return json.loads(text_of(path))


def accepted(text: str) -> list[Any]:
    """Every marker that a reader of the text would believe."""
    signals = scan_text(text)
    return [*signals.latest.items(), *signals.components, *signals.gaps, *signals.deployments, *signals.infra]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeded workspace ä")
    seed(root)
    return root


def seed(root: Path) -> None:
    for path in FILES:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(starter_bytes(path))
        target.chmod(starter_mode(path))


def lane(root: Path) -> LanePaths:
    return build_lane_paths(load_wave_config(str(root)))


# --- the file list --------------------------------------------------------------------------------------------------


def test_every_required_file_is_there() -> None:
    wanted = {path for line in REQUIRED.split() for path in expand(line)}
    assert wanted - set(FILES) == set()
    assert len(CASES) == 7


def test_no_file_is_a_generic_project_file() -> None:
    assert not {"README.md", "CHANGELOG.md", "docs/README.md", ".gitignore", "AGENTS.md"} & set(FILES)


@pytest.mark.parametrize("path", ["", "nope.md", "../__init__.py", "docs", "/etc/hosts"])
def test_only_starter_files_can_be_read(path: str) -> None:
    with pytest.raises(WaveError):
        starter_bytes(path)


def test_only_scripts_are_executable() -> None:
    assert {path for path in FILES if starter_mode(path) & 0o111} == set(expand("scripts/wave-{status,watch}.sh"))


def test_a_bundle_holds_the_same_starter(tmp_path: Path) -> None:
    out = tmp_path / "wave.pyz"
    bundle(str(out))
    program = (
        "import sys, hashlib, json; sys.path.insert(0, sys.argv[1])\n"
        "from wave_lib.definition.starter_data import starter_bytes, starter_files\n"
        "print(json.dumps({p: hashlib.sha256(starter_bytes(p)).hexdigest() for p in starter_files()}))"
    )
    shown = subprocess.run([sys.executable, "-c", program, str(out)], capture_output=True, text=True, check=True).stdout
    from hashlib import sha256

    assert json.loads(shown) == {path: sha256(starter_bytes(path)).hexdigest() for path in FILES}


# --- what is read by machines ---------------------------------------------------------------------------------------


def test_the_configuration_loads_without_a_warning(workspace: Path) -> None:
    paths = lane(workspace)
    assert paths.warnings == ()
    profile = paths.profile
    assert (profile.roles.cont_qa_agent_id, profile.roles.documentation_agent_id) == ("A0", "A9")
    raw = json_of("wave.config.json")
    assert raw["waveControl"] == {"enabled": False}
    assert raw["executors"]["codex"]["sandbox"] == "workspace-write"
    assert '"model"' not in text_of("wave.config.json")
    assert set(raw["executors"]["profiles"]) == {
        "implement-fast", "deep-review", "eval-tuning", "docs-pass", "design-pass", "planning-readonly",
        "security-review", "ops-triage",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["sharedPlanDocs", "requiredPromptReferences", "lessonsPaths", "researchTopicPaths"])
def test_configured_documents_are_seeded(name: str) -> None:
    raw = json_of("wave.config.json")
    listed = (raw.get("sharedPlanDocs") or []) if name == "sharedPlanDocs" else []
    listed += raw["validation"].get(name, []) + raw["planner"]["agentic"].get(name, [])
    assert listed and set(listed) <= set(FILES)


def test_wave_0_is_valid_without_a_warning(workspace: Path) -> None:
    paths = lane(workspace)
    parsed = parse_wave_files(paths)
    assert parsed.errors == [] and parsed.warnings == []
    (wave,) = parsed.waves
    verdict = validate_wave(wave, paths.profile, load_references(paths))
    assert verdict.problems == () and verdict.warnings == ()
    assert [agent.agent_id for agent in wave.agents] == ["A0", "A8", "A9", "A1"]
    owned = [path for agent in wave.agents if agent.agent_id in ("A9", "A1") for path in agent.owned_paths]
    assert set(owned) <= set(FILES)


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_is_a_valid_wave(path: str, tmp_path: Path) -> None:
    """An example becomes a wave by copying it and entering its promotions, as its first lines say."""
    seed(tmp_path)
    number = int(re.search(r"^# Wave (\d+)", text_of(path), re.M)[1])  # type: ignore[index]
    target = tmp_path / f"docs/plans/waves/wave-{number}.md"
    target.write_bytes(starter_bytes(path))
    paths = lane(tmp_path)
    wave = parse_wave_file(str(target), paths.profile, paths.root)
    assert wave.warnings == ()
    matrix = json_of("docs/plans/component-cutover-matrix.json")
    for promotion in wave.component_promotions:
        level = matrix["levels"][matrix["levels"].index(promotion.target_level) - 1]
        matrix["components"][promotion.component_id] = {
            "currentLevel": level,
            "promotions": [{"wave": number, "target": promotion.target_level}],
        }
    (tmp_path / "docs/plans/component-cutover-matrix.json").write_text(json.dumps(matrix))
    verdict = validate_wave(wave, paths.profile, load_references(paths))
    assert verdict.problems == () and verdict.warnings == ()


def test_the_matrix_page_and_its_json_agree(workspace: Path) -> None:
    matrix = load_component_matrix(str(workspace / "docs/plans/component-cutover-matrix.json"))
    assert matrix_differences(matrix, text_of("docs/plans/component-cutover-matrix.md")) == []
    assert {wave for component in matrix.components.values() for wave in [p.wave for p in component.promotions]} == {0}
    assert all(component.current_level == "repo-landed" for component in matrix.components.values())
    assert compare_levels(matrix.levels, "repo-landed", "pilot-live") < 0
    for component in matrix.components.values():
        assert component.title and component.proof_surfaces and set(component.canonical_docs) <= set(FILES)


def test_the_bundle_index_loads(workspace: Path) -> None:
    index = load_bundle_index(str(workspace), "docs/context7/bundles.json")
    assert {"none", "node-typescript", "python-services", "go-services", "react-web", "persistence", "infra-ops",
            "planner-agentic"} == set(index.bundles)  # fmt: skip


def test_the_planner_corpus_manifest_describes_its_files() -> None:
    from hashlib import sha256

    manifest = json_of("docs/context7/planner-agent/manifest.json")
    assert (manifest["bundleId"], manifest["libraryName"]) == ("planner-agentic", "wave-planner-agentic")
    assert manifest["files"]
    for entry in manifest["files"]:
        content = starter_bytes(entry["targetPath"])
        assert (entry["bytes"], entry["sha256"]) == (len(content), sha256(content).hexdigest())


# --- skills ---------------------------------------------------------------------------------------------------------


def test_every_skill_is_valid_and_its_eval_cases_hold(workspace: Path) -> None:
    paths = lane(workspace)
    waves = parse_wave_files(paths).waves
    report = validate_lane_skills(paths.profile.skills, SkillLibrary(str(workspace), "skills"), waves)
    assert list(report.errors) == []
    assert len(SKILLS) == 26


@pytest.mark.parametrize("skill", SKILLS)
def test_a_skill_declares_itself(skill: str) -> None:
    manifest = json_of(f"skills/{skill}/skill.json")
    assert manifest["title"] and manifest["description"] and manifest["activation"]["when"]
    assert manifest["termination"] and manifest["trust"]["tier"] == "repo-owned" and "permissions" in manifest
    lists = [manifest["activation"][key] for key in ("roles", "runtimes", "deployKinds")]
    if any(lists):
        assert {case["expectActive"] for case in manifest["evalCases"]} == {True, False}


def test_the_skills_an_agent_of_wave_0_gets(workspace: Path) -> None:
    paths = lane(workspace)
    (wave,) = parse_wave_files(paths).waves
    agents = tuple(
        agent._replace(executor_resolved=resolve_agent_executor(agent, paths.profile, wave, None))
        for agent in wave.agents
    )
    bound = apply_skills(wave._replace(agents=agents), paths.profile.skills, SkillLibrary(str(workspace), "skills"))
    ids = {agent.agent_id: agent.skills_resolved["ids"] for agent in bound.agents if agent.skills_resolved}
    assert ids["A0"] == ["wave-core", "repo-coding-rules", "role-cont-qa", "runtime-claude"]
    assert ids["A1"] == ["wave-core", "repo-coding-rules", "role-implementation", "runtime-codex"]
    assert resolve_wave_role_bindings(wave, paths.profile.roles).integration == "A8"


# --- prompts and pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", TEXTS)
def test_printing_a_shipped_file_proves_nothing(path: str) -> None:
    text = text_of(path)
    parts = [text, *re.findall(r"^ *`{3,}[^\n]*\n(.*?)^ *`{3,}", text, re.S | re.M)]
    for part in parts:
        assert accepted(part) == [], path
        assert not re.search(r"^\s*(#+\s*)?([-*+]\s+)?(\*\*)?Verdict:", part, re.M), f"{path} holds a verdict line"


@pytest.mark.parametrize("path", ROLE_PROMPTS)
def test_a_role_prompt_teaches_its_marker_and_no_other(path: str) -> None:
    text = text_of(path)
    assert text.startswith('---\ntitle: "') and "\nsummary: " in text and "\n## Standing prompt\n\n```text\n" in text
    role = re.fullmatch(r"docs/agents/wave-(.+)-role\.md", path)[1]  # type: ignore[index]
    taught = re.findall(r"^\[([a-z-]+)\]", text, re.M)
    assert sorted(taught) == sorted(MARKERS_OF_ROLE[role])
    assert "[wave-gap]" not in text
    if role not in ("planner", "launcher"):
        assert "Those are projections." in text and "explicit request" in text


def test_the_marker_reference_has_every_marker_and_an_example_that_would_parse() -> None:
    text = text_of("skills/wave-core/references/marker-syntax.md")
    table, examples = text.split("## One example each")
    tags = {"wave-proof", "wave-doc-delta", "wave-component", "wave-design", "wave-security", "wave-eval",
            "wave-integration", "wave-doc-closure", "wave-gate", "wave-verdict", "wave-phase", "deploy-status",
            "infra-status"}  # fmt: skip
    assert set(re.findall(r"`\[([a-z-]+)\]", table)) == tags
    shown = re.findall(r"`(\[[^`]*)`", examples)
    assert {line[1 : line.index("]")] for line in shown} == tags
    for line in shown:
        assert len(accepted(line)) == 1, line


@pytest.mark.parametrize("path", PAGES)
def test_links_stay_inside_the_seeded_set(path: str) -> None:
    folder = os.path.dirname(path)
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(path)):
        if re.match(r"https?://", target):
            continue
        wanted = os.path.normpath(os.path.join(folder, target.partition("#")[0]))
        assert wanted in FILES, f"{path} links to {target}"


@pytest.mark.parametrize("path", PAGES)
def test_paths_named_in_pages_exist(path: str) -> None:
    """Paths in backticks below docs/, skills/ and scripts/ are seeded, or visibly patterns or examples."""
    if path.startswith(("docs/plans/examples/", "docs/plans/waves/")):
        return
    allowed = ("docs/research/", "docs/plans/waves/", "docs/roadmap.md", "docs/evals/pilots/")
    for named in re.findall(r"`((?:docs|skills|scripts)/[\w./-]+\.(?:md|json|sh))`", text_of(path)):
        assert named in FILES or named.startswith(allowed), f"{path} names {named}"


# --- benchmark cases ------------------------------------------------------------------------------------------------

METRICS = {
    "distributed-info-accuracy": "global", "global-state-reconstruction-rate": "global",
    "summary-fact-retention-rate": "summary", "targeted-inbox-recall": "inboxes",
    "contradiction-detection-rate": "inboxes", "latent-asymmetry-surfacing-rate": "clarifications",
    "repair-closure-rate": "assignments", "contention-resolution-rate": "assignments",
    "capability-routing-precision": "assignments", "premature-convergence-rate": "guard",
    "deadlock-rate": "distinct", "symmetry-breaking-rate": "distinct",
}  # fmt: skip


def test_the_catalog_lists_every_case_and_family(workspace: Path) -> None:
    catalog = load_benchmark_catalog(str(workspace / "docs/evals/benchmark-catalog.json"))
    names = {json_of(path)["id"]: json_of(path) for path in CASES}
    assert set(catalog.local_case_index) == set(names)
    for case_id, place in catalog.local_case_index.items():
        assert (names[case_id]["familyId"], names[case_id]["benchmarkId"]) == (place["familyId"], place["benchmarkId"])
    coordination = [family for family in catalog.families.values() if family["category"] == "coordination"]
    assert len(coordination) == 6 and all(len(family["benchmarks"]) == 3 for family in coordination)
    assert {"service-output", "latency", "quality-regression"} <= set(catalog.families)


@pytest.mark.parametrize("path", CASES)
def test_a_case_expects_something_and_its_records_can_deliver_it(path: str) -> None:
    case = json_of(path)
    fixture, expected = case["fixture"], case["expectations"]
    agents = {agent["agentId"]: agent for agent in fixture["agents"]}
    records = {record["id"]: record for record in fixture["records"]}
    assert path.endswith(f"/{case['id']}.json") and fixture["primaryAgentId"] in agents
    measured = {METRICS[name] for name in [case["scoring"]["primaryMetric"], *case["scoring"]["thresholds"]]}
    present = {
        "global": expected.get("globalFacts"),
        "summary": expected.get("summaryFacts"),
        "inboxes": expected.get("targetedInboxes"),
        "assignments": expected.get("requiredAssignments"),
        "clarifications": expected.get("clarificationRequestIds"),
        "guard": expected.get("requireBlockingGuard"),
        "distinct": expected.get("minimumDistinctAssignedAgents"),
    }
    assert all(present[name] for name in measured)

    def reaches(record: dict[str, Any], agent_id: str) -> bool:
        names = {f"agent:{agent_id}", agent_id, *(f"capability:{name}" for name in agents[agent_id]["capabilities"])}
        return bool(names & set(record["targets"]))

    def delivered(fact: str, agent_id: str) -> bool:
        return any(fact.lower() in r["summary"].lower() for r in records.values() if reaches(r, agent_id))

    for agent_id, facts in (expected.get("targetedInboxes") or {}).items():
        assert all(delivered(fact, agent_id) for fact in facts)
    assert all(delivered(fact, "a8") for fact in expected.get("globalFacts") or ())
    for fact in expected.get("summaryFacts") or ():
        assert any(fact.lower() in r["summary"].lower() for r in records.values() if r["kind"] == "blocker")
    for wanted in expected.get("requiredAssignments") or ():
        assert reaches(records[wanted["requestId"]], wanted["assignedAgentId"])
    assert all(len(record["summary"]) <= 140 for record in records.values()), "longer ones are cut in projections"


def test_one_agent_alone_knows_nothing_that_is_asked_except_half_of_one_state() -> None:
    """What the expected table of WORK 14.62 needs: 0 everywhere, 50 in the silo case."""
    known = {}
    for path in CASES:
        case = json_of(path)
        primary = case["fixture"]["primaryAgentId"]
        own = " ".join(r["summary"].lower() for r in case["fixture"]["records"] if r["agentId"] == primary)
        expected = case["expectations"]
        facts = expected.get("globalFacts") or []
        assert primary not in (expected.get("targetedInboxes") or {})
        known[case["benchmarkId"]] = sum(fact.lower() in own for fact in facts) * 100 / len(facts) if facts else 0
    assert {name for name, share in known.items() if share} == {"cross-agent-state-reconstruction"}
    assert known["cross-agent-state-reconstruction"] == 50
