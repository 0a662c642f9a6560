"""Thresholds: from the scores of good pictures that a bank has not learnt to a verdict.

All from ranks: a good picture to come exceeds the k-th largest of N such scores with a chance of
k / (N + 1), however they are distributed (split conformal prediction), and the bound on that
chance is the binomial's (Clopper & Pearson, 1934). docs/accuracy.md has the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np

Method = Literal["pseudo-defects", "rate", "given", "labelled"]
Verdict = Literal["ok", "review", "anomalous"]

CONFIDENCE = 0.95
USUAL_RATE = 0.05
MOST_RATE = 0.1


@dataclass(frozen=True)
class Thresholds:
    """Where verdicts change, and what that costs in false alarms.

    Attributes:
        score: an image score above it is anomalous.
        pixel: a px of a map above it is; as many good maps exceed it anywhere as scores ``score``.
        review: an image score above it, up to ``score``, wants a second look; None for no band.
        review_rate: the share of good pictures that the band was to begin at; None for no band.
        method: ``pseudo-defects`` or ``labelled``: fewest errors, missed (pseudo-)defects and
            false alarms counting alike; ``rate``: a false-alarm rate; ``given``: a number.
        rate: the false-alarm rate aimed at, or that ``method`` came to.
        num_pictures: good pictures behind it, N; several shots of one part count as one.
        num_above: how many of those exceed ``score``; of several shots, the largest counts.
        scores: of those N, where a bank's own are not what they were set by; else None.
    """

    confidence: ClassVar[float] = CONFIDENCE

    score: float
    pixel: float
    review: float | None
    review_rate: float | None
    method: Method
    rate: float
    num_pictures: int
    num_above: int
    scores: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: one is out of its range.
        """
        levels = [self.score, self.pixel] + [self.review] * (self.review is not None)
        if not all(isinstance(v, float) and math.isfinite(v) for v in levels):
            raise ValueError(f"thresholds {levels}: wanted finite numbers")
        if self.review is not None and self.review > self.score:
            raise ValueError(f"review band starts at {self.review}, above {self.score}")
        if self.method not in get_args(Method):
            raise ValueError(f"thresholds by {self.method!r}")
        if (self.review is None) != (self.review_rate is None):
            raise ValueError(f"review band from {self.review} for a rate of {self.review_rate}")
        for rate in [self.rate] + [self.review_rate] * (self.review_rate is not None):
            if not (isinstance(rate, float) and 0 <= rate <= 1):
                raise ValueError(f"rate {rate} of good pictures")
        counts = (self.num_above, self.num_pictures)
        if any(type(n) is not int for n in counts) or not 0 <= counts[0] <= counts[1] < 2**31:
            raise ValueError(f"{counts[0]} of {counts[1]} good pictures above the threshold")
        if self.num_pictures < 1:
            raise ValueError("thresholds from no picture")
        if self.scores is not None and len(self.scores) != self.num_pictures:
            raise ValueError(f"{len(self.scores)} scores of {self.num_pictures} good pictures")

    @property
    def expected(self) -> float:
        """Share of good pictures to come that will be false alarms: (above + 1) / (N + 1)."""
        return (self.num_above + 1) / (self.num_pictures + 1)

    @property
    def at_most(self) -> float:
        """The largest such share that these pictures allow, with 95 % confidence."""
        return _upper_bound(self.num_above, self.num_pictures)

    def expected_among(self, num_good: int) -> int:
        """How many false alarms there are at most among so many good pictures, 95 % sure."""
        # Beta-binomial: what ranks say of the rate, and chance again in the pictures to come.
        a, b = self.num_above + 1, max(self.num_pictures - self.num_above, 1)
        total = 0.0
        for x in range(num_good):
            rest = num_good - x
            total += math.exp(_log_choose(num_good, x) + _log_beta(x + a, rest + b, a, b))
            if total >= CONFIDENCE:
                return x
        return num_good

    @property
    def falls_short(self) -> float | None:
        """The false-alarm rate that so few pictures can't promise, and should; None for none."""
        if self.method == "given":
            return None
        least, goal = (self.rate,) * 2 if self.method == "rate" else (MOST_RATE, USUAL_RATE)
        return goal if self.num_pictures < pictures_needed(least) else None

    def verdict(self, score: float) -> Verdict:
        """Judge an image score."""
        if score > self.score:
            return "anomalous"
        return "review" if self.review is not None and score > self.review else "ok"

    def at(self, score: float) -> Thresholds:
        """These, with another threshold and what is below it of the review band."""
        if self.review is None or self.review >= score:
            return replace(self, score=score, review=None, review_rate=None, method="given")
        return replace(self, score=score, method="given")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values, but for ``scores``: they grow with the pictures."""
        return {name: value for name, value in sorted(vars(self).items()) if name != "scores"}

    def summary(self) -> dict[str, Any]:
        """The fields, and the false alarms to expect, as plain values."""
        return {
            **self.to_json(),
            "false_alarms": {
                "expected": self.expected,
                "at_most": self.at_most,
                "confidence": self.confidence,
            },
        }

    def describe(self) -> str:
        """Say it in one line."""
        band = "" if self.review is None else f", review above {self.review:.4f}"
        return (
            f"anomalous above {self.score:.4f}{band}; false alarms {self.expected:.1%}, "
            f"at most {self.at_most:.1%} ({self.confidence:.0%} sure, from {self.num_pictures}; "
            f"{self.method})"
        )


UNSET = Thresholds(0.0, 0.0, None, None, "pseudo-defects", USUAL_RATE, 1, 0)


def pictures_needed(rate: float) -> int:
    """How many good pictures a false-alarm rate needs: N of them can promise 1 / (N + 1)."""
    return math.ceil(1 / max(rate, 1e-9) - 1e-9) - 1


def rate_thresholds(scores: Sequence[float], peaks: Sequence[float], rate: float) -> Thresholds:
    """Set thresholds that so many good pictures will exceed.

    Args:
        scores: of N good pictures that the bank has not learnt, or own keys left out.
        peaks: the maxima of their anomaly maps.
        rate: wanted; below 1 / (N + 1) it can't be had, and the largest score stands in.
    """
    score = _largest(scores, _num_above(rate, len(scores)))
    return _thresholds(scores, peaks, score, "rate", rate)


def fewest_errors(
    scores: Sequence[float],
    peaks: Sequence[float],
    bad_scores: Sequence[float],
    method: Method = "labelled",
    most_rate: float = 1.0,
) -> Thresholds:
    """Set the threshold where the rates of false alarms and of misses have the least sum.

    Args:
        scores: as for :func:`rate_thresholds`, and so on.
        peaks: likewise.
        bad_scores: of pictures that are, or stand for, defective ones.
        method: what to call it.
        most_rate: the largest false-alarm rate that may come of it.
    """
    falling, bad = np.sort(scores)[::-1], np.sort(bad_scores)
    above = np.arange(min(_num_above(most_rate, len(falling)) + 1, len(falling)))
    missed = np.searchsorted(bad, falling[above], side="right")
    # In whole numbers; of equals the first: fewest false alarms.
    best = int((above * max(len(bad), 1) + missed * len(falling)).argmin())
    score = float(falling[best])
    higher = [float(one.min()) for one in (falling[falling > score], bad[bad > score]) if len(one)]
    if higher:
        score = (score + min(higher)) / 2  # amid the gap, where there is one
    return _thresholds(scores, peaks, score, method)


def given_threshold(scores: Sequence[float], peaks: Sequence[float], score: float) -> Thresholds:
    """Take a threshold as it is given, and count what good pictures say of it."""
    return _thresholds(scores, peaks, score, "given")


def with_review(thresholds: Thresholds, scores: Sequence[float], rate: float) -> Thresholds:
    """Add a band for a second look, which so many good pictures reach or exceed."""
    start = _largest(scores, _num_above(rate, len(scores)))
    return replace(thresholds, review=min(start, thresholds.score), review_rate=rate)


def _thresholds(
    scores: Sequence[float],
    peaks: Sequence[float],
    score: float,
    method: Method,
    rate: float | None = None,
) -> Thresholds:
    """Count what good pictures say of a threshold; no rate is the one that it comes to."""
    above = sum(one > score for one in scores)
    rate = (above + 1) / (len(scores) + 1) if rate is None else rate
    return Thresholds(score, _largest(peaks, above), None, None, method, rate, len(scores), above)


def _num_above(rate: float, num_pictures: int) -> int:
    """How many of N exceed the score that a share of all to come exceeds."""
    return max(math.floor(rate * (num_pictures + 1) + 1e-9), 1) - 1


def _largest(values: Sequence[float], num_above: int) -> float:
    falling = sorted(values, reverse=True)
    return float(falling[min(num_above, len(falling) - 1)])


def _upper_bound(num_above: int, num_pictures: int) -> float:
    """Clopper and Pearson's: the rate at which so few would be as rare as 1 - CONFIDENCE."""
    counts = np.arange(num_above + 1)
    log_choose = np.array([_log_choose(num_pictures, int(i)) for i in counts])
    low, high = 0.0, 1.0
    for _ in range(50):
        p = (low + high) / 2
        logs = log_choose + counts * math.log(p) + (num_pictures - counts) * math.log1p(-p)
        low, high = (p, high) if float(np.exp(logs).sum()) > 1 - CONFIDENCE else (low, p)
    return high


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: int, b: int, base_a: int, base_b: int) -> float:
    """Log of B(a, b) / B(base_a, base_b)."""
    return sum(
        sign * (math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y))
        for sign, x, y in ((1, a, b), (-1, base_a, base_b))
    )
