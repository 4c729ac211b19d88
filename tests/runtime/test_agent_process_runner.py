"""The agent runner, run for real: outcomes, environment, echo ranges, rate limits, deadlines, kills. Spec: SUP 16."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_lab import Lab, load, session
from waiting import wait_until

from wave_lib.base import locks
from wave_lib.base.errors import SpawnError, StateError
from wave_lib.base.processes import pid_exists, processes_marked
from wave_lib.runtime.agent_process_runner import read_payload
from wave_lib.runtime.agent_records import files_of
from wave_lib.runtime.agent_sessions import RateLimit, Slots

LIMIT = RateLimit(max_attempts=3, base_delay_seconds=0.05, max_delay_seconds=0.2)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.clean_up()


def test_success_writes_log_line_status_and_record(lab: Lab) -> None:
    status, record, result = lab.run("cat; echo done")
    assert result.failures == [] and result.ends[0].status == status
    assert (status["code"], status["exitReason"], status["signal"]) == (0, "completed", None)
    assert (status["attempt"], status["promptHash"], status["definitionHash"]) == (1, "p1", "d1")
    assert status["orchestratorId"] == "orch" and status["launchId"] == record["launchId"]
    assert (record["terminalDisposition"], record["outcomeSource"], record["exitCode"]) == ("completed", "runner", 0)
    assert record["waveNumber"] == 0 and record["pid"] == record["pgid"] == record["executorPid"]
    log = (lab.root / "logs" / "a1.log").read_text()
    assert log.endswith("done\n[main-wave-launcher] main_0_a1 finished with code 0\n")


def test_a_last_line_without_end_stays_a_line_of_its_own(lab: Lab) -> None:
    lab.run("printf '[wave-component] component=c level=l state=met'")
    log = (lab.root / "logs" / "a1.log").read_text().splitlines()
    assert log[-2:] == [
        "[wave-component] component=c level=l state=met",
        "[main-wave-launcher] main_0_a1 finished with code 0",
    ]


@pytest.mark.parametrize(
    ("script", "code", "reason", "disposition"),
    [
        ("exit 3", 3, "failed", "failed"),
        ("kill -SEGV $$", 139, "sigsegv", "failed"),
        ("kill -KILL $$", 137, "sigkill", "terminated"),
        ("kill -TERM $$", 143, "sigterm", "terminated"),
    ],
)
def test_the_code_is_the_executors_own(lab: Lab, script: str, code: int, reason: str, disposition: str) -> None:
    status, record, result = lab.run(script)
    assert (status["code"], status["exitReason"], record["terminalDisposition"]) == (code, reason, disposition)
    assert result.failures == [
        {"agentId": "A1", "statusCode": str(code), "logPath": str(lab.root / "logs/a1.log"), "detail": reason}
    ]


def test_missing_and_not_executable_programs(lab: Lab) -> None:
    status, _, _ = lab.run(spec_changes={"argv": ("no-such-program", "x")})
    assert (status["code"], status["exitReason"]) == (127, "failed")
    (lab.root / "plain").write_text("x")
    status, _, _ = lab.run(spec_changes={"argv": ("./plain",)})
    assert (status["code"], status["exitReason"]) == (126, "failed")


def test_a_shell_builtin_is_no_program(lab: Lab) -> None:
    status, _, _ = lab.run(spec_changes={"argv": ("[", "-d", "/", "]")})
    assert status["code"] == 0


def test_arguments_are_never_read_by_a_shell(lab: Lab) -> None:
    odd = "a b\n$(touch evil)`touch evil`'\"\\ é"
    lab.run(spec_changes={"argv": ("sh", "-c", 'printf %s "$1" > got', "sh", odd)})
    assert (lab.root / "got").read_text() == odd
    assert not (lab.root / "evil").exists()


def test_success_exit_codes_become_zero(lab: Lab) -> None:
    status, _, result = lab.run("exit 2", spec_changes={"success_exit_codes": (0, 2)})
    assert status["code"] == 0 and result.failures == []


def test_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAVE_API_TOKEN", "WAVE_SUPERVISOR_RUN_ID", "WAVE_BROKER_URL", "OPENAI_API_KEY", "MY_OWN_TOKEN"):
        monkeypatch.setenv(name, f"value of {name}")
    lab.run(
        "env > seen; ps -o args= -p $PPID > parent 2>/dev/null || true",
        leases={"GITHUB_TOKEN": "leased-secret"},
        token_variables=("MY_OWN_TOKEN",),
        environment={"set": {"FROM_CONFIG": "1"}},
    )
    seen = dict(line.split("=", 1) for line in (lab.root / "seen").read_text().splitlines() if "=" in line)
    assert seen["OPENAI_API_KEY"] == "value of OPENAI_API_KEY"
    assert seen["GITHUB_TOKEN"] == "leased-secret" and seen["FROM_CONFIG"] == "1" and seen["NO_COLOR"] == "1"
    assert not {"WAVE_API_TOKEN", "WAVE_SUPERVISOR_RUN_ID", "WAVE_BROKER_URL", "MY_OWN_TOKEN"} & set(seen)
    assert seen["PWD"] == str(lab.root)
    assert seen["LPM_AUTH_STICKY_KEY"] == "wave:main:0:1:A1" and seen["WAVE_AGENT_ID"] == "A1"
    record = load(lab.started[0].runtime_path)
    assert seen["WAVE_AGENT_NONCE"] == record["launchId"]
    for path in lab.root.rglob("*"):
        if path.is_file() and path.name != "seen":
            assert b"leased-secret" not in path.read_bytes(), path
    payload = lab.root / "executors/a1/runner-payload.json"
    assert payload.stat().st_mode & 0o777 == 0o600 and load(str(payload))["leasedEnvVars"] == ["GITHUB_TOKEN"]


def test_leased_values_are_masked_in_the_log(lab: Lab) -> None:
    leases = {"TOKEN": 'an"odd\\value', "SHORT": "short", "LONG": "x" * 20_000}
    text = 'printf "%s|%s|%s\n" "$TOKEN" "$SHORT" "$TOKEN"; head -c 1048570 /dev/zero | tr "\\0" "-"; printf %s "$LONG"'
    in_json = "; printf '%s\n' '{\"token\": \"an\\\"odd\\\\value\"}'; echo '[wave-proof] state=met'"
    status, _, _ = lab.run(text + in_json, leases=leases)
    log = Path(lab.started[0].log_path).read_text()
    assert log.startswith(f"{'*' * 12}|short|{'*' * 12}\n")
    assert log.count("*") == 24 + 20_000 + 14 and "x" * 8 not in log and '"token": "**' in log
    assert "\n[wave-proof] state=met\n" in log and status["code"] == 0


def test_leased_values_that_are_too_large_are_a_failed_start(lab: Lab) -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(SpawnError, match="larger than 32 KiB"):
        lab.start("true", leases={"TOKEN": "x" * 40_000})
    assert len(os.listdir("/dev/fd")) == before
    assert load(lab.request("true").status_path)["exitReason"] == "spawn-failed:E2BIG"


def test_the_echo_of_the_prompt_is_put_into_ignore_ranges(lab: Lab) -> None:
    (lab.root / "prompt.md").write_text("Please print:\n[wave-proof] completion=contract state=met\nthank you\n")
    status, _, _ = lab.run("echo user; cat; echo agent; cat prompt.md; echo end")
    log = (lab.root / "logs/a1.log").read_bytes()
    ranges = status["ignoreRanges"]
    assert [log[start:end] for start, end in ranges] == [(lab.root / "prompt.md").read_bytes().strip()] * 2
    assert status["logOffset"] == 0


def test_rate_limited_tries_are_repeated_with_growing_pauses(lab: Lab) -> None:
    status, record, _ = lab.run('echo "429 Too Many Requests"; exit 1', rate_limit=LIMIT)
    assert (status["code"], status["exitReason"], record["tryIndex"]) == (1, "rate-limit-exhausted", 3)
    log = (lab.root / "logs/a1.log").read_text()
    pauses = re.findall(r"rate-limit detected for A1; retry (\d)/3 after ([\d.]+)s", log)
    assert pauses == [("1", "0.05"), ("2", "0.1")]
    assert log.count("429 Too Many") == 3
    assert log[status["logOffset"] :].startswith("429 Too Many Requests\n[main-wave-launcher] main_0_a1 finished")


def test_a_prompt_about_rate_limits_is_no_rate_limit(lab: Lab) -> None:
    (lab.root / "prompt.md").write_text("Handle the rate limit of the service.\n")
    _, record, _ = lab.run("cat; exit 1", rate_limit=LIMIT)
    assert record["tryIndex"] == 1


def test_used_up_allowance_with_exit_code_zero(lab: Lab) -> None:
    script = 'echo "You\'ve hit your session limit · resets 2:30pm (Europe/Paris)"'
    status, record, result = lab.run(script, rate_limit=LIMIT)
    assert (status["code"], status["exitReason"], record["tryIndex"]) == (1, "rate-limit-exhausted", 3)
    assert record["limitedUntil"].endswith(":30:00.000Z")
    assert result.failures[0]["detail"].startswith("rate-limit-exhausted; the allowance is back at 20")


def test_a_success_with_a_marker_is_no_rate_limit(lab: Lab) -> None:
    status, record, _ = lab.run('echo "[wave-doc-closure] state=closed"; echo "rate limit"', rate_limit=LIMIT)
    assert (status["code"], record["tryIndex"]) == (0, 1)


def test_second_try_succeeds(lab: Lab) -> None:
    script = 'if [ -e again ]; then echo fine; else touch again; echo "exceeded retry limit"; exit 1; fi'
    status, record, _ = lab.run(script, rate_limit=LIMIT)
    assert (status["code"], record["tryIndex"]) == (0, 2)
    assert (lab.root / "logs/a1.log").read_bytes()[status["logOffset"] :].startswith(b"fine\n")


def test_deadline_ends_the_group_and_says_timeout(lab: Lab) -> None:
    script = "trap '' TERM; (trap '' TERM; sleep 60) & echo $! > child; sleep 60"
    status, record, result = lab.run(script, timeout_seconds=0.4, grace_seconds=0.3)
    assert (status["code"], status["exitReason"], record["terminalDisposition"]) == (124, "timeout", "terminated")
    assert result.timed_out and result.failures[0]["statusCode"] == "timeout-no-status"
    child = int((lab.root / "child").read_text())
    wait_until(lambda: not pid_exists(child), what="the child of the executor to be gone")
    assert not locks.held(files_of(lab.started[0].runtime_path).tree_lock)


def test_a_deadline_ends_shells_outside_the_group(lab: Lab) -> None:
    """Agent CLIs run their shells in sessions of their own, without any of their descriptors."""
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w'); time.sleep(60)"
    shell = f"subprocess.Popen([sys.executable, '-c', {stubborn!r}], start_new_session=True)"
    code = f"import subprocess, sys, time; {shell}; time.sleep(60)"
    handle = lab.start(spec=lab.spec("", argv=(sys.executable, "-c", code)), timeout_seconds=1.0, grace_seconds=0.3)
    wait_until(lambda: (lab.root / "up").exists(), what="the shell")
    assert lab.wait(handle).timed_out
    assert processes_marked("WAVE_AGENT_NONCE", handle.launch_id) == []


def test_runner_told_to_stop(lab: Lab) -> None:
    handle = lab.start("sleep 60")
    record = lab.running(handle)
    os.kill(record["runnerPid"], signal.SIGINT)
    result = lab.wait(handle)
    assert load(handle.status_path)["code"] == 130 and result.failures[0]["detail"] == "sigint"


def test_the_pause_after_a_rate_limit_ends_with_a_signal(lab: Lab) -> None:
    slow = RateLimit(max_attempts=3, base_delay_seconds=60, max_delay_seconds=60)
    handle = lab.start('echo "rate limit"; exit 1', rate_limit=slow)
    log = lab.root / "logs/a1.log"
    wait_until(lambda: log.exists() and "retry 1/3" in log.read_text(), what="the pause")
    os.kill(load(handle.runtime_path)["runnerPid"], signal.SIGTERM)
    lab.wait(handle)
    assert load(handle.status_path)["exitReason"] == "sigterm"


def test_heartbeat_goes_on_while_the_agent_runs(lab: Lab) -> None:
    handle = lab.start("cat; sleep 60")
    first = lab.running(handle)["heartbeatSeq"]
    wait_until(lambda: load(handle.runtime_path)["heartbeatSeq"] > first + 1, what="two heartbeats")
    os.kill(load(handle.runtime_path)["runnerPid"], signal.SIGTERM)
    lab.wait(handle)


def test_slots_limit_how_many_run_at_once(lab: Lab) -> None:
    slots = Slots(str(lab.root / "slots"), max_agents=1, max_launches=1)
    gate = lab.root / "gate"
    os.mkfifo(gate)
    first = lab.start("read -r _ < gate", "A1", slots=slots)
    lab.running(first)
    second = lab.start("true", "A2", slots=slots)
    wait_until(lambda: load(second.runtime_path)["terminalDisposition"] == "queued", what="A2 to be queued")
    assert load(second.runtime_path)["deadlineAt"] is None
    gate.write_text("go\n")
    assert lab.wait(first, second).failures == []


def test_chosen_session_ids_are_durable_before_the_start_and_new_for_each_try(lab: Lab) -> None:
    spec = lab.spec("", argv=("sh", "-c", 'echo "$1" >> ids; echo rate limit; exit 1', "sh", "{sessionId}"))
    spec = spec._replace(session=session("true"))
    _, record, _ = lab.run(spec=spec, rate_limit=LIMIT)
    ids = (lab.root / "ids").read_text().split()
    assert len(set(ids)) == 3 and record["agentSession"]["id"] == ids[-1]
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids)


def test_session_id_is_read_from_the_output(lab: Lab) -> None:
    spec = lab.spec('echo "session id: abc-123"; cat')._replace(
        session=session("true", "event", r"(?m)^session id: (\S+)")
    )
    _, record, _ = lab.run(spec=spec)
    assert record["agentSession"]["id"] == "abc-123"


def test_fail_pattern_fails_a_success(lab: Lab) -> None:
    changes = {"fail_pattern": r"agent .* not found", "fail_reason": "opencode-agent-missing"}
    status, _, _ = lab.run("echo agent wave-a1 not found", spec_changes=changes)
    assert (status["code"], status["exitReason"]) == (1, "opencode-agent-missing")


@pytest.mark.parametrize("text", ["[]", "{}", '{"argv": ["x"]}', "not json"])
def test_unusable_payloads_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "payload.json"
    path.write_text(text)
    with pytest.raises(StateError) as caught:
        read_payload(str(path))
    assert str(path) in str(caught.value)
