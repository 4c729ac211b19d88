"""Reading a log piece by piece adds up to the same as reading it at once: a property over generated logs.

Spec: COORD 2 (bad lines, torn tails), 4, 7.3; DESIGN 5 (a long log is reduced incrementally).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from coordination_lab import at, rec

from wave_lib.engines.working_log import with_records
from wave_lib.state import control_plane, log_access, log_checkpoint
from wave_lib.state.control_plane import ControlPlaneLog, materialize_events, read_event_file
from wave_lib.state.coordination_records import FIELDS
from wave_lib.state.coordination_store import (
    CoordinationLog,
    Versions,
    materialize,
    read_record_file,
    serialize_state,
    update_log,
)

LOGS = 700
KINDS = ("request", "ack", "claim", "blocker", "clarification-request", "human-feedback", "decision")
STATUSES = ("open", "acknowledged", "in_progress", "resolved", "closed", "superseded", "cancelled")
STAMPS = ("", "yesterday", "2026-01-01T00:05:00Z", "2026-01-01T01:05:00.5+01:00")
ENTITIES = {
    "attempt": ("running", "completed", "failed"),
    "rerun_request": ("active", "applied", "cleared"),
    "proof_bundle": ("active", "superseded", "revoked"),
    "human_input": ("pending", "answered"),
    "contradiction": (None,),
    "fact": (None,),
    "agent_run": (None,),
    "wave_run": (None,),
}


def stamp(rng: random.Random, step: int) -> str:
    """Mostly later than before, at times equal, earlier, in another notation or no time at all."""
    choice = rng.random()
    if choice < 0.7:
        return at(step)
    return at(rng.randrange(60)) if choice < 0.9 else rng.choice(STAMPS)


def record_line(rng: random.Random, step: int) -> str:
    """A new record, a next version, or an update that names only what changes."""
    whole = rec(
        id=f"r{rng.randrange(8)}",
        kind=rng.choice(KINDS),
        status=rng.choice(STATUSES),
        agentId=rng.choice(["A1", "A2"]),
        summary=f"step {step}",
        createdAt=at(step),
    )
    whole["updatedAt"] = stamp(rng, step)
    if rng.random() < 0.2:
        keys = ["id", "status", "updatedAt", *rng.sample(sorted(whole), 3)]
        whole = {key: whole[key] for key in keys}
    return json.dumps(whole)


def event_line(rng: random.Random, step: int) -> str:
    """A control-plane event; some contradictions are not readable as such."""
    kind = rng.choice(sorted(ENTITIES))
    data: dict[str, Any] = {"agentId": "A1", "note": step, "attemptNumber": rng.randrange(4)}
    state = rng.choice(ENTITIES[kind])
    if state:
        data["state"] = rng.choice([state, state, state, "nonsense"])
    if kind == "contradiction":
        data.update(severity=rng.choice(["blocking", "high", "odd"]), status=rng.choice(["detected", "resolved"]))
    event = {
        "lane": "main",
        "wave": 0,
        "entityType": kind,
        "entityId": f"{kind}-{rng.randrange(3)}",
        "action": "changed",
        "id": f"e{step}",
        "recordedAt": stamp(rng, step),
        "data": data,
    }
    return json.dumps(event)


def written(rng: random.Random, make: Any) -> bytes:
    """A log with good lines, bad lines, and perhaps a torn tail."""
    lines = []
    for step in range(rng.randrange(1, 24)):
        choice = rng.random()
        bad = rng.choice(["not json", "[1, 2]", "{}", '{"id": "r1", "kind": "odd"}', "", "\ufffd"])
        lines.append(bad if choice < 0.08 else make(rng, step))
    return "\n".join(lines).encode() + rng.choice([b"\n", b"\n", b"\n", b""])


def pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """The bytes in a few pieces, cut anywhere: in the middle of a line or of a letter too."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(5)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)])]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_coordination_log_read_in_pieces(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(LOGS):
        path = tmp_path / f"{number}.jsonl"
        log = CoordinationLog(str(path))
        for piece in pieces(rng, written(rng, record_line)):
            with path.open("ab") as file:
                file.write(piece)
            earlier = log.refresh()
            kept = json.dumps(serialize_state(earlier))
            cold = read_record_file(str(path))
            assert serialize_state(log.refresh()) == serialize_state(materialize(cold.records)), path.read_bytes()
            assert log.bad_lines == cold.bad_lines
            assert json.dumps(serialize_state(earlier)) == kept
        path.unlink()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_control_plane_log_read_in_pieces(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(LOGS):
        path = tmp_path / f"{number}.jsonl"
        log = ControlPlaneLog(str(path))
        for piece in pieces(rng, written(rng, event_line)):
            with path.open("ab") as file:
                file.write(piece)
            state = log.refresh()
            cold = read_event_file(str(path))
            whole = materialize_events(cold.events, cold.bad_lines)
            assert state._replace(bad_lines=[]) == whole._replace(bad_lines=[]), path.read_bytes()
            assert sorted(map(str, state.bad_lines)) == sorted(map(str, whole.bad_lines))
            assert [*state.attempts] == [*whole.attempts] and [*state.contradictions] == [*whole.contradictions]
        path.unlink()


def test_a_log_that_became_shorter_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    coordination, control = CoordinationLog(str(path)), ControlPlaneLog(str(path))
    rng = random.Random(3)
    path.write_text("".join(record_line(rng, step) + "\n" for step in range(9)))
    assert len(coordination.refresh().records) > 1
    control.refresh()
    path.write_text(json.dumps(rec(id="only", kind="claim")) + "\n")
    assert [*coordination.refresh().by_id] == ["only"]
    assert control.refresh() == materialize_events([], control.refresh().bad_lines)
    path.unlink()
    assert coordination.refresh().latest == []


def test_records_added_in_memory_are_as_if_read_back() -> None:
    rng = random.Random(4)
    for _ in range(500):
        made = [json.loads(record_line(rng, step)) for step in range(12)]
        rows = [row for row in made if len(row) > 6]
        cut = rng.randrange(len(rows) + 1)
        grown = with_records(materialize(rows[:cut]), rows[cut:])
        assert serialize_state(grown) == serialize_state(materialize(rows))


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_a_log_read_from_a_checkpoint(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_checkpoint, "LEAST", 1)
    rng = random.Random(seed)
    used = 0
    for number in range(LOGS // 2):
        path, checkpoint = tmp_path / f"{number}.jsonl", tmp_path / f"{number}.json"
        parts = pieces(rng, written(rng, record_line))
        writer = CoordinationLog(str(path), str(checkpoint))
        for piece in parts:
            with path.open("ab") as file:
                file.write(piece)
            reader = CoordinationLog(str(path), str(checkpoint))  # of the checkpoint before this piece
            state = reader.refresh()
            used += isinstance(state.records, Versions)
            cold = read_record_file(str(path))
            assert serialize_state(state) == serialize_state(materialize(cold.records)), path.read_bytes()
            assert state.first == materialize(cold.records).first and reader.bad_lines == cold.bad_lines
            grown = with_records(state, [rec(id="r1", kind="claim"), rec(id="new", kind="claim")])
            added = [*cold.records, rec(id="r1", kind="claim"), rec(id="new", kind="claim")]
            assert serialize_state(grown) == serialize_state(materialize(added))
            if rng.random() < 0.7:
                saver = rng.choice([reader, writer])
                saver.refresh()
                saver.save_checkpoint()
    assert used > LOGS // 4


@pytest.mark.parametrize("seed", [1, 2])
def test_a_control_plane_log_read_from_a_checkpoint(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_checkpoint, "LEAST", 1)
    rng = random.Random(seed)
    used = 0
    for number in range(LOGS // 2):
        path, checkpoint = tmp_path / f"{number}.jsonl", tmp_path / f"{number}.json"
        writer = ControlPlaneLog(str(path), str(checkpoint))
        for piece in pieces(rng, written(rng, event_line)):
            with path.open("ab") as file:
                file.write(piece)
            used += checkpoint.exists()
            reader = ControlPlaneLog(str(path), str(checkpoint))  # of the checkpoint before this piece
            state = reader.refresh()
            cold = read_event_file(str(path))
            whole = materialize_events(cold.events, cold.bad_lines)
            assert state._replace(bad_lines=[]) == whole._replace(bad_lines=[]), path.read_bytes()
            assert sorted(map(str, state.bad_lines)) == sorted(map(str, whole.bad_lines))
            assert [*state.attempts] == [*whole.attempts] and [*state.contradictions] == [*whole.contradictions]
            if rng.random() < 0.7:
                saver = rng.choice([reader, writer])
                saver.refresh()
                saver.save_checkpoint()
    assert used > LOGS // 4


def test_a_long_control_plane_log_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the checkpoint is not looked at; bytes that are not those of the log are not believed."""
    monkeypatch.setattr(log_checkpoint, "LEAST", 1)
    path, checkpoint = tmp_path / "log.jsonl", tmp_path / "checkpoint.json"
    rng = random.Random(5)
    path.write_text("".join(event_line(rng, step) + "\n" for step in range(20)))
    log = ControlPlaneLog(str(path), str(checkpoint))
    assert not log.save_checkpoint()  # nothing was read
    before = log.refresh()
    assert log.save_checkpoint() and not log.save_checkpoint()
    good = checkpoint.read_bytes()
    looked_at: list[int] = []
    real = control_plane._events_of
    monkeypatch.setattr(
        control_plane, "_events_of", lambda *words: looked_at.append(len(words[1].records)) or real(*words)
    )
    assert ControlPlaneLog(str(path), str(checkpoint)).refresh() == before and looked_at == [0]
    for bad in (b"", good[:-9], b"[]", good.replace(b'"merged"', b'"marred"'), good.replace(b'"base"', b'"bass"')):
        checkpoint.write_bytes(bad)
        assert ControlPlaneLog(str(path), str(checkpoint)).refresh() == before
    assert looked_at[1:] == [20] * 5
    checkpoint.write_bytes(good)
    path.write_text(path.read_text().replace('"agentId": "A1"', '"agentId": "B1"'))  # edited, and as long as it was
    assert looked_at[6:] == []
    ControlPlaneLog(str(path), str(checkpoint)).refresh()
    assert looked_at[6:] == [20]


def test_packed_records_come_back_as_they_were() -> None:
    rng = random.Random(6)
    rows = [rec(id=f"r{n}", kind=rng.choice(KINDS), status=rng.choice(STATUSES)) for n in range(30)]
    rows[0]["resolvedBy"] = "me"  # a key that the others have not
    rows[3]["required"], rows[4]["attempt"] = 0, True  # equal to False and to 1, and yet not the same
    rows[5]["attempt"] = 1
    for some in (rows, rows[4:], [rows[5], rows[4]], []):
        back = log_checkpoint.unpack(json.loads(json.dumps(log_checkpoint.pack(some, FIELDS))))
        assert json.dumps(back, sort_keys=True) == json.dumps(some, sort_keys=True)


def test_a_checkpoint_of_other_bytes_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_checkpoint, "LEAST", 1)
    path, checkpoint = tmp_path / "log.jsonl", tmp_path / "checkpoint.json"
    path.write_text("".join(json.dumps(rec(id=f"r{n}", kind="claim", summary="before")) + "\n" for n in range(5)))
    log = CoordinationLog(str(path), str(checkpoint))
    assert not log.save_checkpoint()  # nothing was read
    log.refresh()
    assert log.save_checkpoint() and not log.save_checkpoint()  # nothing new
    good = checkpoint.read_bytes()
    assert isinstance(CoordinationLog(str(path), str(checkpoint)).refresh().records, Versions)
    path.write_text(path.read_text().replace("before", "behind"))  # a line repaired by hand, as long as it was
    assert CoordinationLog(str(path), str(checkpoint)).refresh().by_id["r3"]["summary"] == "behind"
    path.write_text(path.read_text().replace("behind", "before"))
    newer = json.dumps({**json.loads(good), "schemaVersion": 3}).encode()
    for bad in (b"", good[:-9], newer, b"[]", b'{"kind":"wave-log-checkpoint","schemaVersion":2}'):
        checkpoint.write_bytes(bad)
        assert CoordinationLog(str(path), str(checkpoint)).refresh().by_id["r3"]["summary"] == "before"
    path.write_text(json.dumps(rec(id="only", kind="claim")) + "\n")
    checkpoint.write_bytes(good)
    assert [*CoordinationLog(str(path), str(checkpoint)).refresh().by_id] == ["only"]


def test_updates_see_what_others_did_to_the_log_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"

    def count() -> list[str]:
        seen: list[str] = []
        update_log(str(path), lambda state: seen.extend(sorted(state.by_id)) or [rec(id=f"u{len(seen)}", kind="claim")])
        return seen

    assert count() == []
    with path.open("a") as file:
        file.write(json.dumps(rec(id="other", kind="claim")) + "\n")
    assert count() == ["other", "u0"]
    path.write_text(json.dumps(rec(id="cut", kind="claim")) + "\n")
    assert count() == ["cut"]
    replaced = tmp_path / "new"
    replaced.write_text("".join(json.dumps(rec(id=f"n{n}", kind="claim")) + "\n" for n in range(9)))
    replaced.replace(path)
    assert count() == [f"n{n}" for n in range(9)]


@pytest.mark.parametrize("piece", [1, 300, 5000])
def test_a_long_log_is_read_in_pieces_and_its_versions_are_not_kept(
    tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_access, "PIECE", piece)
    rng = random.Random(piece)
    path = tmp_path / "log.jsonl"
    for data in (written(rng, record_line) for _ in range(60)):
        path.write_bytes(data)
        log, cold = CoordinationLog(str(path)), read_record_file(str(path))
        state = log.refresh()
        assert isinstance(state.records, Versions) and state.records.added == []
        assert state == materialize(cold.records) and log.bad_lines == cold.bad_lines, data


def test_who_only_appends_keeps_no_views_and_the_views_are_right_when_asked_for(tmp_path: Path) -> None:
    rng = random.Random(8)
    path = tmp_path / "log.jsonl"
    log = CoordinationLog(str(path))
    for step in range(400):
        with path.open("a") as file:
            file.write(record_line(rng, step) + "\n")
        latest = log.refresh_latest()
        if rng.random() < 0.2:
            cold = materialize(read_record_file(str(path)).records)
            assert latest == cold.by_id and log.refresh() == cold
