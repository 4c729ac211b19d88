"""Markers in a log: GATE 17, cases 14 to 24, and the same log fed in any pieces."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from wave_lib.state import structured_signal_parser as parser
from wave_lib.state.structured_signal_parser import collect_text, extract_markers, scan_text

PROOF = "[wave-proof] completion=contract durability=none proof=unit state=met"
DELTA = "[wave-doc-delta] state=owned paths=docs/a.md"
COMPONENT = "[wave-component] component=core level=repo-landed state=met"
INTEGRATION = "[wave-integration] state=ready-for-doc-closure claims=0 conflicts=0 blockers=0"


def kinds(log: str) -> set[str]:
    signals = scan_text(log)
    return set(signals.latest) | ({"component"} if signals.components else set())


def event(**members: object) -> str:
    return json.dumps(members)


def claude_tool(command: str | None, output: object, name: str = "Bash") -> str:
    given = {"command": command} if command else {"file_path": "x"}
    use = {"type": "tool_use", "id": "t1", "name": name, "input": given}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": output}
    return "\n".join(
        [
            event(type="assistant", message={"content": [use]}),
            event(type="user", message={"content": [result]}),
        ]
    )


COUNTED = [
    ("pure fence", f"```\n{DELTA}\n{COMPONENT}\n\n{INTEGRATION}\n```", {"docDelta", "component", "integration"}),
    ("example fence", f"```\nExample output format:\n{DELTA}\n{PROOF}\n```", set()),
    ("open fence", f"```\nsome prose\n{DELTA}\n{PROOF}\n{COMPONENT}", {"docDelta", "proof", "component"}),
    ("stray fence", f"```\nprose\n```text\n{DELTA}\n{PROOF}\n```", {"docDelta", "proof"}),
    ("unknown tag keeps a fence pure", f"```\n[wave-new] a=b\n{PROOF}\n```", {"proof"}),
    ("any text field", event(payload={"text": f"done\n{PROOF}"}), {"proof"}),
    ("tool output without command", event(aggregated_output=f"{DELTA}\n{COMPONENT}"), {"docDelta", "component"}),
    (
        "claude result",
        event(type="result", result="\n".join([PROOF, DELTA, COMPONENT, INTEGRATION])),
        {"proof", "docDelta", "component", "integration"},
    ),
    ("claude text", event(type="assistant", message={"content": [{"type": "text", "text": PROOF}]}), {"proof"}),
    ("claude echo", claude_tool(f'echo "{PROOF}"', PROOF), {"proof"}),
    ("claude cat", claude_tool("cat log", PROOF), set()),
    ("claude read tool", claude_tool(None, [{"type": "text", "text": PROOF}], "Read"), set()),
    ("claude prompt echo", event(type="user", message={"content": PROOF}), set()),
    ("codex message", event(type="item.completed", item={"type": "agent_message", "text": PROOF}), {"proof"}),
    ("codex reasoning", event(type="item.completed", item={"type": "reasoning", "text": PROOF}), set()),
    ("codex started", event(type="item.started", item={"type": "agent_message", "text": PROOF}), set()),
    (
        "codex cat",
        event(
            type="item.completed",
            item={"type": "command_execution", "command": "cat skills/x.md", "aggregated_output": INTEGRATION},
        ),
        set(),
    ),
    (
        "codex signal",
        event(
            type="item.completed",
            item={
                "type": "command_execution",
                "command": "python3 wave.py signal integration --state x",
                "aggregated_output": INTEGRATION,
            },
        ),
        {"integration"},
    ),
    ("old codex message", event(msg={"type": "agent_message", "message": PROOF}), {"proof"}),
    (
        "old codex exec",
        "\n".join(
            [
                event(msg={"type": "exec_command_begin", "call_id": "1", "command": ["bash", "-lc", "cat x"]}),
                event(msg={"type": "exec_command_end", "call_id": "1", "aggregated_output": PROOF}),
            ]
        ),
        set(),
    ),
    ("opencode text", event(type="text", part={"type": "text", "text": PROOF}), {"proof"}),
    ("opencode tool", event(part={"type": "tool", "state": {"input": {"command": "ls"}, "output": PROOF}}), set()),
    ("array of events", json.dumps([{"type": "result", "result": PROOF}]), {"proof"}),
    ("fences are per text", event(text="```\nopen") + "\n" + event(text=PROOF), {"proof"}),
    ("an event inside a plain fence is no prose", f"```\n{event(a=1)}\n{PROOF}\n```", {"proof"}),
]


@pytest.mark.parametrize(("log", "expected"), [row[1:] for row in COUNTED], ids=[row[0] for row in COUNTED])
def test_what_counts(log: str, expected: set[str]) -> None:
    assert kinds(log) == expected


def test_dropped_examples_and_ignored_tools_are_counted_as_such() -> None:
    example = scan_text(f"```\nExample output format:\n{PROOF}\n```").diagnostics["proof"]
    assert example["rawCount"] == 0
    ignored = scan_text(COUNTED[16][1]).diagnostics["integration"]
    assert (ignored["rawCount"], ignored["ignoredToolCount"]) == (0, 1)


def test_the_last_one_wins_in_the_order_of_first_appearance() -> None:
    gap = PROOF.replace("met", "gap")
    parts = [
        COMPONENT.replace("core", name).replace("met", state)
        for name, state in (("a", "met"), ("b", "met"), ("a", "gap"))
    ]
    signals = scan_text("\n".join([gap, *parts, PROOF]))
    assert signals.latest["proof"]["state"] == "met"
    assert [(item["componentId"], item["state"]) for item in signals.components] == [("a", "gap"), ("b", "met")]


def test_services_and_checks_do_not_hide_each_other() -> None:
    log = "[deploy-status] service=a state=failed\n[deploy-status] service=b state=healthy\n"
    log += (
        "[infra-status] kind=dependency target=x state=drift\n[infra-status] kind=dependency target=x state=conformant"
    )
    signals = scan_text(log)
    assert [(item["service"], item["state"]) for item in signals.deployments] == [("a", "failed"), ("b", "healthy")]
    assert [item["state"] for item in signals.infra] == ["conformant"]


def test_samples_are_the_last_three() -> None:
    lines = [f"[wave-proof] state=met, n={number}" for number in range(5)]
    found = scan_text("\n".join([*lines, f"- {PROOF}"])).diagnostics["proof"]
    assert (found["rawCount"], found["acceptedCount"], found["normalizedCount"], found["rejectedCount"]) == (6, 1, 1, 5)
    assert [sample["line"][-1] for sample in found["rejectedSamples"]] == ["2", "3", "4"]
    assert found["rejectedSamples"][0]["reason"] == "missing-field:completion"
    assert found["unknownKeysSeen"] == ["n"]
    assert found["normalizedSamples"] == [{"from": f"- {PROOF}", "to": PROOF}]


def test_rejected_components_carry_their_id() -> None:
    found = scan_text("[wave-component] component=core level=x state=met,").diagnostics["component"]
    assert found["seenComponentIds"] == ["core"] and found["rejectedSamples"][0]["componentId"] == "core"


def test_offset_ranges_and_noise(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    old, echo = f"{PROOF}\n".encode(), f"{DELTA}\n".encode()
    noise = b"building module, nothing to see here\r\n" * 30_000
    log.write_bytes(old + echo + f"{INTEGRATION}\r\n".encode() + noise)
    ranges = [[len(old), len(old) + len(echo)]]
    signals = extract_markers(str(log), len(old), ranges)
    assert set(signals.latest) == {"integration"}
    assert set(extract_markers(str(log)).latest) == {"proof", "docDelta", "integration"}
    assert extract_markers(str(log), log.stat().st_size).latest == {}
    assert extract_markers(str(tmp_path / "missing")).latest == {}


def test_all_line_ends_and_pieces_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(f"a\r{PROOF}\r\n{DELTA}\n\r\n```\r{INTEGRATION}\r```\rtail".encode())
    whole = list(parser.log_lines(str(log)))
    for size in range(1, 40):
        monkeypatch.setattr(parser, "_CHUNK", size)
        assert list(parser.log_lines(str(log))) == whole
    assert set(extract_markers(str(log)).latest) == {"proof", "docDelta", "integration"}


def test_an_oversized_line_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(parser, "_CHUNK", 300)
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 5000 + f"\n{PROOF}\n".encode())
    signals = extract_markers(str(log))
    assert signals.latest["proof"] and signals.diagnostics["oversizedLineCount"] == 1


def test_hostile_json_does_not_break_the_reader() -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    assert kinds(f"{deep}\n{'[' * 100_000}\n{PROOF}") == {"proof"}


def test_failure_text_is_what_the_agent_said(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    tool = COUNTED[16][1].replace("ready", "secret")
    log.write_text("\n".join(["plain", tool, event(type="result", is_error=True, subtype="error_max_turns")]))
    text = collect_text(str(log))
    assert "plain" in text and "error_max_turns" in text and "secret" not in text
    log.write_text("x" * 100 + "\n" + "y" * 100)
    assert collect_text(str(log), limit=150).endswith("y" * 100)


def test_random_logs_only_yield_emitted_signals() -> None:
    dice = random.Random(7)
    pieces = [
        PROOF,
        DELTA,
        "```",
        "```text",
        "prose",
        f"> {INTEGRATION}",
        f"say {INTEGRATION}",
        "",
        "{",
        '{"a":1}',
        claude_tool("cat x", INTEGRATION),
        "[",
        "]",
    ]
    for _ in range(400):
        log = "\n".join(dice.choice(pieces) for _ in range(dice.randrange(12)))
        found = kinds(log)
        assert "integration" not in found
        assert ("proof" in found) <= (PROOF in log) and ("docDelta" in found) <= (DELTA in log)
