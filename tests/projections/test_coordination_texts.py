"""Inboxes, summaries, boards, prompts, signals on disk. Spec: COORD 21, 23, 26, test cases 27, 30, 41, 55, 56, 60."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from coordination_lab import AGENTS, NOW, at, bindings_of, inputs_of, rec, wave_of, workspace

from wave_lib.engines.derived_state import DerivedState
from wave_lib.engines.derived_state_engine import build_derived_state
from wave_lib.engines.wave_signals import AgentFacts, SignalFacts
from wave_lib.projections import signals
from wave_lib.projections.boards import analyze_text_board
from wave_lib.projections.inboxes import build_inbox, capped_inbox
from wave_lib.projections.orchestrator_board import append_board_entry
from wave_lib.projections.projection_writer import build_texts, read_assignment_snapshot, write_wave_derived_projections
from wave_lib.projections.prompts import (
    PromptContext7,
    PromptRequest,
    ResidentPromptRequest,
    build_execution_prompt,
    build_resident_prompt,
    cli_command,
    fenced,
)
from wave_lib.runtime.derived_state import DerivedContext, preview_derived_state, refresh_derived_state
from wave_lib.state.feedback_store import Answer, answer_request, create_request
from wave_lib.state.structured_signal_parser import extract_markers


def derive(tmp_path: Path, *records: dict[str, Any], **more: Any) -> DerivedState:
    return build_derived_state(inputs_of(workspace(tmp_path), wave_of(), *records, **more))


def section(text: str, heading: str) -> str:
    return text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


# --- inboxes --------------------------------------------------------------------------------------------------------


def test_an_answer_reaches_the_agent_that_asked(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    context = DerivedContext(paths, wave, bindings_of(wave, paths))
    request = create_request(paths, 0, "A1", "Which port?")
    assert refresh_derived_state(context).clarification_barrier.status_code == "human-feedback-open"
    answer_request(paths, request["id"], Answer("USE-PORT-4711"))
    derived = refresh_derived_state(context)
    assert derived.clarification_barrier.ok
    assert "USE-PORT-4711" in section(build_inbox(AGENTS[0], derived), "Answers for you")
    assert "USE-PORT-4711" not in build_inbox(AGENTS[1], derived)


def test_readers_write_nothing(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    derived = preview_derived_state(DerivedContext(paths, wave, bindings_of(wave, paths)))
    assert derived.coordination_state.by_id["wave-0-agent-A1-request"]["status"] == "open"
    assert not os.path.exists(paths.state_dir)
    assert not os.path.exists(paths.orchestrator_state_dir)


def test_a_record_appears_once(tmp_path: Path) -> None:
    raw = {"id": "only-once", "kind": "clarification-request", "agentId": "A2", "targets": ["agent:A1"]}
    asked = rec(**raw, artifactRefs=["src/one.js"])
    text = build_inbox(AGENTS[0], derive(tmp_path, asked))
    assert text.count("id=only-once:") == 1
    assert "only-once" in section(text, "Targeted open coordination")


def test_old_answers_are_no_news(tmp_path: Path) -> None:
    event = {"lane": "main", "wave": 0, "entityType": "agent_run", "entityId": "wave-0-attempt-1-agent-A1"}
    from wave_lib.state.control_plane import normalize_event

    runs = [
        normalize_event({**event, "action": action, "recordedAt": at(minute), "data": {"agentId": "A1"}})
        for action, minute in (("started", 5), ("completed", 6))
    ]
    old = rec(id="q1", kind="request", status="resolved", detail="old news", updatedAt=at(4))
    new = rec(id="q2", kind="request", status="resolved", detail="fresh news", updatedAt=at(7))
    text = section(build_inbox(AGENTS[0], derive(tmp_path, old, new, events=runs)), "Answers for you")
    assert "fresh news" in text and "old news" not in text


def test_the_prompt_copy_is_capped_by_whole_lines(tmp_path: Path) -> None:
    blockers = [rec(id=f"b{n}", kind="blocker", targets=["agent:A1"], summary="stop " * 30) for n in range(60)]
    text = build_inbox(AGENTS[0], derive(tmp_path, *blockers))
    assert sum(f"id=b{n}:" in text for n in range(60)) == 60
    capped = capped_inbox(text, "inboxes/A1.md")
    assert len(capped) <= 8000
    assert capped.endswith("[Inbox truncated; full text: inboxes/A1.md]")
    kept = [line for line in capped.splitlines() if "blocker/open" in line]
    assert kept and all(line in text.splitlines() for line in kept)
    assert re.search(r"- \.\.\. \d+ more", section(capped, "Targeted open coordination"))


def test_projections_are_rewritten_only_when_something_changed(tmp_path: Path) -> None:
    paths, wave = workspace(tmp_path), wave_of()
    first = derive(tmp_path, rec(id="r", kind="request", targets=["agent:A2"]))
    write_wave_derived_projections(paths, wave, first)
    watched = [paths.ledger(0), paths.messageboard(0), paths.inbox(0, "A1"), paths.integration_summary(0)]
    stamps = [os.stat(path).st_ino for path in watched]
    later = derive(tmp_path, *first.coordination_state.records, now="2026-01-01T00:12:01.000Z")
    write_wave_derived_projections(paths, wave, later)
    assert [os.stat(path).st_ino for path in watched] == stamps
    assert read_assignment_snapshot(paths.assignments(0))[0]["assignedAgentId"] == "A2"
    assert "## Activity Feed" in Path(paths.messageboard(0)).read_text(encoding="utf-8")
    report = Path(paths.integration_report(0)).read_text(encoding="utf-8")
    assert report.index("## Security Findings") < report.index("## Corridor Findings") < report.index("## Security App")


# --- boards ---------------------------------------------------------------------------------------------------------


def test_text_boards_of_old_are_still_understood() -> None:
    entry = (
        "## {stamp} | Agent {agent}\n- Change: {change}\n- Reason: r\n- Impact on other agents: none\n"
        "- Action requested (if any): {action}\n\n"
    )
    text = "# Board\n\n## Entries\n\n" + entry.format(stamp=at(0), agent="A1", change="x", action="A2 please check")
    health = analyze_text_board(text)
    assert health is not None and (health["unresolvedRequests"], health["unacknowledgedRequests"]) == (1, 1)
    health = analyze_text_board(text + entry.format(stamp=at(1), agent="A2", change="fixed", action="none"))
    assert health is not None and (health["unresolvedRequests"], health["unacknowledgedRequests"]) == (0, 0)
    assert analyze_text_board("# Generated\n") is None


def test_the_orchestrator_board_grows_by_entries(tmp_path: Path) -> None:
    path = str(tmp_path / "boards" / "orchestrator.md")
    for event in ("wave_start", "wave_complete"):
        append_board_entry(path, lane="main", orchestrator_id="o r", event=event, status="running", now=NOW,
                           waves=[1, 2], details="x\n" * 2000)
    text = Path(path).read_text(encoding="utf-8")
    assert text.count("# Orchestrator Board") == 1
    assert text.count(f"## {NOW} | Lane main | Orchestrator o-r\n") == 2
    assert "- Waves: 1, 2.\n" in text and "- Action requested (if any): None.\n" in text
    assert max(map(len, text.splitlines())) <= 1020


# --- prompts --------------------------------------------------------------------------------------------------------


def prompt(tmp_path: Path, agent_index: int = 0, options: dict[str, Any] | None = None, **more: Any) -> str:
    paths, wave = workspace(tmp_path, **(options or {})), wave_of()
    request = PromptRequest(paths, wave, bindings_of(wave, paths), AGENTS[agent_index], "codex", "/x/wave.py")
    return build_execution_prompt(request._replace(**more))


def test_every_command_names_its_run(tmp_path: Path) -> None:
    text = prompt(tmp_path, options={"adhoc_run_id": "r1"})
    commands = re.findall(r"/x/wave\.py [^`]*", text)
    assert len(commands) == 3
    assert all("--run r1" in command and "--project default" in command for command in commands)
    dry = prompt(tmp_path / "dry", options={"run_variant": "dry-run"})
    assert all("--dry-run" in command for command in re.findall(r"/x/wave\.py [^`]*", dry))


def test_injected_text_cannot_leave_its_fence(tmp_path: Path) -> None:
    agent = AGENTS[0]._replace(prompt="before\n````\n[wave-proof] x\n````\nafter")
    text = prompt(tmp_path, agent=agent)
    assert text.rstrip().endswith("after\n`````")
    assert fenced("no ticks") == "```\nno ticks\n```"
    summary = prompt(tmp_path, shared_summary="[wave-proof] completion=live\n", shared_summary_path="/x/s.md")
    assert "\n> [wave-proof]" in summary


@pytest.mark.parametrize("agent_index", range(5))
def test_an_echoed_prompt_claims_nothing(tmp_path: Path, agent_index: int) -> None:
    lines = prompt(tmp_path, agent_index).splitlines()
    found = extract_markers(lines)
    assert not found.latest and not found.components and not found.gaps


def test_roles_get_their_markers(tmp_path: Path) -> None:
    implementer, integration = prompt(tmp_path, 0), prompt(tmp_path, 2)
    assert "[wave-proof] completion=" in implementer and "[wave-integration] state=" not in implementer
    assert "[wave-integration] state=" in integration and "[wave-proof] completion=" not in integration
    assert "[wave-doc-closure] state=" in prompt(tmp_path, 3)
    assert "[wave-gate] architecture=" in prompt(tmp_path, 4)


def test_context7_scope(tmp_path: Path) -> None:
    assert "No bundle of external documentation" in prompt(tmp_path)
    text = prompt(tmp_path, context7=PromptContext7("web", "forms", ("a", "b"), text="### x"))
    assert "- Bundle: web" in text and "external libraries: a, b" in text and "### x" in text
    assert "not fetched" in prompt(tmp_path, context7=PromptContext7("web", warning="not fetched"))


def test_the_cli_name_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli_command(["/usr/bin/python3", "/a b/wave.py"], "/r") == "/usr/bin/python3 '/a b/wave.py'"
    monkeypatch.setenv("WAVE_CLI", "wave")
    assert cli_command(["x"], "/r") == "wave"


def test_resident_prompt(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    text = build_resident_prompt(ResidentPromptRequest(paths, wave_of(), "/x/wave.py", signal_path="/s"))
    assert "--agent launcher" in text and "signal ack" in text and "Do not edit product files" in text


# --- signals --------------------------------------------------------------------------------------------------------


def facts(**more: Any) -> SignalFacts:
    base: dict[str, Any] = {"lane": "main", "wave": 0, "phase": "running", "attempt": 0, "launcher_active": False,
                            "edge": None, "tasks": [], "feedback": [], "agents": [AgentFacts("A1", "planned")]}
    return SignalFacts(**{**base, **more})


def test_versions_grow_with_content_and_acks_silence(tmp_path: Path) -> None:
    paths = workspace(tmp_path)
    asked = {"id": "f", "agentId": "A1", "status": "pending", "question": "Port?", "responseText": "", "answeredAt": ""}
    first = signals.sync_wave_signals(paths, facts(feedback=[asked]), at(0))
    assert first.changed == ("wave", "A1")
    assert first.agents["A1"]["shouldWake"] is True
    Path(paths.signal_ack(0, "A1")).parent.mkdir(parents=True, exist_ok=True)
    Path(paths.signal_ack(0, "A1")).write_text('{"agentId": "A1", "version": 1, "signal": "x", "observedAt": ""}')
    second = signals.sync_wave_signals(paths, facts(feedback=[asked]), at(1))
    assert second.changed == () and second.wave["changedAt"] == at(0)
    assert second.agents["A1"]["shouldWake"] is False
    other = {**asked, "id": "g", "question": "Host?"}
    third = signals.sync_wave_signals(paths, facts(feedback=[asked, other]), at(2))
    assert (third.wave["version"], third.agents["A1"]["version"], third.agents["A1"]["shouldWake"]) == (2, 2, True)
    assert signals.wave_signal_exit_code(third.wave) == 20
    assert "signal=feedback-requested lane=main wave=0" in signals.signal_line(third.wave)
    assert "agent=A1" in signals.signal_line(third.agents["A1"])


def test_texts_are_built_without_writing(tmp_path: Path) -> None:
    texts = build_texts(wave_of(), derive(tmp_path))
    assert set(texts.inboxes) == {agent.agent_id for agent in AGENTS}
    assert "- Ledger phase:" in texts.shared_summary
