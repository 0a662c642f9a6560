"""The queue on disk: messages that sinks have yet to take, in order, bounded.

A SQLite file that one process holds at a time. Each message stands in it once, with a row for each
sink that has yet to take it; past the bound the oldest goes, and is counted for those sinks. So of
each sink: what was put is either taken, or dropped and counted, or waits.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fapm_cli.errors import OutputError
from fapm_cli.sinks.sink import Message

FILE = "queue.db"
BATCH_BYTES = 256 * 1024
_VERSION = 1
_TABLES = """
CREATE TABLE messages (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE waiting (sink TEXT, seq INTEGER, PRIMARY KEY (sink, seq)) WITHOUT ROWID;
CREATE INDEX waiting_seq ON waiting (seq);
CREATE TABLE dropped (sink TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""


class DiskQueue:
    """Messages on disk for several sinks. Threads may share it."""

    def __init__(self, folder: Path, max_bytes: int):
        """Open the queue in a folder, which is made if need be; it is this process's until closed.

        Args:
            folder: holds the file and nothing else of ours.
            max_bytes: of all messages together; those being sent are kept beyond it.

        Raises:
            OutputError: another process has it, it can't be written, or is no queue.
        """
        self._lock, self._max_bytes = threading.RLock(), max_bytes
        self._unwritten = 0
        self._sending: dict[str, list[int]] = {}  # by sink: not to be dropped
        path = folder / FILE
        self._log, self._unsynced = folder / f"{FILE}-wal", False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            self._open()
        except OSError as error:
            raise OutputError(f"queue {folder} can't be made: {error.strerror}") from error
        except sqlite3.Error as error:
            self._db.close()
            if "locked" in str(error):
                raise OutputError(
                    f"queue {folder} is in use by another fapm: give each a --queue of its own"
                ) from error
            raise OutputError(
                f"queue {path} can't be used ({error}): give another --queue, or move it away"
            ) from error

    def _open(self) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")  # until closed, or killed
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")  # nothing is lost by a kill; see sync()
        with self._transaction():
            version = run("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _TABLES.split(";\n")[:-1]:
                    run(statement)
                run(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise sqlite3.DatabaseError(f"its version is {version}, not {_VERSION}")
            self._bytes = run("SELECT coalesce(sum(length(body)), 0) FROM messages").fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise

    def put(self, sinks: Sequence[str], id: str, body: bytes) -> int:
        """Add a message for some sinks; how many were dropped for it, the oldest first.

        Raises:
            OutputError: it can't be written, as on a full disk.
        """
        with self._lock:
            dropped, before = 0, self._bytes
            try:
                with self._transaction():
                    row = self._db.execute(
                        "INSERT INTO messages (id, body) VALUES (?, ?)", (id, body)
                    )
                    rows = [(sink, row.lastrowid) for sink in sinks]
                    self._db.executemany("INSERT INTO waiting VALUES (?, ?)", rows)
                    self._bytes += len(body)
                    while self._bytes > self._max_bytes and self._drop_oldest():
                        dropped += 1
            except BaseException as error:
                self._bytes = before
                if isinstance(error, sqlite3.Error):
                    self._unwritten += 1
                    raise OutputError(f"can't write the queue: {error}") from error
                raise
            self._unsynced = True
            return dropped

    def _drop_oldest(self) -> bool:
        """Drop the oldest message that none is sending; whether there was one."""
        sending = [seq for batch in self._sending.values() for seq in batch]
        marks = ", ".join("?" * len(sending))
        oldest = self._db.execute(
            "SELECT seq, length(body) FROM messages "
            f"WHERE seq NOT IN ({marks}) ORDER BY seq LIMIT 1",
            sending,
        ).fetchone()
        if oldest is None:
            return False
        seq, size = oldest
        self._db.execute(
            "INSERT INTO dropped SELECT sink, 1 FROM waiting WHERE seq = ? "
            "ON CONFLICT (sink) DO UPDATE SET count = count + 1",
            (seq,),
        )
        self._db.execute("DELETE FROM waiting WHERE seq = ?", (seq,))
        self._db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
        self._bytes -= size
        return True

    def next(self, sink: str, most: int) -> list[Message]:
        """The oldest messages that a sink has yet to take: a batch, kept until it is settled.

        They are ``most`` at most, and beyond the first 256 kB in all.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, id, body FROM waiting JOIN messages USING (seq) "
                "WHERE sink = ? ORDER BY seq LIMIT ?",
                (sink, most),
            ).fetchall()
            batch: list[Message] = []
            size = 0
            for row in rows:
                size += len(row[2])
                if batch and size > BATCH_BYTES:
                    break
                batch.append(Message(*row))
            if batch:
                self._sending[sink] = [message.seq for message in batch]
            return batch

    def settle(self, sink: str, *, taken: bool) -> None:
        """Say that a sink has taken the batch it was given last, or that it has not."""
        with self._lock:
            sent = self._sending.pop(sink, None)
            if sent is None or not taken:
                return
            ends = sent[0], sent[-1]
            with self._transaction():
                self._db.execute(
                    "DELETE FROM waiting WHERE sink = ? AND seq BETWEEN ? AND ?", (sink, *ends)
                )
                done = "seq BETWEEN ? AND ? AND seq NOT IN (SELECT seq FROM waiting)"
                freed = self._db.execute(
                    f"SELECT coalesce(sum(length(body)), 0) FROM messages WHERE {done}", ends
                ).fetchone()[0]
                self._db.execute(f"DELETE FROM messages WHERE {done}", ends)
                self._bytes -= freed

    def counts(self, sink: str) -> tuple[int, int]:
        """How many messages wait for a sink, and how many were ever dropped.

        The latter with those that could not be written since the queue was opened.
        """
        with self._lock:
            (waiting,) = self._db.execute(
                "SELECT count(*) FROM waiting WHERE sink = ?", (sink,)
            ).fetchone()
            row = self._db.execute("SELECT count FROM dropped WHERE sink = ?", (sink,)).fetchone()
            return waiting, self._unwritten + (row[0] if row else 0)

    def waiting_for_others(self, sinks: Sequence[str]) -> dict[str, int]:
        """Sinks that messages of an earlier run wait for, but for those named, and how many."""
        with self._lock:
            rows = self._db.execute("SELECT sink, count(*) FROM waiting GROUP BY sink").fetchall()
        return {sink: count for sink, count in rows if sink not in sinks}

    def sync(self) -> None:
        """Have what is queued survive a power cut, too; nobody else waits for it."""
        if self._unsynced:
            self._unsynced = False
            file = os.open(self._log, os.O_RDWR)  # SQLite keeps no lock on it that closing breaks
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def close(self) -> None:
        """Let go of the file. What a thread still asks of it then raises sqlite3's errors."""
        with self._lock:
            self._db.close()
