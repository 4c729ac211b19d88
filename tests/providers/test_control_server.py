"""The owned service as a process: limits, tokens, ingest, queries, brokers, leases, stopping, being killed."""

from __future__ import annotations

import collections
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from control_server_lab import TOKEN, ControlLab, event
from fake_service import Asked, FakeService, Reply, scripted
from waiting import wait_until

SERVICE_TOKENS = json.dumps(
    [
        {"label": "ci", "token": "service-all-0123456789",
         "scopes": ["service:read", "service:user:write", "service:token:write"]},
        {"token": "service-read-0123456789", "scopes": ["service:read"]},
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlLab]:
    env = {"WAVE_CONTROL_SERVICE_TOKENS_JSON": SERVICE_TOKENS, "WAVE_CONTROL_ALLOWED_ORIGINS": "https://ui.example"}
    with ControlLab(tmp_path_factory.mktemp("control"), **env) as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ControlLab]:
    with ControlLab(tmp_path) as running:
        yield running


def send(lab: ControlLab, *events: Any, **more: Any) -> Any:
    got = lab.ask("/ingest/batches", {"events": list(events)}, **more)
    assert got.status == 200, got
    return got.body


# --- HTTP -------------------------------------------------------------------------------------------------------------


def test_health_is_public_and_runs_are_not(lab: ControlLab) -> None:
    got = lab.ask("/health", token=None)
    assert (got.status, got.body["ok"], got.body["service"]) == (200, True, "wave-control")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["x-request-id"]
    for path in ("/runs", "/run", "/benchmarks", "/benchmark", "/analytics/overview", "/artifact"):
        got = lab.ask(path, token=None)
        assert (got.status, got.code, got.headers["www-authenticate"]) == (401, "unauthorized", "Bearer")


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer wrong-token-000000", "x"])
def test_tokens_that_are_none(header: str, lab: ControlLab) -> None:
    assert lab.ask("/runs", token=None, Authorization=header).status == 401


def test_the_scheme_may_have_any_case(lab: ControlLab) -> None:
    assert lab.ask("/runs", token=None, Authorization=f"bEARER {TOKEN}").status == 200


def test_routes_and_methods(lab: ControlLab) -> None:
    assert lab.ask("/nothing").code == "not-found"
    assert lab.ask("/app/session").code == "not-found"
    got = lab.ask("/runs", {}, method="POST")
    assert (got.status, got.code, got.headers["allow"]) == (405, "method-not-allowed", "GET, OPTIONS")
    assert lab.ask("/health/", token=None).status == 200
    assert lab.ask("/artifacts/signed-upload", {}).code == "not-implemented"


def test_cors(lab: ControlLab) -> None:
    got = lab.ask("/runs", token=None, method="OPTIONS", Origin="https://ui.example")
    assert (got.status, got.headers["access-control-allow-origin"]) == (204, "https://ui.example")
    got = lab.ask("/runs", token=None, method="OPTIONS", Origin="https://evil.example")
    assert (got.status, "access-control-allow-origin" in got.headers) == (204, False)


@pytest.mark.parametrize(
    "data",
    [b"{bad", b"", b"\xff", b'{"events": NaN}', b"[" * 100_000, b"1" * 5000],
    ids=["cut", "empty", "no utf-8", "NaN", "deep", "long number"],
)
def test_bodies_that_are_no_json(data: bytes, lab: ControlLab) -> None:
    got = lab.ask("/ingest/batches", data=data, method="POST")
    assert got.status == 400


def raw(lab: ControlLab, data: bytes) -> bytes:
    """What the service answers to exactly these bytes."""
    port = urlsplit(lab.url).port
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        pieces = []
        with contextlib.suppress(OSError):  # the service may have answered and left by now
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


HEAD = f"POST /api/v1/ingest/batches HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"\r\n", b"411"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"411"),
        (HEAD + b"Content-Length: 99999999999999\r\n\r\n", b"413"),
        (b"GET /api/v1/health HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET /api/v1/health HTTP/1.1\r\n" + b"A: b\r\n" * 20_000 + b"\r\n", b"431"),
        (b"BREW /api/v1/health HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", b"404"),
        (b"GET http://other/ HTTP/1.1\r\n\r\n", b"404"),
    ],
    ids=[
        "no length", "chunked", "negative length", "huge length", "long header", "many headers", "unknown method",
        "nonsense", "nul", "absolute url",
    ],
)  # fmt: skip
def test_requests_with_bad_manners(data: bytes, status: bytes, lab: ControlLab) -> None:
    answer = raw(lab, data)
    assert status in answer.split(b"\r\n")[0], answer[:300]
    assert b'"code"' in answer


def test_an_unknown_sender_cannot_make_the_service_read(lab: ControlLab) -> None:
    head = b"POST /api/v1/ingest/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n"
    answer = raw(lab, head + b"x" * 100_000)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Connection: close" in answer


def test_a_connection_serves_many_requests(lab: ControlLab) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(lab.url).port or 0, timeout=10)
    for _ in range(3):
        connection.request("GET", "/api/v1/health")
        assert connection.getresponse().read()
    connection.close()


def test_no_answer_is_an_internal_error(lab: ControlLab) -> None:
    """Odd queries and bodies at every route; a 500 would mean that something was not thought of."""
    odd_queries = ["?wave=-1", "?wave=" + "9" * 30, "?limit=x", "?offset=1e9", "?wave=%00", "?lane=%ff%00&lane=x", "?%"]
    odd_queries += ["?eventId=%00&artifactId=%00", "?runId=" + "x" * 9000]
    odd_queries.append("?" + "&".join(f"a{number}=1" for number in range(300)))
    for path in ("/runs", "/run", "/benchmarks", "/benchmark", "/analytics/overview", "/artifact"):
        for query in odd_queries:
            assert lab.ask(path + query).status < 500, path + query
    bodies: list[Any] = [[], {}, None, 5, "x", {"events": {}}, {"events": [[], 5, {"id": "\ud800"}]}]
    bodies += [{"providers": [5]}, {"providers": {}}, {"credentials": [None]}, {"ownedPaths": [5], "projectId": []}]
    posts = ["/ingest/batches", "/providers/corridor/context", "/runtime/provider-env", "/runtime/credential-env"]
    posts += ["/service/users", "/service/users/%00/state", "/service/users/x/tokens", "/service/tokens/%ff/revoke"]
    for path in posts:
        for body in bodies:
            for token in (TOKEN, "service-all-0123456789"):
                assert lab.ask(path, body, token=token, method="POST").status < 500, (path, body)


# --- ingest -----------------------------------------------------------------------------------------------------------


def test_a_batch_twice_and_a_batch_with_bad_events(fresh: ControlLab) -> None:
    batch = [event(1), event(2)]
    assert send(fresh, *batch) == {"ok": True, "accepted": 2, "duplicates": 0, "received": 2, "rejected": []}
    assert send(fresh, *batch)["duplicates"] == 2
    mixed = send(fresh, None, {**event(3), "id": None}, event(4))
    assert (mixed["accepted"], len(mixed["rejected"]), mixed["received"]) == (1, 2, 3)
    assert [item["index"] for item in mixed["rejected"]] == [0, 1]


@pytest.mark.parametrize(
    "bad",
    [
        {"id": ""}, {"id": "x" * 201}, {"id": 5}, {"id": "\ud800"}, {"schemaVersion": 2}, {"kind": "other"},
        {"entityType": "Bad Type"}, {"recordedAt": "soon"}, {"recordedAt": None}, {"identity": None},
        {"identity": {"wave": -1}}, {"identity": {"wave": 1.5}}, {"identity": {"wave": True}},
        {"identity": {"wave": 10**30}},
    ],
)  # fmt: skip
def test_events_are_judged_one_by_one(bad: dict[str, Any], lab: ControlLab) -> None:
    made = {**event("bad"), **bad}
    answer = send(lab, made, event("good"))
    assert [item["index"] for item in answer["rejected"]] == [0]
    assert answer["accepted"] + answer["duplicates"] == 1


def test_odd_but_acceptable_events(lab: ControlLab) -> None:
    odd = {**event("odd"), "entityType": "new_kind", "data": {"\ud800": "\ud800"}, "tags": ["\ud800", 5, None]}
    odd["identity"] = {"lane": "\ud800", "wave": None, "runKind": None}
    assert send(lab, odd)["rejected"] == []
    assert lab.ask("/runs").status == 200


def test_limits(tmp_path: Path) -> None:
    env = {"WAVE_CONTROL_MAX_BATCH_EVENTS": "3", "WAVE_CONTROL_MAX_INLINE_ARTIFACT_BYTES": "100"}
    with ControlLab(tmp_path, WAVE_CONTROL_MAX_BODY_BYTES="5000", **env) as lab:
        assert lab.ask("/ingest/batches", {"events": [event(n) for n in range(4)]}).code == "batch-too-large"
        big = event(1, artifacts=[{"artifactId": "a"}], artifactUploads=[{"artifactId": "a", "content": "x" * 101}])
        assert lab.ask("/ingest/batches", {"events": [big]}).code == "artifact-too-large"
        assert lab.ask("/ingest/batches", data=b"x" * 6000, method="POST").code == "body-too-large"
        assert lab.ask("/runtime/provider-env", data=b"x" * 2_000_000, method="POST").code == "body-too-large"


def test_bodies_of_artifacts(fresh: ControlLab) -> None:
    declared = event(1, artifacts=[{"artifactId": "a", "kind": "k", "path": "p"}])
    assert send(fresh, declared)["accepted"] == 1
    uploads = [{"artifactId": "a", "content": "<b>", "contentType": "text/html", "encoding": "utf8"}]
    uploads.append({"artifactId": "not-declared", "content": "x"})
    assert send(fresh, {**declared, "artifactUploads": uploads})["duplicates"] == 1
    assert "artifactUploads" not in json.dumps(fresh.ask("/run?wave=1").body)
    got = fresh.ask("/artifact?eventId=e1&artifactId=a").body
    assert (got["metadata"]["kind"], got["inlineContent"], got["downloadUrl"]) == ("k", None, None)
    assert fresh.ask("/artifact?eventId=e1&artifactId=a&inline=1").body["inlineContent"]["content"] == "<b>"
    download = fresh.ask("/artifact?eventId=e1&artifactId=a&download=1")
    assert (download.body, download.headers["content-type"]) == ("<b>", "application/octet-stream")
    assert download.headers["content-disposition"] == "attachment"
    assert fresh.ask("/artifact?eventId=e1&artifactId=not-declared").code == "artifact-not-found"
    assert fresh.ask("/artifact?eventId=e1").code == "invalid-query"


# --- queries ----------------------------------------------------------------------------------------------------------


def test_events_of_one_wave_are_one_run(fresh: ControlLab) -> None:
    send(
        fresh,
        event(1, "wave_run", "started", identity={"orchestratorId": "o1", "runtimeVersion": "py-1"}),
        event(2, "coordination_record"),
        event(3, "agent_run", "started", data={"agentId": "A1"}, tags=["b", "a"]),
        event(4, "attempt", "running", data={"attemptNumber": 1}),
        event(5, "attempt", "failed", data={"attemptNumber": 1}),
        event(6, "gate", "evaluated", data={"gateSnapshot": {"overall": {"gate": "securityGate"}}}),
        event(7, "wave_run", "blocked"),
    )
    got = fresh.ask("/runs")
    assert got.headers["x-total-count"] == "1"
    (row,) = got.body
    assert (row["status"], row["latestGate"], row["attemptCount"]) == ("blocked", "securityGate", 1)
    assert (row["agentIds"], row["tags"], row["coordinationRecordCount"]) == (["A1"], ["a", "b"], 1)
    assert (row["orchestratorId"], row["runtimeVersion"]) == ("o1", "py-1")
    assert len(fresh.ask("/runs?orchestratorId=o1&wave=1").body) == 1
    assert fresh.ask("/runs?orchestratorId=o2").body == []
    detail = fresh.ask("/run?lane=main").body
    assert [item["id"] for item in detail["timeline"]] == [f"e{n}" for n in range(1, 8)]
    assert len(detail["attempts"]) == 2
    assert fresh.ask("/run?lane=other").code == "run-not-found"
    send(fresh, event(9, "wave_run", "completed", identity={"wave": 2}))
    assert fresh.ask("/run?lane=main").body["matchedRuns"] == 2
    assert [row["wave"] for row in fresh.ask("/runs").body] == [2, 1]
    assert [row["wave"] for row in fresh.ask("/runs?limit=1&offset=1").body] == [1]


def benchmark_events() -> list[dict[str, Any]]:
    def one(number: int, run: str, entity: str = "benchmark_run", action: str = "completed", **data: Any) -> Any:
        identity = {"runKind": "benchmark", "benchmarkRunId": run, "wave": None, "lane": None}
        return event(number, entity, action, identity=identity, data=data)

    return [
        one(11, "b1", comparisonReady=True, adapter={"slug": "swe"}, manifest="m", selectedArms=["a"]),
        one(12, "b2", comparisonReady=False),
        one(13, "b3"),
        one(14, "b1", "benchmark_item", "passed"),
        one(15, "b1", "review", "comparison-valid"),
        one(16, "b1", "verification", "passed"),
    ]


def test_overview_and_benchmarks(fresh: ControlLab) -> None:
    adhoc = {"wave": 2, "runKind": "adhoc", "runId": "r1"}
    blocked = {"gateSnapshot": {"overall": {"gate": "clarificationBarrier"}}}
    send(
        fresh,
        event(1, "wave_run", "completed"),
        event(2, "gate", "evaluated", data={"gateSnapshot": {"overall": {"gate": "pass"}}}),
        event(3, "wave_run", "blocked", identity=adhoc),
        event(4, "gate", "evaluated", identity=adhoc, data=blocked),
        *benchmark_events(),
    )
    all_of_it = fresh.ask("/analytics/overview").body
    assert (all_of_it["runCount"], all_of_it["benchmarkRunCount"]) == (2, 3)
    assert all_of_it["runStatusCounts"] == {"blocked": 1, "completed": 1}
    assert all_of_it["gateCounts"] == {"clarificationBarrier": 1, "pass": 1}
    ready = [all_of_it[f"benchmarkComparison{word}Count"] for word in ("Ready", "Pending", "Unknown")]
    assert ready == [1, 1, 1]
    assert all_of_it["reviewValidityCounts"] == {"comparison-valid": 1}
    assert (all_of_it["reviewCount"], all_of_it["verificationCount"]) == (1, 1)
    assert fresh.ask("/benchmarks?runKind=roadmap").body == []
    (row,) = fresh.ask("/benchmarks?benchmarkRunId=b1").body
    assert (row["adapterId"], row["manifestId"], row["comparisonReady"], row["itemCount"]) == ("swe", "m", True, 1)
    assert row["reviewBreakdown"] == {"comparison-valid": 1}
    detail = fresh.ask("/benchmark?benchmarkRunId=b1").body
    assert (len(detail["items"]), len(detail["reviews"]), len(detail["verifications"])) == (1, 1, 1)
    assert fresh.ask("/benchmark?benchmarkRunId=none").code == "benchmark-not-found"


ODD = (None, 5, "x", [], {}, True, 1.5, "\ud83d", "<img src=x>", [None], {"id": [3]})
ENTITIES = ("wave_run", "gate", "attempt", "agent_run", "benchmark_run", "benchmark_item", "review", "artifact", "odd")


def test_odd_events_break_no_query(fresh: ControlLab) -> None:
    """Whoever may report must not be able to take the overview away from everybody else."""
    names = ("attemptNumber", "agentId", "comparisonReady", "adapter", "manifest", "summary", "selectedArms")
    for number, odd in enumerate(ODD):
        gate = {"gateSnapshot": {"overall": odd if number % 2 else {"gate": odd, "statusCode": odd}}}
        data = {**dict.fromkeys(names, odd), **gate} if number % 3 else odd
        identity = {"runKind": "roadmap", "lane": "l", "wave": number, "runId": odd, "agentId": odd, "attempt": odd}
        rest = {"action": odd, "data": data, "tags": [odd], "artifacts": [{"artifactId": "a", "kind": odd}, odd]}
        sent = [
            {"id": f"{number}-{entity}", "entityType": entity, "recordedAt": "2026-01-02T03:04:05Z", **rest,
             "identity": {**identity, "benchmarkRunId": "b" if entity.startswith("b") else odd}}
            for entity in ENTITIES
        ]  # fmt: skip
        assert fresh.ask("/ingest/batches", {"events": sent}).body["accepted"] == len(ENTITIES)
    assert len(fresh.ask("/runs").body) >= len(ODD)
    for number in range(len(ODD)):
        assert fresh.ask(f"/run?wave={number}").status == 200
        assert fresh.ask(f"/artifact?eventId={number}-gate&artifactId=a").status == 200
    for path in ("/benchmarks", "/benchmark?benchmarkRunId=b", "/analytics/overview"):
        assert fresh.ask(path).status == 200


def test_reads_may_be_public(tmp_path: Path) -> None:
    with ControlLab(tmp_path, WAVE_CONTROL_REQUIRE_AUTH_FOR_READS="false") as lab:
        assert lab.ask("/runs", token=None).status == 200
        assert lab.ask("/runs", token="wrong-token-0000000").status == 401
        assert lab.ask("/ingest/batches", {"events": []}, token=None).status == 401


# --- users and tokens -------------------------------------------------------------------------------------------------


def test_personal_tokens(fresh: ControlLab) -> None:
    token, user = fresh.pat("Ann@Example.com", "--scope", "ingest:write")
    assert token.startswith("wave_pat_")
    assert send(fresh, event(1), token=token)["accepted"] == 1
    assert fresh.ask("/runtime/credential-env", {}, token=token).code == "insufficient-scope"
    assert token not in fresh.db.read_bytes().decode("latin-1")
    fresh.admin("user", "set", "--id", user, "--state", "revoked")
    assert fresh.ask("/runs", token=token).code == "owner-not-approved"
    fresh.admin("user", "set", "--id", user, "--state", "approved")
    record = fresh.admin("token", "list", "--user", user)[0]
    assert record["lastUsedAt"]
    fresh.admin("token", "revoke", "--id", record["id"])
    assert fresh.ask("/runs", token=token).code == "unauthorized"
    assert fresh.admin("user", "list")[0]["email"] == "ann@example.com"
    assert token not in fresh.log()


def test_service_routes(lab: ControlLab) -> None:
    whole, reader = "service-all-0123456789", "service-read-0123456789"
    assert lab.ask("/service/session").code == "service-token-required"
    assert lab.ask("/service/session", token=whole).body["serviceToken"]["label"] == "ci"
    assert lab.ask("/service/users", {"email": "b@x.org"}, token=reader).code == "insufficient-scope"
    made = lab.ask("/service/users", {"email": "b@x.org", "role": "superuser"}, token=whole)
    assert made.status == 201
    for odd in ({}, "", [], 0, False):
        assert lab.ask("/service/users", {"email": "c@x.org", "accessState": odd}, token=whole).code == "invalid-body"
    user = made.body["user"]
    assert user["providerGrants"] == ["anthropic", "context7", "corridor", "openai"]
    assert lab.ask("/service/users", {"email": "B@x.org", "displayName": "B"}, token=whole).status == 200
    place = f"/service/users/{user['id']}"
    assert lab.ask(f"{place}/role", {"role": "member"}, token=whole).body["user"]["providerGrants"] == []
    granted = lab.ask(f"{place}/providers", {"providerGrants": ["corridor"]}, token=whole).body["user"]
    assert granted["providerGrants"] == ["corridor"]
    for bad in ({"role": "king"}, {}, {"role": None}):
        assert lab.ask(f"{place}/role", bad, token=whole).code == "invalid-body"
    assert lab.ask(f"{place}/providers", {"providerGrants": ["nope"]}, token=whole).status == 400
    assert lab.ask(f"{place}/tokens", {"scopes": ["nope"]}, token=whole).status == 400
    created = lab.ask(f"{place}/tokens", {"label": "l"}, token=whole)
    assert created.status == 201
    pat = created.body["token"]
    assert lab.ask("/runs", token=pat).status == 200
    revoked = lab.ask(f"/service/tokens/{created.body['record']['id']}/revoke", {}, token=whole)
    assert revoked.body["record"]["revokedAt"]
    assert lab.ask("/runs", token=pat).status == 401
    lab.ask(f"{place}/state", {"accessState": "rejected"}, token=whole)
    assert lab.ask(f"{place}/tokens", {}, token=whole).code == "owner-not-approved"
    assert lab.ask("/service/users/none/tokens", {}, token=whole).code == "user-not-found"
    assert {row["id"] for row in lab.ask("/service/users", token=reader).body["providerCatalog"]} == {
        "anthropic", "context7", "corridor", "openai",
    }  # fmt: skip


# --- brokers ----------------------------------------------------------------------------------------------------------

PROJECTS = json.dumps({"app": {"teamId": "t1", "projectId": "c1"}})
FINDINGS = [
    {"id": "f1", "affectedFile": "src/auth/t.ts", "severity": "critical", "state": "open", "secret": "raw"},
    {"id": "f2", "affectedFile": "docs/s.md", "severity": "critical", "state": "open"},
]


def broker_env(url: str, **more: str) -> dict[str, str]:
    return {
        "WAVE_BROKER_OWNED_DEPLOYMENT": "true", "WAVE_BROKER_ENABLE_CORRIDOR": "yes",
        "WAVE_BROKER_ENABLE_CONTEXT7": "1",
        "WAVE_BROKER_CORRIDOR_API_TOKEN": "upstream-corridor-1", "WAVE_BROKER_CONTEXT7_API_KEY": "upstream-context7-1",
        "WAVE_BROKER_CORRIDOR_PROJECT_MAP": PROJECTS, "WAVE_BROKER_CORRIDOR_BASE_URL": f"{url}/api",
        "WAVE_BROKER_CONTEXT7_BASE_URL": f"{url}/c7", "WAVE_BROKER_ENABLE_OPENAI": "on",
        "WAVE_BROKER_OPENAI_API_KEY": "upstream-openai-key", "WAVE_BROKER_REQUEST_TIMEOUT_MS": "1000", **more,
    }  # fmt: skip


def upstream(findings: Any) -> FakeService:
    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/reports"):
            return Reply(body=[])
        made = findings(asked) if callable(findings) else findings
        return made if isinstance(made, Reply) else Reply(body=made)

    return FakeService(answer)


BODY = {"projectId": "app", "wave": 7, "ownedPaths": ["src/auth", ".tmp/x"], "severityThreshold": "critical"}


def test_corridor_through_the_broker(tmp_path: Path) -> None:
    with upstream(FINDINGS) as provider, ControlLab(tmp_path, **broker_env(provider.url)) as lab:
        for states in (None, []):
            asking = BODY if states is None else {**BODY, "findingStates": states}
            got = lab.ask("/providers/corridor/context", asking)
            assert got.status == 200
            assert (got.body["ok"], got.body["blocking"], got.body["wave"]) == (True, True, 7)
            assert got.body["relevantOwnedPaths"] == ["src/auth"]
            (found,) = got.body["matchedFindings"]
            assert (found["id"], "secret" in found) == ("f1", False)
        asked = [one for one in provider.asked if one.path.endswith("/findings")]
        assert [one.query for one in asked] == [{}, {}]
        lab.ask("/providers/corridor/context", {**BODY, "findingStates": ["Open", "potential", "open"]})
        states_asked = [one.query.get("state") for one in provider.asked if one.path.endswith("/findings")][2:]
        assert states_asked == ["open", "potential"]
        assert {one.headers["authorization"] for one in provider.asked} == {"Bearer upstream-corridor-1"}
        before = len(provider.asked)
        assert lab.ask("/providers/corridor/context", {**BODY, "ownedPaths": ["docs/x"]}).body["blocking"] is False
        assert len(provider.asked) == before
        for bad in ({"ownedPaths": "src"}, {"ownedPaths": []}, {"severityThreshold": "huge"}, {"findingStates": 5}):
            assert lab.ask("/providers/corridor/context", {**BODY, **bad}).code == "invalid-body"
        assert lab.ask("/providers/corridor/context", {**BODY, "projectId": "other"}).code == "project-not-mapped"
        assert "upstream-corridor-1" not in lab.log()


@pytest.mark.parametrize(
    ("answer", "status", "calls"),
    [
        (Reply(401, {"error": "bad upstream-corridor-1"}), 502, 1),
        (Reply(503, {}), 503, 4),
        (Reply(429, {}, {"Retry-After": "99"}), 503, 1),
        (Reply(body={"results": []}), 502, 1),
        (Reply(body={"items": [], "nextPageUrl": "https://evil.example/x"}), 502, 1),
        (Reply(302, {}, {"Location": "/x"}), 502, 1),
        (FakeService.says(b""), 502, 4),
    ],
)
def test_upstream_failures(answer: Reply, status: int, calls: int, tmp_path: Path) -> None:
    with upstream(answer) as provider:
        env = broker_env(provider.url, WAVE_BROKER_MAX_RETRIES="3")
        with ControlLab(tmp_path, **env) as lab:
            got = lab.ask("/providers/corridor/context", BODY)
    assert got.status == status, got
    assert len([one for one in provider.asked if one.path.endswith("/findings")]) == calls
    assert "upstream-corridor-1" not in json.dumps(got.body)


def test_an_upstream_that_recovers_or_hangs(tmp_path: Path) -> None:
    service = FakeService(lambda asked: service.hang() if asked.path.endswith("/findings") else Reply(body=[]))
    with service, ControlLab(tmp_path, **broker_env(service.url, WAVE_BROKER_MAX_RETRIES="0")) as lab:
        assert lab.ask("/providers/corridor/context", BODY).code == "upstream-timeout"
        service.answer = scripted(Reply(body=[]), Reply(body=[]))
        assert lab.ask("/providers/corridor/context", BODY).status == 200


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    with upstream(Reply(body=[])) as provider, ControlLab(tmp_path, **broker_env(provider.url)) as lab:
        for field in ("ownedPaths", "findingStates"):
            body = {**BODY, field: ["src/\ud83d"]}
            assert lab.ask("/providers/corridor/context", body).code == "invalid-body"


def test_the_page_limit_is_an_error(tmp_path: Path) -> None:
    endless = upstream(lambda asked: {"items": [], "nextCursor": str(int(asked.query.get("cursor", 0)) + 1)})
    with endless as provider, ControlLab(tmp_path, **broker_env(provider.url, WAVE_BROKER_MAX_PAGES="3")) as lab:
        assert lab.ask("/providers/corridor/context", BODY).code == "upstream-page-limit"


def test_context7_through_the_broker_and_grants(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(body=[{"id": "/x"}]) if asked.path.endswith("/search") else Reply(body=b"docs")

    with FakeService(answer) as provider, ControlLab(tmp_path, **broker_env(provider.url)) as lab:
        got = lab.ask("/providers/context7/search?libraryName=x&query=q&other=1")
        assert got.body == [{"id": "/x"}]
        assert provider.asked[0].query == {"libraryName": "x", "query": "q"}
        got = lab.ask("/providers/context7/context?libraryId=/x&type=txt")
        assert (got.body, got.headers["content-type"]) == ("docs", "text/plain; charset=utf-8")
        provider.answer = lambda asked: Reply(202, b"later")
        assert lab.ask("/providers/context7/context?libraryId=/x").code == "upstream-unavailable"
        bare, _ = lab.pat("a@x.org", "--scope", "broker:read")
        granted, _ = lab.pat("b@x.org", "--scope", "broker:read", grants=("context7",))
        assert lab.ask("/providers/context7/search", token=bare).code == "provider-grant-missing"
        provider.answer = answer
        assert lab.ask("/providers/context7/search", token=granted).status == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"WAVE_BROKER_OWNED_DEPLOYMENT": "false"}, "broker-not-owned"),
        ({"WAVE_BROKER_ENABLE_CORRIDOR": "false"}, "broker-not-configured"),
        ({"WAVE_BROKER_CORRIDOR_API_TOKEN": ""}, "broker-not-configured"),
    ],
)
def test_switches(changes: dict[str, str], code: str, tmp_path: Path) -> None:
    with upstream([]) as provider, ControlLab(tmp_path, **{**broker_env(provider.url), **changes}) as lab:
        assert lab.ask("/providers/corridor/context", BODY).code == code
    assert provider.asked == []


# --- leases -----------------------------------------------------------------------------------------------------------


def test_provider_keys(tmp_path: Path) -> None:
    with ControlLab(tmp_path, **broker_env("http://127.0.0.1:9")) as lab:
        got = lab.ask("/runtime/provider-env", {"providers": ["openai", "openai"]})
        assert got.body == {"ok": True, "providers": ["openai"], "env": {"OPENAI_API_KEY": "upstream-openai-key"}}
        for providers, code in (
            (["context7"], "provider-broker-only"), (["nope"], "provider-unknown"), ([], "invalid-body"),
            (["openai", "anthropic"], "provider-disabled"),
        ):  # fmt: skip
            assert lab.ask("/runtime/provider-env", {"providers": providers}).code == code
        bare, _ = lab.pat("a@x.org")
        assert lab.ask("/runtime/provider-env", {"providers": ["openai"]}, token=bare).code == "provider-grant-missing"
        with sqlite3.connect(lab.db) as db:
            leased = db.execute("SELECT payload FROM audit WHERE event_type = 'provider-env-leased'").fetchall()
        assert leased == [('{"providers": ["openai"]}',)]
        assert "upstream-openai-key" not in lab.log()
        assert "upstream-openai-key" not in lab.db.read_bytes().decode("latin-1")


def test_mounted_credentials(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir(mode=0o700)
    env = {"WAVE_CONTROL_CREDENTIALS_DIR": str(folder), "WAVE_CONTROL_SERVICE_TOKENS_JSON": SERVICE_TOKENS}
    asked = {"credentials": [{"id": "github_pat", "envVar": "GITHUB_TOKEN"}]}
    with ControlLab(tmp_path, **env) as lab:
        token, user = lab.pat("a@x.org")
        other, _ = lab.pat("b@x.org")
        (folder / user).mkdir()
        secret = folder / user / "github_pat"
        secret.write_text("s3cret-value\n")
        assert lab.ask("/runtime/credential-env", asked, token=token).body["env"] == {"GITHUB_TOKEN": "s3cret-value"}
        secret.write_text("rotated-value")
        assert lab.ask("/runtime/credential-env", asked, token=token).body["env"] == {"GITHUB_TOKEN": "rotated-value"}
        assert lab.ask("/runtime/credential-env", asked, token=other).code == "credential-not-found"
        assert lab.ask("/runtime/credential-env", asked).code == "owner-required"
        assert lab.ask("/runtime/credential-env", asked, token="service-all-0123456789").code == "insufficient-scope"
        os.symlink("/etc/hostname", folder / user / "out")
        for name in ("out", "none"):
            row = {"credentials": [{"id": name, "envVar": "X"}]}
            assert lab.ask("/runtime/credential-env", row, token=token).code == "credential-not-found"
        for name in ("../x", "A", "", "a/b"):
            row = {"credentials": [{"id": name, "envVar": "X"}]}
            assert lab.ask("/runtime/credential-env", row, token=token).code == "invalid-body"
        twice = {"credentials": [*asked["credentials"], *asked["credentials"]]}
        assert lab.ask("/runtime/credential-env", twice, token=token).code == "invalid-body"
        listed = lab.ask(f"/service/users/{user}/credentials", token="service-all-0123456789").body["items"]
        assert ("github_pat", True) in [(row["credentialId"], bool(row["updatedAt"])) for row in listed]
        assert "rotated" not in json.dumps(listed) + json.dumps(lab.admin("credential", "list")) + lab.log()


def test_without_mounted_credentials(fresh: ControlLab) -> None:
    token, _ = fresh.pat("a@x.org")
    got = fresh.ask("/runtime/credential-env", {"credentials": [{"id": "a", "envVar": "A"}]}, token=token)
    assert (got.status, got.code) == (500, "credential-store-unavailable")


# --- starting, stopping, being killed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env",
    [
        {"WAVE_BROKER_CORRIDOR_PROJECT_MAP": "{bad"},
        {"WAVE_BROKER_CORRIDOR_PROJECT_MAP": '{"app": {}}'},
        {"WAVE_CONTROL_SERVICE_TOKENS_JSON": "{}"},
        {"WAVE_CONTROL_SERVICE_TOKENS_JSON": '[{"label": "x"}]'},
        {"WAVE_CONTROL_SERVICE_TOKENS_JSON": '[{"token": "a"}, {"token": "a"}]'},
        {"WAVE_CONTROL_SERVICE_TOKENS_JSON": '[{"token": "a", "scopes": ["all"]}]'},
        {"WAVE_CONTROL_SERVICE_TOKENS_JSON": json.dumps([{"token": TOKEN}])},
        {"WAVE_BROKER_OWNED_DEPLOYMENT": "maybe"},
        {"WAVE_CONTROL_MAX_BATCH_EVENTS": "many"},
        {"WAVE_CONTROL_STACK_ENABLED": "true"},
        {"WAVE_CONTROL_CREDENTIALS_DIR": "/proc"},
        {"WAVE_CONTROL_CREDENTIALS_DIR": "/nonexistent"},
        {"PORT": "70000"},
    ],
)
def test_a_wrong_configuration_is_refused(env: dict[str, str], tmp_path: Path) -> None:
    lab = ControlLab(tmp_path, **env)
    child = lab.command()
    out, _ = child.communicate(timeout=20)
    assert (child.returncode, out) == (2, "")
    assert len(lab.log().splitlines()) == 1
    assert next(iter(env)).partition("=")[0] in lab.log()


def test_a_readable_credentials_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o750)
    lab = ControlLab(tmp_path, WAVE_CONTROL_CREDENTIALS_DIR=str(tmp_path / "open"))
    child = lab.command()
    child.communicate(timeout=20)
    assert child.returncode == 2


def test_a_taken_port_and_a_newer_database(fresh: ControlLab, tmp_path: Path) -> None:
    child = fresh.command("--port", str(urlsplit(fresh.url).port), "--db", str(tmp_path / "other.sqlite3"))
    child.communicate(timeout=20)
    assert child.returncode == 1
    with sqlite3.connect(tmp_path / "newer.sqlite3") as db:
        db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        db.execute("INSERT INTO meta VALUES ('schemaVersion', '99')")
    child = fresh.command("--port", "0", "--db", str(tmp_path / "newer.sqlite3"))
    child.communicate(timeout=20)
    assert child.returncode == 2


def test_warnings_and_private_files(tmp_path: Path) -> None:
    env = {"WAVE_API_TOKENS": "short", "DATABASE_URL": "postgres://x", "WAVE_BROKER_ENABLE_OPENAI": "true"}
    with ControlLab(tmp_path, **env) as lab:
        for word in ("DATABASE_URL", "fewer than 16", "WAVE_BROKER_OPENAI_API_KEY"):
            assert word in lab.log()
        assert os.stat(lab.db).st_mode & 0o077 == 0


def test_env_local_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("WAVE_API_TOKEN=developer-token-1\n")
    with ControlLab(tmp_path) as lab:
        assert lab.ask("/runs", token="developer-token-1").status == 401


def test_a_stop_ends_what_runs_and_exits_0(fresh: ControlLab) -> None:
    assert fresh.child is not None
    data = json.dumps({"events": [event(1)]}).encode()
    with socket.create_connection(("127.0.0.1", urlsplit(fresh.url).port or 0), timeout=20) as connection:
        connection.sendall(HEAD + f"Expect: 100-continue\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:10])
        assert b" 100 " in connection.recv(1000)  # the service reads this body now
        os.kill(fresh.child.pid, signal.SIGTERM)
        connection.sendall(data[10:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert fresh.child.wait(20) == 0
    with sqlite3.connect(fresh.db) as db:
        assert db.execute("SELECT id FROM events").fetchall() == [("e1",)]


def test_no_acknowledged_event_is_lost_to_a_kill(tmp_path: Path) -> None:
    lab = ControlLab(tmp_path)
    acknowledged: set[str] = set()
    stop = threading.Event()

    def write(name: str) -> None:
        for number in itertools.count():
            batch = [event(f"{name}.{number}-{item}") for item in range(5)]
            try:
                answer = lab.ask("/ingest/batches", {"events": batch})
            except (OSError, http.client.HTTPException):
                return
            if stop.is_set():
                return
            assert answer.status == 200
            acknowledged.update(one["id"] for one in batch)

    with lab:
        for turn in range(3):
            stop.clear()
            writers = [threading.Thread(target=write, args=(f"{turn}.{name}",)) for name in range(3)]
            for writer in writers:
                writer.start()
            wanted = len(acknowledged) + 60
            wait_until(lambda wanted=wanted: len(acknowledged) >= wanted, what="acknowledged events")
            assert lab.child is not None
            os.kill(lab.child.pid, signal.SIGKILL)
            lab.child.wait()
            stop.set()
            for writer in writers:
                writer.join(20)
            lab.start()
        with sqlite3.connect(lab.db) as db:
            stored = {row[0] for row in db.execute("SELECT id FROM events")}
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert acknowledged <= stored
    batches = collections.Counter(name.rsplit("-", 1)[0] for name in stored)
    assert set(batches.values()) == {5}  # also of what nobody was told about: a batch is in it whole or not at all


def test_old_events_go(tmp_path: Path) -> None:
    with ControlLab(tmp_path) as lab:
        send(lab, event(1), event(2))
    with sqlite3.connect(lab.db) as db:
        db.execute("UPDATE events SET received_at = '2020-01-01T00:00:00.000Z' WHERE id = 'e1'")
    lab.env["WAVE_CONTROL_RETENTION_DAYS"] = "30"
    with lab:
        assert [one["id"] for one in lab.ask("/run?wave=1").body["timeline"]] == ["e2"]


def test_the_description_names_every_route(lab: ControlLab) -> None:
    document = lab.ask("/openapi.json", token=None).body
    assert document["openapi"].startswith("3.")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["responses"]
            real = path.replace("{id}", "x").removeprefix("/api/v1")
            assert lab.ask(real, {} if method == "post" else None, token=None, method=method.upper()).status != 404
            for name in [part[1:-1] for part in path.split("/") if part.startswith("{")]:
                assert name in [item["name"] for item in operation["parameters"]]
