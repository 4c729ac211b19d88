"""Starting the service and stopping it by a signal. Spec: PROV 10.2."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING

from ...base.errors import ExitCode, WaveError
from ...base.event_loop import EventLoop
from ...base.files import write_json
from ...base.timestamps import iso_of
from .app import App
from .http_server import ControlServer
from .settings import wrong
from .store import Store, remove_old_events

if TYPE_CHECKING:
    from .settings import ServerSettings

_DAY = 86400.0


def serve(settings: ServerSettings) -> int:
    """Run until SIGINT or SIGTERM; returns the exit code. Raises WaveError: 2 for configuration, 1 when bind fails."""
    for warning in settings.warnings:
        print(f"[wave-control] warning: {warning}", file=sys.stderr)
    tls = _tls(settings)
    store = Store(settings.db_path)
    try:
        server = ControlServer(settings, App(settings, store), tls)
    except OSError as error:
        store.close()
        where = f"{settings.host}:{settings.port}"
        raise WaveError(f"cannot listen: {error.strerror or error}", where, "choose another --port or --host") from None
    with EventLoop() as loop:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.on_signal(signum, loop.stop)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        thread.start()
        _keep_tidy(loop, store, settings.retention_days)
        _tell(settings, server.port, "https" if tls else "http")
        loop.run()
    server.stop()
    return ExitCode.DONE


def _tell(settings: ServerSettings, port: int, scheme: str) -> None:
    """Whoever waits learns that the service listens, and where."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"[wave-control] listening on {scheme}://{host}:{port}", flush=True)
    if settings.ready_file:
        ready = {"host": settings.host, "port": port, "pid": os.getpid()}
        write_json(os.path.abspath(settings.ready_file), ready)


def _keep_tidy(loop: EventLoop, store: Store, retention_days: int | None) -> None:
    """Remove events that are too old, now and once a day."""
    if retention_days is not None:
        remove_old_events(store, iso_of(time.time() - retention_days * _DAY))
        loop.call_later(_DAY, lambda: _keep_tidy(loop, store, retention_days))


def _tls(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise wrong(f"cannot be used: {error}", f"--tls-cert {settings.tls_cert}") from None
    return context
