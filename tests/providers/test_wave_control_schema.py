"""The event envelope: ids that both implementations compute, enumerations, identity."""

from __future__ import annotations

from typing import Any

import pytest

from wave_lib.base.errors import StateError
from wave_lib.providers.wave_control_schema import (
    IDENTITY_KEYS,
    attestation_hash,
    normalize_artifact,
    normalize_event,
    stable_json,
)

RAW: dict[str, Any] = {
    "entityType": "Wave_Run",
    "entityId": "wave-1",
    "action": "Started",
    "recordedAt": "2026-01-02T03:04:05.006Z",
    "identity": {"workspaceId": "ws", "projectId": "p", "lane": "main", "wave": "1", "attempt": 0},
}


def test_the_id_of_the_specification() -> None:
    event = normalize_event(RAW)
    assert event["id"] == "wctl-179634bff0c2a00e"
    assert (event["entityType"], event["action"]) == ("wave_run", "started")
    assert event["identity"]["wave"] == 1
    assert tuple(event["identity"]) == IDENTITY_KEYS
    assert (event["category"], event["source"], event["actor"]) == ("runtime", "wave", None)


def test_ids_and_hashes_of_artifacts_and_attestations() -> None:
    artifact = normalize_artifact({"path": "a/b.json", "kind": "trace-quality", "sha256": "aa"})
    assert artifact is not None and artifact["artifactId"] == "artifact-a3dad81a08dbaba7"
    attestation = {"b": 1, "a": [2, {"d": None, "c": "é"}]}
    expected = "7bb6270fa35d9c56a1575a407eb274586b2b939f0c6391d78951d69ec4f1aa76"
    assert attestation_hash(attestation) == expected
    data = normalize_event({**RAW, "data": {"attestation": attestation}}, report_mode="metadata-only")["data"]
    assert data["attestation"] == {**attestation, "configHash": expected, "reportMode": "metadata-only"}
    assert stable_json({"b": 1.0, "a": "é"}) == '{"a":"é","b":1}'


def test_defaults_fill_what_the_event_leaves_open() -> None:
    event = normalize_event(RAW, {"workspaceId": "other", "runId": "r1", "runKind": "adhoc", "wave": 9})
    assert event["identity"]["workspaceId"] == "ws"
    assert event["identity"]["runId"] == "r1"
    assert event["identity"]["runKind"] == "adhoc"
    assert event["identity"]["wave"] == 1


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("entityType", "nonsense", "entityType"), ("entityType", None, "entityType"), ("entityId", " ", "entityId"),
        ("action", "", "action"), ("identity", {"runKind": "odd"}, "runKind"),
        ("artifacts", [{"kind": "x", "uploadPolicy": "odd"}], "uploadPolicy"),
    ],
)  # fmt: skip
def test_errors_name_the_field(field: str, value: object, named: str) -> None:
    with pytest.raises(StateError, match=named):
        normalize_event({**RAW, field: value})


def test_odd_values_become_nothing() -> None:
    event = normalize_event(
        {**RAW, "recordedAt": "yesterday", "tags": ["a", "a", " ", 5], "metrics": [1], "data": "x",
         "artifacts": [{}, 7], "identity": {"wave": -1, "attempt": "x", "lane": True}}
    )  # fmt: skip
    assert event["recordedAt"].startswith("20")
    assert event["tags"] == ["a", "5"]
    assert (event["metrics"], event["data"], event["artifacts"]) == ({}, {}, [])
    assert event["identity"]["wave"] is event["identity"]["attempt"] is event["identity"]["lane"] is None


def test_the_event_does_not_share_what_it_was_made_from() -> None:
    data = {"list": [1]}
    event = normalize_event({**RAW, "data": data})
    data["list"].append(2)
    assert event["data"] == {"list": [1]}
