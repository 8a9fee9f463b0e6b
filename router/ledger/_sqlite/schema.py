"""Tables, their versions, and connections set up the one way that keeps promises."""

from __future__ import annotations

import sqlite3
import uuid
from pathlib import Path
from urllib.parse import quote

from router.ledger._sqlite.place import config_error
from router.problems import ConfigError

BUSY_TIMEOUT_S = 2.0
_CACHE_KIB = 32 * 1024
_WAL_KEPT_BYTES = 64 * 1024 * 1024

_V1 = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # A row number keeps the table in the order of arrival: claims and their settlements share a
    # few pages at its end, and purging starts at its beginning. Keyed by the random delivery key
    # itself, each write would dirty a page of its own.
    """
    CREATE TABLE delivery (
        number INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        sink TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        owner TEXT,
        lease_until REAL,
        due REAL,
        ready REAL,  -- when `due` may hand it out; NULL: not by itself
        attempts INTEGER NOT NULL,
        first_at REAL,
        expires_at REAL,
        family BLOB,
        wait_on BLOB,
        waits_for INTEGER NOT NULL,
        starts_on TEXT NOT NULL,
        order_scope TEXT,
        seq INTEGER,
        cancel_scope TEXT,
        event_time REAL NOT NULL,
        event_hash BLOB NOT NULL,
        position TEXT NOT NULL,
        reason TEXT,
        reason_text TEXT,
        created REAL NOT NULL,
        updated REAL NOT NULL,
        doubtful INTEGER NOT NULL,
        blob BLOB
    )
    """,
    "CREATE INDEX ready ON delivery (sink, ready) WHERE ready IS NOT NULL",
    "CREATE INDEX claimed ON delivery (lease_until) WHERE state = 'claimed'",
    "CREATE INDEX waiting ON delivery (wait_on) WHERE state = 'waiting'",
    """
    CREATE INDEX ordered ON delivery (order_scope, seq)
    WHERE order_scope IS NOT NULL AND state IN ('claimed', 'scheduled', 'waiting')
    """,
    "CREATE INDEX dead ON delivery (key) WHERE state = 'dead'",
    """
    CREATE TABLE tally (
        kind TEXT, state TEXT, sink TEXT, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (kind, state, sink)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE fact (
        scope TEXT, member TEXT, value TEXT NOT NULL, until REAL, at REAL NOT NULL, blob BLOB,
        PRIMARY KEY (scope, member)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX ended ON fact (until) WHERE until IS NOT NULL",
    """
    CREATE TABLE progress (
        consumer_group TEXT, topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
        PRIMARY KEY (consumer_group, topic, partition)
    ) WITHOUT ROWID
    """,
)

_V2 = (
    "ALTER TABLE delivery ADD COLUMN rank INTEGER NOT NULL DEFAULT 1",
    "DROP INDEX ready",
    "CREATE INDEX ready ON delivery (sink, rank, ready) WHERE ready IS NOT NULL",
)
"""What is due goes by rank."""

_V3 = (
    """
    CREATE INDEX expiring ON delivery (expires_at)
    WHERE state = 'scheduled' AND kind = 'delivery' AND expires_at IS NOT NULL
    """,
)
"""What expires is found wherever it waits."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (_V1, _V2, _V3)
"""What leads from each schema version to the next; the first makes an empty file version 1."""

VERSION = len(MIGRATIONS)


def connect(path: Path) -> sqlite3.Connection:
    """A connection that writes: every commit is on disk before it is acknowledged.

    Checkpoints are left to a thread of their own. The connection may be used by another thread
    than this one.
    """
    db = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads and holds no writer up."""
    db = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    db.execute("PRAGMA query_only = ON")
    return db


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Brings the file to this program's schema, all or nothing.

    Raises:
        ConfigError: E303, a newer program wrote it.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(db)
        if version > VERSION:
            raise newer_schema(path, version)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                db.execute(statement)
        db.execute("INSERT OR IGNORE INTO meta VALUES ('uuid', ?)", (str(uuid.uuid4()),))
        db.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(VERSION),))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def newer_schema(path: Path, version: int) -> ConfigError:
    return config_error(
        "E303",
        f"ledger.path: {path} has schema {version}, written by a newer router; this one knows "
        f"schema {VERSION}, so run that version or another file",
    )


def schema_version(db: sqlite3.Connection) -> int:
    """The file's schema version; 0 for an empty file."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchone() is None:
        return 0
    return int(_meta(db, "schema"))


def store_uuid(db: sqlite3.Connection) -> str:
    return _meta(db, "uuid")


def _meta(db: sqlite3.Connection, name: str) -> str:
    (value,) = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return value
