"""Every artifact has one normal form: GATE 15; and adjudications are stored in it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from wave_lib.definition.config import config_from_payload
from wave_lib.definition.lane_paths import build_lane_paths
from wave_lib.state.artifact_schemas import SCHEMAS, normalize, read_normalized
from wave_lib.state.closure_adjudication import read_adjudications, write_adjudication

NOW = "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize("kind", SCHEMAS)
def test_any_value_becomes_the_normal_form(kind: str, tmp_path: Path) -> None:
    dice = random.Random(kind)
    values: list[object] = [None, 3, "x", [], [1, {"a": 1}], {"schemaVersion": 99, "kind": "else"}]
    for _ in range(50):
        names = [name for name, _ in SCHEMAS[kind].fields]
        junk = [None, True, 1.5, "  ", " a ", [" a ", "a", 1, None], {}, {"a": 1}]
        values.append({name: dice.choice(junk) for name in names})
    for value in values:
        document = normalize(kind, value, now=NOW)
        assert (document["schemaVersion"], document["kind"]) == (SCHEMAS[kind].version, kind)
        assert normalize(kind, document, now=NOW) == document
        json.dumps(document)
    path = str(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1]")
    assert read_normalized(kind, path, now=NOW) is None
    (tmp_path / "a.json").write_text('{"schemaVersion": 99}')
    assert read_normalized(kind, path, now=NOW) == normalize(kind, {}, now=NOW)
    assert read_normalized(kind, str(tmp_path / "none"), now=NOW) is None


def test_defaults_and_dropped_values() -> None:
    override = normalize("wave-retry-override", {"selectedAgentIds": [" A1", "A1", 3], "applyOnce": "no"}, now=NOW)
    assert override["selectedAgentIds"] == ["A1"] and override["applyOnce"] is True and override["createdAt"] == NOW
    assert normalize("wave-retry-override", {"applyOnce": False}, now=NOW)["applyOnce"] is False
    entries = [{"id": "p", "agentId": "A1"}, {"id": "p"}, {"agentId": "A1"}]
    assert normalize("wave-proof-registry", {"entries": entries}, now=NOW)["entries"] == entries[:1]


def test_adjudications_are_kept_per_attempt(tmp_path: Path) -> None:
    paths = build_lane_paths(config_from_payload(str(tmp_path), {}))
    decision = {"status": "pass", "reason": "r", "detail": "d", "evidence": [], "synthesizedSignals": ["x"]}
    for attempt, now in ((2, "2026-01-02T00:00:00.000Z"), (1, NOW), (1, "2026-01-09T00:00:00.000Z")):
        write_adjudication(paths, 0, attempt, "A1", decision, now)
    write_adjudication(paths, 0, 1, "A2", decision, NOW)
    found = read_adjudications(paths, 0, "A1")
    assert [(item["attempt"], item["createdAt"]) for item in found] == [(1, NOW), (2, "2026-01-02T00:00:00.000Z")]
    assert len(read_adjudications(paths, 0)) == 3 and read_adjudications(paths, 5) == []
    assert found[0]["kind"] == "wave-closure-adjudication"
