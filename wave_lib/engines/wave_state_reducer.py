"""One state of a wave out of everything that is known: tasks, proof, blockers, retry targets, closure, phase.

Pure: no clock but the injected `now`; equal inputs give equal output. Spec: COORD 22.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..state.coordination_records import (
    closure_clarification,
    record_blocks_wave,
    record_is_hard_blocker,
    severity_of,
    target_agent,
)
from ..state.coordination_store import CoordinationState, serialize_state
from .gate_results import GATE_ORDER
from .human_input_workflow import build_human_input_requests, compute_human_input_metrics
from .role_verdicts import VerdictFacts, agent_verdicts
from .task_entity import (
    COORDINATION_TYPES,
    evaluate_owned_slice_proven,
    evaluate_wave_closure_ready,
    merge_task_sets,
    tasks_from_coordination,
    tasks_from_wave,
    transition_closure_state,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..state.control_plane import ControlPlaneState
    from .derived_state import DerivedState
    from .facts import WaveFacts
    from .gate_results import GateSnapshot

    JsonObject = dict[str, Any]

REDUCER_VERSION = 2
_PROOF_CRITICAL = ("implementationGate", "contEvalGate")
_CLOSURE_CRITICAL = (
    "designGate",
    "integrationGate",
    "integrationBarrier",
    "documentationGate",
    "contQaGate",
    "clarificationBarrier",
    "helperAssignmentBarrier",
    "dependencyBarrier",
    "componentGate",
    "componentMatrixGate",
)
_PHASE_OF_GATE = (
    (("designGate",), "design"),
    (("contEvalGate",), "cont-eval"),
    (("securityGate",), "security-review"),
    (("integrationGate", "integrationBarrier"), "integrating"),
    (("documentationGate", "componentMatrixGate"), "docs-closure"),
    (("contQaGate",), "cont-qa-closure"),
)
_NO_COORDINATION = CoordinationState([], [], {}, {}, [])


class ReducerInputs(NamedTuple):
    """What the reducer reads. `facts` with the derived state in it, the control plane, the questions, and the gate
    snapshot evaluated from the same facts. Without `facts` nothing is known yet."""

    facts: WaveFacts | None = None
    derived: DerivedState | None = None
    control_plane: ControlPlaneState | None = None
    gates: GateSnapshot | None = None
    feedback: Sequence[JsonObject] = ()
    now: str = ""


class _Reduction(NamedTuple):
    """Intermediate results that several parts of the state need."""

    inputs: ReducerInputs
    number: int
    lane: str
    coordination: CoordinationState
    tasks: list[JsonObject]
    proof: JsonObject
    gates: JsonObject | None


def reduce_wave_state(inputs: ReducerInputs) -> JsonObject:
    """The state document of COORD 22.1."""
    facts, derived = inputs.facts, inputs.derived
    coordination = derived.coordination_state if derived else _NO_COORDINATION
    number = facts.wave_number if facts else 0
    lane = facts.lane if facts else "main"
    gates = inputs.gates.to_json() if inputs.gates else None
    tasks, proof = _judged_tasks(inputs, coordination, number, lane, gates)
    work = _Reduction(inputs, number, lane, coordination, tasks, proof, gates)
    blockers = _open_blockers(work)
    phase = _phase(work)
    human = build_human_input_requests(coordination, inputs.feedback)
    control = inputs.control_plane
    return {
        "reducerVersion": REDUCER_VERSION,
        "wave": number,
        "lane": lane,
        "attempt": _attempt(control),
        "phase": phase,
        "waveState": _wave_state(phase),
        "tasks": tasks,
        "tasksByAgentId": _by_agent(tasks),
        "taskGraph": {
            "nodes": [task["taskId"] for task in tasks],
            "edges": [
                {"from": edge["taskId"], "to": task["taskId"], "kind": edge["kind"]}
                for task in tasks
                for edge in task["dependencyEdges"]
            ],
        },
        "proofAvailability": proof,
        "openBlockers": blockers,
        "gateSnapshot": gates,
        "gateVerdicts": gates,
        "retryTargetSet": _retry_targets(work),
        "closureEligibility": _closure_eligibility(work),
        "contradictions": dict(control.contradictions) if control else {},
        "facts": dict(control.facts) if control else {},
        "humanInputs": {request["requestId"]: request for request in human},
        "assignments": {item["id"]: item for item in derived.capability_assignments} if derived else {},
        "agentEnvelopes": {
            agent_id: reading.envelope for agent_id, reading in (facts.readings.items() if facts else ())
        },
        "capabilityAssignments": derived.capability_assignments if derived else [],
        "coordinationState": serialize_state(coordination),
        "dependencySnapshot": derived.dependency_snapshot if derived else None,
        "integrationSummary": _integration(derived),
        "coordinationMetrics": {
            **(derived.response_metrics if derived else {}),
            "humanInput": compute_human_input_metrics(human, inputs.now),
        },
        "controlPlaneState": _control_plane_json(control),
    }


def _integration(derived: DerivedState | None) -> JsonObject | None:
    if derived is None:
        return None
    return {key: derived.integration_summary[key] for key in ("recommendation", "detail")}


def _attempt(control: ControlPlaneState | None) -> int:
    if control is None:
        return 0
    attempt = control.active_attempt or control.latest_attempt
    return int(attempt["attemptNumber"] or 0) if attempt else 0


def _control_plane_json(control: ControlPlaneState | None) -> JsonObject | None:
    if control is None:
        return None
    return {
        "proofBundlesById": control.proof_bundles,
        "rerunRequestsById": control.rerun_requests,
        "attemptsById": control.attempts,
        "humanInputsById": control.human_inputs,
        "activeProofBundles": control.active_proof_bundles,
        "activeRerunRequest": control.active_rerun_request,
        "activeAttempt": control.active_attempt,
    }


def _by_agent(tasks: Sequence[JsonObject]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in tasks:
        agent_id = task["assigneeAgentId"] or task["ownerAgentId"]
        if agent_id:
            found.setdefault(agent_id, []).append(task["taskId"])
    return found


# --- tasks and proof ------------------------------------------------------------------------------------------------


def _judged_tasks(
    inputs: ReducerInputs, coordination: CoordinationState, number: int, lane: str, gates: JsonObject | None
) -> tuple[list[JsonObject], JsonObject]:
    """All tasks in their present states, and what is proven."""
    facts = inputs.facts
    if facts is None:
        return [], _proof_availability([], {}, {}, inputs.control_plane)
    wave_tasks = tasks_from_wave(facts.wave, facts.bindings, lane)
    tasks = merge_task_sets(wave_tasks, tasks_from_coordination(coordination, inputs.feedback, number, lane))
    verdicts = agent_verdicts(
        VerdictFacts(
            facts.wave,
            facts.bindings,
            facts.summaries,
            facts.presence,
            facts.catalog,
            facts.catalog_error,
            facts.mode,
        )
    )
    judged = {
        task["taskId"]: evaluate_owned_slice_proven(task, facts.wave, facts.bindings, facts.summaries, verdicts)
        for task in tasks
    }
    overall_ok = bool(gates and gates["overall"]["ok"])
    last = inputs.control_plane.last_wave_run if inputs.control_plane else None
    completed = last is not None and last["action"] == "completed"
    moved = [_moved(task, judged[task["taskId"]][0], overall_ok, completed) for task in tasks]
    by_agent: dict[str, list[JsonObject]] = {agent.agent_id: [] for agent in facts.wave.agents}
    for task in moved:
        if task["ownerAgentId"] in by_agent and task["taskType"] not in COORDINATION_TYPES:
            by_agent[task["ownerAgentId"]].append(task)
    return moved, _proof_availability(moved, judged, by_agent, inputs.control_plane)


def _moved(task: JsonObject, proven: bool, overall_ok: bool, completed: bool) -> JsonObject:
    if proven and task["closureState"] == "open":
        task = transition_closure_state(task, "owned_slice_proven", status="proven")
    elif not proven and task["closureState"] == "owned_slice_proven":
        task = transition_closure_state(task, "open", status="in_progress")
    if overall_ok and task["closureState"] == "owned_slice_proven":
        task = transition_closure_state(task, "wave_closure_ready")
        if completed:
            task = transition_closure_state(task, "closed", status="completed")
    return task


def _proof_availability(
    tasks: Sequence[JsonObject],
    judged: Mapping[str, tuple[bool, str]],
    by_agent: Mapping[str, Sequence[JsonObject]],
    control: ControlPlaneState | None,
) -> JsonObject:
    bundles = control.active_proof_bundles if control else []
    agents = {}
    for agent_id, owned in by_agent.items():
        if not owned:
            continue
        unproven = [task for task in owned if not judged[task["taskId"]][0]]
        requirements = [task["proofRequirements"] for task in unproven]
        centric = any(item["proofCentric"] for item in requirements)
        agents[agent_id] = {
            "ownedSliceProven": not unproven,
            "exitContractMet": not unproven,
            "deliverablesMet": not centric,
            "componentsMet": not any(item["maturityTarget"] for item in requirements),
            "proofArtifactsMet": not centric,
            "proofBundleIds": [item["proofBundleId"] for item in bundles if item["agentId"] == agent_id],
        }
    return {
        "byTaskId": {task_id: {"proven": proven, "reason": reason} for task_id, (proven, reason) in judged.items()},
        "byAgentId": agents,
        "allOwnedSlicesProven": all(item["ownedSliceProven"] for item in agents.values()),
        "activeProofBundles": bundles,
    }


def _agents_by_proof(work: _Reduction, proven: bool) -> list[str]:
    return sorted(
        agent_id for agent_id, item in work.proof["byAgentId"].items() if item["ownedSliceProven"] is proven
    )


# --- blockers and targets -------------------------------------------------------------------------------------------


def _failed_gates(work: _Reduction) -> list[tuple[str, JsonObject]]:
    gates = work.gates or {}
    advisory = {item["gate"] for item in gates.get("advisoryFailures") or ()}
    return [
        (key, gates[key]) for key in GATE_ORDER if key in gates and not gates[key]["ok"] and key not in advisory
    ]


def gate_severity(key: str, status_code: str) -> str:
    """How much a failed gate weighs."""
    if key == "componentGate" and status_code == "shared-component-sibling-pending":
        return "soft"
    if key in _PROOF_CRITICAL:
        return "proof-critical"
    return "closure-critical" if key in _CLOSURE_CRITICAL else "hard"


def _open_blockers(work: _Reduction) -> list[JsonObject]:
    found = []
    for kind, name, hint in (
        ("blocker", "coordination-blocker", "Resolve the blocker record."),
        ("clarification-request", "clarification", "Answer the clarification."),
        ("human-escalation", "human-escalation", "Answer the escalation."),
        ("human-feedback", "human-feedback", "Answer the question."),
    ):
        for record in work.coordination.open_of_kind(kind):
            found.append(
                {
                    "kind": name,
                    "id": record["id"],
                    "detail": record["detail"] or record["summary"],
                    "agentId": record["agentId"],
                    "blockedAgentIds": [target_agent(target) for target in record["targets"]],
                    "resolutionHint": hint,
                    "blocking": record_blocks_wave(record),
                    "blockerSeverity": severity_of(record),
                }
            )
    control = work.inputs.control_plane
    for item in control.unresolved_contradictions if control else ():
        if item["severity"] == "blocking":
            parties = [party["agentId"] for party in item["parties"] if party.get("agentId")]
            found.append(_blocker("contradiction", item["contradictionId"], item["kind"], None, parties, "hard"))
    for key, gate in _failed_gates(work):
        agents = [gate["agentId"]] if gate.get("agentId") else []
        severity = gate_severity(key, gate["statusCode"])
        detail = gate.get("detail") or gate["statusCode"]
        found.append(_blocker("gate-failure", key, detail, gate.get("agentId"), agents, severity))
    return found


def _blocker(
    kind: str, blocker_id: str, detail: str, agent_id: str | None, blocked: list[str], severity: str
) -> JsonObject:
    hint = "Resolve or waive the contradiction." if kind == "contradiction" else f"Make {blocker_id} pass."
    return {
        "kind": kind,
        "id": blocker_id,
        "detail": detail,
        "agentId": agent_id,
        "blockedAgentIds": blocked,
        "resolutionHint": hint,
        "blocking": True,
        "blockerSeverity": severity,
    }


def _retry_targets(work: _Reduction) -> JsonObject:
    targets: dict[str, JsonObject] = {}
    for agent_id in _agents_by_proof(work, proven=False):
        targets[agent_id] = _target(agent_id, "owned-slice-not-proven", None, None)
    for key, gate in reversed(_failed_gates(work)):
        if gate.get("agentId"):
            targets[gate["agentId"]] = _target(gate["agentId"], f"gate-{key}", key, gate["statusCode"])
    rows = [targets[agent_id] for agent_id in sorted(targets)]
    return {
        "agentIds": [row["agentId"] for row in rows],
        "targets": rows,
        "reason": rows[0]["reason"] if rows else None,
        "retryOverride": None,
    }


def _target(agent_id: str, reason: str, gate: str | None, status_code: str | None) -> JsonObject:
    return {
        "agentId": agent_id,
        "reason": reason,
        "gate": gate,
        "statusCode": status_code,
        "retriesExhausted": False,
    }


def _closure_eligibility(work: _Reduction) -> JsonObject:
    gates_pass = bool(work.gates and work.gates["overall"]["ok"])
    ready = evaluate_wave_closure_ready(work.tasks, work.gates)[0]
    return {
        "allGatesPass": gates_pass,
        "allTasksClosed": all(task["closureState"] in ("closed", "cancelled", "superseded") for task in work.tasks),
        "waveMayClose": ready,
        "ownedSliceProvenAgentIds": _agents_by_proof(work, proven=True),
        "pendingAgentIds": _agents_by_proof(work, proven=False),
        "proofBundles": work.proof["activeProofBundles"],
    }


# --- phase ----------------------------------------------------------------------------------------------------------


def _phase(work: _Reduction) -> str:
    """The first rule of COORD 22.1 that applies."""
    state, derived = work.coordination, work.inputs.derived
    if any(record_is_hard_blocker(record) for record in state.open_of_kind("blocker")):
        return "blocked"
    if any(record_blocks_wave(record) for record in state.open_of_kind("clarification-request")) or any(
        record_blocks_wave(record) and closure_clarification(record["closureCondition"])
        for record in state.open_of_kind("request")
    ):
        return "clarifying"
    if derived is not None:
        if derived.clarification_barrier.status_code == "human-feedback-open":
            return "clarifying"
        if not derived.dependency_barrier.ok or not derived.helper_assignment_barrier.ok:
            return "blocked"
    if not work.tasks:
        return "running"
    unproven = {
        task["taskType"] for task in work.tasks if task["closureState"] == "open" and task["ownerAgentId"]
    }
    if "design" in unproven:
        return "design"
    if "implementation" in unproven:
        return "running"
    failed = {key for key, _ in _failed_gates(work)}
    for keys, phase in _PHASE_OF_GATE:
        if failed.intersection(keys):
            return phase
    return "completed" if work.gates and work.gates["overall"]["ok"] else "running"


def _wave_state(phase: str) -> str:
    if phase == "completed":
        return "completed"
    return "blocked" if phase in ("blocked", "clarifying") else "running"
