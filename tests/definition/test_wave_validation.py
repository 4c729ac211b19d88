"""Rules V1-V36 and warnings. Spec: CFG 11, test cases 38-47."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from wave_lab import CONTRACT, EVALUATOR, QA, RELAXED, Lab, agent, role, wave

from wave_lib.base.errors import WaveValidationError
from wave_lib.definition.wave_validation import require_valid

PROMOTES = "## Component promotions\n\n- api: repo-landed"
OWNER = agent(components="- api", exit_contract=CONTRACT)
STEWARD = role(
    "A9",
    "documentation",
    *(f"docs/plans/{name}" for name in ("current-state.md", "master-plan.md", "migration.md")),
)


def rules(root: Path, text: str, number: int = 0, validation: dict[str, Any] | None = None, **config: Any) -> list[str]:
    return Lab(root, validation, **config).rules(text, number)


def test_a_plain_wave_is_valid(tmp_path: Path) -> None:
    assert rules(tmp_path, wave(agent())) == []
    assert rules(tmp_path, wave(OWNER, head=PROMOTES), validation={"requireComponentPromotionsFromWave": 0}) == []


@pytest.mark.parametrize(
    ("text", "number", "validation", "expected"),
    [
        ("# Nothing\n", 0, {}, ["V1", "V4", "V22", "V22"]),
        (wave(agent(), agent(owns=("b",))), 0, {}, ["V2"]),
        (agent(), 0, {}, ["V4", "V22", "V22"]),
        (wave(agent()), 0, {"requireComponentPromotionsFromWave": 0}, ["V5", "V9"]),
        (wave(agent(), head="## Component promotions\n\n- ghost: repo-landed"), 0, {}, ["V6", "V9", "V36"]),
        (wave(OWNER, head="## Component promotions\n\n- api: someday"), 0, {}, ["V6", "V9"]),
        (wave(OWNER, head="## Component promotions\n\n- api: pilot-live"), 0, {}, ["V7", "V9", "V20"]),
        (wave(OWNER, head=PROMOTES), 3, {}, ["V7"]),
        (wave(agent(owns=())), 0, {}, ["V10"]),
        (wave(agent(owns=("../x", "/etc/x"))), 0, {}, ["V11", "V11"]),
        (wave(agent()), 6, {"requireContext7DeclarationsFromWave": 6}, ["V14", "V14", "V34"]),
        (wave(agent()), 5, {"requireContext7DeclarationsFromWave": 6}, []),
        (wave(agent(context7="- bundle: nope")), 0, {}, ["C7"]),
        (wave(role("A8", "integration", "x.md", components="- api")), 0, {}, ["V15"]),
        (wave(agent()), 0, {"requireAgentComponentsFromWave": 0}, ["V9", "V16"]),
        (wave(OWNER, agent("A2", owns=("b",), components="- ghost"), head=PROMOTES), 0, {}, ["V17"]),
        (wave(agent()), 6, {"requireExitContractsFromWave": 6}, ["V18"]),
        (wave(agent(exit_contract="- completion: contract\n- proof: eternal")), 0, {}, ["V19"] * 3),
        (wave(agent(executor="- id: local", proof_artifacts="- src/a.py")), 0, {}, ["V20"]),
        (wave(agent()), 0, {"requiredPromptReferences": ["docs/g.md"]}, ["V21", "V21"]),
        (wave(role("A7", "security", "docs/threats.md")), 0, {}, ["V26"]),
        (wave(agent(capabilities="- security-review", owns=("security.md",))), 0, {}, ["V26"]),
        (wave(role("D1", "design", "docs/x.md")), 0, {}, ["V27"]),
        (wave(role("D1", "design", "docs/design.md", components="- api")), 0, {}, ["V28"]),
        (wave(role("A8", "integration", "security.md", capabilities="- security-review")), 0, {}, ["V26", "V29"]),
        (wave(agent()), 0, {"requireIntegrationStewardFromWave": 0}, ["V30"]),
        (wave(agent()), 0, {"requireDocumentationStewardFromWave": 0}, ["V31"]),
        (wave(STEWARD), 0, {"requireDocumentationStewardFromWave": 0}, []),
        (wave(role("A9", "documentation", "docs/plans/")), 0, {"requireDocumentationStewardFromWave": 0}, []),
        (wave(role("A9", "documentation", "x.md")), 0, {"requireDocumentationStewardFromWave": 0}, ["V32"] * 3),
        (wave(STEWARD, agent(owns=("docs/plans/",))), 0, {"requireDocumentationStewardFromWave": 0}, ["V33"] * 3),
    ],
)  # fmt: skip
def test_each_rule(tmp_path: Path, text: str, number: int, validation: dict[str, Any], expected: list[str]) -> None:
    assert sorted(rules(tmp_path, text, number, validation)) == sorted(expected)


def test_problems_name_file_line_and_agent(tmp_path: Path) -> None:
    text = wave(agent(exit_contract=CONTRACT.replace("unit", "eternal")))
    lab = Lab(tmp_path)
    verdict = lab.verdict(text)
    line = text.split("\n").index("### Exit contract") + 1
    assert [(problem.file, problem.line) for problem in verdict.problems] == [("docs/plans/waves/wave-0.md", line)]
    with pytest.raises(
        WaveValidationError, match=rf"Invalid wave 0 \(docs/plans/waves/wave-0.md\): Agent A1.*line {line}"
    ):
        require_valid(lab.parse(text), verdict)


def test_cont_qa_may_have_any_id(tmp_path: Path) -> None:
    assert rules(tmp_path, QA.replace("Agent A0", "Agent QA1") + agent()) == []


@pytest.mark.parametrize(
    ("executor", "expected"),
    [
        ("- id: claude\n- codex.search: yes", ["V13"]),
        ("- profile: here\n- codex.search: yes", ["V13"]),
        ("- profile: here", []),
        ("- profile: gone", ["V13"]),
        ("- codex.search: yes\n- claude.effort: low", []),
        ("- id: command", ["V13"]),
        ('- id: command\n- command.argv: ["x", "{promptFile}"]\n- command.prompt_transport: file', []),
        ('- id: command\n- command.argv: ["x"]\n- command.prompt_transport: file', ["V13"]),
    ],
)
def test_executor_blocks_fit_the_executor(tmp_path: Path, executor: str, expected: list[str]) -> None:
    profiles = {"here": {"id": "local", "codex": {"json": True}}}
    assert rules(tmp_path, wave(agent(executor=executor)), executors={"profiles": profiles}) == expected


def test_eval_targets_and_cont_eval_come_together(tmp_path: Path) -> None:
    def target(words: str) -> str:
        return f"## Eval targets\n\n- id: a | {words} | objective: o | threshold: t"

    pinned = target("selection: pinned | benchmarks: golden")
    lab = Lab(tmp_path)
    assert lab.rules(wave(EVALUATOR), 4) == ["V24"]
    assert lab.rules(wave(agent(), head=pinned), 4) == ["V24"]
    assert lab.rules(wave(EVALUATOR, head=pinned), 4) == []
    for words in (
        "pinned | benchmarks: gone",
        "pinned | benchmark-family: output | benchmarks: latency",
        "delegated | benchmark-family: x",
    ):
        assert lab.rules(wave(EVALUATOR, head=target(f"selection: {words}")), 4) == ["V25"]
    delegated = lab.verdict(
        wave(EVALUATOR, head=target("selection: delegated | benchmark-family: output | benchmarks: latency"))
    )
    assert [item.rule for item in delegated.warnings] == ["W2"] and not delegated.problems


def test_cont_eval_that_implements_needs_an_exit_contract(tmp_path: Path) -> None:
    head = "## Eval targets\n\n- id: a | selection: pinned | benchmarks: golden | objective: o | threshold: t"
    validation = {"requireExitContractsFromWave": 6}
    assert rules(tmp_path, wave(EVALUATOR, head=head), 6, validation) == []
    owning = role("E0", "cont-eval", "docs/eval.md", "x.go")
    assert rules(tmp_path, wave(owning, head=head), 6, validation) == ["V18"]


def test_a_later_promotion_explains_a_level_that_is_already_higher(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    steps = [{"wave": 0, "target": "repo-landed"}, {"wave": 1, "target": "baseline-proved"}]
    text = wave(OWNER, head=PROMOTES)
    lab.matrix({"api": {"currentLevel": "baseline-proved", "promotions": steps}})
    assert lab.rules(text) == []
    lab.matrix({"api": {"currentLevel": "baseline-proved", "promotions": steps[:1]}})
    assert lab.rules(text) == ["V8"]
    assert lab.rules(text, completed_waves={0}) == []


def test_an_unreadable_matrix_counts_only_for_waves_that_need_it(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.write("docs/plans/component-cutover-matrix.json", "{")
    assert lab.rules(wave(agent())) == []
    assert lab.rules(wave(OWNER, head=PROMOTES)) == ["V3"]


def test_a_missing_matrix_is_said_once_with_its_name(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    promoting = wave(agent(), head="## Component promotions\n\n- api: repo-landed")
    (tmp_path / "docs/plans/component-cutover-matrix.json").unlink(missing_ok=True)
    (problem,) = (item for item in lab.verdict(promoting).problems if item.rule == "V3")
    assert problem.message.count("missing or invalid") == 1
    assert problem.message.endswith("docs/plans/component-cutover-matrix.json: No such file or directory")


def test_unselected_waves_warn_when_completed_or_never_run(tmp_path: Path) -> None:
    lab, text = Lab(tmp_path), wave(agent(owns=()))
    assert [item.rule for item in lab.verdict(text, selected=False).warnings] == ["V10"]
    assert lab.rules(text, selected=False, completed_waves={0}) == []
    assert lab.rules(text, selected=False, ran_waves={0}) == ["V10"]
    assert lab.rules(text, selected=True, completed_waves={0}) == ["V10"]


def test_runtime_mix_skills_and_shared_files(tmp_path: Path) -> None:
    lab = Lab(tmp_path, runtimePolicy={"runtimeMixTargets": {"codex": 1}})
    verdict = lab.verdict(wave(agent(skills="- gone"), agent("A2")))
    assert [item.rule for item in verdict.problems] == ["skills", "V35"]
    assert [str(item.message) for item in verdict.warnings] == ["src/a.py is owned by both A1 and A2"]


def test_a_link_out_of_the_repository_is_no_owned_path(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "repo")
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", tmp_path / "repo/link")
    assert lab.rules(wave(agent(owns=("link/file.py",)))) == ["V11"]


def test_the_strictest_configuration_accepts_a_complete_wave(tmp_path: Path) -> None:
    strict = {key: 0 for key in RELAXED if key != "requiredPromptReferences"}
    lab = Lab(tmp_path, strict)
    documents = [f"docs/plans/{name}" for name in ("current-state.md", "master-plan.md", "migration.md")]
    matrix = [f"docs/plans/component-cutover-matrix.{kind}" for kind in ("md", "json")]
    none = "- bundle: none"
    blocks = [
        role("A8", "integration", "docs/reviews/integration.md", context7=none),
        role("A9", "documentation", *documents, *matrix, context7=none),
        agent(components="- api", exit_contract=CONTRACT, context7=none),
    ]
    text = wave(*blocks, head=f"## Context7 defaults\n\n{none}\n\n{PROMOTES}")
    assert (
        lab.rules(
            text.replace(
                "- docs/agents/wave-cont-qa-role.md", f"- docs/agents/wave-cont-qa-role.md\n\n### Context7\n\n{none}"
            )
        )
        == []
    )
