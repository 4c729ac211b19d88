"""One line of text, one marker: the table of GATE 17, cases 1 to 13, and what must never happen."""

from __future__ import annotations

import random

import pytest

from wave_lib.state.marker_grammar import MARKERS, canonical_line, placeholder_line
from wave_lib.state.marker_line import parse_marker_line, strip_escapes
from wave_lib.state.marker_recovery import recover

CANONICAL = [
    (
        "[WAVE-PROOF] state=complete proof=UNIT durability=None completion=Contract owner=x detail=a b",
        "[wave-proof] completion=contract durability=none proof=unit state=met detail=a b",
    ),
    ("- [wave-gap] kind=ops", "[wave-gap] kind=ops"),
    ("3. [wave-gap] kind=ops", "[wave-gap] kind=ops"),
    ("`[wave-gap] kind=ops`", "[wave-gap] kind=ops"),
    ("3. `[wave-gap] kind=ops`.", "[wave-gap] kind=ops"),
    ("**[wave-gap] kind=ops**", "[wave-gap] kind=ops"),
    ("\x1b[32m[wave-gap] kind=ops\x1b[0m", "[wave-gap] kind=ops"),
    ("\x1b]8;;x\x07[wave-gap]kind=OPS", "[wave-gap] kind=ops"),
    (
        "[wave-proof] completion=integrated durability=durable proof=integration state=met detail=fixed state=gap bug",
        "[wave-proof] completion=integrated durability=durable proof=integration state=met detail=fixed state=gap bug",
    ),
    (
        "[wave-security] state=clear findings=none approvals=0",
        "[wave-security] state=clear findings=0 approvals=0",
    ),
    (
        "[wave-doc-delta] state=owned paths=a.md, b.md detail=x",
        "[wave-doc-delta] state=owned paths=a.md,b.md detail=x",
    ),
    ("[wave-verdict] pass because ok", "[wave-verdict] pass detail=because ok"),
    ("[wave-verdict] pass because a=b", "[wave-verdict] pass detail=because a=b"),
    ("[wave-verdict] fail detail=t", "[wave-verdict] blocked detail=t"),
    ("[wave-verdict] state=hold", "[wave-verdict] hold"),
    ("[wave-verdict] verdict=pass fine", "[wave-verdict] pass detail=fine"),
    (
        "[deploy-status] state=rolled-back service=api detail=x",
        "[deploy-status] service=api state=rolledover detail=x",
    ),
    (
        "[wave-design] state=blocked decisions=1 assumptions=0 open-questions=2",
        "[wave-design] state=blocked decisions=1 assumptions=0 open_questions=2",
    ),
    (
        "[wave-component] component=Core.Widget level=Repo-Landed state=met",
        "[wave-component] component=Core.Widget level=repo-landed state=met",
    ),
    (
        "[infra-status] kind=identity target=db@eu/1 state=setup-required",
        "[infra-status] kind=identity target=db@eu/1 state=setup-required",
    ),
    ("[wave-phase] coding", "[wave-phase] coding"),
]

REJECTED = [
    (
        "[wave-proof] completion=contract state=met state=gap durability=none proof=unit",
        "conflicting-duplicate:state",
    ),
    ("[wave-proof] completion=contract detail=x", "missing-field:durability"),
    ("[wave-integration] state=needs-more-work claims=many conflicts=0 blockers=0", "bad-value:claims"),
    ("[wave-integration] state=needs-more-work claims=-1 conflicts=0 blockers=0", "bad-value:claims"),
    ("[wave-integration] state=needs-more-work claims=١ conflicts=0 blockers=0", "bad-value:claims"),
    ("[wave-component] component=Foo Bar level=x state=met", "bad-value:component"),
    ("[wave-gate] architecture=pass integration=pass durability=pass live=n/a docs=pass", "bad-value:live"),
    ("[wave-proof completion=contract durability=none proof=unit state=met", "unclosed-tag"),
    ("[wave-verdict] pass state=blocked", "conflicting-duplicate:verdict"),
    ("[wave-verdict]", "missing-field:verdict"),
    ("[wave-doc-closure] state=closed, paths=a", "bad-value:state"),
]

NO_CANDIDATE = [
    "> [wave-gap] kind=ops",
    "Emit [wave-gap] kind=ops",
    "- > [wave-gap] kind=ops",
    "- - [wave-gap] kind=ops",
    "`[wave-gap] kind=ops` and `more`",
    "`[wave-gap] kind=ops",
    "[wavelength] kind=ops",
    "",
]


@pytest.mark.parametrize(("line", "canonical"), CANONICAL)
def test_accepted_lines(line: str, canonical: str) -> None:
    found = parse_marker_line(line)
    assert found and found.reason is None and found.canonical == canonical
    assert found.normalized == (strip_escapes(line) != canonical)
    again = parse_marker_line(canonical)
    assert again and again.values == found.values and not again.normalized


@pytest.mark.parametrize(("line", "reason"), REJECTED)
def test_rejected_lines(line: str, reason: str) -> None:
    found = parse_marker_line(line)
    assert found and found.values is None and found.reason == reason


@pytest.mark.parametrize("line", NO_CANDIDATE)
def test_lines_that_are_no_candidates(line: str) -> None:
    assert parse_marker_line(line) is None


def test_a_rejection_keeps_what_was_readable() -> None:
    found = parse_marker_line("[wave-proof] completion=contract owner=me detail=x")
    assert found and found.raw_values == {"completion": "contract", "detail": "x"}
    assert found.unknown_keys == ("owner",)


def test_an_unknown_tag_is_a_candidate_of_no_kind() -> None:
    found = parse_marker_line("[wave-unheard] of=this")
    assert found and found.kind is None and found.values is None and found.reason is None


@pytest.mark.parametrize("kind", MARKERS)
def test_placeholders_show_every_required_field_and_never_parse(kind: str) -> None:
    line = placeholder_line(kind, optional=("detail", "paths", "target_ids", "benchmark_ids"))
    found = parse_marker_line(line)
    assert found and found.kind == kind and found.values is None
    assert all(field.name in line or field.name == MARKERS[kind].positional for field in MARKERS[kind].required)


RECOVERED = [
    ("proof", "[wave-proof] completion=contract durability=none proof=unit state=met,", "met"),
    ("proof", "[wave-proof] completion: contract, durability: none, proof: unit, state: **done**. detail=x", "met"),
    ("proof", "[wave-proof completion=contract durability=none proof=unit state=satisfied", "met"),
    ("docDelta", '[wave-doc-delta] state="owned"; paths=a.md', "owned"),
]


@pytest.mark.parametrize(("kind", "line", "state"), RECOVERED)
def test_recovery_reads_sloppy_punctuation(kind: str, line: str, state: str) -> None:
    marker = recover(kind, line).marker
    assert marker and marker.values and marker.values["state"] == state


@pytest.mark.parametrize(
    "line",
    [
        "[wave-proof] completion=contract durability=none proof=unit state=not met",
        "[wave-proof] completion=contract durability=none proof=unit state=met?",
        "[wave-proof] completion=contract durability=none proof=unit detail=state=met",
        "[wave-proof] completion=contract completion=live durability=none proof=unit state=met",
        "state=met completion=contract durability=none proof=unit",
    ],
)
def test_recovery_does_not_guess(line: str) -> None:
    assert recover("proof", line).marker is None


def test_recovery_hears_a_gap_in_a_line_it_cannot_restore() -> None:
    assert recover("proof", "[wave-proof] state=met, state=gap,").gap


REAL = [
    "[wave-proof] completion=contract durability=none proof=unit state=met detail=x",
    "[wave-gate] architecture=pass integration=gap durability=pass live=pass docs=pass",
    "[wave-gap] kind=ops",
    "[wave-verdict] pass detail=fine",
]


def _garbage(dice: random.Random) -> str:
    """A line made of marker fragments in wrong places."""
    parts = ["[wave-proof]", "[wave-gate]", "[wave-", "]", "state=", "met", "gap", "=", "`", "**", "> ", "- ", "1. "]
    parts += [" ", "detail=", "completion=contract", "durability=none", "proof=unit", "\x1b[1m", "\x1b]", "é", "\0"]
    parts += ["architecture=pass", "kind=ops", "[wave-gap]", "[wave-verdict]", "pass", ",", "\t", "<met|gap>"]
    if dice.random() < 0.5:
        return "".join(dice.choice(parts) for _ in range(dice.randrange(1, 14)))
    words = dice.choice(REAL).split(" ")
    for _ in range(dice.randrange(4)):
        words.insert(dice.randrange(len(words) + 1), dice.choice(parts))
    return " ".join(words)


def test_twenty_thousand_lines_without_an_exception_or_an_invented_signal() -> None:
    dice = random.Random(20_000)
    accepted = 0
    for _ in range(20_000):
        line = _garbage(dice)
        found = parse_marker_line(line)
        if found is None or found.values is None:
            continue
        accepted += 1
        # Whatever is accepted says nothing that does not stand in the line.
        assert found.kind is not None and f"[{MARKERS[found.kind].tag}]" in line.lower()
        for field in MARKERS[found.kind].required:
            assert str(found.values[field.key]) in line.lower()
        assert canonical_line(found.kind, found.values) == found.canonical
        again = parse_marker_line(found.canonical)
        assert again and again.values == found.values
    assert accepted > 2000
