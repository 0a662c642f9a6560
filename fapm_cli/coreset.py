"""The adaptive coreset: greedy k-center in each patch memory, twice in wide ones (§2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MEMORY_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Coreset:
    """The keys picked in one patch memory.

    Attributes:
        indices: (K,) int64, picked vectors in the order of picking.
        radius_sq: covering radius r², in squared feature units: the outermost vector's squared
            distance to its key.
        widened: whether the patch's spread exceeded the threshold, so that K was doubled.
    """

    indices: Tensor
    radius_sq: float
    widened: bool


def spread_score(radius_sq: float | Tensor) -> Tensor:
    """Eq. 1 of the paper, d = 1 - 2 / (1 + exp(r²)), written so that it can't overflow."""
    return torch.tanh(torch.as_tensor(radius_sq) / 2)


def num_keys(num_vectors: int, ratio: float, at_least: int = 1) -> int:
    """K: ``ratio`` of the vectors, rounded down, at least ``at_least``, at most all of them."""
    return min(max(int(num_vectors * ratio + 1e-9), at_least, 1), num_vectors)


def adaptive_coreset(
    vectors: Tensor,
    ratio: float,
    spread_threshold: float | None,
    at_least: int = 1,
    memory_bytes: int = MEMORY_BYTES,
) -> list[Coreset]:
    """Select the keys of patch memories, and where the spread is wide, go on to 2K (§2.2).

    Greedy picks are nested, so selecting again with K doubled *is* going on; and the covering
    radius of the first K is the outermost distance that Eq. 1 asks for.

    Args:
        vectors: (N_p, n, C) float32.
        ratio: share of the n vectors kept.
        spread_threshold: D_th; None turns widening off.
        at_least: fewest keys a patch may have, if it has as many vectors.
        memory_bytes: most bytes that distances between vectors may take at a time.

    Returns:
        One coreset per patch, in order.
    """
    num_patches, n, _ = vectors.shape
    k = num_keys(n, ratio, at_least)
    side_by_side = max(1, min(num_patches, memory_bytes // (4 * n * n)))
    coresets: list[Coreset] = []
    for start in range(0, num_patches, side_by_side):
        search = GreedyKCenter(vectors[start : start + side_by_side], memory_bytes)
        indices = search.extend(k)
        radii_sq = search.radius_sq()
        widened = torch.zeros(len(indices), dtype=torch.bool)
        if spread_threshold is not None:
            widened = (spread_score(radii_sq) > spread_threshold).cpu()
        if widened.any():
            more = search.extend(min(2 * k, n))
            wide_radii_sq = search.radius_sq()
        for i in range(len(indices)):
            picks, radius_sq = (
                (more[i], wide_radii_sq[i]) if widened[i] else (indices[i], radii_sq[i])
            )
            coresets.append(Coreset(picks.cpu(), float(radius_sq), bool(widened[i])))
    return coresets


class GreedyKCenter:
    """Farthest-first traversal of several sets of vectors side by side.

    Each pick is the vector farthest from all picks before it (Gonzalez, 1985). It starts at index
    0 and breaks ties by the lowest index, so it needs no random numbers. No vector is picked
    twice, even among equal ones.

    The distances come as one matrix product for many *candidates*, the vectors farthest so far,
    of which the following picks almost always are. Where memory allows, all vectors are.
    """

    def __init__(self, vectors: Tensor, memory_bytes: int = MEMORY_BYTES):
        """Take (S, n, C) float32 vectors, S sets; S must be 1 if 4·n² bytes exceed the memory."""
        self._sets, n, _ = vectors.shape
        # Distances don't change under a shift, and small norms cancel less.
        self._vectors = vectors - vectors.mean(dim=1, keepdim=True)
        self._norms_sq = self._vectors.square().sum(dim=2)
        self._num_candidates = min(n, max(1, memory_bytes // (4 * n * self._sets)))
        self._nearest_sq = torch.full((self._sets, n), torch.inf, device=vectors.device)
        self._rows = torch.arange(self._sets, device=vectors.device)
        self._column = torch.empty(0, dtype=torch.int64)
        self._picks: list[Tensor] = []

    def radius_sq(self) -> Tensor:
        """(S,) squared distance of each set's outermost vector to its nearest pick."""
        return self._nearest_sq.amax(dim=1).clamp(min=0)

    def extend(self, num_picks: int) -> Tensor:
        """Go on until there are ``num_picks``, at most n, and return them: (S, num_picks) int64."""
        everything = self._num_candidates == self._nearest_sq.shape[1]
        while len(self._picks) < num_picks:
            pick = self._nearest_sq.argmax(dim=1)
            if not self._picks or (not everything and self._column[pick[0]] < 0):
                self._measure(pick)
            distances = self._distances[self._rows, self._column[pick] if not everything else pick]
            torch.minimum(self._nearest_sq, distances, out=self._nearest_sq)
            self._nearest_sq[self._rows, pick] = -1  # never again
            self._picks.append(pick)
        return torch.stack(self._picks, dim=1)

    def _measure(self, pick: Tensor) -> None:
        """Fill the squared distances from the candidates, ``pick`` among them, to all vectors."""
        n = self._nearest_sq.shape[1]
        chosen, norms_sq = self._vectors, self._norms_sq
        if self._num_candidates < n:
            order = self._nearest_sq[0].topk(self._num_candidates).indices
            order = torch.cat([pick, order[order != pick][: self._num_candidates - 1]])
            self._column = torch.full((n,), -1, device=pick.device)
            self._column[order] = torch.arange(len(order), device=pick.device)
            chosen, norms_sq = chosen[:, order], norms_sq[:, order]
        distances = torch.baddbmm(self._norms_sq.unsqueeze(1), chosen, self._vectors.mT, alpha=-2)
        distances += norms_sq.unsqueeze(2)
        self._distances = distances.clamp_(min=0)
