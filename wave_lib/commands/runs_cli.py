"""`wave runs`: the submitted runs of a lane, or of the whole workspace; and clearing old ones away. Spec: SUP 14.6."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ..base.errors import UsageError
from ..base.timestamps import parse_iso
from .arguments import COUNT, JSON, POSITIVE, SWITCH, TEXT, Command, Flag
from .supervisor_context import CONTEXT, all_roots, guarded, lane_paths, legacy_run, paths_of, print_json, read_once

if TYPE_CHECKING:
    from ..definition.supervisor_paths import SupervisorPaths
    from .arguments import Parsed

    JsonObject = dict[str, Any]

RUNS = Command(
    "runs",
    "List submitted runs, newest first; with --prune, clear finished ones away.",
    (
        *CONTEXT,
        Flag("--all-roots", SWITCH, "every project, lane and ad-hoc run of the workspace"),
        Flag("--status", TEXT, "only these, separated by commas", metavar="pending,running,completed,failed"),
        Flag("--limit", POSITIVE, "at most this many"),
        Flag("--prune", SWITCH, "remove finished runs beyond the bound"),
        Flag("--keep", COUNT, "how many finished runs stay", default="supervisor.keepRuns"),
        Flag("--older-than-days", COUNT, "remove only runs that ended longer ago"),
        JSON,
    ),
)
_STATUSES = ("pending", "running", "completed", "failed")


def run(argv: list[str], root: str) -> int:
    """`wave runs`."""
    return guarded(argv, lambda: _runs(argv, root))


def _runs(argv: list[str], root: str) -> int:
    parsed = read_once(RUNS, argv)
    if parsed is None:
        return 0
    wanted = _wanted(parsed.text("status"))
    places, keep = _places(parsed, root)
    if parsed.has("prune"):
        return _prune(parsed, places, keep)
    listings = [_listing(paths, wanted, parsed.number("limit", 0)) for paths in places]
    if parsed.has("json"):
        _print_json(listings, parsed.has("all-roots"))
    else:
        for listing in listings:
            _print_text(listing, parsed.has("all-roots"))
    return 0


def _wanted(text: str | None) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for word in chosen:
        if word not in _STATUSES:
            raise UsageError(f"--status must be one of: {', '.join(_STATUSES)} (got: {word})")
    return chosen


def _places(parsed: Parsed, root: str) -> tuple[list[SupervisorPaths], int]:
    """The roots to list, and the configured number of runs to keep."""
    lane = lane_paths(root, parsed.text("project"), parsed.text("lane"), parsed.text("adhoc-run"))
    keep = int(lane.profile.supervisor["keepRuns"])
    if parsed.has("all-roots"):
        return [paths for _, _, _, paths in all_roots(root)], keep
    return [paths_of(lane)], keep


class _Listing:
    """One root: its supervisor, the views of its runs, what could not be read."""

    def __init__(self, paths: SupervisorPaths) -> None:
        from ..runtime.supervisor_view import read_daemon

        self.paths = paths
        self.daemon = read_daemon(paths)
        self.runs: list[JsonObject] = []
        self.legacy: list[JsonObject] = []
        self.unreadable: list[str] = []


def _listing(paths: SupervisorPaths, wanted: tuple[str, ...], limit: int) -> _Listing:
    from ..definition.supervisor_paths import SupervisorPaths as Paths
    from ..runtime.supervisor_view import run_view
    from ..state.supervisor_state import read_object, run_ids

    listing = _Listing(paths)
    active: str | None = None
    for run_id in reversed(run_ids(paths)):
        run_paths = paths.run(run_id)
        view = run_view(paths, run_paths) if read_object(run_paths.request) is not None else None
        if view is None:
            listing.unreadable.append(run_id)
            continue
        document = view.document
        if document["status"] == "running":
            active = run_id
        if not wanted or document["status"] in wanted:
            listing.runs.append(document)
        if limit and len(listing.runs) >= limit:
            break
    listing.runs.sort(key=lambda document: (str(document["submittedAt"]), document["runId"]), reverse=True)
    for document in listing.runs:
        if document["status"] == "pending" and active is not None:
            document["blockedBy"] = active
    old = Paths(paths.root, f"{paths.state_dir}/control")
    for run_id in reversed(run_ids(old)):
        found = legacy_run(paths, run_id)
        state = read_object(found[1].state) if found else None
        if state is not None:
            listing.legacy.append({**state, "legacy": True})
    return listing


def _print_json(listings: list[_Listing], several: bool) -> None:
    documents = [
        {
            "daemon": listing.daemon.to_json(),
            "runs": listing.runs,
            "legacyRuns": listing.legacy,
            "unreadable": listing.unreadable,
            **({"root": listing.paths.rel(listing.paths.directory)} if several else {}),
        }
        for listing in listings
    ]
    print_json({"roots": documents} if several else documents[0])


def _print_text(listing: _Listing, several: bool) -> None:
    lease = listing.daemon.lease
    if several:
        print(f"# {listing.paths.rel(listing.paths.directory)}")
    expires = lease.get("leaseExpiresAt") or "none"
    print(f"daemon={listing.daemon.state} pid={lease.get('pid') or 'none'} lease={expires}")
    for document in [*listing.runs, *listing.legacy]:
        print(_line(document))
    for run_id in listing.unreadable:
        print(f"{run_id} unreadable")


def _line(document: JsonObject) -> str:
    def shown(key: str) -> object:
        return "-" if document.get(key) is None else document[key]

    line = (
        f"{document.get('runId')} {document.get('status')} {document.get('terminalDisposition')} "
        f"wave={shown('activeWave')} exit={shown('exitCode')} "
        f"submitted={shown('submittedAt')} updated={shown('updatedAt')}"
    )
    if document.get("queuePosition"):
        line += f" queue={document['queuePosition']}"
    if document.get("blockedBy"):
        line += f" blocked_by={document['blockedBy']}"
    return line + (" legacy" if document.get("legacy") else "")


# --- clearing away --------------------------------------------------------------------------------------------------


def _prune(parsed: Parsed, places: list[SupervisorPaths], configured: int) -> int:
    """Remove finished runs that hold no lock, beyond the newest ones. Spec: SUP 14.6."""
    bounded = parsed.has("keep") or parsed.has("older-than-days") or configured > 0
    if not bounded:
        raise UsageError("--prune needs a bound: --keep <n>, --older-than-days <d>, or supervisor.keepRuns")
    keep = parsed.number("keep", configured)
    days = parsed.number("older-than-days", 0)
    before = time.time() - days * 86400.0 if parsed.has("older-than-days") else None
    removed = [run_id for paths in places for run_id in _prune_root(paths, keep, before)]
    if parsed.has("json"):
        print_json({"removed": removed})
    else:
        print(f"[runs] removed {len(removed)} finished runs")
    return 0


def _prune_root(paths: SupervisorPaths, keep: int, before: float | None) -> list[str]:
    from ..base.files import remove_tree
    from ..state.supervisor_state import queue_order, read_state, run_ids

    states = (read_state(paths.run(run_id)) for run_id in run_ids(paths))
    finished = [state for state in states if state is not None and state["status"] in ("completed", "failed")]
    finished.sort(key=queue_order, reverse=True)
    removed = []
    for state in finished[keep:]:
        ended = parse_iso(state.get("completedAt")) or 0.0
        run_paths = paths.run(str(state["runId"]))
        if (before is None or ended < before) and not _locked(run_paths.directory):
            remove_tree(run_paths.directory)
            removed.append(str(state["runId"]))
    return removed


def _locked(directory: str) -> bool:
    from ..base.locks import held

    for folder, _, names in os.walk(directory):
        if any(name.endswith(".flock") and held(os.path.join(folder, name)) for name in names):
            return True
    return False
