"""Evaluating: labelled pictures judged, and compared with their labels and masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fapm_cli.compute.cluster import Cluster
from fapm_cli.detection.judge import Judge
from fapm_cli.detection.spread import spread
from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets import Category, TestPicture, read_truth
from fapm_cli.evaluation.evaluation import Evaluation, Figures
from fapm_cli.evaluation.metrics import PixelCurves, image_curve
from fapm_cli.evaluation.scored import Scored, scored
from fapm_cli.finding.folders import Unreadable
from fapm_cli.learning.nominal_response import OnStage
from fapm_cli.pictures.seen import Differences

_INVERTED = 0.5  # a mask that marks more than this is odd; where most do, they may be inverted


class _Truth:
    """What the maps of judged pictures are compared with, and what came of it.

    Attributes:
        pixels: of all pictures, and of each kind of defect that is taken apart.
        num_masked: as in :class:`Evaluation`.
        num_inverted: likewise.
    """

    def __init__(self, category: Category, detector: Judge):
        """Start with no pixel."""
        self.pixels = {kind: PixelCurves() for kind in ("", *category.apart)}
        self.num_masked = self.num_inverted = 0
        self._category, self._preprocessing = category, detector.bank.config.preprocessing
        self._has_masks = len(category.unmarked) < len(category.defective)

    def add(self, labelled: TestPicture, judged: Scored) -> None:
        """Compare a picture's map with its masks; a defective one without a mask counts nowhere.

        Raises:
            PictureError: a mask can't be read or is not its picture's.
        """
        is_bad = labelled.defect is not None
        if not self._has_masks or (is_bad and not labelled.masks):
            return
        mask = read_truth(labelled, judged.size_px, self._preprocessing, judged.pose)
        self.num_masked += is_bad
        self.num_inverted += mask.mean() > _INVERTED
        for kind in _kinds(labelled, self._category):
            self.pixels[kind].add(judged.anomaly_map, mask)


def _kinds(labelled: TestPicture, category: Category) -> list[str]:
    """The figures that a picture counts in."""
    apart = category.apart.items()
    return ["", *(kind for kind, defect in apart if labelled.defect in (None, defect))]


def evaluate(
    category: Category,
    detector: Judge,
    batch_size: int,
    on_stage: OnStage = lambda stage, done, total: None,
    build_seconds: float | None = None,
    cluster: Cluster | None = None,
) -> Evaluation:
    """Score a category's test pictures and compare with their labels.

    Pixels are those of the input that are inspected: maps as they are, masks resized to them.

    Raises:
        PictureError: no picture can be read.
        ClusterError: there is a cluster that judges, and it lacks what that takes.
    """
    truth = _Truth(category, detector)
    test: list[TestPicture] = []
    scores: list[float] = []
    failures = [*category.failures]
    differences = Differences()
    paths = (one.path for one in category.test)
    judged = spread(cluster, scored, detector, paths, batch_size)
    for done, (one, labelled) in enumerate(zip(judged, category.test, strict=True), start=1):
        on_stage("score", done, len(category.test))
        if isinstance(one, Unreadable):
            failures.append(one.error)
            continue
        differences.count(one.differences)
        test.append(labelled)
        scores.append(one.score)
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
