"""Reconciling a lane from real files. Spec: CFG 17, LAUNCH 4, 21 (case 35)."""

from __future__ import annotations

import os

import pytest
from lane_lab import LaneLab

from wave_lib.runtime.run_state_reconcile import known_completed_waves, preview_reconciliation, reconcile_run_state
from wave_lib.state import run_state
from wave_lib.state.coordination_store import append_record


@pytest.fixture
def lab(tmp_path):
    return LaneLab(tmp_path)


def reconcile(lab):
    return reconcile_run_state(lab.paths, [lab.wave])


def finished(lab):
    lab.ran("A1")
    lab.ran("A0")
    return lab


def tree(root):
    return {
        os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, _, names in os.walk(root)
        for name in names
    }


def test_a_lane_nobody_ran_stays_not_started(lab):
    found = reconcile(lab)
    assert found.state["waves"] == {} and not os.path.exists(lab.paths.run_state)
    assert [item.wave for item in found.blocked_from_status] == [0]


def test_a_finished_wave_is_added_once(lab):
    found = reconcile(finished(lab))
    assert (found.completed_from_status, found.added_from_before) == ((0,), (0,))
    entry = found.state["waves"]["0"]
    assert (entry["currentState"], entry["lastSource"]) == ("completed", "status-reconcile")
    assert [item["agentId"] for item in entry["lastEvidence"]["statusFiles"]] == ["A0", "A1"]
    again = reconcile(lab)
    assert again.added_from_before == () and again.state == found.state


def test_reading_writes_nothing(lab):
    finished(lab)
    before = tree(lab.root)
    assert known_completed_waves(lab.paths, [lab.wave]) == [0]
    assert preview_reconciliation(lab.paths, [lab.wave]).completed_from_status == (0,)
    assert tree(lab.root) == before


def test_a_completed_wave_with_a_new_prompt_drifts_and_a_new_escalation_blocks(lab):
    finished(lab)
    run_state.mark_wave_completed(
        lab.paths.run_state, 0, detail="done", evidence=run_state.build_run_state_evidence(lab.paths, lab.wave)
    )
    assert reconcile(lab).state["waves"]["0"]["lastSource"] == "live-launcher"  # R1: left as it was
    file = lab.root / "docs/plans/waves/wave-0.md"
    file.write_text(file.read_text().replace("Build the widget.", "Build a better widget."))
    lab.wave, lab.bindings = lab.parse()
    drifted = reconcile(lab)
    assert drifted.state["waves"]["0"]["currentState"] == "completed_with_drift"
    assert drifted.state["completedWaves"] == [0]
    assert [item.previous_state for item in drifted.preserved_with_drift] == ["completed"]
    escalation = {"kind": "human-escalation", "lane": "main", "wave": 0, "agentId": "A1", "summary": "help"}
    append_record(lab.paths, 0, escalation)
    blocked = reconcile(lab)
    assert blocked.state["waves"]["0"]["currentState"] == "blocked"
    assert "open-human-escalation" in [reason.code for reason in blocked.blocked_from_status[0].reasons]


def test_cleaning_status_files_does_not_uncomplete(lab):
    finished(lab)
    evidence = run_state.build_run_state_evidence(lab.paths, lab.wave)
    run_state.mark_wave_completed(lab.paths.run_state, 0, detail="done", evidence=evidence)
    for agent in lab.wave.agents:
        os.unlink(lab.paths.status_file(0, agent.slug))
    found = reconcile(lab)
    assert found.state["waves"]["0"]["currentState"] == "completed_with_drift"


def test_a_wave_accepted_by_looser_rules_stays_accepted_until_something_changes(lab):
    lab.ran("A1", log=["no marker at all"])
    lab.ran("A0")
    evidence = run_state.build_run_state_evidence(lab.paths, lab.wave)
    run_state.mark_wave_completed(lab.paths.run_state, 0, detail="accepted", evidence=evidence)
    assert reconcile(lab).state["waves"]["0"]["lastSource"] == "live-launcher"  # R5
    lab.ran("A1", log=["no marker at all"], code=7)
    assert reconcile(lab).state["waves"]["0"]["currentState"] == "blocked"


def test_summaries_are_built_from_logs_where_envelopes_are_gone(lab):
    finished(lab)
    for agent_id in ("A1", "A0"):
        os.unlink(lab.paths.result_envelope(0, 1, agent_id))
    assert reconcile(lab).completed_from_status == (0,)
    assert os.path.exists(lab.paths.summary_file(0, "0-a1"))


def test_auto_satisfied_stages_stay_not_required(lab):
    lab.ran("A1")
    evidence = run_state.build_run_state_evidence(lab.paths, lab.wave, not_required_agent_ids=["A0"])
    run_state.mark_wave_completed(lab.paths.run_state, 0, detail="done", evidence=evidence)
    assert reconcile(lab).state["completedWaves"] == [0]
    state = run_state.read_run_state(lab.paths.run_state)
    assert state["waves"]["0"]["lastSource"] == "live-launcher"
