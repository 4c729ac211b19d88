"""Dashboards: derived states, events, counts, what a log seems to say. Spec: LAUNCH 15, 21 (case 56)."""

from __future__ import annotations

import json

import pytest
from retry_lab import NOW, agent, wave

from wave_lib.projections import dashboard_activity as activity
from wave_lib.projections import dashboard_state as state

LATER = "2026-01-02T03:05:00.000Z"


def dashboards():
    of = wave(agent("A1"), agent("A0"))
    agents = [
        state.new_agent(
            item.agent_id, item.title, item.slug, session_name="s", prompt_path="p", log_path="l", status_path="t"
        )
        for item in of.agents
    ]
    own = state.new_wave_dashboard(
        of, "main", run_tag="abcdef", max_attempts=2, message_board_path="b", agents=agents, now=NOW
    )
    entry = state.new_wave_entry(of, max_attempts=2, dashboard_path="d", message_board_path="b")
    return own, state.new_global_dashboard("main", [entry], run_id="r", options={}, paths={}, now=NOW)


@pytest.mark.parametrize(
    "status, triplet",
    [
        ("running", ("active", "evaluating", "active")),
        ("completed", ("settled", "passed", "idle")),
        ("blocked", ("settled", "blocked", "relaunch-planned")),
        ("failed", ("settled", "blocked", "stale")),
        ("timed_out", ("settled", "blocked", "stale")),
        ("pending", ("pending", "pending", "idle")),
    ],
)
def test_states_follow_the_status(status, triplet):
    own, overall = dashboards()
    state.set_status(own, status, LATER)
    state.copy_to_global(own, overall, LATER)
    entry = overall["waves"][0]
    for item in (own, entry):
        assert (item["executionState"], item["closureState"], item["controllerState"]) == triplet
    assert entry["completedAt"] == (LATER if status in ("completed", "failed", "timed_out") else None)


def test_counts_of_the_global_entry():
    own, overall = dashboards()
    state.set_agent(own, "A1", NOW, state="blocked")
    state.set_agent(own, "A0", NOW, state="coding")
    state.copy_to_global(own, overall, NOW)
    entry = overall["waves"][0]
    counts = [entry[f"agents{name}"] for name in ("Total", "Active", "Completed", "Failed", "Pending")]
    assert counts == [2, 1, 0, 1, 0]


def test_completed_at_is_set_once():
    own, overall = dashboards()
    state.set_status(own, "completed", NOW)
    state.copy_to_global(own, overall, NOW)
    state.copy_to_global(own, overall, LATER)
    assert overall["waves"][0]["completedAt"] == NOW


def test_events_are_capped_and_shown_in_both():
    own, overall = dashboards()
    for number in range(130):
        state.add_event(own, overall, f"e{number}", NOW, agent_id="A1", level="warn")
    assert len(own["events"]) == len(overall["events"]) == 120
    assert own["events"][-1] == {"at": NOW, "level": "warn", "agentId": "A1", "message": "e129"}
    assert overall["events"][-1] == {"at": NOW, "level": "warn", "wave": 0, "message": "[A1] e129"}
    assert overall["waves"][0]["lastMessage"] == "[A1] e129"


def test_launching_counts_an_attempt():
    own, _ = dashboards()
    state.agent_launching(own, "A1", NOW)
    state.agent_launching(own, "A1", LATER)
    found = state.find_agent(own, "A1")
    assert (found["attempts"], found["state"], found["detail"]) == (2, "launching", "Launching (attempt 2)")


def test_the_update_time_moves_only_with_a_change():
    own, _ = dashboards()
    state.set_agent(own, "A1", NOW, state="running")
    state.set_agent(own, "A1", LATER, state="running")
    assert state.find_agent(own, "A1")["lastUpdateAt"] == NOW


def test_board_tail():
    own, _ = dashboards()
    state.set_board_tail(own, "")
    assert own["messageBoardTail"] == [state.BOARD_PLACEHOLDER]
    state.set_board_tail(own, "\n".join(f"line {number}" for number in range(100)))
    assert own["messageBoardTail"] == [f"line {number}" for number in range(72, 100)]


def test_written_files_agree(tmp_path):
    own, overall = dashboards()
    state.set_status(own, "completed", NOW)
    paths = {"global_path": str(tmp_path / "global.json"), "wave_path": str(tmp_path / "wave-0.json")}
    state.write_dashboard_projections(overall, own, now=LATER, **paths)
    assert json.loads((tmp_path / "wave-0.json").read_text())["closureState"] == "passed"
    assert json.loads((tmp_path / "global.json").read_text())["waves"][0]["status"] == "completed"


def test_a_lost_launchers_dashboard_becomes_stale_once():
    own, overall = dashboards()
    assert state.mark_stale(own, LATER, "lost") and state.mark_stale(overall, LATER, "lost")
    assert (own["status"], own["controllerState"], own["events"][-1]["level"]) == ("failed", "stale", "warn")
    assert overall["waves"][0]["status"] == "failed"
    assert not state.mark_stale(own, LATER, "lost")


# --- logs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", "running"),
        ("calling deployment_status", "deploying"),
        ("running pytest -q", "validating"),
        ("pnpm run build", "validating"),
        ("pnpm install", "running"),
        ("git commit -m x", "finalizing"),
        ("*** Update File: a.py", "coding"),
        ("apply_patch\npytest", "validating"),
        ("x" * 20_000, "running"),
        ("pytest" + "x" * 20_000, "running"),
    ],
)
def test_guessed_activity(text, expected):
    assert activity.guess_activity(text) == expected


def test_last_marker_wins():
    text = (
        "[wave-phase] coding\n[wave-phase] nonsense\n"
        "[deploy-status] service=api state=deploying\n[DEPLOY-STATUS] service=api state=failed detail=no port\n"
        "[infra-status] kind=db target=main state=drift detail=two rows\nsee [wave-phase] failed\n"
    )
    found = activity.parse_structured_signals(text)
    assert found.phase == "coding"
    assert found.deployment == {"service": "api", "state": "failed", "detail": "no port"}
    assert found.infra == {"kind": "db", "target": "main", "state": "drift", "detail": "two rows"}


def refresh(own, overall, status, text):
    activity.refresh_agent(own, overall, "A1", status, text, LATER)
    return state.find_agent(own, "A1")


def test_a_running_process_cannot_declare_itself_done():
    own, overall = dashboards()
    assert refresh(own, overall, None, "[wave-phase] validating\n")["state"] == "validating"
    assert overall["events"][-1]["message"] == "[A1] Phase signaled: validating"
    assert refresh(own, overall, None, "[wave-phase] completed\n")["state"] == "running"


@pytest.mark.parametrize("code, expected", [(0, "completed"), (124, "timed_out"), (7, "failed")])
def test_status_decides(code, expected):
    own, overall = dashboards()
    found = refresh(own, overall, {"code": code, "completedAt": NOW}, "[wave-phase] coding\n")
    assert (found["state"], found["exitCode"], found["completedAt"], found["detail"]) == (
        expected,
        code,
        NOW,
        f"Exit {code}",
    )
    state.set_agent(own, "A1", LATER, detail="Exit 0; cont-QA PASS (ok)")
    assert refresh(own, overall, {"code": code, "completedAt": NOW}, "")["detail"] == "Exit 0; cont-QA PASS (ok)"


def test_deploy_and_infra_changes_are_events_once():
    own, overall = dashboards()
    text = "[deploy-status] service=api state=failed\n[infra-status] kind=db target=main state=setup-required\n"
    refresh(own, overall, None, text)
    refresh(own, overall, None, text)
    assert [(event["level"], event["message"]) for event in own["events"]] == [
        ("error", "Deployment api: failed"),
        ("warn", "Infra db main: setup-required"),
    ]
    state.copy_to_global(own, overall, NOW)
    assert overall["waves"][0]["deployments"][0]["state"] == "failed"
    assert overall["waves"][0]["infraFindings"][0]["kind"] == "db"
