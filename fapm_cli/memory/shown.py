"""What pictures show of a part, where they were moved to have it in place: the rest is made up.

What a picture does not show is judged by nobody, and no key comes of it. A place is inspected where
enough of the parts that a bank learns from show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.memory.coreset import Coreset, adaptive_coreset
from fapm_cli.memory.grid import Grid, to_patches
from fapm_cli.memory.vectors import Rows

_AT_A_TIME = 16
# Parts that show a place: it is then known as well as in a bank of so many. Of fewer, half: the
# good ones lie about their middle, so that half of them show a rim.
_ENOUGH = 10


def wholly(shown: Tensor, size: tuple[int, int]) -> Tensor:
    """Which places of a coarser map are shown, px for px: (B, H, W) bool to (B, *size) bool."""
    hidden: Tensor = F.adaptive_max_pool2d((~shown).float(), size)
    return hidden == 0


def shown_places(shown: Rows, size: tuple[int, int]) -> Tensor:
    """The same as :func:`wholly` of many pictures, some at a time."""
    numbers = torch.split(torch.arange(len(shown)), _AT_A_TIME)
    return torch.cat([wholly(shown[some], size) for some in numbers])


def shown_vectors(shown: Rows, sizes: Sequence[tuple[int, int]], grid: Grid) -> list[Tensor]:
    """Which vectors are shown: (N, H, W) bool to (N_p, N·N_v) bool of each memory."""
    maps = (shown_places(shown, size).unsqueeze(1) for size in sizes)
    return [to_patches(one, grid).squeeze(2) for one in maps]


@torch.inference_mode()
def coreset_of_shown(
    vectors: Tensor,
    shown: Tensor | None,
    ratio: float,
    spread_threshold: float | None,
    at_least: int,
    most: int = 0,
    *,
    spend: bool = False,
) -> list[Coreset]:
    """Select keys as :func:`adaptive_coreset` does, of the vectors that are shown.

    The first such vector of a patch takes the place of each that is not: equal vectors are no
    farther from the keys than one, so they change no choice.

    Args:
        vectors: (N_p, n, C) float32; those not shown are changed.
        shown: (N_p, n) bool; of a patch where none is, the first vector is all. None for all.
        ratio, spread_threshold, at_least, most, spend: as there.
    """
    if shown is None:
        return adaptive_coreset(vectors, ratio, spread_threshold, at_least, most=most, spend=spend)
    own = torch.arange(shown.shape[1])
    sources = torch.where(shown.cpu(), own, shown.cpu().byte().argmax(dim=1, keepdim=True))
    for patch, source in zip(vectors, sources, strict=True):  # one at a time: they are large
        patch.copy_(patch[source.to(patch.device)])
    coresets = adaptive_coreset(vectors, ratio, spread_threshold, at_least, most=most, spend=spend)
    both = zip(coresets, sources, strict=True)
    return [replace(one, indices=source[one.indices]) for one, source in both]


def shown_enough(shown: Rows, groups: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Where enough parts are shown, a place of the map at a time: half of them, of few at least 2,
    of many 10.

    Args:
        shown: (N, H, W) bool, what each picture shows.
        groups: N numbers from 0, the part of each.
        size: h, w of the map, of which H and W are multiples.

    Returns:
        (H, W) bool.
    """
    places = shown_places(shown, size).float()
    times = places.new_zeros(max(groups) + 1, *size)
    num_parts = (times.index_add_(0, torch.tensor(groups), places) > 0).sum(dim=0)
    of_all = len(set(groups))
    enough = max(min(-(-of_all // 2), _ENOUGH), min(of_all, 2))
    there = num_parts >= enough
    rows, columns = (side // num for side, num in zip(shown.shape[1:], size, strict=True))
    return there.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
