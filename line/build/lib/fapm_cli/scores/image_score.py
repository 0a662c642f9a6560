"""One score of a whole picture: the means of its map's largest values, or the paper's (§2.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fapm_cli.scores.extents import (
    AREA_SHARE,
    BLOCK_PX,
    FEWEST_PARTS,
    LEAST_SPREAD,
    MOST_LOG,
    TINY,
    TOP_SHARE,
    Extents,
    px_of_share,
)

_BLOCK = 16


def top_score(
    maps: Tensor, num_inspected: int | None = None, share: float = TOP_SHARE, most_px: int = 0
) -> Tensor:
    """Mean of the largest share of each map; 0.5 % is the area of the blur (a disc of 2σ).

    The maximum is one px's word, the noisiest there is; docs/accuracy.md compares. In a large map a
    share is more than any spot that is looked for.

    Args:
        maps: (..., H, W).
        num_inspected: px that the share is of, where the others are 0; None for all.
        share: above 0, up to 1.
        most_px: that it is at most; 0 for any number.

    Returns:
        (...) same dtype.
    """
    num_px = px_of_share(share, num_inspected or maps.shape[-2] * maps.shape[-1], most_px)
    return _largest(maps.flatten(-2), num_px).mean(dim=-1)


def _largest(values: Tensor, k: int) -> Tensor:
    """The k largest of (..., n) values.

    They lie in the k blocks whose largest are largest. A maximum per block takes no ranking, and
    ranking waits for every branch that was guessed wrong: of all px it takes six times as long.
    """
    num_blocks = values.shape[-1] // _BLOCK
    if num_blocks < 2 * k or values.shape[-1] % _BLOCK:
        return values.topk(k).values
    rows = values.reshape(*values.shape[:-1], _BLOCK, num_blocks)  # a block is a column of these
    blocks = rows.amax(dim=-2).topk(k, sorted=False).indices
    left = rows.mT.gather(-2, blocks.unsqueeze(-1).expand(*blocks.shape, _BLOCK))
    return left.flatten(-2).topk(k).values


def extent_means(maps: Tensor, num_inspected: int | None = None, spot_px: int = 0) -> Tensor:
    """Means of anomaly maps over their largest 0.5 %, 5 % and all of what is inspected.

    Args:
        maps: (B, H, W) float32.
        num_inspected: px that shares are of, where the others are 0; None for all.
        spot_px: that a spot is at most; 0 for any number.

    Returns:
        (B, 3) float32.
    """
    blocks = F.avg_pool2d(maps.unsqueeze(1), BLOCK_PX, ceil_mode=True).squeeze(1)
    num_px = num_inspected or maps.shape[1] * maps.shape[2]
    area = top_score(blocks, max(num_px // BLOCK_PX**2, 1), AREA_SHARE)
    whole = maps.sum(dim=(1, 2)) / num_px
    spot = top_score(maps, num_inspected, TOP_SHARE, spot_px)
    return torch.stack([spot, area, whole], dim=1)


def usual_extents(part_means: Tensor) -> Extents | None:
    """What is usual of (N, 3) means of good parts, as above; None of too few parts."""
    num_parts = len(part_means)
    if num_parts < FEWEST_PARTS:
        return None
    logs = part_means.double().clamp(min=TINY).log()
    spreads = logs.std(dim=0).clamp(min=LEAST_SPREAD)
    return Extents(tuple(logs.mean(dim=0).tolist()), tuple(spreads.tolist()), num_parts)


def as_spots(usual: Extents, means: Tensor) -> Tensor:
    """(B, 3) means of pictures' maps, each as the spot that would be as unusual.

    A mean that lies z standard deviations above good parts' (of logarithms) is as unusual as a spot
    that lies ``behind`` less above theirs. That is the distance between the quantiles that leave
    0.05 % and 0.9 % of good parts above, of Student's t: of few parts little is known.
    """
    spot, *others = zip(usual.means, usual.spreads, strict=True)
    values = [means[:, 0]]
    for number, (mean, spread) in enumerate(others, start=1):
        unusual = (means[:, number].clamp(min=TINY).log() - mean) / spread - usual.behind
        values.append((spot[0] + spot[1] * unusual).clamp(max=MOST_LOG).exp())
    return torch.stack(values, dim=1)


def paper_image_score(neighbor_maps: list[Tensor], layer_weights: tuple[float, ...]) -> Tensor:
    """Score pictures as the official inference code does.

    All memories' k distances are added up place by place (coarse ones repeated, here in their
    place). At the place with the largest nearest distance s*, the score is w·s*, where
    w = 1 - max softmax of the k distances there: the *farthest* of the k has the largest share.

    Args:
        neighbor_maps: per memory (B, h_j, w_j, k) distances, nearest first.
        layer_weights: one factor per memory; the official code's are all 1.

    Returns:
        (B,) float32.
    """
    height, width = max(m.shape[1:3] for m in neighbor_maps)
    repeated = [
        weight
        * m.repeat_interleave(height // m.shape[1], 1).repeat_interleave(width // m.shape[2], 2)
        for m, weight in zip(neighbor_maps, layer_weights, strict=True)
    ]
    places = torch.stack(repeated).sum(dim=0).flatten(1, 2)
    nearest, where = places[..., 0].max(dim=1)
    at_peak = places[torch.arange(len(places), device=places.device), where]
    return (1 - at_peak.softmax(dim=1).amax(dim=1)) * nearest
