"""From the logs and the agents' results to everything that summaries, gates and people read. Pure. Spec: COORD 20.

The steps run in one pass over a working log: what triage decides is seen by the assignments, and so on. What has to be
written comes back in `DerivedState.appends`; the runtime writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..definition.lane_profile import closure_mode, gate_mode
from ..definition.roles import runtime_role
from ..state.coordination_records import record_blocks_wave
from .clarification_triage import TriageFacts, TriageResult, triage_clarifications
from .closure_policy import classify_closure_complexity, closure_signals
from .coordination_barriers import (
    assignment_barrier,
    blocker_barrier,
    clarification_barrier,
    dependency_barrier,
)
from .coordination_metrics import coordination_response_metrics
from .coordination_seeds import feedback_seeds, seed_records, seeds_to_append
from .derived_state import Appends, DerivedInputs, DerivedState
from .docs_queue import build_docs_queue
from .integration_summary import EVIDENCE_LISTS, IntegrationFacts, build_integration_summary
from .ledger import LedgerFacts, build_ledger, component_tasks, primary_tasks
from .role_verdicts import VerdictFacts, agent_verdicts, review_verdicts
from .routing_state import (
    assignment_records,
    build_dependency_snapshot,
    build_request_assignments,
    helper_tasks,
    recorded_assignments,
)
from .security_summary import build_security_summary, corridor_failed, corridor_is_pending, corridor_view
from .working_log import WorkingLog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .gate_results import Verdict

    JsonObject = dict[str, Any]

_RUNTIME_DEFAULTS: Mapping[str, Any] = {
    "initialExecutorId": None,
    "executorId": None,
    "profile": None,
    "selectedBy": None,
    "retryPolicy": None,
    "allowFallbackOnRetry": None,
    "fallbacks": [],
    "fallbackUsed": False,
    "fallbackReason": None,
    "executorHistory": [],
}


def build_derived_state(inputs: DerivedInputs) -> DerivedState:
    """Everything that follows from the inputs; `appends` says what the logs still lack of it."""
    wave, bindings, profile, now = inputs.wave, inputs.bindings, inputs.profile, inputs.now
    place = {"lane": profile.lane, "wave": wave.wave, "project": profile.project_id, "attempt": inputs.attempt or None}
    log = WorkingLog(inputs.coordination, place, now)
    docs, seed_time = profile.shared_plan_docs, inputs.seed_time or now
    seeds = seed_records(wave, bindings, profile.lane, profile.project_id, docs, inputs.feedback, seed_time)
    log.extend(seeds_to_append(log.state, seeds, now))
    facts = VerdictFacts(wave, bindings, inputs.summaries, inputs.presence, inputs.catalog, inputs.catalog_error)
    runtimes = runtime_assignments(inputs)
    docs_queue = build_docs_queue(
        wave,
        bindings,
        profile.lane,
        profile.shared_plan_docs,
        inputs.summaries,
        runtimes,
        now,
        inputs.previous_docs_queue_created_at,
    )
    draft = _Draft(inputs, log, facts, runtimes, docs_queue)
    triage = draft.triage()
    log.extend(feedback_seeds(triage.feedback, place, now))
    draft.assign(place)
    return draft.finish(triage)


def runtime_assignments(inputs: DerivedInputs) -> list[JsonObject]:
    """Which executor every agent uses, and how it came to it."""
    return [
        {
            "agentId": agent.agent_id,
            "role": runtime_role(agent, inputs.bindings),
            **{key: inputs.runs.get(agent.agent_id, {}).get(key, value) for key, value in _RUNTIME_DEFAULTS.items()},
        }
        for agent in inputs.wave.agents
    ]


def _complexity(derived: DerivedState) -> str:
    corridor = derived.security_summary["corridor"]
    stops = corridor is not None and (
        corridor["blocking"]
        or (corridor["requiredAtClosure"] and (corridor_failed(corridor) or corridor_is_pending(corridor)))
    )
    barriers = (derived.clarification_barrier, derived.helper_assignment_barrier, derived.dependency_barrier)
    signals = closure_signals(
        integration_summary=derived.integration_summary,
        docs_queue=derived.docs_queue,
        contradictions=derived.contradictions,
        open_records=derived.coordination_state.open,
        assignments=derived.capability_assignments,
        dependencies=derived.dependency_snapshot,
        barriers_ok=all(barrier.ok for barrier in barriers),
        security_state=derived.security_summary["overallState"],
        corridor_stops=stops,
    )
    return classify_closure_complexity(signals)


def previous_run_starts(agent_runs: Sequence[JsonObject]) -> dict[str, str]:
    """Agent id -> when its last finished run started: what changed since then is news to it. Spec: COORD 21.3."""
    starts: dict[str, list[str]] = {}
    running: set[str] = set()
    for event in agent_runs:
        agent_id = str(event["data"].get("agentId") or event["entityId"].rpartition("-agent-")[2])
        if event["action"] == "started":
            starts.setdefault(agent_id, []).append(str(event["data"].get("startedAt") or event["recordedAt"]))
            running.add(agent_id)
        else:
            running.discard(agent_id)
    finished = {agent_id: times[:-1] if agent_id in running else times for agent_id, times in starts.items()}
    return {agent_id: times[-1] for agent_id, times in finished.items() if times}


class _Draft:
    """The derived state while it grows; every method adds what the later ones need."""

    def __init__(
        self,
        inputs: DerivedInputs,
        log: WorkingLog,
        facts: VerdictFacts,
        runtimes: list[JsonObject],
        docs_queue: JsonObject,
    ) -> None:
        self.inputs = inputs
        self.log = log
        self.verdicts = agent_verdicts(facts)
        self.runtimes = runtimes
        self.docs_queue = docs_queue
        self.contradictions = list(inputs.control_plane.contradictions.values())
        self.security = self._security(review_verdicts(facts))
        self.dependencies = self._dependencies(None)
        self.assignments: list[JsonObject] = []

    def triage(self) -> TriageResult:
        """Take the open clarifications one step further."""
        inputs = self.inputs
        entries = []
        if any(record_blocks_wave(record) for record in self.log.state.of_kind("clarification-request")):
            summary = self.integration()  # costly, and of use to open questions only
            entries = [entry for name in EVIDENCE_LISTS for entry in summary[name]]
        return triage_clarifications(
            self.log,
            TriageFacts(
                inputs.wave,
                inputs.bindings,
                inputs.profile.lane,
                self.docs_queue,
                entries,
                inputs.summaries,
                inputs.feedback,
            ),
        )

    def assign(self, place: Mapping[str, Any]) -> None:
        """Assign open requests and inbound dependencies; who has most experience and least work comes first."""
        facts = self.ledger_facts([], None)
        busy = {
            "tasks": [*primary_tasks(facts), *component_tasks(facts)],
            "capabilityAssignments": recorded_assignments(self.log.state),
        }
        wave, routing = self.inputs.wave, self.inputs.profile.capability_routing
        self.assignments = build_request_assignments(
            self.log.state, wave.agents, busy, routing, self.inputs.bindings.integration
        )
        self.log.extend(assignment_records(self.log.state, self.assignments, place, self.log.now))
        self.dependencies = self._dependencies(busy)

    def integration(self) -> JsonObject:
        """The integration summary of what is known so far."""
        inputs = self.inputs
        judged = {
            agent_id: kinds.get("cont-eval") or kinds["implementation"]
            for agent_id, kinds in self.verdicts.items()
            if "cont-eval" in kinds or "implementation" in kinds
        }
        return build_integration_summary(
            IntegrationFacts(
                inputs.wave,
                inputs.bindings,
                inputs.profile.lane,
                inputs.attempt,
                self.log.state,
                inputs.summaries,
                judged,
                self.docs_queue,
                self.security,
                self.contradictions,
                self.dependencies,
                self.assignments,
                self.runtimes,
                inputs.ignored_gap_record_ids,
                inputs.now,
            )
        )

    def ledger_facts(self, helpers: list[JsonObject], integration: JsonObject | None) -> LedgerFacts:
        """Facts of the ledger; without an integration summary those of a seed ledger."""
        inputs = self.inputs
        return LedgerFacts(
            inputs.wave,
            inputs.bindings,
            inputs.profile.lane,
            inputs.attempt,
            self.log.state,
            inputs.summaries,
            self.verdicts,
            self.runtimes,
            self.docs_queue,
            self.assignments,
            self.dependencies,
            integration,
            helpers,
            inputs.now,
        )

    def finish(self, triage: TriageResult) -> DerivedState:
        """Summaries, barriers, ledger and metrics of the log as it will be."""
        inputs, state = self.inputs, self.log.state
        number, validation = inputs.wave.wave, inputs.profile.validation
        integration = self.integration()
        helpers = helper_tasks(self.assignments, self.dependencies, self.docs_queue, inputs.bindings.documentation)
        derived = DerivedState(
            wave_number=number,
            lane=inputs.profile.lane,
            attempt=inputs.attempt,
            now=inputs.now,
            coordination_state=state,
            capability_assignments=self.assignments,
            dependency_snapshot=self.dependencies,
            runtime_assignments=self.runtimes,
            docs_queue=self.docs_queue,
            security_summary=self.security,
            contradictions=self.contradictions,
            integration_summary=integration,
            clarification_barrier=clarification_barrier(state),
            helper_assignment_barrier=assignment_barrier(self.assignments, gate_mode(validation, number)),
            dependency_barrier=dependency_barrier(self.dependencies),
            blocker_barrier=blocker_barrier(state, inputs.bad_lines, inputs.ignored_gap_record_ids),
            closure_mode=closure_mode(validation, number),
            closure_complexity="",
            ledger=build_ledger(self.ledger_facts(helpers, integration)),
            response_metrics=coordination_response_metrics(state, inputs.now),
            feedback=list(inputs.feedback),
            run_starts=previous_run_starts(inputs.control_plane.agent_runs),
            appends=Appends(triage.feedback, triage.feedback_to_close, self.log.appended, triage.triage),
        )
        return derived._replace(closure_complexity=_complexity(derived))

    def _security(self, reviews: Mapping[str, Verdict]) -> JsonObject:
        inputs = self.inputs
        return build_security_summary(
            inputs.wave,
            inputs.bindings,
            inputs.profile.lane,
            inputs.attempt,
            inputs.summaries,
            reviews,
            corridor_view(inputs.corridor, inputs.corridor_config),
            inputs.now,
        )

    def _dependencies(self, ledger: JsonObject | None) -> JsonObject:
        inputs = self.inputs
        return build_dependency_snapshot(
            inputs.profile.lane,
            inputs.profile.project_id,
            inputs.wave.wave,
            inputs.wave.agents,
            inputs.tickets,
            ledger,
            inputs.profile.capability_routing,
            inputs.now,
        )
