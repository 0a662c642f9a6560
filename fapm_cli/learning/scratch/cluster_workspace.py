"""A workspace on a cluster: vectors stay where they were extracted, and work goes there."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fapm_cli.compute.cluster import Cluster
from fapm_cli.compute.shared_files import map_files
from fapm_cli.compute.worker import each
from fapm_cli.learning.scratch.field import Field, FieldVectors, Reader
from fapm_cli.learning.scratch.workspace import HeldStore, Job, R, T, Tensors, Workspace
from fapm_cli.memory.vectors import Rows
from fapm_cli.pictures.read_ahead import batched

BLOCK_BYTES, PIECE_BYTES, _MOST = 32 * 2**20, 4 * 2**20, 16
_READ_TOGETHER = 16


class ClusterWorkspace(Workspace):
    """A workspace of which the vectors lie on a cluster, and what is small lies here."""

    def __init__(self, cluster: Cluster):
        """Use a cluster."""
        self._cluster = cluster

    def store(
        self, name: str, fields: Sequence[Field], capacity: int, device: torch.device
    ) -> ClusterStore:
        """As :meth:`Workspace.store`."""
        return ClusterStore(self._cluster, fields, capacity, device)

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """What pure work makes of each item, in their order."""
        return self._cluster.map(work, map(_compact, items))

    def in_order(
        self, items: Iterable[T | None], work: Callable[[T], R], ahead: int = 32
    ) -> Iterator[R]:
        """Read and prepare pictures, in their order.

        Raises:
            ClusterError: a worker does not see a file that is there.
        """
        some = batched((item for item in items if item is not None), _READ_TOGETHER)
        return map_files(self._cluster, functools.partial(each, work), some)


def _compact(item: Any) -> Any:
    """An item of which each tensor is as large as what lies under it: that is what is sent."""
    if isinstance(item, tuple):
        return tuple(map(_compact, item))
    larger = isinstance(item, Tensor) and item.untyped_storage().nbytes() > item.nbytes
    return item.clone() if larger else item


class ClusterStore:
    """Fields of pictures: vectors where they were extracted, some patches of a few pictures an
    object; rows here.
    """

    def __init__(
        self, cluster: Cluster, fields: Sequence[Field], capacity: int, device: torch.device
    ):
        """Take memory for the rows of so many pictures."""
        self._cluster, self._device = cluster, device
        self._rows = HeldStore([one for one in fields if not one.on_device], capacity, device)
        vectors = {one.name: one for one in fields if one.on_device}
        per_picture = max(sum(one.num_bytes(1) for one in vectors.values()), 1)
        self.per_block = min(max(BLOCK_BYTES // per_picture, 1), _MOST)
        self._there = Pieces(vectors, {n: _cut(f, self.per_block) for n, f in vectors.items()})
        self._waiting: list[Tensor] = []
        self._work: Callable[[Tensor], Tensors] | None = None
        self._placed: Any = None
        self._begun: deque[Any] = deque()

    def known(self, first: int, digests: Sequence[str]) -> int:
        """None: all is new."""
        return 0

    def put(
        self,
        first: int,
        digests: Sequence[str],
        parts: Mapping[str, Tensor],
        job: Job[Tensor, Tensors] | None = None,
    ) -> None:
        """Store pictures, as :meth:`Store.put`: rows at once, vectors once a worker is free."""
        self._rows.put(first, digests, parts)
        if job is None:
            return
        if self._work is not job.work:
            self._start()
            self._work = job.work
            extracted = functools.partial(_extract, job.work, self._there.cuts)
            self._placed = self._cluster.place(extracted)
        self._waiting.append(_compact(job.item))
        if sum(map(len, self._waiting)) >= self.per_block:
            self._start()

    def _start(self) -> None:
        if not self._waiting:
            return
        count, number = sum(map(len, self._waiting)), sum(map(len, self._there.cuts.values()))
        done, *pieces = self._cluster.start(self._placed, self._waiting, 1 + number)
        self._there.add(count, pieces)
        self._waiting = []
        self._begun.append(done)
        while len(self._begun) >= self._cluster.most_waiting:
            self._cluster.get(self._begun.popleft())

    def finish(self, total: int) -> None:
        """All pictures came; waits for the vectors of all."""
        self._start()
        while self._begun:
            self._cluster.get(self._begun.popleft())
        self._rows.finish(total)

    def vectors(self, name: str) -> FieldVectors:
        """A field of all pictures."""
        there, total = self._there, sum(self._there.counts)
        patches = functools.partial(there.of_patches, name)
        pictures = functools.partial(there.of_pictures, name)
        return FieldVectors(Reader(there.fields[name], self._device, total, patches, pictures))

    def rows(self, name: str) -> Rows:
        """A field of rows."""
        return self._rows.rows(name)


Cuts = Mapping[str, Sequence[tuple[int, int]]]


def _cut(one: Field, per_block: int) -> list[tuple[int, int]]:
    """From which patch to which a piece of a field goes, of so many pictures."""
    of_patch = max(one.num_bytes(per_block) // one.lead, 1)
    size = min(max(PIECE_BYTES // of_patch, 1), one.lead)
    return [(first, min(first + size, one.lead)) for first in range(0, one.lead, size)]


def _extract(
    work: Callable[[Tensor], Tensors], cuts: Cuts, pictures: Sequence[Tensor]
) -> list[Any]:
    """The vectors of pictures, cut into pieces; before them that they are there."""
    parts = [work(pixels) for pixels in pictures]
    pieces: list[Any] = [True]
    for name, of_field in cuts.items():
        whole = torch.cat([part[name] for part in parts], dim=1) if name in parts[0] else None
        for first, end in of_field:
            pieces.append(None if whole is None else whole[first:end].numpy())
    return pieces


@dataclass
class Pieces:
    """Where vectors are: of each block of pictures, references to each field's pieces.

    Attributes:
        fields: by their names.
        cuts: of each, from which patch to which each piece goes.
        counts: pictures of each block.
        references: of each block, by field.
    """

    fields: Mapping[str, Field]
    cuts: Cuts
    counts: list[int] = field(default_factory=list)
    references: list[dict[str, list[Any]]] = field(default_factory=list)

    def add(self, count: int, pieces: Iterable[Any]) -> None:
        """Add a block."""
        each = iter(pieces)
        self.counts.append(count)
        self.references.append({name: [next(each) for _ in of] for name, of in self.cuts.items()})

    def of_patches(self, name: str, first: int, end: int) -> Tensor:
        """(end - first, N·N_v, …) of all pictures."""
        own, n = self.fields[name], self.fields[name].per_picture
        whole = torch.empty((end - first, *own.shape(sum(self.counts))[1:]), dtype=own.dtype)
        cuts = self.cuts[name]
        wanted = [i for i, (start, stop) in enumerate(cuts) if start < end and stop > first]
        found = _get([of[name][i] for of in self.references for i in wanted])
        at = 0
        for block, count in enumerate(self.counts):
            for place, i in enumerate(wanted):
                start, stop = max(cuts[i][0], first), min(cuts[i][1], end)
                piece = found[block * len(wanted) + place]
                part = piece[start - cuts[i][0] : stop - cuts[i][0]]
                whole[start - first : stop - first, at : at + count * n].numpy()[...] = part
            at += count * n
        return whole

    def of_pictures(self, name: str, pictures: Sequence[int]) -> Tensor:
        """(N_p, n·N_v, …) of pictures of these numbers."""
        own, n = self.fields[name], self.fields[name].per_picture
        whole, cuts = own.empty(len(pictures)), self.cuts[name]
        blocks = [block for block, count in enumerate(self.counts) for _ in range(count)]
        firsts = {block: blocks.index(block) for block in {blocks[one] for one in pictures}}
        wanted = sorted(firsts)
        found = _get([one for block in wanted for one in self.references[block][name]])
        into = whole.numpy()
        for at, picture in enumerate(pictures):
            block = blocks[picture]
            number, place = picture - firsts[block], wanted.index(block) * len(cuts)
            for i, (start, stop) in enumerate(cuts):
                piece = found[place + i][:, number * n : (number + 1) * n]
                into[start:stop, at * n : (at + 1) * n] = piece
        return whole


def _get(references: list[Any]) -> list[Any]:
    """What lies there, as arrays; on a worker, or here."""
    import ray

    return list(ray.get(references))
