"""Locating: what was found over the input, said in a picture's own pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import Array, host
from fapm_cli.bank.bank import Bank
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.strips import strips_of
from fapm_cli.pictures.fitting.pose import UPRIGHT, Pose
from fapm_cli.scores.extents import which_extent
from fapm_cli.scores.geometry import to_picture_place, to_picture_span
from fapm_cli.scores.regions import Region, find_regions
from fapm_cli.scores.thresholds import Thresholds

_MOST = 0.5  # a defect is a part of the picture; what differs in more of it is another picture


class Locator:
    """Takes what a bank finds to the pictures' own pixels.

    Attributes:
        pixel_threshold: value of the anomaly map above which a px belongs to a region.
    """

    def __init__(
        self,
        bank: Bank,
        roi: NDArray[np.bool_] | None,
        pixel_threshold: float,
        thresholds: Thresholds | None,
    ):
        """Know where things lie.

        Args:
            bank: that judges.
            roi: (H, W) bool over the input, what is inspected; None for all.
            pixel_threshold: for the regions.
            thresholds: the bank's; None where they are not for scores asked this way.
        """
        self.pixel_threshold = pixel_threshold
        self._bank, self._roi, self._thresholds = bank, roi, thresholds
        finest = bank.memories[bank.map_sizes.index(max(bank.map_sizes))]
        self._key_cells = host(finest.key_cells)
        self._key_pictures = host(finest.key_pictures)

    def locate(
        self, found: Detection, size_px: tuple[int, int], pose: Pose = UPRIGHT
    ) -> dict[str, Any]:
        """Say what was found in a picture, in its own pixels, as plain values.

        Args:
            found: of that picture alone, B = 1.
            size_px: the picture's own height and width.
            pose: how the part lies in the picture, beside how it does in the input.

        Returns:
            ``score``, the ``extent`` that it is of (``spot``, ``area`` or ``whole``),
            ``layer_scores`` by memory, ``peak`` with x and y in px, ``nearest``: the
            nominal picture (its name, which others may share, and its number in the bank) and
            place (its input px) most like what was seen there, and ``regions`` above the pixel
            threshold, strongest first. Each has its box (``x``, ``y``, ``width``, ``height``),
            ``area_px``, and a ``peak``, a ``score`` (the map's value there) and a ``nearest`` of
            its own. Where the bank's thresholds hold, ``share_above``: the share of what is
            inspected whose map exceeds the bank's pixel threshold, and ``unlike``: whether that
            is most of it, so that the picture is of something else, or of nothing.
        """
        found = found.on_host
        x, y = found.peaks[0].tolist()
        keys = found.nearest_keys[0]
        scores = found.layer_scores[0].tolist()
        regions = []
        if float(found.anomaly_maps[0, y, x]) > self.pixel_threshold:
            regions = find_regions(found.anomaly_maps[0], self.pixel_threshold)
        located = {
            "score": float(found.image_scores[0]),
            "extent": which_extent(found.as_spots[0].tolist()),
            "layer_scores": dict(zip(self._bank.config.memory_names, scores, strict=True)),
            "peak": self._to_px((x, y), size_px, pose),
            "nearest": self._explain(keys, (x, y)),
            "regions": [self._describe(region, keys, size_px, pose) for region in regions],
        }
        if self._thresholds is not None:
            share = self._share_above(found.anomaly_maps[0], self._thresholds.pixel)
            located |= {"share_above": share, "unlike": share > _MOST}
        return located

    def _share_above(self, anomaly_map: NDArray[np.float32], threshold: float) -> float:
        """Share of a map's inspected px that exceed a threshold; the others are 0."""
        num_inspected = anomaly_map.size if self._roi is None else int(self._roi.sum())
        return int((anomaly_map > threshold).sum()) / num_inspected

    def _describe(
        self, region: Region, keys: NDArray[np.int64], size_px: tuple[int, int], pose: Pose
    ) -> dict[str, Any]:
        """Take a region to the picture's own pixels, and say what it is like."""
        peak = self._to_px(region.peak, size_px, pose)
        rows, columns = self._sides(size_px)
        (top, bottom), (left, right) = pose.to_box(
            to_picture_span(region.top, region.bottom, *rows),
            to_picture_span(region.left, region.right, *columns),
            size_px,
        )
        # In a picture smaller than the input a region may miss every centre, not its peak's.
        left, right = min(left, peak["x"]), max(right, peak["x"] + 1)
        top, bottom = min(top, peak["y"]), max(bottom, peak["y"] + 1)
        area = region.area_px * math.prod(own / resized for own, resized, _ in (rows, columns))
        return {
            "x": left,
            "y": top,
            "width": right - left,
            "height": bottom - top,
            "area_px": min(max(round(area), 1), (right - left) * (bottom - top)),
            "peak": peak,
            "score": region.score,
            "nearest": self._explain(keys, region.peak),
        }

    def _sides(self, size_px: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
        """Per side what geometry asks: the picture's own px, resized, cropped."""
        preprocessing = self._bank.config.preprocessing
        return tuple(zip(size_px, preprocessing.resize_px, preprocessing.crop_px, strict=True))

    def _to_px(
        self, place: tuple[int, int], size_px: tuple[int, int], pose: Pose
    ) -> dict[str, int]:
        rows, columns = self._sides(size_px)
        at = to_picture_place(place[0], *columns), to_picture_place(place[1], *rows)
        x, y = pose.to_px(*at, size_px)
        return {"x": x, "y": y}

    def _explain(self, keys: NDArray[np.int64], place: tuple[int, int]) -> dict[str, Any]:
        """Find the nominal picture and place nearest to what was seen at a place.

        The finest memory answers: its keys tell the place best.

        Args:
            keys: (h, w) int64, of a detection.
            place: x and y in input px.
        """
        (h, w), (height, width) = keys.shape, self._bank.config.preprocessing.crop_px
        x, y = place
        key = int(keys[y * h // height, x * w // width])
        row, column = divmod(int(self._key_cells[key]), w)
        number = int(self._key_pictures[key])
        return {
            "name": self._bank.pictures[number].name,
            "picture": number,
            "input_x": column * width // w + width // w // 2,
            "input_y": row * height // h + height // h // 2,
        }

    def picture_map(
        self,
        anomaly_map: Array,
        size_px: tuple[int, int],
        pose: Pose = UPRIGHT,
        judged: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Take an anomaly map to a picture's own pixels.

        Args:
            anomaly_map: (H, W) over the input.
            size_px: the picture's own height and width.
            pose: as for :meth:`locate`.
            judged: (H, W) bool over the input, what is judged of a picture that was moved; None for
                all.

        Returns:
            (height, width) float32; NaN where the picture was not inspected, outside the crop or
            the region of interest.
        """
        strips = self.map_strips(anomaly_map, size_px, pose, judged)
        return np.concatenate([strip for _, strip in strips])

    def map_strips(
        self,
        anomaly_map: Array,
        size_px: tuple[int, int],
        pose: Pose = UPRIGHT,
        judged: NDArray[np.bool_] | None = None,
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Take an anomaly map to a picture's own pixels, some rows at a time, from the top.

        Args:
            anomaly_map: as for :meth:`picture_map`.
            size_px: likewise.
            pose: likewise.
            judged: likewise.

        Returns:
            Of each, the first row's number, and (n, width) float32 as of :meth:`picture_map`.
        """
        region = self._roi
        if judged is not None and not judged.all():
            region = judged if region is None else region & judged
        return strips_of(host(anomaly_map), region, self._sides(size_px), pose)
