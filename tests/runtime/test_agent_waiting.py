"""Waiting for agents: pacing, hooks, failures, spawn errors, stopping. Spec: LAUNCH 8.1, 9."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_lab import Lab, load

from wave_lib.base.errors import SpawnError, WaveError
from wave_lib.base.event_loop import EventLoop
from wave_lib.base.timestamps import iso_of
from wave_lib.runtime.agent_records import seconds_left
from wave_lib.runtime.agent_sessions import AgentHandle, start_agent, terminate_agent_tree
from wave_lib.runtime.agent_waiting import AgentEnd, AgentWait, Fetch, WaitHooks, _Active, failure_code


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.clean_up()


@pytest.fixture(params=["pidfd", "poll"])
def loop(request: pytest.FixtureRequest) -> Iterator[EventLoop]:
    with EventLoop(use_pidfd=request.param == "pidfd") as made:
        yield made


def test_hooks_tell_the_story_of_an_agent(lab: Lab, loop: EventLoop) -> None:
    story: list[str] = []
    hooks = WaitHooks(
        on_running=lambda handle, record: story.append(f"running {handle.agent_id} {record['terminalDisposition']}"),
        on_settled=lambda end: story.append(f"settled {end.agent_id} {end.status_code}"),
        on_progress=lambda pending: story.append(f"pending {','.join(pending)}"),
    )
    wait = AgentWait(loop, hooks, relative=lambda path: os.path.relpath(path, lab.root))
    os.mkfifo(lab.root / "gate")
    gated = hooks._replace(on_running=lambda handle, record: (hooks.on_running(handle, record), open_gate(lab)))
    wait.hooks = gated
    wait.launch([("A1", lambda: lab.start("read -r _ < gate; exit 5"))])
    assert wait.pending() == ["A1"]
    result = wait.run()
    assert story == ["running A1 running", "pending A1", "settled A1 5", "pending "]
    assert result.failures == [{"agentId": "A1", "statusCode": "5", "logPath": "logs/a1.log", "detail": "failed"}]


def open_gate(lab: Lab) -> None:
    (lab.root / "gate").write_text("go\n")


def test_launches_are_paced_and_limited(lab: Lab, loop: EventLoop) -> None:
    at: dict[str, float] = {}
    active: list[int] = []
    wait = AgentWait(loop)

    def starter(agent_id: str) -> Any:
        def begin() -> AgentHandle:
            at[agent_id] = time.monotonic()
            active.append(len(wait.handles()))
            return lab.start("true", agent_id)

        return (agent_id, begin)

    wait.launch([starter(f"A{number}") for number in range(1, 5)], stagger_seconds=0.1, max_parallel=2)
    result = wait.run()
    assert result.failures == [] and len(result.ends) == 4
    order = list(at.values())
    assert all(later - earlier >= 0.099 for earlier, later in zip(order, order[1:]))
    assert max(active) <= 1  # before each launch at most one other is active


def test_one_agent_that_cannot_start_does_not_stop_the_others(lab: Lab, loop: EventLoop) -> None:
    def short() -> AgentHandle:
        raise SpawnError("cannot start", errno_name="EAGAIN", transient=True)

    def lease() -> AgentHandle:
        raise WaveError("no lease", key="credential-lease-failed")

    wait = AgentWait(loop)
    wait.launch([("A1", short), ("A2", lease), ("A3", lambda: lab.start("true", "A3"))])
    result = wait.run()
    assert [(one["agentId"], one["statusCode"], one["detail"]) for one in result.failures] == [
        ("A1", "71", "spawn-failed:EAGAIN"),
        ("A2", "credential-lease-failed", "no lease"),
    ]
    assert [end.agent_id for end in result.ends] == ["A1", "A2", "A3"]


def test_a_runner_that_cannot_be_spawned_is_recorded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    request = lab.request("true")
    monkeypatch.setattr("wave_lib.runtime.agent_sessions.self_command", lambda: ["/no/such/program"])
    with pytest.raises(SpawnError):
        start_agent(request)
    assert load(request.status_path)["exitReason"] == "spawn-failed:ENOENT"
    assert load(request.status_path)["code"] == 71
    assert load(request.runtime_path)["terminalDisposition"] == "failed"


def test_stop_leaves_the_agents_running(lab: Lab, loop: EventLoop) -> None:
    settled: list[AgentEnd] = []
    wait = AgentWait(loop, WaitHooks(on_running=lambda handle, record: wait.stop(), on_settled=settled.append))
    handle = lab.start("sleep 60")
    wait.add(handle)
    result = wait.run()
    assert result.ends == () and settled == []
    assert terminate_agent_tree(handle.runtime_path, "cancelled", 1.0).gone
    assert handle.child is not None
    handle.child.wait()


def test_a_frozen_runner_is_ended_after_the_deadline(
    lab: Lab, loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wave_lib.runtime.agent_waiting.BACKSTOP_SECONDS", 0.2)
    monkeypatch.setattr("wave_lib.runtime.agent_waiting.HEARTBEAT_CHECK_SECONDS", 0.3)
    handle = lab.start("sleep 60", timeout_seconds=0.5, grace_seconds=0.2)
    record = lab.running(handle)
    os.kill(record["runnerPid"], 19)
    wait = AgentWait(loop, grace_seconds=0.2)
    wait.add(handle)
    result = wait.run()
    assert result.timed_out and result.failures[0]["statusCode"] == "timeout-no-status"


@pytest.mark.parametrize(
    ("status", "record", "timed_out", "code"),
    [
        ({"code": 0}, {}, False, None),
        ({"code": 139}, {}, False, "139"),
        ({"code": 0}, {}, True, "timeout-no-status"),
        (None, {"terminalDisposition": "failed", "exitReason": "spawn"}, False, "runtime-failed-before-status"),
        (None, {"terminalDisposition": "failed", "exitReason": "runner-lost"}, False, "missing-status"),
        (None, None, False, "missing-status"),
    ],
)
def test_failure_codes(status: Any, record: Any, timed_out: bool, code: str | None) -> None:
    assert failure_code(status, record, timed_out) == code


def test_a_fetch_holds_up_its_own_agent_only(lab: Lab, loop: EventLoop) -> None:
    gate, settled = threading.Event(), []

    def work() -> str:
        gate.wait(20)
        return "A2"

    def on_settled(end: AgentEnd) -> None:
        settled.append(end.agent_id)
        assert wait.pending() == {"A1": ["A2", "A3"], "A2": ["A3"], "A3": []}[end.agent_id]
        gate.set()  # the fetch of A2 ends only after A1 has settled

    wait = AgentWait(loop, WaitHooks(on_settled=on_settled))
    slow = ("A2", lambda: Fetch(work, lambda name: lab.start("true", name)))
    quick = [(name, lambda name=name: lab.start("true", name)) for name in ("A1", "A3")]
    wait.launch([quick[0], slow, quick[1]], max_parallel=1)
    result = wait.run()
    assert settled == ["A1", "A2", "A3"] and result.failures == []


def test_a_fetch_that_fails_fails_its_agent(lab: Lab, loop: EventLoop) -> None:
    def work() -> None:
        raise WaveError("no lease", key="credential-lease-failed")

    wait = AgentWait(loop)
    wait.launch([("A1", lambda: Fetch(work, lambda found: None)), ("A2", lambda: lab.start("true", "A2"))])
    result = wait.run()
    assert [(one["agentId"], one["statusCode"]) for one in result.failures] == [("A1", "credential-lease-failed")]
    assert sorted(end.agent_id for end in result.ends) == ["A1", "A2"]


def test_a_stop_waits_for_no_fetch(lab: Lab, loop: EventLoop) -> None:
    gate, then = threading.Event(), []
    wait = AgentWait(loop)
    wait.launch([("A1", lambda: Fetch(lambda: gate.wait(20), then.append))])
    loop.call_later(0.05, wait.stop)
    result = wait.run()
    gate.set()
    assert result.ends == () and then == []


@pytest.mark.parametrize("hours", [-1, 5])
def test_a_clock_that_was_set_moves_no_deadline(lab: Lab, loop: EventLoop, hours: int) -> None:
    """The launcher that adopts an agent reckons by the clock that nobody can set. SUP 3.5, 13."""
    handle = lab.start("sleep 60", timeout_seconds=50.0)
    record = lab.running(handle)
    record["deadlineAt"] = iso_of(time.time() + 50 - hours * 3600)  # as it would read after the step
    wait = AgentWait(loop)
    wait._watch_deadline(active := _Active(handle), record)
    assert active.deadline is not None
    assert 40 < active.deadline.when - time.monotonic() < 60
    record["runnerIdentity"]["bootId"] = "another boot"  # then only the wall clock is left
    assert abs((seconds_left(record) or 0) - (50 - hours * 3600)) < 30
    assert terminate_agent_tree(handle.runtime_path, "cancelled", 1.0).gone
    assert handle.child is not None
    handle.child.wait()


def test_an_agent_whose_runner_never_gets_going_is_given_up_in_the_end(
    lab: Lab, loop: EventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With growing pauses, not in a tight loop for ever."""
    pauses: list[int] = []
    monkeypatch.setattr("wave_lib.runtime.agent_waiting.MAX_TRIES", 3)
    monkeypatch.setattr("wave_lib.runtime.agent_waiting.retry_delay", lambda tries: pauses.append(tries) or 0.01)
    monkeypatch.setattr("wave_lib.runtime.agent_sessions.self_command", lambda: ["false"])
    wait = AgentWait(loop)
    wait.add(lab.start("true"))
    result = wait.run()
    assert pauses == [1, 2]
    assert [failure["statusCode"] for failure in result.failures] == ["missing-status"]
    assert load(lab.started[0].runtime_path)["exitReason"] == "runner-lost"
