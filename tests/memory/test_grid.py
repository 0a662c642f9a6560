from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from fapm_cli.errors import OptionError
from fapm_cli.memory.grid import (
    Grid,
    check_divisible,
    from_patches,
    map_cells,
    neighbor_offsets,
    to_patches,
)


@st.composite
def cut_maps(draw: st.DrawFn) -> tuple[Tensor, Grid]:
    """Feature maps in which every number is another, with a grid that fits."""
    rows, columns, tall, wide = (draw(st.integers(1, 4)) for _ in range(4))
    b, c = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shape = (b, c, rows * tall, columns * wide)
    feature_map = torch.arange(b * c * rows * tall * columns * wide).view(shape)
    return feature_map, (rows, columns)


def plain_patches(feature_map: Tensor, grid: Grid) -> list[list[list[int]]]:
    b, c, h, w = feature_map.shape
    tall, wide = h // grid[0], w // grid[1]
    patches = []
    for row, column in product(range(grid[0]), range(grid[1])):
        vectors = []
        for picture in range(b):
            for y in range(row * tall, (row + 1) * tall):
                for x in range(column * wide, (column + 1) * wide):
                    vectors.append([int(feature_map[picture, i, y, x]) for i in range(c)])
        patches.append(vectors)
    return patches


@given(cut_maps())
def test_to_patches_cuts_as_the_plain_loop_does(cut: tuple[Tensor, Grid]) -> None:
    feature_map, grid = cut
    assert to_patches(feature_map, grid).tolist() == plain_patches(feature_map, grid)


@given(cut_maps())
def test_from_patches_undoes_to_patches(cut: tuple[Tensor, Grid]) -> None:
    feature_map, grid = cut
    height, width = feature_map.shape[2:]
    back = from_patches(to_patches(feature_map, grid), grid, height, width)
    assert torch.equal(back, feature_map.permute(0, 2, 3, 1))


def test_from_patches_keeps_every_neighbor_of_a_vector_together() -> None:
    values = torch.arange(2 * 12 * 3, dtype=torch.float32).view(2, 12, 3)  # 1×2 grid, 2×3 cells
    placed = from_patches(values, (1, 2), 2, 6)
    assert placed.shape == (2, 2, 6, 3)
    for picture, y, x in product(range(2), range(2), range(6)):
        vector = picture * 6 + y * 3 + x % 3
        assert torch.equal(placed[picture, y, x], values[x // 3, vector])


def test_to_patches_does_not_care_how_a_map_lies_in_memory() -> None:
    feature_map = torch.randn(2, 5, 6, 8)
    turned = feature_map.contiguous(memory_format=torch.channels_last)
    assert torch.equal(to_patches(turned, (3, 2)), to_patches(feature_map, (3, 2)))


@given(cut_maps())
def test_map_cells_names_the_place_that_a_vector_was_cut_from(cut: tuple[Tensor, Grid]) -> None:
    feature_map, grid = cut
    b, _, height, width = feature_map.shape
    places = torch.arange(height * width).view(1, 1, height, width).expand(b, 1, -1, -1)
    cut_places = to_patches(places, grid)[..., 0]
    for patch in range(grid[0] * grid[1]):
        indices = torch.arange(cut_places.shape[1])
        assert torch.equal(map_cells(indices, patch, grid, height, width), cut_places[patch])


@pytest.mark.parametrize("reach", [0, 1, 2, 3])
def test_neighbor_offsets_are_the_square_around_a_patch_its_own_first(reach: int) -> None:
    offsets = neighbor_offsets(reach)
    square = {(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)}
    assert offsets[0] == (0, 0)
    assert len(offsets) == len(square)
    assert set(offsets) == square


def map_sizes_of(size_px: tuple[int, int], strides: list[int]) -> list[tuple[int, int]]:
    """Sizes of a network's maps: each halving rounds up."""
    return [(-(-size_px[0] // stride), -(-size_px[1] // stride)) for stride in strides]


STRIDES = st.sampled_from([[8], [16], [8, 16], [16, 8], [8, 8], [32, 16, 8]])


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9), STRIDES)
def test_check_divisible_accepts_whole_patches(
    rows: int, columns: int, cells: int, strides: list[int]
) -> None:
    size_px = (rows * cells * max(strides), columns * cells * max(strides))
    check_divisible(size_px, (rows, columns), map_sizes_of(size_px, strides))


@example(40, 4, [8], True)  # 32 px, the least, fits
@given(st.integers(128, 1500), st.integers(1, 9), STRIDES, st.booleans())
def test_check_divisible_refuses_exactly_what_does_not_divide_and_names_sizes_that_do(
    side: int, patches: int, strides: list[int], upright: bool
) -> None:
    def check(side: int) -> None:
        size_px, grid = (side, max(strides)), (patches, 1)
        if not upright:
            size_px, grid = size_px[::-1], grid[::-1]
        check_divisible(size_px, grid, map_sizes_of(size_px, strides))

    unit = patches * max(strides)
    if side % unit == 0:
        check(side)
        return
    with pytest.raises(OptionError, match=f"size {side} px") as raised:
        check(side)
    assert "\n" not in str(raised.value)
    named = re.search(r"sizes that fit: ([\d or]+) \(", str(raised.value))
    assert named
    sizes = [int(size) for size in named[1].split(" or ")]
    assert sizes == [size for size in (side - side % unit, side - side % unit + unit) if size >= 32]
    for size in sizes:
        check(size)
