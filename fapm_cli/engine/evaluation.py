"""Evaluation: how good a bank is on labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.engine.datasets import Category, read_truth
from fapm_cli.engine.detector import Detector
from fapm_cli.engine.judging import judge
from fapm_cli.engine.nominal import OnStage
from fapm_cli.finding import Unreadable
from fapm_cli.metrics import Curve, PixelCurves, balanced_accuracy, image_curve


@dataclass(frozen=True)
class Evaluation:
    """A category's scores and what they are worth.

    Attributes:
        category: what was evaluated.
        detector: of the bank that was.
        scores: (n,) image scores of the test pictures.
        curve: of those.
        pixel_auroc: None without masks.
        aupro: None without masks.
        build_seconds: None where the bank was given.
    """

    category: Category
    detector: Detector
    scores: NDArray[np.float64]
    curve: Curve
    pixel_auroc: float | None
    aupro: float | None
    build_seconds: float | None

    def record(self) -> dict[str, Any]:
        """The figures as plain values; rates from 0 to 1, None where they can't be had."""
        bank = self.detector.bank
        best = self.curve.best_f1()
        return {
            "category": self.category.name,
            "variant": bank.config.variant,
            "backbone": bank.config.backbone,
            "image_auroc": self.curve.area(),
            "pixel_auroc": self.pixel_auroc,
            "aupro": self.aupro,
            "image_ap": self.curve.average_precision(),
            "f1_max": None if best is None else best[0],
            "f1_threshold": None if best is None else best[1],
            **self._verdicts(),
            "num_train": len(bank.pictures),
            "num_test": len(self.scores),
            "num_defective": sum(one.defect is not None for one in self.category.test),
            "keys": sum(len(m.keys) for m in bank.memories),
            "bank_mb": sum(m.keys.nbytes for m in bank.memories) / 1e6,
            "build_seconds": self.build_seconds,
        }

    def _verdicts(self) -> dict[str, Any]:
        """What the bank's own threshold is worth; None where it is not for such a query."""
        names = ("balanced_accuracy", "false_alarm_rate", "false_alarms_at_most", "threshold")
        best = {"balanced_accuracy_best": self.curve.best_balanced_accuracy()}
        thresholds = self.detector.thresholds
        if thresholds is None:
            return dict.fromkeys(names) | best
        defective = np.array([one.defect is not None for one in self.category.test])
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


def evaluate(
    category: Category,
    detector: Detector,
    batch_size: int,
    on_stage: OnStage,
    build_seconds: float | None = None,
) -> Evaluation:
    """Score a category's test pictures and compare with their labels.

    Pixels are those of the input: maps as they are, masks resized to them.

    Raises:
        PictureError: a picture or mask can't be read.
    """
    preprocessing = detector.bank.config.preprocessing
    pixels = PixelCurves() if category.has_masks else None
    scores: list[float] = []
    judged = judge(detector, (one.path for one in category.test), batch_size)
    for done, (one, labelled) in enumerate(zip(judged, category.test, strict=True), start=1):
        if isinstance(one, Unreadable):
            raise one.error
        if pixels is not None:
            anomaly_map = one.found.anomaly_maps[0].cpu().numpy()
            pixels.add(anomaly_map, read_truth(labelled, preprocessing))
        scores.append(float(one.found.image_scores[0]))
        on_stage("score", done, len(category.test))
    values = np.array(scores)
    defective = np.array([one.defect is not None for one in category.test])
    return Evaluation(
        category,
        detector,
        values,
        image_curve(values, defective),
        pixels.auroc() if pixels is not None else None,
        pixels.aupro() if pixels is not None else None,
        build_seconds,
    )
