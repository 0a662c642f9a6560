"""The nominal response and its pseudo-defects: whose keys, which windows, what of the rim."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import scorer_of, small_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.learning.nominal_response import (
    NominalResponse,
    anew,
    judged_by,
    nominal_response,
    own_scores,
)
from fapm_cli.learning.pseudo_defects import elsewhere_patches, pseudo_scores
from fapm_cli.learning.scratch.searching import HERE, Part, find_nearest
from fapm_cli.memory.grid import to_patches
from fapm_cli.memory.shown import shown_enough, shown_vectors
from fapm_cli.scores.calibration import local_calibration, mean_of_groups
from fapm_cli.scores.image_score import extent_means, usual_extents
from fapm_cli.scores.scorer import Scored
from fapm_cli.scores.spreader import covered_places
from fapm_cli.scores.thresholds import (
    Method,
    fewest_errors,
    given_threshold,
    rate_thresholds,
    with_review,
)

SIDE = 224


class Recorder:
    """Stands for a scorer: keeps what it is to score, each memory's spots as bool maps."""

    num_px = 224 * 224

    def __init__(self, spot_share: float = 0.005) -> None:
        self.spots: list[list[Tensor]] = []
        self.shown: list[Tensor] = []
        self.spot_share = spot_share

    def image_scores(self, found: list[tuple[Tensor, Tensor]], shown: Tensor | None) -> Tensor:
        """Remember the spots, and score nothing."""
        for of_one in zip(*(distances[..., 0] > 0 for distances, _ in found), strict=True):
            self.spots.append(list(of_one))
        assert all(len(keys) == len(distances) for distances, keys in found)
        self.shown += [] if shown is None else shown
        return torch.zeros(len(found[0][0]))


SQUARE = ((28, 28), (14, 14))


def drawn_windows(
    roi: Tensor | None,
    map_sizes: tuple[tuple[int, int], ...] = SQUARE,
    recorder: Any = None,
    shown: Tensor | None = None,
) -> list[list[Tensor]]:
    """The windows of a thousand pseudo-defects, on each memory's map."""
    keys = torch.zeros(10, 1, 1, 1).long()
    maps = [[[(torch.full((10, *s, 1), value), keys) for s in map_sizes]] for value in (0.0, 1.0)]
    recorder = recorder or Recorder()
    good = [(part, shown) for part in maps[0]]
    before = len(recorder.spots)
    found = pseudo_scores(recorder, good, maps[1], roi, torch.Generator().manual_seed(0))
    spots: list[list[Tensor]] = recorder.spots
    assert len(found) == len(spots) - before
    return spots


def test_rounds_of_few_pictures_scored_together_are_those_scored_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bank, features = busy_bank([0, 1, 2])
    together = nominal_response(bank, features).pseudo
    monkeypatch.setattr("fapm_cli.learning.pseudo_defects._AT_ONCE", 1)
    assert together is not None
    assert len(set(together)) > 20
    assert nominal_response(bank, features).pseudo == together


def region(top: int, left: int, height: int, width: int) -> Tensor:
    roi = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    roi[top : top + height, left : left + width] = True
    return roi


def corner(spot: Tensor) -> tuple[int, int]:
    row, column = spot.nonzero()[0].tolist()
    return row, column


@pytest.mark.parametrize(
    ("map_sizes", "windows"),
    [(SQUARE, (14, 14)), (((56, 112), (28, 56)), (14, 14)), (((28, 20), (14, 10)), (14, 10))],
)
def test_a_pseudo_defect_is_a_fourteenth_or_a_place_and_as_often_in_one_place_as_another(
    map_sizes: tuple[tuple[int, int], ...], windows: tuple[int, int]
) -> None:
    spots = drawn_windows(None, map_sizes)
    assert len(spots) == 1000
    counts = torch.zeros(windows)
    for of_one in spots:
        window = [-1, -1]
        for spot, (h, w) in zip(of_one, map_sizes, strict=True):
            row, column = corner(spot)
            tall, wide = h // windows[0], w // windows[1]
            assert bool(spot[row : row + tall, column : column + wide].all())
            assert int(spot.sum()) == tall * wide
            assert window in ([-1, -1], [row // tall, column // wide])
            window = [row // tall, column // wide]
        counts[tuple(window)] += 1
    assert (counts > 0).float().mean() > 0.95
    assert counts.max() < 24


def test_of_large_pictures_there_are_fewer_with_smaller_spots() -> None:
    recorder = Recorder(1 / 28**2)
    recorder.num_px = 2**24
    both = ((28, 28), (28, 28))
    spots = drawn_windows(None, both, recorder)
    assert len(spots) == 70  # 2**30 px, in whole rounds of the ten pictures
    assert all(int(fine.sum()) == 1 for fine, _ in spots)
    recorder.num_px = 2**30
    assert len(drawn_windows(None, both, recorder)) == 70 + 50


def test_windows_are_the_same_each_time() -> None:
    once, again = (drawn_windows(None) for _ in range(2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(once, again, strict=True))
    few = [corner(coarse) for _, coarse in drawn_windows(None, ((2, 2), (2, 2)))]
    assert all(200 < few.count((row, column)) < 300 for row in (0, 1) for column in (0, 1))
    shifts = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(3)
        drawn = (elsewhere_patches((7, 7), None, generator) for _ in range(5))
        shifts.append([int(one[0]) for one in drawn if one is not None])
    assert shifts[0] == shifts[1]


@given(
    st.integers(0, SIDE - 1),
    st.integers(0, SIDE - 1),
    st.integers(1, SIDE),
    st.integers(1, SIDE),
)
@settings(max_examples=25)
def test_every_pseudo_defect_lies_where_inspection_happens(
    top: int, left: int, height: int, width: int
) -> None:
    roi = region(top, left, height, width)
    windows = {corner(coarse) for _, coarse in drawn_windows(roi)}
    for row, column in windows:
        assert bool(roi[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].any())


def test_windows_that_are_inspected_whole_are_drawn_more_often_than_slivers() -> None:
    spots = drawn_windows(region(32, 32, 32, 36))  # 2×2 windows, and a quarter of two more
    counts = {
        (r, c): sum(corner(one) == (r, c) for _, one in spots) for r in (2, 3) for c in (2, 4)
    }
    assert counts[2, 2] > 2 * counts[2, 4] > 0


def test_no_pseudo_defect_lies_where_its_picture_shows_nothing() -> None:
    shown, recorder = torch.stack([region(0, 0, SIDE, 16 * (i + 1)) for i in range(10)]), Recorder()
    spots = drawn_windows(region(32, 0, 64, SIDE), recorder=recorder, shown=shown)
    assert torch.equal(torch.stack(recorder.shown[:10]), shown)
    assert torch.equal(torch.stack(recorder.shown[-10:]), shown)
    assert len(recorder.shown) == len(spots)
    for number, (_, coarse) in enumerate(spots):
        row, column = corner(coarse)
        assert 2 <= row < 6
        assert column <= number % 10


def test_what_is_pasted_comes_from_another_inspected_patch_where_there_is_one() -> None:
    generator = torch.Generator().manual_seed(0)
    two_by_two = region(40, 40, 40, 40)  # patches 1 and 2 of each side
    inside = [8, 9, 15, 16]
    for _ in range(20):
        sources = elsewhere_patches((7, 7), two_by_two, generator)
        assert sources is not None
        taken = sources[inside].tolist()
        assert sorted(taken) == inside
        assert all(one != own for one, own in zip(taken, inside, strict=True))
        alone = elsewhere_patches((7, 7), region(40, 40, 10, 10), generator)
        assert alone is not None
        assert int(alone[8]) != 8
        everywhere = elsewhere_patches((7, 7), None, generator)
        assert everywhere is not None
        shift = int(everywhere[0])
        assert shift != 0
        assert everywhere.tolist() == [(i + shift) % 49 for i in range(49)]
    assert elsewhere_patches((1, 1), None, generator) is None
    drawn = [elsewhere_patches((3, 1), None, generator) for _ in range(20)]
    assert {tuple(one.tolist()) for one in drawn if one is not None} == {(1, 2, 0), (2, 0, 1)}


@pytest.mark.parametrize("roi", [None, (16, 40, 16, 24), (40, 70, 3, 2)])
def test_pseudo_defects_stand_out_as_well_with_a_region_of_interest(
    roi: tuple[int, int, int, int] | None,
) -> None:
    bank, features = bank_and_features(torch.tensor([0.0, 0.1, 0.2, 0.4]))
    patches = 10 * torch.arange(6.0)[:, None, None]  # each looks unlike every other
    memories = tuple(
        replace(m, keys=m.keys + patches.expand(6, len(m.keys) // 6, 1).flatten(0, 1))
        for m in bank.memories
    )
    inspected = None if roi is None else region(*roi)[:64, :96]
    bank = replace(bank, memories=memories, roi=inspected)
    found = nominal_response(bank, [vectors + patches for vectors in features])
    assert found.pseudo is not None
    assert min(found.pseudo) > max(found.scores)


# --- Whose keys --------------------------------------------------------------------------------


def bank_and_features(values: Tensor) -> tuple[Bank, list[Tensor]]:
    """A bank that keeps all vectors, and those: picture i's are all ``values[i]``."""
    bank = small_bank(with_backbone=False, with_thumbnails=False)
    features, memories = [], []
    for memory, (h, w) in zip(bank.memories, bank.map_sizes, strict=True):
        per_picture, channels = h * w // 6, memory.keys.shape[1]
        of_patch = values.repeat_interleave(per_picture)[:, None].expand(-1, channels)
        owners = torch.arange(len(values)).repeat_interleave(per_picture)
        features.append(of_patch.expand(6, -1, -1).contiguous())
        memories.append(
            replace(
                memory,
                keys=of_patch.repeat(6, 1),
                key_counts=torch.full((6,), len(of_patch)),
                key_pictures=owners.repeat(6).int(),
                key_cells=torch.zeros(6 * len(of_patch)).int(),
            )
        )
    pictures = tuple(replace(bank.pictures[0], group=i) for i in range(len(values)))
    query = replace(bank.config.query, calibration="none")
    config = replace(bank.config, query=query)
    return replace(bank, config=config, memories=tuple(memories), pictures=pictures), features


def test_pseudo_defects_meet_no_key_of_their_own_picture() -> None:
    bank, features = bank_and_features(torch.tensor([0.0, 0.1, 0.2, 0.4]))
    patches = 10 * torch.arange(6.0)[:, None, None]  # each looks unlike every other
    memories = []
    for m in bank.memories:
        # The first picture has a key, in every patch, of what each of its patches looks like.
        everywhere = patches.view(1, 6, 1).expand(6, -1, m.keys.shape[1])
        keys = torch.cat([m.keys.view(6, -1, m.keys.shape[1]) + patches, everywhere], dim=1)
        owners = torch.cat([m.key_pictures.view(6, -1), torch.zeros(6, 6).int()], dim=1)
        memories.append(
            replace(
                m,
                keys=keys.flatten(0, 1),
                key_counts=m.key_counts + 6,
                key_pictures=owners.flatten(),
                key_cells=torch.zeros(owners.numel()).int(),
            )
        )
    bank = replace(bank, memories=tuple(memories))
    found = nominal_response(bank, [vectors + patches for vectors in features])
    assert found.pseudo is not None
    assert min(found.pseudo[::4]) > 3 * max(found.scores)  # those of the first picture


def test_what_is_pasted_is_nothing_from_outside_the_region() -> None:
    inspected = region(0, 0, 32, 64)[:64, :96]  # the first two patches
    bank, features = bank_and_features(torch.tensor([0.0, 0.1, 0.2, 0.4]))
    plain = nominal_response(replace(bank, roi=inspected), features).pseudo
    for vectors in features:
        vectors[2:] = 1000
    assert nominal_response(replace(bank, roi=inspected), features).pseudo == plain


@pytest.fixture
def few_pseudo_defects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare tests of other things the thousand."""
    monkeypatch.setattr("fapm_cli.learning.pseudo_defects._ENOUGH", 20)


def busy_bank(groups: list[int], roi: Tensor | None = None) -> tuple[Bank, list[Tensor]]:
    """A bank that keeps two vectors of each picture and patch, and all vectors."""
    bank, features = bank_and_features(torch.zeros(len(groups)))
    generator = torch.Generator().manual_seed(0)
    memories = []
    for j, memory in enumerate(bank.memories):
        features[j] = torch.randn(features[j].shape, generator=generator)
        by_picture = features[j].view(6, len(groups), -1, features[j].shape[2])
        memories.append(
            replace(
                memory,
                keys=by_picture[:, :, :2].flatten(0, 2) + 0.1,
                key_counts=torch.full((6,), 2 * len(groups)),
                key_pictures=torch.arange(len(groups)).repeat_interleave(2).repeat(6).int(),
            )
        )
    pictures = tuple(replace(bank.pictures[0], group=group) for group in groups)
    query = replace(bank.config.query, calibration="local", num_neighbors=2)
    config = replace(bank.config, query=query)
    memories_of = tuple(memories)
    return replace(bank, config=config, memories=memories_of, pictures=pictures, roi=roi), features


def scored_without(
    bank: Bank,
    features: list[Tensor],
    picture: int,
    left_out: set[int],
    shown: Tensor | None = None,
) -> Scored:
    """Score a picture, or what is shown of it, by a bank that has no key of some pictures."""
    kept = [~torch.isin(m.key_pictures, torch.tensor(sorted(left_out))) for m in bank.memories]
    memories = tuple(
        replace(m, keys=m.keys[k], key_counts=k.view(6, -1).sum(dim=1))
        for m, k in zip(bank.memories, kept, strict=True)
    )
    own = [f.view(6, len(bank.pictures), -1, f.shape[2])[:, picture] for f in features]
    return scorer_of(replace(bank, memories=memories), bank.config.query, bank.roi).forward(
        own, shown
    )


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("roi", [None, (5, 3, 40, 60)])
def test_what_pictures_do_not_show_counts_for_nothing(
    few_pseudo_defects: None, roi: tuple[int, int, int, int] | None, first: int
) -> None:
    groups = [0, 1, 0, *range(2, 14)]
    draw = torch.Generator().manual_seed(4)
    shown = torch.ones(len(groups), 64, 96, dtype=torch.bool)
    for one, (rows, columns) in zip(
        shown, torch.randint(-20, 21, (15, 2), generator=draw).tolist(), strict=True
    ):
        one[rows if rows < 0 else 0 : 64 if rows < 0 else rows] = False
        one[:, columns if columns < 0 else 0 : 96 if columns < 0 else columns] = False
    inspected = shown_enough(shown, groups, (8, 12))
    if roi is not None:
        inspected &= region(*roi)[:64, :96]
    bank, features = busy_bank(groups, inspected)
    own = [f.view(6, len(groups), -1, f.shape[2])[:, first:].flatten(1, 2) for f in features]
    found = nominal_response(bank, own, first, shown=shown[first:])
    made_up = [
        torch.where(there.unsqueeze(2), vectors, 50.0)
        for vectors, there in zip(
            own, shown_vectors(shown[first:], bank.map_sizes, bank.config.grid), strict=True
        )
    ]
    again = nominal_response(bank, made_up, first, shown=shown[first:])
    assert replace(again, pseudo=None, calibration=found.calibration) == replace(found, pseudo=None)
    assert torch.equal(again.calibration.factors, found.calibration.factors)
    assert again.calibration.extents == found.calibration.extents
    plain = nominal_response(bank, own, first)
    assert plain.scores != found.scores
    bank = replace(bank, calibration=found.calibration)
    for i, number in enumerate(range(first, len(groups))):
        without = {n for n, group in enumerate(groups) if group == groups[number]}
        wanted = scored_without(bank, features, number, without, shown[number : number + 1])
        assert found.scores[i] == pytest.approx(float(wanted.image_scores[0]), rel=1e-4)
        assert found.peaks[i] == pytest.approx(float(wanted.anomaly_maps.amax()), rel=1e-4)


def test_pictures_that_are_added_are_scored_by_the_metrics_that_the_bank_has() -> None:
    first, groups = 3, [*range(8)]
    bank, features = busy_bank(groups)
    generator = torch.Generator().manual_seed(1)
    metrics = [torch.randn(6, f.shape[2], 3, generator=generator) for f in features]
    memories, mapped = [], []
    for memory, own in zip(bank.memories, metrics, strict=True):
        by_patch = memory.keys.view(6, -1, memory.keys.shape[1])
        memories.append(replace(memory, metrics=own))
        mapped.append(replace(memory, keys=torch.bmm(by_patch, own).flatten(0, 1)))
    added = [f.view(6, len(groups), -1, f.shape[2])[:, first:].flatten(1, 2) for f in features]
    where = [torch.bmm(vectors, own) for vectors, own in zip(added, metrics, strict=True)]
    found = nominal_response(replace(bank, memories=tuple(memories)), added, first)
    wanted = nominal_response(replace(bank, memories=tuple(mapped)), where, first)
    assert found.scores == pytest.approx(wanted.scores, rel=1e-4)
    assert found.scores != pytest.approx(nominal_response(bank, added, first).scores, rel=0.01)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("roi", [None, (5, 3, 40, 60), (0, 0, 64, 3)])
@pytest.mark.parametrize(
    "groups", [[0, 1, 0, 2, 2, 2, *range(3, 16)], [0, 0, 0], [0, 1]], ids=["many", "one", "two"]
)
def test_a_picture_is_scored_as_by_a_bank_without_its_part(
    few_pseudo_defects: None, groups: list[int], roi: tuple[int, int, int, int] | None, first: int
) -> None:
    inspected = None if roi is None else region(*roi)[:64, :96]
    bank, features = busy_bank(groups, inspected)
    numbers, alone = range(first, len(groups)), len(set(groups)) == 1
    parts = list(range(len(groups))) if alone else groups  # shots of one part judge each other
    without = [{i for i, part in enumerate(parts) if part == parts[n]} for n in numbers]

    def scores() -> list[Scored]:
        return [scored_without(bank, features, n, w) for n, w in zip(numbers, without, strict=True)]

    own = [f.view(6, len(groups), -1, f.shape[2])[:, first:].flatten(1, 2) for f in features]
    told: list[tuple[str, int, int]] = []
    found = nominal_response(bank, own, first, lambda *stage: told.append(stage))
    assert told[-1] == ("calibrate", len(numbers), len(numbers))
    assert (found.pseudo is None) == (first > 0)
    if first == 0:
        responses = torch.cat([one.responses for one in scores()])
        means = mean_of_groups(responses, torch.tensor(groups))
        places = None if inspected is None else covered_places(inspected, (8, 12))
        bank = replace(bank, calibration=local_calibration(means, places))
        num_px = None if inspected is None else int(inspected.sum())
        wide = torch.cat([extent_means(one.anomaly_maps, num_px) for one in scores()])
        usual = usual_extents(mean_of_groups(wide.unsqueeze(1), torch.tensor(groups)).squeeze(1))
        assert (found.calibration.extents is None) == (usual is None)
        if usual is not None and found.calibration.extents is not None:
            assert found.calibration.extents.means == pytest.approx(usual.means, rel=1e-4, abs=1e-5)
            assert found.calibration.extents.spreads == pytest.approx(usual.spreads, rel=1e-3)
            bank = replace(bank, calibration=replace(bank.calibration, extents=usual))
    torch.testing.assert_close(found.calibration.factors, bank.calibration.factors)
    wanted, rest = scores(), torch.zeros(64, 96, dtype=torch.bool)
    rest[5:-5, 7:-7] = True  # a fourteenth of 64, and of 96
    inner = rest if inspected is None else rest & inspected
    if not inner.any() and inspected is not None:
        inner = inspected
    factor = 3 if alone else 1
    falling = [one.anomaly_maps[0][inner].sort(descending=True).values for one in wanted]
    high = max(1, round(0.005 * int(inner.sum())))
    rank = max(round(0.9 * int(inner.sum())), 1)  # from the lowest
    for values, expected in (
        (found.scores, [factor * one.image_scores[0] for one in wanted]),
        (found.peaks, [factor * one.anomaly_maps.max() for one in wanted]),
        (found.spots, [one[:high].mean() for one in falling]),
        (found.levels, [one[-rank] for one in falling]),
    ):
        torch.testing.assert_close(torch.tensor(values), torch.stack(expected))


def alone_bank(generator: torch.Generator) -> tuple[Bank, list[Tensor]]:
    """A bank of one picture, each of its vectors a key, in any order; and the vectors."""
    bank, features = bank_and_features(torch.zeros(1))
    memories = []
    for j, (memory, size) in enumerate(zip(bank.memories, bank.map_sizes, strict=True)):
        vectors = torch.randn(features[j].shape, generator=generator)
        features[j] = vectors
        cells = to_patches(torch.arange(math.prod(size)).view(1, 1, *size), bank.config.grid)
        order = torch.randperm(vectors.shape[1], generator=generator)
        memories.append(
            replace(
                memory,
                keys=vectors[:, order].flatten(0, 1),
                key_counts=torch.full((6,), len(order)),
                key_pictures=torch.zeros(6 * len(order)).int(),
                key_cells=cells[:, order, 0].flatten().int(),
            )
        )
    return replace(bank, memories=tuple(memories)), features


def test_a_picture_alone_is_judged_by_what_else_is_in_it(few_pseudo_defects: None) -> None:
    bank, features = alone_bank(torch.Generator().manual_seed(5))
    scorer = scorer_of(bank, bank.config.query, bank.roi)
    zero = torch.zeros(1).long()
    found = find_nearest(scorer, bank, features, 1, Part(zero, zero))[HERE]
    for (distances, _), vectors, size in zip(found, features, bank.map_sizes, strict=True):
        placed = to_patches(distances[..., 0].view(1, 1, *size), bank.config.grid)[..., 0]
        for patch, own in zip(placed.tolist(), vectors, strict=True):
            for i, distance in enumerate(patch):
                others = [float((own[i] - own[k]).norm()) for k in range(len(own)) if k != i]
                assert distance == pytest.approx(min(others), rel=1e-3)
    response = nominal_response(bank, features)
    assert bool((response.calibration.factors == 1).all())
    bank = replace(bank, calibration=response.calibration)
    scored = scorer_of(bank, bank.config.query, bank.roi).combine(found)
    assert response.scores == pytest.approx([1.75 * float(scored.image_scores[0])])


def test_where_all_keys_are_a_pictures_own_the_largest_distance_found_is_assumed() -> None:
    bank, features = bank_and_features(torch.tensor([0.0, 0.1, 0.3]))
    memories = tuple(
        replace(m, key_pictures=torch.where(torch.arange(len(m.keys)) < m.key_counts[0], 0, o))
        for m, o in ((m, m.key_pictures) for m in bank.memories)
    )  # the first patch knows but the first picture
    query = replace(bank.config.query, sigma=0.0, placement="nearest")
    bank = replace(bank, memories=memories, config=replace(bank.config, query=query))
    found = nominal_response(bank, features)
    # The last picture is 0.2 from the others in each channel, and nothing is farther.
    steps = [0.1 * w * c**0.5 for w, c in zip(query.layer_shares, (5, 7), strict=True)]
    assert found.peaks == pytest.approx([2 * sum(steps), sum(steps), 2 * sum(steps)])


# --- What a bank is then -----------------------------------------------------------------------


def judged(method: Method, review: float | None, pseudo: list[float] | None, first: int) -> Bank:
    """A bank of nine parts whose thresholds were set by a method, judged anew from ``first`` on."""
    bank = small_bank(with_backbone=False, with_thumbnails=False)
    pictures = tuple(replace(bank.pictures[0], group=i, score=float(i)) for i in range(9))
    before = replace(given_threshold([1.0], [1.0], 7.0), method=method, rate=0.25)
    if review is not None:
        before = with_review(before, [1.0], review)
    bank = replace(bank, pictures=pictures, thresholds=before)
    scores = [10.0 + i for i in range(first, 9)]
    peaks = [2 * score for score in scores]
    calibration = local_calibration(torch.rand(3, 8, 12) + 1)
    response = NominalResponse(calibration, scores, peaks, [0.0], [0.0], pseudo)
    found = judged_by(response, bank, first) if first else judged_by(response, bank)
    assert found.calibration is calibration
    return found


@pytest.mark.parametrize("first", [0, 4])
@pytest.mark.parametrize("review", [None, 0.5])
@pytest.mark.parametrize(
    ("method", "pseudo", "by_pseudo"),
    [
        ("pseudo-defects", [17.5, 18.5, 30.0], True),
        ("pseudo-defects", None, False),
        ("rate", [17.5, 18.5, 30.0], False),
        ("given", None, False),
    ],
)
def test_a_bank_is_judged_anew_in_the_way_in_which_it_was_before(
    method: Method, pseudo: list[float] | None, by_pseudo: bool, review: float | None, first: int
) -> None:
    bank = judged(method, review, pseudo, first)
    scores = [float(i) for i in range(first)] + [10.0 + i for i in range(first, 9)]
    peaks = [0.2] * first + [2 * score for score in scores[first:]]
    assert own_scores(bank) == (scores, peaks)
    wanted = rate_thresholds(scores, peaks, 0.25)
    if by_pseudo:
        wanted = fewest_errors(scores, peaks, pseudo or [], "pseudo-defects", 0.1)
    elif method == "given":
        wanted = given_threshold(scores, peaks, 7.0)
    if review is not None:
        wanted = with_review(wanted, scores, review)
    assert bank.thresholds == wanted
    if not by_pseudo:
        assert anew(bank) == wanted


# --- The rim -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "inside", "spot_px"),
    [(0, 0, 3 * 1, 0), (0, 0, 3 * 1, 10), (1, 0, 8 * 1, 0), (0, 2, 3 * 8, 0), (2, 2, 8 * 8, 0)],
)
def test_a_suspects_spot_is_sought_but_in_the_outermost_fourteenth(
    row: int, column: int, inside: int, spot_px: int
) -> None:
    """One place of 8×8 px stands out, and the rim is 5 px of 64 and 7 of 96."""
    bank, features = bank_and_features(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    query = replace(bank.config.query, sigma=0.0, placement="nearest", spot_px=spot_px)
    bank = replace(bank, config=replace(bank.config, query=query))
    clean = nominal_response(bank, features)
    fine = features[0].view(2, 3, 4, 4, 4, -1)  # patch, picture, and place in the patch
    fine[0, 0, 0, row, column] = 50.0
    spotted = nominal_response(bank, features)
    num_px = spot_px or round(0.005 * (64 - 2 * 5) * (96 - 2 * 7))  # that a spot is the mean of
    high = min(inside, num_px)
    assert spotted.scores[0] > 5 * clean.scores[0]
    assert spotted.spots[0] == pytest.approx(
        (high * spotted.scores[0] + (num_px - high) * clean.scores[0]) / num_px, rel=1e-5
    )
    assert spotted.spots[1:] == pytest.approx(clean.spots[1:])
    assert spotted.levels == pytest.approx(clean.levels)
