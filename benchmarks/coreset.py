"""Time the coreset of a Wide-ResNet-50 bank of 209 pictures, every patch widened.

Usage: python benchmarks/coreset.py

49 patches of 3344 vectors of 512 values, and of 836 of 1024: clusters and noise, drawn with a
fixed seed. Beside it, a loop that measures from each pick to all vectors, on every seventh patch.
Its picks are the same up to the first tie, if there is one: two vectors equally far in float32. How
near the two are is measured in float64.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from fapm_cli.memory.coreset import adaptive_coreset, num_keys

SHAPES = ((3344, 512), (836, 1024))
RATIO = 0.1
EVERY = 7


def patch_memories(num_vectors: int, channels: int) -> Tensor:
    """Draw (49, n, C) vectors around 40 centres a patch."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(49, 40, channels, generator=generator)
    which = torch.randint(40, (49, num_vectors), generator=generator)
    noise = torch.randn(49, num_vectors, channels, generator=generator)
    return centers[torch.arange(49).unsqueeze(1), which] + 0.5 * noise


def loop_coreset(vectors: Tensor, num_picks: int) -> list[int]:
    """Pick by the definition: the vector farthest from all picks before it."""
    picks, nearest_sq = [0], (vectors - vectors[0]).square().sum(dim=1)
    nearest_sq[0] = -1
    while len(picks) < num_picks:
        picks.append(int(nearest_sq.argmax()))
        distances_sq = (vectors - vectors[picks[-1]]).square().sum(dim=1)
        nearest_sq = torch.minimum(nearest_sq, distances_sq)
        nearest_sq[picks] = -1
    return picks


def tie(vectors: Tensor, first: list[int], second: list[int]) -> float:
    """Say by which share two candidates' distances differ where two lists of picks part."""
    at = next(
        (i for i, pair in enumerate(zip(first, second, strict=True)) if len(set(pair)) > 1), 0
    )
    if at == 0:
        return 0.0
    both = vectors[[first[at], second[at]]].double()
    nearest = torch.cdist(both, vectors[first[:at]].double()).amin(dim=1)
    return float((nearest[0] - nearest[1]).abs() / nearest[0])


def main() -> None:
    """Time both, and compare."""
    memories = [patch_memories(*shape) for shape in SHAPES]
    ours, apart = [], []
    for _ in range(3):
        start = time.perf_counter()
        coresets = [adaptive_coreset(m, RATIO, 0.0) for m in memories]
        ours.append(time.perf_counter() - start)
    start = time.perf_counter()
    for memory, found in zip(memories, coresets, strict=True):
        k = 2 * num_keys(memory.shape[1], RATIO)
        for patch in range(0, 49, EVERY):
            assert found[patch].widened
            picks = loop_coreset(memory[patch], k)
            apart.append(tie(memory[patch], picks, found[patch].indices.tolist()))
    loop = (time.perf_counter() - start) * EVERY
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}: coreset of all patches "
        f"{statistics.median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f}); step by step "
        f"{loop:.0f} s, from every {EVERY}th patch; picks equal in {apart.count(0.0)} of "
        f"{len(apart)} patches, elsewhere up to a tie within {max(apart):.0e}"
    )


if __name__ == "__main__":
    main()
