"""The p-value of a score: the chance that a good part has to reach it.

From ranks alone, as thresholds are: with N scores of good parts that the bank has not learnt, a
good part to come is as likely to take any of the N + 1 places among them (split conformal
prediction; Vovk, Gammerman and Shafer, 2005). Scores of different banks can be compared by it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fapm_cli.scores.thresholds import Thresholds


class PValues:
    """P-values of scores, by N good parts' scores.

    The p-value of ranks is r(s) = (number of scores ≥ s, + 1) / (N + 1), a step at each of the N.
    What is said instead, p(s), is never less, so that of good parts at most a share a has p ≤ a,
    whatever a and their distribution are:

    * at each of the N scores p is r; between two neighbours it is linear, where r is already that
      of the higher one;
    * above the threshold it is at most the share of false alarms that the threshold lets expect,
      (above + 1) / (N + 1), and else it is more: ``p <= thresholds.expected`` is the verdict (but
      where all N are above, and nothing is more than 1). r is as little there, too: which of the
      N are ≥ s, are above the threshold;
    * above all N scores and the threshold it is 1 / (N + 1): so few parts tell no less.
    """

    def __init__(self, scores: Sequence[float], thresholds: Thresholds | None = None):
        """Rank good parts.

        Args:
            scores: of N ≥ 1 good parts, out of sample.
            thresholds: that were set by them; others, and None, are left aside.
        """
        values, counts = np.unique(np.asarray(scores, np.float64), return_counts=True)
        self._values = values
        at_least = counts[::-1].cumsum()[::-1]  # of the N, as high or higher
        self._at_values = (at_least + 1) / (len(scores) + 1)
        self._least = 1 / (len(scores) + 1)
        ours = thresholds is not None and thresholds.num_pictures == len(scores)
        if ours and thresholds is not None:
            ours = thresholds.num_above == sum(one > thresholds.score for one in scores)
        self._thresholds = thresholds if ours else None

    def __call__(self, score: float) -> float:
        """The p-value of a score: in [1 / (N + 1), 1], and the higher the score, the lower."""
        p = float(np.interp(score, self._values, self._at_values))
        beyond = score > self._values[-1]
        if self._thresholds is None:
            return self._least if beyond else p
        promised = self._thresholds.expected
        if score > self._thresholds.score:
            return self._least if beyond else min(p, promised)
        return min(max(p, math.nextafter(promised, 2)), 1.0)
