"""What the launcher does while agents run: states from logs, human feedback, signals, alerts, dashboards.

Holds:       nothing.
Writes:      feedback records in the coordination log; projections.
When killed: agents go on; feedback that was not yet recorded is recorded by the next refresh.

Spec: LAUNCH 9.1, 9.5; COORD 11.4.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..projections import dashboard_state
from ..state import coordination_store, feedback_store
from ..state.feedback_store import feedback_state_signature
from . import fact_collection, resident_orchestrator, signal_sync
from . import wave_reporting as report

if TYPE_CHECKING:
    from .wave_context import WaveContext

JsonObject = dict[str, Any]

LOOK_SECONDS = 1.0
"""Looks at logs and feedback lie at least this far apart, however often agents come and go."""


def on_progress(ctx: WaveContext, pending: Sequence[str]) -> None:
    """The progress tick: every three seconds and after every change, but not more often than needed. LAUNCH 9.1."""
    report.live_line(ctx, pending)
    if time.monotonic() - ctx.last_look < LOOK_SECONDS:
        return
    ctx.last_look = time.monotonic()
    report.refresh_agents(ctx)
    changed = watch_feedback(ctx)
    if resident_orchestrator.watch(ctx) or changed:
        on_refresh(ctx, pending)
    signal_sync.sync(ctx)
    dashboard_state.refresh_board_tail(ctx.dashboard, ctx.paths.messageboard(ctx.number))
    report.flush(ctx)


def on_refresh(ctx: WaveContext, pending: Sequence[str]) -> None:
    """The live refresh, every fifteen seconds or when something changed. Spec: LAUNCH 9.1."""
    fact_collection.refresh(ctx)
    alerts(ctx)


def alerts(ctx: WaveContext) -> None:
    """Overdue acknowledgements and stale clarification chains, told again when the set changes. Spec: COORD 6."""
    metrics = ctx.derived.response_metrics if ctx.derived else {}
    timeout = metrics.get("ackTimeoutMs")
    for name, key, details in (
        ("coordination_ack_overdue", "overdueAckRecordIds", f"records={{ids}}; ack_timeout_ms={timeout}"),
        ("clarification_chain_stale", "overdueClarificationIds", "clarifications={ids}"),
    ):
        ids = ", ".join(metrics.get(key) or ())
        if ids and ids != ctx.alerted.get(name):
            report.event(ctx, "warn", f"{name.replace('_', ' ')}: {ids}")
            action = "Acknowledge or resolve these records."
            report.board(ctx.lane, name, [ctx.number], "warn", details.format(ids=ids), action)
        ctx.alerted[name] = ids


def watch_feedback(ctx: WaveContext) -> bool:
    """Tell about questions that were asked or answered since the last look; True when there were any. LAUNCH 9.5."""
    rows = feedback_store.read_wave_requests(ctx.paths, ctx.number, [*ctx.runs], ctx.lane.orchestrator_id).rows
    changed = False
    for row in rows:
        signature = feedback_state_signature(row)
        if ctx.seen_feedback.get(row["id"]) == signature:
            continue
        ctx.seen_feedback[row["id"]] = signature
        changed = True
        if row["status"] == "pending":
            _asked(ctx, row)
        else:
            _answered(ctx, row)
    return changed


def _asked(ctx: WaveContext, row: JsonObject) -> None:
    command = answer_command(ctx, row["id"])
    report.event(ctx, "warn", f"Human feedback requested ({row['id']}): {row['question']}", row["agentId"])
    context = f"; context={row['context']}" if row.get("context") else ""
    report.board(
        ctx.lane,
        "human_feedback_requested",
        [ctx.number],
        "waiting-human",
        f"request_id={row['id']}; agent={row['agentId']}; question={row['question']}{context}",
        command,
    )
    ctx.lane.console.warn(f"[human-feedback] {row['agentId']} asks ({row['id']}): {row['question']}")
    ctx.lane.console.warn(f"[human-feedback] answer with: {command}")
    if row["id"] not in coordination_store.read_state(ctx.paths, ctx.number).by_id:
        coordination_store.append_record(
            ctx.paths, ctx.number, _feedback_record(row, "open", str(row.get("context") or ""))
        )


def _answered(ctx: WaveContext, row: JsonObject) -> None:
    answer = str(row.get("responseText") or "")
    report.event(ctx, "info", f"Human feedback answered ({row['id']}): {answer}", row["agentId"])
    report.board(
        ctx.lane,
        "human_feedback_answered",
        [ctx.number],
        "resolved",
        f"request_id={row['id']}; agent={row['agentId']}; operator={row.get('responseOperator')}; response={answer}",
    )
    state = coordination_store.read_state(ctx.paths, ctx.number)
    known = state.by_id.get(row["id"])
    if known is None or known["status"] == "open":
        coordination_store.append_record(ctx.paths, ctx.number, _feedback_record(row, "resolved", answer))
    escalation = state.by_id.get(f"escalation-{row['id']}")
    if escalation is not None and escalation["status"] not in ("resolved", "closed", "cancelled", "superseded"):
        coordination_store.append_record(ctx.paths, ctx.number, {**escalation, "status": "resolved", "detail": answer})


def _feedback_record(row: JsonObject, status: str, detail: str) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": "human-feedback",
        "agentId": row["agentId"] or "human",
        "status": status,
        "priority": "high",
        "targets": [f"agent:{row['agentId']}"],
        "summary": row["question"],
        "detail": detail,
        "source": "feedback",
    }


def answer_command(ctx: WaveContext, request_id: str) -> str:
    """The exact command that answers a question."""
    project = f" --project {ctx.paths.project_id}" if ctx.paths.profile.explicit_project else ""
    run = f" --run {ctx.paths.run_id}" if ctx.paths.run_id else ""
    return (
        f"wave control task act answer --lane {ctx.paths.lane} --wave {ctx.number} --id {request_id}"
        f'{project}{run} --response "<answer>"'
    )
