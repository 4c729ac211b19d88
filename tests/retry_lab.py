"""A small wave and its facts, for tests of the retry, planning and reconciling engines."""

from __future__ import annotations

from wave_lib.definition.lane_profile import (
    LanePathsConfig,
    LaneProfile,
    Roles,
    RuntimePolicy,
    SkillsConfig,
    Validation,
)
from wave_lib.definition.roles import resolve_wave_role_bindings
from wave_lib.definition.wave_types import Agent, ComponentPromotion, ExitContract, Wave
from wave_lib.engines.facts import WaveFacts
from wave_lib.state.result_envelope import EnvelopeReading

NOW = "2026-01-02T03:04:05.678Z"
CONTRACT = ExitContract("contract", "none", "unit", "none")


def agent(agent_id: str, **more: object) -> Agent:
    """An agent; implementation agents get an exit contract."""
    if agent_id.startswith(("A1", "A2", "A3")) and agent_id not in ("A0",):
        more.setdefault("exit_contract", CONTRACT)
    return Agent(agent_id, f"Agent {agent_id}", f"0-{agent_id.lower()}", **more)  # type: ignore[arg-type]


def wave(*agents: Agent, number: int = 0, **more: object) -> Wave:
    """A wave of these agents, by default A1 A7 (security) A8 A9 A0."""
    chosen = agents or (agent("A1"), security(), agent("A8"), agent("A9"), agent("A0"))
    return Wave(number, f"docs/plans/waves/wave-{number}.md", agents=chosen, **more)  # type: ignore[arg-type]


def security(agent_id: str = "A7") -> Agent:
    """A security reviewer."""
    return agent(agent_id, capabilities=("security-review",), owned_paths=("docs/security/report.md",))


def design(agent_id: str = "D1", hybrid: bool = False) -> Agent:
    """A design agent; a hybrid one owns code too."""
    owned = ("docs/design/packet.md", *(("src/x.py",) if hybrid else ()))
    return agent(agent_id, capabilities=("design",), owned_paths=owned)


def profile(**more: object) -> LaneProfile:
    """A lane profile with defaults; `mix` sets the runtime mix targets."""
    mix = more.pop("mix", {})
    executors = more.pop("executors", {"claude": {"model": "opus"}})
    return LaneProfile(
        project_id="app",
        project_name="App",
        project_root_dir=".",
        explicit_project=False,
        lane="main",
        known=True,
        docs_dir="docs",
        plans_dir="docs/plans",
        waves_dir="docs/plans/waves",
        shared_plan_docs=(),
        roles=Roles(),
        validation=Validation(
            require_component_promotions_from_wave=None, require_documentation_steward_from_wave=None
        )._replace(**more),  # type: ignore[arg-type]
        executors=executors,  # type: ignore[arg-type]
        skills=SkillsConfig("skills", (), {}, {}, {}),
        capability_routing={},
        runtime_policy=RuntimePolicy(mix, {}, ()),  # type: ignore[arg-type]
        external_providers={},
        wave_control={},
        planner={},
        supervisor={},
        paths=LanePathsConfig("", "", "", "", "", "", ""),
    )


def summary(agent_id: str, state: str = "met", code: int = 0, **more: object) -> dict[str, object]:
    """An execution summary of an implementation agent; `state` is that of its proof marker."""
    return {
        "agentId": agent_id,
        "exitCode": code,
        "proof": {"completion": "contract", "durability": "none", "proof": "unit", "state": state, "detail": ""},
        "docDelta": {"state": "none", "paths": [], "detail": ""},
        "components": [],
        "gaps": [],
        "deliverables": [],
        "proofArtifacts": [],
        "structuredSignalDiagnostics": {},
        **more,
    }


def design_summary(agent_id: str = "D1", state: str = "ready-for-implementation") -> dict[str, object]:
    """An execution summary of a design agent whose packet is there."""
    marker = {"state": state, "decisions": 1, "assumptions": 0, "openQuestions": 0, "detail": ""}
    return summary(agent_id, design=marker, reportExists=True, reportPath="docs/design/packet.md")


def facts(of: Wave, summaries: dict[str, dict[str, object]] | None = None, **more: object) -> WaveFacts:
    """Facts in which every agent with a summary has a valid envelope."""
    lane = more.pop("profile", None) or profile()
    summaries = summaries or {}
    readings = {key: EnvelopeReading("run-envelope", True, envelope={"attempt": 1}) for key in summaries}
    bindings = resolve_wave_role_bindings(of, lane.roles)  # type: ignore[attr-defined]
    base = WaveFacts(of, bindings, lane, "main", 1, readings=readings, summaries=summaries)  # type: ignore[arg-type]
    return base._replace(**more)


def promotes(component: str = "core", level: str = "repo-landed") -> tuple[ComponentPromotion, ...]:
    """One promotion."""
    return (ComponentPromotion(component, level),)
