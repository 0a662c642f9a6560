"""One sink's thread: takes batches from the queue, tries, backs off, and goes on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from fapm_cli.sinks.address import Address
from fapm_cli.sinks.queue import DiskQueue
from fapm_cli.sinks.sink import Sink, Status

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
STATUS_EVERY_S = 10.0


def backoff_s(failures: int) -> float:
    """How long to wait after so many failures in a row: twice as long each time, half of it chance.

    The chance keeps many stations from coming back to a server in the same moment.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
    return longest * random.uniform(0.5, 1)


class Worker(threading.Thread):
    """Delivers what the queue has for one sink. It never keeps a process from ending.

    Attributes:
        name: the sink's, as it may be shown.
        problem: why the last try failed; empty while the sink takes what it is given.
    """

    def __init__(
        self, address: Address, sink: Sink, queue: DiskQueue, say: Callable[[str], None]
    ) -> None:
        """Make the thread.

        Args:
            address: of the sink.
            sink: used by this thread alone.
            queue: shared with all others.
            say: told, in a line, where the sink fails, and when it is back.
        """
        super().__init__(name=address.name, daemon=True)
        self.problem = ""
        self._address, self._sink, self._queue, self._say = address, sink, queue, say
        self._wake, self._ending = threading.Event(), threading.Event()
        self._until = float("inf")
        self._failures, self._sent, self._told_at = 0, 0, float("-inf")

    def wake(self) -> None:
        """Say that there is something in the queue."""
        self._wake.set()

    def end(self, until: float) -> None:
        """Have the thread end once nothing waits, or at a moment of the monotonic clock."""
        self._until = until
        self._ending.set()
        self._wake.set()

    def run(self) -> None:
        """Deliver until told to end."""
        while True:
            self._wake.clear()
            ending = self._ending.is_set()
            try:
                idle = not self._deliver()
                if ending and idle:
                    break
                self._tell("online")
            except Exception as error:  # whatever a network or a library may raise
                self._failed(error)
                if self._over():
                    break
                self._pause(0.1 if ending else backoff_s(self._failures))
                continue
            self._works()
            if self._over():
                break
            if idle:
                self._wake.wait(STATUS_EVERY_S)
        self._leave()

    def _deliver(self) -> bool:
        """Send one batch, if there is one."""
        batch = self._queue.next(self.name, self._sink.most)
        if not batch:
            return False
        taken = False
        try:
            self._sink.send(batch)
            taken = True
        finally:
            self._queue.settle(self.name, taken=taken)
        self._sent += len(batch)
        return True

    def _tell(self, state: str) -> None:
        """Tell the other side how it is going: now and then, and as the last word."""
        if state == "online" and time.monotonic() - self._told_at < STATUS_EVERY_S:
            return
        queued, dropped = self._queue.counts(self.name)
        self._sink.tell(Status(state, queued, dropped, self._sent))
        self._told_at = time.monotonic()

    def _failed(self, error: Exception) -> None:
        said = self._address.hide(" ".join(str(error).split()))[:200]
        self.problem = said or type(error).__name__
        self._failures += 1
        self._told_at = float("-inf")
        if self._failures == 1 and not self._over():
            self._say(f"sink {self.name}: {self.problem}; records wait on disk, it is tried again")
        self._close()

    def _works(self) -> None:
        if self._failures:
            self._say(f"sink {self.name} works again, after {self._failures} failed tries")
        self._failures, self.problem = 0, ""

    def _over(self) -> bool:
        return time.monotonic() >= self._until

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; not where the end is asked for meanwhile."""
        if self._ending.is_set():
            time.sleep(min(seconds, max(0.0, self._until - time.monotonic())))
            return
        over = time.monotonic() + seconds
        while (left := over - time.monotonic()) > 0 and not self._ending.wait(min(left, 1.0)):
            self._sync()

    def _sync(self) -> None:
        with suppress(OSError):  # it is on disk a little later, by itself
            self._queue.sync()

    def _leave(self) -> None:
        try:
            if not self._failures:
                self._tell("offline")
        except Exception as error:
            self.problem = str(error)
        self._close()

    def _close(self) -> None:
        try:
            self._sink.close()
        except Exception as error:
            self.problem = self.problem or str(error)
