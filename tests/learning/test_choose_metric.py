"""The metric is chosen by what finds spoiled pictures, and judges none that it was learnt from."""

from __future__ import annotations

import math
import random
import sys
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from helpers import small_bank
from torch import Tensor

from fapm_cli.bank.bank import Bank, MetricChoice
from fapm_cli.bank.nominal_pictures import NominalPicture
from fapm_cli.learning.choosing.metric import (
    FLOORS,
    choose_metric,
    strongest_worth,
    usual_response,
)
from fapm_cli.learning.choosing.spoiled import Spoiled, Spoiling, most_spoiled, spoil
from fapm_cli.learning.extracting import Extracted
from fapm_cli.learning.held_out import FOLDS, HeldOut, where_known
from fapm_cli.learning.learn import learn
from fapm_cli.learning.scratch.searching import leave_own_out
from fapm_cli.memory.metric import patch_metrics
from fapm_cli.memory.patch_memory import PatchMemory
from fapm_cli.memory.search import search
from fapm_cli.memory.shown import shown_vectors
from fapm_cli.memory.vectors import of_pictures, patches_of
from fapm_cli.scores.extents import FEWEST_PARTS

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
    return bank, Extracted(
        features,
        [f[:, :0] for f in features],
        pictures,
        torch.zeros(PICTURES, 32, 32, 3, dtype=torch.uint8),
        None,
        Spoiled(apart, torch.arange(PICTURES)),
    )


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


def about(mean: float, spread: float = 0.0) -> Tensor:
    """Shares of four pictures: their mean, and as far to both sides of it."""
    return torch.tensor([mean - spread, mean + spread, mean - spread, mean + spread])


@pytest.mark.parametrize(
    ("shares", "best", "asked"),
    [
        # The last that found more by more than the noise, as long as none found less by as much.
        ([about(0.5), about(0.6), about(0.7)], 2, 3),
        ([about(0.5), about(0.6), about(0.55), about(0.9)], 1, 3),
        ([about(0.5), about(0.45), about(0.9)], 0, 2),
        # Within the noise it is no gain, and no loss either: the next is tried, against the best.
        ([about(0.5), about(0.6), about(0.61, 0.1), about(0.7)], 3, 4),
        ([about(0.5), about(0.6), about(0.59, 0.1), about(0.62)], 3, 4),
        ([about(0.5), about(0.6), about(0.65, 0.2), about(0.62)], 3, 4),
        # The standard error is 0.058 for a spread of 0.1 of four.
        ([about(0.5), about(0.557, 0.1)], 0, 2),
        ([about(0.5), about(0.559, 0.1)], 1, 2),
        ([about(0.5), about(0.7), about(0.643, 0.1), about(0.8)], 3, 4),
        ([about(0.5), about(0.7), about(0.641, 0.1), about(0.8)], 1, 3),
        # One more in a hundred than plain, over all steps, is the least that is worth it.
        ([about(0.5), about(0.509)], 0, 2),
        ([about(0.5), about(0.511)], 1, 2),
        ([about(0.5), about(0.506), about(0.512)], 2, 3),
        ([about(0.5)], 0, 1),
    ],
)
def test_the_strongest_metric_that_finds_more_is_taken(
    shares: list[Tensor], best: int, asked: int
) -> None:
    each = iter(shares)
    assert strongest_worth(each) == best
    assert len(shares) - len(list(each)) == asked


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
        assert torch.equal(patches_of(part, 0, part.shape[0]), wanted)
    every_other = Spoiled(
        [of_pictures(v, torch.arange(0, PICTURES, 2), PICTURES) for v in some.spoiled.vectors],
        torch.arange(0, PICTURES, 2),
    )
    asked: list[tuple[float, int | None]] = []

    class Told(HeldOut):
        """Says by which metrics pictures are judged."""

        def memories(self, bank: Bank, floor: float, fold: int) -> list[PatchMemory]:
            asked.append((floor, fold))
            return super().memories(bank, floor, fold)

    own = HeldOut.of(bank, some.features)
    held_out = Told(own.folds, own.variations, own.scales)
    choice, _ = choose_metric(bank, some.features, every_other, held_out, silent)
    assert choice.floor is not None
    floors = [floor for floor, _ in choice.found if floor is not None]
    assert asked == [(floor, fold) for floor in floors for fold in range(FOLDS)]


def test_what_pictures_do_not_show_makes_no_choice() -> None:
    bank, some = extracted(spread_like=True, moved=3)
    bank, _ = learn(bank, some, silent)
    assert some.spoiled is not None
    held_out = HeldOut.of(bank, some.features)
    shown = torch.ones(PICTURES, *bank.config.preprocessing.crop_px, dtype=torch.bool)
    shown[::2, :, : shown.shape[2] // 2] = False

    def chosen(beyond: float | None) -> tuple[MetricChoice, float]:
        made_up = []
        for vectors, of in ((some.features, shown), (spoiled.vectors, shown[spoiled.pictures])):
            there = shown_vectors(of, bank.map_sizes, bank.config.grid)
            every = [patches_of(one, 0, one.shape[0]) for one in vectors]
            both = zip(every, there, strict=True)
            made_up.append(
                every
                if beyond is None
                else [torch.where(h.unsqueeze(2), v, beyond) for v, h in both]
            )
        bad = Spoiled(made_up[1], spoiled.pictures)
        return choose_metric(bank, made_up[0], bad, held_out, silent, shown)

    spoiled = some.spoiled
    assert chosen(50.0) == chosen(None)


def test_where_few_pictures_show_a_place_they_alone_say_what_is_usual_there() -> None:
    """At the left, which every other one hides, good parts vary so much that without a calibration
    no spoiled one stands out beside it.
    """
    bank, some = extracted(spread_like=False, moved=0)
    features = [drawn(torch.ones(c), seed) for seed, c in enumerate(CHANNELS)]
    for vectors in features:
        vectors[::3] *= 5  # the left column of two rows of patches
    apart = [vectors.clone() for vectors in features]
    for vectors in apart:
        vectors[2, :, 0] += 8
    spoiled = Spoiled(apart, torch.arange(PICTURES))
    bank, _ = learn(bank, replace(some, features=features, spoiled=spoiled), silent)
    shown = torch.ones(PICTURES, *bank.config.preprocessing.crop_px, dtype=torch.bool)
    shown[::2, :, : shown.shape[2] // 3] = False
    held_out = HeldOut.of(bank, features)
    choice, _ = choose_metric(bank, features, spoiled, held_out, silent, shown)
    assert dict(choice.found)[None] > 0.95


def test_what_pictures_do_not_show_makes_no_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all patches at a time as of each."""
    # With an odd number, which no network has, some CPUs add up one patch otherwise than several.
    monkeypatch.setattr(sys.modules[__name__], "CHANNELS", (6, 8))
    bank, some = extracted(spread_like=True, moved=3)
    shown = torch.ones(PICTURES, *bank.config.preprocessing.crop_px, dtype=torch.bool)
    shown[::2, :, : shown.shape[2] // 2] = False
    places = shown_vectors(shown, bank.map_sizes, bank.config.grid)
    every = [patches_of(one, 0, PATCHES) for one in some.features]
    made_up = [
        torch.where(there.unsqueeze(2), vectors, 50.0)
        for vectors, there in zip(every, places, strict=True)
    ]
    found = HeldOut.of(bank, every, shown).variations
    whole_ones = HeldOut.of(bank, every).variations
    monkeypatch.setattr("fapm_cli.learning.held_out.TOGETHER_BYTES", 1)
    own_ones = HeldOut.of(bank, made_up, shown).variations
    for one, own, whole in zip(found, own_ones, whole_ones, strict=True):
        for without in (None, 1):
            assert torch.equal(one.covariances(without), own.covariances(without))
            assert not torch.allclose(one.covariances(without), whole.covariances(without))


def test_a_banks_metrics_are_those_chosen_by_the_scale_of_plain_distances() -> None:
    learnt, _ = learn(*extracted(spread_like=True, moved=3), silent)
    _, some = extracted(spread_like=True, moved=3)
    assert some.spoiled is not None
    held_out = HeldOut.of(learnt, some.features)
    choice, scale = choose_metric(learnt, some.features, some.spoiled, held_out, silent)
    assert learnt.metric == choice
    assert choice.floor is not None
    assert not 0.9 < scale < 1.1
    for memory, variation in zip(learnt.memories, held_out.variations, strict=True):
        assert memory.metrics is not None
        wanted = patch_metrics(variation.covariances(), choice.floor, scale)
        torch.testing.assert_close(memory.metrics.float(), wanted.float(), rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("hides", [False, True])
def test_what_is_usual_by_a_metric_is_what_its_choice_found(hides: bool) -> None:
    bank, some = extracted(spread_like=True, moved=3)
    bank, _ = learn(bank, some, silent)
    assert some.spoiled is not None
    held_out = HeldOut.of(bank, some.features)
    shown = torch.ones(PICTURES, *bank.config.preprocessing.crop_px, dtype=torch.bool)
    shown[::2, :, : shown.shape[2] // 2] = not hides
    choice, scale = choose_metric(bank, some.features, some.spoiled, held_out, silent, shown)
    assert choice.floor is not None
    bank = held_out.with_metrics(bank, None)
    plain, own = (
        usual_response(bank, some.features, held_out, floor, shown)
        for floor in (None, choice.floor)
    )
    assert plain / own == pytest.approx(scale, rel=1e-5)
    assert not 0.9 < scale < 1.1


def test_a_fold_may_be_without_a_spoiled_picture() -> None:
    bank, some = extracted(spread_like=True, moved=3)
    bank, _ = learn(bank, some, silent)
    assert some.spoiled is not None
    held_out = HeldOut.of(bank, some.features)
    few = torch.arange(0, PICTURES, FOLDS)  # all of one fold
    vectors = [of_pictures(v, few, PICTURES) for v in some.spoiled.vectors]
    choice, scale = choose_metric(bank, some.features, Spoiled(vectors, few), held_out, silent)
    assert choice.floor is not None
    assert math.isfinite(scale)


def test_where_all_keys_are_of_one_part_its_distance_is_the_largest_found() -> None:
    bank, some = extracted(spread_like=True, moved=3)
    bank, _ = learn(bank, some, silent)
    assert some.spoiled is not None
    held_out = HeldOut.of(bank, some.features)
    usual, usual_scale = choose_metric(bank, some.features, some.spoiled, held_out, silent)
    memory = bank.memories[0]
    of_one = memory.key_pictures.clone()
    of_one[: int(memory.key_counts[0])] = 4
    bank = replace(bank, memories=(replace(memory, key_pictures=of_one), *bank.memories[1:]))
    choice, scale = choose_metric(bank, some.features, some.spoiled, held_out, silent)
    assert choice.floor == usual.floor
    assert scale == pytest.approx(usual_scale, rel=0.1)
    assert dict(choice.found)[choice.floor] > dict(choice.found)[None] + 0.1


def test_what_is_not_known_is_the_largest_distance_found_in_the_same_memory() -> None:
    keys, inf = torch.zeros(1, 1, 2, 1).long(), math.inf
    distances = [[[0.2, inf], [3.0, 4.0]], [[0.5, 0.1], [inf, inf]]]  # by part and memory
    parts = [[(torch.tensor(d).view(1, 1, 2, 1), keys) for d in part] for part in distances]
    known = where_known(parts)
    found = [[d.flatten().tolist() for d, _ in part] for part in known]
    wanted = [[[0.2, 0.5], [3.0, 4.0]], [[0.5, 0.1], [4.0, 4.0]]]
    for part, own in zip(found, wanted, strict=True):
        for one, other in zip(part, own, strict=True):
            assert one == pytest.approx(other)


def plain_spoil(picture: Tensor, number: int, roi: Tensor | None) -> Tensor:
    """Spoil a picture px by px: what is drawn, in its order, is what builds depend on."""
    draw, (height, width, _) = random.Random(number), picture.shape
    for _ in range(20):
        if draw.random() < 0.5:
            h, w = draw.randint(8, 24), draw.randint(8, 24)
        else:
            h, w = draw.randint(2, 5), draw.randint(20, 60)
            if draw.random() >= 0.5:
                h, w = w, h
        h, w = min(h, height // 2), min(w, width // 2)
        rim = height // 10, width // 10
        top = draw.randint(rim[0], height - rim[0] - h)
        left = draw.randint(rim[1], width - rim[1] - w)
        if roi is None or bool(roi[top + h // 2, left + w // 2]):
            break
    y, x = draw.randint(0, height - h), draw.randint(0, width - w)
    opacity, brighter = draw.choice([0.5, 1.0]), draw.uniform(-25, 25)
    px, spoiled = picture.tolist(), picture.tolist()
    for row, column, channel in product(range(h), range(w), range(3)):
        own, pasted = px[top + row][left + column][channel], px[y + row][x + column][channel]
        mixed = (1 - opacity) * own + opacity * (pasted + brighter)
        spoiled[top + row][left + column][channel] = int(min(max(mixed, 0), 255))
    return torch.tensor(spoiled, dtype=torch.uint8)


@pytest.mark.parametrize("size", [(40, 90), (64, 47), (32, 32)])
@pytest.mark.parametrize("inspected", [None, 0.2, 0.0])
def test_a_picture_is_spoiled_as_by_a_plain_loop(
    size: tuple[int, int], inspected: float | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(256, (*size, 3), generator=generator, dtype=torch.uint8)
    roi = None if inspected is None else torch.rand(size, generator=generator) < inspected
    for number in range(12):
        off = spoil(picture, number, roi).int() - plain_spoil(picture, number, roi).int()
        assert int(off.abs().max()) <= 1  # rounding
        assert float(off.abs().float().mean()) < 0.01


class Counter:
    """Stands for a backbone of which the only map is the picture's mean."""

    mean = torch.zeros(1)
    map_shapes = ((1, 1, 1),)

    class config:  # noqa: N801
        grid = (1, 1)

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        return [pixels.float().mean(dim=(1, 2, 3)).view(1, 1, 1, 1)]


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_pictures_are_spoiled_evenly_however_they_come(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (250, 32, 32, 3), generator=generator, dtype=torch.uint8)
    extractor: Any = Counter()
    spoiling = Spoiling(extractor)
    for first in range(0, len(pictures), batch):
        spoiling.take(pictures[first : first + batch], first, None)
    taken = spoiling.taken()
    assert taken is not None
    counts = taken.pictures.bincount(minlength=250).tolist()
    assert counts == [0 if i % 2 else 4 if i < 32 else 1 for i in range(250)]
    assert sum(counts) <= most_spoiled(250)
    wanted = [
        float(spoil(pictures[i], 4 * i + time, None).float().mean())
        for i in range(0, 250, 2)
        for time in range(4 if i < 32 else 1)
    ]
    assert patches_of(taken.vectors[0], 0, 1).flatten().tolist() == pytest.approx(wanted)


def test_pictures_are_spoiled_where_they_are_inspected_and_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    regions: list[Tensor | None] = []

    def told(pixels: Tensor, number: int, roi: Tensor | None) -> Tensor:
        regions.append(roi)
        return pixels

    monkeypatch.setattr("fapm_cli.learning.choosing.spoiled.spoil", told)
    pictures = torch.zeros(FEWEST_PARTS, 32, 32, 3, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    roi = torch.rand(32, 32, generator=generator) < 0.5
    shown = torch.rand(FEWEST_PARTS, 32, 32, generator=generator) < 0.5
    extractor: Any = Counter()
    for inspected, there in ((roi, shown), (None, shown), (roi, None), (None, None)):
        regions.clear()
        Spoiling(extractor).take(pictures, 0, inspected, there)
        for number, one in enumerate(regions[::4]):
            parts = [inspected, None if there is None else there[number]]
            both = [part for part in parts if part is not None]
            if not both:
                assert one is None
            else:
                assert one is not None
                assert torch.equal(one, torch.stack(both).all(dim=0))


def test_of_too_few_pictures_none_is_spoiled() -> None:
    extractor: Any = Counter()
    spoiling = Spoiling(extractor)
    spoiling.take(torch.zeros(FEWEST_PARTS - 1, 32, 32, 3, dtype=torch.uint8), 0, None)
    assert spoiling.taken() is None
    spoiling.take(torch.zeros(1, 32, 32, 3, dtype=torch.uint8), FEWEST_PARTS - 1, None)
    taken = spoiling.taken()
    assert taken is not None
    assert taken.pictures.tolist() == [i for i in range(FEWEST_PARTS) for _ in range(4)]


@pytest.mark.parametrize("number", [FEWEST_PARTS, 32, 40, 128])
def test_how_many_are_spoiled_is_foretold(number: int) -> None:
    extractor: Any = Counter()
    spoiling = Spoiling(extractor)
    spoiling.take(torch.zeros(number, 32, 32, 3, dtype=torch.uint8), 0, None)
    taken = spoiling.taken()
    assert taken is not None
    assert len(taken.pictures) == most_spoiled(number)
