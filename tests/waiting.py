"""The only place in the tests that sleeps: waits for something observable, with a deadline, and says what it saw."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

T = TypeVar("T")


def wait_until(look: Callable[[], T], within: float = 20.0, what: str = "") -> T:
    """The first true value that `look` returns; AssertionError with the last one after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {within} s for {what or look}; last seen: {seen!r}")
        time.sleep(0.01)
