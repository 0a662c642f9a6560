"""The adaptive coreset: greedy k-center in each patch memory, twice in wide ones (§2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MEMORY_BYTES = 512 * 2**20
_ROWS = 2**16  # vectors that are squared at a time
# On a CPU, of so many vectors and up to such a share of keys, distances from those that may be
# picked take a third of the time of all (docs/speed.md); of fewer, sets side by side are fast.
_MANY, _FEW = 2048, 1 / 8


@dataclass(frozen=True)
class Coreset:
    """The keys picked in one patch memory.

    Attributes:
        indices: (K,) int64, picked vectors in the order of picking.
        radius_sq: covering radius r², in squared feature units: the outermost vector's squared
            distance to its key, or an upper bound of that.
        widened: whether the patch's spread exceeded the threshold, so that there are more than K.
    """

    indices: Tensor
    radius_sq: float
    widened: bool


def spread_score(radius_sq: float | Tensor) -> Tensor:
    """Eq. 1 of the paper, d = 1 - 2 / (1 + exp(r²)), written so that it can't overflow."""
    return torch.tanh(torch.as_tensor(radius_sq) / 2)


def num_keys(num_vectors: int, ratio: float, at_least: int = 1, most: int = 0) -> int:
    """K: ``ratio`` of the vectors, rounded down, ``most`` at most, unless that is 0; but at least
    ``at_least``, and at most all of them.
    """
    k = int(num_vectors * ratio + 1e-9)
    k = min(k, most) if most else k
    return min(max(k, at_least, 1), num_vectors)


def adaptive_coreset(
    vectors: Tensor,
    ratio: float,
    spread_threshold: float | None,
    at_least: int = 1,
    memory_bytes: int = MEMORY_BYTES,
    most: int = 0,
    *,
    spend: bool = False,
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
        most: K at most; 0 for no limit.
        spend: whether the vectors may be changed, so that no copy of them is made.

    Returns:
        One coreset per patch, in order.
    """
    num_patches, n, channels = vectors.shape
    k = num_keys(n, ratio, at_least, most)
    together, memory_bytes = _plan(n, channels, ratio, memory_bytes, vectors.device.type)
    coresets: list[Coreset] = []
    for start in range(0, num_patches, together):
        search = GreedyKCenter(vectors[start : start + together], memory_bytes, spend=spend)
        coresets += _pick(search, k, spread_threshold)
    return coresets


def _plan(n: int, channels: int, ratio: float, memory_bytes: int, device: str) -> tuple[int, int]:
    """How many patches are searched side by side, and bytes that their distances may take."""
    if n > _MANY and ratio <= _FEW and device == "cpu":
        return 1, min(memory_bytes, n * n)  # of a quarter at a time
    return side_by_side(n, channels, memory_bytes), memory_bytes


def selecting_bytes(
    num_patches: int, num_vectors: int, channels: int, ratio: float, device: str
) -> int:
    """Bytes that :func:`adaptive_coreset` takes at most beside the vectors, of so many a patch."""
    together, most = _plan(num_vectors, channels, ratio, MEMORY_BYTES, device)
    together = min(together, num_patches)
    distances = min(4 * together * num_vectors**2, most)
    return distances + 4 * together * num_vectors * channels  # less their mean


def side_by_side(num_vectors: int, channels: int, memory_bytes: int = MEMORY_BYTES) -> int:
    """How many patches of so many vectors are searched side by side."""
    # Distances, or in small sets the vectors, less their mean and squared.
    per_patch = 4 * num_vectors * max(num_vectors, 2 * channels)
    return max(1, memory_bytes // per_patch)


def _pick(search: GreedyKCenter, k: int, spread_threshold: float | None) -> list[Coreset]:
    """Pick K keys in each set, and 2K where its spread exceeds the threshold."""
    indices = search.extend(k)
    radii_sq = search.radius_sq()
    wide = torch.zeros(len(indices), dtype=torch.bool)
    if spread_threshold is not None:
        wide = (spread_score(radii_sq) > spread_threshold).cpu()
    if wide.any():
        more = search.extend(2 * k)
        wide_radii_sq = search.radius_sq()
    coresets = []
    for i in range(len(indices)):
        picks, radius_sq = (more[i], wide_radii_sq[i]) if wide[i] else (indices[i], radii_sq[i])
        coresets.append(Coreset(picks.cpu(), float(radius_sq), bool(wide[i])))
    return coresets


class GreedyKCenter:
    """Farthest-first traversal of several sets of vectors side by side.

    Each pick is the vector farthest from all picks before it (Gonzalez, 1985). It starts at index
    0 and breaks ties by the lowest index, so it needs no random numbers. No vector is picked
    twice, even among equal ones.

    Distances come by matrix products: from every vector at once where memory allows, else from
    *candidates*, the vectors farthest so far. The following picks are mostly among those; one that
    is not starts the next block, which is larger the better the last one was guessed. Either way
    the picks are the same.
    """

    def __init__(self, vectors: Tensor, memory_bytes: int = MEMORY_BYTES, *, spend: bool = False):
        """Lay the vectors out.

        Args:
            vectors: (S, n, C) float32, S sets; S must be 1 if 4·n² bytes exceed the memory.
            memory_bytes: most bytes that distances may take.
            spend: whether the vectors may be changed: many take less memory without a copy.
        """
        num_sets, self._n, _ = vectors.shape
        # Distances don't change under a shift, and small norms cancel less.
        mean = vectors.mean(dim=1, keepdim=True)
        self._vectors = vectors.sub_(mean) if spend else vectors - mean
        parts = torch.split(self._vectors, _ROWS, dim=1)
        self._norms_sq = torch.cat([part.square().sum(dim=2) for part in parts], dim=1)
        self._nearest_sq = torch.full((num_sets, self._n), torch.inf, device=vectors.device)
        self._sets = torch.arange(num_sets, device=vectors.device)
        self._most = max(1, min(self._n, memory_bytes // (4 * self._n * num_sets)))
        self._candidates: Candidates | None = None
        self._picks: list[Tensor] = []

    def nearest_sq(self) -> Tensor:
        """(S, n) squared distance of each vector to its nearest pick; 0 for a pick."""
        return self._nearest_sq.clamp(min=0)

    def radius_sq(self) -> Tensor:
        """(S,) squared distance of each set's outermost vector to its pick."""
        return self.nearest_sq().amax(dim=1)

    def extend(self, num_picks: int) -> Tensor:
        """Go on until there are ``num_picks``, or all are picked, and return them: (S, K) int64."""
        while len(self._picks) < min(num_picks, self._n):
            self._pick(self._nearest_sq.argmax(dim=1))
        return torch.stack(self._picks, dim=1)

    def take(self, picks: Tensor) -> None:
        """Pick (K,) int64 of each set, in this order, wherever they lie."""
        for pick in picks:
            self._pick(pick.expand(len(self._sets)))

    def _pick(self, pick: Tensor) -> None:
        distances_sq = self._distances_sq(pick)
        torch.minimum(self._nearest_sq, distances_sq, out=self._nearest_sq)
        self._nearest_sq[self._sets, pick] = -1  # never again
        self._picks.append(pick)

    def _distances_sq(self, pick: Tensor) -> Tensor:
        """(S, n) squared distances from each set's pick."""
        if self._most == self._n:
            if self._candidates is None:
                self._candidates = self._measure(None)
            return self._candidates.distances_sq[self._sets, pick]
        number = int(pick[0])
        if self._candidates is None or number not in self._candidates.rows:
            guess = self._guess(number)
            self._candidates = None  # the next take its place, also in memory
            self._candidates = self._measure(guess)
        return self._candidates.distances_sq[:, self._candidates.rows[number]]

    def _guess(self, pick: int) -> Tensor:
        """Guess which vectors will be picked next: ``pick``, and those farthest so far."""
        wanted = 16
        if self._candidates is not None:
            tried = len(self._candidates.rows)
            used = len(self._picks) - self._candidates.num_picks_before
            wanted = tried * 2 if 2 * used >= tried else tried // 2 if 6 * used < tried else tried
        farthest = self._nearest_sq[0].topk(min(self._n, max(16, min(wanted, self._most)))).indices
        return torch.cat([farthest.new_tensor([pick]), farthest[farthest != pick]])

    def _measure(self, guess: Tensor | None) -> Candidates:
        """Measure all vectors from the guessed ones, or from all."""
        vectors, norms_sq = self._vectors, self._norms_sq
        rows: dict[int, int] = {}
        if guess is not None:
            vectors, norms_sq = vectors[:, guess], norms_sq[:, guess]
            rows = {number: row for row, number in enumerate(guess.tolist())}
        distances_sq = torch.baddbmm(
            self._norms_sq.unsqueeze(1), vectors, self._vectors.mT, alpha=-2
        )
        distances_sq += norms_sq.unsqueeze(2)
        return Candidates(distances_sq.clamp_(min=0), rows, len(self._picks))


@dataclass(frozen=True)
class Candidates:
    """Vectors from which all others have been measured.

    Attributes:
        distances_sq: (S, candidates, n).
        rows: where in that a vector's distances are; empty if all vectors are candidates.
        num_picks_before: how many picks there were when they were chosen.
    """

    distances_sq: Tensor
    rows: dict[int, int]
    num_picks_before: int
