"""A SQLite database: a row a record, to be read by a dashboard while it is written."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Any

from fapm_cli.errors import OutputError
from fapm_cli.sinks.address import Address
from fapm_cli.sinks.sink import TIMEOUT_S, Message, Sink

APPLICATION_ID = 0x6661706D  # "fapm"
MIGRATIONS = (
    """
    CREATE TABLE records (
        id TEXT PRIMARY KEY, time TEXT NOT NULL, path TEXT NOT NULL, score REAL, threshold REAL,
        verdict TEXT, p_value REAL, x INTEGER, y INTEGER, nearest TEXT, regions INTEGER,
        frame INTEGER, time_s REAL, drift INTEGER, error TEXT, record TEXT NOT NULL
    );
    CREATE INDEX records_time ON records (time);
    CREATE INDEX records_verdict ON records (verdict, time);
    """,
)
"""Statements that make version n + 1 of the tables from version n, without a ; of their own."""

_COLUMNS = (
    *("id", "time", "path", "score", "threshold", "verdict", "p_value", "x", "y", "nearest"),
    *("regions", "frame", "time_s", "drift", "error", "record"),
)
_INSERT = (
    f"INSERT OR IGNORE INTO records ({', '.join(_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(_COLUMNS))})"
)


class DatabaseSink(Sink):
    """Adds rows; one that is there already, by its id, is left as it is."""

    def __init__(self, address: Address):
        """Note the file; it is opened when there is something to write."""
        self._path = address.path
        self._db: sqlite3.Connection | None = None

    def send(self, batch: Sequence[Message]) -> None:
        """Add a batch, all or nothing.

        Raises:
            OutputError: the file is another program's, or of a later version.
            sqlite3.Error: it can't be written.
        """
        if self._db is None:
            self._db = _open(self._path)
        rows = [_row(message) for message in batch]
        with self._db:
            self._db.executemany(_INSERT, rows)

    def reach(self, *, ask: bool) -> None:
        """Look whether the file is one of ours, or could be made.

        Raises:
            OutputError: it is another program's, of a later version, or can't be written.
        """
        folder = os.path.dirname(self._path)
        if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
            raise OutputError(f"folder {folder} is not there, or read-only: make it")
        if os.path.exists(self._path):
            self._db = _open(self._path)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None


def _open(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=TIMEOUT_S)
    try:
        db.execute("PRAGMA journal_mode = WAL")  # who reads and who writes do not wait
        db.execute("PRAGMA synchronous = FULL")  # what was sent is gone from the queue
        _migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the tables to the newest version, all or nothing.

    Raises:
        OutputError: the file is another program's, or of a later version.
    """
    db.execute("BEGIN IMMEDIATE")
    with db:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (owner,) = db.execute("PRAGMA application_id").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if owner != APPLICATION_ID and (owner or version or tables):
            raise OutputError("the file is another program's database: name one of its own")
        if version > len(MIGRATIONS):
            raise OutputError(f"the file is of version {version}, from a later fapm: update fapm")
        for statements in MIGRATIONS[version:]:
            for statement in statements.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _row(message: Message) -> list[Any]:
    record = message.record
    regions, drift = record.get("regions"), record.get("drift")
    flat = {
        **record,
        **record.get("peak", {}),
        "nearest": record.get("nearest", {}).get("name"),
        "regions": None if regions is None else len(regions),
        "drift": None if drift is None else int(drift["alarm"]),
        "record": message.body.decode(),
    }
    return [storable(flat.get(column)) for column in _COLUMNS]


def storable(value: Any) -> Any:
    """A value as it is, or a text with what UTF-8 has no letter for written ``\\udcff``."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value
