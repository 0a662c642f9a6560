"""The metric is chosen by what finds spoiled pictures, and judges none that it was learnt from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import small_bank
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.nominal_pictures import NominalPicture
from fapm_cli.learning.choose_metric import FLOORS, choose_metric
from fapm_cli.learning.held_out import FOLDS, HeldOut, leave_own_out
from fapm_cli.learning.learn import Extracted, learn
from fapm_cli.learning.spoiled import FEWEST_PARTS, Spoiled, Spoiling, spoil
from fapm_cli.memory.grid import of_pictures
from fapm_cli.memory.metric import patch_metrics
from fapm_cli.memory.search import search

PICTURES = 24
PATCHES = 6
PLACES = (16, 4)  # of a patch, in each memory of the small bank
CHANNELS = (5, 7)


def drawn(spread: Tensor, seed: int) -> Tensor:
    """(N_p, N·N_v, C) vectors that vary by ``spread`` (C,) in each direction."""
    places = PLACES[CHANNELS.index(len(spread))]
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(PATCHES, PICTURES * places, len(spread), generator=generator) * spread


def nuisance(channels: int) -> Tensor:
    """Good parts vary much in the first direction, hardly in the others."""
    return torch.tensor([5.0] + [0.2] * (channels - 1))


def extracted(spread_like: bool, moved: int) -> tuple[Bank, Extracted]:
    """Pictures that vary, and spoiled ones that lie a little apart in direction ``moved``."""
    features = [
        drawn(nuisance(c) if spread_like else torch.ones(c), seed)
        for seed, c in enumerate(CHANNELS)
    ]
    apart = [vectors.clone() for vectors in features]
    for vectors in apart:
        vectors[2, :, moved] += 0.8 if spread_like else 4
    pictures = [NominalPicture(f"{i}", f"{i:064x}", "", 0, 0, i) for i in range(PICTURES)]
    bank = replace(small_bank(), pictures=tuple(pictures), thumbnails=None)
    return bank, Extracted(features, pictures, Spoiled(apart, torch.arange(PICTURES)))


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def test_what_good_parts_hardly_vary_in_is_found_by_a_metric_of_the_patchs_own() -> None:
    learnt, _ = learn(*extracted(spread_like=True, moved=3), silent)
    assert learnt.metric is not None
    assert learnt.metric.floor is not None
    shares = dict(learnt.metric.found)
    assert shares[learnt.metric.floor] > shares[None] + 0.1
    for memory, channels in zip(learnt.memories, CHANNELS, strict=True):
        assert memory.metrics is not None
        assert memory.metrics.shape == (PATCHES, channels, channels)


def test_where_all_directions_vary_alike_distances_stay_plain() -> None:
    learnt, _ = learn(*extracted(spread_like=False, moved=0), silent)
    assert learnt.metric is not None
    assert learnt.metric.floor is None
    assert all(memory.metrics is None for memory in learnt.memories)
    assert learnt.metric.found[0][0] is None
    assert [floor for floor, _ in learnt.metric.found] == [*FLOORS[: len(learnt.metric.found)]]


def test_of_fewer_than_ten_parts_no_metric_is_learnt() -> None:
    bank, some = extracted(spread_like=True, moved=3)
    grouped = [replace(p, group=i % (FEWEST_PARTS - 1)) for i, p in enumerate(some.pictures)]
    learnt, _ = learn(replace(bank, pictures=tuple(grouped)), some, silent)
    assert learnt.metric is None
    assert all(memory.metrics is None for memory in learnt.memories)


def test_a_picture_is_judged_by_a_metric_and_keys_that_have_not_seen_its_part() -> None:
    bank, some = extracted(spread_like=True, moved=3)
    groups = [i // 2 for i in range(PICTURES)]  # two shots of each part
    pictures = [replace(p, group=g) for p, g in zip(some.pictures, groups, strict=True)]
    bank, _ = learn(replace(bank, pictures=tuple(pictures)), some, silent)
    held_out = HeldOut.of(bank, some.features)
    number, floor = 5, 0.3
    fold = int(held_out.folds[number])
    assert fold == groups[number] % FOLDS
    memory, vectors = bank.memories[0], some.features[0]
    queries = [of_pictures(v, torch.tensor([number]), PICTURES) for v in some.features]
    leave_out = leave_own_out(bank, torch.tensor([number]), queries)
    assert leave_out is not None
    laid_out = held_out.memories(bank, floor, fold)[0]
    distances, _ = search(queries[0], laid_out, 1, leave_out=leave_out[0])
    kept = [i for i in range(PICTURES) if groups[i] % FOLDS != fold]
    seen = of_pictures(vectors, torch.tensor(kept), PICTURES)
    centred = seen.view(PATCHES, len(kept), PLACES[0], -1)
    centred = (centred - centred.mean(dim=1, keepdim=True)).flatten(1, 2)
    metrics = patch_metrics(torch.bmm(centred.mT, centred) / centred.shape[1], floor)
    ends = memory.key_counts.cumsum(0).tolist()
    for patch in range(PATCHES):
        keys = range(ends[patch] - int(memory.key_counts[patch]), ends[patch])
        others = [k for k in keys if groups[int(memory.key_pictures[k])] != groups[number]]
        for q, query in enumerate(queries[0][patch]):
            wanted = min(
                float(torch.dist(query @ metrics[patch], memory.keys[k] @ metrics[patch]))
                for k in others
            )
            assert float(distances[patch, q, 0]) == pytest.approx(wanted, rel=2e-2, abs=1e-3)


def test_a_choice_needs_no_picture_to_be_spoiled_more_than_once_or_at_all() -> None:
    bank, some = extracted(spread_like=True, moved=3)
    bank, _ = learn(bank, some, silent)
    assert some.spoiled is not None
    few = some.spoiled.of([20, 3, 7])
    assert few.pictures.tolist() == [1, 2, 0]
    for whole, part in zip(some.spoiled.vectors, few.vectors, strict=True):
        wanted = of_pictures(whole, torch.tensor([3, 7, 20]), PICTURES)
        assert torch.equal(part, wanted)
    every_other = Spoiled(
        [of_pictures(v, torch.arange(0, PICTURES, 2), PICTURES) for v in some.spoiled.vectors],
        torch.arange(0, PICTURES, 2),
    )
    held_out = HeldOut.of(bank, some.features)
    choice = choose_metric(bank, some.features, every_other, held_out, silent)
    assert choice.floor is not None


@pytest.mark.parametrize("size", [(224, 224), (64, 96), (32, 32)])
def test_a_spoiled_picture_differs_in_one_piece_away_from_the_rim(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(256, (*size, 3), generator=generator, dtype=torch.uint8)
    for number in range(40):
        spoiled = spoil(picture, number, None)
        assert torch.equal(spoiled, spoil(picture, number, None))
        changed = (spoiled != picture).any(dim=2)
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        for places, side in ((rows, size[0]), (columns, size[1])):
            assert int(places.min()) >= side // 10
            assert int(places.max()) < side - side // 10
            assert int(places.max() - places.min()) < 60
    assert not torch.equal(spoil(picture, 0, None), spoil(picture, 1, None))


def test_what_is_pasted_lies_in_the_region_of_interest() -> None:
    roi = torch.zeros(224, 224, dtype=torch.bool)
    roi[40:184, 40:120] = True
    picture = torch.arange(224, dtype=torch.uint8).repeat(224, 1).unsqueeze(2).repeat(1, 1, 3)
    for number in range(40):
        changed = (spoil(picture, number, roi) != picture).any(dim=2).nonzero().float()
        if len(changed):
            row, column = ((changed.amin(dim=0) + changed.amax(dim=0)) / 2).round().int().tolist()
            assert roi[row - 2 : row + 3, column - 2 : column + 3].any()


class Counter:
    """Stands for a backbone of which the only map is the picture's mean."""

    mean = torch.zeros(1)

    class config:  # noqa: N801
        grid = (1, 1)

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        return [pixels.float().mean(dim=(1, 2, 3)).view(1, 1, 1, 1)]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_pictures_are_spoiled_evenly_however_they_come(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (300, 32, 32, 3), generator=generator, dtype=torch.uint8)
    extractor: Any = Counter()
    spoiling = Spoiling(extractor)
    for first in range(0, len(pictures), batch):
        spoiling.take(pictures[first : first + batch], first, None)
    taken = spoiling.taken()
    assert taken is not None
    counts = taken.pictures.bincount(minlength=300).tolist()
    assert counts == [0 if i % 2 else 4 if i < 32 else 1 for i in range(300)]
    wanted = [
        float(spoil(pictures[i], 4 * i + time, None).float().mean())
        for i in range(0, 300, 2)
        for time in range(4 if i < 32 else 1)
    ]
    assert taken.vectors[0].flatten().tolist() == pytest.approx(wanted)


def test_of_too_few_pictures_none_is_spoiled() -> None:
    extractor: Any = Counter()
    spoiling = Spoiling(extractor)
    spoiling.take(torch.zeros(FEWEST_PARTS - 1, 32, 32, 3, dtype=torch.uint8), 0, None)
    assert spoiling.taken() is None
    spoiling.take(torch.zeros(1, 32, 32, 3, dtype=torch.uint8), FEWEST_PARTS - 1, None)
    taken = spoiling.taken()
    assert taken is not None
    assert taken.pictures.tolist() == [i for i in range(FEWEST_PARTS) for _ in range(4)]
