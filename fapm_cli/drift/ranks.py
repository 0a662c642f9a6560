"""Ranks of a stream: the place of each value among all those of before."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import Literal

import numpy as np

_RECENT = 1024  # how many wait before they are sorted in


class Ranks:
    """Online conformal p-values (Vovk, Nouretdinov and Gammerman, ICML 2003).

    The p-value of a value is its place among those of before, from the top: the share of all n + 1
    that are larger, and of those that are equal, itself among them, a share drawn at random. Where
    all are exchangeable, p-values are uniform and independent, exactly, for any distribution and
    any number of values. (P-values by one fixed set are not: that it is a chance sample is in each
    of them, and many of them tell so. So none of before may be forgotten.) Of equal values their
    number is all that tells: what is kept grows with how many different ones there are, 16 bytes
    each, and not with time where values are of a grid.
    """

    def __init__(self, reference: Sequence[float] = (), seed: str = ""):
        """Begin with values of before.

        Args:
            reference: any number of them.
            seed: of what is drawn; equal seeds and values give equal p-values.
        """
        self._values, counts = np.unique(np.asarray(reference, np.float64), return_counts=True)
        self._not_larger = np.cumsum(counts)  # of all, at each value
        self._recent: list[float] = []
        self._chance = random.Random(seed)

    def place(self, value: float) -> float:
        """The p-value of the next value, in [0, 1]: small where it is large."""
        recent = self._recent
        smaller = self._before(value, "left") + bisect_left(recent, value)
        not_larger = self._before(value, "right") + bisect_right(recent, value)
        total = int(self._not_larger[-1:].sum()) + len(recent)
        equal = not_larger - smaller + 1
        p = (total - not_larger + equal * self._chance.random()) / (total + 1)
        insort(recent, value)
        if len(recent) == _RECENT:
            self._sort_in()
        return p

    def _before(self, value: float, side: Literal["left", "right"]) -> int:
        """How many that are sorted in are smaller, or with ``right`` not larger."""
        number = int(self._values.searchsorted(value, side))
        return int(self._not_larger[number - 1]) if number else 0

    def _sort_in(self) -> None:
        counts = np.diff(self._not_larger, prepend=0)
        both = np.concatenate([self._values, self._recent])
        weights = np.concatenate([counts, np.ones(len(self._recent), np.int64)])
        self._values, places = np.unique(both, return_inverse=True)
        self._not_larger = np.cumsum(np.bincount(places, weights).astype(np.int64))
        self._recent.clear()
