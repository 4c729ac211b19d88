"""The cont-EVAL validator: the marker against the wave's eval targets and the benchmark catalog.

Pure. Spec: GATE 7.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base.errors import ConfigError
from ..definition.evals import check_target
from .gate_results import Verdict
from .summary_validation import Report, accept, no_marker, no_report, of_steward, refuse, with_detail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.evals import BenchmarkCatalog, EvalTarget
    from ..definition.wave_types import Agent

JsonObject = dict[str, Any]


def validate_cont_eval_summary(
    agent: Agent,
    summary: JsonObject | None,
    report: Report,
    *,
    targets: Sequence[EvalTarget] = (),
    catalog: BenchmarkCatalog | None = None,
    catalog_error: str | None = None,
    mode: str = "live",
) -> Verdict:
    """The word of cont-EVAL; mode `live` also checks ids, counts and benchmarks. Spec: GATE 7.8, 7.11."""
    marker = (summary or {}).get("eval")
    if marker is None:
        verdict = refuse("missing-wave-eval", no_marker(agent, summary, "eval", "[wave-eval]"), summary)
    else:
        verdict = _stated(agent, marker, report, mode)
        if verdict.ok and mode == "live":
            verdict = (
                _check_targets(marker, targets)
                or _check_benchmarks(marker, targets, catalog, catalog_error)
                or accept(marker.get("detail") or "Every eval target is satisfied.")
            )
    return of_steward(verdict, summary, "eval", agent.agent_id)


def _stated(agent: Agent, marker: JsonObject, report: Report, mode: str) -> Verdict:
    """Rows 2 to 4."""
    if report.path is None and mode == "live":
        return refuse("missing-cont-eval-report", no_report(agent, "cont-EVAL report", report))
    if marker.get("state") == "blocked":
        return refuse("cont-eval-blocked", with_detail("cont-EVAL is blocked", marker))
    if marker.get("state") != "satisfied":
        return refuse("cont-eval-needs-more-work", with_detail("cont-EVAL needs more work", marker))
    if report.path is not None and not report.exists:
        return refuse("missing-cont-eval-report", no_report(agent, "cont-EVAL report", report))
    return accept(marker.get("detail") or "cont-EVAL is satisfied.")


def _check_targets(marker: JsonObject, targets: Sequence[EvalTarget]) -> Verdict | None:
    """Rows 5 and 6."""
    if not targets:
        return refuse("missing-cont-eval-contract", "The wave declares no eval targets.")
    ids = {str(item).lower() for item in marker.get("targetIds") or []}
    declared = {target.id.lower() for target in targets}
    if not ids:
        return refuse("missing-cont-eval-target-ids", "The marker names no target_ids.")
    if marker.get("targets") != len(ids):
        return refuse(
            "cont-eval-target-count-mismatch",
            f"The marker counts {marker.get('targets')} targets and names {len(ids)}.",
        )
    if ids != declared:
        return refuse(
            "cont-eval-target-mismatch",
            f"The marker names {', '.join(sorted(ids))}; the wave declares {', '.join(sorted(declared))}.",
        )
    return None


def _check_benchmarks(
    marker: JsonObject, targets: Sequence[EvalTarget], catalog: BenchmarkCatalog | None, catalog_error: str | None
) -> Verdict | None:
    """Rows 7 to 10."""
    ids = {str(item).lower() for item in marker.get("benchmarkIds") or []}
    if not ids:
        return refuse("missing-cont-eval-benchmarks", "The marker names no benchmark_ids.")
    if marker.get("benchmarks") != len(ids):
        return refuse(
            "cont-eval-benchmark-count-mismatch",
            f"The marker counts {marker.get('benchmarks')} benchmarks and names {len(ids)}.",
        )
    if (marker.get("regressions") or 0) > 0:
        return refuse("cont-eval-regressions", with_detail(f"{marker['regressions']} regressions", marker))
    if catalog is None:
        return refuse("cont-eval-catalog-invalid", catalog_error or "There is no benchmark catalog.")
    try:
        allowed = [{item.lower() for item in check_target(target, catalog)} for target in targets]
    except ConfigError as error:
        return refuse("cont-eval-catalog-invalid", str(error))
    strangers = ids - set().union(*allowed)
    if strangers:
        return refuse("cont-eval-benchmark-mismatch", f"No target allows {', '.join(sorted(strangers))}.")
    for target, benchmarks in zip(targets, allowed):
        missing = benchmarks - ids if target.selection == "pinned" else set() if benchmarks & ids else benchmarks
        if missing:
            words = "" if target.selection == "pinned" else "any of "
            return refuse(
                "cont-eval-benchmark-mismatch", f"Target {target.id} lacks {words}{', '.join(sorted(missing))}."
            )
    return None
