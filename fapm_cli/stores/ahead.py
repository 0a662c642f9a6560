"""Reading ahead: what lies elsewhere is on its way before it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from fapm_cli.stores.stored import StoredPath

T = TypeVar("T")

THREADS = 16  # that wait for others' machines, not for cores of this one
_MOST, _MOST_BYTES = 32, 2**28
_USUAL_BYTES = 2**22  # of a picture whose size nobody told


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Pass items on in their order; those that lie elsewhere are being read meanwhile.

    Some, as far as they fit into some memory, and none more once the first that waits has come: a
    source that is slow itself is not asked in advance for nothing.
    """
    reader: _Reader | None = None
    waiting: deque[tuple[T, Future[bytes] | None]] = deque()
    try:
        for item in items:
            future = None
            if isinstance(item, StoredPath):
                reader = reader or _Reader()
                future = reader.begin(item)
            waiting.append((item, future))
            while waiting and (item is None or len(waiting) >= _MOST or _is_done(waiting[0][1])):
                yield waiting.popleft()[0]
        while waiting:
            yield waiting.popleft()[0]
        if reader is not None:
            reader.finish()
            reader = None
    finally:
        if reader is not None:
            reader.drop()


def _is_done(future: Future[bytes] | None) -> bool:
    return future is None or future.done()


class _Reader:
    """Reads in threads what nobody has asked for yet, as far as there is room."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "fapm-ahead")
        self._begun: deque[tuple[StoredPath, Future[bytes]]] = deque()

    def begin(self, path: StoredPath) -> Future[bytes] | None:
        """Begin to read a file; None where there is no room."""
        while self._begun and not self._begun[0][0].store.has_begun(self._begun[0][0].parts):
            self._begun.popleft()
        held = sum(_num_bytes(*one) for one in self._begun)
        if held + (path.store.size(path.parts) or _USUAL_BYTES) > _MOST_BYTES and self._begun:
            return None
        future = path.store.begin(path.parts, self._threads)
        self._begun.append((path, future))
        return future

    def finish(self) -> None:
        """Begin nothing more; all that was begun will be taken."""
        self._threads.shutdown(wait=False)

    def drop(self) -> None:
        """Forget what nobody took, and will not."""
        for path, _ in self._begun:
            path.store.drop(path.parts)
        self._threads.shutdown(wait=False, cancel_futures=True)


def _num_bytes(path: StoredPath, future: Future[bytes]) -> int:
    """Bytes that a file takes, as far as that is known."""
    if not path.store.has_begun(path.parts):
        return 0
    if future.done() and not future.cancelled() and future.exception() is None:
        return len(future.result())
    return path.store.size(path.parts) or _USUAL_BYTES
