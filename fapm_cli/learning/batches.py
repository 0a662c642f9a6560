"""Batches of nominal pictures, each picture once."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.bank.nominal_pictures import NominalPicture, pixels_digest
from fapm_cli.bank.thumbnails import encode_thumbnail
from fapm_cli.config import BankConfig
from fapm_cli.errors import PictureError
from fapm_cli.finding.folders import Unreadable
from fapm_cli.learning.scratch.workspace import Encoded
from fapm_cli.memory.vectors import Rows
from fapm_cli.pictures.fitting.light import Light
from fapm_cli.pictures.fitting.moving import judged_of
from fapm_cli.pictures.read_ahead import InOrder, in_order
from fapm_cli.pictures.reading import AS_IT_IS, Fitting, Item, PartOf, Prepared, read_batches
from fapm_cli.pictures.seen import Seen

_AT_A_TIME = 16


@dataclass(frozen=True)
class NominalBatch:
    """Some nominal pictures.

    Attributes:
        pixels: (B, H, W, 3) uint8 RGB, as :func:`fapm_cli.pictures.preparing.prepare` makes them.
        names: what to call each.
        sha256: digest of each one's file.
        parts: a name of the part that each shows; None to find near twins instead.
        seen: (B, H, W) bool, what pictures show that were moved; None for all.
    """

    pixels: Tensor
    names: Sequence[str]
    sha256: Sequence[str]
    parts: Sequence[str] | None = None
    seen: Tensor | None = None

    @functools.cached_property
    def pictures(self) -> list[NominalPicture]:
        """What is known of each before it is judged."""
        return [
            NominalPicture(name, digest, pixels_digest(pixels), 0.0, 0.0, 0)
            for name, digest, pixels in zip(self.names, self.sha256, self.pixels, strict=True)
        ]

    @functools.cached_property
    def digests(self) -> list[str]:
        """What tells all that is learnt of each: name, file, px, part, what it shows."""
        found = []
        for i, picture in enumerate(self.pictures):
            part = None if self.parts is None else self.parts[i]
            known = hashlib.sha256(repr((picture.name, *sorted(picture.digests), part)).encode())
            if self.seen is not None:
                known.update(self.seen[i].cpu().numpy().tobytes())
            found.append(known.hexdigest())
        return found

    @property
    def judged(self) -> Tensor | None:
        """(B, H, W) bool, what is learnt from; None for all."""
        return judged_of_all(self.seen)

    def pick(self, indices: Sequence[int]) -> NominalBatch:
        """Some of them, in that order."""
        return NominalBatch(
            self.pixels[list(indices)],
            [self.names[i] for i in indices],
            [self.sha256[i] for i in indices],
            None if self.parts is None else [self.parts[i] for i in indices],
            None if self.seen is None else self.seen[list(indices)],
        )


def nominal_batches(
    files: Sequence[tuple[Item, str]],
    config: BankConfig,
    batch_size: int,
    on_bad: Callable[[Unreadable], None] | None,
    likes: dict[str, Seen],
    part_of: PartOf | None = None,
    fitting: Fitting = AS_IT_IS,
    read: InOrder = in_order,
) -> Iterator[NominalBatch]:
    """Read pictures as :func:`build_from_files` says; ``likes`` is told, by the digest of each
    file, what it is like.
    """
    names = (name for _, name in files)
    items = (file for file, _ in files)
    for batch in read_batches(items, config.preprocessing, batch_size, fitting, read):
        good, good_names = [], []
        for one, name in zip(batch, names, strict=False):
            if isinstance(one, Prepared):
                good.append(one)
                good_names.append(name)
                likes[one.picture.sha256] = one.like
            elif on_bad is None:
                raise one.error
            else:
                on_bad(one)
        if good:
            yield NominalBatch(
                torch.from_numpy(np.stack([one.pixels for one in good])),
                good_names,
                [one.picture.sha256 for one in good],
                part_of
                and [part_of(one.picture.path, n) for one, n in zip(good, good_names, strict=True)],
                _seen(good),
            )


def _seen(some: Sequence[Prepared]) -> Tensor | None:
    """(B, H, W) bool, what pictures show; None where they were not moved."""
    seen = [torch.tensor(one.placed.seen) for one in some if one.placed is not None]
    return torch.stack(seen) if seen else None


def judged_of_all(seen: Tensor | None) -> Tensor | None:
    """Of what pictures show, (B, H, W) bool, what is judged; None for all."""
    if seen is None:
        return None
    return torch.stack([torch.from_numpy(judged_of(one)) for one in seen.cpu().numpy()])


def light_of(pixels: Rows, roi: Tensor | None, seen: Rows | None) -> Light:
    """The light of (N, H, W, 3) px, where a bank inspects, of what they show, (N, H, W) bool."""

    def some() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]]:
        for numbers in torch.split(torch.arange(len(pixels)), _AT_A_TIME):
            shown = () if seen is None else (seen[numbers],)
            for one, *of in zip(pixels[numbers].numpy(), *shown, strict=True):
                where = [of_it.cpu().numpy() for of_it in (roi, *of) if of_it is not None]
                yield one, functools.reduce(np.logical_and, where) if where else None

    return Light.of_each(some())


def unseen(
    batches: Iterator[NominalBatch], seen: set[str], on_known: Callable[[str], None]
) -> Iterator[NominalBatch]:
    """Leave out pictures of which the file, or the px, were seen before; ``seen`` grows."""
    for batch in batches:
        fresh = []
        for i, picture in enumerate(batch.pictures):
            if seen.isdisjoint(picture.digests):
                fresh.append(i)
            else:
                on_known(picture.name)
            seen |= picture.digests
        if fresh:
            yield batch.pick(fresh)


def with_detail(batches: Iterable[NominalBatch]) -> Iterator[NominalBatch]:
    """Pass batches on.

    Raises:
        PictureError: in the end, if there was nothing to see in any picture.
    """
    num_flat = num_all = 0
    for batch in batches:
        flat = (batch.pixels == batch.pixels[:, :1, :1]).flatten(1).all(dim=1)
        num_flat, num_all = num_flat + int(flat.sum()), num_all + len(flat)
        yield batch
    if num_flat == num_all > 0:
        raise PictureError(
            f"nothing can be learnt: each of {num_all} pictures is of one flat colour; look at them"
        )


def encode_passing(
    batches: Iterable[NominalBatch], encoded: Encoded | None
) -> Iterator[NominalBatch]:
    """Pass batches on, their pictures added to ``encoded``, but those that it has."""
    number = 0
    for batch in batches:
        if encoded is not None:
            numbered = enumerate(batch.digests, start=number)
            known = sum([encoded.known(*one) for one in numbered])
            new = batch.pick(range(known, len(batch.names))) if known else batch
            encoded.add(in_order(_with_seen(new), encode_thumbnail), new.digests)
            number += len(batch.names)
        yield batch


def _with_seen(batch: NominalBatch) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a batch, what they do not show told by a fourth channel."""
    if batch.seen is None:
        yield from batch.pixels.cpu().numpy()
        return
    for pixels, seen in zip(batch.pixels.cpu(), batch.seen.cpu(), strict=True):
        alpha = seen.unsqueeze(2).byte() * 255
        yield (pixels if seen.all() else torch.cat([pixels, alpha], dim=2)).numpy()
