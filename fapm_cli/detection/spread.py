"""Judging spread over a cluster: each of its workers takes the bank once, and pictures in lists.

What comes of a picture is what would come of it here, in the pictures' order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from fapm_cli.compute.cluster import Cluster
from fapm_cli.compute.cores import usable_cores
from fapm_cli.compute.shared_files import map_files
from fapm_cli.detection.judge import Judge
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.picture import Encoded, Frame
from fapm_cli.pictures.reading import Item
from fapm_cli.stores.ahead import ahead
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import AnyPath, StoredPath

R = TypeVar("R")
Work = Callable[[Judge, Iterable[Item | None], int], Iterator[R]]
"""Judges pictures, some at a time, and gives one result for each, in their order."""

_MOST_BYTES = 32 * 2**20  # of what goes to a worker at a time, but for files that it reads itself


def spread(
    cluster: Cluster | None,
    work: Work[R],
    detector: Judge,
    items: Iterable[Item | None],
    batch_size: int,
) -> Iterator[R]:
    """Do work on pictures on a cluster, or here.

    Files are read by the workers, and must lie under the same path there. What lies elsewhere,
    frames and arrays go to them from here.

    Args:
        cluster: that does it; None for this process.
        work: is sent there, with all that it holds.
        detector: is opened anew by each worker, of the bank that it is sent.
        items: asked for one by one, no more than the workers have to do.
        batch_size: pictures at a time: of a task, if they are no fewer than its threads.

    Raises:
        OptionError: the detector computes on a card, or is compiled.
        ClusterError: the cluster lacks what the work takes, or does not see a file that is there.
    """
    if cluster is None:
        yield from work(detector, items, batch_size)
        return
    if not detector.can_be_sent:
        raise OptionError("on a cluster, CPUs judge, and nothing is compiled: leave that out")
    together = max(batch_size, usable_cores())
    of_some = functools.partial(_of_some, work, detector)
    sent = (_sent(item) for item in ahead(one for one in items if one is not None))
    yield from map_files(cluster.by(detector.package), of_some, _in_lists(sent, together))


def _of_some(work: Work[R], detector: Judge, items: Sequence[Item]) -> Iterator[R]:
    return work(detector, items, len(items))


def _sent(item: Item) -> Item:
    """A picture as it is sent: of what lies elsewhere, its bytes."""
    path = located(item) if isinstance(item, str | AnyPath) else None
    if not isinstance(path, StoredPath):
        return item
    try:
        return Encoded(path, path.read_bytes())
    except PictureError as error:
        return Unreadable(path, error)


def _num_bytes(item: Item) -> int:
    if isinstance(item, Encoded):
        return len(item.data)
    pixels = item.bgr if isinstance(item, Frame) else item
    return pixels.nbytes if isinstance(pixels, np.ndarray) else 0


def _in_lists(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of so many, or as many as may be sent at a time."""
    some: list[Item] = []
    num_bytes = 0
    for item in items:
        some.append(item)
        num_bytes += _num_bytes(item)
        if len(some) == size or num_bytes >= _MOST_BYTES:
            yield some
            some, num_bytes = [], 0
    if some:
        yield some
