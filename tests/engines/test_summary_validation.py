"""One validator a role: GATE 7 and the cases 25 to 45 of GATE 17, from printed lines through the envelope."""

from __future__ import annotations

from typing import Any

import pytest
from gate_scenes import (
    CORE,
    DELTA,
    DESIGNER,
    EVALUATOR,
    GAP,
    GOOD,
    PROOF,
    REVIEWER,
    STEWARDS,
    TARGET,
    artifact,
    profile,
    summary_of,
    wave_of,
    worker,
)

from wave_lib.definition.evals import BenchmarkCatalog, EvalTarget
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, ExitContract
from wave_lib.engines.cont_eval_validation import validate_cont_eval_summary
from wave_lib.engines.summary_validation import (
    Report,
    failure_class,
    validate_cont_qa_summary,
    validate_deploy_summary,
    validate_design_summary,
    validate_documentation_summary,
    validate_implementation_summary,
    validate_infra_summary,
    validate_integration_summary,
    validate_security_summary,
)
from wave_lib.state.result_envelope import build_envelope, project_summary

LANE = profile()
THERE, GONE, UNOWNED = Report("r.md", True), Report("r.md", False), Report(None, False)


def summarised(item: Agent, log: str, **options: Any) -> dict[str, Any]:
    """What the gates see of an agent that printed `log`."""
    wave = wave_of(item, *STEWARDS) if item.agent_id not in ("A0", "A8", "A9") else wave_of(*STEWARDS)
    bindings = resolve_wave_role_bindings(wave, LANE.roles)
    summary = summary_of(item, wave, log, lane=LANE, **options)
    return project_summary(build_envelope(summary, item, bindings, wave_number=0, attempt=1))


PLAIN = worker(exit_contract=None, components=(), component_targets={})
STRONG = worker(exit_contract=ExitContract("integrated", "none", "integration", "owned"))
WITH_FILE = worker(deliverables=("src/a.py",))
BAD_PROOF = PROOF.replace("met", "met,")
LIVE_ARTIFACT = worker(proof_artifacts=(artifact("p.log", "pilot-live"),))
ALWAYS_ARTIFACT = worker(proof_artifacts=(artifact("p.log"),))

IMPLEMENTATION: list[tuple[str, Agent, str, dict[str, Any], str]] = [
    ("nothing promised", PLAIN, "", {}, "pass"),
    ("nothing promised, gap", PLAIN, GAP, {}, "wave-proof-gap"),
    ("nothing promised, failed", PLAIN, "", {"exit_code": 3}, "nonzero-exit"),
    ("deliverable only", PLAIN._replace(deliverables=("a",)), "", {"missing": ("a",)}, "missing-deliverable"),
    ("all good", worker(), GOOD["A1"], {}, "pass"),
    ("no proof", worker(), f"{DELTA}\n{CORE}", {}, "missing-wave-proof"),
    ("malformed proof", worker(), f"{BAD_PROOF}\n{DELTA}\n{CORE}", {}, "invalid-wave-proof-format"),
    ("gap", worker(), f"{GAP}\n{DELTA}\n{CORE}", {}, "wave-proof-gap"),
    ("too weak", STRONG, GOOD["A1"], {}, "completion-gap"),
    ("stronger", worker(), GOOD["A1"].replace("completion=contract", "completion=live"), {}, "pass"),
    ("weak level", STRONG, GOOD["A1"].replace("=contract", "=integrated"), {}, "proof-level-gap"),
    ("no delta", worker(), f"{PROOF}\n{CORE}", {}, "missing-doc-delta"),
    ("bad delta", worker(), f"{PROOF}\n[wave-doc-delta] state=maybe\n{CORE}", {}, "invalid-doc-delta-format"),
    (
        "weak delta",
        STRONG,
        GOOD["A1"].replace("=contract", "=live").replace("proof=unit", "proof=live"),
        {},
        "doc-impact-gap",
    ),
    ("no component", worker(), f"{PROOF}\n{DELTA}", {}, "missing-wave-component"),
    ("bad component", worker(), f"{PROOF}\n{DELTA}\n{CORE},", {}, "invalid-wave-component-format"),
    ("other component", worker(), GOOD["A1"].replace("=core", "=other"), {}, "missing-wave-component"),
    ("level", worker(), GOOD["A1"].replace("repo-landed", "pilot-live"), {}, "component-level-mismatch"),
    ("component gap", worker(), f"{PROOF}\n{DELTA}\n{CORE.replace('met', 'gap')}", {}, "component-gap"),
    ("deliverable", WITH_FILE, GOOD["A1"], {"missing": ("src/a.py",)}, "missing-deliverable"),
    ("artifact below its level", LIVE_ARTIFACT, GOOD["A1"], {"missing": ("p.log",)}, "pass"),
    ("artifact", ALWAYS_ARTIFACT, GOOD["A1"], {"missing": ("p.log",)}, "missing-proof-artifact"),
    ("failed process", worker(), GOOD["A1"], {"exit_code": 7}, "nonzero-exit"),
]


@pytest.mark.parametrize(
    ("item", "log", "options", "code"), [row[1:] for row in IMPLEMENTATION], ids=[row[0] for row in IMPLEMENTATION]
)
def test_implementation(item: Agent, log: str, options: dict[str, Any], code: str) -> None:
    verdict = validate_implementation_summary(item, summarised(item, log, **options))
    assert verdict.status_code == code
    assert verdict.ok == (code == "pass") == (verdict.failure_class is None)


def test_a_summary_is_needed_once_something_is_promised() -> None:
    assert validate_implementation_summary(PLAIN, None).ok
    assert validate_implementation_summary(worker(), None).status_code == "missing-summary"


def test_a_file_deleted_since_is_missing() -> None:
    summary = summarised(WITH_FILE, GOOD["A1"])
    assert validate_implementation_summary(WITH_FILE, summary).ok
    verdict = validate_implementation_summary(WITH_FILE, summary, {"src/a.py": False})
    assert verdict.status_code == "missing-deliverable" and verdict.failure_class == "artifact-failure"


@pytest.mark.parametrize(
    ("options", "eligible"), [({}, True), ({"exit_code": 1}, False), ({"missing": ("src/a.py",)}, False)]
)
def test_only_what_is_otherwise_in_place_may_be_adjudicated(options: dict[str, Any], eligible: bool) -> None:
    summary = summarised(WITH_FILE, f"{BAD_PROOF}\n{DELTA}\n{CORE}", **options)
    verdict = validate_implementation_summary(WITH_FILE, summary)
    assert verdict.status_code == "invalid-wave-proof-format"
    assert verdict.eligible_for_adjudication is eligible
    assert BAD_PROOF in verdict.detail


def test_a_missing_marker_carries_the_reason_the_process_ended() -> None:
    summary = summarised(worker(), "Reached max turns (12)", exit_code=1)
    assert "Reached max turns (12)" in validate_implementation_summary(worker(), summary).detail


DOCS, INTEGRATOR, QA = STEWARDS[1], STEWARDS[0], STEWARDS[2]


@pytest.mark.parametrize(
    ("log", "code"),
    [
        (GOOD["A9"], "pass"),
        ("[wave-doc-closure] state=closed paths=a", "pass"),
        ("[wave-doc-delta] state=owned\n[wave-doc-closure] state=delta", "doc-closure-open"),
        ("", "missing-doc-closure-empty-run"),
        ("[wave-doc-closure] state=maybe", "missing-doc-closure"),
        ("[wave-gap] kind=docs", "missing-doc-closure"),
        (f"{GOOD['A9']}\n{GAP}", "wave-proof-gap"),
        (GAP, "wave-proof-gap"),
        (f"{GAP}\n[wave-doc-closure] state=maybe", "missing-doc-closure"),
        (f"{GAP}\n[wave-doc-closure] state=delta", "doc-closure-open"),
    ],
)
def test_documentation(log: str, code: str) -> None:
    assert validate_documentation_summary(DOCS, summarised(DOCS, log)).status_code == code


@pytest.mark.parametrize(
    ("log", "code"),
    [
        (GOOD["A8"], "pass"),
        (GOOD["A8"].replace("claims=0", "claims=4"), "pass"),
        (GOOD["A8"].replace("blockers=0", "blockers=3"), "integration-needs-more-work"),
        (GOOD["A8"].replace("ready-for-doc-closure", "needs-more-work"), "integration-needs-more-work"),
        ("", "missing-wave-integration"),
        (f"{GOOD['A8']}\n{GAP}", "wave-proof-gap"),
        (f"{GOOD['A8'].replace('conflicts=0', 'conflicts=1')}\n{GAP}", "integration-needs-more-work"),
    ],
)
def test_integration(log: str, code: str) -> None:
    assert validate_integration_summary(INTEGRATOR, summarised(INTEGRATOR, log)).status_code == code


@pytest.mark.parametrize(
    ("log", "report", "code", "ok"),
    [
        (GOOD["S1"], THERE, "pass", True),
        (GOOD["S1"], GONE, "missing-security-report", False),
        (GOOD["S1"], UNOWNED, "missing-security-report", False),
        ("", THERE, "missing-wave-security", False),
        ("[wave-security] state=clear findings=1 approvals=0", THERE, "invalid-security-clear-state", False),
        ("[wave-security] state=concerns findings=1 approvals=0", THERE, "security-concerns", True),
        ("[wave-security] state=blocked findings=1 approvals=0", THERE, "security-blocked", False),
        (f"[wave-security] state=concerns findings=1 approvals=0\n{GAP}", THERE, "wave-proof-gap", False),
    ],
)
def test_security(log: str, report: Report, code: str, ok: bool) -> None:
    verdict = validate_security_summary(REVIEWER, summarised(REVIEWER, log), report)
    assert (verdict.status_code, verdict.ok) == (code, ok)


@pytest.mark.parametrize(
    ("log", "report", "code"),
    [
        (GOOD["D1"], THERE, "pass"),
        (GOOD["D1"], GONE, "missing-design-packet"),
        ("", THERE, "missing-wave-design"),
        (GOOD["D1"].replace("ready-for-implementation", "blocked"), THERE, "design-blocked"),
        (GOOD["D1"].replace("ready-for-implementation", "needs-clarification"), THERE, "design-needs-clarification"),
    ],
)
def test_design(log: str, report: Report, code: str) -> None:
    assert validate_design_summary(DESIGNER, summarised(DESIGNER, log), report).status_code == code


QA_GATE = GOOD["A0"].splitlines()[0]


@pytest.mark.parametrize(
    ("log", "report", "code"),
    [
        (GOOD["A0"], THERE, "pass"),
        ("[wave-verdict] pass", THERE, "missing-wave-gate"),
        (GOOD["A0"], GONE, "missing-cont-qa-report"),
        (QA_GATE, THERE, "missing-cont-qa-verdict"),
        (f"{QA_GATE}\n[wave-verdict] concerns", THERE, "cont-qa-concerns"),
        (f"{QA_GATE}\n[wave-verdict] hold", THERE, "cont-qa-hold"),
        (f"{QA_GATE}\n[wave-verdict] fail", THERE, "cont-qa-blocked"),
        (GOOD["A0"].replace("integration=pass", "integration=concerns"), THERE, "gate-integration-concerns"),
        (GOOD["A0"].replace("live=pass", "live=gap"), THERE, "conditional-pass"),
        (f"{GOOD['A0']}\n{GAP}", THERE, "wave-proof-gap"),
    ],
)
def test_cont_qa(log: str, report: Report, code: str) -> None:
    verdict = validate_cont_qa_summary(QA, summarised(QA, log), report)
    assert verdict.status_code == code
    assert "live" in verdict.detail if code == "conditional-pass" else True


CATALOG = BenchmarkCatalog(
    "catalog.json",
    1,
    {"golden": {"benchmarks": {"smoke": {}, "deep": {}}}, "other": {"benchmarks": {"far": {}}}},
    {"smoke": "golden", "deep": "golden", "far": "other"},
    {},
)
FREE = EvalTarget("holds", "delegated", "golden", (), "it holds", "always")


def evaluation(**changes: object) -> str:
    values: dict[str, object] = {"state": "satisfied", "targets": 1, "benchmarks": 1, "regressions": 0}
    values.update({"target_ids": "holds", "benchmark_ids": "smoke", **changes})
    return "[wave-eval] " + " ".join(f"{name}={value}" for name, value in values.items() if value != "")


EVALUATIONS: list[tuple[str, str, Report, tuple[EvalTarget, ...], BenchmarkCatalog | None]] = [
    ("pass", evaluation(), THERE, (TARGET,), CATALOG),
    ("pass", evaluation(target_ids="HOLDS"), THERE, (FREE,), CATALOG),
    ("missing-wave-eval", "", THERE, (TARGET,), CATALOG),
    ("missing-cont-eval-report", evaluation(), UNOWNED, (TARGET,), CATALOG),
    ("missing-cont-eval-report", evaluation(), GONE, (TARGET,), CATALOG),
    ("cont-eval-blocked", evaluation(state="blocked"), GONE, (TARGET,), CATALOG),
    ("cont-eval-needs-more-work", evaluation(state="needs-more-work"), THERE, (TARGET,), CATALOG),
    ("missing-cont-eval-contract", evaluation(), THERE, (), CATALOG),
    ("missing-cont-eval-target-ids", evaluation(target_ids=""), THERE, (TARGET,), CATALOG),
    ("cont-eval-target-count-mismatch", evaluation(targets=2), THERE, (TARGET,), CATALOG),
    ("cont-eval-target-mismatch", evaluation(target_ids="else"), THERE, (TARGET,), CATALOG),
    ("missing-cont-eval-benchmarks", evaluation(benchmark_ids=""), THERE, (TARGET,), CATALOG),
    ("cont-eval-benchmark-count-mismatch", evaluation(benchmarks=2), THERE, (TARGET,), CATALOG),
    ("cont-eval-regressions", evaluation(regressions=1), THERE, (TARGET,), CATALOG),
    ("cont-eval-benchmark-mismatch", evaluation(benchmark_ids="far"), THERE, (TARGET,), CATALOG),
    ("cont-eval-benchmark-mismatch", evaluation(benchmark_ids="deep"), THERE, (TARGET,), CATALOG),
    ("cont-eval-benchmark-mismatch", evaluation(benchmark_ids="far"), THERE, (FREE,), CATALOG),
    ("cont-eval-catalog-invalid", evaluation(), THERE, (TARGET,), None),
    ("cont-eval-catalog-invalid", evaluation(), THERE, (TARGET._replace(benchmark_family="none"),), CATALOG),
    ("wave-proof-gap", f"{evaluation()}\n{GAP}", THERE, (TARGET,), CATALOG),
]


@pytest.mark.parametrize(("code", "log", "report", "targets", "catalog"), EVALUATIONS)
def test_cont_eval(
    code: str, log: str, report: Report, targets: tuple[EvalTarget, ...], catalog: BenchmarkCatalog | None
) -> None:
    summary = summarised(EVALUATOR, log)
    verdict = validate_cont_eval_summary(EVALUATOR, summary, report, targets=targets, catalog=catalog)
    assert verdict.status_code == code


def test_cont_eval_in_compat_mode_takes_the_state_alone() -> None:
    summary = summarised(EVALUATOR, evaluation(target_ids="", regressions=2))
    assert validate_cont_eval_summary(EVALUATOR, summary, UNOWNED, mode="compat").ok


def test_deploy_and_infra() -> None:
    assert validate_deploy_summary([{"service": "a", "state": "failed"}]).status_code == "deploy-failed"
    attention = validate_deploy_summary([{"service": "a", "state": "rolledover"}])
    assert attention.ok and attention.status_code == "deploy-attention"
    assert validate_infra_summary([{"kind": "k", "target": "t", "state": "setup-required"}]).ok
    assert validate_infra_summary([{"kind": "k", "target": "t", "state": "failed"}]).status_code == "infra-failed"
    assert validate_infra_summary([{"kind": "k", "target": "t", "state": ""}]).status_code == "infra-blocked"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("missing-wave-proof", "transport-failure"),
        ("missing-doc-closure-empty-run", "transport-failure"),
        ("invalid-doc-delta-format", "transport-failure"),
        ("missing-cont-eval-target-ids", "transport-failure"),
        ("missing-cont-eval-report", "artifact-failure"),
        ("missing-cont-eval-contract", "state-failure"),
        ("missing-design-packet", "artifact-failure"),
        ("missing-proof-artifact-summary", "artifact-failure"),
        ("invalid-security-clear-state", "semantic-failure"),
        ("cont-eval-regressions", "semantic-failure"),
        ("nonzero-exit", "state-failure"),
    ],
)
def test_failure_classes(code: str, kind: str) -> None:
    assert failure_class(code) == kind
