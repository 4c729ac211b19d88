"""Proof bundles: registering, superseding, revoking, and what they change. GATE 13, cases 57 and 58."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate_scenes import GAP, GOOD, artifact, profile, summary_of, wave_of, worker

from wave_lib.base.errors import UsageError, WaveError
from wave_lib.base.files import read_json
from wave_lib.definition.config import config_from_payload
from wave_lib.definition.lane_paths import LanePaths, build_lane_paths
from wave_lib.definition.wave_types import ExitContract
from wave_lib.engines.summary_validation import validate_implementation_summary
from wave_lib.state.control_plane import read_control_plane, read_events
from wave_lib.state.file_facts import file_fact
from wave_lib.state.proof_registry import (
    Applied,
    BundleRequest,
    apply_bundles,
    build_bundle,
    bundle_paths,
    register_bundle,
    revoke_bundle,
    supersede_bundle,
)

LIVE = worker(exit_contract=ExitContract("live", "none", "live", "none"), proof_artifacts=(artifact("p.log"),))
WAVE = wave_of(LIVE)
REQUEST = BundleRequest("A1", ("p.log",), authoritative=True, satisfy_owned_components=True, detail="seen")


@pytest.fixture
def paths(tmp_path: Path) -> LanePaths:
    (tmp_path / "p.log").write_bytes(b"proof \xff\n")
    return build_lane_paths(config_from_payload(str(tmp_path), {}))


def applied(paths: LanePaths, log: str = GOOD["A1"]) -> Applied:
    summary = summary_of(LIVE, WAVE, log, lane=profile()) if log else None
    bundles = list(read_control_plane(paths, 0).proof_bundles.values())
    facts = {path: file_fact(paths.root, path) for path in bundle_paths(bundles)}
    return apply_bundles(LIVE, summary, bundles, facts)


def test_two_registrations_at_once_are_two_bundles(paths: LanePaths) -> None:
    ids = {register_bundle(paths, WAVE, REQUEST).bundle["proofBundleId"] for _ in range(2)}
    assert len(ids) == 2 and set(read_control_plane(paths, 0).proof_bundles) == ids
    mirror = read_json(paths.proof_registry(0)).value
    assert {entry["id"] for entry in mirror["entries"]} == ids


def test_an_authoritative_bundle_satisfies_the_live_contract(paths: LanePaths) -> None:
    before = applied(paths)
    assert validate_implementation_summary(LIVE, before.summary).status_code == "completion-gap"
    bundle = register_bundle(paths, WAVE, REQUEST).bundle
    assert bundle["components"][0] == {"componentId": "core", "level": "repo-landed", "state": "met", "detail": "seen"}
    after = applied(paths)
    assert after.bundle_id == bundle["proofBundleId"]
    assert validate_implementation_summary(LIVE, after.summary).ok


def test_a_bundle_alone_makes_a_summary(paths: LanePaths) -> None:
    register_bundle(paths, WAVE, REQUEST._replace(doc_delta="none"))
    assert validate_implementation_summary(LIVE, applied(paths, "").summary).ok


def test_a_changed_artifact_ends_the_bundles_effect(paths: LanePaths, tmp_path: Path) -> None:
    bundle = register_bundle(paths, WAVE, REQUEST).bundle
    (tmp_path / "p.log").write_text("something else")
    found = applied(paths)
    assert found.bundle_id is None and found.drifted == (bundle["proofBundleId"],)
    assert validate_implementation_summary(LIVE, found.summary).status_code == "completion-gap"


def test_nodes_digest_of_decoded_text_is_accepted(paths: LanePaths) -> None:
    fact = file_fact(paths.root, "p.log")
    assert fact.sha256 != fact.text_sha256
    bundle = build_bundle(paths.root, LIVE, REQUEST, now="2026-01-01T00:00:00.000Z").bundle
    bundle["artifacts"][0]["sha256"] = fact.text_sha256
    assert apply_bundles(LIVE, None, [bundle], {"p.log": fact}).bundle_id


def test_a_later_gap_of_the_agent_counts_more(paths: LanePaths) -> None:
    bundle = build_bundle(paths.root, LIVE, REQUEST, now="2020-01-01T00:00:00.000Z").bundle
    facts = {"p.log": file_fact(paths.root, "p.log")}
    summary = summary_of(LIVE, WAVE, GAP, lane=profile())
    assert apply_bundles(LIVE, summary, [bundle], facts).summary == summary
    newer = {**bundle, "recordedAt": "2030-01-01T00:00:00.000Z"}
    merged = apply_bundles(LIVE, summary, [newer], facts).summary
    assert merged and merged["proof"]["state"] == "met"


def test_bundles_without_authority_change_nothing(paths: LanePaths) -> None:
    register_bundle(paths, WAVE, REQUEST._replace(authoritative=False))
    assert applied(paths).bundle_id is None


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "folder", "missing.log"])
def test_refused_artifacts_write_nothing(paths: LanePaths, tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(WaveError) as caught:
        register_bundle(paths, WAVE, REQUEST._replace(artifacts=(path,)))
    assert caught.value.code == 1 and path in str(caught.value)
    assert read_control_plane(paths, 0).proof_bundles == {}


def test_a_missing_file_is_only_a_warning_without_authority(paths: LanePaths) -> None:
    found = register_bundle(paths, WAVE, BundleRequest("A1", ("missing.log",)))
    assert found.bundle["artifacts"][0]["exists"] is False and found.bundle["proof"] is None
    assert "missing.log" in found.warnings[0]


def test_no_word_about_a_bundle_is_null(paths: LanePaths) -> None:
    bundle = register_bundle(paths, WAVE, REQUEST._replace(detail="", doc_delta="owned")).bundle
    said = [part["detail"] for part in (bundle, bundle["proof"], bundle["docDelta"], *bundle["components"])]
    assert len(said) == 4 and set(said) == {None}


def test_levels_are_checked(paths: LanePaths) -> None:
    with pytest.raises(UsageError, match="--completion must be one of"):
        register_bundle(paths, WAVE, REQUEST._replace(completion="bogus"))


def test_supersede_links_both_bundles_and_inherits(paths: LanePaths) -> None:
    old = register_bundle(paths, WAVE, REQUEST._replace(components=("extra:pilot-live",), durability="durable")).bundle
    new = supersede_bundle(paths, WAVE, old["proofBundleId"], BundleRequest("A1", ())).bundle
    stored = read_control_plane(paths, 0).proof_bundles
    assert stored[old["proofBundleId"]]["state"] == "superseded"
    assert stored[old["proofBundleId"]]["supersededBy"] == new["proofBundleId"]
    assert stored[new["proofBundleId"]]["supersedes"] == old["proofBundleId"]
    assert {item["componentId"]: item["level"] for item in new["components"]} == {
        "extra": "pilot-live",
        "core": "repo-landed",
    }
    assert new["proof"]["durability"] == "durable" and new["authoritative"]
    with pytest.raises(WaveError, match="is superseded"):
        supersede_bundle(paths, WAVE, old["proofBundleId"], BundleRequest("A1", ()))
    with pytest.raises(WaveError, match="superseded by"):
        revoke_bundle(paths, 0, old["proofBundleId"])


def test_revoking_twice_is_nothing_new(paths: LanePaths) -> None:
    bundle = register_bundle(paths, WAVE, REQUEST).bundle
    assert revoke_bundle(paths, 0, bundle["proofBundleId"], detail="wrong file")["state"] == "revoked"
    events = len(read_events(paths, 0).events)
    assert revoke_bundle(paths, 0, bundle["proofBundleId"])["detail"] == "wrong file"
    assert len(read_events(paths, 0).events) == events and applied(paths).bundle_id is None
    with pytest.raises(WaveError, match="Proof bundle not found: nope"):
        revoke_bundle(paths, 0, "nope")
