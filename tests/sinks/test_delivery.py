"""Delivery: nobody waits for a sink; every record arrives, or is counted; secrets stay secret."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from receivers import RECORD, wait_until

from fapm_cli.errors import OptionError
from fapm_cli.sinks import delivery as delivering
from fapm_cli.sinks import worker
from fapm_cli.sinks.delivery import Delivery, default_queue
from fapm_cli.sinks.sink import Message, Sink, Status
from fapm_cli.sinks.worker import backoff_s


class Scripted(Sink):
    """A sink that does as it is told.

    Attributes:
        do: called with each batch, may raise or wait.
        got: ids that it has taken.
        told: each status.
    """

    def __init__(self) -> None:
        self.got: list[str] = []
        self.told: list[Status] = []
        self.closed = 0
        self.do: Callable[[Sequence[Message]], None] = lambda batch: None

    def send(self, batch: Sequence[Message]) -> None:
        self.do(batch)
        self.got += [message.id for message in batch]

    def tell(self, status: Status) -> None:
        self.told.append(status)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def sinks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Scripted]:
    """The sinks that are opened, by their host."""
    opened: dict[str, Scripted] = {}
    monkeypatch.setattr(
        delivering, "open_sink", lambda address: opened.setdefault(address.host, Scripted())
    )
    monkeypatch.setattr(worker, "FIRST_WAIT_S", 0.01)
    return opened


def fail(_: object) -> None:
    raise OSError("no route for me:hush")


def test_each_record_reaches_every_sink_in_order_with_one_id(
    sinks: dict[str, Scripted], tmp_path: Path
) -> None:
    with Delivery(["mqtt://a", "mqtt://b"], tmp_path) as delivery:
        published = [delivery.publish(RECORD) for _ in range(250)]
    ids = [record["id"] for record in published]
    assert len(set(ids)) == 250
    assert sinks["a"].got == sinks["b"].got == ids
    assert all(record.items() >= RECORD.items() for record in published)
    assert "id" not in RECORD
    assert (sinks["a"].told[-1].state, sinks["a"].told[-1].sent) == ("offline", 250)


def test_a_sink_that_hangs_keeps_neither_judging_nor_other_sinks_nor_the_end(
    sinks: dict[str, Scripted], tmp_path: Path
) -> None:
    said: list[str] = []
    delivery = Delivery(["mqtt://hangs", "mqtt://b"], tmp_path, say=said.append)
    hung, free = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        hung.set()
        free.wait(30)

    sinks["hangs"].do = hang
    delivery.publish(RECORD)
    assert hung.wait(30)
    assert all(thread.daemon for thread in threading.enumerate() if "hangs" in thread.name)
    begun = time.monotonic()
    for _ in range(100):
        delivery.publish(RECORD)
    assert time.monotonic() - begun < 5
    wait_until(lambda: len(sinks["b"].got) == 101)
    delivery.close(drain_s=0.1)
    assert len(sinks["b"].got) == 101
    assert said == [
        f"sink mqtt://hangs:1883: 101 records stay queued in {tmp_path}; "
        "the next run sends them first"
    ]
    free.set()


def test_what_fails_is_tried_again_in_order_and_said_once(
    sinks: dict[str, Scripted], tmp_path: Path
) -> None:
    said: list[str] = []
    with Delivery(["mqtt://me:hush@a"], tmp_path, say=said.append) as delivery:
        tries: list[list[str]] = []

        def fail_thrice(batch: Sequence[Message]) -> None:
            tries.append([message.id for message in batch])
            if len(tries) < 4:
                fail(batch)

        sinks["a"].do = fail_thrice
        ids = [delivery.publish(RECORD)["id"] for _ in range(3)]
        wait_until(lambda: sinks["a"].got == ids)
    assert len({batch[0] for batch in tries[:4]}) == 1  # the same id, however often
    assert said == [
        "sink mqtt://a:1883: no route for me:...; records wait on disk, it is tried again",
        "sink mqtt://a:1883 works again, after 3 failed tries",
    ]
    assert sinks["a"].closed == 4  # after each failure, and at the end


def test_what_is_left_is_said_and_sent_first_by_the_next_run(
    sinks: dict[str, Scripted], tmp_path: Path
) -> None:
    said: list[str] = []
    delivery = Delivery(["mqtt://a"], tmp_path, say=said.append)
    sinks["a"].do = fail
    first = delivery.publish(RECORD)["id"]
    begun = time.monotonic()
    delivery.close(drain_s=0.2)
    assert 0.2 <= time.monotonic() - begun < 10
    assert "1 records stay queued" in said[-1]
    sinks.clear()
    said.clear()
    with Delivery(["mqtt://other"], tmp_path, say=said.append):
        assert said == [
            f"1 records wait in {tmp_path} for mqtt://a:1883: --to it, and they are sent"
        ]
    with Delivery(["mqtt://a"], tmp_path) as delivery:
        second = delivery.publish(RECORD)["id"]
    assert sinks["a"].got == [first, second]


def test_a_full_queue_drops_the_oldest_and_counts_them(
    sinks: dict[str, Scripted], tmp_path: Path
) -> None:
    said: list[str] = []
    delivery = Delivery(["mqtt://a"], tmp_path, max_bytes=2_000, say=said.append)
    sinks["a"].do = fail
    ids = [delivery.publish(RECORD)["id"] for _ in range(20)]
    assert said.count("the queue is full: the oldest records are dropped") == 1
    wait_until(lambda: any("no route" in line for line in said))
    delivery.close(drain_s=0)
    sinks.clear()
    with Delivery(["mqtt://a"], tmp_path, max_bytes=2_000):
        wait_until(lambda: sinks["a"].got)
    kept = sinks["a"].got
    assert kept == ids[-len(kept) :]
    assert (
        f"sink mqtt://a:1883: {20 - len(kept)} records were dropped: queue or disk was full" in said
    )
    assert sinks["a"].told[-1].dropped == 20 - len(kept)


def test_a_disk_that_takes_nothing_stops_nobody_and_is_counted(
    sinks: dict[str, Scripted], tmp_path: Path
) -> None:
    said: list[str] = []
    with Delivery(["mqtt://a"], tmp_path, say=said.append) as delivery:
        delivery._queue._db.execute("PRAGMA max_page_count = 1")
        for _ in range(3):
            delivery.publish({**RECORD, "error": "x" * 100_000})
    assert len(said) == 2
    assert "this record reaches no sink" in said[0]
    assert said[1] == "sink mqtt://a:1883: 3 records were dropped: queue or disk was full"
    assert sinks["a"].told[-1].dropped == 3


def test_no_secret_of_a_url_is_stored(sinks: dict[str, Scripted], tmp_path: Path) -> None:
    delivery = Delivery(["https://me:hush@a/x?token=hush"], tmp_path)
    sinks["a"].do = fail
    delivery.publish(RECORD)
    delivery.close(drain_s=0)
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"https://a" in stored
    assert b"hush" not in stored


def test_a_sink_named_twice_is_refused(sinks: dict[str, Scripted], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="mqtt://a:1883 is named twice"):
        Delivery(["mqtt://me@a", "mqtt://you@a:1883/"], tmp_path)


def test_waits_grow_to_a_bound_and_are_never_all_alike() -> None:
    waits = [[backoff_s(n) for _ in range(50)] for n in (1, 2, 3, 10, 10_000)]
    for n, longest in zip(waits, (0.5, 1, 2, 30, 30), strict=True):
        assert longest / 2 <= min(n) < max(n) <= longest


def test_a_service_keeps_its_queue_where_its_manager_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/fapm:/other")
    assert default_queue() == Path("/var/lib/fapm/queue")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    assert default_queue() == Path("/home/me/state/fapm/queue")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_queue() == Path.home() / ".local/state/fapm/queue"
