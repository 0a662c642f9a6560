"""Pseudo-defects: good pictures with a spot of what belongs elsewhere, to see what misses cost.

CutPaste (Li et al., CVPR 2021) on vectors in place of pixels: in one small window, a picture's
vectors are those of another grid patch of the same picture. No defect is needed for it, and no
second look at the picture. Both lie where inspection happens. How far such spots stand out from
good pictures' scores differs between kinds of parts as it does for real defects
(docs/accuracy.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.scores.scorer import Found, Scorer
from fapm_cli.scores.spreader import covered_places

_ENOUGH, _AT_LEAST = 1000, 50
_ENOUGH_PX = 2**30  # of all pseudo-defective pictures: there are fewer large ones
_AT_ONCE = 16  # rounds of few pictures are scored together: the same scores, sooner


def elsewhere_patches(
    grid: tuple[int, int], roi: Tensor | None, generator: torch.Generator
) -> Tensor | None:
    """Draw from which patch each one's vectors come: another that is inspected, if there is one.

    Args:
        grid: rows and columns of patches, N_p in all.
        roi: (H, W) bool over the input, what is inspected; None for all.
        generator: draws how far they move.

    Returns:
        (N_p,) int64, another patch for each that is inspected; None where there is one patch.
    """
    num_patches = grid[0] * grid[1]
    if num_patches == 1:
        return None
    everywhere = torch.arange(num_patches)
    inside = everywhere
    if roi is not None:
        inside = covered_places(roi.cpu(), grid).flatten().nonzero().flatten()
    if len(inside) == 1:
        inside = everywhere
    shift = int(torch.randint(1, len(inside), (), generator=generator))
    return everywhere.scatter(0, inside, inside.roll(shift))


def pseudo_scores(
    scorer: Scorer,
    found: Iterable[tuple[Found, Tensor | None]],
    elsewhere: Iterable[Found],
    roi: Tensor | None,
    generator: torch.Generator,
) -> list[float]:
    """Score about a thousand pseudo-defective pictures: all pictures equally often.

    A window has the area that an image score is the mean of: 1 / 14 of each side, 16 of 224 px.

    Args:
        scorer: calibrated.
        found: what the search found of good pictures, in parts, as :meth:`Scorer.search` gives it,
            and what each of them shows, (B, H, W) bool over the input; None for all. It is gone
            through again and again.
        elsewhere: the same of their vectors taken to other patches.
        roi: (H, W) bool over the input: windows are drawn as often as much of them is inspected,
            and shown.
        generator: draws the windows.
    """
    num_pictures = sum(len(part[0][0]) for part, _ in found)
    some, _ = next(iter(found))
    heights, widths = zip(*(d.shape[1:3] for d, _ in some), strict=True)
    a_side = round(scorer.spot_share**-0.5)
    windows = min(a_side, *heights), min(a_side, *widths)
    weights = [
        _inspected_shares(roi, shown, windows, len(part[0][0])).cumsum(1) for part, shown in found
    ]
    enough = min(max(_ENOUGH_PX // scorer.num_px, _AT_LEAST), _ENOUGH)
    rounds = -(-enough // num_pictures)
    at_once = min(_AT_ONCE, _ENOUGH_PX // _ENOUGH * _AT_ONCE // scorer.num_px)
    scores: list[float] = []
    for lots in torch.split(torch.arange(rounds), max(at_once // num_pictures, 1)):
        drawn = [[_draw(windows, of, generator) for of in weights] for _ in lots]
        for (part, shown), other, chosen in zip(
            found, elsewhere, zip(*drawn, strict=True), strict=True
        ):
            spotted = [
                _spotted(torch.stack(chosen), windows, one, two)
                for one, two in zip(part, other, strict=True)
            ]
            there = None if shown is None else shown.repeat(len(chosen), 1, 1)
            scores += scorer.image_scores(spotted, there).tolist()
    return scores


def _draw(windows: tuple[int, int], weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a window for each of (B, n) pictures' weights, added up: (2, B), row and column."""
    num_pictures, num_windows = weights.shape
    rows, columns = (torch.randint(n, (num_pictures,), generator=generator) for n in windows)
    quantiles = (rows * windows[1] + columns + 0.5) * weights[:, -1] / num_windows
    drawn = torch.searchsorted(weights, quantiles.unsqueeze(1)).squeeze(1)
    return torch.stack([drawn // windows[1], drawn % windows[1]])


def _inspected_shares(
    roi: Tensor | None, shown: Tensor | None, windows: tuple[int, int], num_pictures: int
) -> Tensor:
    """How much of each window, in reading order, is inspected and shown: (B, n) float64."""
    regions = [one.cpu().expand(num_pictures, -1, -1) for one in (roi, shown) if one is not None]
    if not regions:
        return torch.ones(num_pictures, windows[0] * windows[1], dtype=torch.float64)
    where = torch.stack(regions).all(dim=0)
    return F.adaptive_avg_pool2d(where.double(), windows).flatten(1)


def _spotted(
    chosen: Tensor,
    windows: tuple[int, int],
    found: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor]:
    """Put what was found elsewhere into windows, (R, 2, B), of each of R rounds: (R·B, h, w, k)."""
    distances, keys = found
    rows, columns = (
        torch.arange(side) * number // side == one.unsqueeze(2)
        for side, number, one in zip(distances.shape[1:3], windows, chosen.unbind(1), strict=True)
    )
    inside = (rows.unsqueeze(3) & columns.unsqueeze(2)).unsqueeze(4).to(distances.device)
    spotted = torch.where(inside, other[0], distances).flatten(0, 1)
    return spotted, keys.repeat(len(chosen), 1, 1, 1)
