"""Ranks of a stream: the place of each value among all those of before."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np

_RECENT = 1024  # how many wait before they are sorted in


class Ranks:
    """Online conformal p-values (Vovk, Nouretdinov and Gammerman, ICML 2003).

    The p-value of a value is its place among those of before, from the top: the share of all n + 1
    that are larger, and of those that are equal, itself among them, a share drawn at random. Where
    all are exchangeable, p-values are uniform and independent, exactly, for any distribution and
    any number of values. (P-values by one fixed set are not: that it is a chance sample is in each
    of them, and many of them tell so.)
    """

    def __init__(self, reference: Sequence[float] = (), seed: str = ""):
        """Begin with values of before.

        Args:
            reference: any number of them.
            seed: of what is drawn; equal seeds and values give equal p-values.
        """
        self._sorted = np.sort(np.asarray(reference, np.float64))
        self._recent: list[float] = []
        self._chance = random.Random(seed)

    def place(self, value: float) -> float:
        """The p-value of the next value, in [0, 1]: small where it is large."""
        before, recent = self._sorted, self._recent
        smaller = int(before.searchsorted(value)) + bisect_left(recent, value)
        not_larger = int(before.searchsorted(value, "right")) + bisect_right(recent, value)
        total = len(before) + len(recent)
        equal = not_larger - smaller + 1
        p = (total - not_larger + equal * self._chance.random()) / (total + 1)
        insort(recent, value)
        if len(recent) == _RECENT:
            self._sorted = np.sort(np.concatenate([before, recent]))
            recent.clear()
        return p
