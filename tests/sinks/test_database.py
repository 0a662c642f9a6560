"""The SQLite sink: a row a record, once; migrated; read while it is written."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from receivers import RECORD, wait_until

from fapm_cli.sinks import database
from fapm_cli.sinks.address import read_address
from fapm_cli.sinks.database import DatabaseSink
from fapm_cli.sinks.delivery import Delivery
from fapm_cli.sinks.sink import Message


def rows(path: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    found = db.execute(f"SELECT {columns} FROM records ORDER BY rowid").fetchall()
    db.close()
    return found


def send(path: Path, *records: dict[str, Any]) -> None:
    sink = DatabaseSink(read_address(f"sqlite:///{path}"))
    sink.send([Message(1, one["id"], json.dumps(one).encode()) for one in records])
    sink.close()


def test_a_record_is_a_row_with_its_columns_and_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with Delivery([f"sqlite:///{path}"], tmp_path / "queue") as delivery:
        one = delivery.publish(RECORD)
        odd = delivery.publish({"path": "a\udcff.jpg", "error": "no picture"})
    first, second = rows(path)
    assert first[:-1] == (
        *(one["id"], one["time"], "inbox/1.jpg", 1.5, 1.0, "anomalous", 0.25, 3, 4, "good.jpg"),
        *(1, None, None, None, None),
    )
    assert json.loads(first[-1]) == one
    assert second[2:6] == ("a\\udcff.jpg", None, None, None)
    assert second[-2] == "no picture"
    assert json.loads(second[-1]) == odd


def test_a_double_is_left_out_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    one, other = ({**RECORD, "id": id, "time": "t"} for id in "ab")
    send(path, one)
    send(path, one, other, one)
    assert rows(path, "id") == [("a",), ("b",)]


def test_who_reads_and_who_writes_do_not_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    send(path, {**RECORD, "id": "a", "time": "t"})
    reader = sqlite3.connect(path, timeout=0, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (1,)
    send(path, {**RECORD, "id": "b", "time": "t"})
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (1,)
    reader.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (2,)
    reader.close()


def test_a_file_of_an_earlier_version_is_migrated_with_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.db"
    send(path, {**RECORD, "id": "a", "time": "t"})
    later = "ALTER TABLE records ADD COLUMN station TEXT"
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, later))
    send(path, {**RECORD, "id": "b", "time": "t"})
    assert rows(path, "id, station") == [("a", None), ("b", None)]
    monkeypatch.undo()
    with pytest.raises(Exception, match="of version 2, from a later fapm"):
        send(path, {**RECORD, "id": "c", "time": "t"})


def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE records (id)")
    db.close()
    before = path.read_bytes()
    said: list[str] = []
    delivery = Delivery([f"sqlite:///{path}"], tmp_path / "queue", say=said.append)
    delivery.publish(RECORD)
    wait_until(lambda: said)
    delivery.close(drain_s=0)
    assert "another program's database" in said[0]
    assert path.read_bytes()[100:] == before[100:]
    assert "1 records stay queued" in said[-1]


def test_a_folder_that_comes_later_costs_no_record(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    said: list[str] = []
    with Delivery([f"sqlite:///{folder}/x.db"], tmp_path / "queue", say=said.append) as delivery:
        delivery.publish(RECORD)
        wait_until(lambda: said)
        assert "unable to open database file" in said[0]
        folder.mkdir()
    assert len(rows(folder / "x.db")) == 1
