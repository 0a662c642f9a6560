"""Extracting: all patch memories of all pictures (§2.1)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import common
from fapm_cli.bank.nominal_pictures import NominalPicture, in_groups
from fapm_cli.config import BankConfig
from fapm_cli.errors import PictureError
from fapm_cli.learning.batches import NominalBatch, judged_of_all
from fapm_cli.learning.choosing.spoiled import Spoiled, Spoiling
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.learning.scratch.field import Field, FieldRows
from fapm_cli.learning.scratch.picture_vectors import vector_fields, vectors_of
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Job, Tensors, Workspace
from fapm_cli.learning.turned import angles, turned_copies
from fapm_cli.learning.twins import Looking, twin_groups
from fapm_cli.memory.shown import shown_enough
from fapm_cli.memory.vectors import Rows, Vectors, only, rows_of
from fapm_cli.network.extraction import FeatureExtractor


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
        workspace: where it lies, and what is made of it.
    """

    features: Sequence[Vectors]
    copies: Sequence[Vectors]
    pictures: list[NominalPicture]
    pixels: Rows
    seen: Rows | None
    spoiled: Spoiled | None
    workspace: Workspace = IN_MEMORY

    @functools.cached_property
    def judged(self) -> Rows | None:
        """(N, H, W) bool, what is learnt from; None for all."""
        if isinstance(self.seen, FieldRows):
            return replace(self.seen, through=_judged)
        assert self.seen is None or isinstance(self.seen, Tensor)
        return judged_of_all(self.seen)

    def inspected(self, roi: Tensor | None, map_size: tuple[int, int]) -> Tensor | None:
        """What of a region is inspected: what enough parts show.

        Args:
            roi: (H, W) bool, the region; None for all.
            map_size: h, w of the finest map.

        Returns:
            (H, W) bool; None for all.

        Raises:
            OptionError: nothing of the region.
            PictureError: nothing at all.
        """
        if self.judged is None:
            return roi
        known = shown_enough(self.judged, [picture.group for picture in self.pictures], map_size)
        if not known.any():
            raise PictureError("no place of the part is in enough pictures: leave --align out")
        return common(roi, None if known.all() else known)

    def of(self, kept: Sequence[int]) -> Extracted:
        """The same of some of the pictures; their groups are as before."""
        total = len(self.pictures)
        return Extracted(
            [only(vectors, kept, total) for vectors in self.features],
            [only(v, kept, total) if v.shape[1] else v for v in self.copies],
            [self.pictures[i] for i in kept],
            rows_of(self.pixels, kept),
            None if self.seen is None else rows_of(self.seen, kept),
            None if self.spoiled is None else self.spoiled.of(kept),
            self.workspace.under("some"),
        )


def _judged(seen: Tensor) -> Tensor:
    judged = judged_of_all(seen)
    assert judged is not None
    return judged


@torch.inference_mode()
def extract(
    batches: Iterable[NominalBatch],
    capacity: int,
    config: BankConfig,
    extractor: FeatureExtractor,
    on_stage: OnStage,
    roi: Tensor | None = None,
    workspace: Workspace = IN_MEMORY,
) -> Extracted:
    """Extract all patch memories.

    Spoiled pictures' pieces lie in ``roi``, (H, W) bool. What the workspace has already is not
    extracted again.

    Raises:
        OptionError: it has what came of other pictures.
        ValueError: the extractor follows a plan.
    """
    extractor.check_unplanned()
    device = extractor.mean.device
    fields = _fields(config, extractor)
    store = workspace.store("pictures", fields, capacity, device)
    pictures: list[NominalPicture] = []
    looking = Looking(capacity)
    parts: list[str] = []
    moved = False
    work = functools.partial(_vectors_of, extractor, config)
    spoiling = Spoiling(extractor, workspace) if config.metric == "own" else None
    for batch in batches:
        # On a CPU one picture at a time is as fast, and the batch size can't change a bit.
        at_a_time = 1 if device.type == "cpu" else len(batch.pixels)
        first = len(pictures)
        known = store.known(first, batch.digests)
        for start in range(0, len(batch.pixels), at_a_time):
            some, number = slice(start, start + at_a_time), first + start
            pixels = batch.pixels[some]
            if start + len(pixels) <= known:
                continue
            own = {"pixels": pixels.unsqueeze(0)}
            if config.align != "none":
                own["seen"] = _seen(batch)[some].unsqueeze(0)
            store.put(number, batch.digests[some], own, Job(work, pixels))
        if spoiling is not None:
            spoiling.take(batch.pixels, first, roi, batch.judged)
        pictures += batch.pictures
        parts += batch.parts or ()
        if not batch.parts:
            looking.add(batch.pixels)
        moved = moved or batch.seen is not None
        on_stage("extract", len(pictures), capacity)
    store.finish(len(pictures))
    spoiled = None
    if spoiling is not None:
        spoiled = spoiling.taken(lambda: on_stage("extract", len(pictures), capacity))
    looks = looking.finish()
    if looks is not None:
        pictures = in_groups(pictures, twin_groups(looks))
    elif parts:
        pictures = in_groups(pictures, parts)
    memories = range(len(extractor.map_shapes))
    return Extracted(
        [store.vectors(f"features.{j}") for j in memories],
        [store.vectors(f"copies.{j}") for j in memories],
        pictures,
        store.rows("pixels"),
        store.rows("seen") if moved else None,
        spoiled,
        workspace,
    )


def _seen(batch: NominalBatch) -> Tensor:
    """(B, H, W) bool, what the pictures show."""
    if batch.seen is not None:
        return batch.seen
    return torch.ones(batch.pixels.shape[:3], dtype=torch.bool)


def _fields(config: BankConfig, extractor: FeatureExtractor) -> list[Field]:
    """What is kept of each picture."""
    size = config.preprocessing.crop_px
    fields = vector_fields("features", extractor, 1)
    fields += vector_fields("copies", extractor, len(angles(config.turn)))
    fields.append(Field.of_rows("pixels", (*size, 3), torch.uint8))
    if config.align != "none":
        fields.append(Field.of_rows("seen", size, torch.bool))
    return fields


def _vectors_of(extractor: FeatureExtractor, config: BankConfig, pixels: Tensor) -> Tensors:
    """The (N_p, B·N_v, C) vectors of (B, H, W, 3) pictures and of their turned copies, by field."""
    return vectors_of(extractor, pixels) | _copies(pixels, config, extractor)


def _copies(pixels: Tensor, config: BankConfig, extractor: FeatureExtractor) -> Tensors:
    """The (N_p, B·V·N_v, C) vectors of the turned copies of (B, H, W, 3) pictures, by field."""
    if not angles(config.turn):
        return {}
    found: list[Tensors] = []
    for picture in pixels:
        for one in torch.split(turned_copies(picture, config.turn), 1):
            found.append(vectors_of(extractor, one, "copies"))
    return {name: torch.cat([own[name] for own in found], dim=1) for name in found[0]}
