"""Feeding: pictures are decoded and prepared in threads, ahead of the engine, in order."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

cores_asked_for: int | None = None
"""How many cores this process is to use; None for all it may."""
_OF_SELF, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


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
    own: set[int] = set()

    def start() -> None:
        own.add(threading.get_ident())
        if begin is not None:
            begin()

    executor = ThreadPoolExecutor(max_workers=usable_cores(), initializer=start)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            if item is not None:
                waiting.append(executor.submit(work, item))
            most = 0 if item is None else ahead - 1
            while len(waiting) > most or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # A generator that was dropped may be collected in one of its own threads.
        executor.shutdown(wait=threading.get_ident() not in own, cancel_futures=True)


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


def usable_cores() -> int:
    """Cores this process is to use, or else may use: in a container fewer than there are."""
    if cores_asked_for is not None:
        return cores_asked_for
    affine = hasattr(os, "sched_getaffinity")
    there = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    return min([there, *(max(math.ceil(quota), 1) for quota in _cpu_quotas())])


def _cpu_quotas() -> Iterator[float]:
    """CPU seconds per second that each control group around this process allows (Linux).

    A container may see its own group as the root, under the path that it has outside.
    """
    try:
        groups = [line.split(":", 2)[1:] for line in _OF_SELF.read_text().splitlines()]
    except OSError:
        return
    for controllers, name in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUPS / "cpu" if controllers else _CGROUPS  # version 1, or 2
        inside = PurePosixPath(name.lstrip("/"))
        for folder in (inside, *inside.parents):
            try:
                yield _cpu_quota(root / folder)
            except (OSError, ValueError):  # no such group, or "max": no limit
                continue


def _cpu_quota(group: Path) -> float:
    """CPU seconds per second that one control group allows.

    Raises:
        OSError: it says nothing of that.
        ValueError: it sets no limit.
    """
    if (both := group / "cpu.max").exists():
        quota, period = map(int, both.read_text().split())
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = (int((group / name).read_text()) for name in names)
    if quota <= 0:
        raise ValueError("no limit")
    return quota / period
