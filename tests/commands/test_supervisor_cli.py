"""submit, status, wait, runs, attach: what clients accept, print and leave behind. Spec: SUP 6, 7, 14, 21."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from launch_lab import DELTA, PROOF, ROOT, labs
from supervisor_lab import CONTEXT, SupervisorLab
from waiting import wait_until

from wave_lib.definition.config import config_from_payload
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.definition.supervisor_paths import SupervisorPaths, quick_state_dir

Make = Callable[..., SupervisorLab]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(SupervisorLab, tmp_path) as make:
        yield make


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--bogus",), 2, "Unknown argument: --bogus"),
        (("--start-wave", "7", "--end-wave", "3"), 2, "--end-wave must be >= --start-wave"),
        (("--start-wave", "99"), 1, "No waves available for range start=99, end=last"),
        (("--lane", "nope"), 1, "Unknown lane: nope"),
        (("--project", "nope"), 1, "Unknown project: nope"),
        (("--lane",), 2, "--lane requires a value"),
        (("--reconcile-status",), 2, "cannot be submitted"),
        (("--request-id", "a b"), 2, "--request-id takes"),
    ],
)
def test_a_bad_request_is_refused_and_leaves_nothing(
    lab: Make, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """SUP 21 case 1."""
    work = lab()
    done = work.wave("submit", *arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (work.root / ".tmp").exists()
    as_json = work.wave("submit", *arguments, "--json")
    assert json.loads(as_json.stdout)["ok"] is False


def test_submit_answers_with_the_run(lab: Make) -> None:
    """SUP 21 case 2."""
    work = lab()
    done = work.wave("submit", "--start-wave", "0", "--no-daemon", "--json")
    document = json.loads(done.stdout)
    assert re.fullmatch(r"run-\d+-[0-9a-f]{8}", document["runId"])
    assert document["statePath"].endswith(f"supervisor/runs/{document['runId']}/state.json")
    assert (document["daemon"]["state"], document["duplicate"], document["status"]) == ("skipped", False, "pending")
    assert work.observations(document["runId"]) == ["submitted"]
    request = json.loads((work.root / document["requestPath"]).read_text())
    assert request["launcherArgs"] == ["--project", "default", "--lane", "main", "--start-wave", "0"]
    assert request["waveSelection"] == {"startWave": 0, "endWave": None, "autoNext": False, "waves": [0]}
    assert not list((work.home / "runs").glob(".staging-*"))


def test_a_repeated_request_id_gives_the_same_run(lab: Make) -> None:
    """SUP 21 case 3, also when the two come at once."""
    work = lab()
    both = [work.begin("submit", "--no-daemon", "--request-id", "r1", "--json") for _ in range(4)]
    documents = [json.loads(work.finish(child).stdout) for child in both]
    assert len({document["runId"] for document in documents}) == 1
    assert sorted(document["duplicate"] for document in documents) == [False, True, True, True]
    assert len(list((work.home / "runs").iterdir())) == 1
    other = json.loads(work.wave("submit", "--no-daemon", "--json").stdout)
    assert other["runId"] != documents[0]["runId"]


def test_the_same_arguments_are_noted_not_refused(lab: Make) -> None:
    work = lab()
    first = json.loads(work.wave("submit", "--no-daemon", "--json").stdout)
    second = work.wave("submit", "--no-daemon", "--json")
    assert json.loads(second.stdout)["duplicateOf"] == first["runId"]
    assert f"run {first['runId']} with the same arguments is still pending" in second.stderr


def test_an_edited_wave_is_parsed_again(lab: Make) -> None:
    """The cache of sound waves rests on the stamps of the files."""
    work = lab()
    arguments = ("submit", *CONTEXT, "--no-daemon", "--json")
    assert [work.wave(*arguments).returncode for _ in range(3)] == [0, 0, 0]
    assert (work.home / "submit-cache.json").exists()
    path = work.root / "docs/plans/waves/wave-0.md"
    path.write_text(path.read_text().replace("### Prompt", "### Promt"))
    refused = work.wave(*arguments)
    assert refused.returncode == 1, refused.stdout


def test_auto_next_with_nothing_left(lab: Make) -> None:
    work = lab()
    assert work.launch().returncode == 0
    done = work.wave("submit", "--auto-next", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"runId": None, "reason": "all-complete"}
    assert not work.home.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("status", "--run-id", "../x", *CONTEXT), 1, "Run ../x not found."),
        (("status", "--run-id", "run-0-none", *CONTEXT), 1, "Run run-0-none not found."),
        (("status", "--run-id", "run-0-none"), 2, "--project and --lane are required"),
        (("wait", *CONTEXT), 2, "--run-id is required"),
        (("attach", "--run-id", "x", *CONTEXT), 2, "Specify exactly one of --agent <id> or --dashboard"),
        (("attach", "--run-id", "x", *CONTEXT, "--agent", "A1", "--dashboard"), 2, "Specify exactly one"),
        (("supervise", "--poll-ms", "none"), 2, "--poll-ms must be a positive integer"),
        (("cancel", "--run-id", "x", *CONTEXT), 1, "Run x not found."),
        (("status", "--run-id", "a", "--run-id", "b", *CONTEXT), 2, "--run-id is given twice"),
        (("runs", "--prune"), 2, "--prune needs a bound"),
    ],
)
def test_bad_client_calls(lab: Make, arguments: tuple[str, ...], code: int, message: str) -> None:
    """SUP 21 case 35."""
    work = lab()
    done = work.wave(*arguments)
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (work.root / ".tmp").exists()


def test_wait_times_out_without_touching_the_run(lab: Make) -> None:
    """SUP 21 cases 31, 33."""
    work = lab()
    gate = work.gate("A1", PROOF, DELTA)
    run = work.submit(daemon=True)
    work.runtime(run, "A1")
    begun = time.monotonic()
    timed_out = work.of("wait", run, "--timeout-seconds", "1", "--json")
    assert (timed_out.returncode, json.loads(timed_out.stdout)["timedOut"]) == (124, True)
    assert time.monotonic() - begun < 4
    changed = work.begin("wait", "--run-id", run, *CONTEXT, "--until-change")
    wait_until(lambda: work.view(run)["status"] == "running", what="the run to go on")
    gate.write_text("go\n")
    assert work.finish(changed).returncode in (0, 30)
    assert work.finished(run)["status"] == "completed"
    assert work.of("status", run, "--exit-code").returncode == 0


def test_readers_change_nothing(lab: Make) -> None:
    """SUP 21 cases 29, 30."""
    work = lab()
    run = work.submit("--dry-run")
    before = _fingerprint(work.home)
    for _ in range(3):
        assert work.of("status", run).returncode == 0
        assert work.of("wait", run, "--timeout-seconds", "0").returncode == 124
        assert work.wave("runs", *CONTEXT, "--json").returncode == 0
    assert _fingerprint(work.home) == before


def _fingerprint(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha1(path.read_bytes()).hexdigest() for path in files} | {
        str(path): str(path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_dir()
    }


def test_runs_lists_queues_and_prunes(lab: Make) -> None:
    work = lab()
    first, second = work.submit("--dry-run"), work.submit("--dry-run", "--start-wave", "0")
    listed = json.loads(work.wave("runs", *CONTEXT, "--json").stdout)
    assert [row["runId"] for row in listed["runs"]] == [second, first]
    assert [row["queuePosition"] for row in listed["runs"]] == [2, 1]
    assert "resume_action=start-daemon" in work.of("status", first).stdout
    assert work.finish(work.supervise("--until-idle")).returncode == 0
    assert [work.recorded(run)["status"] for run in (first, second)] == ["completed", "completed"]
    text = work.wave("runs", *CONTEXT, "--status", "completed", "--limit", "1").stdout
    assert text.splitlines()[0].startswith("daemon=stopped pid=") and second in text and first not in text
    pruned = json.loads(work.wave("runs", *CONTEXT, "--prune", "--keep", "1", "--json").stdout)
    assert pruned == {"removed": [first]}
    assert work.of("status", first).returncode == 1
    everywhere = json.loads(work.wave("runs", "--all-roots", "--json").stdout)
    assert [row["runId"] for row in everywhere["roots"][0]["runs"]] == [second]


def test_attach_follows_a_log_across_truncation_and_ends_with_the_agent(lab: Make) -> None:
    """SUP 21 case 36."""
    work = lab()
    work.script("A1", "echo first words\nread -r _ < gate\n" + work.echo(PROOF, DELTA))
    os.mkfifo(work.root / "gate")
    run = work.submit(daemon=True)
    record = work.runtime(run, "A1")
    log = Path(record["logPath"])
    wait_until(lambda: "first words" in log.read_text(), what="the first words")
    seen = work.root / "seen"
    with seen.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, str(ROOT / "wave.py"), "attach", "--run-id", run, *CONTEXT, "--agent", "A1"],
            cwd=work.root,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        wait_until(lambda: "first words" in seen.read_text(), what="the tail")
        os.truncate(log, 0)
        wait_until(lambda: "[attach] log truncated" in seen.read_text(), what="the notice")
        (work.root / "gate").write_text("go\n")
        _, err = child.communicate(timeout=20)
    finally:
        child.kill()
    assert child.returncode == 0 and "[attach] agent A1 completed exit_code=0" in err
    assert PROOF in seen.read_text()
    ended = work.of("attach", run, "--agent", "A1", "--lines", "1")
    assert (ended.returncode, len(ended.stdout.splitlines())) == (0, 1)
    unknown = work.of("attach", run, "--agent", "A9")
    assert unknown.returncode == 1 and "No runtime record found for agent A9." in unknown.stderr


def test_cancel_of_a_wave_ends_what_a_direct_launch_left(lab: Make) -> None:
    work = lab()
    work.gate("A1", PROOF, DELTA)
    launch = work.start()
    wait_until(lambda: work.ran() == ["A1"], what="the agent")
    launch.kill()
    work.finish(launch)
    done = work.wave("cancel", "--wave", "0", *CONTEXT, "--json")
    assert (done.returncode, json.loads(done.stdout)["agentIds"]) == (0, ["A1"]), done.stderr
    assert work.wave("cancel", "--wave", "0", *CONTEXT).stdout.strip().endswith("nothing of a direct launch is running")


@pytest.mark.parametrize(
    ("config", "project", "lane", "adhoc"),
    [
        ({}, "default", "main", None),
        ({"defaultLane": "api"}, "default", "api", None),
        ({"lanes": {"web": {}}}, "default", "web", "fix-it"),
        ({"defaultProject": "app", "projects": {"app": {}, "b": {"lanes": {"x": {}}}}}, "b", "x", None),
    ],
)
def test_the_quick_root_is_the_real_one(
    tmp_path: Path, config: dict[str, Any], project: str, lane: str, adhoc: str | None
) -> None:
    (tmp_path / "wave.config.json").write_text(json.dumps(config))
    paths = build_lane_paths(config_from_payload(str(tmp_path), config), lane, project, adhoc)
    quick = quick_state_dir(str(tmp_path), project, lane, adhoc)
    assert quick == paths.live_state_dir
    mine = SupervisorPaths(str(tmp_path), quick)
    assert (mine.lock, mine.log, mine.wake) == (paths.daemon_lock, paths.daemon_log, paths.daemon_wake)
    run = mine.run("run-1-abc")
    assert run.progress == paths.launcher_progress("run-1-abc") and run.agents_dir == paths.run_agents_dir("run-1-abc")
    assert run.status_of(2) == paths.launcher_status_of("run-1-abc", 2)
    assert mine.control_plane_log(3) == paths.control_plane_log(3)


@pytest.mark.parametrize(
    "config",
    [{"paths": {"stateRoot": "state"}}, {"projects": {"app": {}}, "defaultProject": "app"}, {"lanes": 3}],
)
def test_the_quick_root_knows_its_limits(tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "wave.config.json").write_text(json.dumps(config))
    assert quick_state_dir(str(tmp_path), "default", "other" if "lanes" in config else "main", None) is None
