"""A small wave with every role, and its facts, for tests of summaries, envelopes and gates.

`Scene` builds real summaries and envelopes from what agents print, so the tests speak in markers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from wave_lib.definition.config import config_from_payload, resolve_lane
from wave_lib.definition.evals import EvalTarget
from wave_lib.definition.lane_profile import LaneProfile
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, ComponentPromotion, ExitContract, ProofArtifact, Wave
from wave_lib.engines.derived_state import Barrier
from wave_lib.engines.facts import WaveFacts
from wave_lib.state.agent_state import ReportFact, SummaryFacts, build_agent_execution_summary, envelope_role
from wave_lib.state.agent_state import report_path as expected_report
from wave_lib.state.coordination_store import materialize
from wave_lib.state.report_verdict import report_verdict
from wave_lib.state.result_envelope import EnvelopeReading, build_envelope, project_summary, validate_envelope
from wave_lib.state.structured_signal_parser import scan_text
from wave_lib.state.termination import classify_termination

JsonObject = dict[str, Any]

CONTRACT = ExitContract("contract", "none", "unit", "none")
PROOF = "[wave-proof] completion=contract durability=none proof=unit state=met"
GAP = PROOF.replace("met", "gap") + " detail=not yet"
DELTA = "[wave-doc-delta] state=none"
CORE = "[wave-component] component=core level=repo-landed state=met"
GOOD = {
    "A1": f"{PROOF}\n{DELTA}\n{CORE}",
    "A8": "[wave-integration] state=ready-for-doc-closure claims=0 conflicts=0 blockers=0",
    "A9": "[wave-doc-closure] state=no-change",
    "A0": "[wave-gate] architecture=pass integration=pass durability=pass live=pass docs=pass\n[wave-verdict] pass",
    "S1": "[wave-security] state=clear findings=0 approvals=0",
    "E0": "[wave-eval] state=satisfied targets=1 benchmarks=1 regressions=0 target_ids=holds benchmark_ids=smoke",
    "D1": "[wave-design] state=ready-for-implementation decisions=1 assumptions=0 open_questions=0",
}
TARGET = EvalTarget("holds", "pinned", "golden", ("smoke",), "it holds", "always")


def agent(agent_id: str, **members: Any) -> Agent:
    """An agent with a slug of its own."""
    return Agent(agent_id, f"Agent {agent_id}", f"0-{agent_id.lower()}", **members)


def worker(agent_id: str = "A1", **members: Any) -> Agent:
    """An implementation agent that owns the component `core`."""
    given = {
        "exit_contract": CONTRACT,
        "components": ("core",),
        "component_targets": {"core": "repo-landed"},
        "owned_paths": ("src/",),
    }
    return agent(agent_id, **{**given, **members})


STEWARDS = (
    agent("A8", owned_paths=("docs/integration.md",)),
    agent("A9", owned_paths=("docs/plans/",)),
    agent("A0", owned_paths=("docs/reviews/wave-0-cont-qa.md",)),
)
REVIEWER = agent("S1", capabilities=("security-review",), owned_paths=("docs/reviews/security.md",))
EVALUATOR = agent("E0", owned_paths=("docs/reviews/wave-0-cont-eval.md",))
DESIGNER = agent("D1", capabilities=("design",), owned_paths=("docs/design/packet.md",))


def profile(**validation: Any) -> LaneProfile:
    """The default lane with these `validation` settings (JSON names)."""
    return resolve_lane(config_from_payload("/nowhere", {"validation": validation}))


class Derived(NamedTuple):
    """As much of a derived state as gates read; everything is quiet unless a test says otherwise."""

    coordination_state: Any
    docs_queue: Any
    integration_summary: Any
    capability_assignments: Any = ()
    dependency_snapshot: Any = {}
    security_summary: Any = {}
    clarification_barrier: Barrier = Barrier(True)
    helper_assignment_barrier: Barrier = Barrier(True)
    dependency_barrier: Barrier = Barrier(True)
    blocker_barrier: Barrier = Barrier(True)


def derived(records: tuple[JsonObject, ...] = (), **members: Any) -> Derived:
    """A quiet derived state with these coordination records."""
    given = {"docs_queue": {"items": []}, "integration_summary": {"recommendation": "ready-for-doc-closure"}}
    return Derived(materialize(list(records)), **{**given, **members})


def wave_of(*agents: Agent, promotions: dict[str, str] | None = None, number: int = 0) -> Wave:
    """A wave of these agents; `core` is promoted to repo-landed unless told otherwise."""
    levels = {"core": "repo-landed"} if promotions is None else promotions
    return Wave(
        number,
        f"docs/plans/waves/wave-{number}.md",
        agents=agents,
        eval_targets=(TARGET,),
        component_promotions=tuple(ComponentPromotion(*item) for item in levels.items()),
    )


def summary_of(
    item: Agent,
    wave: Wave,
    log: str,
    *,
    lane: LaneProfile,
    exit_code: int | None = 0,
    missing: tuple[str, ...] = (),
    report: str | None = "",
    fresh: bool | None = True,
    attempt: int = 1,
) -> JsonObject:
    """The summary of an agent that printed `log`; paths in `missing` do not exist, `report` None means no report."""
    bindings = resolve_wave_role_bindings(wave, lane.roles)
    path = expected_report(item, wave, bindings)
    files = [{"path": name, "exists": name not in missing, "sha256": None} for name in item.deliverables]
    artifacts = [
        {"path": proof.path, "kind": None, "requiredFor": list(proof.required_for), "exists": proof.path not in missing}
        for proof in item.proof_artifacts
    ]
    return build_agent_execution_summary(
        SummaryFacts(
            item,
            envelope_role(item, bindings),
            wave.wave,
            attempt,
            {"code": exit_code, "completedAt": "2026-01-01T00:00:00.000Z"},
            scan_text(log),
            files,
            artifacts,
            ReportFact(
                path, path is not None and report is not None, verdict=report_verdict(report or ""), fresh=fresh
            ),
            classify_termination(exit_code, log),
            f"logs/{item.slug}.log",
        )
    )


def facts_of(
    wave: Wave,
    logs: dict[str, str] | None = None,
    *,
    lane: LaneProfile | None = None,
    summaries: dict[str, dict[str, Any]] | None = None,
    attempt: int = 1,
    **members: Any,
) -> WaveFacts:
    """Facts of a wave whose agents printed `logs` (default: what is good for their role); an agent whose log is "-"
    left no envelope. `summaries` are keyword arguments of `summary_of` by agent id."""
    lane = lane or profile()
    bindings = resolve_wave_role_bindings(wave, lane.roles)
    readings, projected = {}, {}
    for item in wave.agents:
        log = (logs or {}).get(item.agent_id, GOOD.get(item.agent_id, GOOD["A1"]))
        if log == "-":
            readings[item.agent_id] = EnvelopeReading("missing-envelope", False, detail="no envelope")
            continue
        options = {"attempt": attempt, **(summaries or {}).get(item.agent_id, {})}
        summary = summary_of(item, wave, log, lane=lane, **options)
        envelope = build_envelope(summary, item, bindings, wave_number=wave.wave, attempt=options["attempt"])
        role = envelope_role(item, bindings)
        assert validate_envelope(envelope, item.agent_id, role, wave.wave) == ()
        readings[item.agent_id] = EnvelopeReading("run-envelope", True, envelope=envelope)
        projected[item.agent_id] = project_summary(envelope)
    given: dict[str, Any] = {"derived": derived(), "matrix": matrix(wave)}
    return WaveFacts(wave, bindings, lane, "main", attempt, readings, projected, **{**given, **members})


def matrix(wave: Wave) -> Any:
    """A component matrix that already shows every promotion of the wave."""
    from wave_lib.definition.components import MATURITY_LEVELS, load_component_matrix

    components = {name: {"currentLevel": level} for name, level in wave.promoted_levels().items()}
    return load_component_matrix({"levels": list(MATURITY_LEVELS), "components": components}, "matrix.json")


def artifact(path: str, *levels: str) -> ProofArtifact:
    """A declared proof artifact."""
    return ProofArtifact(path, "log", levels)
