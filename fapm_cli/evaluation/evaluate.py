"""Evaluation: how good a bank is on labelled pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.detection.detector import Detector
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets import Category, TestPicture, read_truth
from fapm_cli.evaluation.metrics import Curve, PixelCurves, balanced_accuracy, image_curve
from fapm_cli.finding.search import Unreadable
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.pictures.seen import Differences

_INVERTED = 0.5  # a mask that marks more than this is odd; where most do, they may be inverted


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
    detector: Detector
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

    @property
    def masks_look_inverted(self) -> bool:
        """Whether most masks mark more of their picture than they leave."""
        return self.num_inverted > self.num_masked / 2

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


class _Truth:
    """What the maps of judged pictures are compared with, and what came of it.

    Attributes:
        pixels: of all pictures, and of each kind of defect that is taken apart.
        num_masked: as in :class:`Evaluation`.
        num_inverted: likewise.
    """

    def __init__(self, category: Category, detector: Detector):
        """Start with no pixel."""
        self.pixels = {kind: PixelCurves() for kind in ("", *category.apart)}
        self.num_masked = self.num_inverted = 0
        self._category, self._detector = category, detector
        self._has_masks = len(category.unmarked) < len(category.defective)

    def add(self, labelled: TestPicture, judged: Judged) -> None:
        """Compare a picture's map with its masks; a defective one without a mask counts nowhere.

        Raises:
            PictureError: a mask can't be read or is not its picture's.
        """
        is_bad = labelled.defect is not None
        if not self._has_masks or (is_bad and not labelled.masks):
            return
        preprocessing = self._detector.bank.config.preprocessing
        mask = read_truth(labelled, judged.prepared.picture.size_px, preprocessing)
        self.num_masked += is_bad
        self.num_inverted += mask.mean() > _INVERTED
        anomaly_map = self._detector.inspected_map(judged.found)
        for kind in _kinds(labelled, self._category):
            self.pixels[kind].add(anomaly_map, mask)


def _kinds(labelled: TestPicture, category: Category) -> list[str]:
    """The figures that a picture counts in."""
    apart = category.apart.items()
    return ["", *(kind for kind, defect in apart if labelled.defect in (None, defect))]


def evaluate(
    category: Category,
    detector: Detector,
    batch_size: int,
    on_stage: OnStage = lambda stage, done, total: None,
    build_seconds: float | None = None,
) -> Evaluation:
    """Score a category's test pictures and compare with their labels.

    Pixels are those of the input that are inspected: maps as they are, masks resized to them.

    Raises:
        PictureError: no picture can be read.
    """
    truth = _Truth(category, detector)
    test: list[TestPicture] = []
    scores: list[float] = []
    failures = [*category.failures]
    differences = Differences()
    judged = judge(detector, (one.path for one in category.test), batch_size)
    for done, (one, labelled) in enumerate(zip(judged, category.test, strict=True), start=1):
        on_stage("score", done, len(category.test))
        if isinstance(one, Unreadable):
            failures.append(one.error)
            continue
        differences.count(detector.bank.differences(one.prepared.like))
        test.append(labelled)
        scores.append(float(one.found.image_scores[0]))
        try:
            truth.add(labelled, one)
        except PictureError as error:
            failures.append(error)
    if not test:
        raise failures[0]
    values = np.array(scores)
    figures = {
        kind: _figures([kind in _kinds(one, category) for one in test], test, values, pixels)
        for kind, pixels in truth.pixels.items()
    }
    return Evaluation(
        category,
        detector,
        test,
        values,
        figures.pop(""),
        figures,
        truth.num_masked,
        truth.num_inverted,
        differences,
        failures,
        build_seconds,
    )


def _figures(
    counted: Iterable[bool],
    test: Sequence[TestPicture],
    scores: NDArray[np.float64],
    pixels: PixelCurves,
) -> Figures:
    """Figures of the pictures that count, and of their pixels."""
    chosen = np.fromiter(counted, bool)
    defective = np.array([one.defect is not None for one in test])
    curve = image_curve(scores[chosen], defective[chosen])
    return Figures(curve, pixels.auroc(), pixels.aupro())
