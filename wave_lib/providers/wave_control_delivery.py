"""Sending the telemetry spool: batches, uploads, bisection of refused batches, backoff. At least once.

Holds:       `telemetry/.flush.lock` while it sends; `telemetry/.lock` while it notes the outcome.
Writes:      moves queue files to `sent/` and `failed/`, `delivery-state.json`.
When killed: a batch that arrived may be sent again; its event ids make that harmless.

Spec: PROV 8.6, 8.7.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ..base import locks
from ..base.errors import WaveError
from ..base.files import move, read_bytes, read_json
from ..base.locks import locked
from ..base.redaction import redact, redact_bytes
from ..base.text import compact, compact_json, sha256_bytes
from ..base.timestamps import iso_of, now_iso, parse_iso
from .provider_runtime import control_token
from .wave_control_client import QUEUE_KIND, Telemetry, json_names, keep_newest, queue_name, safe_id

if TYPE_CHECKING:
    JsonObject = dict[str, Any]

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_UPLOAD_BYTES = 524_288
LAUNCHER_BUDGET_SECONDS = 10.0
REFUSED_STATUSES = (400, 413, 422)
_MAX_BACKOFF_SECONDS = 600.0
_FREE_TEXT_KEYS = frozenset(
    ("summary", "detail", "details", "question", "context", "response", "text", "reason", "message", "prompt", "note")
)
_LONG_TEXT = 512
_CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".html": "text/html",
    **dict.fromkeys((".txt", ".log", ".status", ".js", ".mjs", ".ts", ".py"), "text/plain"),
}


def flush(telemetry: Telemetry, *, launcher: bool = False) -> JsonObject:
    """Send what is queued: `{attempted, sent, failed, pending, batches, error?}`, or why nothing was tried. PROV 8.7.

    `launcher`: within 10 seconds and not before the backoff is over. Raises nothing but programming errors and
    DiskError.
    """
    none = {"attempted": 0, "sent": 0, "failed": 0}
    if not telemetry.enabled:
        return {**none, "pending": 0, "disabled": True}
    pending = len(telemetry.pending_names())
    try:
        endpoint = telemetry.endpoint
    except WaveError as error:
        return {**none, "pending": pending, "batches": 0, "error": str(error)}
    if endpoint is None or (not pending and not os.path.isdir(telemetry.paths.telemetry_pending)):
        return {**none, "pending": pending, "batches": 0}
    if launcher:
        until = parse_iso(telemetry.read_state().get("nextAttemptAt"))
        if until is not None and until > time.time():
            return {**none, "pending": pending, "batches": 0, "skipped": "backoff"}
    lock = locks.take(telemetry.paths.telemetry_flush_lock)
    if lock is None:
        return {**none, "pending": pending, "batches": 0, "busy": True}
    try:
        return _Flush(telemetry, endpoint, LAUNCHER_BUDGET_SECONDS if launcher else None).run()
    finally:
        lock.close()


def requeue(telemetry: Telemetry) -> JsonObject:
    """Queue again what was given up, the newest first, up to the cap: `{requeued, left, pending}`. Spec: PROV 9.

    Files that could not be read (`corrupt-…`) stay where they are. Raises DiskError.
    """
    none = {"requeued": 0, "left": 0, "pending": 0}
    if not telemetry.enabled:
        return {**none, "disabled": True}
    paths = telemetry.paths
    if not os.path.isdir(paths.telemetry_failed):
        return {**none, "pending": len(telemetry.pending_names())}
    with locked(paths.telemetry_lock):
        found = []
        for name in json_names(paths.telemetry_failed):
            queued = read_json(os.path.join(paths.telemetry_failed, name)).value
            event = queued_event(queued) if not name.startswith("corrupt-") else None
            if event is not None:
                found.append((queue_name(event), name))
        found.sort(reverse=True)
        room = max(telemetry.max_pending - len(telemetry.pending_names()), 0)
        for target, name in found[:room]:
            move(os.path.join(paths.telemetry_failed, name), os.path.join(paths.telemetry_pending, target))
        moved = min(len(found), room)
        state = telemetry.read_state()
        telemetry.write_state({**state, "failedCount": max(state["failedCount"] - moved, 0)})
    return {"requeued": moved, "left": len(found) - moved, "pending": len(telemetry.pending_names())}


def queued_event(queued: object) -> JsonObject | None:
    """The event of a queue file's content, None when that is no queue file."""
    event = queued.get("event") if isinstance(queued, dict) and queued.get("kind") == QUEUE_KIND else None
    return event if isinstance(event, dict) and isinstance(event.get("id"), str) and event["id"] else None


class _Flush:
    """One flush at work."""

    def __init__(self, telemetry: Telemetry, endpoint: str, budget_seconds: float | None) -> None:
        from ..base.http_json import Budget

        self.telemetry = telemetry
        self.paths = telemetry.paths
        self.endpoint = endpoint
        self.budget = Budget(budget_seconds)
        self.attempted = self.sent = self.failed = self.batches = 0
        self.error: str | None = None
        self.out_of_time = False

    def run(self) -> JsonObject:
        try:
            self.token = control_token(self.telemetry.control, self.telemetry.environ)
        except WaveError as error:
            self.token, self.error = "", str(error)
        size = int(self.telemetry.control.get("flushBatchSize") or 25)
        seen: set[str] = set()
        while self.error is None and not self.out_of_time:
            names = [name for name in self.telemetry.pending_names() if name not in seen][:size]
            if not names:
                break
            seen.update(names)
            batch = [(name, queued) for name in names if (queued := self._read(name)) is not None]
            for part in _by_size(batch):
                self._send(part)
        return self._finish()

    def _read(self, name: str) -> JsonObject | None:
        """A queue file's object; one that vanished is skipped, a broken one put aside. Spec: PROV 8.7 step 3a."""
        path = os.path.join(self.paths.telemetry_pending, name)
        reading = read_json(path)
        if not os.path.exists(path):
            return None
        queued = reading.value
        if queued_event(queued) is not None:
            return dict(queued)
        self._move(name, self.paths.telemetry_failed, f"corrupt-{name}")
        self.failed += 1
        return None

    def _send(self, batch: list[tuple[str, JsonObject]]) -> None:
        """One request; a refused batch is halved until the culprit stands alone. Spec: PROV 8.7 steps 3b to 3e."""
        from ..base.http_json import MALFORMED, ONCE, Call, HttpError, send_json

        if not batch or self.error is not None or self.out_of_time:
            return
        left = self.budget.left()
        if left <= 0:
            self.out_of_time = True
            return
        control = self.telemetry.control
        call = Call(
            "Wave Control ingest", "POST", f"{self.endpoint}/ingest/batches", self.token, body=self._body(batch),
            timeout=min(int(control.get("requestTimeoutMs") or 5000) / 1000, left), retries=ONCE,
            allow_insecure=bool(control.get("allowInsecureHttp")),
        )  # fmt: skip
        self.batches += 1
        self.attempted += len(batch)
        try:
            answer = send_json(call)
        except HttpError as error:
            if error.kind != MALFORMED and error.status in REFUSED_STATUSES:
                self._refused(batch)
            elif left < float("inf") and self.budget.left() <= 0:
                self.out_of_time = True  # the launcher's time is up; the service may be well
            else:
                self.error = str(error)
            return
        refused = answer.get("rejected") if isinstance(answer, dict) else None
        bad = {item.get("id") for item in refused if isinstance(item, dict)} if isinstance(refused, list) else set()
        for name, queued in batch:
            event_id = queued["event"]["id"]
            self._settle(name, event_id, delivered=event_id not in bad)

    def _refused(self, batch: list[tuple[str, JsonObject]]) -> None:
        if len(batch) == 1:
            self._settle(batch[0][0], batch[0][1]["event"]["id"], delivered=False)
            return
        self.attempted -= len(batch)  # they are counted again, in halves
        middle = len(batch) // 2
        self._send(batch[:middle])
        self._send(batch[middle:])

    def _settle(self, name: str, event_id: str, *, delivered: bool) -> None:
        folder = self.paths.telemetry_sent if delivered else self.paths.telemetry_failed
        self._move(name, folder, f"{safe_id(event_id)}.json")
        if delivered:
            self.sent += 1
        else:
            self.failed += 1

    def _move(self, name: str, folder: str, new_name: str) -> None:
        move(os.path.join(self.paths.telemetry_pending, name), os.path.join(folder, new_name))

    def _body(self, batch: list[tuple[str, JsonObject]]) -> JsonObject:
        identity = self.telemetry.identity()
        room = MAX_BODY_BYTES
        events = []
        for _, queued in batch:
            event = deliverable(queued["event"], self.telemetry.report_mode)
            room -= len(compact_json(event).encode("utf-8", "replace"))
            event, used = self._with_uploads(event, queued, room)
            room -= used
            events.append(event)
        keys = ("workspaceId", "lane", "runKind", "runId")
        return {**{key: identity[key] for key in keys}, "sentAt": now_iso(), "events": events}

    def _with_uploads(self, event: JsonObject, queued: JsonObject, room: int) -> tuple[JsonObject, int]:
        """The event with the bodies that may go along, and how many bytes they take."""
        uploads: list[JsonObject] = []
        omitted: list[JsonObject] = []
        used = 0
        sources = queued.get("artifactSourcePaths")
        for artifact in event.get("artifacts") or []:
            if not wants_upload(artifact, self.telemetry.report_mode, self.telemetry.control):
                continue
            source = sources.get(artifact["artifactId"]) if isinstance(sources, dict) else None
            upload = self._upload(artifact, source or artifact.get("path"))
            size = len(upload["content"]) if isinstance(upload, dict) else 0
            if isinstance(upload, dict) and used + size > room:
                upload = "batch-limit"
            if isinstance(upload, dict):
                uploads.append(upload)
                used += size
            else:
                omitted.append({"artifactId": artifact["artifactId"], "reason": upload})
        extra = {"artifactUploadsOmitted": omitted} if omitted else {}
        return {**event, "artifactUploads": uploads, **extra}, used

    def _upload(self, artifact: JsonObject, source: object) -> JsonObject | str:
        """One body, or why it stays here. Spec: PROV 8.6."""
        if not isinstance(source, str) or not source:
            return "missing"
        path = os.path.realpath(os.path.join(self.paths.root, source))
        state_root = self.paths.absolute(self.paths.profile.paths.state_root)
        if not any(_inside(path, os.path.realpath(root)) for root in (self.paths.root, state_root)):
            return "outside-workspace"
        try:
            if not os.path.isfile(path):
                return "missing"
            if os.path.getsize(path) > MAX_UPLOAD_BYTES:
                return "too-large"
            data = read_bytes(path)
        except (OSError, WaveError):
            return "missing"
        if data is None:
            return "missing"
        if artifact.get("sha256") and sha256_bytes(data) != artifact["sha256"]:
            return "changed"
        return upload_of(artifact, path, redact_bytes(data))

    def _finish(self) -> JsonObject:
        """Note the outcome. Spec: PROV 8.7 steps 3e and 4."""
        with locked(self.paths.telemetry_lock):
            state = self.telemetry.read_state()
            state["sentCount"] += self.sent
            state["failedCount"] += self.failed
            state["lastFlushAt"] = now_iso()
            if self.error is not None:
                state["consecutiveFailures"] += 1
                wait = min(5.0 * 2 ** min(state["consecutiveFailures"] - 1, 10), _MAX_BACKOFF_SECONDS)
                state["nextAttemptAt"] = iso_of(time.time() + wait)
                self.error = compact(redact(self.error), 500)
                state["lastError"] = {"message": self.error, "failedAt": now_iso()}
            elif self.batches:
                state.update(consecutiveFailures=0, nextAttemptAt=None)
                if self.sent:
                    state.update(lastSuccessAt=now_iso(), lastError=None)
            self.telemetry.write_state(state)
            for folder in (self.paths.telemetry_sent, self.paths.telemetry_failed):
                keep_newest(folder)
        counts = {"attempted": self.attempted, "sent": self.sent, "failed": self.failed}
        result = {**counts, "pending": len(self.telemetry.pending_names()), "batches": self.batches}
        return {**result, "error": self.error} if self.error is not None else result


def deliverable(event: JsonObject, report_mode: str) -> JsonObject:
    """The copy that leaves the machine: in metadata-only mode without free text. Spec: PROV 8.6."""
    return {**event, "data": without_texts(event.get("data"))} if report_mode == "metadata-only" else event


def without_texts(value: Any, key: str = "") -> Any:
    """A JSON value whose free texts are replaced by their length; structure, numbers, ids and codes stay."""
    if isinstance(value, str):
        return f"[omitted:{len(value)}]" if value and (key in _FREE_TEXT_KEYS or len(value) > _LONG_TEXT) else value
    if isinstance(value, dict):
        return {name: without_texts(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [without_texts(item, key) for item in value]
    return value


def wants_upload(artifact: JsonObject, report_mode: str, control: Any) -> bool:
    """The table of PROV 8.6."""
    kinds = control.get("uploadArtifactKinds") or []
    policy, kind = artifact.get("uploadPolicy"), artifact.get("kind")
    if artifact.get("present") is not True or report_mode not in ("metadata-plus-selected", "full-artifact-upload"):
        return False
    if policy == "selected":
        return kind in kinds
    return policy == "full" and report_mode == "full-artifact-upload" and (not kinds or kind in kinds)


def upload_of(artifact: JsonObject, path: str, data: bytes) -> JsonObject:
    """`{artifactId, contentType, encoding, content}`."""
    suffix = os.path.splitext(path)[1].lower()
    kind = artifact.get("contentType") or _CONTENT_TYPES.get(suffix, "application/octet-stream")
    textual = kind.startswith("text/") or kind in ("application/json", "application/x-ndjson")
    base = {"artifactId": artifact["artifactId"], "contentType": kind}
    if textual:
        try:
            return {**base, "encoding": "utf8", "content": data.decode("utf-8")}
        except UnicodeDecodeError:
            pass
    from base64 import b64encode

    return {**base, "encoding": "base64", "content": b64encode(data).decode("ascii")}


def _by_size(batch: list[tuple[str, JsonObject]]) -> list[list[tuple[str, JsonObject]]]:
    """The batch in parts whose events stay below the size of a body."""
    parts: list[list[tuple[str, JsonObject]]] = [[]]
    size = 0
    for item in batch:
        weight = len(compact_json(item[1]["event"]).encode("utf-8", "replace"))
        if parts[-1] and size + weight > MAX_BODY_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += weight
    return parts


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
