"""The detector: a bank and its backbone on a device, judging pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.bank.backbone import bank_extractor, check_weights
from fapm_cli.bank.bank import Bank
from fapm_cli.compute.device import resolve_device
from fapm_cli.compute.plan import Plan, make_plan
from fapm_cli.config import Query
from fapm_cli.detection.detection import Detection, join
from fapm_cli.detection.graphs import runner
from fapm_cli.errors import BankError, OptionError
from fapm_cli.memory.grid import to_patches
from fapm_cli.memory.pages import patch_memory
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.seen import Seen
from fapm_cli.scores.geometry import (
    Spreader,
    inspected_span,
    picture_matrix,
    to_picture_px,
    to_picture_span,
    to_places,
)
from fapm_cli.scores.regions import Region, find_regions
from fapm_cli.scores.scorer import Scorer
from fapm_cli.scores.thresholds import Thresholds

_STRIP_PX = 2**17  # of a picture's map at a time: more would not be faster
_MOST = 0.5  # a defect is a part of the picture; what differs in more of it is another picture


def _common(roi: Tensor | None, other: Tensor | None) -> Tensor | None:
    """What two regions of interest have in common; None is the whole input."""
    if roi is None or other is None:
        return other if roi is None else roi
    both = roi & other.to(roi.device)
    if not both.any():
        raise OptionError("nothing is left to inspect: the ROI and the bank's have no px in common")
    return both


class Detector:
    """A bank and its backbone on a device, ready to judge pictures."""

    def __init__(
        self,
        bank: Bank,
        extractor: FeatureExtractor | None = None,
        *,
        plan: Plan | None = None,
        query: Query | None = None,
        roi: Tensor | None = None,
        pixel_threshold: float | None = None,
    ):
        """Lay the bank out on a device.

        Args:
            bank: any bank.
            extractor: its backbone, which stays as it is; None to take it from the bank.
            plan: where and in which precision to work; None for ``auto`` both, as commands do.
            query: how to score; None for the bank's own way.
            roi: (H, W) bool over the input, what to inspect of what the bank does; None for all.
            pixel_threshold: a map's value above which a px belongs to a region; None for the
                bank's own.

        Raises:
            OptionError: ``roi`` and the bank's have nothing in common.
            BankError: the backbone's weights are not those the bank was built with, or not to
                be had.
            ValueError: the extractor follows a plan.
        """
        self.bank = bank
        query = query or bank.config.query
        plan = plan or make_plan(resolve_device("auto"))
        self.plan = plan.for_reach(query.reach)
        self.device = self.plan.device
        extractor = extractor or bank_extractor(bank)
        check_weights(bank, extractor)
        shapes = [(m.keys.shape[1], *s) for m, s in zip(bank.memories, bank.map_sizes, strict=True)]
        if shapes != extractor.map_shapes:
            raise BankError(f"the bank's memories {shapes} don't fit {bank.config.backbone}")
        self.extractor = extractor.follow(self.plan)
        memories = [
            patch_memory(
                m.keys.to(self.device),
                m.key_counts,
                bank.config.grid,
                self.plan.choosing_dtype,
                h * w // len(m.key_counts) if query.reach == 0 else None,
            )
            for m, (h, w) in zip(bank.memories, bank.map_sizes, strict=True)
        ]
        self.roi = _common(bank.roi, roi)
        self._outside = None if self.roi is None else ~self.roi.to(self.device)
        self._given_threshold = pixel_threshold
        self._finest = bank.map_sizes.index(max(bank.map_sizes))
        self._key_cells = bank.memories[self._finest].key_cells.cpu()
        self._key_pictures = bank.memories[self._finest].key_pictures.cpu()
        self.scorer = Scorer(
            bank.config.grid,
            bank.config.preprocessing.crop_px,
            query,
            memories,
            bank.map_sizes,
            bank.calibration,
            self.roi,
        )
        # With a reach, the search asks the device which patches have neighbours.
        self._run = runner(self._work, self.plan, static=query.reach == 0)

    @property
    def thresholds(self) -> Thresholds | None:
        """The bank's thresholds; None where the query is not the one they were set for."""
        own = self.scorer.query == self.bank.config.query
        return self.bank.thresholds if own else None

    @property
    def pixel_threshold(self) -> float:
        """Value of the anomaly map above which a px belongs to a region."""
        given = self._given_threshold
        return self.bank.thresholds.pixel if given is None else given

    @property
    def inspected_share(self) -> float:
        """Share of each picture that is inspected: what crop and region of interest leave."""
        return dataclasses.replace(self.bank, roi=self.roi).inspected_share

    @torch.inference_mode()
    def detect(self, pixels: Tensor | NDArray[np.uint8]) -> Detection:
        """Judge a batch of prepared pictures; none depends on its batch mates.

        Args:
            pixels: (B, H, W, 3) uint8 RGB, as
                :func:`fapm_cli.pictures.preparing.prepare` makes them.

        Raises:
            OptionError: they are anything else.
        """
        pixels, wanted = torch.as_tensor(pixels), (*self.bank.config.preprocessing.crop_px, 3)
        if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != wanted:
            kind = f"{pixels.dtype} {tuple(pixels.shape)}"
            raise OptionError(f"pixels are {kind}; wanted uint8 (B, {', '.join(map(str, wanted))})")
        if self.plan.one_by_one and len(pixels) > 1:
            return join([self.detect(one) for one in torch.split(pixels, 1)])
        return Detection(*self._run(pixels))

    def _work(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """From pixels to the parts of a :class:`Detection`."""
        features = self.extractor(pixels.to(self.device))
        scored = self.scorer([to_patches(m, self.bank.config.grid) for m in features])
        width = scored.anomaly_maps.shape[2]
        maps = scored.anomaly_maps
        if self._outside is not None:  # where a map is 0 everywhere, it has a peak all the same
            maps = maps.masked_fill(self._outside, -1)
        place = maps.flatten(1).argmax(dim=1)
        peaks = torch.stack([place % width, place // width], dim=1)
        return (
            scored.image_scores,
            scored.layer_scores,
            scored.anomaly_maps,
            peaks,
            scored.nearest[self._finest],
        )

    def differences(self, like: Seen) -> list[str] | None:
        """Name in what a picture differs from the bank's; None where that is not known.

        Args:
            like: what the picture is like.
        """
        seen, wanted_px = self.bank.seen, self.bank.config.preprocessing.resize_px
        return None if seen is None else seen.differences(like, wanted_px)

    def locate(self, found: Detection, size_px: tuple[int, int]) -> dict[str, Any]:
        """Say what was found in a picture, in its own pixels, as plain values.

        Args:
            found: of that picture alone, B = 1.
            size_px: the picture's own height and width.

        Returns:
            ``score``, ``layer_scores`` by memory, ``peak`` with x and y in px, ``nearest``: the
            nominal picture (its name, which others may share, and its number in the bank) and
            place (its input px) most like what was seen there, and ``regions`` above the pixel
            threshold, strongest first. Each has its box (``x``, ``y``, ``width``, ``height``),
            ``area_px``, and a ``peak``, a ``score`` (the map's value there) and a ``nearest`` of
            its own. Where the bank's thresholds hold, ``share_above``: the share of what is
            inspected whose map exceeds the bank's pixel threshold, and ``unlike``: whether that
            is most of it, so that the picture is of something else, or of nothing.
        """
        x, y = found.peaks[0].tolist()
        keys = found.nearest_keys[0].cpu()
        scores = found.layer_scores[0].tolist()
        regions = []
        if float(found.anomaly_maps[0, y, x]) > self.pixel_threshold:
            regions = find_regions(found.anomaly_maps[0].cpu().numpy(), self.pixel_threshold)
        located = {
            "score": float(found.image_scores[0]),
            "layer_scores": dict(zip(self.bank.config.memory_names, scores, strict=True)),
            "peak": self._to_px((x, y), size_px),
            "nearest": self._explain(keys, (x, y)),
            "regions": [self._describe(region, keys, size_px) for region in regions],
        }
        if self.thresholds is not None:
            share = self._share_above(found.anomaly_maps[0], self.thresholds.pixel)
            located |= {"share_above": share, "unlike": share > _MOST}
        return located

    def _share_above(self, anomaly_map: Tensor, threshold: float) -> float:
        """Share of a map's inspected px that exceed a threshold; the others are 0."""
        num_inspected = anomaly_map.numel() if self.roi is None else int(self.roi.sum())
        return int((anomaly_map > threshold).sum()) / num_inspected

    def _describe(self, region: Region, keys: Tensor, size_px: tuple[int, int]) -> dict[str, Any]:
        """Take a region to the picture's own pixels, and say what it is like."""
        peak = self._to_px(region.peak, size_px)
        rows, columns = self._sides(size_px)
        top, bottom = to_picture_span(region.top, region.bottom, *rows)
        left, right = to_picture_span(region.left, region.right, *columns)
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
        preprocessing = self.bank.config.preprocessing
        return tuple(zip(size_px, preprocessing.resize_px, preprocessing.crop_px, strict=True))

    def _to_px(self, place: tuple[int, int], size_px: tuple[int, int]) -> dict[str, int]:
        rows, columns = self._sides(size_px)
        x, y = place
        return {"x": to_picture_px(x, *columns), "y": to_picture_px(y, *rows)}

    def _explain(self, keys: Tensor, place: tuple[int, int]) -> dict[str, Any]:
        """Find the nominal picture and place nearest to what was seen at a place.

        The finest memory answers: its keys tell the place best.

        Args:
            keys: (h, w) int64 on the CPU, of a detection.
            place: x and y in input px.
        """
        (h, w), (height, width) = keys.shape, self.bank.config.preprocessing.crop_px
        x, y = place
        key = int(keys[y * h // height, x * w // width])
        row, column = divmod(int(self._key_cells[key]), w)
        number = int(self._key_pictures[key])
        return {
            "name": self.bank.pictures[number].name,
            "picture": number,
            "input_x": column * width // w + width // w // 2,
            "input_y": row * height // h + height // h // 2,
        }

    def inspected_map(self, found: Detection) -> NDArray[np.float32]:
        """The anomaly map of one picture (B = 1) on the CPU: (H, W), NaN where not inspected."""
        anomaly_map = found.anomaly_maps[0]
        if self._outside is not None:
            anomaly_map = anomaly_map.masked_fill(self._outside, torch.nan)
        return anomaly_map.cpu().numpy()

    def picture_map(self, anomaly_map: Tensor, size_px: tuple[int, int]) -> NDArray[np.float32]:
        """Take an anomaly map to a picture's own pixels.

        Args:
            anomaly_map: (H, W) over the input.
            size_px: the picture's own height and width.

        Returns:
            (height, width) float32; NaN where the picture was not inspected, outside the crop or
            the region of interest.
        """
        return np.concatenate([strip for _, strip in self.map_strips(anomaly_map, size_px)])

    def map_strips(
        self, anomaly_map: Tensor, size_px: tuple[int, int]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Take an anomaly map to a picture's own pixels, some rows at a time, from the top.

        Args:
            anomaly_map: as for :meth:`picture_map`.
            size_px: likewise.

        Yields:
            The first row's number, and (n, width) float32 as of :meth:`picture_map`.
        """
        sides = self._sides(size_px)
        device = anomaly_map.device
        rows, columns = (picture_matrix(*side).float().to(device) for side in sides)
        own_rows, own_columns = (to_places(*side).to(device) for side in sides)
        roi = None if self.roi is None else self.roi.to(device)
        (first, end), (left, right) = (inspected_span(*side) for side in sides)
        at_a_time = max(1, _STRIP_PX // size_px[1])
        for top in range(0, size_px[0], at_a_time):
            some = slice(top, top + at_a_time)
            spread = Spreader(rows[some], columns)
            if roi is None:
                strip = spread(anomaly_map)
            else:
                own = roi[own_rows[some]][:, own_columns]
                strip = spread.restrict(roi, own)(anomaly_map).masked_fill(~own, torch.nan)
            strip[: max(first - top, 0)] = torch.nan
            strip[max(end - top, 0) :] = torch.nan
            strip[:, :left] = torch.nan
            strip[:, right:] = torch.nan
            yield top, strip.cpu().numpy()
