"""Covering: keys for vectors that are gone, of which other keys are all that is left (§2.2).

Beyond the paper. A bank without pictures that grows, or joins others, picks its keys among keys.
Each *candidate* stands for vectors in a ball about it, whose radius is its *slack*: 0 for a vector
that is there, the covering radius r for a key of a build. By the triangle inequality, a key at
distance d from a candidate that gives way to it covers that ball by its own slack of d + s. Were
each merge to add to the slack of the one before, it would grow with their number. So it goes in
levels, as in the doubling algorithm of Charikar, Chekuri, Feder and Motwani (1997):

1. Candidates are gone through by falling slack. Each becomes a *standing* key, unless one that
   stands at a distance d takes its ball over, which it does while d + s ≤ T. T is the largest slack
   of all. Where more than K would stand, T is doubled, and it begins again; or, if that is more,
   it is twice the least distance of the K + 1.
2. Keys that are left of K are the candidates farthest from those that there are, as in a build.
   They cover places more closely, and stand for nothing but themselves: their slack is 0. Where all
   slack was 0, it is a build.

**The slack is at most 4·max(r, 2·opt), however many builds came one after another, or at once**,
where r is the largest covering radius of a build among them, and opt the least radius of K balls
about any centres that hold all vectors of all of them. (A build of K keys has r ≤ 2·opt: its keys
and the vector farthest from them are K + 1 points that lie at least r apart, two of which share one
of those balls. So that is 8·opt.)

Proof. By induction, T is within the bound, and where T ≥ 2·r a bank's *heavy* keys, those with a
slack above T / 2, lie more than T / 2 apart. Let it join builds of a radius up to r. If T < 2·r,
even T doubled is within 4·r. Else theirs are light. Heavy ones come first, and none takes another
over, since d + s > T / 2 + T / 2. A light candidate stands only if d > T - s ≥ T / 2. So all that
stand lie more than T / 2 apart, and were they K + 1, two of them would share a ball of radius opt:
T / 2 < 2·opt. Doubled, T < 8·opt; and twice the least distance of K + 1 is 4·opt at most. Then
every candidate is light, what stands lies more than T / 2 apart, and so on with each doubling. ∎

Several banks that grew have heavy keys that may lie close together: then r is the largest of their
slacks but one, in place of a build's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fapm_cli.memory.coreset import MEMORY_BYTES, Coreset, GreedyKCenter, spread_score

_TOGETHER = 64  # candidates from which all others are measured at a time


@dataclass(frozen=True)
class Cover:
    """Keys picked among candidates.

    Attributes:
        coreset: the keys; its radius is that of all balls, each about the key nearest to it.
        slack: (K,) float32, the radius of what each key stands for: together they hold all balls.
    """

    coreset: Coreset
    slack: Tensor


def cover(
    candidates: Tensor,
    slack: Tensor,
    k: int,
    spread_threshold: float | None,
    memory_bytes: int = MEMORY_BYTES,
) -> Cover:
    """Pick the keys of one patch memory among candidates.

    Eq. 1 is asked of the candidates themselves, which hold the outermost vectors there were: were
    it asked of their balls, each growth would double patches for its own slack.

    Args:
        candidates: (n, C) float32.
        slack: (n,) float32, at least 0.
        k: keys wanted, K, unless the spread is wide: then twice as many.
        spread_threshold: D_th; None turns widening off.
        memory_bytes: most bytes that distances between candidates may take at a time.
    """
    if len(candidates) <= k:
        everything = Coreset(torch.arange(len(slack)), float(slack.amax()) ** 2, widened=False)
        return Cover(everything, slack)
    search = GreedyKCenter(candidates.unsqueeze(0), memory_bytes)
    builds = not slack.any()  # nothing is gone
    standing, stands_for = (slack.new_empty(0).long(), slack[:0])
    if not builds:
        standing, stands_for = _standing(candidates, slack, k)
    search.take(standing)
    (picks,), (radius_sq,), widened = search.extend(k), search.radius_sq(), False
    if spread_threshold is not None and float(spread_score(radius_sq)) > spread_threshold:
        (picks,), widened = search.extend(2 * k), True
    bound = float((search.nearest_sq()[0].sqrt() + slack).amax())
    others = slack.new_full((len(picks) - len(standing),), bound if builds else 0)
    coreset = Coreset(picks.cpu(), bound**2, widened)
    return Cover(coreset, torch.cat([stands_for, others]))


def _standing(candidates: Tensor, slack: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Which candidates stand, in order, and the slack of each."""
    order = slack.argsort(descending=True, stable=True)
    shifted = candidates[order] - candidates.mean(dim=0)  # products then cancel less
    norms_sq, slack = shifted.square().sum(dim=1), slack[order]
    level = float(slack[0])
    while True:
        found = _stand(shifted, norms_sq, slack, level, most)
        if isinstance(found, tuple):
            numbers, stands_for = found
            return order[numbers], stands_for
        level = 2 * max(level, found)


def _stand(
    vectors: Tensor, norms_sq: Tensor, slack: Tensor, level: float, most: int
) -> tuple[Tensor, Tensor] | float:
    """Which of candidates by falling slack stand at a level T, and for how much; if they are too
    many, the least distance of two of them.
    """
    left = torch.ones(len(slack), dtype=torch.bool, device=slack.device)
    numbers: list[int] = []
    stands_for: list[Tensor] = []
    least = torch.inf
    while left.any():
        some = left.nonzero().flatten()[:_TOGETHER]
        distances_sq = torch.addmm(norms_sq.unsqueeze(0), vectors[some], vectors.T, alpha=-2)
        distances_sq += norms_sq[some].unsqueeze(1)
        for number, distances in zip(
            some.tolist(), distances_sq.clamp_(min=0).sqrt_(), strict=True
        ):
            if not left[number]:
                continue
            distances[number] = 0
            if numbers:
                least = min(least, float(distances[numbers].amin()))
            if len(numbers) == most:
                return least
            reached = distances + slack
            taken = left & (reached <= level)
            taken[number] = True
            numbers.append(number)
            stands_for.append(reached[taken].amax())
            left &= ~taken
    return torch.tensor(numbers, device=slack.device), torch.stack(stands_for)
