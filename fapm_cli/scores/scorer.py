"""The scorer: memories laid out for search, and from target vectors to scores (§2.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fapm_cli.config import Query
from fapm_cli.memory.grid import Grid, from_patches
from fapm_cli.memory.patch_memory import LeaveOut, PatchMemory
from fapm_cli.memory.search import search
from fapm_cli.memory.shown import wholly
from fapm_cli.scores.extents import TOP_SHARE, Calibration
from fapm_cli.scores.image_score import as_spots, extent_means, paper_image_score, top_score
from fapm_cli.scores.spreader import Spreader, covered_places, make_spreader

_MAPS_PX = 2**22  # of all layers' maps that are there at a time
Found = list[tuple[Tensor, Tensor]]  # per memory, as :meth:`Scorer.search` returns


@dataclass(frozen=True)
class Scored:
    """Scores of a batch, before a picture's own geometry.

    Attributes:
        responses: (B, h, w) float32, all memories' scores in place on the finest map, fused but
            not calibrated.
        nearest: per memory (B, h_j, w_j) int64, the nearest key of each vector.
        layer_scores: (B, L) float32, the same of each memory's own anomaly map.
        anomaly_maps: (B, H, W) float32 over the input's px, calibrated and blurred.
        image_scores: (B,) float32.
        as_spots: (B, 3) float32, each extent as the spot that would be as unusual; (B, 1) where
            only spots are judged.
    """

    responses: Tensor
    nearest: list[Tensor]
    layer_scores: Tensor
    anomaly_maps: Tensor
    image_scores: Tensor
    as_spots: Tensor


class Scorer(nn.Module):
    """Patch memories laid out on a device, and the query that is made of them (§2.3).

    Attributes:
        query: how it scores.
        extents: what is usual of wide extents; None where only spots are judged.
        num_px: px of the input.
    """

    _weights: Tensor
    _factors: Tensor

    def __init__(
        self,
        grid: Grid,
        input_px: tuple[int, int],
        query: Query,
        memories: Sequence[PatchMemory],
        map_sizes: Sequence[tuple[int, int]],
        calibration: Calibration | None = None,
        roi: Tensor | None = None,
        device: torch.device | None = None,
    ):
        """Prepare to score pictures of one input size.

        What lies outside the region of interest reaches no result: distances of places wholly
        outside are 0 from the search on, upsampling and blur are means over the places that are
        left, and maps are 0 there.

        Args:
            grid: rows and columns of patches.
            input_px: H, W of the input.
            query: how to score.
            memories: of each layer, or one of all; none where another searches.
            map_sizes: (h, w) of each one's map.
            calibration: None for none yet.
            roi: (H, W) bool over the input, what to inspect; None for all.
            device: where; None for where the memories are.
        """
        super().__init__()
        self.query = query
        self._grid = grid
        self._memories = nn.ModuleList(memories)
        self._map_sizes = map_sizes
        device = device or memories[0].centers.device
        weights = torch.tensor(query.layer_shares, device=device)
        self.register_buffer("_weights", weights)
        finest = max(map_sizes)
        self._finest = list(map_sizes).index(finest)
        factors = torch.ones(finest, device=device)
        self.extents = None
        if calibration is not None and query.calibration == "local":
            factors = torch.as_tensor(calibration.factors).to(device)
            self.extents = calibration.extents if query.image_score == "extents" else None
        self.register_buffer("_factors", factors)
        placed: list[nn.Module] = [
            make_spreader(size, finest, 0.0, query.placement, device)
            if size != finest
            else nn.Identity()
            for size in map_sizes
        ]
        self._spread = make_spreader(finest, input_px, query.sigma, query.placement, device)
        self.num_px = math.prod(input_px)
        self._at_a_time = max(_MAPS_PX // self.num_px, 1)
        self._outside: list[Tensor] | None = None
        self._num_inspected: int | None = None
        if roi is not None:
            roi = roi.to(device)
            *inside, whole = (covered_places(roi, size) for size in (*map_sizes, finest))
            placed = [
                place.restrict(part, whole) if isinstance(place, Spreader) else place
                for place, part in zip(placed, inside, strict=True)
            ]
            self._spread = self._spread.restrict(whole, roi)
            self._outside = [~part.unsqueeze(2) for part in inside]
            self._num_inspected = int(roi.sum())
        self._place = nn.ModuleList(placed)

    def forward(self, patches: Sequence[Tensor], shown: Tensor | None = None) -> Scored:
        """Score target vectors.

        Args:
            patches: per memory (N_p, B·N_v, C), as
                :func:`fapm_cli.memory.grid.to_patches` cuts them.
            shown: (B, H, W) bool over the input, what each picture shows; None for all.
        """
        return self.combine(self.search(patches), shown)

    def search(
        self, patches: Sequence[Tensor], leave_out: Sequence[LeaveOut] | None = None
    ) -> Found:
        """Find the nearest keys: per memory, distances and key indices, both (B, h_j, w_j, k)."""
        found = []
        for j, (vectors, memory) in enumerate(zip(patches, self._memories, strict=True)):
            assert isinstance(memory, PatchMemory)
            both = search(
                vectors,
                memory,
                self.query.num_neighbors,
                self.query.reach,
                None if leave_out is None else leave_out[j],
            )
            distances, keys = (from_patches(v, self._grid, *self._map_sizes[j]) for v in both)
            found.append((distances, keys))
        return self.inside(found)

    def inside(self, found: Found) -> Found:
        """What was found, with distances of 0 where nothing is inspected."""
        if self._outside is None:
            return found
        both = zip(found, self._outside, strict=True)
        return [(distances.masked_fill(out, 0), keys) for (distances, keys), out in both]

    def combine(self, found: Found, shown: Tensor | None = None) -> Scored:
        """Turn what :meth:`search` found into scores, of what is ``shown`` as when called."""
        there = None
        if shown is not None:
            there = [wholly(shown, size) for size in self._map_sizes]
            if self._outside is not None:  # means are over what is shown and inspected
                of_places = zip(there, self._outside, strict=True)
                there = [of & ~out.squeeze(2) for of, out in of_places]
            both = zip(found, there, strict=True)
            found = [(distances * of.unsqueeze(3), keys) for (distances, keys), of in both]
        placed, fused, told = self._fuse(found, there)
        # All is linear but the last step, so what is fused goes the layers' way, as one more.
        every, layers = torch.cat([placed, fused.unsqueeze(1)], dim=1), []
        for first in range(0, every.shape[1], self._at_a_time):
            some = slice(first, first + self._at_a_time)
            maps = every[:, some] * self._factors
            if shown is not None and told is not None:
                of = told if told.shape[1] == 1 else told[:, some]
                maps, _ = self._spread.of_shown(maps, of, shown.unsqueeze(1))
            else:
                maps = self._spread(maps)
            of_layers = placed.shape[1] - first
            layers.append(self._summarise(maps[:, :of_layers]))
            anomaly_maps = maps[:, -1]
        nearest = [keys[..., 0] for _, keys in found]
        spots = self.as_spots(anomaly_maps)
        images = self._paper_scores(found) if self._is_paper else spots.amax(dim=1)
        return Scored(fused, nearest, torch.cat(layers, dim=1), anomaly_maps, images, spots)

    def image_scores(self, found: Found, shown: Tensor | None = None) -> Tensor:
        """Score whole pictures alone, (B,): as :meth:`combine` does, without the layers' maps."""
        if shown is not None:
            return self.combine(found, shown).image_scores
        if self._is_paper:
            return self._paper_scores(found)
        _, fused, _ = self._fuse(found)
        return self.as_spots(self._spread(fused * self._factors)).amax(dim=1)

    @property
    def spot_share(self) -> float:
        """Share of the input that a spot's score is the mean of, where all is inspected."""
        return min(TOP_SHARE, (self.query.spot_px or self.num_px) / self.num_px)

    @property
    def _is_paper(self) -> bool:
        return self.query.image_score == "paper"

    def _paper_scores(self, found: Found) -> Tensor:
        return paper_image_score([d for d, _ in found], self.query.layer_weights)

    def _fuse(
        self, found: Found, there: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Distances per memory and fused, (B, L, h, w) and (B, h, w) on the finest map; ``there``
        says of each memory's places which are shown, (B, h_j, w_j) bool. Then, too, of which each
        tells, and all fused: (B, L + 1 or, if alike, 1, h, w); who does not has no part there.
        """
        score_maps = [d[..., 0] if self._is_paper else d.mean(dim=3) for d, _ in found]
        if there is None:
            of_all = zip(self._place, score_maps, strict=True)
            both = torch.stack([place(own) for place, own in of_all], dim=1)
            return both, torch.einsum("blhw,l->bhw", both, self._weights), None
        wanted, placed = there[self._finest].unsqueeze(1), []
        for place, own, of in zip(self._place, score_maps, there, strict=True):
            one = own.unsqueeze(1), wanted
            if isinstance(place, Spreader):
                one = place.of_shown(one[0], of.unsqueeze(1), wanted)
            placed.append(one)
        both, each = (torch.cat(parts, dim=1) for parts in zip(*placed, strict=True))
        fused = torch.einsum("blhw,l->bhw", both, self._weights)
        if all(tells is wanted for _, tells in placed):
            return both, fused, wanted
        share = torch.einsum("blhw,l->bhw", each.float(), self._weights)
        fused = torch.where(share > 0, fused / share, 0)
        return both, fused, torch.cat([each, (share > 0).unsqueeze(1)], dim=1)

    def as_spots(self, anomaly_maps: Tensor) -> Tensor:
        """(B, 3) of (B, H, W): each extent as the spot that would be as unusual; (B, 1) without."""
        if self.extents is None:
            return self._summarise(anomaly_maps).unsqueeze(1)
        return as_spots(self.extents, self.extent_means(anomaly_maps))

    def extent_means(self, anomaly_maps: Tensor) -> Tensor:
        """(B, 3) means of (B, H, W) maps over what is inspected, by extent."""
        return extent_means(anomaly_maps, self._num_inspected, self.query.spot_px)

    def _summarise(self, maps: Tensor) -> Tensor:
        if self.query.image_score == "max":
            return maps.amax(dim=(-2, -1))
        return top_score(maps, self._num_inspected, most_px=self.query.spot_px)
