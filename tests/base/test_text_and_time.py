from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from wave_lib.base import text, timestamps


@pytest.mark.parametrize(
    ("given", "limit", "wanted"),
    [("  a \n\t b ", 10, "a b"), ("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("", 3, "")],
)
def test_compact(given: str, limit: int, wanted: str) -> None:
    assert text.compact(given, limit) == wanted


def test_slugify() -> None:
    assert text.slugify("  3-A1: Über -- x_y ") == "3-a1-ber-x-y"
    assert len(text.slugify("a" * 90)) == 48


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"b": 1, "a": [True, None, "é"]}, '{"b":1,"a":[true,null,"é"]}'),
        ({"x": 1, "10": 2, "9": 3, "01": 4}, '{"9":3,"10":2,"x":1,"01":4}'),
        ([1.0, -0.0, 0.5, 1e21, 1e20], "[1,0,0.5,1e+21,100000000000000000000]"),
        ([1e-6, 1e-7, 1.5e-9, 2.5e22], "[0.000001,1e-7,1.5e-9,2.5e+22]"),
        ([float("nan"), float("inf")], "[null,null]"),
        ([{}, [], "\ud800", "\u2028\x7f\x01\n"], '[{},[],"\\ud800","\u2028\x7f\\u0001\\n"]'),
    ],
)
def test_compact_json_prints_what_javascript_prints(value: object, wanted: str) -> None:
    assert text.compact_json(value) == wanted


def test_compact_json_agrees_with_the_standard_library_and_sorts() -> None:
    value = {"b": {"d": 1, "c": [1, 2.5]}, "a": "x"}
    assert text.compact_json(value) == json.dumps(value, separators=(",", ":"))
    assert text.compact_json(value, sort_keys=True) == json.dumps(value, separators=(",", ":"), sort_keys=True)
    with pytest.raises(TypeError):
        text.compact_json({"a": object()})


def test_sha256(tmp_path: object) -> None:
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert text.sha256_text("abc") == wanted
    path = f"{tmp_path}/abc"
    with open(path, "w") as file:
        file.write("abc")
    assert text.sha256_file(path) == wanted


def test_nearest() -> None:
    assert text.edit_distance("kitten", "sitting") == 3
    assert text.nearest("lanuch", ["wait", "launch"]) == "launch"
    assert text.nearest("xyz", ["launch"]) is None
    assert text.nearest("ab", ["ac", "ab"]) == "ab"


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        ("1970-01-01T00:00:00.000Z", 0.0),
        ("2024-02-29T12:30:15.250Z", 1709209815.25),
        ("2024-02-29T13:30:15.25+01:00", 1709209815.25),
        ("2024-03-01", 1709251200.0),
        ("1969-12-31T23:59:59Z", -1.0),
        ("2023-02-29T00:00:00Z", None),
        ("2024-13-01T00:00:00Z", None),
        ("2024-01-01T25:00:00Z", None),
        ("soon", None),
        (None, None),
        (5, None),
    ],
)
def test_parse_iso(stamp: object, seconds: float | None) -> None:
    assert timestamps.parse_iso(stamp) == seconds


def test_stamps_round_trip() -> None:
    before = time.time()
    now = timestamps.parse_iso(timestamps.now_iso())
    assert now is not None and before - 0.002 <= now <= time.time()
    for seconds in (0, 951782400.123, 4102444799.999, 1709164799.5):
        assert timestamps.parse_iso(timestamps.iso_of(seconds)) == pytest.approx(seconds, abs=0.0006)
    assert timestamps.compact_stamp(0) == "19700101T000000000Z"


def test_the_short_way_to_compact_json_gives_what_the_long_way_gives() -> None:
    pick = random.Random(7)
    scalars = [None, True, 0, -12, 1.0, 0.5, -0.0, 1e21, 1e-7, float("nan"), "", "a,1.5", '"2":', "é", "\ud800", "\x7f"]

    def value(depth: int) -> Any:
        kind = pick.randrange(4) if depth else 0
        if kind == 1:
            return [value(depth - 1) for _ in range(pick.randrange(4))]
        if kind == 2:
            return {pick.choice(["b", "a", "10", "2", "01", "4294967295"]): value(depth - 1) for _ in range(4)}
        return pick.choice(scalars)

    for _ in range(5000):
        sample = value(4)
        parts: list[str] = []
        text._emit(sample, False, parts.append)
        assert text.compact_json(sample) == "".join(parts)
