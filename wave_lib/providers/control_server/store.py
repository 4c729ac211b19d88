"""The service's database: events, uploaded bodies, users, tokens, audit.

Holds:       SQLite connections; one writer at a time.
Writes:      the database file (0600, its folder 0700), in WAL mode with full synchronisation.
When killed: what was acknowledged is there; a transaction under way is undone when the file is opened again.

Spec: PROV 10.12.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from ...base.errors import ConfigError, ExitCode
from ...base.files import create_bytes, ensure_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    JsonObject = dict[str, Any]

SCHEMA_VERSION = 1

RUN_KEY = ("workspace_id", "project_id", "run_kind", "run_id", "lane", "wave")
"""The columns that make a run. Spec: PROV 10.7."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, workspace_id TEXT, project_id TEXT, run_kind TEXT, run_id TEXT, lane TEXT, wave INTEGER,
  attempt INTEGER, agent_id TEXT, orchestrator_id TEXT, runtime_version TEXT, benchmark_run_id TEXT,
  benchmark_item_id TEXT, entity_type TEXT NOT NULL, action TEXT, recorded_at TEXT NOT NULL, received_at TEXT NOT NULL,
  outcome TEXT, artifact_count INTEGER NOT NULL DEFAULT 0, tags TEXT NOT NULL DEFAULT '[]', event TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_run ON events (workspace_id, project_id, run_kind, run_id, lane, wave, recorded_at);
CREATE INDEX IF NOT EXISTS events_benchmark ON events (benchmark_run_id);
CREATE INDEX IF NOT EXISTS events_recorded ON events (recorded_at);
CREATE INDEX IF NOT EXISTS events_received ON events (received_at);
CREATE INDEX IF NOT EXISTS events_type ON events (entity_type, recorded_at);
CREATE TABLE IF NOT EXISTS artifact_uploads (
  event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE, artifact_id TEXT NOT NULL, content_type TEXT,
  encoding TEXT, content TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (event_id, artifact_id)
);
CREATE TABLE IF NOT EXISTS users (
  id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, display_name TEXT, role TEXT NOT NULL, access_state TEXT NOT NULL,
  provider_grants TEXT NOT NULL DEFAULT '[]', access_request_reason TEXT, access_reviewed_by TEXT,
  access_reviewed_at TEXT, created_at TEXT NOT NULL, updated_at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tokens (
  id TEXT PRIMARY KEY, token_hash TEXT NOT NULL UNIQUE, label TEXT, owner_user_id TEXT NOT NULL REFERENCES users (id),
  scopes TEXT NOT NULL, created_by TEXT, created_at TEXT NOT NULL, last_used_at TEXT, revoked_at TEXT
);
CREATE INDEX IF NOT EXISTS tokens_owner ON tokens (owner_user_id);
CREATE TABLE IF NOT EXISTS audit (
  id TEXT PRIMARY KEY, actor_type TEXT, actor_id TEXT, event_type TEXT NOT NULL, subject_type TEXT, subject_id TEXT,
  payload TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS audit_created ON audit (created_at);
"""


class Store:
    """Access to the database from any thread. `reading()` and `writing()` give a connection for a block."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._memory = path == ":memory:"
        self._idle: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._writer = threading.RLock()
        if not self._memory:
            ensure_dir(os.path.dirname(path))
            create_bytes(path, b"", mode=0o600)
        try:
            with self.writing() as db:
                self._prepare(db)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"cannot be used as a database: {error}", path, code=ExitCode.USAGE) from None

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make or migrate the schema in the caller's transaction. A newer one is refused with exit code 2."""
        known = db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'").fetchone()
        found = db.execute("SELECT value FROM meta WHERE key = 'schemaVersion'").fetchone() if known else None
        if found is not None and int(found[0]) > SCHEMA_VERSION:
            raise ConfigError(
                f"schema version {found[0]} is newer than {SCHEMA_VERSION}", self.path,
                "a newer wave wrote it; update this one", code=ExitCode.USAGE,
            )  # fmt: skip
        for statement in _SCHEMA.split(";\n"):
            if statement.strip():
                db.execute(statement)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('schemaVersion', ?)", (str(SCHEMA_VERSION),))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the database throughout the block."""
        if self._memory:
            with self.writing() as db:
                yield db
            return
        db = self._take()
        try:
            db.execute("BEGIN")
            yield db
        finally:
            db.rollback()
            self._give_back(db)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block is stored, or nothing."""
        with self._writer:
            db = self._take()
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.commit()
                except BaseException:
                    db.rollback()
                    raise
            finally:
                self._give_back(db)

    def close(self) -> None:
        """Close the idle connections; SQLite then folds its log into the file."""
        with self._guard:
            for db in self._idle:
                db.close()
            self._idle.clear()

    def _take(self) -> sqlite3.Connection:
        with self._guard:
            if self._idle:
                return self._idle.pop()
        db = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA busy_timeout = 5000")
        db.execute("PRAGMA foreign_keys = ON")
        if not self._memory:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
        return db

    def _give_back(self, db: sqlite3.Connection) -> None:
        with self._guard:
            self._idle.append(db)


def rows(db: sqlite3.Connection, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
    """All rows of a query."""
    return db.execute(statement, tuple(values)).fetchall()


def remove_old_events(store: Store, before: str) -> int:
    """Remove events received before a moment, with their bodies; returns how many. Spec: PROV 10.2 (retention)."""
    with store.writing() as db:
        return db.execute("DELETE FROM events WHERE received_at < ?", (before,)).rowcount
