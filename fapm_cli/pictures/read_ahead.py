"""Reading ahead: pictures are decoded and prepared in threads, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from fapm_cli.compute.cores import usable_cores
from fapm_cli.stores.ahead import ahead as begun_ahead

T = TypeVar("T")
R = TypeVar("R")


class InOrder(Protocol):
    """What works on items, and gives the results in the items' order."""

    def __call__(
        self, items: Iterable[T | None], work: Callable[[T], R], ahead: int = ...
    ) -> Iterator[R]:
        """As :func:`in_order`."""


def in_order(
    items: Iterable[T | None],
    work: Callable[[T], R],
    ahead: int = 32,
    begin: Callable[[], None] | None = None,
) -> Iterator[R]:
    """Work on items in threads, and give the results in the items' order.

    Decoding and resizing release the interpreter, so threads are enough.

    Args:
        items: read lazily, so an endless or slow source is fine. None says that nothing comes for
            now: what is in hand is given out before the next item is asked for.
        work: called once per item; what it raises is raised here.
        ahead: most results held before they are asked for, which bounds the memory.
        begin: called once in each thread.
    """
    executor = ThreadPoolExecutor(usable_cores(), initializer=begin)
    waiting: deque[Future[R]] = deque()
    wait = True
    try:
        for item in begun_ahead(items):
            if item is not None:
                waiting.append(executor.submit(work, item))
            most = 0 if item is None else ahead - 1
            while len(waiting) > most or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except GeneratorExit:
        # Dropped: it may be collected in any thread at any moment, one of its own, or one that is
        # starting and holds a lock that others need to end.
        wait = False
        raise
    finally:
        executor.shutdown(wait=wait, cancel_futures=True)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of ``size``; the last may be shorter."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class Room:
    """Memory that threads share: who finds no room waits, and what is too large goes alone.

    Attributes:
        num_bytes: that are taken at a time, but by one who takes more alone.
    """

    def __init__(self, num_bytes: int):
        """Make so much room."""
        self.num_bytes = num_bytes
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def visit(self) -> Iterator[Callable[[int], None]]:
        """Give what takes some bytes, once, and give them back at the end."""
        taken = 0

        def enter(wanted: int) -> None:
            nonlocal taken
            with self._changed:
                self._changed.wait_for(
                    lambda: self._taken + min(wanted, self.num_bytes) <= self.num_bytes
                )
                taken = min(wanted, self.num_bytes)
                self._taken += taken

        try:
            yield enter
        finally:
            with self._changed:
                self._taken -= taken
                self._changed.notify_all()
