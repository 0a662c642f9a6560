"""What an evaluation asks of a judged picture: little, since it may come from a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fapm_cli.detection.judge import Judge
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.fitting.pose import Pose
from fapm_cli.pictures.reading import Item


@dataclass(frozen=True)
class Scored:
    """A judged picture.

    Attributes:
        score: its image score.
        anomaly_map: (H, W) float32 over the input's px; NaN where it was not judged.
        size_px: the picture's own height and width.
        pose: how its part lies in it.
        differences: in what it differs from the bank's; None where that is not known.
    """

    score: float
    anomaly_map: NDArray[np.float32]
    size_px: tuple[int, int]
    pose: Pose
    differences: list[str] | None


def scored(
    detector: Judge, items: Iterable[Item | None], batch_size: int
) -> Iterator[Scored | Unreadable]:
    """Judge pictures, as :func:`fapm_cli.detection.stream.judge` does."""
    for one in judge(detector, items, batch_size):
        yield one if isinstance(one, Unreadable) else _scored(detector, one)


def _scored(detector: Judge, one: Judged) -> Scored:
    anomaly_map = detector.inspected_map(one.found)
    if one.prepared.judged is not None:
        anomaly_map[~one.prepared.judged] = np.nan
    return Scored(
        float(one.found.image_scores[0]),
        anomaly_map,
        one.prepared.picture.size_px,
        one.prepared.pose,
        detector.bank.differences(one.prepared.like, one.prepared.differs),
    )
