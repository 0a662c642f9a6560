"""Evaluation: a category's scores and what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.detection.judge import Judge
from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets import Category, TestPicture
from fapm_cli.evaluation.metrics import Curve, balanced_accuracy
from fapm_cli.pictures.seen import Differences
from fapm_cli.plain_values import percent


@dataclass(frozen=True)
class Figures:
    """How well good and defective are told apart; None where a class, or every mask, is missing.

    Attributes:
        curve: of the pictures.
        pixel_auroc: of the inspected pixels of good pictures and those with a mask.
        aupro: of the same.
    """

    curve: Curve
    pixel_auroc: float | None
    aupro: float | None

    def record(self) -> dict[str, float | None]:
        """The figures that come apart too, as plain values."""
        return {
            "image_auroc": self.curve.area(),
            "pixel_auroc": self.pixel_auroc,
            "aupro": self.aupro,
        }


@dataclass(frozen=True)
class Evaluation:
    """A category's scores and what they are worth.

    Attributes:
        category: what was evaluated.
        detector: of the bank that was.
        test: the n test pictures that could be judged; what is said here is of them.
        scores: (n,) their image scores.
        figures: of all of them.
        apart: of the good ones and one kind of defect, by what these figures are called.
        num_masked: how many defective pictures count in the pixel figures.
        num_inverted: how many of their masks mark more than half.
        differences: in what the pictures differ from the bank's.
        failures: what can't be read, folders, pictures and masks, and is left out.
        build_seconds: None where the bank was given.
    """

    category: Category
    detector: Judge
    test: Sequence[TestPicture]
    scores: NDArray[np.float64]
    figures: Figures
    apart: Mapping[str, Figures]
    num_masked: int
    num_inverted: int
    differences: Differences
    failures: Sequence[PictureError]
    build_seconds: float | None

    @property
    def curve(self) -> Curve:
        """Of all pictures."""
        return self.figures.curve

    def record(self) -> dict[str, Any]:
        """The figures as plain values; rates from 0 to 1, None where they can't be had."""
        bank = self.detector.bank
        best = self.curve.best_f1()
        return {
            "category": self.category.name,
            "variant": bank.config.variant,
            "backbone": bank.config.backbone,
            **self.figures.record(),
            "image_ap": self.curve.average_precision(),
            "f1_max": None if best is None else best[0],
            "f1_threshold": None if best is None else best[1],
            **self._verdicts(),
            "num_train": len(bank.pictures),
            "num_test": len(self.scores),
            "num_defective": sum(one.defect is not None for one in self.test),
            "num_masked": self.num_masked,
            "num_failures": len(self.failures),
            "num_differing": self.differences.num_differing,
            "inspected_share": self.detector.inspected_share,
            "keys": sum(len(m.keys) for m in bank.memories),
            "bank_mb": sum(m.keys.nbytes for m in bank.memories) / 1e6,
            "build_seconds": self.build_seconds,
            **{
                f"{kind}_{name}": value
                for kind, figures in self.apart.items()
                for name, value in figures.record().items()
            },
        }

    @property
    def remarks(self) -> list[str]:
        """What the figures are of, where that is not all of every picture; and what is odd."""
        remarks = []
        num_test, share = len(self.category.test), self.detector.inspected_share
        if len(self.test) < num_test:
            remarks.append(f"figures are of {len(self.test)} of {num_test} test pictures")
        differ = self.differences.describe()
        if differ is not None:
            remarks.append(differ)
        if share < 1 and self.figures.pixel_auroc is not None:
            remarks.append(
                f"pixel figures are of the {percent(share)} of each picture that is inspected"
            )
        if self.num_inverted > self.num_masked / 2:
            remarks.append(
                f"{self.num_inverted} of {self.num_masked} masks mark more than half of "
                "their picture: are they inverted? White is where the defect is"
            )
        return remarks

    def score_rows(self) -> list[dict[str, Any]]:
        """Say each test picture's score, as plain values."""
        variant = self.detector.bank.config.variant
        return [
            {
                "category": self.category.name,
                "variant": variant,
                "path": str(one.path),
                "defect": one.defect or "good",
                "score": score,
            }
            for one, score in zip(self.test, self.scores.tolist(), strict=True)
        ]

    def plots(self, title: str) -> dict[str, bytes]:
        """Draw as PNG: ``roc`` (if both classes are there), ``scores``, ``worst`` pictures."""
        from fapm_cli.evaluation import plots

        defective = np.array([one.defect is not None for one in self.test])
        paths, thresholds = [one.path for one in self.test], self.detector.thresholds
        threshold = None if thresholds is None else thresholds.score
        bit_depth = self.detector.bank.config.preprocessing.bit_depth
        drawn = {
            "roc": plots.draw_roc(self.curve, title, threshold),
            "scores": plots.draw_histogram(self.scores, defective, title, threshold),
            "worst": plots.draw_gallery(paths, self.scores, defective, title, bit_depth),
        }
        return {kind: data for kind, data in drawn.items() if data is not None}

    def _verdicts(self) -> dict[str, Any]:
        """What the bank's own threshold is worth; None where it is not for such a query."""
        names = ("balanced_accuracy", "false_alarm_rate", "false_alarms_at_most", "threshold")
        best = {"balanced_accuracy_best": self.curve.best_balanced_accuracy()}
        thresholds = self.detector.thresholds
        if thresholds is None:
            return dict.fromkeys(names) | best
        defective = np.array([one.defect is not None for one in self.test])
        above = self.scores > thresholds.score
        num_good = int((~defective).sum())
        at_most = thresholds.expected_among(num_good)
        values = (
            balanced_accuracy(above, defective),
            float(above[~defective].mean()) if num_good else None,
            at_most / num_good if num_good else None,
            thresholds.score,
        )
        return dict(zip(names, values, strict=True)) | best
