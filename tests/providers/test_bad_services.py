"""Every way in which a service outside can behave badly, for everybody who asks one: each ends soon, and as a failure.

Spec: PROV 2.4, 4.6, 4.7, 5.5, 6.2, 8.7; issue 6.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from control_server_lab import TOKEN, ControlLab
from fake_service import Asked, FakeService, Reply
from providers_lab import corridor_lane, lane_paths

from wave_lib.base import http_json
from wave_lib.providers import context7, corridor, provider_runtime
from wave_lib.providers.wave_control_client import RawEvent, Telemetry
from wave_lib.providers.wave_control_delivery import flush

ENV = {"CORRIDOR_API_TOKEN": "corridor-token-1", "CONTEXT7_API_KEY": "ctx7-key-12345", "WAVE_API_TOKEN": TOKEN}
SECONDS = 0.25  # time of one try, and of a whole fetch
SOON = 8.0
HUGE = 6 * 1024 * 1024
EVIL = "https://evil.invalid/api/x"

Manner = Callable[[FakeService, Asked], Reply]

MANNERS: dict[str, Manner] = {
    "hangs": lambda service, asked: service.hang(),
    "drips": lambda service, asked: service.drip(),
    "drips its head": lambda service, asked: service.drip(b"HTTP/1.1 200 OK\r\nX-A: "),
    "500": lambda service, asked: Reply(500, {"error": "x"}),
    "503 with a page": lambda service, asked: Reply(503, b"<html>down</html>"),
    "429 for a day": lambda service, asked: Reply(429, {}, {"Retry-After": "86400"}),
    "429 for longer than there is time": lambda service, asked: Reply(429, {}, {"Retry-After": "15"}),
    "429 with nonsense": lambda service, asked: Reply(429, {}, {"Retry-After": "soon"}),
    "429 till a date": lambda service, asked: Reply(429, {}, {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
    "403": lambda service, asked: Reply(403, {"error": "no"}),
    "an endless error": lambda service, asked: Reply(404, b"x" * HUGE),
    "an error that is a tree": lambda service, asked: Reply(400, {"error": {"message": {"a": ["b"]}}}),
    "a redirect elsewhere": lambda service, asked: Reply(302, b"", {"Location": EVIL}),
    "a redirect loop": lambda service, asked: Reply(307, b"", {"Location": asked.path}),
    "a cut body": lambda service, asked: Reply(200, b'{"ok": true', {"Content-Length": "900"}),
    "a cut head": lambda service, asked: FakeService.says(b"HTTP/1.1 200 OK\r\nContent-"),
    "no http": lambda service, asked: FakeService.says(b"hello\r\n\r\n"),
    "nothing": lambda service, asked: FakeService.says(b""),
    "a huge body": lambda service, asked: Reply(200, b"[" + b" " * HUGE + b"]"),
    "a huge head": lambda service, asked: Reply(200, b"[]", {f"X-{number}": "y" for number in range(200)}),
    "a compressed body": lambda service, asked: Reply(200, b"\x1f\x8b\x08\x00", {"Content-Encoding": "gzip"}),
    "a sign-in page": lambda service, asked: Reply(200, b"<html>sign in</html>", {"Content-Type": "text/html"}),
}
# Bodies that are whole and wrong; text is what Context7 is asked for, so they are no failure there.
WRONG_JSON: dict[str, bytes] = {
    "torn json": b'{"ok": true, "items": [',
    "deep json": b"[" * 50_000,
    "not a number": b'{"items": NaN, "ok": true, "matchedFindings": NaN, "env": NaN}',
    "no utf-8": b'{"items": ["\xff"]}',
    "a number": b"5",
    "null": b"null",
    "a text": b'"ok"',
    "an empty object": b"{}",
    "a list of texts": b'["a", "b"]',
    "wrong types": b'{"ok": "yes", "items": 5, "matchedFindings": {}, "env": [], "findings": "x", "data": null}',
}
PAGES: dict[str, Callable[[Asked], Any]] = {
    "endless pages": lambda asked: {"items": [], "nextCursor": str(int(asked.query.get("cursor", 0)) + 1)},
    "pages in a circle": lambda asked: {"items": [], "nextPageUrl": f"/api/projects/p/findings?n={len(asked.query)}"},
    "a next page elsewhere": lambda asked: {"items": [], "nextPageUrl": EVIL},
    "a next page by name elsewhere": lambda asked: {"items": [], "nextPageUrl": "//evil.invalid/api/projects/p"},
    "a next page on another port": lambda asked: {"items": [], "nextPageUrl": "http://127.0.0.1:9/api/projects/p"},
    "a next page outside the base": lambda asked: {"items": [], "nextPageUrl": "/api/%2e%2e/admin"},
    "more and no way": lambda asked: {"items": [], "hasMore": True},
}


def wrong(body: bytes) -> Manner:
    return lambda service, asked: Reply(200, body)


def paged(page: Callable[[Asked], Any]) -> Manner:
    def answer(service: FakeService, asked: Asked) -> Reply:
        return Reply(200, [] if asked.path.endswith("/reports") else page(asked))

    return answer


BAD_JSON = {**MANNERS, **{what: wrong(body) for what, body in WRONG_JSON.items()}}
BAD_PAGES = {**BAD_JSON, **{what: paged(page) for what, page in PAGES.items()}}


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_json.random, "uniform", lambda low, high: 0.0)
    monkeypatch.setattr(corridor, "DIRECT_BUDGET_SECONDS", SECONDS)
    monkeypatch.setattr(corridor, "BROKER_BUDGET_SECONDS", SECONDS)
    monkeypatch.setattr(context7, "PREFETCH_SECONDS", SECONDS)
    monkeypatch.setattr(context7, "REQUEST_SECONDS", SECONDS)
    monkeypatch.setattr(provider_runtime, "LEASE_BUDGET_SECONDS", SECONDS)
    monkeypatch.setattr(provider_runtime, "LEASE_TIMEOUT_SECONDS", SECONDS)


class Bad:
    """A service with one bad manner, and the time that whoever asks it may take."""

    def __init__(self, manner: Manner) -> None:
        self.service = FakeService(lambda asked: manner(self.service, asked))

    def __enter__(self) -> FakeService:
        self.begun = time.monotonic()
        return self.service

    def __exit__(self, *_: object) -> None:
        took = time.monotonic() - self.begun
        self.service.close()
        assert took < SOON
        assert self.service.asked, "nobody was asked"


@pytest.mark.parametrize("what", BAD_PAGES)
def test_corridor_asked_directly(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "endless pages":
        monkeypatch.setattr(corridor, "DIRECT_BUDGET_SECONDS", SOON / 2)
    with Bad(BAD_PAGES[what]) as service:
        lane = corridor_lane(tmp_path, baseUrl=f"{service.url}/api")
        made = corridor.materialize_corridor(lane.paths, lane.wave, lane.bindings, 1, ENV)
    reports_may_be_empty = what in WRONG_JSON and made is not None and made["ok"]
    assert made is not None and not reports_may_be_empty
    assert (made["ok"], made["blocking"], made["matchedFindings"], made["source"]) == (False, True, [], None)
    assert made["error"] and "\n" not in made["error"] and len(made["error"]) <= 500
    assert "corridor-token-1" not in str(made)


@pytest.mark.parametrize("what", BAD_JSON)
def test_corridor_through_a_broker(what: str, tmp_path: Path) -> None:
    with Bad(BAD_JSON[what]) as service:
        lane = corridor_lane(tmp_path, mode="broker", control={"endpoint": service.url})
        made = corridor.materialize_corridor(lane.paths, lane.wave, lane.bindings, 1, ENV)
    assert made is not None
    assert (made["ok"], made["blocking"], made["matchedFindings"], made["source"]) == (False, True, [], None)
    assert made["error"] and TOKEN not in str(made)


def documentation(tmp_path: Path, url: str, mode: str, **library: Any) -> context7.Prefetched:
    block = {"mode": mode, "apiKeyEnvVar": "CONTEXT7_API_KEY", "baseUrl": url}
    settings = context7.Settings(block, {"endpoint": url}, str(tmp_path / "cache"))
    libraries = [{"libraryId": None, "libraryName": None, "queryHint": None, **library}]
    chosen = {"bundleId": "core", "query": "q", "libraries": libraries, "indexHash": "h"}
    return context7.prefetch(chosen, settings, environ=ENV)


@pytest.mark.parametrize("mode", ["direct", "broker"])
@pytest.mark.parametrize("what", MANNERS)
def test_documentation(what: str, mode: str, tmp_path: Path) -> None:
    with Bad(MANNERS[what]) as service:
        made = documentation(tmp_path, service.url, mode, libraryId="/org/lib")
    assert (made.mode, made.prompt_text) == ("error", "")
    assert made.warning and "ctx7-key-12345" not in made.warning and TOKEN not in made.warning
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("what", WRONG_JSON)
def test_documentation_of_a_library_known_by_name(what: str, tmp_path: Path) -> None:
    with Bad(wrong(WRONG_JSON[what])) as service:
        made = documentation(tmp_path, service.url, "direct", libraryName="Lib")
    assert (made.mode, made.prompt_text, bool(made.warning)) == ("error", "", True)


@pytest.mark.parametrize("what", BAD_JSON)
def test_leases(what: str) -> None:
    with Bad(BAD_JSON[what]) as service:
        control = {"endpoint": service.url, "credentialProviders": ["openai"]}
        with pytest.raises(provider_runtime.LeaseError) as caught:
            provider_runtime.lease_credentials(control, ENV)
    assert caught.value.status_code in ("credential-lease-failed", "credential-lease-invalid")
    assert TOKEN not in str(caught.value)


REFUSALS = ("an error that is a tree",)  # 400: the event is at fault, it is given up


@pytest.mark.parametrize("what", MANNERS)
def test_telemetry(what: str, tmp_path: Path) -> None:
    with Bad(MANNERS[what]) as service:
        paths = lane_paths(tmp_path, waveControl={"endpoint": service.url, "requestTimeoutMs": int(SECONDS * 1000)})
        spool = Telemetry(paths, "orch-1", ENV)
        spool.enqueue([RawEvent({"entityType": "fact", "entityId": "f", "action": "recorded"})])
        result = flush(spool, launcher=True)
    if what in REFUSALS:
        assert (result["failed"], result["pending"]) == (1, 0)
    elif what == "a sign-in page":
        assert result["pending"] == 1 and result["error"]
    else:
        assert (result["sent"], result["pending"]) == (0, 1) and result["error"]
        assert spool.read_state()["nextAttemptAt"]


# --- the service of our own, in front of bad providers ---------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlLab, FakeService]]:
    env = {"WAVE_BROKER_OWNED_DEPLOYMENT": "true", "WAVE_BROKER_REQUEST_TIMEOUT_MS": "1000"}
    env["WAVE_BROKER_MAX_RETRIES"] = "0"
    for name, key in (("CORRIDOR", "API_TOKEN"), ("CONTEXT7", "API_KEY")):
        env[f"WAVE_BROKER_ENABLE_{name}"] = "true"
        env[f"WAVE_BROKER_{name}_{key}"] = f"upstream-{name.lower()}-1"
    env["WAVE_BROKER_CORRIDOR_PROJECT_MAP"] = '{"app": {"teamId": "t", "projectId": "p"}}'
    with FakeService(lambda asked: Reply()) as service:
        env["WAVE_BROKER_CORRIDOR_BASE_URL"], env["WAVE_BROKER_CONTEXT7_BASE_URL"] = f"{service.url}/api", service.url
        with ControlLab(tmp_path_factory.mktemp("broker"), **env) as lab:
            yield lab, service


# One that is slow is enough here: each costs the whole second that is the least a broker waits.
QUICK = [what for what in MANNERS if what not in ("hangs", "drips its head")]


def ask_badly(broker: tuple[ControlLab, FakeService], manner: Manner, *question: Any) -> Any:
    lab, service = broker
    service.answer = lambda asked: manner(service, asked)
    begun = time.monotonic()
    got = lab.ask(*question)
    assert time.monotonic() - begun < SOON
    assert "upstream-co" not in str(got.body)
    return got


@pytest.mark.parametrize("what", [*QUICK, *WRONG_JSON, *PAGES])
def test_our_corridor_broker(what: str, broker: tuple[ControlLab, FakeService]) -> None:
    body = {"projectId": "app", "ownedPaths": ["src"]}
    got = ask_badly(broker, BAD_PAGES[what], "/providers/corridor/context", body)
    assert got.status in (502, 503, 504) and got.code.startswith("upstream-"), got


@pytest.mark.parametrize("what", QUICK)
def test_our_context7_broker(what: str, broker: tuple[ControlLab, FakeService]) -> None:
    got = ask_badly(broker, MANNERS[what], "/providers/context7/context?libraryId=/a/b&query=q")
    assert got.status in (502, 503, 504) and got.code.startswith("upstream-"), got
