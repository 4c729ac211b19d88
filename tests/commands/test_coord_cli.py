"""`wave coord`. Spec: COORD 3.6, 24; cases 11, 12, 17, 60."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from control_lab import ControlLab

from wave_lib.runtime.derived_state import refresh_derived_state
from wave_lib.runtime.wave_scene import derived_context

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def lab(tmp_path, capsys):
    return ControlLab(tmp_path, capsys)


def test_a_post_is_printed_and_shown(lab):
    made = lab.say("coord", "post", "--agent", "A1", "--kind", "claim", "--summary", "It works", "--artifact", "a,b")
    assert (made["source"], made["artifactRefs"], made["blocking"]) == ("agent", ["a", "b"], False)
    shown = lab.say("coord", "show", "--json")
    assert [record["id"] for record in shown["claims"]] == [made["id"]]
    assert len(shown["requests"]) == 4  # the seeds of three agents and the shared plan
    _, out, _ = lab.call("coord", "show", "--wave", "0")
    assert any(line.endswith("It works") and " A1 " in line and "claim/open" in line for line in out.splitlines())


def test_a_stranger_may_post_but_is_pointed_out(lab):
    words = ("coord", "post", "--agent", "X7", "--kind", "claim", "--summary", "s", "--wave", "0")
    code, out, err = lab.call(*words)
    assert code == 0 and json.loads(out)["agentId"] == "X7" and "warning: X7 is no agent of wave 0" in err


@pytest.mark.parametrize(("target", "reason"), [("agent:A9", "missing-agent"), ("A2", "exact-agent-id")])
def test_a_request_goes_on_record_as_it_was_made_and_holds_closure(lab, target, reason):
    """A request to nobody is not lost: it stays unassigned and blocks until somebody settles it."""
    words = ("coord", "post", "--agent", "A1", "--kind", "request", "--summary", "s", "--priority", "high")
    code, out, err = lab.call(*words, "--wave", "0", "--target", target)
    request = json.loads(out)
    assert code == 0 and request["targets"] == [target] and ("is no agent" in err) == (reason == "missing-agent")
    (assigned,) = refresh_derived_state(derived_context(lab.scene)).capability_assignments
    assert (assigned["assignmentReason"], assigned["blocking"]) == (reason, True)
    assert lab.record(assigned["id"])["priority"] == "high"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--agent", "A1", "--kind", "claim"], 2),
        (["--agent", "A1", "--kind", "weird", "--summary", "s"], 1),
        (["--agent", "A1", "--kind", "claim", "--summary", "s", "--priority", "huge"], 2),
    ],
)
def test_bad_posts_change_nothing(lab, words, code):
    before = lab.tree()
    assert lab.fails("coord", "post", *words)[0] == code
    assert lab.tree() == before


def test_an_ack_of_the_target_acknowledges_and_that_of_a_stranger_does_not(lab):
    request = lab.post("request", "A1", "--target", "agent:A2")
    lab.post("ack", "A1", "--depends-on", request)
    assert lab.record(request)["status"] == "open"
    lab.post("ack", "A2", "--depends-on", request)
    assert lab.record(request)["status"] == "acknowledged"


def test_an_agent_acts_in_its_own_name(lab):
    request = lab.post("request", "A1", "--target", "agent:A2")
    assert lab.say("coord", "act", "ack", "--id", request, "--agent", "A2")["status"] == "acknowledged"
    done = lab.say("coord", "act", "resolve", "--id", request, "--agent", "A2", "--detail", "done")
    assert (done["resolvedBy"], done["source"], done["detail"]) == ("A2", "agent", "done")
    assert "Coordination record not found: nope" in lab.fails("coord", "act", "ack", "--id", "nope")[1]
    assert lab.fails("coord", "act", "defer", "--id", request)[0] == 2


def test_explain_names_what_blocks_and_leaves_seeds_out(lab):
    assert lab.say("coord", "explain")["blockedBy"] == []
    lab.post("request", "A1", "--blocking", "no", "--target", "agent:A2")
    assert lab.say("coord", "explain")["blockedBy"] == []
    lab.post("blocker", "A1", "--priority", "urgent")
    lab.post("clarification-request", "A1")
    lab.post("request", "A1", "--target", "agent:A2")
    explained = lab.say("coord", "explain")
    assert explained["blockedBy"] == [
        "hard blocker",
        "open clarification chain",
        "blocking helper assignment",
        "targeted open request",
    ]
    assert list(explained) == [
        "lane", "wave", "phase", "agentId", "blockedBy", "openCoordination", "helperAssignments", "dependencies",
        "humanFeedback", "relaunchPlan", "retryOverride", "effectiveRetryTargets", "proofEntries",
    ]  # fmt: skip
    mine = lab.say("coord", "explain", "--agent", "A2")
    assert "targeted open request" in mine["blockedBy"] and "hard blocker" not in mine["blockedBy"]


def test_inbox_and_render_write_their_pages_and_leave_ledger_and_docs_queue_alone(lab):
    lab.write(lab.paths.ledger(0), "{}\n")
    lab.write(lab.paths.docs_queue(0), "{}\n")
    request = lab.post("request", "A1", "--target", "agent:A2", "--detail", "please look")
    _, out, _ = lab.call("coord", "render", "--wave", "0")
    board = (lab.root / out.strip()).read_text()
    assert request in board and os.path.exists(lab.paths.assignments(0))
    paths = lab.say("coord", "inbox", "--agent", "A2")
    assert request in (lab.root / paths["inboxPath"]).read_text() and (lab.root / paths["sharedPath"]).is_file()
    assert json.loads((lab.root / paths["inboxPath"]).with_suffix(".json").read_text()) == paths
    assert Path(lab.paths.ledger(0)).read_text() == Path(lab.paths.docs_queue(0)).read_text() == "{}\n"
    assert "Agent A9 not found in wave 0" in lab.fails("coord", "inbox", "--agent", "A9")[1]


def test_a_seed_that_was_settled_stays_settled(lab):
    lab.post("claim")
    seed = "wave-0-agent-A1-request"
    lab.say("control", "task", "act", "resolve", "--id", seed)
    lab.say("control", "task", "act", "mark-advisory", "--id", "wave-0-shared-plan-docs")
    lab.post("claim")
    assert lab.record(seed)["status"] == "resolved"
    assert lab.record("wave-0-shared-plan-docs")["blockerSeverity"] == "advisory"


def test_a_dry_run_has_records_of_its_own(lab):
    lab.say("coord", "post", "--dry-run", "--agent", "A1", "--kind", "claim", "--summary", "dry")
    assert len(lab.say("coord", "show", "--json", "--dry-run")["claims"]) == 1
    assert lab.say("coord", "show", "--json")["claims"] == []


def test_many_processes_post_at_once(lab):
    argv = [sys.executable, str(ROOT / "wave.py"), "--repo-root", str(lab.root), "coord", "post", "--wave", "0"]
    posts = [
        subprocess.Popen(
            [*argv, "--agent", "A1", "--kind", "claim", "--summary", f"claim {number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(8)
    ]
    ended = [post.communicate(timeout=60) + (post.returncode,) for post in posts]
    assert [code for _, _, code in ended] == [0] * 8, ended
    lines = Path(lab.paths.coordination_log(0)).read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert len({record["id"] for record in records}) == len(records) == 8 + 4
    assert {record["summary"] for record in records if record["kind"] == "claim"} == {f"claim {n}" for n in range(8)}
