"""Regions: the connected parts of an anomaly map that exceed a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Region:
    """A connected part of a map, in the map's px.

    Attributes:
        top: first row.
        left: first column.
        bottom: one past the last row.
        right: one past the last column.
        area_px: its px.
        peak: x and y of its largest value, the first in reading order.
        score: that value.
    """

    top: int
    left: int
    bottom: int
    right: int
    area_px: int
    peak: tuple[int, int]
    score: float


def find_regions(anomaly_map: NDArray[np.float32], threshold: float) -> list[Region]:
    """Find the 8-connected regions where a map exceeds a threshold.

    Args:
        anomaly_map: (H, W) float32, finite.
        threshold: a value equal to it belongs to no region.

    Returns:
        The regions, highest score first, then by their peak in reading order.
    """
    above = anomaly_map > threshold
    if not above.any():
        return []
    import cv2  # takes a quarter second, which calm pictures need not pay

    _, labels, stats, _ = cv2.connectedComponentsWithStats(above.view(np.uint8), connectivity=8)
    regions = []
    for label in range(1, len(stats)):  # 0 is what lies below the threshold
        left, top, width, height, area = stats[label].tolist()
        box = np.s_[top : top + height, left : left + width]
        values = np.where(labels[box] == label, anomaly_map[box], -np.inf)
        row, column = divmod(int(values.argmax()), width)
        peak, score = (left + column, top + row), float(values[row, column])
        regions.append(Region(top, left, top + height, left + width, area, peak, score))
    return sorted(regions, key=lambda region: (-region.score, region.peak[::-1]))
