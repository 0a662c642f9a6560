"""The nominal response and its pseudo-defects: whose keys, which windows, what of the rim."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import small_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.bank.bank import Bank
from fapm_cli.learning.nominal_response import nominal_response
from fapm_cli.learning.pseudo_defects import elsewhere_patches, pseudo_scores

SIDE = 224


class Recorder:
    """Stands for a scorer: keeps what it is to combine, each memory's spots as bool maps."""

    def __init__(self) -> None:
        self.spots: list[list[Tensor]] = []

    def combine(self, found: list[tuple[Tensor, Tensor]]) -> Any:
        """Remember the spots, and score nothing."""
        for of_one in zip(*(distances[..., 0] > 0 for distances, _ in found), strict=True):
            self.spots.append(list(of_one))
        return SimpleNamespace(image_scores=torch.zeros(len(found[0][0])))


def drawn_windows(roi: Tensor | None, map_sizes: tuple[int, ...] = (28, 14)) -> list[list[Tensor]]:
    """The windows of a thousand pseudo-defects, on each memory's map."""
    keys = torch.zeros(1, 1, 1, 1).long()
    maps = [[[(torch.full((10, h, h, 1), value), keys) for h in map_sizes]] for value in (0.0, 1.0)]
    recorder: Any = Recorder()
    pseudo_scores(recorder, maps[0], maps[1], roi, torch.Generator().manual_seed(0))
    spots: list[list[Tensor]] = recorder.spots
    return spots


def region(top: int, left: int, height: int, width: int) -> Tensor:
    roi = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    roi[top : top + height, left : left + width] = True
    return roi


def corner(spot: Tensor) -> tuple[int, int]:
    row, column = spot.nonzero()[0].tolist()
    return row, column


def test_a_pseudo_defect_is_a_fourteenth_of_each_side_and_as_often_in_one_place_as_another() -> (
    None
):
    spots = drawn_windows(None)
    assert len(spots) == 1000
    for fine, coarse in spots:
        row, column = corner(fine)
        assert bool(fine[row : row + 2, column : column + 2].all())
        assert (int(fine.sum()), int(coarse.sum())) == (4, 1)
        assert corner(coarse) == (row // 2, column // 2)
    counts = torch.zeros(14, 14)
    for _, coarse in spots:
        counts[corner(coarse)] += 1
    assert (counts > 0).float().mean() > 0.95
    assert counts.max() < 20


@given(
    st.integers(0, SIDE - 1),
    st.integers(0, SIDE - 1),
    st.integers(1, SIDE),
    st.integers(1, SIDE),
)
@settings(max_examples=25, deadline=None)
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
    # Each picture looks the same everywhere: what comes from elsewhere is as far from the other
    # pictures as what was there, and at no distance from its own keys.
    bank, features = bank_and_features(torch.tensor([0.0, 1.0, 3.0, 7.0]))
    found = nominal_response(bank, features)
    assert found.pseudo is not None
    wanted = torch.tensor(found.scores).repeat(len(found.pseudo) // 4)
    torch.testing.assert_close(torch.tensor(found.pseudo), wanted)
    assert min(found.scores) > 0.9


# --- The rim -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "inside"), [(0, 0, 3 * 1), (1, 0, 8 * 1), (0, 2, 3 * 8), (2, 2, 8 * 8)]
)
def test_a_suspects_spot_is_sought_but_in_the_outermost_fourteenth(
    row: int, column: int, inside: int
) -> None:
    """One place of 8×8 px stands out, and the rim is 5 px of 64 and 7 of 96."""
    bank, features = bank_and_features(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    query = replace(bank.config.query, sigma=0.0, placement="nearest")
    bank = replace(bank, config=replace(bank.config, query=query))
    clean = nominal_response(bank, features)
    fine = features[0].view(2, 3, 4, 4, 4, -1)  # patch, picture, and place in the patch
    fine[0, 0, 0, row, column] = 50.0
    spotted = nominal_response(bank, features)
    num_px = round(0.005 * (64 - 2 * 5) * (96 - 2 * 7))  # that a spot is the mean of
    high = min(inside, num_px)
    assert spotted.scores[0] > 5 * clean.scores[0]
    assert spotted.spots[0] == pytest.approx(
        (high * spotted.scores[0] + (num_px - high) * clean.scores[0]) / num_px, rel=1e-5
    )
    assert spotted.spots[1:] == pytest.approx(clean.spots[1:])
    assert spotted.levels == pytest.approx(clean.levels)
