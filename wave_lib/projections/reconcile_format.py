"""The lines of `wave launch --reconcile-status`. Spec: CFG 17.6, LAUNCH 4.3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..base.text import compact

if TYPE_CHECKING:
    from ..engines.run_state_reconciler import Reason, ReconcileResult


def reconcile_lines(result: ReconcileResult) -> list[str]:
    """The report after any stale-artifact lines."""
    lines = [f"[reconcile] added from status files: {wave_list(result.added_from_before)}"]
    for blocked in result.blocked_from_status:
        lines.append(f"[reconcile] wave {blocked.wave} not reconstructable: {reasons_text(blocked.reasons)}")
    for kept in result.preserved_with_drift:
        shown = reasons_text(kept.reasons)
        lines.append(f"[reconcile] wave {kept.wave} preserved as {kept.previous_state}: {shown}")
    lines.append(f"[reconcile] completed waves now: {wave_list(result.state['completedWaves'])}")
    return lines


def wave_list(waves: Iterable[int]) -> str:
    """`0, 1, 4`, or `none`."""
    return ", ".join(str(wave) for wave in waves) or "none"


def reasons_text(reasons: Sequence[Reason]) -> str:
    """`<code>=<detail>; …`, both shortened; `unknown reason` when there is none."""
    parts = [f"{compact(reason.code, 80)}={compact(reason.detail, 240)}" for reason in reasons if reason.code]
    return "; ".join(parts) or "unknown reason"
