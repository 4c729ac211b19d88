"""`wave feedback` and `wave dep`. Spec: COORD 11.3, 15.2; cases 31-36."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from control_lab import ControlLab
from waiting import wait_until

from wave_lib.runtime.wave_scene import lane_paths

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def lab(tmp_path, capsys):
    return ControlLab(tmp_path, capsys)


def ask(lab, question="Which colour?", *words):
    return lab.say("feedback", "ask", "--agent", "A1", "--question", question, "--json", *words)["id"]


def test_asking_prints_the_id_and_the_file(lab):
    words = ("feedback", "ask", "--lane", "main", "--wave", "0", "--agent", "A1", "--question", "Which?")
    code, out, err = lab.call(*words, "--timeout-seconds", "3")
    first, second = out.splitlines()
    assert code == 0 and first.startswith("[wave-human-feedback] created ") and "without --wait" in err
    request = json.loads((lab.root / second[len("file: ") :]).read_text())
    assert request["id"] == first.split()[-1] and request["status"] == "pending"
    assert lab.status()["signals"]["wave"]["signal"] == "feedback-requested"
    events = [json.loads(line) for line in Path(lab.paths.control_plane_log(0)).read_text().splitlines()]
    assert [event["action"] for event in events if event["entityType"] == "human_input"] == ["requested"]


def test_waiting_ends_with_the_answer(lab):
    argv = [sys.executable, str(ROOT / "wave.py"), "--repo-root", str(lab.root), "feedback", "ask", "--wave", "0"]
    words = ["--agent", "A1", "--question", "Which?", "--wait", "--timeout-seconds", "60"]
    with subprocess.Popen([*argv, *words], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        request_id = child.stdout.readline().split()[-1]
        wait_until(lambda: list(Path(lab.paths.feedback_requests_dir).glob("*.json")))
        code, out, err = lab.call("feedback", "respond", "--id", request_id, "--response", "Blue", "--operator", "op")
        assert (code, out) == (0, f"[wave-human-feedback] answered {request_id}\n"), err
        rest, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert rest.splitlines()[-2:] == ["[wave-human-feedback] answered by op", "Blue"]


def test_waiting_gives_up_at_its_deadline(lab):
    words = ("feedback", "ask", "--wave", "0", "--agent", "A1", "--question", "W?", "--wait", "--timeout-seconds", "0")
    code, _, err = lab.call(*words)
    assert code == 1 and "Timed out waiting for response after 0s" in err


def test_requests_are_listed_filtered_shown_and_dismissed(lab):
    first, second = ask(lab, "One?"), ask(lab, "Two?")
    code, out, _ = lab.call("feedback", "list", "--json")
    rows = json.loads(out)
    assert code == 0 and [row["question"] for row in rows] == ["One?", "Two?"] and rows[0]["__filePath"]
    code, out, _ = lab.call("feedback", "dismiss", "--id", first, "--detail", "moot")
    assert (code, out) == (0, f"[wave-human-feedback] dismissed {first}\n")
    assert [row["id"] for row in json.loads(lab.call("feedback", "list", "--pending", "--json")[1])] == [second]
    assert json.loads(lab.call("feedback", "list", "--wave", "5", "--json")[1]) == []
    table = lab.call("feedback", "list")[1].splitlines()
    assert table[0].startswith("ID ") and len(table) == 3 and "\x1b" not in "".join(table)
    assert lab.call("feedback", "list", "--agent", "A0")[1] == "(none)\n"
    assert json.loads(lab.call("feedback", "show", "--id", first)[1])["response"]["disposition"] == "dismissed"
    assert "Request not found: nope" in lab.call("feedback", "show", "--id", "nope")[2]
    assert lab.call("feedback", "shout")[0] == 2


def test_a_request_of_a_wave_that_is_gone_can_still_be_answered(lab):
    request = ask(lab)
    (lab.root / "docs/plans/waves/wave-0.md").unlink()
    code, _, err = lab.call("feedback", "respond", "--id", request, "--response", "Blue")
    assert code == 0 and "does not exist any more" in err


# --- dependencies ---------------------------------------------------------------------------------------------------


def post(lab, *words):
    code, out, err = lab.call(
        "dep", "post", "--owner-lane", "main", "--requester-lane", "other", "--owner-wave", "0", "--requester-wave",
        "0", "--agent", "B1", "--summary", "We need it", *words,
    )  # fmt: skip
    assert code == 0, err
    return json.loads(out)


def test_a_required_ticket_blocks_until_it_is_resolved(lab):
    ticket = post(lab, "--required", "--target", "agent:A1", "--closure-condition", "when green")
    assert ticket["closureCondition"] == "when green required=true" and ticket["priority"] == "high"
    edge = lab.status()["blockingEdge"]
    assert (edge["kind"], edge["id"], edge["agentId"]) == ("dependency", ticket["id"], "A1")
    assert lab.agent(lab.status(), "A1")["state"] == "blocked"
    assert len(lab.say("dep", "show")["requiredInbound"]) == 1
    code, out, _ = lab.call("dep", "resolve", "--lane", "main", "--id", ticket["id"], "--agent", "A1", "--detail", "ok")
    done = json.loads(out)
    assert code == 0 and (done["status"], done["resolvedBy"], done["agentId"]) == ("resolved", "A1", "B1")
    assert lab.say("dep", "show")["requiredInbound"] == [] and lab.status()["blockingEdge"] is None


def test_an_optional_ticket_is_seen_and_holds_nothing(lab):
    ticket = post(lab, "--id", "dep-1")
    payload = lab.status()
    assert payload["blockingEdge"] is None and [item["id"] for item in payload["dependencies"]] == [ticket["id"]]
    words = ("--owner-lane", "main", "--owner-wave", "0", "--requester-wave", "0", "--agent", "B", "--summary", "s")
    code, _, err = lab.call("dep", "post", *words, "--id", "dep-1")
    assert code == 1 and "exists already" in err
    assert "We need it" in lab.call("dep", "show")[1]
    rendered = json.loads(lab.call("dep", "render", "--wave", "0")[1])
    assert "We need it" in (lab.root / rendered["markdownPath"]).read_text()
    assert json.loads((lab.root / rendered["jsonPath"]).read_text())["inbound"][0]["id"] == "dep-1"


def test_bad_ticket_commands_are_refused(lab):
    assert lab.call("dep", "post", "--owner-lane", "main", "--agent", "A", "--summary", "s")[0] == 2
    code, _, err = lab.call("dep", "resolve", "--lane", "main", "--id", "nope", "--agent", "A1")
    assert code == 1 and "Dependency nope not found for lane main" in err
    words = ("dep", "resolve", "--lane", "main", "--id", "x", "--agent", "A1", "--status", "open")
    assert lab.call(*words)[0] == 2


@pytest.mark.parametrize("name", ["wave-feedback", "wave-human-feedback"])
def test_the_other_names_of_the_command(lab, name):
    code, out, _ = lab.call(name, "ask", "--lane", "main", "--wave", "0", "--agent", "A1", "--question", "Which port?")
    assert code == 0 and out.startswith("[wave-human-feedback] created ")
    assert lab.call(name, "show", "--lane", "main", "--id", "nope")[2].startswith("[wave-human-feedback] ")


def test_a_question_of_an_adhoc_run_stays_in_its_run(lab):
    """Both are wave 0 of the same lane and share one queue. Spec: COORD 29, row 34."""
    run = lane_paths(str(lab.root), None, "main", "r1")
    lab.write(run.wave_file(0), Path(lab.paths.wave_file(0)).read_text())
    lab.write(".wave/adhoc/runs/r1/result.json", json.dumps({"runId": "r1", "project": "default", "lane": "main"}))
    code, out, err = lab.call("feedback", "ask", "--run", "r1", "--agent", "A1", "--question", "Which port?", "--json")
    assert code == 0, err
    asked = json.loads(out)["id"]

    def seen(*place: str) -> list[Any]:
        status = json.loads(lab.call("control", "status", "--json", *place)[1])
        tasks = json.loads(lab.call("control", "task", "list", "--json", *place)[1])
        explained = json.loads(lab.call("coord", "explain", *place)[1])
        edge, signal = status["blockingEdge"], status["signals"]["wave"]["signal"]
        shown, own = [row["id"] for row in status["feedbackRequests"]], [task for task in tasks if not task["seed"]]
        return [edge and edge["kind"], signal, shown, [task["taskId"] for task in own], explained["blockedBy"]]

    assert seen("--run", "r1") == ["human-input", "feedback-requested", [asked], [asked], ["pending human feedback"]]
    assert seen("--wave", "0") == [None, "stable", [], [], []]
    assert [row["id"] for row in json.loads(lab.call("feedback", "list", "--json", "--run", "r1")[1])] == [asked]
    assert lab.call("feedback", "respond", "--id", asked, "--response", "4711")[0] == 0  # the request names its run
    assert seen("--run", "r1")[0] is None and seen("--wave", "0")[:2] == [None, "stable"]
    assert not Path(lab.paths.control_plane_log(0)).exists() and Path(run.control_plane_log(0)).exists()
