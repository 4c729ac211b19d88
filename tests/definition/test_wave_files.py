"""The grammar of wave files. Spec: CFG 8 and its test cases 21-35."""

from __future__ import annotations

from pathlib import Path

import pytest
from wave_lab import QA, Lab, agent, wave

from wave_lib.base.errors import WaveError
from wave_lib.definition.wave_agent_section import extract_owned_paths
from wave_lib.definition.wave_files import WaveFileError, list_wave_files, parse_wave_files
from wave_lib.definition.wave_types import DeployEnvironment, ProofArtifact, wave_to_json


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def problems(lab: Lab, text: str) -> list[str]:
    with pytest.raises(WaveFileError) as caught:
        lab.parse(text)
    return [problem.message for problem in caught.value.problems]


def test_agents_in_order_with_titles_and_commit_message(lab: Lab) -> None:
    parsed = lab.parse_file(wave(agent("A1", "Code: part two (of 3)"), agent("A2", "More", ("src/b.py",))))
    assert [(item.agent_id, item.title, item.slug) for item in parsed.agents[1:]] == [
        ("A1", "Code: part two (of 3)", "0-a1"),
        ("A2", "More", "0-a2"),
    ]
    assert (parsed.title, parsed.commit_message) == ("Wave 0 - Try", "Feat: try")
    assert parsed.file == "docs/plans/waves/wave-0.md"
    assert parsed.cont_qa_report_path == "docs/reviews/qa.md"


def test_line_ends_and_byte_order_mark_do_not_matter(lab: Lab) -> None:
    text = wave(agent())
    plain = lab.parse_file(text)
    crlf = lab.wave_file("")
    crlf.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert parse_wave_files(lab.paths).waves == [plain]


def test_headings_inside_the_prompt_are_text(lab: Lab) -> None:
    text = wave(agent(prompt="Read:\n\n### Notes\n\n## Agent X9: none\n\n# Top")).replace("```text", "````text")
    text = text.replace("\n```\n", "\n````\n").replace("Read:", "Read:\n```bash\nls\n```")
    parsed = lab.parse(text)
    assert [item.agent_id for item in parsed.agents] == ["A0", "A1"]
    assert "### Notes" in parsed.agents[1].prompt_overlay and "```bash" in parsed.agents[1].prompt_overlay


def test_a_fence_that_ends_too_early_names_the_remedy_and_not_its_consequence(lab: Lab) -> None:
    found = problems(lab, wave(agent(prompt="Run:\n```bash\nls\n```\nthen stop")))
    assert any("longer outer fence" in message for message in found)
    assert not any("never closed" in message for message in found)
    assert "never closed" in problems(lab, wave(agent()) + "## Notes\n\n~~~\nopen")[0]
    open_prompt = wave(agent()) + "## Agent B2: Open\n\n### Prompt\n\n~~~\nopen"
    assert problems(lab, open_prompt)[-1].startswith("Agent B2: the fence")


@pytest.mark.parametrize(("old", "new"), [("### Prompt", "### Words"), ("```", "")])
def test_a_prompt_that_cannot_be_read_is_the_only_problem(lab: Lab, old: str, new: str) -> None:
    head, mark, block = wave(agent(deliverables="- src/a.py")).rpartition("## Agent A1")
    assert old in block
    found = problems(lab, head + mark + block.replace(old, new))
    assert len(found) == 1 and found[0].startswith("Agent A1: the ") and "prompt" in found[0].lower()


def test_a_tab_may_follow_the_dash_of_a_bullet(lab: Lab) -> None:
    text = wave(agent(owns=("src/a.py", "src/b.py"), capabilities="-\tone\n\t- two"))
    parsed = lab.parse(text.replace("- src", "-\tsrc"))
    assert parsed.agents[1].capabilities == ("one", "two")
    assert parsed.agents[1].owned_paths == ("src/a.py", "src/b.py")


def test_wrong_letters_make_an_invalid_id_and_other_text_a_malformed_entry(lab: Lab) -> None:
    promotion = "## Component promotions\n\n- {}: live"
    assert 'invalid component id "Api"' in problems(lab, wave(agent(), head=promotion.format("Api")))[0]
    assert "malformed component promotion" in problems(lab, wave(agent(), head=promotion.format("the api")))[0]
    assert 'invalid component "Api"' in problems(lab, wave(agent(components="- Api")))[0]
    assert 'malformed component entry "the api"' in problems(lab, wave(agent(components="- the api")))[0]


def test_text_after_the_prompt_is_a_warning_with_its_line(lab: Lab) -> None:
    parsed = lab.parse(wave(agent() + "A stray remark.\n"))
    line = wave(agent() + "A stray remark.\n").split("\n").index("A stray remark.")
    assert any(f"wave-0.md:{line}:" in text or f"wave-0.md:{line - 1}:" in text for text in parsed.warnings)


@pytest.mark.parametrize("heading", ["Exit Contract", "exit contract ", "Exit contract:", "Exit contract ##"])
def test_spelling_of_headings_does_not_matter(lab: Lab, heading: str) -> None:
    contract = "- completion: contract\n- durability: none\n- proof: unit\n- docImpact: none"
    parsed = lab.parse(wave(agent(exit_contract=contract).replace("### Exit contract", f"### {heading}")))
    assert parsed.agents[1].exit_contract is not None and parsed.agents[1].exit_contract.doc_impact == "none"


def test_all_problems_of_a_file_are_reported_with_their_lines(lab: Lab) -> None:
    text = wave(agent("../../x"), "## Agent A1:\n\n", agent("A2"), agent("a2", owns=("b",)), agent("launcher"))
    with pytest.raises(WaveFileError) as caught:
        lab.parse(text)
    found = caught.value.problems
    assert len(found) == 4
    for problem, words in zip(found, ("../../x", "no title", "same slug", "reserved")):
        assert words in problem.message
        assert text.split("\n")[problem.line - 1].startswith("## Agent")
    assert str(caught.value).startswith(f"docs/plans/waves/wave-0.md:{found[0].line}: ")


def test_sections_twice_unknown_or_misspelt(lab: Lab) -> None:
    doubled = agent(skills="- one") + "### Skills\n\n- two\n"
    assert any("duplicate section" in message for message in problems(lab, wave(doubled)))
    parsed = lab.parse(wave(agent(delivrables="- src/a.py"), head="## Componnt promotions\n\n- api: live"))
    assert any("deliverables" in text for text in parsed.warnings)
    assert any("component promotions" in text for text in parsed.warnings)


def test_an_agent_ends_at_the_next_section_of_the_wave(lab: Lab) -> None:
    parsed = lab.parse(wave(agent()) + "## Component promotions\n\n- api: repo-landed\n")
    assert parsed.promoted_levels() == {"api": "repo-landed"}


def test_lists_take_comments_and_report_other_lines(lab: Lab) -> None:
    assert lab.parse(wave(agent(skills="<!-- why -->\n\n  - One\n- `two`"))).agents[1].skills == ("one", "two")
    assert "skill entry is malformed" in problems(lab, wave(agent(skills="Choose some:\n- one")))[0]
    assert "duplicate skill" in problems(lab, wave(agent(skills="- one\n- ONE")))[0]
    assert "component id" in problems(lab, wave(agent(capabilities="- Schema-Migration")))[0]


def test_owned_paths_end_at_labels_headings_and_fences() -> None:
    overlay = """Build.
File ownership (only touch these paths):
- src/a.ts (new)
- `src/b.ts` — moved
  - "src/dir/"
* star.js

prose does not close
- src/a.ts
Do not touch (ever):
- infra/prod.tf
file OWNERSHIP again
- later.js
## Notes
- not/owned.js
"""
    assert extract_owned_paths(overlay).paths == ("src/a.ts", "src/b.ts", "src/dir/", "later.js")
    doubtful = extract_owned_paths("File ownership\n- src/*.py\n- two words").doubtful
    assert [path for _, path in doubtful] == ["src/*.py", "two words"]


def test_ownership_comes_from_the_local_prompt_only(lab: Lab) -> None:
    role_text = "# R\n\n## Standing prompt\n\n~~~\nStand.\n\nFile ownership:\n- stolen.md\n~~~\n"
    lab.write("docs/agents/extra.md", role_text)
    parsed = lab.parse(wave(agent(role_prompts="- `docs/agents/extra.md`\n- docs/agents/extra.md")))
    assert parsed.agents[1].owned_paths == ("src/a.py",)
    assert parsed.agents[1].role_prompt_paths == ("docs/agents/extra.md",)
    assert parsed.agents[1].prompt.startswith("Stand.\n\nFile ownership:\n- stolen.md\n\nBuild it.")


def test_role_prompts_stay_in_their_directory_and_hold_a_standing_prompt(lab: Lab) -> None:
    lab.write("docs/agents/empty.md", "# nothing here\n")
    entries = ["docs/plans/x.md", "docs/agents/../../src/x.md", "docs/agents/gone.md", "docs/agents/empty.md"]
    found = problems(lab, wave(agent(role_prompts="\n".join(f"- {entry}" for entry in entries))))
    assert len(found) == 4
    assert all("Agent A1" in message and entry in message for message, entry in zip(found, entries))


@pytest.mark.parametrize(
    ("deliverable", "words"),
    [("README.md", "not owned"), ("src/", "directory"), ("src/../x", "not owned"), ("/etc/x", "relative")],
)
def test_deliverables_are_owned_files(lab: Lab, deliverable: str, words: str) -> None:
    assert words in problems(lab, wave(agent(owns=("src/",), deliverables=f"- {deliverable}")))[0]


def test_proof_artifacts(lab: Lab) -> None:
    entries = (
        '- `a/one.txt`\n- Kind: log | path: ./a/two.txt\n- path: "a/b.json" | kind: live | required-for: pilot-live'
    )
    parsed = lab.parse(wave(agent(owns=("a/",), proof_artifacts=entries)))
    assert parsed.agents[1].proof_artifacts == (
        ProofArtifact("a/one.txt"),
        ProofArtifact("./a/two.txt", "log"),
        ProofArtifact("a/b.json", "live", ("pilot-live",)),
    )
    assert "maturity level" in problems(lab, wave(agent(proof_artifacts="- path: src/a.py | required-for: someday")))[0]
    assert "has no path" in problems(lab, wave(agent(proof_artifacts="- kind: log")))[0]


def test_executor_keys_lists_and_json(lab: Lab) -> None:
    parsed = lab.parse(
        wave(
            agent(
                executor='- id: Codex\n- profile: Deep\n- codex.config: model_reasoning_effort="high",tools=["a","b"]\n'
                "- codex.search: yes\n- budget.turns: 6\n- tags: it's fine, that's all\n"
                '- claude.settings_json: {"a": [1]}\n- opencode.permission: "ask"\n'
                '- opencode.instructions: "Be, brief", x\n'
                '- command.argv: ["x", ["--m", "{model}"]]\n- command.success_exit_codes: [0, 3]'
            )
        )
    )
    config = parsed.agents[1].executor_config
    assert config is not None
    assert (config["id"], config["profile"], config["budget"]) == ("codex", "deep", {"turns": 6, "minutes": None})
    assert config["codex"] == {"config": ['model_reasoning_effort="high"', 'tools=["a","b"]'], "search": True}
    assert config["tags"] == ["it's fine", "that's all"]
    assert config["claude"] == {"settingsJson": {"a": [1]}}
    assert config["opencode"] == {"permission": "ask", "instructions": ["Be, brief", "x"]}
    assert config["command"] == {"argv": ["x", ["--m", "{model}"]], "successExitCodes": [0, 3]}
    plain = lab.parse(wave(agent(executor="- id: claude"))).agents[1].executor_config
    assert list(plain or {}) == (
        [
            "id",
            "profile",
            "model",
            "fallbacks",
            "tags",
            "budget",
            "retryPolicy",
            "allowFallbackOnRetry",
            "codex",
            "claude",
            "opencode",
        ]
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("- codex.sandbx: x", "codex.sandbx"),
        ("- model:", "empty value"),
        ("- nonsense", "malformed"),
        ("- id: abacus", "one of codex"),
        ("- budget.minutes: 5x", "budget.minutes must be an integer"),
        ("- claude.settings_json: {broken", "invalid JSON"),
        ('- command.argv: ["{nope}"]', "unknown placeholder"),
        ("- id: codex\n- id: claude", "duplicate key"),
    ],
)
def test_executor_errors_name_the_key(lab: Lab, line: str, words: str) -> None:
    found = problems(lab, wave(agent(executor=line)))
    assert words in found[0] and "Agent A1: executor" in found[0] and ";" not in found[0]


def test_deploy_environments(lab: Lab) -> None:
    parsed = lab.parse(wave(agent(), head="## Deploy environments\n\n- `Prod`: `kubernetes` Default (main)\n- b: aws"))
    assert parsed.deploy_environments == (
        DeployEnvironment("prod", "kubernetes", True, "main"),
        DeployEnvironment("b", "aws", False, None),
    )
    first = lab.parse(wave(agent(), head="## Deploy environments\n\n- a: x\n- b: y")).deploy_environments
    assert [item.is_default for item in first] == [True, False]
    for body, words in (
        ("- a: x\n- a: y", "duplicate"),
        ("- a: x default\n- b: y default", "default"),
        ("- a x", "malformed"),
    ):
        assert words in problems(lab, wave(agent(), head=f"## Deploy environments\n\n{body}"))[0]


def test_promotions_targets_and_context7(lab: Lab) -> None:
    head = (
        "## Component promotions\n\n- api: repo-landed\n\n## Eval targets\n\n"
        '- id: Out | selection: Pinned | benchmarks: golden , more | objective: "Keep" | threshold: same\n\n'
        '## Context7 defaults\n\n- bundle: web\n- query: "a \\"b\\"  c"\n- nope: x\n'
    )
    parsed = lab.parse(wave(agent(components="- api"), head=head))
    assert wave_to_json(parsed)["componentPromotions"] == [{"componentId": "api", "targetLevel": "repo-landed"}]
    assert parsed.agents[1].component_targets == {"api": "repo-landed"}
    assert parsed.eval_targets[0].benchmarks == ("golden", "more")
    assert parsed.context7_defaults == ("web", 'a "b" c')
    assert any('unknown key "nope"' in text for text in parsed.warnings)
    for bad in (
        "- id: a | selection: pinned | objective: o | threshold: t",
        "- id: a | selection: delegated | objective: o | threshold: t",
    ):
        assert "evalTargets[0]" in problems(lab, wave(agent(), head=f"## Eval targets\n\n{bad}"))[0]


def test_capabilities_follow_role_prompts(lab: Lab) -> None:
    text = wave(agent(role_prompts="- docs/agents/wave-security-role.md\n- docs/agents/wave-design-role.md"))
    assert lab.parse(text).agents[1].capabilities == ("design", "security-review")


def test_files_of_a_lane(lab: Lab) -> None:
    folder = lab.root / "docs/plans/waves"
    with pytest.raises(WaveError, match="Waves directory not found"):
        list_wave_files(str(folder))
    lab.write("docs/plans/waves/notes.md", "")
    with pytest.raises(WaveError, match="No wave files found"):
        list_wave_files(str(folder))
    for number in (10, 2):
        lab.wave_file(wave(agent()), number)
    lab.write("docs/plans/waves/wave-007.md", "## Agent A1: only a heading\n")
    assert [number for number, _ in list_wave_files(str(folder))] == [2, 7, 10]
    parsed = parse_wave_files(lab.paths)
    assert [item.wave for item in parsed.waves] == [2, 10] and [error.wave for error in parsed.errors] == [7]
    assert [item.wave for item in parse_wave_files(lab.paths, [10]).waves] == [10]
    assert any("title says wave 0" in text for text in parsed.warnings)
    lab.wave_file("", 7)
    with pytest.raises(WaveError, match="duplicate wave 7"):
        list_wave_files(str(folder))


def test_undecodable_files_name_the_line(lab: Lab) -> None:
    lab.wave_file("").write_bytes(f"{QA}\n".encode() + b"\xff\n")
    error = parse_wave_files(lab.paths).errors[0]
    assert "not UTF-8" in str(error) and error.line == QA.count("\n") + 2


def test_a_nul_character_is_an_error_with_its_line(lab: Lab) -> None:
    lab.wave_file("").write_text(wave(agent()).replace("src/", "s\0rc/", 1))
    error = str(parse_wave_files(lab.paths).errors[0])
    assert "NUL character" in error and "wave-0.md:" in error


def test_thousands_of_headings_cost_no_more_than_their_number(lab: Lab) -> None:
    noise = "### Note\n\n- a: b\n\n" * 100_000  # a search per heading would take minutes
    assert [item.agent_id for item in lab.parse_file(wave(agent()) + noise).agents] == ["A0", "A1"]


@pytest.mark.parametrize("target", ["wave-0.md", "nowhere.md"])
def test_a_link_that_leads_nowhere_is_an_error_that_names_it(lab: Lab, target: str) -> None:
    path = lab.wave_file(wave(agent()))
    path.unlink()
    path.symlink_to(target)
    found = parse_wave_files(lab.paths)
    assert found.waves == [] and "docs/plans/waves/wave-0.md" in str(found.errors[0])
