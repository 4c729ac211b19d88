"""One place to wait: processes, descriptors, files, signals and timers, in one thread. Spec: DESIGN 4, SUP 3.6.

Handlers of signals only note, the loop acts. A process is watched through a pidfd; where there is none, one adaptive
poll serves all. A file is watched through inotify where that works, and always through the same slow poll, because
network file systems tell nothing. No poll is faster than 200 ms. An exception in a callback leaves `run`.
"""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import time
from typing import TYPE_CHECKING

from .process_identity import Alive, check, identity_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .file_events import FileEvents

    Callback = Callable[[], Any]

_POLL_SECONDS = 0.2
_SLOW_POLL_SECONDS = 1.0


class Timer:
    """A call that is due at `when` (monotonic seconds). `cancel` may be called at any time."""

    __slots__ = ("when", "_call")

    def __init__(self, when: float, call: Callback) -> None:
        self.when = when
        self._call: Callback | None = call

    def cancel(self) -> None:
        self._call = None

    @property
    def cancelled(self) -> bool:
        return self._call is None

    def fire(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()

    def __lt__(self, other: Timer) -> bool:
        return self.when < other.when


class Watch:
    """Something that is watched until `cancel`."""

    __slots__ = ("_stop",)

    def __init__(self, stop: Callback) -> None:
        self._stop: Callback | None = stop

    def cancel(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()


class _Polled:
    """One question of the shared poll: when it answers True, the callback is called."""

    __slots__ = ("changed", "call", "once", "fast")

    def __init__(self, changed: Callable[[], bool], call: Callback, once: bool, fast: bool) -> None:
        self.changed, self.call, self.once, self.fast = changed, call, once, fast


class EventLoop:
    """Callbacks are called one after the other by `run` or `run_once`. Close it, or use it as a context."""

    def __init__(self, use_pidfd: bool = True, use_inotify: bool = True) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._polled: list[_Polled] = []
        self._poll_timer: Timer | None = None
        self._poll_pause = _POLL_SECONDS
        self._use_pidfd = use_pidfd and hasattr(os, "pidfd_open")
        self._use_inotify = use_inotify
        self._file_events: FileEvents | None = None
        self._wakeup: tuple[int, int] | None = None
        self._previous_wakeup_fd = -1
        self._handlers: dict[int, Callback] = {}
        self._previous_handlers: dict[int, Any] = {}
        self._open_fds: set[int] = set()
        self._stopped = False

    # --- timers

    def call_at(self, when: float, call: Callback) -> Timer:
        """Calls at a moment of the monotonic clock."""
        timer = Timer(when, call)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, seconds: float, call: Callback) -> Timer:
        return self.call_at(time.monotonic() + seconds, call)

    # --- descriptors

    def watch_fd(self, fd: int, call: Callback, writable: bool = False) -> Watch:
        """Calls whenever the descriptor is readable (or writable). Cancel before the descriptor is closed."""
        self._selector.register(fd, selectors.EVENT_WRITE if writable else selectors.EVENT_READ, call)
        return Watch(lambda: self._forget_fd(fd, call))

    def _forget_fd(self, fd: int, call: Callback) -> None:
        key = self._selector.get_map().get(fd) if self._selector.get_map() is not None else None
        if key is not None and key.data is call:
            self._selector.unregister(fd)

    # --- processes

    def watch_process(self, pid: int, call: Callback) -> Watch:
        """Calls once when the process has ended (dead and unreaped counts), at once when it is gone already.

        Nothing is reaped: a parent asks its `Popen.poll()` in the callback.
        """
        fd = self._open_pidfd(pid)
        if fd is None:
            return self._poll_process(pid, call)

        def ended() -> None:
            watch.cancel()
            call()

        def stop() -> None:
            if fd in self._open_fds:  # not after `close`, when the number may belong to somebody else
                self._forget_fd(fd, ended)
                self._open_fds.discard(fd)
                os.close(fd)

        self._open_fds.add(fd)
        self._selector.register(fd, selectors.EVENT_READ, ended)
        watch = Watch(stop)
        return watch

    def _open_pidfd(self, pid: int) -> int | None:
        if not self._use_pidfd:
            return None
        try:
            return os.pidfd_open(pid)
        except OSError:  # gone already, or not allowed here: the poll tells which
            return None

    def _poll_process(self, pid: int, call: Callback) -> Watch:
        identity = identity_of(pid)
        if identity.start_time is None:
            timer = self.call_later(0, call)
            return Watch(timer.cancel)
        return self._poll(_Polled(lambda: check(identity) is Alive.DEAD, call, once=True, fast=True))

    # --- files

    def watch_file(self, path: str, call: Callback) -> Watch:
        """Calls after every change of the file (also: made, replaced, removed) since this very call."""
        eager = self._arm_file_events(path)
        seen = _stamp(path)

        def changed() -> bool:
            nonlocal seen
            before, seen = seen, _stamp(path)
            return before != seen

        return self._poll(_Polled(changed, call, once=False, fast=not eager))

    def _arm_file_events(self, path: str) -> bool:
        if not self._use_inotify:
            return False
        if self._file_events is None:
            from .file_events import FileEvents

            self._file_events = FileEvents.open()
            if self._file_events is None:
                self._use_inotify = False
                return False
            self._selector.register(self._file_events.fd, selectors.EVENT_READ, self._on_file_events)
        return self._file_events.add(os.path.dirname(path) or ".")

    def _on_file_events(self) -> None:
        if self._file_events is not None:
            self._file_events.drain()
            self._ask_all()

    # --- the shared poll

    def _poll(self, polled: _Polled) -> Watch:
        self._polled.append(polled)
        self._quicken_poll(0)  # look once at once: what changed while the caller was arming is seen without a pause
        return Watch(lambda: self._polled.remove(polled) if polled in self._polled else None)

    def _quicken_poll(self, seconds: float) -> None:
        self._poll_pause = _POLL_SECONDS
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        self._poll_timer = self.call_later(seconds, self._on_poll)

    def _on_poll(self) -> None:
        self._poll_timer = None
        busy = self._ask_all()
        if not self._polled or self._poll_timer is not None:
            return
        slowest = _SLOW_POLL_SECONDS
        pause = self._poll_pause if any(polled.fast for polled in self._polled) else slowest
        self._poll_timer = self.call_later(pause, self._on_poll)
        self._poll_pause = _POLL_SECONDS if busy else min(self._poll_pause * 1.25, slowest)

    def _ask_all(self) -> bool:
        busy = False
        for polled in list(self._polled):
            if polled in self._polled and polled.changed():
                busy = True
                if polled.once:
                    self._polled.remove(polled)
                polled.call()
        return busy

    # --- signals

    def on_signal(self, number: int, call: Callback) -> None:
        """Calls after the signal, from the loop. Main thread only; `close` restores what was there before."""
        if self._wakeup is None:
            self._wakeup = self._open_wakeup()
        previous = signal.signal(number, _note)
        self._previous_handlers.setdefault(number, previous)
        self._handlers[number] = call
        signal.siginterrupt(number, False)

    def ignore_signal(self, number: int) -> None:
        """The signal has no effect until `close`. Children inherit that."""
        self._previous_handlers.setdefault(number, signal.signal(number, signal.SIG_IGN))
        self._handlers.pop(number, None)

    def _open_wakeup(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        self._previous_wakeup_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(reader, selectors.EVENT_READ, self._on_signal_bytes)
        return reader, writer

    def _on_signal_bytes(self) -> None:
        if self._wakeup is None:
            return
        try:
            numbers = os.read(self._wakeup[0], 4096)
        except BlockingIOError:
            return
        for number in dict.fromkeys(numbers):
            call = self._handlers.get(number)
            if call is not None:
                call()

    def sleep_until_signal(self, seconds: float) -> None:
        """For who cannot return to the loop just now: sleeps, and when a signal comes calls its callback at once."""
        if self._wakeup is None:
            time.sleep(seconds)
            return
        import select

        if select.select([self._wakeup[0]], [], [], seconds)[0]:
            self._on_signal_bytes()

    # --- running

    def run(self) -> None:
        """Waits and calls until `stop` is called, or nothing is left to wait for."""
        self._stopped = False
        while not self._stopped and (self._timers or self._selector.get_map()):
            self.run_once()

    def stop(self) -> None:
        """Ends `run` after the present callback."""
        self._stopped = True

    def run_once(self, timeout: float | None = None) -> bool:
        """One turn: sleeps until something happens or `timeout` seconds passed, and calls. True when it called."""
        self._drop_cancelled()
        if self._timers:
            due_in = max(self._timers[0].when - time.monotonic(), 0.0)
            timeout = due_in if timeout is None else min(timeout, due_in)
        called = False
        for key, _ in self._selector.select(timeout):
            # An earlier callback of this turn may have cancelled this watch.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
                called = True
        now = time.monotonic()
        due = []
        while self._timers and self._timers[0].when <= now:
            due.append(heapq.heappop(self._timers))
        for timer in due:
            called = called or not timer.cancelled
            timer.fire()
        return called

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)

    def close(self) -> None:
        """Gives back descriptors and signal handlers. Watched processes and files stay as they are."""
        for number, previous in self._previous_handlers.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous_handlers.clear()
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._previous_wakeup_fd)
            for fd in self._wakeup:
                os.close(fd)
            self._wakeup = None
        if self._file_events is not None:
            self._file_events.close()
            self._file_events = None
        for fd in self._open_fds:
            os.close(fd)
        self._open_fds.clear()
        self._polled.clear()
        self._timers.clear()
        self._selector.close()

    def __enter__(self) -> EventLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _note(number: int, frame: object) -> None:
    """The byte that Python wrote into the wake-up pipe is the message."""


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
