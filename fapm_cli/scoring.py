"""Scores: from distances to layer scores, the anomaly map and the image score (§2.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.config import Placement
from fapm_cli.geometry import gaussian_matrix, repeat_matrix, resize_matrix


@dataclass(frozen=True)
class Spreader:
    """Spreads score maps over the input's pixels: upsampling and blur as two small matrices.

    Attributes:
        rows: per memory (H, h_j) float32.
        columns: per memory (W, w_j) float32.
    """

    rows: tuple[Tensor, ...]
    columns: tuple[Tensor, ...]

    def __call__(self, score_maps: list[Tensor]) -> Tensor:
        """Spread one (B, h_j, w_j) map per memory; returns (B, L, H, W), one per memory."""
        spread = [a @ m @ b.mT for a, m, b in zip(self.rows, score_maps, self.columns, strict=True)]
        return torch.stack(spread, dim=1)


def make_spreader(
    map_sizes: list[tuple[int, int]],
    input_px: tuple[int, int],
    sigma: float,
    placement: Placement,
    device: torch.device,
) -> Spreader:
    """Make the matrices that upsample each map to the input and blur it.

    Args:
        map_sizes: (h_j, w_j) per memory.
        input_px: H, W.
        sigma: Gaussian's standard deviation in input px.
        placement: bilinear, or the nearest place's value.
        device: where they will be used.
    """
    # Paper open: how coarse scores are placed. The official repeat mixes places up in a patch.
    upsample = resize_matrix if placement == "bilinear" else repeat_matrix
    blurs = [gaussian_matrix(side, sigma) for side in input_px]
    rows, columns = (
        tuple(
            (blurs[axis] @ upsample(input_px[axis], size[axis])).float().to(device)
            for size in map_sizes
        )
        for axis in (0, 1)
    )
    return Spreader(rows, columns)


def share_weights(layer_weights: tuple[float, ...]) -> tuple[float, ...]:
    """Scale layer weights to a sum of 1, so that scores keep their unit."""
    return tuple(w / sum(layer_weights) for w in layer_weights)


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
    height, width = max((m.shape[1:3] for m in neighbor_maps), key=lambda size: size[0])
    total = torch.zeros(())
    for m, weight in zip(neighbor_maps, layer_weights, strict=True):
        repeated = m.repeat_interleave(height // m.shape[1], 1)
        total = total.to(m.device) + weight * repeated.repeat_interleave(width // m.shape[2], 2)
    places = total.flatten(1, 2)
    nearest, where = places[..., 0].max(dim=1)
    at_peak = places[torch.arange(len(places), device=places.device), where]
    return (1 - at_peak.softmax(dim=1).amax(dim=1)) * nearest
