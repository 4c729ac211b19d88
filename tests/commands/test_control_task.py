"""`wave control task`, `rerun`, `proof`. Spec: COORD 25.4-25.6; cases 32, 33, 35, 50, 51, 59."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from control_lab import ControlLab

from wave_lib.runtime.derived_state import refresh_derived_state
from wave_lib.runtime.wave_scene import derived_context


@pytest.fixture
def lab(tmp_path, capsys):
    return ControlLab(tmp_path, capsys)


def act(lab, action, record_id, *words):
    return lab.say("control", "task", "act", action, "--id", record_id, *words)


def log(lab):
    return Path(lab.paths.coordination_log(0)).read_text()


def tasks(lab):
    return [task for task in lab.say("control", "task", "list", "--json") if not task["seed"]]


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_a_task_is_created_listed_and_found(lab):
    made = lab.say("control", "task", "create", "--agent", "A1", "--kind", "clarification", "--summary", "How?")
    assert (made["kind"], made["source"], made["status"]) == ("clarification-request", "operator", "open")
    (task,) = tasks(lab)
    assert (task["taskId"], task["taskType"], task["state"]) == (made["id"], "clarification", "open")
    assert lab.say("control", "task", "get", "--id", made["id"])["title"] == "How?"
    assert lab.fails("control", "task", "get", "--id", "nope") == (
        1,
        "[wave] Task not found: nope; `wave control task list` shows the ids\n",
    )
    assert lab.fails("control", "task", "create", "--agent", "A1")[1].startswith("[wave] task create requires --agent")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("ack", {"status": "acknowledged"}),
        ("start", {"status": "in_progress"}),
        ("resolve", {"status": "resolved", "resolvedBy": "operator"}),
        ("dismiss", {"status": "cancelled"}),
        ("cancel", {"status": "cancelled"}),
        ("defer", {"status": "open", "blocking": False, "blockerSeverity": "soft"}),
        ("mark-advisory", {"status": "open", "blocking": False, "blockerSeverity": "advisory"}),
        ("mark-stale", {"status": "open", "blocking": False, "blockerSeverity": "stale"}),
    ],
)
def test_an_action_does_what_it_says_and_repeating_it_does_nothing(lab, action, expected):
    request = lab.post("request", "A1", "--target", "agent:A2")
    done = act(lab, action, request)
    assert {key: done[key] for key in expected} == expected
    before = log(lab)
    assert act(lab, action, request) == done
    assert log(lab) == before
    assert lab.status()["closureState"] == ("blocked" if action in ("ack", "start") else "pending")


def test_a_closed_task_is_only_changed_by_reopening_it(lab):
    request = lab.post("request", "A1", "--target", "agent:A2")
    act(lab, "resolve", request)
    code, err = lab.fails("control", "task", "act", "start", "--id", request)
    assert code == 1 and "is resolved" in err and "--reopen" in err
    assert lab.fails("control", "task", "act", "dismiss", "--id", request)[0] == 1
    assert act(lab, "start", request, "--reopen")["status"] == "in_progress"


def test_settling_a_clarification_settles_what_hangs_on_it(lab):
    question = lab.post("clarification-request", "A1")
    routed = act(lab, "reassign", question, "--to", "A2")
    assert (routed["kind"], routed["targets"], routed["closureCondition"]) == (
        "request",
        ["agent:A2"],
        f"clarification:{question}",
    )
    assert lab.record(question)["status"] == "in_progress"
    again = act(lab, "reassign", question, "--to", "A0")
    assert lab.record(routed["id"])["status"] == "superseded"
    escalation = act(lab, "escalate", question)
    assert escalation["id"] == f"escalation-{question}" and act(lab, "escalate", question)["id"] == escalation["id"]
    assert lab.status()["signals"]["wave"]["signal"] == "feedback-requested"
    act(lab, "resolve", question, "--detail", "use 4711")
    records = [lab.record(name)["status"] for name in (question, again["id"], escalation["id"])]
    assert records == ["resolved"] * 3
    payload = lab.status()
    (asked,) = payload["feedbackRequests"]
    assert (asked["status"], asked["disposition"]) == ("answered", "resolved")
    assert lab.record(asked["id"])["status"] == "resolved"
    assert payload["blockingEdge"] is None


@pytest.mark.parametrize("action", ["defer", "mark-advisory", "mark-stale", "resolve-policy"])
@pytest.mark.parametrize("kind", ["request", "clarification-request", "blocker"])
def test_a_downgrade_takes_effect_at_once(lab, kind, action):
    """Neither the status nor a gate waits for a record that was downgraded, and the signal follows."""
    record = lab.post(kind, "A1", "--target", "agent:A2", "--priority", "urgent")
    before = lab.status()
    assert before["blockingEdge"]["id"] == record and before["closureState"] == "blocked"
    act(lab, action, record)
    after = lab.status()
    assert after["blockingEdge"] is None and after["helperAssignments"] == [] and after["nextTimer"] is None
    signals = (before["signals"]["wave"], after["signals"]["wave"])
    assert [signal["signal"] for signal in signals] == ["coordination-action", "stable"]
    assert signals[1]["version"] == signals[0]["version"] + 1 and "pendingPersist" not in signals[1]
    gates = json.loads(lab.call("explain", "--lane", "main", "--wave", "0", "--json")[1])["failures"]
    assert not {"clarification-open", "helper-assignment-open", "blocker-open"} & {gate["statusCode"] for gate in gates}


def test_a_decision_answers_a_question_and_reaches_who_asked(lab):
    said = ["--summary", "parse()", "--detail", "It returns USE-PORT-4711", "--artifact", "src/widget.py"]
    lab.say("coord", "post", "--agent", "A1", "--kind", "decision", *said)
    question = lab.post("clarification-request", "A2", "--artifact", "src/widget.py")
    refresh_derived_state(derived_context(lab.scene))
    assert (lab.record(question)["status"], lab.record(question)["detail"]) == ("resolved", "It returns USE-PORT-4711")
    for path in (lab.paths.coordination_log(0), lab.paths.triage_log(0)):
        assert f"triage-{question}-policy" in [json.loads(line)["id"] for line in Path(path).read_text().splitlines()]
    inbox = (lab.root / lab.say("coord", "inbox", "--agent", "A2")["inboxPath"]).read_text()
    assert "USE-PORT-4711" in inbox.partition("## Answers for you")[2].partition("\n## ")[0]


def test_who_created_and_who_settled_a_task_is_on_record(lab):
    words = ["--agent", "A1", "--summary", "How?", "--operator", "alice"]
    made = lab.say("control", "task", "create", "--kind", "claim", *words)
    asked = lab.say("control", "task", "create", "--kind", "human-input", *words)
    events = [json.loads(line) for line in Path(lab.paths.control_plane_log(0)).read_text().splitlines()]
    known = {(event["entityType"], event["entityId"], event["action"], event["actor"]) for event in events}
    assert {("task", made["id"], "created", "alice"), ("human_input", asked["id"], "requested", "alice")} <= known
    assert act(lab, "resolve", made["id"], "--operator", "bob")["resolvedBy"] == "bob"


def test_reassign_wants_an_agent_of_the_wave(lab):
    request = lab.post("request", "A1", "--target", "agent:A2")
    assert lab.fails("control", "task", "act", "reassign", "--id", request)[0] == 2
    assert (
        "Unknown wave agent id: A9" in lab.fails("control", "task", "act", "reassign", "--id", request, "--to", "A9")[1]
    )
    new = act(lab, "reassign", request, "--to", "A0")
    assert lab.record(request)["status"] == "superseded" and new["dependsOn"] == [request]


def test_policy_resolves_a_record_and_its_follow_ups_with_a_record_of_its_own(lab):
    question = lab.post("clarification-request", "A1")
    routed = act(lab, "reassign", question, "--to", "A2")
    done = act(lab, "resolve-policy", question, "--detail", "We always do.")
    assert done["resolvedRecord"]["status"] == "resolved" and done["resolvedRecord"]["blocking"] is False
    policy = done["policyRecord"]
    assert (policy["id"], policy["kind"], policy["status"]) == (f"policy-{question}", "resolved-by-policy", "resolved")
    record = lab.record(question)
    assert policy["dependsOn"] == [question] and policy["closureCondition"] == f"clarification:{question}"
    assert (policy["summary"], policy["targets"]) == (record["summary"], record["targets"])
    assert lab.record(routed["id"])["status"] == "resolved"
    assert act(lab, "resolve-policy", question) == done


def test_an_escalation_concerns_whom_the_record_concerned(lab):
    request = lab.post("request", "A1", "--target", "agent:A2")
    assert act(lab, "escalate", request)["targets"] == ["agent:A2"]


def test_a_question_is_asked_answered_once_and_replaced_only_by_force(lab):
    asked = lab.say("control", "task", "create", "--agent", "A1", "--kind", "human-input", "--summary", "Which colour?")
    assert asked["status"] == "pending" and lab.record(asked["id"])["status"] == "open"
    assert lab.fails("control", "task", "act", "answer", "--id", asked["id"])[0] == 2
    answered = act(lab, "answer", asked["id"], "--response", "Blue", "--operator", "op")
    assert answered["response"]["text"] == "Blue" and answered["response"]["operator"] == "op"
    (task,) = tasks(lab)
    assert (task["state"], task["humanResponse"], task["humanOperator"]) == ("resolved", "Blue", "op")
    code, err = lab.fails("control", "task", "act", "answer", "--id", asked["id"], "--response", "Red")
    assert code == 1 and "already answered" in err
    assert act(lab, "answer", asked["id"], "--response", "Red", "--force")["response"]["text"] == "Red"
    assert lab.status()["rerunRequest"] is None  # the wave never ran


def test_a_replaced_answer_replaces_the_old_one_everywhere(lab):
    """`--force` is a correction: nobody may go on reading what was wrong. Spec: COORD 11.1, 21.3."""
    clarification = lab.post("clarification-request")
    other = lab.say("feedback", "ask", "--agent", "A2", "--question", "And this?", "--json")["id"]
    lab.say("control", "task", "act", "answer", "--id", other, "--response", "MIT")  # the same words, another question
    escalation = lab.say("control", "task", "act", "escalate", "--id", clarification)["id"]
    lab.say("control", "task", "act", "answer", "--id", escalation, "--response", "MIT")
    question = lab.record(escalation)["artifactRefs"][-1]
    lab.say("control", "task", "act", "answer", "--id", question, "--response", "BSD", "--force", "--operator", "me")
    details = {name: lab.record(name)["detail"] for name in (question, escalation, clarification, other)}
    assert details.pop(other) == "Answered by human-operator: MIT"
    assert all(detail.endswith("Answered by me: BSD") for detail in details.values()), details
    assert {lab.record(name)["status"] for name in details} == {"resolved"}
    told = (lab.root / lab.say("coord", "inbox", "--agent", "A1")["inboxPath"]).read_text()
    assert "Answered by me: BSD" in told and "MIT" not in told


def test_an_escalation_is_answered_under_its_own_id(lab):
    question = lab.post("clarification-request", "A1")
    escalation = act(lab, "escalate", question)
    answered = act(lab, "answer", escalation["id"], "--response", "USE-PORT-4711")
    assert answered["status"] == "answered"
    assert "USE-PORT-4711" in lab.record(question)["detail"] and lab.record(question)["status"] == "resolved"
    assert lab.record(escalation["id"])["status"] == "resolved"


def test_a_clarification_without_a_question_is_answered_itself(lab):
    question = lab.post("clarification-request", "A1")
    done = act(lab, "answer", question, "--response", "Yes")
    assert done["status"] == "resolved" and "Yes" in done["detail"]
    assert lab.fails("control", "task", "act", "answer", "--id", question, "--response", "No")[0] == 1


def test_dismissing_a_question_closes_it_in_the_queue(lab):
    asked = lab.say("control", "task", "create", "--agent", "A1", "--kind", "human-input", "--summary", "May I?")
    act(lab, "dismiss", asked["id"])
    payload = lab.status()
    assert payload["feedbackRequests"][0]["disposition"] == "dismissed"
    assert payload["blockingEdge"] is None and payload["signals"]["wave"]["signal"] != "feedback-requested"
    assert lab.record(asked["id"])["status"] == "cancelled"


def test_an_answer_after_a_run_asks_for_the_run_that_goes_on(lab):
    lab.ran("A1", log=["nothing"])
    lab.event("wave_run", "wave-0", "started", waveId="wave-0")
    lab.event("wave_run", "wave-0", "blocked", waveId="wave-0")
    asked = lab.say("control", "task", "create", "--agent", "A1", "--kind", "human-input", "--summary", "Which?")
    assert lab.status()["rerunRequest"] is None
    act(lab, "answer", asked["id"], "--response", "This", "--operator", "op")
    request = lab.status()["rerunRequest"]
    assert "A1" in request["effectiveSelectedAgentIds"]
    assert request["requestedBy"] == "op" and asked["id"] in request["reason"]
    assert request["applyOnce"] is True


def test_unknown_actions_and_records_are_refused(lab):
    assert lab.fails("control", "task", "act", "explode", "--id", "x")[0] == 2
    assert lab.fails("control", "task", "act", "start", "--id", "x")[1].startswith("[wave] Task not found: x")
    assert lab.fails("control", "task", "act", "start")[0] == 2


# --- reruns ---------------------------------------------------------------------------------------------------------


def test_a_new_rerun_request_replaces_the_old_one_and_clear_leaves_none(lab):
    lab.say("control", "rerun", "request", "--agent", "A1")
    second = lab.say("control", "rerun", "request", "--agents", "A0,A2", "--reason", "again")
    assert second["effectiveSelectedAgentIds"] == ["A2"]  # closure agents follow by themselves
    got = lab.say("control", "rerun", "get")
    assert got["rerunRequest"]["requestId"] == second["rerunRequest"]["requestId"] and got["relaunchPlan"] is None
    assert os.path.exists(lab.paths.retry_override(0))
    code, out, _ = lab.call("control", "rerun", "clear", "--wave", "0")
    assert (code, out) == (0, "[wave-control] cleared rerun request for wave 0\n")
    assert lab.say("control", "rerun", "get")["rerunRequest"] is None
    assert not os.path.exists(lab.paths.retry_override(0))


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([], 2, "requires --agent or --resume-cursor"),
        (["--resume-cursor", "somewhere"], 2, "must be one of: design"),
        (["--agent", "A9"], 1, "Unknown wave agent id: A9"),
        (["--agent", "A1", "--reuse-derived-summaries", "maybe"], 2, "must be true or false"),
    ],
)
def test_a_rerun_request_says_what_it_lacks(lab, words, code, text):
    got, err = lab.fails("control", "rerun", "request", *words)
    assert got == code and text in err


def test_a_cursor_selects_the_agents_of_its_phase(lab):
    for cursor, agents in (("implementation", ["A1", "A2"]), ("cont-qa-closure", ["A0"])):
        made = lab.say("control", "rerun", "request", "--resume-phase", cursor)
        assert made["effectiveSelectedAgentIds"] == agents and made["rerunRequest"]["resumeCursor"] == cursor


# --- proof ----------------------------------------------------------------------------------------------------------

REGISTER = ("control", "proof", "register", "--agent", "A1", "--artifact")


def test_a_bundle_is_registered_superseded_and_revoked(lab):
    lab.write("out/proof.txt", "seen it run\n")
    first = lab.say(*REGISTER, "out/proof.txt", "--authoritative", "--operator", "op", "--detail", "saw it")
    assert first["entry"]["proof"]["state"] == "met" and first["entry"]["artifacts"][0]["exists"] is True
    record = lab.record(first["entry"]["id"])
    assert (record["kind"], record["status"], record["agentId"]) == ("evidence", "resolved", "op")
    assert record["targets"] == ["agent:A1", "agent:A0"] and record["priority"] == "high"
    second = lab.say("control", "proof", "supersede", "--id", first["entry"]["id"], "--agent", "A1")
    assert second["entry"]["id"] != first["entry"]["id"]
    assert second["superseded"]["supersededBy"] == second["entry"]["id"]
    states = {entry["id"]: entry["state"] for entry in second["registry"]["entries"]}
    assert states == {first["entry"]["id"]: "superseded", second["entry"]["id"]: "active"}
    revoked = lab.say("control", "proof", "revoke", "--id", second["entry"]["id"])
    assert lab.say("control", "proof", "revoke", "--id", second["entry"]["id"]) == revoked
    assert lab.fails("control", "proof", "revoke", "--id", first["entry"]["id"])[0] == 1
    assert "Proof bundle not found: nope" in lab.fails("control", "proof", "revoke", "--id", "nope")[1]
    got = lab.say("control", "proof", "get", "--id", first["entry"]["id"])
    assert [entry["state"] for entry in got["entries"]] == ["superseded"] and os.path.isabs(got["registryPath"])
    assert len(lab.say("proof", "show")["entries"]) == 2


def test_a_bundle_counts_for_its_agent(lab):
    lab.ran("A1", log=["nothing"])
    assert lab.agent(lab.status(), "A1")["closureState"] == "failed"
    lab.write("out/proof.txt", "seen it run\n")
    made = lab.say(*REGISTER, "out/proof.txt", "--authoritative", "--doc-delta", "owned")
    row = lab.agent(lab.status(), "A1")
    assert row["closureState"] == "passed" and row["activeProofBundleIds"] == [made["entry"]["id"]]


def test_a_registered_entry_is_the_one_of_the_registry(lab):
    lab.write("proof.txt", "it works")
    made = lab.say("control", "proof", "register", "--agent", "A1", "--artifact", "proof.txt")
    assert made["entry"] == made["registry"]["entries"][-1]
    after = lab.say("control", "proof", "supersede", "--agent", "A1", "--id", made["entry"]["id"])
    assert [after["superseded"], after["entry"]] == after["registry"]["entries"]


@pytest.mark.parametrize("words", [["missing.txt", "--authoritative"], ["src"], ["../outside.txt"]])
def test_what_cannot_be_evidence_is_refused_and_nothing_is_written(lab, words):
    lab.write("src/x.txt", "")
    before = lab.tree()
    assert lab.fails(*REGISTER, *words)[0] == 1
    assert lab.tree() == before


def test_a_missing_artifact_is_a_warning_and_a_bad_level_a_usage_error(lab):
    code, out, err = lab.call(*REGISTER, "later.txt", "--wave", "0")
    assert code == 0 and "warning: Proof artifact does not exist yet: later.txt" in err
    assert json.loads(out)["entry"]["artifacts"][0]["exists"] is False
    assert lab.fails(*REGISTER, "later.txt", "--completion", "bogus")[0] == 2
