"""The course of a measure: bets against chance, whose capital is evidence that something changed.

A conformal test martingale (Vovk, Nouretdinov and Gammerman, ICML 2003) that tolerates defects.

Capital. Whoever bets on the n-th p-value p with a slope k in [-1, 1] has his capital multiplied by

    f_k(p) = (1 + k (1 - 2p)) / (1 + t |k|),        t = 0.1, the tolerance:

k > 0 wins where values are larger than before (p small), k < 0 where they are smaller. Before each
picture a share of a reserve, which is 1 at first and R(n) = 1 / (1 + ln(1 + n)) after n pictures,
is laid out in equal parts on some slopes, and stays there. The evidence S(n) is the capital of all
slopes and the reserve: S(0) = 1. So a change is met with a share of about 1 / (n ln² n) of the
capital, however late it comes, and no time of calm uses the capital up.

Lemma. If the mean of p, whatever came before, lies within t / 2 of 1/2, then S is a nonnegative
supermartingale, and the chance that it ever reaches 1 / a is at most a (Ville, 1939).
Proof. The mean of 1 + k (1 - 2p) is at most 1 + |k| t, so that of f_k is at most 1: no bet gains on
the average, and laying out moves capital without changing it.

Theorem. Let the good parts' values, reference and stream, be exchangeable. Let each picture of the
stream show a defect with a chance of at most e, with any values and at any times that don't depend
on those of the good parts; and let of all that are compared, n + 1, never more than a share e' be
defects. If e + e' <= t, the chance that S ever reaches 1 / a is at most a.
Proof. Let q be a good part's p-value among good parts alone: these are uniform and independent,
whatever the defects are. Put b defects among the n + 1, a share s = b / (n + 1) <= e', and it is p,
somewhere from (1 - s) q to (1 - s) q + s. So 1 + k (1 - 2p) is at most 1 + k (1 - 2 (1 - s) q) for
k > 0, and 1 + k (1 - 2 (1 - s) q - 2s) for k < 0: functions of q and s alone, with means of
1 + |k| s. For a defect it is at most 1 + |k|. In the mean over both that is at most
(1 - e) (1 + |k| e') + e (1 + |k|) <= 1 + |k| (e + e') <= 1 + |k| t. With these bounds in place of
its numerators, capital is a supermartingale as in the lemma, and never less than S.

So 5 % of defects of any kind may be among the pictures, and left-out scores may differ a little
from those of fresh pictures. Of slopes of one sign alone, the lemma asks for one side alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from fapm_cli.drift.ranks import Ranks

TOLERANCE = 0.1
_DOWN, _UP = (-0.75, -0.5, -0.25), (0.25, 0.5, 0.75)
_MOST = 1e300


def reserve(num_pictures: int) -> float:
    """What is not laid out yet after so many pictures, R(n)."""
    return 1 / (1 + math.log1p(num_pictures))


class Course:
    """The evidence that a measure changed, picture by picture.

    Attributes:
        num_pictures: so far, those without a value, too.
        evidence: S by now.
        most: the greatest S so far.
    """

    def __init__(self, reference: Sequence[float] = (), seed: str = "", *, up: bool = True):
        """Begin.

        Args:
            reference: the measure's values of good parts of before.
            seed: of what ranks draw.
            up: whether to bet on larger values, too, not on smaller ones alone.
        """
        self.num_pictures, self.evidence, self.most = 0, 1.0, 1.0
        self._slopes = _DOWN + _UP * up
        self._ranks, self._reserve = Ranks(reference, seed), 1.0
        self._num_bets = 0
        self._capitals = [0.0] * len(self._slopes)
        self._gains = [0.0] * len(self._slopes)  # in logarithms, since each slope's last low
        self._starts = [0] * len(self._slopes)

    def add(self, value: float | None) -> float:
        """Take the next picture's value, None where it has none, and give the evidence."""
        self.num_pictures += 1
        if value is not None:
            self._bet(1 - 2 * self._ranks.place(value))
            self.evidence = min(self._reserve + sum(self._capitals), _MOST)
            self.most = max(self.most, self.evidence)
        return self.evidence

    def _bet(self, up: float) -> None:
        self._num_bets += 1
        left = reserve(self._num_bets)
        each = (self._reserve - left) / len(self._slopes)
        self._reserve = left
        for i, slope in enumerate(self._slopes):
            factor = (1 + slope * up) / (1 + TOLERANCE * abs(slope))
            self._capitals[i] = min((self._capitals[i] + each) * factor, _MOST)
            self._gains[i] += math.log(factor)
            if self._gains[i] <= 0:
                self._gains[i], self._starts[i] = 0.0, self.num_pictures

    @property
    def told(self) -> bool:
        """Whether any picture had a value."""
        return self._num_bets > 0

    @property
    def rose(self) -> bool:
        """Whether values are larger than before, where there is evidence of a change."""
        return self._slopes[self._best] > 0

    @property
    def since(self) -> int:
        """Number of the picture, from 1, with which a change that there is evidence of probably
        began: from there on the best slope has gained.
        """
        return self._starts[self._best] + 1

    @property
    def _best(self) -> int:
        return max(range(len(self._slopes)), key=lambda i: self._capitals[i])
