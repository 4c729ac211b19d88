"""`wave retry` and the files behind it. Spec: LAUNCH 12, 21 (cases 43-45)."""

from __future__ import annotations

import json
import os

import pytest
from lane_lab import LaneLab

from wave_lib.base.errors import UsageError, WaveError
from wave_lib.commands import retry_cli
from wave_lib.state import retry_state


@pytest.fixture
def lab(tmp_path):
    return LaneLab(tmp_path)


def run(lab, *arguments):
    return retry_cli.run([arguments[0], "--lane", "main", "--wave", "0", *arguments[1:]], str(lab.root))


def printed(lab, capsys, *arguments):
    assert run(lab, *arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_apply_show_clear(lab, capsys):
    applied = printed(lab, capsys, "apply", "--agents", "A1,A0", "--clear-reuse", "A1", "--reason", "again")
    assert applied["effectiveSelectedAgentIds"] == ["A1"]
    assert applied["override"]["requestId"].startswith("rerun-wave-0-")
    assert applied["override"]["requestedBy"] == "human-operator"
    shown = printed(lab, capsys, "show", "--json")
    assert shown["override"]["selectedAgentIds"] == ["A1", "A0"] and shown["relaunchPlan"] is None
    assert os.path.exists(lab.paths.retry_override(0))
    assert run(lab, "clear") == 0
    assert capsys.readouterr().out == "[wave-retry] cleared override for wave 0\n"
    assert printed(lab, capsys, "show")["override"] is None
    assert not os.path.exists(lab.paths.retry_override(0))


def test_a_new_request_takes_the_place_of_older_ones(lab, capsys):
    first = printed(lab, capsys, "apply", "--agent", "A1")["override"]["requestId"]
    second = printed(lab, capsys, "apply", "--resume-phase", "cont-qa-closure")
    assert second["effectiveSelectedAgentIds"] == ["A0"] and second["override"]["resumePhase"] == "cont-qa-closure"
    states = {item["requestId"]: item["state"] for item in _requests(lab)}
    assert states == {first: "cleared", second["override"]["requestId"]: "active"}
    run(lab, "clear")
    assert retry_state.active_rerun_request(lab.paths, 0) is None


def _requests(lab):
    from wave_lib.state.control_plane import read_control_plane

    return read_control_plane(lab.paths, 0).rerun_requests.values()


@pytest.mark.parametrize(
    "arguments, kind, text",
    [
        (["apply"], UsageError, "apply requires --agent/--agents or --resume-phase"),
        (["apply", "--resume-phase", "bogus"], UsageError, "--resume-phase must be one of: design, "),
        (["apply", "--agent", "A77"], WaveError, "Unknown wave agent id: A77"),
        (["apply", "--agent", "A77", "--agent", "A78"], WaveError, "Unknown wave agent ids: A77, A78"),
        (["bogus"], UsageError, "Expected subcommand: show | apply | clear"),
    ],
)
def test_refusals_write_nothing(lab, arguments, kind, text):
    with pytest.raises(kind, match=text.replace("|", r"\|")) as raised:
        run(lab, *arguments)
    assert raised.value.code == (2 if kind is UsageError else 1)
    assert not (lab.root / ".tmp").exists()


def test_wave_is_required_and_must_exist(lab):
    with pytest.raises(UsageError, match="--wave is required"):
        retry_cli.run(["show"], str(lab.root))
    with pytest.raises(WaveError, match="Wave 7 not found in docs/plans/waves"):
        retry_cli.run(["show", "--wave", "7"], str(lab.root))


def test_show_reads_only(lab, capsys):
    assert printed(lab, capsys, "show") == {
        "wave": 0,
        "lane": "main",
        "override": None,
        "effectiveSelectedAgentIds": [],
        "relaunchPlan": None,
    }
    assert not (lab.root / ".tmp").exists()


def test_a_used_request_is_applied_unless_it_is_to_stay(lab):
    request = retry_state.request_rerun(lab.paths, 0, {"selectedAgentIds": ["A1"]})
    retry_state.settle_rerun_request(lab.paths, 0, request)
    assert [item["state"] for item in _requests(lab)] == ["applied"]
    lasting = retry_state.request_rerun(lab.paths, 0, {"selectedAgentIds": ["A1"], "applyOnce": False})
    retry_state.settle_rerun_request(lab.paths, 0, lasting)
    assert retry_state.active_rerun_request(lab.paths, 0)["requestId"] == lasting["requestId"]
    retry_state.reject_rerun_request(lab.paths, 0, lasting)
    assert retry_state.active_rerun_request(lab.paths, 0) is None


def test_an_override_file_without_events_is_an_input_and_can_be_used_up(lab):
    lab.write(
        lab.paths.retry_override(0),
        json.dumps({"kind": "wave-retry-override", "selectedAgentIds": ["A1"], "resumePhase": None, "applyOnce": True}),
    )
    legacy = retry_state.active_rerun_request(lab.paths, 0)
    assert legacy["selectedAgentIds"] == ["A1"] and legacy["requestedBy"] == "human-operator"
    retry_state.settle_rerun_request(lab.paths, 0, legacy)
    assert retry_state.active_rerun_request(lab.paths, 0) is None


def test_relaunch_plans_are_normalised(lab):
    assert retry_state.read_relaunch_plan(lab.paths, 0) is None
    lab.write(lab.paths.relaunch_plan(0), json.dumps({"selectedAgentIds": [" A1 ", "A1", 3], "schemaVersion": 9}))
    plan = retry_state.read_relaunch_plan(lab.paths, 0)
    assert (plan["schemaVersion"], plan["kind"], plan["wave"]) == (1, "wave-relaunch-plan", 0)
    assert plan["selectedAgentIds"] == ["A1"] and plan["executorStates"] == {}
    assert retry_state.clear_relaunch_plan(lab.paths, 0) is True
    assert retry_state.clear_relaunch_plan(lab.paths, 0) is False
