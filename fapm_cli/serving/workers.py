"""The threads that judge, and the queue before them, which is never longer than it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fapm_cli.compute.cores import usable_cores

T = TypeVar("T")


class QueueFullError(Exception):
    """There is no room for another picture now."""


class Workers:
    """One thread a core; each judges whole pictures, of any bank.

    Attributes:
        num_inside: how many pictures of requests are judged, or wait.
    """

    def __init__(self, queue: int):
        """Begin, with room for ``queue`` pictures that wait."""
        number = usable_cores()
        self._most, self.num_inside = number + queue, 0
        self._threads = ThreadPoolExecutor(number, thread_name_prefix="judge")

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work in a thread.

        Raises:
            QueueFullError: too many wait; it was not begun.
        """
        if self.num_inside >= self._most:
            raise QueueFullError
        self.num_inside += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work)
        finally:
            self.num_inside -= 1

    def do(self, work: Callable[[], T]) -> T:
        """Do some work for a source: it waits for its turn, in the thread that asks, for as long
        as that takes.
        """
        return self._threads.submit(work).result()

    def close(self) -> None:
        """Let what was begun come to its end, and stop."""
        self._threads.shutdown()
