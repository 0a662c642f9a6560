"""Held out: each picture judged by a metric that has not seen it.

A covariance makes little of the very differences it was taken from. What a bank says of its own
pictures would be too little if the metric knew them: their keys are left out, and so is their part
in the metric, by folds of parts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Tensors, Workspace
from fapm_cli.memory.metric import TOGETHER_BYTES, Variation, patch_metrics
from fapm_cli.memory.patch_memory import PatchMemory, patch_memory
from fapm_cli.memory.shown import shown_vectors
from fapm_cli.memory.vectors import Gathered, Rows, Vectors, patches_of
from fapm_cli.scores.calibration import local_calibration
from fapm_cli.scores.extents import Calibration
from fapm_cli.scores.scorer import Found, Scorer
from fapm_cli.scores.spreader import covered_places

FOLDS = 3
TOGETHER, JUDGED_BYTES = 16, 256 * 2**20


@dataclass(frozen=True)
class HeldOut:
    """How the vectors of a bank's pictures vary, by folds of parts.

    Attributes:
        folds: (N,) int64, the fold of each picture.
        variations: of each memory.
        scales: what distances in each one's metrics are multiplied by.
    """

    folds: Tensor
    variations: Sequence[Variation]
    scales: Sequence[float]

    @property
    def numbers(self) -> list[int]:
        """The folds that there are."""
        return sorted(set(self.folds.tolist()))

    @staticmethod
    def of(
        bank: Bank,
        features: Sequence[Vectors],
        shown: Rows | None = None,
        workspace: Workspace = IN_MEMORY,
    ) -> HeldOut:
        """Take it from all vectors, per memory (N_p, N·N_v, C), of all pictures of a bank, of which
        those count that are ``shown``, (N, H, W) bool over the input; None for all.
        """
        folds = torch.tensor([picture.group % FOLDS for picture in bank.pictures])
        there: Sequence[Tensor | None] = [None] * len(features)
        if shown is not None:
            there = shown_vectors(shown, bank.map_sizes, bank.config.grid)
        variations = []
        for j, (vectors, of) in enumerate(zip(features, there, strict=True)):
            variations.append(_variation(vectors, folds, of, workspace.under(f"variation-{j}")))
        return HeldOut.by(variations, folds)

    @staticmethod
    def by(variations: Sequence[Variation], folds: Tensor, scale: float = 1.0) -> HeldOut:
        """All by one scale."""
        return HeldOut(folds, variations, [scale] * len(variations))

    def memories(self, bank: Bank, floor: float, fold: int) -> list[PatchMemory]:
        """Lay a bank's memories out in metrics that have not seen a fold."""
        return [
            patch_memory(
                memory.keys,
                memory.key_counts,
                bank.config.grid,
                metrics=patch_metrics(variation.covariances(without=fold), floor, scale),
            )
            for memory, variation, scale in zip(
                bank.memories, self.variations, self.scales, strict=True
            )
        ]

    def with_metrics(self, bank: Bank, floor: float | None) -> Bank:
        """The bank with metrics of all its pictures; without any where the floor is None."""
        metrics: list[Tensor | None] = [None] * len(bank.memories)
        if floor is not None:
            metrics = [
                patch_metrics(one.covariances(), floor, scale)
                for one, scale in zip(self.variations, self.scales, strict=True)
            ]
        memories = zip(bank.memories, metrics, strict=True)
        return replace(bank, memories=tuple(replace(m, metrics=own) for m, own in memories))


def _variation(
    vectors: Vectors, folds: Tensor, shown: Tensor | None, workspace: Workspace
) -> Variation:
    """How (N_p, N·N_v, C) vectors vary, taken from some patches at a time."""
    num_patches = vectors.shape[0]
    together = max(TOGETHER_BYTES * num_patches // max(vectors.nbytes, 1), 1)
    some = {}
    for first in range(0, num_patches, together):
        end = min(first + together, num_patches)
        some[f"{first}"] = first, end, None if shown is None else shown[first:end]
    parts = [
        {name: one.to(vectors.device) for name, one in found.items()}
        for found in workspace.steps(functools.partial(_moments, vectors, folds), some)
    ]
    return Variation.of_patches(parts, folds)


def _moments(vectors: Vectors, folds: Tensor, patches: tuple[int, int, Tensor | None]) -> Tensors:
    """How those of some patches vary: from the first to the end, and what of them is shown."""
    first, end, shown = patches
    return Variation(patches_of(vectors, first, end), folds, shown).tensors()


def at_a_time(vectors: Sequence[Vectors], num_pictures: int) -> int:
    """How many pictures of (N_p, N·N_v, C) vectors to judge together: fewer of large ones."""
    per_picture = sum(one.nbytes for one in vectors) // num_pictures
    return min(max(JUDGED_BYTES // per_picture, 1), TOGETHER)


def where_known(found: Sequence[Found]) -> list[Found]:
    """Where all keys are a part's own, nothing is known: assume the largest distance found."""
    largest = [
        max(float(distances.masked_fill(distances == torch.inf, 0).amax()) for distances, _ in each)
        for each in zip(*found, strict=True)
    ]
    return [
        [(d.clamp(max=most), keys) for (d, keys), most in zip(part, largest, strict=True)]
        for part in found
    ]


def bank_memories(bank: Bank) -> list[PatchMemory]:
    """A bank's memories laid out as they are."""
    return [
        patch_memory(m.keys, m.key_counts, bank.config.grid, metrics=m.metrics)
        for m in bank.memories
    ]


def bank_scorer(
    bank: Bank, memories: Sequence[PatchMemory], calibration: Calibration | None = None
) -> Scorer:
    """A scorer as the bank proposes it, in float32."""
    return Scorer(
        bank.config.grid,
        bank.config.preprocessing.crop_px,
        bank.config.query,
        memories,
        bank.map_sizes,
        calibration,
        bank.roi,
    )


def bank_calibration(bank: Bank, responses: Tensor, shown: Tensor | None = None) -> Calibration:
    """Calibrate places by (N, h, w) responses of its pictures, or parts, where it inspects, and
    each is ``shown``, (N, h, w) bool; None for everywhere.
    """
    places = None
    if bank.roi is not None:
        places = covered_places(bank.roi.to(responses.device), max(bank.map_sizes))
    return local_calibration(responses, places, shown)


def responses_of(
    scorer: Scorer, parts: Iterable[tuple[Found, Tensor | None]], total: int
) -> Tensor:
    """(total, h, w), responses of all parts."""
    responses = Gathered(total)
    for part in parts:
        responses.add(scorer.combine(*part).responses)
    return responses.all()
