"""Slow work beside the event loop: its end wakes the loop, giving it up keeps nobody waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from wave_lib.base.background import Result, in_background
from wave_lib.base.errors import WaveError
from wave_lib.base.event_loop import EventLoop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    with EventLoop() as made:
        yield made


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_the_loop_goes_on_until_the_work_wakes_it(loop: EventLoop) -> None:
    before, gate, story = open_descriptors(), threading.Event(), []

    def work() -> str:
        gate.wait(10)
        return "fetched"

    def done(result: Result) -> None:
        story.append((result.get(), threading.current_thread() is threading.main_thread()))
        loop.stop()

    in_background(loop, work, done)
    loop.call_later(0, lambda: story.append("timer"))
    loop.call_later(0.01, gate.set)
    loop.run()
    assert story == ["timer", ("fetched", True)]
    assert open_descriptors() == before


def test_an_error_is_raised_where_the_result_is_taken(loop: EventLoop) -> None:
    results: list[Result] = []

    def work() -> None:
        raise WaveError("no answer")

    in_background(loop, work, results.append)
    while not results:
        loop.run_once(5)
    with pytest.raises(WaveError, match="no answer"):
        results[0].get()


def test_what_was_given_up_is_not_heard_of(loop: EventLoop) -> None:
    before, gate, over, heard = open_descriptors(), threading.Event(), threading.Event(), []

    def work() -> None:
        gate.wait(10)
        over.set()

    watch = in_background(loop, work, heard.append)
    watch.cancel()
    gate.set()
    assert over.wait(10)
    loop.run_once(0.01)
    wait_until(lambda: open_descriptors() == before, what="the thread's end of the pipe")
    assert heard == []


def test_work_that_hangs_keeps_no_process_from_ending() -> None:
    program = """
        from threading import Event
        from wave_lib.base.background import in_background
        from wave_lib.base.event_loop import EventLoop

        with EventLoop() as loop:
            watch = in_background(loop, lambda: Event().wait(600), print)
            loop.run_once(0.05)
            watch.cancel()
        print("left")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
