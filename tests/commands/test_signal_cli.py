"""`wave signal`: GATE 14 and cases 59, 60 of GATE 17."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wave_lib.base.errors import UsageError
from wave_lib.commands import signal_cli
from wave_lib.commands.signal_cli import SUBCOMMANDS, run
from wave_lib.state.marker_grammar import MARKERS
from wave_lib.state.structured_signal_parser import scan_text

PROOF = ["proof", "--completion", "contract", "--durability", "none", "--proof", "unit", "--state"]

PRINTED = [
    ([*PROOF, "Complete"], "[wave-proof] completion=contract durability=none proof=unit state=met"),
    (["doc-delta", "--state", "owned", "--path", "docs/a.md"], "[wave-doc-delta] state=owned paths=docs/a.md"),
    (
        ["doc-closure", "--state", "CLOSED", "--path", "a", "--path", "b", "--detail", "in step"],
        "[wave-doc-closure] state=closed paths=a,b detail=in step",
    ),
    (
        ["integration", "--state", "needs-more-work", "--claims", "2"],
        "[wave-integration] state=needs-more-work claims=2 conflicts=0 blockers=0",
    ),
    (
        ["component", "--id", "core", "--level", "Repo-Landed", "--state", "gap"],
        "[wave-component] component=core level=repo-landed state=gap",
    ),
    (["verdict", "--state", "fail", "--detail", "no"], "[wave-verdict] blocked detail=no"),
    (["phase", "--phase", "coding"], "[wave-phase] coding"),
    (["gap", "--kind", "ops"], "[wave-gap] kind=ops"),
    (["deploy", "--service", "api", "--state", "rolled-back"], "[deploy-status] service=api state=rolledover"),
    (
        ["infra", "--kind", "identity", "--target", "db", "--state", "conformant"],
        "[infra-status] kind=identity target=db state=conformant",
    ),
    (
        [
            "eval",
            "--state",
            "satisfied",
            "--targets",
            "1",
            "--benchmarks",
            "1",
            "--regressions",
            "0",
            "--target-ids",
            "T",
            "--benchmark-ids",
            "b",
        ],
        "[wave-eval] state=satisfied targets=1 benchmarks=1 regressions=0 target_ids=t benchmark_ids=b",
    ),
    (
        ["design", "--state", "blocked", "--decisions", "0", "--assumptions", "0", "--open-questions", "3"],
        "[wave-design] state=blocked decisions=0 assumptions=0 open_questions=3",
    ),
    (
        ["security", "--state", "clear", "--findings", "0", "--approvals", "0"],
        "[wave-security] state=clear findings=0 approvals=0",
    ),
    (
        [
            "gate",
            "--architecture",
            "pass",
            "--integration",
            "pass",
            "--durability",
            "gap",
            "--live",
            "pass",
            "--docs",
            "pass",
        ],
        "[wave-gate] architecture=pass integration=pass durability=gap live=pass docs=pass",
    ),
]


@pytest.mark.parametrize(("argv", "line"), PRINTED, ids=[f"{row[0][0]}-{at}" for at, row in enumerate(PRINTED)])
def test_prints_a_line_that_the_parser_accepts(argv: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv, "/") == 0
    assert capsys.readouterr().out == f"{line}\n"
    counts = scan_text(line).diagnostics.get(SUBCOMMANDS[argv[0]])
    assert counts is None or (counts["acceptedCount"], counts["normalizedCount"]) == (1, 0)


def test_every_kind_has_a_subcommand() -> None:
    assert set(SUBCOMMANDS.values()) == set(MARKERS)
    assert {row[0][0] for row in PRINTED} == set(SUBCOMMANDS)


@pytest.mark.parametrize(
    "argv",
    [
        [*PROOF, "met", "--detail", "saw state=gap"],
        [*PROOF, "met", "--detail", "state=gap"],
        [*PROOF, "met", "--detail", "two\nlines"],
        [*PROOF, "maybe"],
        PROOF[:-1],
        ["integration", "--state", "needs-more-work", "--claims", "2x"],
        ["integration", "--state", "needs-more-work", "--claims", "none"],
        ["doc-delta", "--state", "owned", "--path", "a,b"],
        ["doc-delta", "--state", "owned", "--path", ""],
        ["component", "--id", "Core", "--level", "x", "--state", "met"],
        ["nonsense"],
        ["gap", "--kind", "ops", "--extra", "1"],
    ],
)
def test_refuses_what_readers_would_not_parse_alike(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "markers.log"
    with pytest.raises(UsageError):
        run([*argv, "--append-file", str(target)], "/")
    assert capsys.readouterr().out == "" and not target.exists()


def test_json_and_append(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "markers.log"
    for _ in range(2):
        assert run(["gap", "--kind", "docs", "--json", "--append-file", str(target)], "/") == 0
    shown = capsys.readouterr().out.splitlines()
    assert json.loads("\n".join(shown[: len(shown) // 2])) == {
        "kind": "gap",
        "line": "[wave-gap] kind=docs",
        "appendFile": str(target),
    }
    assert target.read_text() == "[wave-gap] kind=docs\n" * 2


@pytest.mark.parametrize("argv", [[], ["help"], ["-h"], ["proof", "--help"]])
def test_usage_never_contains_a_marker(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(argv, "/") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: wave signal")
    counts = scan_text(shown).diagnostics
    assert not any(item["acceptedCount"] for item in counts.values() if isinstance(item, dict))


def test_shipped_texts_hold_no_accepted_marker() -> None:
    package = Path(signal_cli.__file__).resolve().parent.parent
    texts = [path for path in (package / "starter").rglob("*") if path.is_file() and path.suffix in (".md", ".txt")]
    for path in texts:
        signals = scan_text(path.read_text(encoding="utf-8"))
        accepted = [kind for kind, item in signals.diagnostics.items() if item["acceptedCount"]]
        assert accepted == [], path
