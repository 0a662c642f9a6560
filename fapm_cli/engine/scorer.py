"""The scorer: memories laid out for search, and from target vectors to scores (§2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.config import BankConfig, Query
from fapm_cli.grid import from_patches
from fapm_cli.knn import PatchMemory, search
from fapm_cli.scoring import make_spreader, paper_image_score, share_weights


@dataclass(frozen=True)
class Scored:
    """Scores of a batch, before a picture's own geometry.

    Attributes:
        score_maps: per memory (B, h_j, w_j) float32 vector scores in place.
        nearest: per memory (B, h_j, w_j) int64, the nearest key of each vector.
        layer_maps: (B, L, H, W) float32, each memory's scores over the input's px, blurred.
        anomaly_maps: (B, H, W) float32.
        image_scores: (B,) float32.
    """

    score_maps: list[Tensor]
    nearest: list[Tensor]
    layer_maps: Tensor
    anomaly_maps: Tensor
    image_scores: Tensor


class Scorer:
    """Patch memories laid out on a device, and the query that is made of them (§2.3)."""

    def __init__(
        self,
        config: BankConfig,
        query: Query,
        memories: Sequence[PatchMemory],
        map_sizes: Sequence[tuple[int, int]],
    ):
        """Prepare to score pictures of ``config``'s input size."""
        self.query = query
        self._grid = config.grid
        self._memories = memories
        self._map_sizes = map_sizes
        device = memories[0].centers.device
        weights = torch.tensor(share_weights(query.layer_weights), device=device)
        self._weights = weights.view(-1, 1, 1)
        self._spreader = make_spreader(
            list(map_sizes),
            config.preprocessing.crop_px,
            query.sigma,
            query.placement,
            device,
        )

    def __call__(self, patches: Sequence[Tensor]) -> Scored:
        """Score target vectors.

        Args:
            patches: per memory (N_p, B·N_v, C), as :func:`fapm_cli.grid.to_patches` cuts them.
        """
        return self.combine(self.search(patches))

    def search(self, patches: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Find the nearest keys: per memory, distances and key indices, both (B, h_j, w_j, k)."""
        found = []
        for vectors, memory, size in zip(patches, self._memories, self._map_sizes, strict=True):
            both = search(vectors, memory, self.query.num_neighbors, self.query.reach)
            distances, keys = (from_patches(values, self._grid, *size) for values in both)
            found.append((distances, keys))
        return found

    def combine(self, found: list[tuple[Tensor, Tensor]]) -> Scored:
        """Turn what :meth:`search` found into scores."""
        paper = self.query.image_score == "paper"
        neighbor_maps = [distances for distances, _ in found]
        score_maps = [m[..., 0] if paper else m.mean(dim=3) for m in neighbor_maps]
        layer_maps = self._spreader(score_maps)
        anomaly_maps = (layer_maps * self._weights).sum(dim=1)
        if paper:
            image_scores = paper_image_score(neighbor_maps, self.query.layer_weights)
        else:
            image_scores = anomaly_maps.amax(dim=(1, 2))
        nearest = [keys[..., 0] for _, keys in found]
        return Scored(score_maps, nearest, layer_maps, anomaly_maps, image_scores)
