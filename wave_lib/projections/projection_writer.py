"""Persisting what was derived; projections and caches only, never an input of a decision. Spec: LAUNCH 16, COORD 20.

Holds: nothing.
Writes: assignments, dependencies, docs queue, security, integration, ledger, shared summary, inboxes, message board,
and the list of pending escalations of a wave.
When killed: some projections are older than others; the next refresh writes those again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..base.files import Outcome, read_json, read_text, write_json, write_text
from .boards import build_message_board, build_pending_human
from .inboxes import build_inbox
from .shared_summary import build_shared_summary
from .summary_markdown import dependency_markdown, integration_markdown, security_markdown

if TYPE_CHECKING:
    from ..definition.lane_paths import LanePaths
    from ..definition.wave_types import Wave
    from ..engines.derived_state import DerivedState

    JsonObject = dict[str, Any]

_TIMES = ("generatedAt", "createdAt", "updatedAt")
_GENERATED = re.compile(r"^- Generated: .*$|age=[^,\]]+|(?<=age: ).*$", re.M)


class WaveTexts(NamedTuple):
    """Texts as they were written; the inboxes are by agent id."""

    shared_summary: str
    inboxes: dict[str, str]


def write_wave_derived_projections(paths: LanePaths, wave: Wave, derived: DerivedState) -> WaveTexts:
    """Write every projection of the derived state whose content changed; returns the texts that prompts are made of."""
    number = wave.wave
    _put_json(paths.assignments(number), assignment_snapshot(derived))
    _put_json(paths.dependency_snapshot(number), derived.dependency_snapshot)
    _put_text(paths.dependency_report(number), dependency_markdown(derived.dependency_snapshot))
    _put_json(paths.docs_queue(number), derived.docs_queue)
    _put_json(paths.security_summary(number), derived.security_summary)
    _put_text(paths.security_report(number), security_markdown(derived.security_summary))
    _put_json(paths.integration_summary(number), derived.integration_summary)
    _put_text(paths.integration_report(number), integration_markdown(derived.integration_summary))
    _put_json(paths.ledger(number), derived.ledger)
    texts = build_texts(wave, derived)
    _put_text(paths.shared_summary(number), texts.shared_summary)
    for agent_id, text in texts.inboxes.items():
        _put_text(paths.inbox(number, agent_id), text)
    _put_text(paths.messageboard(number), build_message_board(wave, derived))
    _put_text(paths.pending_human(number), build_pending_human(derived.coordination_state))
    return texts


def write_coordination_boards(paths: LanePaths, wave: Wave, derived: DerivedState) -> None:
    """What `wave coord render` writes: assignments, dependency snapshot, message board. Spec: COORD 24."""
    number = wave.wave
    _put_json(paths.assignments(number), assignment_snapshot(derived))
    _put_json(paths.dependency_snapshot(number), derived.dependency_snapshot)
    _put_text(paths.dependency_report(number), dependency_markdown(derived.dependency_snapshot))
    _put_text(paths.messageboard(number), build_message_board(wave, derived))


def write_agent_inbox(paths: LanePaths, wave: Wave, derived: DerivedState, agent_id: str) -> JsonObject:
    """Shared summary and inbox of one agent, and beside them `{sharedPath, inboxPath}`, which is returned too."""
    number = wave.wave
    texts = build_texts(wave, derived)
    shared, inbox = paths.shared_summary(number), paths.inbox(number, agent_id)
    _put_text(shared, texts.shared_summary)
    _put_text(inbox, texts.inboxes[agent_id])
    document = {"sharedPath": paths.rel(shared), "inboxPath": paths.rel(inbox)}
    write_json(inbox[: -len(".md")] + ".json", document, durable=False, if_changed=True)
    return document


def build_texts(wave: Wave, derived: DerivedState) -> WaveTexts:
    """Shared summary and inboxes, without writing them."""
    inboxes = {agent.agent_id: build_inbox(agent, derived) for agent in wave.agents}
    return WaveTexts(build_shared_summary(derived), inboxes)


def assignment_snapshot(derived: DerivedState) -> JsonObject:
    """`assignments/wave-<n>.json`. Spec: COORD 13.3."""
    return {
        "schemaVersion": 1,
        "kind": "wave-assignment-snapshot",
        "lane": derived.lane,
        "wave": derived.wave_number,
        "generatedAt": derived.now,
        "assignments": derived.capability_assignments,
    }


def read_assignment_snapshot(path: str) -> list[JsonObject]:
    """The assignments of a snapshot file, also of one that is a bare array; empty when there is none."""
    reading = read_json(path)
    value = reading.value if reading.outcome in (Outcome.WHOLE, Outcome.FOREIGN) else None
    rows = value.get("assignments") if isinstance(value, dict) else value
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _put_json(path: str, document: JsonObject) -> None:
    """Write unless only generation times differ: watchers of the files stay quiet."""
    present = read_json(path)
    value = present.value if present.outcome is Outcome.WHOLE else None
    if not isinstance(value, dict) or _timeless(value) != _timeless(document):
        write_json(path, document, durable=False)


def _timeless(document: JsonObject) -> JsonObject:
    return {key: value for key, value in document.items() if key not in _TIMES}


def _put_text(path: str, text: str) -> None:
    if _GENERATED.sub("", read_text(path)) != _GENERATED.sub("", text):
        write_text(path, text, durable=False)
