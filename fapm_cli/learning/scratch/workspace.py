"""The workspace: where a build keeps what it has of all pictures. This one is memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from fapm_cli.learning.scratch.field import Field
from fapm_cli.memory.vectors import Rows, Vectors
from fapm_cli.pictures.read_ahead import in_order

Tensors = dict[str, Tensor]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Job(Generic[T, R]):
    """Work on an item, yet to be done: pure, so that it may be done anywhere."""

    work: Callable[[T], R]
    item: T

    def __call__(self) -> R:
        """Do it here."""
        return self.work(self.item)


class Store(Protocol):
    """Fields of pictures that come one after another."""

    def known(self, first: int, digests: Sequence[str]) -> int:
        """How many of these pictures, the first of which has this number, are stored already.

        Raises:
            OptionError: others are.
        """

    def put(
        self,
        first: int,
        digests: Sequence[str],
        parts: Mapping[str, Tensor],
        job: Job[Tensor, Tensors] | None = None,
    ) -> None:
        """Store pictures, of which the numbers begin at ``first``, by fields' names; what is stored
        already stays.

        Args:
            first: the first one's number.
            digests: of each.
            parts: what is known of them.
            job: gives the rest of them, from their px.
        """

    def finish(self, total: int) -> None:
        """All pictures came."""

    def vectors(self, name: str) -> Vectors:
        """A field of all pictures."""

    def rows(self, name: str) -> Rows:
        """A field of rows."""


class FoundRows(Protocol):
    """Rows (N, …) float32 by picture, of several fields, written and read in parts."""

    def known(self, part: int) -> bool:
        """Whether a part was written already, by a build that this one goes on from."""

    def put(self, part: int, pictures: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Write a part: the rows of these pictures, by fields' names."""

    def read(self, name: str, pictures: Tensor) -> Tensor:
        """The rows of some pictures."""


class Encoded(Protocol):
    """Thumbnails that come one after another."""

    def known(self, number: int, digest: str) -> bool:
        """Whether there is that of this picture.

        Raises:
            OptionError: there is another's.
        """

    def add(self, data: Iterable[bytes], digests: Iterable[str]) -> None:
        """Add some, of pictures of these digests."""

    def finish(self) -> Sequence[bytes]:
        """All of them."""


@dataclass(frozen=True)
class Where:
    """Where scratch files are.

    Attributes:
        folder: that holds them.
        most_bytes: how large they are at most.
        stays: whether they stay where the build is stopped, to be gone on from.
    """

    folder: Path
    most_bytes: int
    stays: bool


class Workspace:
    """A workspace in memory.

    Attributes:
        where: its files are; None without.
    """

    where: Where | None = None

    def store(
        self, name: str, fields: Sequence[Field], capacity: int, device: torch.device
    ) -> Store:
        """What holds fields of so many pictures at most."""
        return HeldStore(fields, capacity, device)

    def found(self, name: str, shapes: Mapping[str, Sequence[int]], total: int) -> FoundRows:
        """What holds rows of these shapes of so many pictures."""
        return HeldRows(shapes, total)

    def thumbnails(self) -> Encoded:
        """What holds thumbnails."""
        return HeldThumbnails()

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """What pure work makes of each item, in their order."""
        return map(work, items)

    def in_order(
        self, items: Iterable[T | None], work: Callable[[T], R], ahead: int = 32
    ) -> Iterator[R]:
        """The same of what is read, so many ``ahead``."""
        return in_order(items, work, ahead)

    def steps(self, work: Callable[[T], Tensors], items: Mapping[str, T]) -> Iterator[Tensors]:
        """The same of steps by their names, none of which need be taken twice."""
        return self.map(work, items.values())

    def under(self, name: str) -> Workspace:
        """The same, for steps of which the names may be the same."""
        return self


class HeldStore:
    """Fields in memory: vectors on a device, rows where they come from."""

    def __init__(self, fields: Sequence[Field], capacity: int, device: torch.device):
        """Take memory for so many pictures."""
        self._fields = {field.name: field for field in fields}
        self._whole = {
            field.name: field.empty(capacity, device if field.on_device else None)
            for field in fields
        }
        self._total = capacity

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
        """Store pictures, as :meth:`Store.put`."""
        for name, part in {**parts, **(job() if job else {})}.items():
            start = first * self._fields[name].per_picture
            self._whole[name][:, start : start + part.shape[1]] = part

    def finish(self, total: int) -> None:
        """All pictures came."""
        self._total = total

    def vectors(self, name: str) -> Tensor:
        """A field of all pictures."""
        return self._whole[name][:, : self._total * self._fields[name].per_picture]

    def rows(self, name: str) -> Tensor:
        """A field of rows."""
        return self._whole[name][0, : self._total]


class HeldRows:
    """Rows in memory."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], total: int):
        """Take memory."""
        self._rows = {name: torch.empty(total, *shape) for name, shape in shapes.items()}

    def known(self, part: int) -> bool:
        """No: all is new."""
        return False

    def put(self, part: int, pictures: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Write a part."""
        for name, own in rows.items():
            self._rows[name][pictures] = own.cpu()

    def read(self, name: str, pictures: Tensor) -> Tensor:
        """The rows of some pictures."""
        return self._rows[name][pictures]


class HeldThumbnails(list[bytes]):
    """Thumbnails in memory."""

    def known(self, number: int, digest: str) -> bool:
        """No: all are new."""
        return False

    def add(self, data: Iterable[bytes], digests: Iterable[str]) -> None:
        """Add some."""
        self.extend(data)

    def finish(self) -> Sequence[bytes]:
        """All of them."""
        return tuple(self)


IN_MEMORY = Workspace()
