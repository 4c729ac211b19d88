from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wave_lib.base import files
from wave_lib.base.errors import DiskError, LockHeldError, StateError
from wave_lib.base.files import Outcome, append_jsonl, read_json, read_jsonl, write_json
from wave_lib.base.locks import take

IDS = ["a", "b", "ü"]
THREE = b"".join(json.dumps({"id": i}, ensure_ascii=False).encode() + b"\n" for i in IDS)


# --- reading


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (None, Outcome.ABSENT),
        (b'{"schemaVersion": 1, "kind": "k"}', Outcome.WHOLE),
        (b"{}", Outcome.WHOLE),
        (b"", Outcome.TORN),
        (b'{"schemaVersion": 1, "ki', Outcome.TORN),
        (b'{"a": "\xff"}', Outcome.TORN),
        (b'{"a": NaN}', Outcome.TORN),
        (b"[" * 100000, Outcome.TORN),
        (b"[1]", Outcome.FOREIGN),
        (b'{"schemaVersion": 1, "kind": "other"}', Outcome.FOREIGN),
        (b'{"schemaVersion": "x", "kind": "k"}', Outcome.FOREIGN),
        (b'{"schemaVersion": 2, "kind": "k", "more": 1}', Outcome.NEWER),
    ],
)
def test_reading_has_five_outcomes(tmp_path: Path, content: bytes | None, outcome: Outcome) -> None:
    path = tmp_path / "f.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(str(path), schema_version=1, kind="k").outcome is outcome
    if outcome is Outcome.WHOLE:
        assert isinstance(files.load_json(str(path), schema_version=1, kind="k"), dict)
    elif outcome is Outcome.ABSENT:
        assert files.load_json(str(path), default=7) == 7
    else:
        with pytest.raises(StateError, match="f.json"):
            files.load_json(str(path), schema_version=1, kind="k")
    assert (path.read_bytes() if path.exists() else None) == content


def test_text_and_tail(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    assert files.tail(path, 5) == "" and files.read_text(path, "none") == "none"
    Path(path).write_text("x" * 1000 + "äöü€𝄞", encoding="utf-8")
    assert files.tail(path, 5) == "äöü€𝄞"
    assert files.tail(path, 7) == "xxäöü€𝄞"
    assert len(files.tail(path, 5000)) == 1005


# --- whole files


@pytest.fixture(params=["nothing", "stale temp file", "empty target"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A file to write, with what a killed writer may have left in place."""
    path = tmp_path / "f.json"
    if request.param == "stale temp file":
        (tmp_path / f".f.json.{os.getpid()}-00000000.tmp").write_text("{")
    elif request.param == "empty target":
        path.touch()
    return str(path)


@pytest.mark.parametrize("durable", [True, False])
def test_write_and_read_back(target: str, durable: bool) -> None:
    value = {"é": [1, 2.5, None], "lone": "\ud800", "z": {"a": "\u2028"}}
    assert write_json(target, value, durable=durable)
    assert read_json(target).value == value
    assert Path(target).read_bytes().endswith(b"}\n")
    assert not write_json(target, value, if_changed=True)
    assert write_json(target, {"é": 1}, if_changed=True)
    assert Path(target).read_bytes() == '{\n  "é": 1\n}\n'.encode()


def test_modes_are_private_unless_asked(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_json(str(tmp_path / "state" / "deep" / "f.json"), 1)
        files.write_text(str(tmp_path / "docs" / "f.md"), "x", mode=0o644)
    finally:
        os.umask(old)
    modes = {str(p.relative_to(tmp_path)): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    assert modes["state"] == modes["state/deep"] == 0o700 and modes["state/deep/f.json"] == 0o600
    assert modes["docs"] == 0o755 and modes["docs/f.md"] == 0o644


def test_what_is_not_json_changes_nothing(target: str) -> None:
    write_json(target, 1)
    for bad in ({"a": object()}, {"a": float("nan")}, {(1, 2): 3}):
        with pytest.raises(StateError):
            write_json(target, bad)
    assert read_json(target).value == 1


def test_a_refusing_disk_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DiskError, match="cannot write"):
        write_json(str(tmp_path / "file" / "f.json"), 1)
    if os.path.exists("/dev/full"):
        with pytest.raises(DiskError) as caught:
            files.append_text("/dev/full", "x")
        assert caught.value.key == "no-space"


def test_removal_publishing_moving_aside_sweeping(tmp_path: Path) -> None:
    assert not files.remove(str(tmp_path / "none"))
    staged = tmp_path / ".staging"
    write_json(str(staged / "request.json"), 1)
    files.publish(str(staged), str(tmp_path / "run"))
    assert (tmp_path / "run" / "request.json").exists() and not staged.exists()
    moved = [files.move_aside(str(tmp_path / "run" / "request.json"), "corrupt")]
    write_json(str(tmp_path / "run" / "request.json"), 2)
    moved.append(files.move_aside(str(tmp_path / "run" / "request.json"), "corrupt"))
    assert [read_json(path).value for path in moved] == [1, 2]
    assert files.copy_file(moved[0], str(tmp_path / "c")) and not files.copy_file(str(tmp_path / "x"), moved[0])
    (tmp_path / ".f.1-2.tmp").touch()
    assert files.sweep_temp_files(str(tmp_path), 60, time.time()) == []
    assert files.sweep_temp_files(str(tmp_path), 60, time.time() + 61) == [".f.1-2.tmp"]
    assert files.make_fifo(str(tmp_path / "wake")) and files.make_fifo(str(tmp_path / "wake"))
    assert not files.make_fifo(str(tmp_path / "c"))
    files.remove_tree(str(tmp_path / "run"))
    files.remove_tree(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# --- logs


@pytest.mark.parametrize("cut", range(len(THREE) + 1))
def test_cut_then_append(tmp_path: Path, cut: int) -> None:
    """A writer was killed after any byte: whole records stay, the rest is kept aside, the next record is whole."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(THREE[:cut])
    kept = THREE[:cut].count(b"\n")
    seen = read_jsonl(str(path))
    assert [r["id"] for r in seen.records] == IDS[:kept] and not seen.bad_lines
    assert seen.torn == (cut > 0 and THREE[cut - 1 : cut] != b"\n")
    size = append_jsonl(str(path), {"id": "after"})
    again = read_jsonl(str(path))
    assert [r["id"] for r in again.records] == [*IDS[:kept], "after"]
    assert size == again.next_offset == path.stat().st_size and not again.torn and again.next_line == kept + 2
    torn = tmp_path / "events.jsonl.torn"
    rest = THREE[:cut].rpartition(b"\n")[2]
    assert (torn.read_bytes() if torn.exists() else b"") == (rest + b"\n" if rest else b"")


def test_a_long_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(THREE + b'{"id": "' + b"x" * 200_000)
    append_jsonl(str(path), {"id": "after"})
    assert [r["id"] for r in read_jsonl(str(path)).records] == [*IDS, "after"]


def test_bad_lines_are_reported_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    lines = [b'{"id": 1}', b"nonsense", b"", b"[1]", b' {"id": 2} \r', b'{"a": "\xff"}', b'{"id": 3}{"id": 4}']
    lines += [b'{"a":', '{"id": "\u2028é"}'.encode(), b'{"id": NaN}']
    path.write_bytes(b"\n".join(lines) + b"\n")
    for _ in range(2):
        seen = read_jsonl(str(path), first_line=10)
        assert [r["id"] for r in seen.records] == [1, 2, "\u2028é"]
        assert [number for number, _ in seen.bad_lines] == [11, 13, 15, 16, 17, 19]
        assert seen.bad_lines[0][1] == "nonsense"
        path.write_bytes(path.read_bytes())


@pytest.mark.parametrize("how", ["whole", "lines", "bytes", "random"])
def test_incremental_reading_is_the_same_in_any_pieces(tmp_path: Path, how: str) -> None:
    data = THREE * 5
    dice = random.Random(7)
    cuts = {
        "whole": [len(data)],
        "lines": [at + 1 for at, byte in enumerate(data) if byte == 10],
        "bytes": list(range(1, len(data) + 1)),
        "random": sorted({*(dice.randrange(len(data)) for _ in range(20)), len(data)}),
    }[how]
    path, offset, line, ids, done = tmp_path / "e.jsonl", 0, 1, [], 0
    with open(path, "ab", buffering=0) as file:
        for cut in cuts:
            file.write(data[done:cut])
            done = cut
            seen = read_jsonl(str(path), offset, line)
            ids += [r["id"] for r in seen.records]
            offset, line = seen.next_offset, seen.next_line
    assert ids == IDS * 5 and line == 16 and offset == len(data)


def test_a_missing_log_and_one_that_shrank(tmp_path: Path) -> None:
    path = str(tmp_path / "e.jsonl")
    assert read_jsonl(path, 50).next_offset == 0
    append_jsonl(path, [])
    assert read_jsonl(path).records == []
    size = append_jsonl(path, [{"id": 1}, {"id": 2}])
    assert append_jsonl(path, []) == size
    assert read_jsonl(path, size + 1).next_offset == size


def test_a_hundred_thousand_records(tmp_path: Path) -> None:
    path = str(tmp_path / "e.jsonl")
    append_jsonl(path, [{"id": number, "text": "é" * 20} for number in range(100_000)])
    assert [r["id"] for r in read_jsonl(path).records] == list(range(100_000))


def test_read_modify_append_under_one_lock(tmp_path: Path) -> None:
    path = str(tmp_path / "e.jsonl")
    lock = take(files.log_lock_path(path))
    assert lock is not None
    append_jsonl(path, {"id": 1}, lock=lock)
    with pytest.raises(LockHeldError, match="Timed out waiting for lock"), files.locked(lock.path, timeout=0.05):
        raise AssertionError("two holders")
    lock.close()
    append_jsonl(path, {"id": 2})
    assert len(read_jsonl(path).records) == 2


LIMITED = """
import resource, signal, sys
from wave_lib.base.errors import DiskError
from wave_lib.base.files import append_jsonl, write_json
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for act in (append_jsonl, write_json):
    path = sys.argv[1] + ("" if act is append_jsonl else ".json")
    try:
        act(path, {"id": "x" * 200})
    except DiskError as error:
        print(error.key)
"""


@pytest.mark.parametrize("room", [0, 1, 100, 209])
def test_a_full_disk_never_leaves_half_a_line(tmp_path: Path, start: Any, room: int) -> None:
    path = tmp_path / "e.jsonl"
    append_jsonl(str(path), [{"id": i} for i in range(20)])
    write_json(f"{path}.json", {"id": 0})
    before = path.read_bytes()
    out, _ = start(LIMITED, path, len(before) + room).communicate(timeout=30)
    assert out.split()[:1] == [b"no-space"]
    assert path.read_bytes() == before
    assert read_json(f"{path}.json").value in ({"id": 0}, {"id": "x" * 200})
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


@pytest.mark.skipif(os.getuid() != 0 or not sys.platform.startswith("linux"), reason="a small tmpfs needs root")
def test_a_full_tmpfs(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        path, written = str(small / "e.jsonl"), 0
        with pytest.raises(DiskError) as caught:
            for written in range(1000):  # noqa: B007
                append_jsonl(path, {"id": written, "text": "x" * 1500})
        assert caught.value.key == "no-space"
        seen = read_jsonl(path)
        assert [r["id"] for r in seen.records] == list(range(written)) and not seen.torn and not seen.bad_lines
        append_jsonl(path, {"id": -1})
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


APPENDER = """
import sys
from wave_lib.base.files import append_jsonl
print("ready", flush=True)
number = 0
while number < int(sys.argv[3]):
    append_jsonl(sys.argv[1], [{"by": sys.argv[2], "n": number, "half": h, "text": "x" * 3000} for h in (1, 2)],
                 durable=False)
    number += 1
"""


def test_writers_side_by_side_lose_nothing(tmp_path: Path, start: Any) -> None:
    path = tmp_path / "e.jsonl"
    writers = [start(APPENDER, path, name, 40) for name in "abcd"]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    seen = read_jsonl(str(path))
    assert not seen.torn and not seen.bad_lines
    for name in "abcd":
        assert [r["n"] for r in seen.records if r["by"] == name and r["half"] == 1] == list(range(40))
    pairs = [(r["by"], r["n"]) for r in seen.records]
    assert pairs[::2] == pairs[1::2]


def test_killed_writers_leave_a_log_that_goes_on(tmp_path: Path, start: Any) -> None:
    """kill -9 in the midst of appending, again and again; every record before the last one is whole and in order."""
    path = tmp_path / "e.jsonl"
    for generation in range(6):
        writer = start(APPENDER, path, generation, 10**9)
        assert writer.stdout.readline() == b"ready\n"
        size = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < size + 20_000 * (generation + 1):
            assert writer.poll() is None
        writer.kill()
        writer.wait()
    append_jsonl(str(path), {"by": "end", "n": 0})
    seen = read_jsonl(str(path))
    assert not seen.torn and not seen.bad_lines and seen.records[-1]["by"] == "end"
    for generation in range(6):
        numbers = [r["n"] for r in seen.records if r["by"] == str(generation)]
        assert len(numbers) > 5 and numbers == [n for n in range(len(numbers)) for _ in (1, 2)][: len(numbers)]


REPLACER = """
import sys
from wave_lib.base.files import write_json
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_json(sys.argv[1], {"n": number, "text": "x" * 50000}, durable=False)
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new(tmp_path: Path, start: Any) -> None:
    path = str(tmp_path / "f.json")
    for _ in range(5):
        writer = start(REPLACER, path)
        assert writer.stdout.readline() == b"ready\n"
        seen = set()
        while len(seen) < 5:
            reading = read_json(path)
            assert reading.outcome in (Outcome.WHOLE, Outcome.ABSENT)
            seen.add(reading.value["n"] if reading.value else 0)
        writer.kill()
        writer.wait()
        assert read_json(path).outcome is Outcome.WHOLE


STEPS = """
import sys
from wave_lib.base import durable_steps
from wave_lib.base.files import append_jsonl, remove, write_json
durable_steps.set_step_role("launcher")
write_json(sys.argv[1] + "/run-1700000000000-0a1b2c3d.json", 1)
append_jsonl(sys.argv[1] + "/events.jsonl", {"id": 1})
append_jsonl(sys.argv[1] + "/events.jsonl", {"id": 2})
remove(sys.argv[1] + "/run-1700000000000-0a1b2c3d.json")
"""


def test_durable_steps_are_recorded_and_each_can_be_the_last(tmp_path: Path, start: Any) -> None:
    log = tmp_path / "steps"
    (tmp_path / "plain").mkdir()
    assert start(STEPS, tmp_path / "plain", env={"WAVE_STEP_LOG": str(log)}).wait(30) == 0
    names = log.read_text().splitlines()
    assert names == [
        "launcher write run-*-*.json 1",
        "launcher append events.jsonl 1",
        "launcher append events.jsonl 2",
        "launcher remove run-*-*.json 1",
    ]
    for moment, ids in (("before", [1]), ("after", [1, 2])):
        folder, flag = tmp_path / moment, tmp_path / f"{moment}.flag"
        folder.mkdir()
        env = {"WAVE_CRASH_AT": f"{moment}|{names[2]}|{flag}"}
        assert start(STEPS, folder, env=env).wait(30) == -9
        assert [r["id"] for r in read_jsonl(str(folder / "events.jsonl")).records] == ids
        assert start(STEPS, folder, env=env).wait(30) == 0, "it kills once"




def test_within_unforced_nothing_is_forced_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    for name in ("fsync", "fdatasync"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, forced.append)
    monkeypatch.setattr(files, "_fdatasync", forced.append)
    with files.Unforced():
        files.write_json(str(tmp_path / "new/a.json"), {"a": 1})
        files.append_jsonl(str(tmp_path / "log.jsonl"), {"a": 1})
    assert forced == [] and files.load_json(str(tmp_path / "new/a.json")) == {"a": 1}
    files.append_jsonl(str(tmp_path / "log.jsonl"), {"a": 2})
    assert len(forced) == 1
