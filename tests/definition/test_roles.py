"""Who holds which role, and which file is a report. Spec: CFG 9, test cases 37-39."""

from __future__ import annotations

import pytest

from wave_lib.definition import roles
from wave_lib.definition.lane_profile import Roles
from wave_lib.definition.wave_types import Agent, Wave

LANE = Roles()


def agent(agent_id: str = "A1", title: str = "Code", owns: tuple[str, ...] = ("src/a.py",), **fields: object) -> Agent:
    return Agent(agent_id, title, agent_id.lower(), owned_paths=owns)._replace(**fields)  # type: ignore[arg-type]


def importing(agent_id: str, role: str, *owns: str) -> Agent:
    return agent(agent_id, role, owns, role_prompt_paths=(f"docs/agents/wave-{role}-role.md",))


def bind(*agents: Agent, **fields: object) -> roles.RoleBindings:
    wave = Wave(1, "w.md", agents=agents)._replace(**fields)  # type: ignore[arg-type]
    return roles.resolve_wave_role_bindings(wave, LANE)


@pytest.mark.parametrize(
    ("predicate", "path", "expected"),
    [
        (roles.is_cont_qa_report, "docs/Reviews/x.MD", True),
        (roles.is_cont_qa_report, "docs/review-1/x.txt", True),
        (roles.is_cont_qa_report, "docs/preview/x.md", False),
        (roles.is_cont_qa_report, "a/contqa.md", True),
        (roles.is_cont_qa_report, "docs/reviews/x.json", False),
        (roles.is_cont_eval_report, "a\\evaluation.md", True),
        (roles.is_security_report, "docs/reviews/threats.md", False),
        (roles.is_security_report, "docs/reviews/Security.md", True),
        (roles.is_design_packet, "docs/handoff/w.txt", True),
        (roles.is_design_packet, "src/design.py", False),
    ],
)
def test_report_paths(predicate: object, path: str, expected: bool) -> None:
    assert predicate(path) is expected  # type: ignore[operator]


def test_a_report_falls_back_to_a_first_text_file_only() -> None:
    assert roles.cont_qa_report_path(agent(owns=("src/x.py", "docs/reviews/q.md"))) == "docs/reviews/q.md"
    assert roles.cont_qa_report_path(agent(owns=("notes.txt", "src/x.py"))) == "notes.txt"
    assert roles.cont_qa_report_path(agent(owns=("src/x.py", "notes.txt"))) is None
    assert roles.cont_eval_report_path(None) is None


@pytest.mark.parametrize(
    ("owned", "path", "covered"),
    [
        ("src/", "src/x", True),
        ("src/", "./src/x", True),
        ("src/", "src/../x", False),
        ("src", "src/x", False),
        ("./a.md", "a.md", True),
        ("src/", "srcs/x", False),
    ],
)
def test_ownership(owned: str, path: str, covered: bool) -> None:
    assert roles.covers(owned, path) is covered


def test_titles_make_no_reviewers_and_other_files_make_designers_hybrid() -> None:
    assert not roles.is_security_reviewer(agent(title="Security Hardening Engineer"), LANE)
    assert roles.is_security_reviewer(agent(capabilities=("security-review",)), LANE)
    assert roles.is_security_reviewer(agent(role_prompt_paths=("other/wave-security-role.md",)), LANE)
    designer = importing("D1", "design", "docs/plans/waves/design/w.md")
    assert roles.is_docs_only_design(designer, LANE) and not roles.is_hybrid_design(designer, LANE)
    hybrid = designer._replace(owned_paths=(*designer.owned_paths, "src/r.ts"))
    assert roles.is_hybrid_design(hybrid, LANE) and roles.is_implementation_owning(hybrid, bind(hybrid))


def test_bindings_follow_the_only_importer_then_the_lane() -> None:
    assert bind(importing("QA1", "cont-qa", "q.md")).cont_qa == "QA1"
    several = (importing("QA1", "cont-qa"), importing("A0", "cont-qa"))
    assert bind(*several).cont_qa == "A0"
    assert bind(importing("QA1", "cont-qa"), importing("QA2", "cont-qa")).cont_qa == "A0"
    assert bind(importing("QA1", "cont-qa"), cont_qa_agent_id="X").cont_qa == "X"
    bindings = bind(importing("A7", "security"))
    assert bindings.security_reviewers == ("A7",)
    assert bindings.closure_agents == ("A0", "A7", "A8", "A9", "E0")


def test_bound_ids_are_kept_when_bindings_are_resolved_again() -> None:
    wave = Wave(1, "w.md", agents=(importing("QA1", "cont-qa", "docs/reviews/q.md"),))
    bindings = roles.resolve_wave_role_bindings(wave, LANE)
    applied = roles.apply_role_bindings(wave, bindings, "main")
    assert (applied.lane, applied.cont_qa_report_path) == ("main", "docs/reviews/q.md")
    assert roles.resolve_wave_role_bindings(applied, LANE) == bindings


def test_implementation_owning_and_closure_roles() -> None:
    report_only = importing("E0", "cont-eval", "docs/eval.md")
    owning = report_only._replace(owned_paths=("docs/eval.md", "x.go"))
    assert not roles.is_implementation_owning(report_only, bind(report_only))
    assert roles.is_implementation_owning(owning, bind(owning))
    assert not roles.is_implementation_owning(agent("A9"), bind(agent("A9")))
    both = importing("A8", "integration")._replace(capabilities=("security-review",))
    assert roles.closure_roles(both, bind(both)) == ("security-review", "integration")


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (agent("A0"), "cont-qa"),
        (agent("E0"), "cont-eval"),
        (agent("A8"), "integration"),
        (agent("A9"), "documentation"),
        (agent(capabilities=("design", "deploy")), "design"),
        (agent(capabilities=("security-review",)), "security"),
        (agent(capabilities=("infra-network",)), "infra"),
        (agent(title="Deploy Verifier"), "deploy"),
        (agent(title="Redeployed Research"), "research"),
        (agent(title="Infrastructure"), "implementation"),
    ],
)
def test_runtime_role(who: Agent, expected: str) -> None:
    assert roles.runtime_role(who, bind(who)) == expected
