"""The progress journal. Spec: LAUNCH 14, SUP 4.6."""

from __future__ import annotations

import json

from wave_lib.state.launcher_progress import PHASES, ProgressJournal, normalize_progress, progress_key, read_progress


def test_unsupervised_writes_nothing(tmp_path):
    ProgressJournal(None).write("starting")
    assert list(tmp_path.iterdir()) == []


def test_absent_is_none_and_torn_is_empty(tmp_path):
    path = tmp_path / "launcher-progress.json"
    assert read_progress(str(path)) is None
    path.write_text("{")
    torn = read_progress(str(path))
    assert torn is not None and torn["phase"] is None and torn["finalized"] is False


def test_normalisation():
    found = normalize_progress(
        {"selectedAgentIds": [" A1 ", "A1", "", 3], "finalized": 1, "exitCode": "0", "attemptNumber": True, "junk": 1}
    )
    assert found["selectedAgentIds"] == ["A1"]
    assert (found["finalized"], found["exitCode"], found["attemptNumber"]) == (False, None, None)
    assert "junk" not in found


def test_a_run_from_start_to_finish(tmp_path):
    path = str(tmp_path / "run" / "launcher-progress.json")
    journal = ProgressJournal(path, "run-1", 2)
    journal.start([0, 1])
    journal.write("attempt-running", waveNumber=0, attemptNumber=1, launchedAgentIds=["A1"])
    journal.write("attempt-succeeded", completedAgentIds=("A1",))
    journal.finish("completed", 0)
    stored = json.loads((tmp_path / "run" / "launcher-progress.json").read_text())
    assert stored == journal.current
    assert (stored["runId"], stored["launchGeneration"], stored["seq"]) == ("run-1", 2, 4)
    assert (stored["phase"], stored["finalized"], stored["finalDisposition"], stored["exitCode"]) == (
        "completed",
        True,
        "completed",
        0,
    )
    assert stored["launchedAgentIds"] == ["A1"] and stored["waveNumber"] == 0


def test_a_resumed_launcher_goes_on_counting_and_keeps_completed_waves(tmp_path):
    path = str(tmp_path / "launcher-progress.json")
    first = ProgressJournal(path, "run-1", 1)
    first.start([0, 1])
    first.write("wave-completed", waveNumber=0, completedWaves=[0])
    second = ProgressJournal(path, "run-1", 2)
    second.start([0, 1])
    assert second.current["completedWaves"] == [0]
    assert second.current["seq"] == 3 and second.current["waveNumber"] is None


def test_the_progress_key_grows():
    journal = normalize_progress({"waveNumber": 0, "attemptNumber": 1})
    keys = [progress_key({**journal, "phase": phase}) for phase in PHASES]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
