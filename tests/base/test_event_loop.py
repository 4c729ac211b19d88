from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from wave_lib.base.event_loop import EventLoop
from wave_lib.base.files import write_json


@pytest.fixture(params=["kernel", "poll"])
def loop(request: pytest.FixtureRequest) -> Any:
    """Every promise holds with pidfd and inotify, and with polling only."""
    kernel = request.param == "kernel"
    with EventLoop(use_pidfd=kernel, use_inotify=kernel) as made:
        made.call_later(20, lambda: pytest.fail("nothing happened for 20 s"))
        yield made


def test_timers_come_in_order_and_can_be_cancelled(loop: EventLoop) -> None:
    seen: list[str] = []
    loop.call_later(0.03, lambda: (seen.append("late"), loop.stop()))
    loop.call_later(0.0, lambda: seen.append("soon"))
    loop.call_at(time.monotonic() + 0.01, lambda: seen.append("then"))
    loop.call_later(0.01, lambda: seen.append("never")).cancel()
    begun = time.monotonic()
    loop.run()
    assert seen == ["soon", "then", "late"] and 0.03 <= time.monotonic() - begun < 5


def test_run_once_keeps_to_its_timeout(loop: EventLoop) -> None:
    begun = time.monotonic()
    assert loop.run_once(0.02) is False
    assert 0.019 <= time.monotonic() - begun < 5


def test_processes_are_seen_to_end_and_nothing_is_reaped(loop: EventLoop) -> None:
    children = [subprocess.Popen(["sh", "-c", f"exit {code}"]) for code in (3, 4)]
    gone = subprocess.Popen(["true"])
    gone.wait()
    codes: list[int | None] = []

    def ended(child: subprocess.Popen[bytes]) -> None:
        codes.append(child.poll())
        if len(codes) == 3:
            loop.stop()

    for child in [*children, gone]:
        loop.watch_process(child.pid, lambda child=child: ended(child))
    loop.run()
    assert sorted(map(int, codes)) == [0, 3, 4]


def test_a_cancelled_watch_says_nothing(loop: EventLoop) -> None:
    child = subprocess.Popen(["true"])
    watch = loop.watch_process(child.pid, lambda: pytest.fail("cancelled"))
    watch.cancel()
    watch.cancel()
    child.wait()
    for _ in range(5):
        loop.run_once(0.01)


def test_descriptors(loop: EventLoop) -> None:
    reader, writer = os.pipe()
    seen: list[bytes] = []
    watch = loop.watch_fd(reader, lambda: (seen.append(os.read(reader, 9)), loop.stop()))
    loop.call_later(0.01, lambda: os.write(writer, b"x"))
    loop.run()
    watch.cancel()
    os.write(writer, b"y")
    assert seen == [b"x"] and loop.run_once(0.0) is False
    os.close(reader)
    os.close(writer)


def test_files_are_seen_made_replaced_and_removed(loop: EventLoop, tmp_path: Path) -> None:
    path = str(tmp_path / "state.json")
    seen: list[bool] = []
    loop.watch_file(path, lambda: (seen.append(os.path.exists(path)), loop.stop()))
    write_json(str(tmp_path / "another.json"), 1)
    for act in (lambda: write_json(path, 1), lambda: write_json(path, 2), lambda: os.unlink(path)):
        loop.call_later(0.0, act)
        loop.run()
    assert seen == [True, True, False]


def test_a_change_between_arming_and_sleeping_is_not_missed(loop: EventLoop, tmp_path: Path) -> None:
    """Arm, look, sleep: what moved after the arming ends the sleep at once."""
    path = str(tmp_path / "not-yet" / "state.json")
    loop.watch_file(path, loop.stop)
    write_json(path, 1)
    begun = time.monotonic()
    loop.run()
    assert time.monotonic() - begun < 0.15


def test_signals_are_noted_and_the_loop_acts() -> None:
    seen: list[str] = []
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)
    with EventLoop() as loop:
        loop.on_signal(signal.SIGUSR1, lambda: (seen.append("one"), loop.stop()))
        loop.ignore_signal(signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [], "nothing happens inside the handler"
        loop.run()
    assert seen == ["one"]
    assert (signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGUSR2)) == before


def test_a_signal_interrupts_a_long_sleep() -> None:
    with EventLoop() as loop:
        loop.on_signal(signal.SIGALRM, loop.stop)
        child = subprocess.Popen(["sh", "-c", f"kill -ALRM {os.getpid()}"])
        loop.call_later(20, lambda: pytest.fail("slept on"))
        loop.run()
        child.wait()


def test_an_error_in_a_callback_ends_the_run() -> None:
    with EventLoop() as loop:
        loop.call_later(0, lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            loop.run()


def test_a_loop_with_nothing_to_wait_for_ends() -> None:
    with EventLoop() as loop:
        loop.call_later(0, lambda: None)
        loop.run()


def test_waiting_costs_next_to_nothing(tmp_path: Path) -> None:
    """200 watched files, and no more than a few turns a second."""
    with EventLoop() as loop:
        for number in range(200):
            loop.watch_file(str(tmp_path / f"{number}.json"), lambda: None)
        loop.call_later(0.5, loop.stop)
        turns = 0
        real = loop.run_once

        def counted(timeout: float | None = None) -> bool:
            nonlocal turns
            turns += 1
            return real(timeout)

        loop.run_once = counted  # type: ignore[method-assign]
        loop.run()
    assert turns < 8


def test_closing_gives_everything_back(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    child = subprocess.Popen(["sleep", "60"])
    loop = EventLoop()
    watch = loop.watch_process(child.pid, lambda: None)
    loop.watch_file(str(tmp_path / "x"), lambda: None)
    loop.on_signal(signal.SIGUSR1, lambda: None)
    loop.close()
    watch.cancel()
    child.kill()
    child.wait()
    assert len(os.listdir("/dev/fd")) == before
