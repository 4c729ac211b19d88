"""What can be asked about stored events. Filtering and paging happen in the database. Spec: PROV 10.7."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from .api import ApiError, Request, Response, clean_text
from .store import RUN_KEY, rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    JsonObject = dict[str, Any]

_KEY_FILTERS = {
    "workspaceId": "workspace_id", "projectId": "project_id", "runKind": "run_kind", "runId": "run_id", "lane": "lane",
    "wave": "wave",
}  # fmt: skip
_EVENT_FILTERS = {
    "orchestratorId": "orchestrator_id", "runtimeVersion": "runtime_version", "benchmarkRunId": "benchmark_run_id",
}  # fmt: skip
_COUNT_PARAMETERS = ("wave", "limit", "offset")
_BENCHMARK_COLUMNS = (*RUN_KEY, "benchmark_run_id")
_KEY, _BENCHMARK_KEY = ", ".join(RUN_KEY), ", ".join(_BENCHMARK_COLUMNS)
_LARGEST = 2**53
_TIMELINE = 2000
RUN, BENCHMARK = "run_kind IN ('roadmap', 'adhoc')", "benchmark_run_id IS NOT NULL"


class Selection(NamedTuple):
    """A WHERE clause and its values."""

    where: str
    values: tuple[Any, ...]


def selection(request: Request, kind: str) -> Selection:
    """The filters of a query string. ApiError `invalid-query` for a malformed number."""
    clauses, values = [kind], []
    for name, column in _KEY_FILTERS.items():
        if request.query.get(name):
            clauses.append(f"{column} = ?")
            values.append(number(request, name) if name in _COUNT_PARAMETERS else request.query[name])
    for name, column in _EVENT_FILTERS.items():
        if not request.query.get(name):
            continue
        if kind == BENCHMARK and name == "benchmarkRunId":
            clauses.append("benchmark_run_id = ?")
        else:  # any event of the run will do
            same = " AND ".join(f"o.{key} IS e.{key}" for key in RUN_KEY)
            clauses.append(f"EXISTS (SELECT 1 FROM events o WHERE {same} AND o.{column} = ?)")
        values.append(request.query[name])
    return Selection(" AND ".join(clauses), tuple(values))


def number(request: Request, name: str, default: int = 0) -> int:
    """A non-negative integer of the query string."""
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > _LARGEST:
        raise ApiError("invalid-query", f"{name} must be a non-negative integer.")
    return int(text)


# --- runs and benchmarks: lists, and one of them in detail -----------------------------------------------------------


class Subject(NamedTuple):
    """What a pair of routes is about. `sections`: key of the answer to the type of events it holds."""

    kind: str
    columns: tuple[str, ...]
    summary: Callable[[sqlite3.Connection, sqlite3.Row], JsonObject]
    missing: str
    sections: Mapping[str, str]


def listing(subject: Subject) -> Callable[[Request], Response]:
    """`GET /runs`, `GET /benchmarks`: a summary of each on the asked page."""

    def answer(request: Request) -> Response:
        chosen = selection(request, subject.kind)
        with request.app.store.reading() as db:
            keys, total = _keys(db, request, chosen, subject.columns)
            found = [subject.summary(db, key) for key in keys]
        return Response(found, headers={"X-Total-Count": str(total)})

    return answer


def detail(subject: Subject) -> Callable[[Request], Response]:
    """`GET /run`, `GET /benchmark`: the newest that matches, with its events."""

    def answer(request: Request) -> Response:
        chosen = selection(request, subject.kind)
        with request.app.store.reading() as db:
            keys, total = _keys(db, request, chosen, subject.columns, only_newest=True)
            if not keys:
                raise ApiError(subject.missing, "Nothing matches.")
            key = keys[0]
            timeline, cut = _timeline(db, key, subject.columns)
            found: JsonObject = {"summary": subject.summary(db, key), "timeline": timeline}
            for name, entity in subject.sections.items():
                found[name] = _events(db, key, subject.columns, entity)
            found["artifacts"] = _artifacts(db, key, subject.columns)
        if cut:
            found["timelineTruncated"] = True
        if total > 1:
            found["matchedRuns"] = total
        return Response(found)

    return answer


def _keys(
    db: sqlite3.Connection, request: Request, chosen: Selection, key: Sequence[str], *, only_newest: bool = False
) -> tuple[list[sqlite3.Row], int]:
    """The keys on the asked page, most recently updated first, and how many there are."""
    columns = ", ".join(key)
    limit = 1 if only_newest else min(number(request, "limit", 200) or 200, 1000)
    offset = 0 if only_newest else number(request, "offset")
    grouped = f"FROM events e WHERE {chosen.where} GROUP BY {columns}"
    total = db.execute(f"SELECT COUNT(*) FROM (SELECT 1 {grouped})", chosen.values).fetchone()[0]
    page = rows(
        db,
        f"SELECT {columns}, MIN(recorded_at) AS started, MAX(recorded_at) AS updated {grouped}"
        f" ORDER BY updated DESC, {columns} LIMIT ? OFFSET ?",
        (*chosen.values, limit, offset),
    )
    return page, total


def run_summary(db: sqlite3.Connection, key: sqlite3.Row) -> JsonObject:
    """One row of `/runs`."""
    where, values = _same(key, RUN_KEY)
    counts: dict[str, int] = {}
    artifacts = 0
    for row in rows(
        db,
        f"SELECT entity_type, COUNT(*) AS events, SUM(artifact_count) AS artifacts FROM events WHERE {where}"
        " GROUP BY entity_type",
        values,
    ):
        counts[row["entity_type"]] = row["events"]
        artifacts += row["artifacts"]
    attempts = {
        _attempt(row)
        for row in rows(db, f"SELECT attempt, event FROM events WHERE {where} AND entity_type = 'attempt'", values)
    }
    agents = {
        row["agent_id"] or clean_text(_data(row).get("agentId"))
        for row in rows(db, f"SELECT agent_id, event FROM events WHERE {where} AND entity_type = 'agent_run'", values)
    }
    tags = rows(db, f"SELECT DISTINCT tags FROM events WHERE {where}", values)
    status = _latest(db, where, values, "action", "entity_type = 'wave_run'") or _latest(db, where, values, "action")
    return {
        **_identity(key),
        "orchestratorId": _latest(db, where, values, "orchestrator_id", "orchestrator_id IS NOT NULL"),
        "runtimeVersion": _latest(db, where, values, "runtime_version", "runtime_version IS NOT NULL"),
        "startedAt": key["started"],
        "updatedAt": key["updated"],
        "status": status or "unknown",
        "latestGate": _latest(db, where, values, "outcome", "entity_type = 'gate'"),
        "attemptCount": len(attempts - {None}),
        "agentIds": sorted(agent for agent in agents if agent),
        "proofBundleCount": counts.get("proof_bundle", 0),
        "coordinationRecordCount": counts.get("coordination_record", 0),
        "artifactCount": artifacts,
        "tags": sorted({tag for row in tags for tag in json.loads(row["tags"])}),
    }


def _attempt(row: sqlite3.Row) -> int | None:
    said = _data(row).get("attemptNumber")
    return said if isinstance(said, int) and not isinstance(said, bool) else row["attempt"]


def benchmark_summary(db: sqlite3.Connection, key: sqlite3.Row) -> JsonObject:
    """One row of `/benchmarks`."""
    where, values = _same(key, _BENCHMARK_COLUMNS)
    told = [
        (row["action"], _data(row))
        for row in rows(
            db,
            f"SELECT action, event FROM events WHERE {where} AND entity_type = 'benchmark_run'"
            " ORDER BY recorded_at DESC, id DESC",
            values,
        )
    ]

    def latest(name: str) -> Any:
        return next((data[name] for _, data in told if data.get(name) is not None), None)

    counts = {
        row["entity_type"]: row["events"]
        for row in rows(
            db, f"SELECT entity_type, COUNT(*) AS events FROM events WHERE {where} GROUP BY entity_type", values
        )
    }
    action = told[0][0] if told else _latest(db, where, values, "action")
    ready = latest("comparisonReady")
    items = counts.get("benchmark_item", 0)
    reviews = f"SELECT COALESCE(outcome, 'review-only'), COUNT(*) FROM events WHERE {where} AND entity_type = 'review'"
    return {
        **_identity(key),
        "benchmarkRunId": key["benchmark_run_id"],
        "startedAt": key["started"],
        "updatedAt": key["updated"],
        "status": action or "unknown",
        "action": action,
        "summary": latest("summary"),
        "adapter": latest("adapter"),
        "adapterId": _named(latest("adapter")),
        "manifest": latest("manifest"),
        "manifestId": _named(latest("manifest")),
        "selectedArms": latest("selectedArms") or [],
        "comparisonMode": latest("comparisonMode"),
        "comparisonReady": ready if isinstance(ready, bool) else None,
        "benchmarkItemCount": items,
        "itemCount": items,
        "reviewCount": counts.get("review", 0),
        "verificationCount": counts.get("verification", 0),
        "reviewBreakdown": {row[0]: row[1] for row in rows(db, f"{reviews} GROUP BY 1", values)},
    }


def _named(value: object) -> str | None:
    """The id of an adapter or manifest: of the object, or the string itself."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("id", "slug", "name", "label") if value.get(name)), None)
    return value if isinstance(value, str) else None


RUNS = Subject(
    RUN,
    RUN_KEY,
    run_summary,
    "run-not-found",
    {
        "attempts": "attempt",
        "agentRuns": "agent_run",
        "gates": "gate",
        "proofs": "proof_bundle",
        "coordination": "coordination_record",
    },
)
BENCHMARKS = Subject(
    BENCHMARK,
    _BENCHMARK_COLUMNS,
    benchmark_summary,
    "benchmark-not-found",
    {"run": "benchmark_run", "items": "benchmark_item", "verifications": "verification", "reviews": "review"},
)
runs, run = listing(RUNS), detail(RUNS)
benchmarks, benchmark = listing(BENCHMARKS), detail(BENCHMARKS)


# --- overview and artifacts -------------------------------------------------------------------------------------------


def overview(request: Request) -> Response:
    """`GET /analytics/overview`."""
    chosen, tested = selection(request, RUN), selection(request, BENCHMARK)
    with request.app.store.reading() as db:
        statuses = _statuses(db, chosen, _KEY, "wave_run")
        benchmark_statuses = _statuses(db, tested, _BENCHMARK_KEY, "benchmark_run")
        ready = _readiness(db, tested)
        run_latest = _maximum(db, chosen)
        benchmark_latest = _maximum(db, tested)
        either = Selection(f"(({chosen.where}) OR ({tested.where}))", (*chosen.values, *tested.values))
        counts = {
            row["entity_type"]: row["events"]
            for row in rows(
                db,
                f"SELECT entity_type, COUNT(*) AS events FROM events e WHERE {either.where} GROUP BY entity_type",
                either.values,
            )
        }
        artifacts = f"SELECT COALESCE(SUM(artifact_count), 0) FROM events e WHERE {either.where}"
        answer = {
            "runCount": sum(statuses.values()),
            "benchmarkRunCount": sum(benchmark_statuses.values()),
            "latestRunUpdatedAt": run_latest,
            "latestBenchmarkUpdatedAt": benchmark_latest,
            "latestActivityAt": max(filter(None, (run_latest, benchmark_latest)), default=None),
            "runStatusCounts": statuses,
            "benchmarkStatusCounts": benchmark_statuses,
            "benchmarkComparisonReadyCount": ready.count(True),
            "benchmarkComparisonPendingCount": ready.count(False),
            "benchmarkComparisonUnknownCount": ready.count(None),
            "gateCounts": _outcomes(db, chosen, "gate", "unknown"),
            "reviewValidityCounts": _outcomes(db, tested, "review", "review-only"),
            "reviewCount": counts.get("review", 0),
            "verificationCount": counts.get("verification", 0),
            "coordinationRecordCount": counts.get("coordination_record", 0),
            "proofBundleCount": counts.get("proof_bundle", 0),
            "artifactCount": db.execute(artifacts, either.values).fetchone()[0],
        }
    return Response(answer)


def _statuses(db: sqlite3.Connection, chosen: Selection, columns: str, entity: str) -> dict[str, int]:
    """How many runs have which status: the action of the latest event of `entity`, else of the latest event."""
    # SQLite takes the bare column of an aggregate query from the row with the maximum.
    newest = (
        f"SELECT action, MAX((entity_type = '{entity}') || recorded_at || ' ' || id) FROM events e"
        f" WHERE {chosen.where} GROUP BY {columns}"
    )
    counted = f"SELECT COALESCE(action, 'unknown'), COUNT(*) FROM ({newest}) GROUP BY 1 ORDER BY 1"
    return {row[0]: row[1] for row in rows(db, counted, chosen.values)}


def _readiness(db: sqlite3.Connection, chosen: Selection) -> list[bool | None]:
    keys = rows(db, f"SELECT DISTINCT {_BENCHMARK_KEY} FROM events e WHERE {chosen.where}", chosen.values)
    found: list[bool | None] = []
    for key in keys:
        where, values = _same(key, _BENCHMARK_COLUMNS)
        told = rows(
            db,
            f"SELECT event FROM events WHERE {where} AND entity_type = 'benchmark_run'"
            " ORDER BY recorded_at DESC, id DESC",
            values,
        )
        said = (_data(row).get("comparisonReady") for row in told)
        ready = next((value for value in said if value is not None), None)
        found.append(ready if isinstance(ready, bool) else None)
    return found


def _maximum(db: sqlite3.Connection, chosen: Selection) -> str | None:
    found = db.execute(f"SELECT MAX(recorded_at) FROM events e WHERE {chosen.where}", chosen.values).fetchone()[0]
    return str(found) if found else None


def _outcomes(db: sqlite3.Connection, chosen: Selection, entity: str, default: str) -> dict[str, int]:
    statement = (
        f"SELECT COALESCE(outcome, ?), COUNT(*) FROM events e WHERE {chosen.where} AND entity_type = ?"
        " GROUP BY 1 ORDER BY 1"
    )
    return {row[0]: row[1] for row in rows(db, statement, (default, *chosen.values, entity))}


def artifact(request: Request) -> Response:
    """`GET /artifact`: a descriptor, on request with its body; a download is never rendered."""
    event_id, artifact_id = request.query.get("eventId", ""), request.query.get("artifactId", "")
    if not event_id or not artifact_id:
        raise ApiError("invalid-query", "eventId and artifactId are required.")
    with request.app.store.reading() as db:
        row = db.execute("SELECT event FROM events WHERE id = ?", (event_id,)).fetchone()
        body = db.execute(
            "SELECT * FROM artifact_uploads WHERE event_id = ? AND artifact_id = ?", (event_id, artifact_id)
        ).fetchone()
    declared = _descriptors(row) if row is not None else []
    metadata = next((item for item in declared if item.get("artifactId") == artifact_id), None)
    if metadata is None:
        raise ApiError("artifact-not-found", "There is no such artifact.")
    if request.query.get("download") == "1":
        if body is None:
            raise ApiError("artifact-not-found", "The body of this artifact was not uploaded.")
        disposition = {"Content-Disposition": "attachment"}
        return Response(raw=_decoded(body), content_type="application/octet-stream", headers=disposition)
    inline = None
    if request.query.get("inline") == "1" and body is not None:
        inline = {
            "artifactId": artifact_id,
            "contentType": body["content_type"],
            "encoding": body["encoding"],
            "content": body["content"],
        }
    answer = {"eventId": event_id, "artifactId": artifact_id, "metadata": metadata, "downloadUrl": None}
    return Response({**answer, "inlineContent": inline})


def _decoded(body: sqlite3.Row) -> bytes:
    content: str = body["content"]
    if body["encoding"] != "base64":
        return content.encode("utf-8")
    try:
        return base64.b64decode(content)
    except (binascii.Error, ValueError):
        return content.encode("utf-8")


# --- shared -----------------------------------------------------------------------------------------------------------


def _same(key: Mapping[str, Any] | sqlite3.Row, columns: Sequence[str]) -> tuple[str, tuple[Any, ...]]:
    """The events with this key; `IS` because parts of it may be null."""
    return " AND ".join(f"{column} IS ?" for column in columns), tuple(key[column] for column in columns)


def _identity(key: sqlite3.Row) -> JsonObject:
    return {name: key[column] for name, column in _KEY_FILTERS.items()}


def _latest(db: sqlite3.Connection, where: str, values: tuple[Any, ...], column: str, also: str = "1") -> str | None:
    row = db.execute(
        f"SELECT {column} FROM events WHERE {where} AND {also} ORDER BY recorded_at DESC, id DESC LIMIT 1", values
    ).fetchone()
    return row[0] if row is not None else None


def _events(db: sqlite3.Connection, key: sqlite3.Row, columns: Sequence[str], entity: str) -> list[JsonObject]:
    where, values = _same(key, columns)
    statement = f"SELECT event FROM events WHERE {where} AND entity_type = ? ORDER BY recorded_at, id"
    return [json.loads(row["event"]) for row in rows(db, statement, (*values, entity))]


def _timeline(db: sqlite3.Connection, key: sqlite3.Row, columns: Sequence[str]) -> tuple[list[JsonObject], bool]:
    """The newest events in the order of time, and whether older ones were left out."""
    where, values = _same(key, columns)
    statement = f"SELECT event FROM events WHERE {where} ORDER BY recorded_at DESC, id DESC LIMIT {_TIMELINE + 1}"
    found = [json.loads(row["event"]) for row in rows(db, statement, values)]
    return found[:_TIMELINE][::-1], len(found) > _TIMELINE


def _artifacts(db: sqlite3.Connection, key: sqlite3.Row, columns: Sequence[str]) -> list[JsonObject]:
    where, values = _same(key, columns)
    statement = (
        f"SELECT id, entity_type, event FROM events WHERE {where} AND artifact_count > 0 ORDER BY recorded_at, id"
    )
    return [
        {**item, "eventId": row["id"], "entityType": row["entity_type"]}
        for row in rows(db, statement, values)
        for item in _descriptors(row)
    ]


def _descriptors(row: sqlite3.Row) -> list[JsonObject]:
    found = json.loads(row["event"]).get("artifacts")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _data(row: sqlite3.Row) -> JsonObject:
    data = json.loads(row["event"]).get("data")
    return data if isinstance(data, dict) else {}
