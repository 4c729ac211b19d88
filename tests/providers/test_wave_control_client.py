"""The telemetry spool and its delivery: what is written, what leaves the machine, and when nothing at all happens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_service import Asked, FakeService, Reply, scripted
from providers_lab import lane_paths

from wave_lib.base import locks, redaction
from wave_lib.base.text import sha256_bytes
from wave_lib.providers import wave_control_feed as feed
from wave_lib.providers.wave_control_client import RawEvent, Telemetry, status_document
from wave_lib.providers.wave_control_delivery import deliverable, flush, requeue, wants_upload
from wave_lib.state import control_plane, coordination_store, feedback_store, telemetry_sink

ENV = {"WAVE_API_TOKEN": "wave-token-123"}


def telemetry(
    root: Path, endpoint: str | None = None, environ: dict[str, str] | None = None, **control: Any
) -> Telemetry:
    block = {**control, **({"endpoint": endpoint} if endpoint else {})}
    return Telemetry(lane_paths(root, waveControl=block), "orch-1", ENV if environ is None else environ)


def event(number: int, **more: Any) -> RawEvent:
    stamp = f"2026-01-02T03:{number // 60:02}:{number % 60:02}.000Z"
    raw = {"entityType": "fact", "entityId": f"f{number}", "action": "recorded", "recordedAt": stamp, **more}
    return RawEvent(raw)


def queue(spool: Telemetry, count: int, **more: Any) -> list[dict[str, Any]]:
    return spool.enqueue([event(number, **more) for number in range(count)])


def names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def accept(asked: Asked) -> Reply:
    return Reply(body={"ok": True, "accepted": len(asked.body["events"]), "rejected": []})


def ids(asked: Asked) -> list[str]:
    return [item["id"] for item in asked.body["events"]]


# --- the spool --------------------------------------------------------------------------------------------------------


def test_events_stay_here_without_an_endpoint(tmp_path: Path) -> None:
    spool = telemetry(tmp_path)
    made = queue(spool, 2)
    lines = [json.loads(line) for line in Path(spool.paths.telemetry_events).read_text().splitlines()]
    assert lines == made
    queued = json.loads((Path(spool.paths.telemetry_pending) / names(spool.paths.telemetry_pending)[0]).read_text())
    assert queued["kind"] == "wave-control-queued-event"
    assert queued["event"]["identity"]["orchestratorId"] == "orch-1"
    assert queued["event"]["identity"]["runtimeVersion"].startswith("py-")
    assert names(spool.paths.telemetry_pending)[0] == f"20260102030000-{made[0]['id']}.json"
    assert flush(spool) == {"attempted": 0, "sent": 0, "failed": 0, "pending": 2, "batches": 0}
    state = json.loads(Path(spool.paths.telemetry_state).read_text())
    assert (state["pendingCount"], state["lastError"]) == (2, None)
    assert state["recentEventIds"] == [one["id"] for one in made]


@pytest.mark.parametrize("off", [{"enabled": False}, {"reportMode": "disabled"}])
def test_off_means_nothing_at_all(off: dict[str, Any], tmp_path: Path) -> None:
    with FakeService(accept) as service:
        spool = telemetry(tmp_path, service.url, **off)
        assert queue(spool, 3) == []
        assert flush(spool)["disabled"] is True
        assert status_document(spool)["disabled"] is True
    assert service.asked == []
    assert not os.path.exists(spool.paths.telemetry_dir)


def test_no_telemetry_and_dry_run_mean_the_same(tmp_path: Path) -> None:
    silent = telemetry(tmp_path, environ={"WAVE_NO_TELEMETRY": "1"})
    dry = Telemetry(lane_paths(tmp_path, dry_run=True))
    for spool in (silent, dry):
        assert queue(spool, 1) == []
        assert not os.path.exists(spool.paths.telemetry_dir)


def test_the_cap_drops_the_oldest(tmp_path: Path) -> None:
    far = telemetry(tmp_path / "far", "https://wc.example", maxPendingEvents=2)
    made = queue(far, 3)
    assert len(names(far.paths.telemetry_pending)) == 2
    assert len(Path(far.paths.telemetry_events).read_text().splitlines()) == 3
    assert names(far.paths.telemetry_failed) == [f"overflow-20260102030000-{made[0]['id']}.json"]
    state = far.read_state()
    assert state["failedCount"] == 1
    assert "maxPendingEvents=2" in state["lastError"]["message"]
    here = telemetry(tmp_path / "here", maxPendingEvents=2)
    queue(here, 3)
    assert len(names(here.paths.telemetry_pending)) == 2
    assert names(here.paths.telemetry_failed) == []
    assert (here.read_state()["failedCount"], here.read_state()["lastError"]) == (0, None)


def test_a_huge_event_loses_its_data_in_the_queue_only(tmp_path: Path) -> None:
    spool = telemetry(tmp_path)
    queue(spool, 1, data={"big": "x" * 300_000})
    queued = json.loads(next(Path(spool.paths.telemetry_pending).iterdir()).read_text())
    assert queued["event"]["data"]["truncated"] is True
    assert queued["event"]["data"]["keys"] == ["big"]
    assert len(Path(spool.paths.telemetry_events).read_text()) > 300_000


def test_secrets_never_reach_the_spool(tmp_path: Path) -> None:
    redaction.register_secret("leased-secret-value")
    spool = telemetry(tmp_path)
    queue(spool, 1, data={"said": "it is leased-secret-value", "list": ["leased-secret-value"]})
    for path in Path(spool.paths.telemetry_dir).rglob("*"):
        assert path.is_dir() or "leased-secret" not in path.read_text()


def test_a_spool_that_cannot_be_written_fails_nobody(tmp_path: Path) -> None:
    spool = telemetry(tmp_path)
    Path(spool.paths.telemetry_dir).parent.mkdir(parents=True)
    Path(spool.paths.telemetry_dir).write_text("in the way")
    spool.record([event(1)])


def test_identity_of_the_specification(tmp_path: Path) -> None:
    assert telemetry(tmp_path, projectId="My Proj!").identity()["projectId"] == "my-proj"


# --- delivery ---------------------------------------------------------------------------------------------------------


def test_all_batches_are_sent(tmp_path: Path) -> None:
    with FakeService(accept) as service:
        spool = telemetry(tmp_path, service.url)
        made = queue(spool, 60)
        result = flush(spool)
    assert result == {"attempted": 60, "sent": 60, "failed": 0, "pending": 0, "batches": 3}
    assert [one for asked in service.asked for one in ids(asked)] == [one["id"] for one in made]
    assert service.asked[0].headers["authorization"] == "Bearer wave-token-123"
    assert service.asked[0].path == "/api/v1/ingest/batches"
    assert service.asked[0].body["lane"] == "main"
    assert all(item["artifactUploads"] == [] for item in service.asked[0].body["events"])
    assert len(names(spool.paths.telemetry_sent)) == 60
    assert spool.read_state()["sentCount"] == 60
    assert spool.read_state()["lastSuccessAt"]


def test_a_torn_file_blocks_nobody(tmp_path: Path) -> None:
    with FakeService(accept) as service:
        spool = telemetry(tmp_path, service.url)
        queue(spool, 3)
        torn = names(spool.paths.telemetry_pending)[1]
        (Path(spool.paths.telemetry_pending) / torn).write_text('{"kind": "wave-')
        result = flush(spool)
    assert (result["sent"], result["failed"], result["pending"]) == (2, 1, 0)
    assert names(spool.paths.telemetry_failed) == [f"corrupt-{torn}"]


@pytest.mark.parametrize(
    "bad", [Reply(500, {"error": "down"}), Reply(401, {}), Reply(body=b"<html>"), Reply(302, {}, {"Location": "/x"})]
)
def test_an_outage_keeps_everything(bad: Reply, tmp_path: Path) -> None:
    with FakeService(lambda asked: bad) as service:
        spool = telemetry(tmp_path, service.url)
        queue(spool, 2)
        first, second = flush(spool), flush(spool)
    assert isinstance(first["error"], str)
    assert isinstance(second["error"], str)
    assert len(service.asked) == 2
    state = spool.read_state()
    assert (state["failedCount"], state["consecutiveFailures"]) == (0, 2)
    assert len(names(spool.paths.telemetry_pending)) == 2
    assert names(spool.paths.telemetry_failed) == []


def test_the_launcher_waits_out_the_backoff_and_the_command_does_not(tmp_path: Path) -> None:
    with FakeService(scripted(Reply(503, {}), Reply(body={"ok": True}))) as service:
        spool = telemetry(tmp_path, service.url)
        queue(spool, 1)
        flush(spool, launcher=True)
        assert flush(spool, launcher=True)["skipped"] == "backoff"
        assert flush(spool)["sent"] == 1
    assert spool.read_state()["consecutiveFailures"] == 0
    assert spool.read_state()["nextAttemptAt"] is None


def test_one_refused_event_does_not_hold_up_the_others(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        bad = any(item["entityId"] == "f7" for item in asked.body["events"])
        return Reply(400, {"error": "no f7"}) if bad else accept(asked)

    with FakeService(answer) as service:
        spool = telemetry(tmp_path, service.url)
        made = queue(spool, 20)
        result = flush(spool)
    assert (result["attempted"], result["sent"], result["failed"], result["pending"]) == (20, 19, 1, 0)
    assert names(spool.paths.telemetry_failed) == [f"{made[7]['id']}.json"]
    assert "error" not in result


def test_events_that_the_answer_rejects_go_to_failed(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(body={"ok": True, "rejected": [{"index": 0, "id": ids(asked)[0], "error": "x"}]})

    with FakeService(answer) as service:
        spool = telemetry(tmp_path, service.url)
        queue(spool, 3)
        result = flush(spool)
    assert (result["sent"], result["failed"]) == (2, 1)


def test_what_was_given_up_is_queued_again(tmp_path: Path) -> None:
    bad = Reply(400, {"error": "not today"})
    with FakeService(scripted(*[bad] * 3, Reply(body={"ok": True}))) as service:
        spool = telemetry(tmp_path, service.url, maxPendingEvents=2)
        assert requeue(spool) == {"requeued": 0, "left": 0, "pending": 0}
        made = queue(spool, 3)  # the oldest overflows
        (Path(spool.paths.telemetry_pending) / "20200101000000-torn.json").write_text("{")
        assert flush(spool)["failed"] == 3
        assert len(names(spool.paths.telemetry_failed)) == 4
        assert requeue(spool) == {"requeued": 2, "left": 1, "pending": 2}
        assert [name[-26:-5] for name in names(spool.paths.telemetry_pending)] == [one["id"] for one in made[1:]]
        assert spool.read_state()["failedCount"] == 2
        assert flush(spool)["sent"] == 2
        assert requeue(spool) == {"requeued": 1, "left": 0, "pending": 1}
        assert flush(spool)["sent"] == 1
    assert [name[:8] for name in names(spool.paths.telemetry_failed)] == ["corrupt-"]


def test_only_one_sends_at_a_time(tmp_path: Path) -> None:
    spool = telemetry(tmp_path, "https://wc.example")
    queue(spool, 1)
    lock = locks.take(spool.paths.telemetry_flush_lock)
    assert lock is not None
    try:
        assert flush(spool)["busy"] is True
    finally:
        lock.close()


def test_a_service_that_hangs_costs_the_launcher_its_timeout(tmp_path: Path) -> None:
    service = FakeService(lambda asked: service.hang())
    with service:
        spool = telemetry(tmp_path, service.url, requestTimeoutMs=300)
        queue(spool, 2)
        assert "error" in flush(spool, launcher=True)
    assert len(names(spool.paths.telemetry_pending)) == 2


def test_plain_http_elsewhere_is_refused(tmp_path: Path) -> None:
    spool = telemetry(tmp_path, "http://10.0.0.5/api/v1", allowInsecureHttp=False)
    queue(spool, 1)
    assert "plain http" in flush(spool)["error"]


# --- what leaves the machine ------------------------------------------------------------------------------------------


def test_metadata_only_sends_no_free_text(tmp_path: Path) -> None:
    data = {"detail": "x" * 4000, "kind": "claim", "nested": {"prompt": "do it", "n": 5}, "long": "y" * 600, "note": ""}
    with FakeService(accept) as service:
        spool = telemetry(tmp_path, service.url)
        queue(spool, 1, data=data)
        flush(spool)
    sent = service.asked[0].body["events"][0]["data"]
    assert sent == {
        "detail": "[omitted:4000]", "kind": "claim", "nested": {"prompt": "[omitted:5]", "n": 5},
        "long": "[omitted:600]", "note": "",
    }  # fmt: skip
    assert json.loads(Path(spool.paths.telemetry_events).read_text())["data"] == data
    assert deliverable({"data": data}, "full-artifact-upload")["data"] == data


@pytest.mark.parametrize(
    ("policy", "mode", "kinds", "expected"),
    [
        ("selected", "metadata-only", ["k"], False),
        ("selected", "metadata-plus-selected", ["k"], True),
        ("selected", "full-artifact-upload", ["k"], True),
        ("selected", "full-artifact-upload", [], False),
        ("full", "metadata-plus-selected", ["k"], False),
        ("full", "full-artifact-upload", [], True),
        ("full", "full-artifact-upload", ["other"], False),
        ("local-only", "full-artifact-upload", ["k"], False),
        ("metadata-only", "full-artifact-upload", ["k"], False),
    ],
)
def test_the_table_of_uploads(policy: str, mode: str, kinds: list[str], expected: bool) -> None:
    artifact = {"uploadPolicy": policy, "kind": "k", "present": True}
    assert wants_upload(artifact, mode, {"uploadArtifactKinds": kinds}) is expected
    assert not wants_upload({**artifact, "present": False}, mode, {"uploadArtifactKinds": kinds})


def uploaded(tmp_path: Path, *artifacts: dict[str, Any]) -> dict[str, Any]:
    rows = [{"kind": "trace-quality", "present": True, "uploadPolicy": "selected", **item} for item in artifacts]
    with FakeService(accept) as service:
        spool = telemetry(tmp_path, service.url, reportMode="metadata-plus-selected")
        queue(spool, 1, artifacts=rows)
        flush(spool)
    sent: dict[str, Any] = service.asked[0].body["events"][0]
    return sent


def test_bodies_and_what_is_left_out(tmp_path: Path) -> None:
    redaction.register_secret("body-secret-value")
    (tmp_path / "a.json").write_text('{"t": "body-secret-value"}')
    (tmp_path / "b.bin").write_bytes(b"\xff\x00")
    (tmp_path / "c.json").write_text("changed")
    (tmp_path / "d.json").write_bytes(b"x" * 600_000)
    os.symlink("/etc/hostname", tmp_path / "link.txt")
    digest = sha256_bytes((tmp_path / "a.json").read_bytes())
    sent = uploaded(
        tmp_path, {"path": "a.json", "sha256": digest}, {"path": "b.bin"}, {"path": "c.json", "sha256": "00"},
        {"path": "d.json"}, {"path": "gone.json"}, {"path": "../../etc/hostname"}, {"path": "link.txt"},
    )  # fmt: skip
    assert [(item["encoding"], item["content"]) for item in sent["artifactUploads"]] == [
        ("utf8", '{"t": "[redacted]"}'),
        ("base64", "/wA="),
    ]
    assert [item["reason"] for item in sent["artifactUploadsOmitted"]] == [
        "changed", "too-large", "missing", "outside-workspace", "outside-workspace",
    ]  # fmt: skip


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_writes_nothing(tmp_path: Path) -> None:
    spool = telemetry(tmp_path)
    shown = status_document(spool)
    assert (shown["pendingCount"], shown["sentCount"], shown["telemetryDir"]) == (
        0, 0, ".tmp/main-wave-launcher/control-plane/telemetry",
    )  # fmt: skip
    assert not (tmp_path / ".tmp").exists()


def test_configured_fields_follow_the_configuration(tmp_path: Path) -> None:
    queue(telemetry(tmp_path, "https://one.example"), 1)
    assert status_document(telemetry(tmp_path, "https://two.example"))["endpoint"] == "https://two.example/api/v1"


# --- what is emitted --------------------------------------------------------------------------------------------------


@pytest.fixture
def listening(tmp_path: Path) -> Any:
    spool = telemetry(tmp_path)
    telemetry_sink.install(lambda kind, records: feed.record(spool, kind, records))
    yield spool
    telemetry_sink.install(None)


def spooled(spool: Telemetry) -> list[dict[str, Any]]:
    path = Path(spool.paths.telemetry_events)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_canonical_records_become_events(listening: Telemetry) -> None:
    paths = listening.paths
    control_plane.append_event(paths, 3, "agent_run", "e", "started", {"agentId": "A1"}, attempt=2)
    coordination_store.append_record(paths, 3, {"id": "r1", "kind": "claim", "agentId": "A1", "summary": "done"})
    feedback_store.create_request(paths, 3, "A1", "Which?", orchestrator_id="o", request_id="req-1")
    feedback_store.answer_request(paths, "req-1", feedback_store.Answer("That.", "me"))
    made = spooled(listening)
    assert [(one["category"], one["entityType"], one["action"]) for one in made] == [
        ("control-plane", "agent_run", "started"),
        ("coordination", "coordination_record", "recorded"),
        ("feedback", "human_input", "requested"),
        ("feedback", "human_input", "answered"),
    ]
    assert (made[0]["identity"]["agentId"], made[0]["identity"]["attempt"], made[0]["identity"]["wave"]) == ("A1", 2, 3)
    assert made[0]["tags"] == ["control-plane", "agent_run"]
    assert made[1]["tags"] == ["kind:claim", "status:open"]
    assert made[1]["data"]["summary"] == "done"
    assert made[3]["actor"] == "me"


def test_a_switch_for_each_source(tmp_path: Path) -> None:
    spool = telemetry(tmp_path, captureCoordinationRecords=False, captureControlPlaneEvents=False)
    feed.record(spool, "coordination", [{"id": "r"}])
    feed.record(spool, "control-plane", [{"entityType": "fact", "entityId": "x", "action": "y"}])
    assert spooled(spool) == []


def test_a_trace_bundle_names_its_files(tmp_path: Path) -> None:
    spool = telemetry(tmp_path)
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces/quality.json").write_text("{}")
    spool.enqueue([feed.trace_event(spool, 1, 2, "traces", "ready", "pass")])
    made = spooled(spool)[0]
    assert (made["entityId"], made["action"]) == ("wave-1-attempt-2-trace-bundle", "bundle-written")
    present = {item["kind"]: item["present"] for item in made["artifacts"]}
    assert present["trace-quality"] is True
    assert present["trace-outcome"] is False
    assert len(present) == 6
