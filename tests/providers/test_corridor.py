"""Loading Corridor's evidence: direct, brokered and hybrid, from servers that behave badly in every way."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from fake_service import Asked, FakeService, Reply
from providers_lab import ProviderLane, agent, corridor_lane

from wave_lib.providers import corridor

TOKENS = {"CORRIDOR_API_TOKEN": "corridor-token-1", "WAVE_API_TOKEN": "wave-token-123"}
CRITICAL = {"id": "f1", "title": "Hole", "affectedFile": "src/auth/t.py", "severity": "critical", "state": "open"}


def corridor_service(findings: Any) -> FakeService:
    """Reports are empty; `findings` is the body of every findings page, or makes the reply."""

    def answer(asked: Asked) -> Reply:
        if asked.path.endswith("/reports"):
            return Reply(body={"reports": [{"id": "g"}]})
        made = findings(asked) if callable(findings) else findings
        return made if isinstance(made, Reply) else Reply(body=made)

    return FakeService(answer)


def load(lane: ProviderLane, environ: dict[str, str] | None = None, attempt: int = 1) -> dict[str, Any]:
    made = corridor.materialize_corridor(
        lane.paths, lane.wave, lane.bindings, attempt, TOKENS if environ is None else environ
    )
    assert made is not None
    assert made == json.loads(Path(lane.paths.corridor_artifact(0)).read_text())
    return made


def direct(tmp_path: Path, findings: Any, **config: Any) -> tuple[dict[str, Any], list[Asked]]:
    with corridor_service(findings) as service:
        made = load(corridor_lane(tmp_path, baseUrl=f"{service.url}/api", **config))
    return made, service.asked


def test_a_blocking_finding(tmp_path: Path) -> None:
    made, asked = direct(tmp_path, [CRITICAL, {**CRITICAL, "id": "f2", "affectedFile": "docs/x.py"}])
    assert made["ok"] is True
    assert made["blocking"] is True
    assert [item["id"] for item in made["matchedFindings"]] == ["f1"]
    assert (made["source"], made["providerMode"], made["configuredMode"]) == ("corridor-api", "direct", "direct")
    assert made["guardrails"] == [{"id": "g"}]
    assert made["relevantOwnedPaths"] == ["src/auth"]
    assert {one.headers["authorization"] for one in asked} == {"Bearer corridor-token-1"}
    assert [one.path for one in asked] == ["/api/projects/p/reports", "/api/projects/p/findings"]
    assert "state" not in asked[1].query


def test_one_request_a_state_and_each_finding_once(tmp_path: Path) -> None:
    made, asked = direct(tmp_path, [CRITICAL], findingStates=["Open ", "potential"])
    assert [one.query["state"] for one in asked[1:]] == ["open", "potential"]
    assert len(made["matchedFindings"]) == 1


def test_the_project_id_is_one_segment(tmp_path: Path) -> None:
    with corridor_service([]) as service:
        load(corridor_lane(tmp_path, baseUrl=service.url, projectId="a/../b"))
    assert all("%2F" in one.path and "/../" not in one.path for one in service.asked)


def test_every_page_is_read(tmp_path: Path) -> None:
    def page(asked: Asked) -> Any:
        number = int(asked.query.get("page", 1))
        return {"items": [CRITICAL] if number == 11 else [], "page": number, "totalPages": 11}

    made, asked = direct(tmp_path, page)
    assert made["blocking"] is True
    assert len(asked) == 12


def test_cursors_and_next_urls_are_followed(tmp_path: Path) -> None:
    def page(asked: Asked) -> Any:
        if not asked.query:
            return {"findings": [], "nextCursor": "c 2"}
        if asked.query == {"cursor": "c 2"}:
            return {"data": [], "nextPageUrl": "/api/projects/p/findings?cursor=3"}
        return [CRITICAL]

    made, asked = direct(tmp_path, page)
    assert made["blocking"] is True
    assert len(asked) == 4


BAD_LISTINGS: dict[str, Any] = {
    "no list": {"results": []},
    "an element that is no object": [CRITICAL, "text"],
    "a number": 5,
    "null": None,
    "more without a way": {"items": [], "hasMore": True},
    "the same page again": {"items": [], "nextPageUrl": "/api/projects/p/findings"},
    "another path": {"items": [], "nextPageUrl": "/elsewhere"},
    "up and away": {"items": [], "nextPageUrl": "/api/../secret"},
    "a next page that is no text": {"items": [], "nextPageUrl": 7},
    "a cursor that is no text": {"items": [], "nextCursor": {"a": 1}},
    "an endless cursor": lambda asked: {"items": [], "nextCursor": str(int(asked.query.get("cursor", 0)) + 1)},
    "too many findings": lambda asked: {
        "items": [{"id": number} for number in range(2000)],
        "nextCursor": str(int(asked.query.get("cursor", 0)) + 1),
    },
    "not json": Reply(body=b"<html>"),
    "unauthorised": Reply(401, {"error": "no"}),
    "forbidden": Reply(403, {}),
    "a redirect": Reply(302, {}, {"Location": "/api/projects/p/findings?x=1"}),
    "a limit without end": Reply(429, {}, {"Retry-After": "86400"}),
    "a huge body": Reply(body=b"[" + b" " * 6_000_000 + b"]"),
    "a cut body": Reply(body=b"[", headers={"Content-Length": "1000"}),
}


@pytest.mark.parametrize("what", BAD_LISTINGS)
def test_a_listing_that_is_not_whole_fails(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corridor, "DIRECT_BUDGET_SECONDS", 8.0)
    made, _ = direct(tmp_path, BAD_LISTINGS[what])
    assert made["ok"] is False
    assert made["blocking"] is True
    assert made["error"]
    assert made["source"] is None
    assert made["matchedFindings"] == made["blockingFindings"] == []


def test_a_slow_service_ends_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corridor, "DIRECT_BUDGET_SECONDS", 0.5)
    service = FakeService(lambda asked: service.drip())
    with service:
        made = load(corridor_lane(tmp_path, baseUrl=service.url))
    assert made["ok"] is False
    assert made["blocking"] is True


def test_a_next_page_elsewhere_is_never_asked(tmp_path: Path) -> None:
    with FakeService(lambda asked: Reply(body=[])) as evil:
        made, _ = direct(tmp_path, {"items": [], "nextPageUrl": f"{evil.url}/api/projects/p/findings"})
    assert evil.asked == []
    assert made["ok"] is False


def test_reports_that_fail_fail_the_load(tmp_path: Path) -> None:
    with FakeService(lambda asked: Reply(404, {"error": "gone"})) as service:
        made = load(corridor_lane(tmp_path, baseUrl=service.url))
    assert made["error"] == "Corridor request failed (404): gone"


def test_a_failure_blocks_only_where_corridor_is_required(tmp_path: Path) -> None:
    made, _ = direct(tmp_path, Reply(401, {}), requiredAtClosure=False)
    assert (made["ok"], made["blocking"], made["requiredAtClosure"]) == (False, False, False)


def test_without_a_token_both_variables_are_named(tmp_path: Path) -> None:
    made = load(corridor_lane(tmp_path), {})
    assert made["blocking"] is True
    assert "CORRIDOR_API_TOKEN" in made["error"]
    assert "CORRIDOR_API_KEY" in made["error"]


def test_the_fallback_variable(tmp_path: Path) -> None:
    with corridor_service([]) as service:
        load(corridor_lane(tmp_path, baseUrl=service.url), {"CORRIDOR_API_KEY": "other-token-1"})
    assert service.asked[0].headers["authorization"] == "Bearer other-token-1"


def test_a_token_that_would_break_the_header_is_refused_unseen(tmp_path: Path) -> None:
    with corridor_service([]) as service:
        made = load(
            corridor_lane(tmp_path, baseUrl=service.url), {"CORRIDOR_API_TOKEN": "abc\r\nX-Evil: 1"}
        )
    assert made["ok"] is False
    assert "Evil" not in made["error"]
    assert service.asked == []


def test_a_wave_of_documents_asks_nobody(tmp_path: Path) -> None:
    with corridor_service([CRITICAL]) as service:
        made = load(corridor_lane(tmp_path, agent("A1", "docs/x.py"), baseUrl=service.url))
    assert service.asked == []
    assert (made["ok"], made["blocking"], made["error"]) == (True, False, None)
    assert made["detail"]


def test_disabled_means_nothing(tmp_path: Path) -> None:
    lane = corridor_lane(tmp_path, enabled=False)
    path = Path(lane.paths.corridor_artifact(0))
    assert corridor.materialize_corridor(lane.paths, lane.wave, lane.bindings, 1, TOKENS) is None
    assert not path.exists()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"ok": True, "blocking": True}))
    assert corridor.read_artifact(lane.paths, lane.wave, lane.bindings) is None


def test_one_fetch_an_attempt_also_for_many_at_once(tmp_path: Path) -> None:
    with corridor_service([CRITICAL]) as service:
        lane = corridor_lane(tmp_path, baseUrl=service.url)
        threads = [threading.Thread(target=load, args=(lane,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(service.asked) == 2
        load(lane, attempt=2)
        assert len(service.asked) == 4


def test_evidence_of_an_earlier_wave_file_is_not_believed(tmp_path: Path) -> None:
    with corridor_service([]) as service:
        lane = corridor_lane(tmp_path, baseUrl=service.url)
        load(lane)
        assert corridor.read_artifact(lane.paths, lane.wave, lane.bindings) is not None
        grown = lane.wave._replace(agents=(agent("A1", "src/auth", "src/new"),))
        assert corridor.read_artifact(lane.paths, grown, lane.bindings) is None
        Path(lane.paths.corridor_artifact(0)).write_text("{torn")
        assert corridor.read_artifact(lane.paths, lane.wave, lane.bindings) is None


def test_the_artifact_holds_no_token_and_is_private(tmp_path: Path) -> None:
    said = {"error": "bad token corridor-token-1"}
    made, _ = direct(tmp_path, Reply(401, said))
    path = next(tmp_path.glob(".tmp/**/wave-0-corridor.json"))
    assert "corridor-token-1" not in path.read_text()
    assert "[redacted]" in made["error"]
    assert os.stat(path).st_mode & 0o077 == 0


# --- broker and hybrid ------------------------------------------------------------------------------------------------


def brokered(tmp_path: Path, answer: Reply, mode: str = "broker", **config: Any) -> tuple[dict[str, Any], list[Asked]]:
    with FakeService(lambda asked: answer) as service:
        lane = corridor_lane(tmp_path, mode=mode, control={"endpoint": service.url}, **config)
        return load(lane), service.asked


def good(**changes: Any) -> Reply:
    return Reply(body={"ok": True, "matchedFindings": [], "blocking": False, **changes})


def test_a_broker_is_asked_with_what_it_needs(tmp_path: Path) -> None:
    made, asked = brokered(tmp_path, good())
    assert (made["ok"], made["source"], made["providerMode"]) == (True, "wave-control-broker", "broker")
    assert asked[0].path == "/api/v1/providers/corridor/context"
    assert asked[0].headers["authorization"] == "Bearer wave-token-123"
    assert asked[0].body == {
        "projectId": "default",
        "wave": 0,
        "ownedPaths": ["src/auth"],
        "severityThreshold": "critical",
        "findingStates": [],
    }


@pytest.mark.parametrize(
    "answer",
    [
        Reply(body={}),
        Reply(body={"ok": False, "error": "x"}),
        Reply(body={"ok": 1, "matchedFindings": []}),
        Reply(body={"ok": True, "matchedFindings": "none"}),
        Reply(body={"ok": True, "matchedFindings": ["text"]}),
        Reply(body=[]),
        Reply(body=b"<html>"),
        Reply(403, {"error": "broker-not-owned"}),
    ],
)
def test_a_malformed_broker_answer_fails(answer: Reply, tmp_path: Path) -> None:
    made, _ = brokered(tmp_path, answer)
    assert (made["ok"], made["blocking"]) == (False, True)
    assert made["error"]


def test_our_threshold_decides_and_the_brokers_block_stands(tmp_path: Path) -> None:
    row = {"id": "f", "affectedFile": "src/auth/x.py", "severity": "high", "matchedOwnedPaths": ["src/auth"]}
    made, _ = brokered(tmp_path / "a", good(matchedFindings=[row]), severityThreshold="high")
    assert made["blocking"] is True
    made, _ = brokered(tmp_path / "b", good(blocking=True))
    assert (made["blocking"], made["blockingFindings"]) == (True, [])


@pytest.mark.parametrize("endpoint", [None, "https://wave-control.up.railway.app/api/v1", "HTTP://Wave-Control.UP.railway.app"])
def test_only_an_owned_service_brokers(endpoint: str | None, tmp_path: Path) -> None:
    made = load(corridor_lane(tmp_path, mode="broker", control={"endpoint": endpoint} if endpoint else {}))
    assert made["ok"] is False
    assert "owned waveControl.endpoint" in made["error"]


def test_hybrid_goes_on_directly(tmp_path: Path) -> None:
    with corridor_service([CRITICAL]) as provider:
        made, _ = brokered(tmp_path, Reply(403, {"error": "no broker"}), "hybrid", baseUrl=provider.url)
    assert (made["ok"], made["blocking"]) == (True, True)
    assert (made["providerMode"], made["source"]) == ("direct", "corridor-api")
    assert "no broker" in made["fallbackReason"]
    assert made["configuredMode"] == "hybrid"
    assert {one.headers["authorization"] for one in provider.asked} == {"Bearer corridor-token-1"}


def test_hybrid_that_fails_twice_names_both(tmp_path: Path) -> None:
    made, _ = brokered(tmp_path, Reply(403, {"error": "no broker"}), "hybrid", teamId=None, projectId=None)
    assert made["ok"] is False
    assert made["error"].startswith("broker: ")
    assert "direct: Corridor cannot be asked directly without" in made["error"]
