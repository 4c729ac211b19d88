"""Work that may block for long, done beside the event loop: a thread whose end wakes the loop through a pipe.

The thread is a daemon: a name lookup that hangs keeps no process from ending. Work that was given up goes on unheard
until it ends by its own deadline, so it must be harmless when nobody wants it any more.

Holds:       for each piece of work one thread and one pipe.
Writes:      nothing itself.
When killed: the thread dies with the process.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from .event_loop import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .event_loop import EventLoop


class Result:
    """What a piece of work came to. `get` returns its value, or raises what it raised."""

    __slots__ = ("_value", "_error")

    def __init__(self, value: Any = None, error: BaseException | None = None) -> None:
        self._value, self._error = value, error

    def get(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


def in_background(loop: EventLoop, work: Callable[[], Any], done: Callable[[Result], Any]) -> Watch:
    """Runs `work` in a thread; `done` is called with its result, once, by the loop. After `cancel` it is not called.

    `work` must not touch what the loop's thread changes meanwhile. Cancel before the loop is closed.
    """
    results: list[Result] = []
    reader, writer = os.pipe()

    def body() -> None:
        try:
            results.append(Result(work()))
        except BaseException as error:  # whoever waits for the result is to get it
            results.append(Result(error=error))
        finally:
            os.close(writer)  # the end of the file wakes the loop

    def finished() -> None:
        watch.cancel()
        done(results[0])

    def stop() -> None:
        fd_watch.cancel()
        os.close(reader)

    fd_watch = loop.watch_fd(reader, finished)
    watch = Watch(stop)
    try:
        threading.Thread(target=body, name="background", daemon=True).start()
    except BaseException:
        watch.cancel()
        os.close(writer)
        raise
    return watch
