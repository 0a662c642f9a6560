"""Extracting: all patch memories of all pictures, whole (§2.1)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.bank.nominal_pictures import NominalPicture, in_groups
from fapm_cli.config import BankConfig
from fapm_cli.learning.batches import NominalBatch, judged_of_all
from fapm_cli.learning.choosing.spoiled import Spoiled, Spoiling
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.turned import angles, turned_copies
from fapm_cli.learning.twins import Looks, look_at, twin_groups
from fapm_cli.memory.grid import of_pictures, to_patches
from fapm_cli.network.extraction import FeatureExtractor

OBSERVED = 32  # pictures that int8 takes its ranges from


@dataclass(frozen=True)
class Extracted:
    """What was extracted from nominal pictures.

    Attributes:
        features: per memory (N_p, N·N_v, C) vectors.
        copies: per memory (N_p, N·V·N_v, C) vectors of turned copies, picture by picture.
        pictures: in groups, yet to be judged.
        pixels: (N, H, W, 3) uint8, what they show.
        seen: (N, H, W) bool, what of the part each shows; None where none was moved.
        spoiled: of some of them, spoiled; None where no metric is to be chosen.
    """

    features: list[Tensor]
    copies: list[Tensor]
    pictures: list[NominalPicture]
    pixels: Tensor
    seen: Tensor | None
    spoiled: Spoiled | None

    @functools.cached_property
    def judged(self) -> Tensor | None:
        """(N, H, W) bool, what is learnt from; None for all."""
        return judged_of_all(self.seen)

    def of(self, kept: Sequence[int]) -> Extracted:
        """The same of some of the pictures; their groups are as before."""
        numbers, total = torch.tensor(kept), len(self.pictures)
        return Extracted(
            [of_pictures(vectors, numbers, total) for vectors in self.features],
            [of_pictures(v, numbers, total) if v.shape[1] else v for v in self.copies],
            [self.pictures[i] for i in kept],
            self.pixels[numbers],
            None if self.seen is None else self.seen[numbers],
            None if self.spoiled is None else self.spoiled.of(kept),
        )


@torch.inference_mode()
def extract(
    batches: Iterable[NominalBatch],
    capacity: int,
    config: BankConfig,
    extractor: FeatureExtractor,
    on_stage: OnStage,
    roi: Tensor | None = None,
) -> Extracted:
    """Extract all patch memories whole; the extractor's ranges are those of the pictures.

    Spoiled pictures' pieces lie in ``roi``, (H, W) bool.

    Raises:
        ValueError: the extractor follows a plan.
    """
    extractor.check_unplanned()
    extractor.ranges = {}
    device = extractor.mean.device
    num_patches = config.grid[0] * config.grid[1]
    per_picture = [h * w // num_patches for _, h, w in extractor.map_shapes]
    num_copies = len(angles(config.turn))
    features, copies = (
        [
            torch.empty(num_patches, capacity * views * n, shape[0], device=device)
            for n, shape in zip(per_picture, extractor.map_shapes, strict=True)
        ]
        for views in (1, num_copies)
    )
    shown = torch.empty(capacity, *config.preprocessing.crop_px, 3, dtype=torch.uint8)
    seen: list[Tensor] = []
    pictures: list[NominalPicture] = []
    looks: list[Looks] = []
    parts: list[str] = []
    spoiling = Spoiling(extractor) if config.metric == "own" else None
    for batch in batches:
        # On a CPU one picture at a time is as fast, and the batch size can't change a bit.
        at_a_time = 1 if device.type == "cpu" else len(batch.pixels)
        first = len(pictures)
        shown[first : first + len(batch.pixels)] = batch.pixels
        if batch.seen is not None:
            seen.append(batch.seen)
        for pixels in torch.split(batch.pixels, at_a_time):
            last = first + len(pixels)
            with extractor.observing() if first < OBSERVED else nullcontext():
                maps = extractor(pixels.to(device))
            for whole, part, n in zip(features, maps, per_picture, strict=True):
                whole[:, first * n : last * n] = to_patches(part, config.grid)
            if num_copies:
                _extract_copies(copies, pixels, first, config, extractor)
            first = last
        if spoiling is not None:
            spoiling.take(batch.pixels, len(pictures), roi, batch.judged)
        pictures += batch.pictures
        parts += batch.parts or ()
        looks += () if batch.parts else (look_at(batch.pixels),)
        on_stage("extract", len(pictures), capacity)
    total = len(pictures)
    if looks:
        pictures = in_groups(pictures, twin_groups(Looks.join(looks)))
    elif parts:
        pictures = in_groups(pictures, parts)
    features, copies = (
        [f[:, : total * views * n] for f, n in zip(vectors, per_picture, strict=True)]
        for vectors, views in ((features, 1), (copies, num_copies))
    )
    spoiled = None if spoiling is None else spoiling.taken()
    there = torch.cat(seen) if seen else None
    return Extracted(features, copies, pictures, shown[:total], there, spoiled)


def _extract_copies(
    copies: list[Tensor],
    pixels: Tensor,
    first: int,
    config: BankConfig,
    extractor: FeatureExtractor,
) -> None:
    """Extract the turned copies of (B, H, W, 3) pictures, of which the numbers begin at ``first``,
    into their places.
    """
    for number, picture in enumerate(pixels, start=first):
        views = turned_copies(picture, config.turn)
        for view, one in enumerate(torch.split(views, 1), start=number * len(views)):
            for whole, part in zip(copies, extractor(one.to(extractor.mean.device)), strict=True):
                vectors = to_patches(part, config.grid)
                n = vectors.shape[1]
                whole[:, view * n : (view + 1) * n] = vectors
