"""Why a wave is not closed, found out from what is on disk now.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: GATE 8, LAUNCH 7.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines.control_state import PLANNED, wave_status
from ..engines.gate_engine import evaluate_gates
from ..engines.gate_results import GATE_LABELS, GATE_ORDER
from ..projections.control_status import one_line
from ..projections.explanations import explain, hint_for
from . import evidence_lines
from .control_status import read_status
from .fact_collection import collect_wave_facts
from .wave_scene import reading_context

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..engines.control_state import StatusFacts
    from .wave_scene import WaveScene

    JsonObject = dict[str, Any]


class Explanation(NamedTuple):
    """`ok`: nothing stands in the way. `failures` are those of the gates, in the order in which gates decide."""

    lane: str
    wave: int
    phase: str
    ok: bool
    failures: list[JsonObject]
    next: str
    lines: list[str]

    def to_json(self) -> JsonObject:
        """The document of `wave explain --json`."""
        return {**self._asdict(), "lines": list(self.lines)}


def explain_wave(scene: WaveScene) -> Explanation:
    """The explanation of a wave as it stands. Writes nothing."""
    facts = read_status(scene).facts
    status = wave_status(facts)
    place, launch = _place(scene), launch_command(scene.paths, scene.number)

    def made(ok: bool, lines: list[str], following: str = "", failures: list[JsonObject] | None = None) -> Explanation:
        return Explanation(
            scene.paths.lane, scene.number, status.phase, ok, failures or [], following, [*lines, *_next(following)]
        )

    if status.phase == "completed":
        return made(True, [f"Wave {scene.number} is completed."])
    if status.phase == PLANNED and status.edge is None:
        return made(False, [f"Wave {scene.number} has not run yet."], launch)
    context = reading_context(scene)
    context.derived = facts.derived
    snapshot = evaluate_gates(collect_wave_facts(context)).to_json()
    failures = _failures(scene, snapshot)
    evidence = evidence_lines.find(context, failures)
    for failure in failures:
        key = str(failure["agentId"] or "the wave"), str(failure["statusCode"])
        failure["evidence"] = evidence.get(key)
    following = _next_command(scene, facts, place, launch)
    lines = explain(scene.number, snapshot, failures, evidence=evidence)
    if status.edge is not None:
        lines.append(f"  Waits for {status.edge['kind']} {status.edge['id']}: {one_line(status.edge['detail'])}")
    return made(not failures and status.edge is None, lines, following, failures)


def _next(command: str) -> list[str]:
    return [f"  Next: {command}"] if command else []


def launch_command(paths: LanePaths, number: int) -> str:
    """What runs this wave (again)."""
    return f"wave launch --lane {paths.lane} --start-wave {number} --end-wave {number}{_suffix(paths)}"


def answer_command(scene: WaveScene, question_id: str) -> str:
    """What answers a question to a person."""
    return f'wave control task act answer {_place(scene)} --id {question_id} --response "<answer>"'


def _place(scene: WaveScene) -> str:
    return f"--lane {scene.paths.lane} --wave {scene.number}{_suffix(scene.paths)}"


def _suffix(paths: LanePaths) -> str:
    project = f" --project {paths.project_id}" if paths.profile.explicit_project else ""
    run = f" --run {paths.run_id}" if paths.run_id else ""
    return project + run + (" --dry-run" if paths.dry_run else "")


def _failures(scene: WaveScene, snapshot: JsonObject) -> list[JsonObject]:
    """One entry for each gate that refuses, with the words of its status code; gates of one cause appear once."""
    noted = {item["gate"] for item in snapshot.get("advisoryFailures") or () if isinstance(item, dict)}
    found: list[JsonObject] = []
    for key in GATE_ORDER:
        gate = snapshot.get(key)
        if not isinstance(gate, dict) or gate.get("ok") or key in noted:
            continue
        code, agent_id = str(gate.get("statusCode")), gate.get("agentId")
        if any(item["statusCode"] == code and item["agentId"] == agent_id for item in found):
            continue
        hint = hint_for(code)
        who = str(agent_id or "the wave")
        found.append(
            {
                "gate": key,
                "label": GATE_LABELS[key],
                "agentId": agent_id,
                "statusCode": code,
                "detail": gate.get("detail"),
                "logPath": gate.get("logPath"),
                "evidence": None,
                "meaning": hint.meaning.format(who=who) if hint else None,
                "remedy": hint.remedy.format(who=who) if hint else None,
            }
        )
    return found


def _next_command(scene: WaveScene, facts: StatusFacts, place: str, launch: str) -> str:
    """The command that gets the wave further."""
    edge = wave_status(facts).edge
    kind = edge["kind"] if edge else ""
    if edge is not None and kind in ("human-input", "human-escalation"):
        return answer_command(scene, edge["id"])
    if facts.live_attempt is not None:
        return f"wave watch {place}"
    if edge is not None and kind in ("clarification", "blocker", "request"):
        return f"wave control task act resolve {place} --id {edge['id']} --detail <text>"
    if kind == "dependency":
        return f"wave dep show {place}"
    if kind.startswith("helper-assignment"):
        return f"wave control status {place}"
    return launch
