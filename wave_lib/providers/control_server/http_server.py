"""HTTP of the service: limits, bodies, answers, the access log, starting and stopping.

Holds:       the listening socket, one thread for each connection, the database.
Writes:      the ready file; the database through the handlers.
When killed: a request that was not answered may have been stored or not, never half.

Spec: PROV 10.2 (start and stop), 10.3.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ...base.redaction import redact
from ...base.terminal import printable
from .api import ApiError, Response, json_bytes
from .app import App, Route
from .auth import NOBODY, Principal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from .settings import ServerSettings

MAX_REQUESTS = 64
MAX_CONNECTIONS = 256
SOCKET_SECONDS = 30.0
REQUEST_SECONDS = 120.0
STOP_SECONDS = 10.0
MAX_HEADER_BYTES = 65536
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1_048_576
_LOG_RANK = {"debug": 0, "info": 1, "warn": 2, "error": 3, "silent": 4}


class ControlServer(ThreadingHTTPServer):
    """The listening service. `stop()` may be called from any thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, settings: ServerSettings, app: App, tls: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.settings = settings
        self.tls = tls
        self.requests = threading.BoundedSemaphore(MAX_REQUESTS)
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._busy = 0
        self._quiet = threading.Condition()
        self.stopping = False
        if ":" in settings.host:
            self.address_family = socket.AF_INET6
        super().__init__((settings.host, settings.port), Handler)

    @property
    def port(self) -> int:
        """The port that was really taken."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        # Without the reverse lookup of the host name that HTTPServer does.
        if hasattr(socket, "SO_REUSEADDR"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.settings.host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            _refuse_connection(request)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.tls is not None:
                request.settimeout(SOCKET_SECONDS)
                request = self.tls.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:  # a handshake that failed, or a client that left
            self.shutdown_request(request)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.log("debug", f"connection ended: {type(sys.exc_info()[1]).__name__}")

    def log(self, level: str, line: str) -> None:
        """One line on stderr, if the level is wanted; never a token."""
        if _LOG_RANK[level] >= _LOG_RANK[self.settings.log_level]:
            try:
                sys.stderr.write(f"[wave-control] {printable(redact(line))}\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                pass  # nobody reads the log any more; the service goes on

    # --- stopping

    def enter(self) -> None:
        """A request has begun."""
        with self._quiet:
            self._busy += 1

    def leave(self) -> None:
        """It has been answered."""
        with self._quiet:
            self._busy -= 1
            self._quiet.notify_all()

    def stop(self) -> None:
        """Take no more connections, let running requests finish for ten seconds, close the database."""
        self.stopping = True
        self.shutdown()
        self.server_close()
        with self._quiet:
            self._quiet.wait_for(lambda: self._busy == 0, timeout=STOP_SECONDS)
        self.app.store.close()


class _BoundedReader:
    """The request's bytes, with one limit for all header lines together; tells when a request begins."""

    def __init__(self, raw: Any, begun: Callable[[], None]) -> None:
        self._raw = raw
        self._begun = begun
        self.left = MAX_HEADER_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._raw.readline(min(limit, self.left + 1) if limit >= 0 else self.left + 1)
        if line and self.left == MAX_HEADER_BYTES:
            self._begun()
        self.left -= len(line)
        if self.left < 0:
            raise _HeadersTooLarge
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class _HeadersTooLarge(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: ControlServer
    protocol_version = "HTTP/1.1"
    timeout = SOCKET_SECONDS
    server_version, sys_version = "wave-control", ""

    def setup(self) -> None:
        super().setup()
        self.rfile = _BoundedReader(self.rfile, self._begin)  # type: ignore[assignment]
        self._body_left = 0
        self._counted = False

    def handle_one_request(self) -> None:
        self.rfile.left = MAX_HEADER_BYTES  # type: ignore[attr-defined]
        self._begin_time()
        try:
            super().handle_one_request()
        except _HeadersTooLarge:
            self.requestline, self.command, self.request_version = "", "-", "HTTP/1.1"
            self.close_connection = True
            self._body_left = -1
            self._send_error(ApiError("request-too-large", "The headers are too large."), "-")
        except (ConnectionError, TimeoutError, socket.timeout, ValueError):
            self.close_connection = True
        finally:
            if self._counted:
                self._counted = False
                self.server.leave()

    def _begin(self) -> None:
        """The first line of a request is there: a stop waits for its answer."""
        self._counted = True
        self.server.enter()
        self._begin_time()

    def _begin_time(self) -> None:
        self.request_id = uuid.uuid4().hex
        self.principal = NOBODY
        self._started = time.monotonic()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Errors that the library finds, such as a malformed request line, in our shape."""
        self.close_connection = True
        self._body_left = -1
        self.request_version = "HTTP/1.1"  # a malformed line passes for HTTP/0.9, whose answers have no status
        word = "request-too-large" if code in (414, 431) else "invalid-query"
        error = ApiError(word, "The request is malformed.")
        error.status = code
        self._send_error(error, "-")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the access log is written by `_log`."""

    def _handle(self) -> None:
        path = urlsplit(self.path).path if self.path.startswith("/") else "-"
        self._unread()
        if not self.server.requests.acquire(blocking=False):
            self._send_error(ApiError("overloaded", "Too many requests at once.", {"Retry-After": "1"}), path)
            return
        try:
            response = self._respond(path)
        except ApiError as error:
            self._send_error(error, path)
        except (ConnectionError, TimeoutError, socket.timeout):  # one class only from 3.10 on
            self.close_connection = True
        except sqlite3.OperationalError as error:
            self.server.log("error", f"{self.request_id}: database: {error}")
            self._send_error(ApiError("overloaded", f"The database is busy. Request {self.request_id}."), path)
        except Exception as error:  # the sender learns the request id only
            self.server.log("error", f"{self.request_id}: {type(error).__name__}: {error}")
            self._send_error(ApiError("internal", f"Internal error. Request {self.request_id}."), path)
        else:
            self._send(response, path)
        finally:
            self.server.requests.release()

    def __getattr__(self, name: str) -> Any:
        """Every method has the same handler: the route table says which ones it knows."""
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _respond(self, path: str) -> Response:
        """Route, method, token, scope, body, handler: in this order. Spec: PROV 10.3."""
        app = self.server.app
        if self.command == "OPTIONS":
            return Response(raw=b"", status=204)
        route, parts = app.find(self.command, path)
        self.principal = app.authorize(route, self.headers.get("Authorization"))
        query = self._query()
        body = self._body(route) if self.command in ("POST", "PUT") else None
        return app.answer(route, parts, query, self.principal, body)

    def _query(self) -> dict[str, str]:
        try:
            pairs = parse_qsl(urlsplit(self.path).query, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            raise ApiError("invalid-query", "The query string is malformed.") from None
        return {name: value.encode("utf-8", "replace").decode("utf-8").replace("\0", "") for name, value in pairs}

    # --- bodies

    def _unread(self) -> None:
        """Note how much body there is: while it is unread, the connection cannot be used again."""
        if not hasattr(self, "headers"):
            self._body_left = 0
            self.close_connection = True
            return
        length = self.headers.get("Content-Length", "").strip()
        self._body_left = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
        if (length and not self._body_left and length.strip("0")) or self.headers.get("Transfer-Encoding"):
            self._body_left = -1

    def _body(self, route: Route) -> Any:
        if self.headers.get("Content-Length") is None or self._body_left < 0:
            raise ApiError("length-required", "A request with a body needs a Content-Length.")
        limit = self.server.app.body_limit(route)
        if self._body_left > limit:
            raise ApiError("body-too-large", f"The body may have at most {limit} bytes.")
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        data = self._read_body()
        try:
            return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise ApiError("invalid-json", "The body is not JSON.") from None

    def _read_body(self) -> bytes:
        pieces: list[bytes] = []
        while self._body_left > 0:
            if time.monotonic() - self._started > REQUEST_SECONDS:
                raise TimeoutError
            piece = self.rfile.read1(min(self._body_left, 65536))
            if not piece:
                raise ConnectionError
            pieces.append(piece)
            self._body_left -= len(piece)
        return b"".join(pieces)

    def handle_expect_100(self) -> bool:
        """Only once the sender is known and its body wanted: see `_body`."""
        return True

    # --- answers

    def _send_error(self, error: ApiError, path: str) -> None:
        value = {"error": redact(error.sentence), "code": error.code}
        self._send(Response(value, error.status, error.headers), path)

    def _send(self, response: Response, path: str) -> None:
        payload = response.payload() if response.raw is not None else json_bytes(response.value)
        if self._body_left or self.server.stopping:
            self.close_connection = True
        self.send_response_only(response.status)
        headers = {
            "Content-Type": response.content_type,
            "Content-Length": str(len(payload)),
            "X-Content-Type-Options": "nosniff",
            "X-Request-Id": self.request_id,
            **({"Cache-Control": "no-store"} if path.startswith("/api/") else {}),
            **self._cors(),
            **response.headers,
        }
        if response.status == 204:
            headers = {name: value for name, value in headers.items() if not name.startswith("Content-")}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        try:
            self.end_headers()
            if self.command != "HEAD" and response.status != 204:
                self.wfile.write(payload)
            self.wfile.flush()
        except OSError:
            self.close_connection = True
        else:
            self._linger()
        self._log(path, response.status)

    def _linger(self) -> None:
        """Throw away a little of an unread body, so that the sender sees the answer and not a reset connection."""
        if not self._body_left:
            return
        end = time.monotonic() + _LINGER_SECONDS
        seen = 0
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.25)
            while time.monotonic() < end and seen < _LINGER_BYTES:
                piece = self.connection.recv(65536)
                if not piece:
                    break
                seen += len(piece)
        except (OSError, ValueError):
            pass
        self._body_left = 0

    def _cors(self) -> dict[str, str]:
        allowed = self.server.settings.allowed_origins
        origin = self.headers.get("Origin") if hasattr(self, "headers") else None
        if not origin or ("*" not in allowed and origin not in allowed):
            return {}
        return {
            "access-control-allow-origin": "*" if "*" in allowed else origin,
            "access-control-allow-headers": "authorization, content-type, x-stack-access-token",
            "access-control-allow-methods": "GET,POST,PUT,DELETE,OPTIONS",
            "vary": "Origin",
        }

    def _log(self, path: str, status: int) -> None:
        spent = int((time.monotonic() - self._started) * 1000)
        who: Principal = self.principal
        line = f"{self.command} {path[:300]} {status} {spent}ms {who.kind} {who.label} {self.request_id}"
        self.server.log("info", line)


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _refuse_connection(connection: Any) -> None:
    payload = json_bytes({"error": "Too many connections.", "code": "overloaded"})
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\nRetry-After: 1\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    )
    try:
        connection.settimeout(1.0)
        connection.sendall(head.encode("ascii") + payload)
    except OSError:
        pass
