"""Learning: keys from the vectors of all pictures, and what good parts do among them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fapm_cli.bank.bank import Bank, LayerMemory
from fapm_cli.bank.nominal_pictures import NominalPicture, in_groups
from fapm_cli.config import BankConfig
from fapm_cli.learning.batches import NominalBatch, judged_of_all, light_of
from fapm_cli.learning.choose_metric import choose_metric
from fapm_cli.learning.held_out import HeldOut
from fapm_cli.learning.nominal_response import OnStage, judged_by, nominal_response
from fapm_cli.learning.spoiled import Spoiled, Spoiling
from fapm_cli.learning.turned import angles, cells_before, shown_with_copies, turned_copies
from fapm_cli.learning.twins import Looks, look_at, twin_groups
from fapm_cli.memory.coreset import Coreset
from fapm_cli.memory.grid import map_cells, of_pictures, to_patches
from fapm_cli.memory.shown import coreset_of_shown
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.scores.extents import FEWEST_PARTS
from fapm_cli.scores.suspects import find_suspects
from fapm_cli.version import __version__

MIN_KEYS = 4
OBSERVED = 32  # pictures that int8 takes its ranges from
OnSuspects = Callable[[list[tuple[str, float]], bool], None]


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


def learn(
    bank: Bank, extracted: Extracted, on_stage: OnStage
) -> tuple[Bank, list[tuple[int, float]]]:
    """Select keys, judge the pictures by those of the others, and find suspects among them.

    Args:
        bank: one of those pictures; its memories and calibration are replaced.
        extracted: of them.
        on_stage: told of progress.

    Returns:
        The bank, and the number and robust z-score of each suspect.
    """
    memories, features, judged = [], extracted.features, extracted.judged
    for j, (vectors, copies) in enumerate(zip(features, extracted.copies, strict=True)):
        memories.append(_select_keys(vectors, copies, bank.config, bank.map_sizes[j], judged))
        on_stage("select", j + 1, len(features))
    light = light_of(extracted.pixels, bank.roi, extracted.seen)
    bank = replace(bank, memories=tuple(memories), metric=None, light=light)
    response = nominal_response(bank, features, 0, on_stage, shown=judged)
    groups = [picture.group for picture in bank.pictures]
    # In plain distances: a metric makes little of what it has learnt, defects among it.
    suspects = find_suspects(response.spots, response.levels, groups)
    if extracted.spoiled is not None and bank.num_groups >= FEWEST_PARTS:
        held_out = HeldOut.of(bank, features, judged)
        choice, scale = choose_metric(bank, features, extracted.spoiled, held_out, on_stage, judged)
        held_out = replace(held_out, scale=scale)
        bank = held_out.with_metrics(replace(bank, metric=choice), choice.floor)
        if choice.floor is not None:
            response = nominal_response(bank, features, 0, on_stage, held_out, judged)
    return judged_by(response, bank), suspects


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


def what_is_known(coresets: Sequence[Coreset]) -> dict[str, Tensor]:
    """Counts, radii² and widened flags of all patches' coresets, by their names in a memory."""
    return {
        "key_counts": torch.tensor([len(c.indices) for c in coresets]),
        "radius_sq": torch.tensor([c.radius_sq for c in coresets], dtype=torch.float32),
        "widened": torch.tensor([c.widened for c in coresets]),
    }


def _gather(vectors: Tensor, indices: Tensor, counts: Tensor) -> Tensor:
    """(ΣK_i, C) keys of (N_p, n, C) vectors."""
    patch = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return vectors[patch.to(vectors.device), indices.to(vectors.device)]


def _select_keys(
    vectors: Tensor,
    copies: Tensor,
    config: BankConfig,
    map_size: tuple[int, int],
    judged: Tensor | None,
) -> LayerMemory:
    """Select keys among what pictures and their turned copies show; other vectors are replaced."""
    num_vectors, num_copies = vectors.shape[1], len(angles(config.turn))
    if num_copies:
        vectors = torch.cat([vectors, copies], dim=1)
    threshold = config.spread_threshold if config.adaptive else None
    shown = None
    if judged is not None:
        shown = shown_with_copies(judged, config.turn, map_size, config.grid)
    coresets = coreset_of_shown(vectors, shown, config.coreset_ratio, threshold, MIN_KEYS)
    indices, known = torch.cat([c.indices for c in coresets]), what_is_known(coresets)
    per_picture = map_size[0] * map_size[1] // len(coresets)
    cells = torch.cat(
        [map_cells(c.indices, i, config.grid, *map_size) for i, c in enumerate(coresets)]
    )
    pictures = indices // per_picture
    if num_copies:
        turned, views = indices >= num_vectors, (indices - num_vectors) // per_picture
        pictures = torch.where(turned, views // num_copies, pictures)
        before = cells_before(cells, views % num_copies, config.turn, map_size)
        cells = torch.where(turned, before, cells)
    return LayerMemory(
        keys=_gather(vectors, indices, known["key_counts"]),
        key_pictures=pictures.int(),
        key_cells=cells.int(),
        **known,
    )


def program_versions() -> dict[str, str]:
    """Say what builds banks here."""
    return {"fapm": __version__, "torch": torch.__version__}
