"""Pseudo-defects: good pictures with a spot of what belongs elsewhere, to see what misses cost.

CutPaste (Li et al., CVPR 2021) on vectors in place of pixels: in one small window, a picture's
vectors are those of another grid patch of the same picture. No defect is needed for it, and no
second look at the picture. How far such spots stand out from good pictures' scores differs
between kinds of parts as it does for real defects (docs/accuracy.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fapm_cli.engine.scorer import Scorer

Found = list[tuple[Tensor, Tensor]]

# A window is 1 / 14 of each side, 16 of 224 px: the area of the blur that an image score averages.
_WINDOWS = 14
_ENOUGH = 1000


def pseudo_scores(
    scorer: Scorer, found: list[Found], elsewhere: list[Found], generator: torch.Generator
) -> list[float]:
    """Score about a thousand pseudo-defective pictures: all pictures equally often.

    Args:
        scorer: calibrated.
        found: what the search found of good pictures, in parts, as :meth:`Scorer.search` gives it.
        elsewhere: the same of their vectors taken to other patches.
        generator: draws the windows.
    """
    num_pictures = sum(len(part[0][0]) for part in found)
    windows = [min(_WINDOWS, *(d.shape[axis] for d, _ in found[0])) for axis in (1, 2)]
    scores: list[float] = []
    for _ in range(-(-_ENOUGH // num_pictures)):
        for part, other in zip(found, elsewhere, strict=True):
            chosen = [torch.randint(n, (len(part[0][0]),), generator=generator) for n in windows]
            spotted = [
                (torch.where(_inside(chosen, windows, d), o, d), keys)
                for (d, keys), (o, _) in zip(part, other, strict=True)
            ]
            scores += scorer.combine(spotted).image_scores.tolist()
    return scores


def _inside(chosen: list[Tensor], windows: list[int], distances: Tensor) -> Tensor:
    """(B, h, w, 1) which places of (B, h, w, k) lie in each picture's window."""
    rows, columns = (
        torch.arange(side) * number // side == one.unsqueeze(1)
        for side, number, one in zip(distances.shape[1:3], windows, chosen, strict=True)
    )
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(3).to(distances.device)
