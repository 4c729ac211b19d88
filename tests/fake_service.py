"""A service on loopback that answers as a test says, also as badly as one can: slowly, cut off, with anything."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """One answer. `body` is JSON unless it is bytes; `raw` is called with the socket and answers in its own way."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = {}
    raw: Callable[[socket.socket], None] | None = None


class FakeService:
    """`answer(asked)` gives the Reply; `asked` remembers every request."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.over = threading.Event()  # replies that drip or hang wait for this instead of sleeping
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(length)
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = json.loads(data) if data else None
                asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), headers, body)
                service.asked.append(asked)
                reply = service.answer(asked)
                if reply.raw is not None:
                    try:
                        reply.raw(self.connection)
                    except OSError:
                        pass
                    self.close_connection = True
                    return
                payload = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(payload)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that hang up are what these tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> FakeService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- bad manners

    def drip(self, head: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") -> Reply:
        """One byte now and then, for ever: no single read takes long."""

        def raw(connection: socket.socket) -> None:
            connection.sendall(head)
            while not self.over.wait(0.05):
                connection.sendall(b"x")

        return Reply(raw=raw)

    def hang(self) -> Reply:
        """Nothing at all."""
        return Reply(raw=lambda connection: self.over.wait(30) and None)

    @staticmethod
    def says(data: bytes) -> Reply:
        """Exactly these bytes, then the end of the connection."""
        return Reply(raw=lambda connection: connection.sendall(data))


def scripted(*replies: Reply) -> Callable[[Asked], Reply]:
    """The replies in turn; the last one again and again."""
    left = list(replies)
    return lambda asked: left.pop(0) if len(left) > 1 else left[0]
