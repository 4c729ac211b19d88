"""The HTTP client against servers that behave badly in every way."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from fake_service import FakeService, Reply, scripted

from wave_lib.base import redaction
from wave_lib.base.http_json import (
    ONCE,
    Budget,
    Call,
    HttpError,
    check_transport,
    is_loopback,
    remove_dot_segments,
    retry_after_seconds,
    send,
    send_json,
    url_within,
)


def call(url: str, **more: object) -> Call:
    return Call("Test request", "GET", url)._replace(**more)  # type: ignore[arg-type]


def fails(one: Call, budget: Budget | None = None) -> HttpError:
    with pytest.raises(HttpError) as caught:
        send_json(one, budget or Budget(20), sleep=lambda seconds: None)
    return caught.value


def test_a_plain_answer() -> None:
    with FakeService(lambda asked: Reply(body={"a": 1})) as service:
        assert send_json(call(f"{service.url}/x?y=1", token="secret-token")) == {"a": 1}
    asked = service.asked[0]
    assert asked.headers["authorization"] == "Bearer secret-token"
    assert asked.headers["accept"] == "application/json"
    assert asked.headers["user-agent"].startswith("wave-py/")
    assert asked.query == {"y": "1"}


def test_a_body_is_json() -> None:
    with FakeService(lambda asked: Reply(body=asked.body)) as service:
        assert send_json(call(service.url, method="POST", body={"ä": "é"})) == {"ä": "é"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_refused_and_nobody_else_is_asked(status: int) -> None:
    with FakeService(lambda asked: Reply(body={})) as elsewhere:
        answer = Reply(status, {}, {"Location": f"{elsewhere.url}/stolen"})
        with FakeService(lambda asked: answer) as service:
            error = fails(call(service.url, token="secret-token"))
    assert f"unexpected redirect ({status})" in str(error)
    assert len(service.asked) == 1
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "]
)
def test_a_dripping_answer_ends_at_the_deadline(head: bytes) -> None:
    service = FakeService(lambda asked: service.drip(head))
    with service:
        started = time.monotonic()
        error = fails(call(service.url, timeout=0.4, retries=ONCE))
        assert time.monotonic() - started < 2
    assert error.kind == "timeout"


def test_a_server_that_says_nothing() -> None:
    service = FakeService(lambda asked: service.hang())
    with service:
        assert fails(call(service.url, timeout=0.3, retries=ONCE)).kind == "timeout"


def test_the_budget_ends_all_tries() -> None:
    service = FakeService(lambda asked: service.hang())
    with service:
        started = time.monotonic()
        assert fails(call(service.url, timeout=5), Budget(0.4)).kind == "timeout"
        assert time.monotonic() - started < 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_three_times(status: int) -> None:
    with FakeService(lambda asked: Reply(status, {"error": "busy"})) as service:
        error = fails(call(service.url))
    assert (len(service.asked), str(error)) == (3, f"Test request failed ({status}): busy")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_final(status: int) -> None:
    with FakeService(lambda asked: Reply(status, {"message": "no"})) as service:
        error = fails(call(service.url))
    assert (len(service.asked), error.status, str(error)) == (1, status, f"Test request failed ({status}): no")


def test_a_later_try_may_succeed() -> None:
    with FakeService(scripted(Reply(503, {}), Reply(body=[1]))) as service:
        assert send_json(call(service.url), sleep=lambda seconds: None) == [1]


def test_retry_after_replaces_the_delay() -> None:
    slept: list[float] = []
    with FakeService(scripted(Reply(429, {}, {"Retry-After": "2"}), Reply(body=1))) as service:
        send_json(call(service.url), sleep=slept.append)
    assert slept == [2.0]


@pytest.mark.parametrize("after", ["86400", "9" * 40, formatdate(time.time() + 9000, usegmt=True)])
def test_a_retry_after_without_end_fails_promptly(after: str) -> None:
    with FakeService(lambda asked: Reply(429, {"error": "slow down"}, {"Retry-After": after})) as service:
        assert fails(call(service.url)).status == 429
    assert len(service.asked) == 1


def test_a_retry_after_beyond_the_budget_ends_the_tries() -> None:
    with FakeService(lambda asked: Reply(429, {}, {"Retry-After": "5"})) as service:
        fails(call(service.url), Budget(2))
    assert len(service.asked) == 1


def test_retry_after_forms() -> None:
    assert retry_after_seconds("3") == 3
    assert retry_after_seconds(formatdate(time.time() - 100, usegmt=True)) == 0
    for nonsense in (None, "", "soon", "-3", "Thu, 99 Foo 2026 00:00:00 GMT"):
        assert retry_after_seconds(nonsense) is None


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{x",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_no_json_is_an_error_and_not_tried_again(data: bytes) -> None:
    service = FakeService(lambda asked: service.says(data))
    with service:
        assert fails(call(service.url)).kind == "malformed"
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1",
        b"not http at all\r\n\r\n",
        b"",
    ],
)
def test_a_cut_answer_is_a_transport_error(data: bytes) -> None:
    service = FakeService(lambda asked: service.says(data))
    with service:
        assert fails(call(service.url, retries=ONCE)).kind == "transport"


def test_a_huge_answer_is_refused() -> None:
    with FakeService(lambda asked: Reply(body=b"[" + b" " * 5000 + b"]")) as service:
        error = fails(call(service.url, max_bytes=1000))
    assert (error.kind, len(service.asked)) == ("too-large", 1)


def test_an_endless_error_body_does_not_matter() -> None:
    with FakeService(lambda asked: Reply(400, b"{" + b"x" * 200_000)) as service:
        assert fails(call(service.url)).status == 400


def test_error_texts_are_short_single_lines_without_secrets() -> None:
    redaction.register_secret("sk-very-secret-value")
    text = "bad\nkey sk-very-secret-value " + "x" * 400
    with FakeService(lambda asked: Reply(400, {"error": text})) as service:
        shown = str(fails(call(service.url)))
    assert "sk-very" not in shown
    assert "[redacted]" in shown
    assert "\n" not in shown
    assert len(shown) < 300


def test_nobody_listens() -> None:
    with FakeService(lambda asked: Reply()) as service:
        pass
    assert fails(call(service.url, retries=ONCE)).kind == "transport"


@pytest.mark.parametrize("url", ["http://10.0.0.5/api/v1", "http://example.com", "http://127.0.0.1.evil.example/"])
def test_plain_http_to_another_host_is_refused_before_connecting(url: str) -> None:
    started = time.monotonic()
    assert fails(call(url)).kind == "refused"
    assert time.monotonic() - started < 1
    check_transport(url, allow_insecure=True)


@pytest.mark.parametrize("url", ["ftp://example.com", "file:///etc/passwd", "https://", "https://u:p@host/", "//x", ""])
def test_urls_that_are_none(url: str) -> None:
    assert fails(call(url)).kind == "refused"


def test_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("127.0.0.1.x", "10.0.0.1", "example.com", "")))


def test_proxies_of_the_environment_are_not_used_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with FakeService(lambda asked: Reply(body=1)) as service:
        assert send(call(service.url)).text == "1"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("/api/projects/p/findings?cursor=2", "https://host/api/projects/p/findings?cursor=2"),
        ("?page=2", "https://host/api/findings?page=2"),
        ("https://HOST:443/api/x", "https://HOST:443/api/x"),
        ("https://evil.example/api/x", None),
        ("http://host/api/x", None),
        ("https://host:444/api/x", None),
        ("//evil.example/api/x", None),
        ("/other/x", None),
        ("/apix", None),
        ("/api/../secret", None),
        ("/api/%2e%2e/secret", None),
        ("/api\\..\\..\\secret", None),
        ("https://user@host/api/x", None),
        ("https://host:bad/api", None),
    ],
)
def test_a_url_from_an_answer_stays_below_the_base(found: str, expected: str | None) -> None:
    assert url_within("https://host/api", "https://host/api/findings", found) == expected


def test_dot_segments() -> None:
    assert remove_dot_segments("/a/./b/../c") == "/a/c"
    assert remove_dot_segments("/../../a") == "/a"
