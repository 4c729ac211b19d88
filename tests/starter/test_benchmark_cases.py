"""The seven local cases, put through the real projections: what must arrive does arrive. Spec: WORK 11, 14.62."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from wave_lib.definition.starter_data import starter_bytes, starter_files
from wave_lib.definition.wave_from_json import agent_from_json
from wave_lib.engines.coordination_metrics import coordination_response_metrics
from wave_lib.engines.derived_state import DerivedState
from wave_lib.engines.routing_state import build_request_assignments
from wave_lib.projections.inboxes import build_inbox
from wave_lib.projections.record_lines import assignment_line
from wave_lib.projections.shared_summary import build_shared_summary
from wave_lib.state.coordination_records import normalize_record
from wave_lib.state.coordination_store import materialize

NOW = "2026-01-15T09:00:00.000Z"
CASES = [path for path in starter_files() if path.startswith("docs/evals/cases/") and path.endswith(".json")]


class Outcome:
    """What the compiled views of a case's fixture show."""

    def __init__(self, fixture: dict[str, Any]) -> None:
        place = {"lane": fixture["lane"], "wave": fixture["waveNumber"], "source": "benchmark-case"}
        self.state = materialize([normalize_record({**record, **place}, NOW) for record in fixture["records"]])
        agents = [agent_from_json(agent) for agent in fixture["agents"]]
        routing = fixture.get("capabilityRouting", {})
        self.assignments = build_request_assignments(self.state, agents, None, routing)
        nothing: defaultdict[str, Any] = defaultdict(list, recommendation="", detail="", overallState="", phase="")
        derived = DerivedState._make([nothing] * len(DerivedState._fields))._replace(
            wave_number=fixture["waveNumber"],
            coordination_state=self.state,
            capability_assignments=self.assignments,
            runtime_assignments=[],
            response_metrics=coordination_response_metrics(self.state, NOW),
            feedback=[],
            run_starts={},
            now=NOW,
        )
        self.summary = build_shared_summary(derived)
        self.inboxes = {agent.agent_id: build_inbox(agent, derived) for agent in agents}
        self.assignment_lines = "\n".join(assignment_line(item) for item in self.assignments)
        stewards = [agent.agent_id for agent in agents if "integration" in agent.capabilities]
        self.integration_view = "\n".join(
            [self.summary, *(self.inboxes[agent] for agent in stewards), self.assignment_lines]
        )


def holds(text: str, fact: str) -> bool:
    return fact.lower() in text.lower()


@pytest.mark.parametrize("path", CASES)
def test_the_full_wave_delivers_everything_that_a_case_expects(path: str) -> None:
    case = json.loads(starter_bytes(path))
    expected, seen = case["expectations"], Outcome(case["fixture"])
    assert [fact for fact in expected.get("globalFacts", ()) if not holds(seen.integration_view, fact)] == []
    assert [fact for fact in expected.get("summaryFacts", ()) if not holds(seen.summary, fact)] == []
    for agent_id, facts in expected.get("targetedInboxes", {}).items():
        assert [fact for fact in facts if not holds(seen.inboxes[agent_id], fact)] == []
    assigned = {item["requestId"]: item["assignedAgentId"] for item in seen.assignments}
    for wanted in expected.get("requiredAssignments", ()):
        assert assigned[wanted["requestId"]] == wanted["assignedAgentId"]
    assert len(set(assigned.values()) - {None}) >= expected.get("minimumDistinctAssignedAgents", 0)
    everything = "\n".join([seen.summary, *seen.inboxes.values(), seen.assignment_lines])
    assert all(holds(everything, request) for request in expected.get("clarificationRequestIds", ()))
    if expected.get("requireBlockingGuard"):
        linked = [r for r in seen.state.open_of_kind("request") if r["closureCondition"].startswith("clarification:")]
        assert linked, "an open request linked to a clarification keeps closure impossible"


@pytest.mark.parametrize("path", CASES)
def test_a_fact_reaches_only_whom_it_concerns(path: str) -> None:
    """Otherwise sending everything to everybody would pass as well."""
    case = json.loads(starter_bytes(path))
    seen = Outcome(case["fixture"])
    for agent_id, facts in case["expectations"].get("targetedInboxes", {}).items():
        bystander = case["fixture"]["primaryAgentId"]
        authored = " ".join(r["summary"] for r in case["fixture"]["records"] if r["agentId"] == bystander)
        for fact in facts:
            assert agent_id != bystander and (holds(authored, fact) or not holds(seen.inboxes[bystander], fact))
