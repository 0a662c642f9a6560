"""Metrics: how well scores tell defective from good, on pictures and on pixels.

Everything here comes from one curve: sort by score, go down, and count what lies above. Ties are
one step. Pictures and pixels differ only in number; per-region overlap (AUPRO) only in weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scores = NDArray[np.float64] | NDArray[np.float32]

# Up to so many pixels, scores are kept as they are; beyond, in steps of 1/4096 of their value.
EXACT_PIXELS = 32_000_000
_DROPPED_BITS = 11


@dataclass(frozen=True)
class Curve:
    """What lies at or above each distinct score, highest first.

    Attributes:
        thresholds: (T,) distinct scores, falling.
        positives: (T,) weight of positives at or above; the last is their total.
        negatives: (T,) weight of negatives at or above; the last is their total.
    """

    thresholds: Floats
    positives: Floats
    negatives: Floats

    @classmethod
    def of(cls, scores: Scores, positive: Floats, negative: Floats) -> Curve:
        """Draw the curve of (n,) scores with each one's weight as a positive and as a negative."""
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        last = np.flatnonzero(np.append(falling[1:] != falling[:-1], len(falling) > 0))
        return cls(
            falling[last].astype(np.float64),
            np.cumsum(positive[order], dtype=np.float64)[last],
            np.cumsum(negative[order], dtype=np.float64)[last],
        )

    @cached_property
    def defined(self) -> bool:
        """Whether both classes are there."""
        return len(self.thresholds) > 0 and self.positives[-1] > 0 and self.negatives[-1] > 0

    @cached_property
    def rates(self) -> tuple[Floats, Floats]:
        """False and true positive rates, both (T + 1,) and from 0 to 1."""
        false = np.concatenate([[0.0], self.negatives / self.negatives[-1]])
        return false, np.concatenate([[0.0], self.positives / self.positives[-1]])

    def area(self, up_to: float = 1.0) -> float | None:
        """Area under the curve of rates, as a share of what ``up_to`` (a rate) allows.

        None where one class is missing. With ``up_to`` 1 this is the AUROC: the chance that a
        positive scores above a negative, ties counting half. Where a step crosses the limit, it
        is cut there; what rises at the very limit (a vertical step) adds nothing.
        """
        if not self.defined:
            return None
        false, true = self.rates
        if up_to < 1:
            # The first point at or beyond the limit: np.interp would take the last of a step.
            end = int(np.searchsorted(false, up_to, side="left"))
            at_limit = np.interp(up_to, false[end - 1 : end + 1], true[end - 1 : end + 1])
            false, true = np.append(false[:end], up_to), np.append(true[:end], at_limit)
        return float(np.trapezoid(true, false) / up_to)

    def average_precision(self) -> float | None:
        """Precision averaged over the recall gained at each step; None if one class is missing."""
        if not self.defined:
            return None
        precision = self.positives / (self.positives + self.negatives)
        gained = np.diff(self.positives, prepend=0) / self.positives[-1]
        return float((precision * gained).sum())

    def best_balanced_accuracy(self) -> float | None:
        """The largest balanced accuracy that any threshold gives; None if one class is missing."""
        if not self.defined:
            return None
        false, true = self.rates
        return float((true + 1 - false).max() / 2)

    def best_f1(self) -> tuple[float, float] | None:
        """The largest F1, and the threshold (at or above is positive) that gives it."""
        if not self.defined:
            return None
        f1 = 2 * self.positives / (self.positives + self.negatives + self.positives[-1])
        best = int(f1.argmax())
        return float(f1[best]), float(self.thresholds[best])


def balanced_accuracy(above: NDArray[np.bool_], defective: NDArray[np.bool_]) -> float | None:
    """Mean of the shares of defective pictures above a threshold and of good ones not above.

    None where one class is missing.
    """
    if defective.all() or not defective.any():
        return None
    return float((above[defective].mean() + (~above[~defective]).mean()) / 2)


def image_curve(scores: Floats, defective: NDArray[np.bool_]) -> Curve:
    """Draw the curve of pictures: (n,) image scores and which of them are defective."""
    return Curve.of(scores, defective.astype(np.float64), (~defective).astype(np.float64))


class PixelCurves:
    """Collects the pixels of many pictures for pixel AUROC and AUPRO, in bounded memory."""

    def __init__(self, exact_pixels: int = EXACT_PIXELS):
        """Start with no pixel; keep scores exactly up to ``exact_pixels`` distinct ones."""
        self._exact_pixels = exact_pixels
        self._parts: list[tuple[NDArray[np.float32], Floats, Floats, Floats]] = []
        self._held = 0

    def add(self, scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """Add one picture.

        Args:
            scores: (H, W) anomaly map, 0 or more; NaN where not inspected, which is left out.
            mask: (H, W) True where defective; its 8-connected regions count alike in AUPRO.
        """
        seen = ~np.isnan(scores)
        count, regions = cv2.connectedComponents((mask & seen).astype(np.uint8), connectivity=8)
        sizes = np.bincount(regions.ravel(), minlength=count).astype(np.float64)
        share = np.where(np.arange(count) > 0, 1 / np.maximum(sizes, 1), 0.0)
        positive = mask[seen].astype(np.float64)
        part = (scores[seen].astype(np.float32), positive, 1 - positive, share[regions[seen]])
        self._parts.append(_merge([part], self._exact_pixels))
        self._held += len(self._parts[-1][0])
        if self._held > self._exact_pixels:
            self._parts = [_merge(self._parts, self._exact_pixels)]
            self._held = len(self._parts[0][0])

    def auroc(self) -> float | None:
        """Pixel AUROC; None where no pixel is defective or none is good."""
        scores, positive, negative, _ = self._all()
        return Curve.of(scores, positive, negative).area()

    def aupro(self, up_to: float = 0.3) -> float | None:
        """Area under the mean overlap of regions, up to a false positive rate, from 0 to 1.

        As in MVTec AD's evaluation (Bergmann et al., CVPR 2019, limit 0.3): a point of the curve
        for each distinct score, from (0, 0) on, joined by straight lines; the false positive
        rate is that of all good pixels together; the area is a share of the limit.
        """
        scores, _, negative, share = self._all()
        return Curve.of(scores, share, negative).area(up_to)

    def _all(self) -> tuple[NDArray[np.float32], Floats, Floats, Floats]:
        empty = (np.empty(0, np.float32), np.empty(0), np.empty(0), np.empty(0))
        self._parts = [_merge([empty, *self._parts], self._exact_pixels)]
        return self._parts[0]


def _merge(
    parts: list[tuple[NDArray[np.float32], Floats, Floats, Floats]], exact_pixels: int
) -> tuple[NDArray[np.float32], Floats, Floats, Floats]:
    """Join parts; equal scores become one, and past ``exact_pixels`` close scores too."""
    scores = np.concatenate([part[0] for part in parts])
    weights = [np.concatenate([part[i] for part in parts]) for i in (1, 2, 3)]
    if len(scores) > exact_pixels:
        # A positive float's bits sort as its value does: dropping the last ones is rounding.
        bits = scores.view(np.int32) >> _DROPPED_BITS << _DROPPED_BITS
        scores, group = np.unique(bits.view(np.float32), return_inverse=True)
        weights = [np.bincount(group, w) for w in weights]
    return scores, weights[0], weights[1], weights[2]
