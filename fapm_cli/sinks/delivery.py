"""Delivery: the one place where a record is published, to all sinks at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fapm_cli.errors import OptionError, OutputError
from fapm_cli.plain_values import new_id, utc_text
from fapm_cli.sinks.address import read_address
from fapm_cli.sinks.opening import open_sink
from fapm_cli.sinks.queue import DiskQueue
from fapm_cli.sinks.worker import Worker

DRAIN_S = 5.0
MAX_BYTES = 256 * 1024 * 1024
_SAY_EVERY_S = 60.0

Record = dict[str, Any]


def default_queue() -> Path:
    """Where the queue lies unless told: in the folder of a service's or a user's state."""
    service = os.environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd's StateDirectory=
    if service:
        return Path(service) / "queue"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "fapm" / "queue"


class Delivery:
    """Publishes records: queued on disk at once, and delivered by a thread a sink.

    As a context manager it closes itself.
    """

    def __init__(
        self,
        urls: Sequence[str],
        queue: str | Path | None = None,
        max_bytes: int = MAX_BYTES,
        say: Callable[[str], None] = lambda line: None,
    ):
        """Open the queue, and begin to send what an earlier run has left.

        Args:
            urls: of sinks, or ``@FILE`` for a file that holds one.
            queue: the queue's folder; :func:`default_queue` where None.
            max_bytes: most bytes of records that wait; past it, the oldest are dropped.
            say: told in a line what someone should know; called from several threads.

        Raises:
            OptionError: a URL that is none, named twice, or takes a package that is missing.
            OutputError: the queue can't be used.
        """
        addresses = [read_address(url) for url in urls]
        self._names = [address.name for address in addresses]
        for name in self._names:
            if self._names.count(name) > 1:
                raise OptionError(f"--to {name} is named twice")
        sinks = [open_sink(address) for address in addresses]
        self._folder = default_queue() if queue is None else Path(queue)
        self._say, self._said_at = say, float("-inf")
        self._queue = DiskQueue(self._folder, max_bytes)
        self._dropped_before = {name: self._queue.counts(name)[1] for name in self._names}
        for name, count in self._queue.waiting_for_others(self._names).items():
            say(f"{count} records wait in {self._folder} for {name}: --to it, and they are sent")
        self._workers = [
            Worker(address, sink, self._queue, say)
            for address, sink in zip(addresses, sinks, strict=True)
        ]
        for worker in self._workers:
            worker.start()

    def publish(self, record: Record) -> Record:
        """Give a record to all sinks, and return it with its ``id`` and ``time``, new where it has
        none.

        It returns as soon as the record is in the queue, and never raises for a sink or a full
        disk: what is lost is counted, and said now and then.
        """
        now = time.time()
        record = {"id": new_id(now), "time": utc_text(now), **record}
        dropped = 0
        try:
            body = json.dumps(record).encode()
            dropped = self._queue.put(self._names, record["id"], body)
        except OutputError as error:
            self._say_seldom(f"{error}: this record reaches no sink")
        for worker in self._workers:
            worker.wake()
        if dropped:
            self._say_seldom("the queue is full: the oldest records are dropped")
        return record

    def _say_seldom(self, line: str) -> None:
        if time.monotonic() - self._said_at > _SAY_EVERY_S:
            self._said_at = time.monotonic()
            self._say(line)

    def close(self, drain_s: float = DRAIN_S) -> None:
        """Send what waits, for some seconds at most; say what stays queued, and what was lost."""
        until = time.monotonic() + drain_s
        for worker in self._workers:
            worker.end(until)
        for worker in self._workers:
            worker.join(max(0.0, until + 0.5 - time.monotonic()))
        for worker in self._workers:
            waiting, dropped = self._queue.counts(worker.name)
            dropped -= self._dropped_before[worker.name]
            if waiting:
                why = f" ({worker.problem})" if worker.problem else ""
                self._say(
                    f"sink {worker.name}{why}: {waiting} records stay queued in {self._folder}; "
                    "the next run sends them first"
                )
            if dropped:
                self._say(
                    f"sink {worker.name}: {dropped} records were dropped: queue or disk was full"
                )
        self._queue.close()

    def __enter__(self) -> Delivery:
        """Be published to."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
