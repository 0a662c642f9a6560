"""Files that all machines of a cluster share: what a worker does not see is told, never skipped."""

from __future__ import annotations

import functools
import itertools
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fapm_cli.compute.cluster import Cluster
from fapm_cli.errors import ClusterError

R = TypeVar("R")


@dataclass(frozen=True)
class NotThere:
    """A file that a worker's machine does not have."""

    path: Path | str
    machine: str


def map_files(
    cluster: Cluster, work: Callable[[Sequence[Any]], Iterable[R]], lists: Iterable[Sequence[Any]]
) -> Iterator[R]:
    """What pure work makes of the items of lists, in their order; a list is a task.

    Args:
        cluster: that does the work.
        work: gives one result for each item of a list.
        lists: asked for one by one. Items that are paths are files, and must be seen by workers;
            one that is nowhere is worked on here, which tells why it is not.

    Raises:
        ClusterError: a worker does not see a file that is there.
    """
    found = cluster.map(functools.partial(_work_there, work), lists)
    for one in itertools.chain.from_iterable(found):
        if isinstance(one, NotThere):
            if os.path.exists(one.path):
                raise ClusterError(
                    f"worker on {one.machine} does not see {one.path}: pictures must lie under "
                    "the same path on every machine of the cluster"
                )
            (one,) = work([one.path])
        yield one


def _work_there(
    work: Callable[[Sequence[Any]], Iterable[R]], items: Sequence[Any]
) -> list[R | NotThere]:
    absent = [isinstance(one, str | Path) and not os.path.exists(one) for one in items]
    done = iter(work([one for one, gone in zip(items, absent, strict=True) if not gone]))
    machine = socket.gethostname()
    return [
        NotThere(one, machine) if gone else next(done)
        for one, gone in zip(items, absent, strict=True)
    ]
