"""The one HTTP client: no redirects, a total deadline, a size limit, bounded retries. Spec: PROV 2.4.

A request runs in a thread of its own, so that its deadline also covers name resolution and an answer that drips byte
by byte; when the time is up the socket is shut, which ends the thread.

Holds:       for the length of a call one thread and one connection.
Writes:      nothing.
When killed: the other side may or may not have acted; every caller sends what may be sent twice.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from .. import __version__
from .errors import WaveError
from .redaction import redact
from .text import compact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ANSWER = 5 * 1024 * 1024
MAX_ERROR_BODY = 16 * 1024
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

STATUS, TRANSPORT, TIMEOUT, TOO_LARGE, REFUSED, MALFORMED = (
    "status", "transport", "timeout", "too-large", "refused", "malformed",
)  # fmt: skip


class HttpError(WaveError):
    """A call that brought no usable answer. The text never holds a token.

    `kind` is one of the six words above; `status` is there for `status` and `malformed`; `retry_after` are the
    seconds that the server asked for, None when it asked for nothing.
    """

    default_key = "http"

    def __init__(self, what: str, kind: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(redact(what))
        self.kind = kind
        self.status = status
        self.retry_after = retry_after

    @property
    def outage(self) -> bool:
        """Whether the service itself seems to be down, so that asking again at once is useless."""
        return self.kind in (TRANSPORT, TIMEOUT) or (self.status or 0) >= 500


class Retries(NamedTuple):
    """How often and how patiently a call is tried again. Delays are seconds."""

    attempts: int = 3
    base_delay: float = 0.5
    max_delay: float = 20.0
    max_retry_after: float = 20.0
    statuses: frozenset[int] = RETRIED_STATUSES


ONCE = Retries(attempts=1)


class Call(NamedTuple):
    """One request. `what` begins every error text; `token` is sent as a bearer token; `body` is JSON or None.

    `timeout` is the total time of one try in seconds, `max_bytes` the largest answer that is read.
    """

    what: str
    method: str
    url: str
    token: str = ""
    accept: str = "application/json"
    body: Any = None
    timeout: float = 10.0
    max_bytes: int = MAX_ANSWER
    allow_insecure: bool = False
    retries: Retries = Retries()


class Answer(NamedTuple):
    """What came back: header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8, bad bytes replaced."""
        return self.body.decode("utf-8", "replace")


class Budget:
    """A span of time that several calls share."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain, never below 0; infinite without a limit."""
        return float("inf") if self._end is None else max(self._end - time.monotonic(), 0.0)


UNLIMITED = Budget(None)


def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, effective port): what a token is bound to. Raises HttpError for a URL that has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise HttpError(f"not a URL: {compact(url, 120)}", REFUSED) from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise HttpError(f"not an http or https URL: {compact(url, 120)}", REFUSED)
    return scheme, host, port if port is not None else (443 if scheme == "https" else 80)


def is_loopback(host: str) -> bool:
    """`localhost`, `127.0.0.0/8`, `::1`."""
    return host == "localhost" or host == "::1" or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def url_within(base: str, current: str, found: str) -> str | None:
    """`found` resolved against `current` when it stays on the origin and below the path of `base`, else None.

    A token of `base` may be sent to the result. Spec: PROV 2.4 rule 2, 4.6 rule 4.
    """
    try:
        resolved = urljoin(current, found)
        if origin(resolved) != origin(base):
            return None
        parts = urlsplit(resolved)
    except (HttpError, ValueError):
        return None
    path, root = remove_dot_segments(parts.path), urlsplit(base).path.rstrip("/")
    if path != root and not path.startswith(root + "/"):
        return None
    return parts._replace(path=path, fragment="").geturl()


def remove_dot_segments(path: str) -> str:
    """A URL path without `.` and `..`, also where they hide behind percent signs or backslashes."""
    kept: list[str] = []
    for segment in path.replace("\\", "/").split("/"):
        plain = segment.lower().replace("%2e", ".")
        if plain == "..":
            if len(kept) > 1:
                kept.pop()
        elif plain != ".":
            kept.append(segment)
    return "/".join(kept)


def check_transport(url: str, allow_insecure: bool) -> None:
    """Refuses plain http to another host, before anything is sent. Raises HttpError. Spec: PROV 2.4 rule 3."""
    scheme, host, _ = origin(url)
    if scheme == "http" and not is_loopback(host) and not allow_insecure:
        raise HttpError(f"plain http to {host} is refused; use https, or set allowInsecureHttp", REFUSED)


def send(call: Call, budget: Budget = UNLIMITED, sleep: Callable[[float], object] = time.sleep) -> Answer:
    """Sends a call, again where that may help, and returns a 2xx answer other than one too large.

    Raises HttpError. Waits between tries with full jitter; a `Retry-After` replaces the delay, but one that is too
    long or does not fit into the budget ends the tries. Spec: PROV 2.4 rule 6.
    """
    check_transport(call.url, call.allow_insecure)
    tries = 0
    while True:
        seconds = min(call.timeout, budget.left())
        if seconds <= 0:
            raise HttpError(f"{call.what} failed: no time left", TIMEOUT)
        try:
            return _judge(call, _try(call, seconds))
        except HttpError as error:
            tries += 1
            delay = _delay(call.retries, error, tries)
            if tries >= call.retries.attempts or delay is None or delay >= budget.left():
                raise
        sleep(delay)


def send_json(call: Call, budget: Budget = UNLIMITED, sleep: Callable[[float], object] = time.sleep) -> Any:
    """The same for an answer that must be JSON. Malformed JSON is an error and never tried again."""
    return json_of(call.what, send(call, budget, sleep))


def text_of(what: str, answer: Answer) -> str:
    """The text of an answer that may be anything but a page for browsers, such as one to sign in. Raises HttpError."""
    if answer.headers.get("content-type", "").split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
        raise HttpError(f"{what} failed ({answer.status}): the answer is a web page", MALFORMED, answer.status)
    return answer.text


def json_of(what: str, answer: Answer) -> Any:
    """The JSON value of an answer. Raises HttpError."""
    try:
        return json.loads(answer.body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise HttpError(f"{what} failed ({answer.status}): the answer is not JSON", MALFORMED, answer.status) from None


def retry_after_seconds(value: str | None) -> float | None:
    """The seconds a `Retry-After` header asks for (a number or a date), None when there is none or it is nonsense."""
    text = (value or "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text) if len(text) < 10 else 1e9
    from email.utils import parsedate_to_datetime

    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def _delay(retries: Retries, error: HttpError, tries: int) -> float | None:
    """Seconds to wait before the next try, None when another try is useless."""
    if error.kind not in (TRANSPORT, TIMEOUT) and (error.kind != STATUS or error.status not in retries.statuses):
        return None
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= retries.max_retry_after else None
    return random.uniform(0, min(retries.base_delay * 2 ** (tries - 1), retries.max_delay))


def _judge(call: Call, answer: Answer) -> Answer:
    if 200 <= answer.status < 300:
        return answer
    if 300 <= answer.status < 400:
        message = f"unexpected redirect ({answer.status})"
        raise HttpError(f"{call.what} failed ({answer.status}): {message}", STATUS, answer.status)
    after = retry_after_seconds(answer.headers.get("retry-after"))
    raise HttpError(f"{call.what} failed ({answer.status}): {_message(answer)}", STATUS, answer.status, after)


def _message(answer: Answer) -> str:
    """One line of an error answer: `error`, else `message`, else the reason phrase. Spec: PROV 2.4 rule 7."""
    found: object = None
    try:
        value = json.loads(answer.text)
        if isinstance(value, dict):
            found = value.get("error") or value.get("message")
            if isinstance(found, dict):
                found = found.get("message")
    except (ValueError, RecursionError):
        pass
    if not isinstance(found, str) or not found.strip():
        found = answer.headers.get(":reason") or "unknown error"
    return compact(redact(found), 240)


class _Exchange:
    """One try: the answer or the error that the thread leaves, and the sockets to shut when it takes too long."""

    def __init__(self) -> None:
        self.connections: list[Any] = []
        self.answer: Answer | None = None
        self.error: HttpError | None = None
        self.done = threading.Event()

    def abandon(self) -> None:
        import socket

        for connection in self.connections:
            sock = getattr(connection, "sock", None)
            if sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def _try(call: Call, seconds: float) -> Answer:
    exchange = _Exchange()
    thread = threading.Thread(target=_run, args=(call, seconds, exchange), name="http", daemon=True)
    thread.start()
    if not exchange.done.wait(seconds):
        exchange.abandon()
        raise HttpError(f"{call.what} failed: no complete answer within {seconds:.3g} seconds", TIMEOUT)
    if exchange.error is not None:
        raise exchange.error
    assert exchange.answer is not None  # done means one of the two
    return exchange.answer


def _run(call: Call, seconds: float, exchange: _Exchange) -> None:
    import http.client
    import socket
    from urllib.error import URLError

    try:
        exchange.answer = _exchange(call, seconds, exchange)
    except HttpError as error:
        exchange.error = error
    except (OSError, http.client.HTTPException, URLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        late = isinstance(reason, (TimeoutError, socket.timeout))  # one class only from 3.10 on
        text = compact(str(reason) or type(reason).__name__, 240)
        exchange.error = HttpError(f"{call.what} failed: {text}", TIMEOUT if late else TRANSPORT)
    except Exception as error:  # a thread has nobody to catch it, and the caller must not wait for its whole time
        exchange.error = HttpError(f"{call.what} failed: {type(error).__name__}", TRANSPORT)
    finally:
        exchange.done.set()


def _exchange(call: Call, seconds: float, exchange: _Exchange) -> Answer:
    import urllib.request

    data = None if call.body is None else json.dumps(call.body, ensure_ascii=False).encode("utf-8", "replace")
    request = urllib.request.Request(call.url, data=data, method=call.method)
    request.add_header("Accept", call.accept)
    request.add_header("User-Agent", f"wave-py/{__version__}")
    if data is not None:
        request.add_header("Content-Type", "application/json")
    if call.token:
        # Unredirected: a header of this kind is never carried to another request by the library itself.
        request.add_unredirected_header("Authorization", f"Bearer {call.token}")
    end = time.monotonic() + seconds
    with _opener(call.url, exchange).open(request, timeout=seconds) as response:
        limit = call.max_bytes if response.status < 300 else MAX_ERROR_BODY
        headers = {name.lower(): value for name, value in response.headers.items()}
        _check_head(call.what, response.headers, headers)
        body = _read(response, limit, end, call.what)
        if len(body) > limit:
            if response.status < 300:
                raise HttpError(f"{call.what} failed: the answer is larger than {limit} bytes", TOO_LARGE)
            body = body[:limit]
        elif response.status < 300:
            _check_complete(call.what, headers, body)
        return Answer(response.status, {**headers, ":reason": str(response.reason or "")}, body)


def _read(response: Any, limit: int, end: float, what: str) -> bytes:
    """The body up to one byte more than `limit`."""
    pieces: list[bytes] = []
    size = 0
    while size <= limit:
        if time.monotonic() >= end:
            raise HttpError(f"{what} failed: the answer took too long", TIMEOUT)
        piece = response.read1(min(65536, limit + 1 - size))
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _check_head(what: str, message: Any, headers: Mapping[str, str]) -> None:
    """A head that is cut off parses as a shorter one; compression was not asked for and is not undone here."""
    if message.defects:
        raise HttpError(f"{what} failed: the head of the answer is malformed", TRANSPORT)
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise HttpError(f"{what} failed: the answer is compressed, which nobody asked for", MALFORMED)


def _check_complete(what: str, headers: Mapping[str, str], body: bytes) -> None:
    """`read1` reports a connection that closed early as an ordinary end."""
    length = headers.get("content-length", "")
    if length.isdigit() and len(body) < int(length):
        raise HttpError(f"{what} failed: the answer ended after {len(body)} of {length} bytes", TRANSPORT)


def _opener(url: str, exchange: _Exchange) -> Any:
    """An opener that follows nothing, raises for no status, and tells of its connections."""
    import http.client
    import urllib.request

    def recorded(kind: Any) -> Callable[..., Any]:
        def make(host: str, **options: Any) -> Any:
            connection = kind(host, **options)
            exchange.connections.append(connection)
            return connection

        return make

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(recorded(http.client.HTTPConnection), req)

    class Plain(urllib.request.HTTPErrorProcessor):
        def http_response(self, request: Any, response: Any) -> Any:
            return response

        https_response = http_response

    handlers: list[Any] = [Http(), Plain(), urllib.request.UnknownHandler()]
    scheme, host, _ = origin(url)
    if not is_loopback(host):
        handlers.append(urllib.request.ProxyHandler())
    if scheme == "https":
        import ssl

        context = ssl.create_default_context()

        class Https(urllib.request.HTTPSHandler):
            def https_open(self, req: Any) -> Any:
                return self.do_open(recorded(http.client.HTTPSConnection), req, context=context)

        handlers.append(Https(context=context))
    opener = urllib.request.OpenerDirector()
    for handler in handlers:
        opener.add_handler(handler)
    return opener
