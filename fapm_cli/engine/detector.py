"""The detector: a bank and its backbone on a device, judging pictures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fapm_cli.bank import OWN_WEIGHTS, Bank
from fapm_cli.config import Query
from fapm_cli.engine.scorer import Scored, Scorer
from fapm_cli.errors import BankError
from fapm_cli.extraction import FeatureExtractor, load_extractor
from fapm_cli.geometry import inspected_span, picture_matrix, to_picture_px
from fapm_cli.grid import to_patches
from fapm_cli.knn import patch_memory
from fapm_cli.plan import Plan, make_plan
from fapm_cli.threshold import Thresholds


@dataclass(frozen=True)
class Detection:
    """What was found in a batch of B pictures.

    Attributes:
        image_scores: (B,) float32.
        layer_scores: (B, L) float32, the image score of each memory's own anomaly map.
        anomaly_maps: (B, H, W) float32 over the input's px, blurred.
        peaks: (B, 2) int64, row and column of the map's maximum, in input px.
        nearest_pictures: (B,) int64, nominal picture whose key is nearest at the peak.
        nearest_cells: (B, 2) int64, row and column, in input px, of that key's centre.
    """

    image_scores: Tensor
    layer_scores: Tensor
    anomaly_maps: Tensor
    peaks: Tensor
    nearest_pictures: Tensor
    nearest_cells: Tensor

    def pick(self, number: int) -> Detection:
        """One picture of the batch, as a batch of its own."""
        names = [field.name for field in dataclasses.fields(Detection)]
        return Detection(*(getattr(self, name)[number : number + 1] for name in names))


def _join(detections: list[Detection]) -> Detection:
    names = [field.name for field in dataclasses.fields(Detection)]
    return Detection(*(torch.cat([getattr(d, name) for d in detections]) for name in names))


def bank_extractor(bank: Bank, weights: str | None = None) -> FeatureExtractor:
    """Load a bank's backbone: from a file if one is given, else the bank, else its own source.

    Raises:
        BankError: the bank holds no weights, and they came from a file.
        WeightsError: the weights can't be read or don't fit.
    """
    if weights is None and bank.backbone is None and bank.weights != OWN_WEIGHTS:
        raise BankError(
            f"the bank holds no backbone; it was built with weights {bank.weights!r}: "
            "give that file with --weights"
        )
    return load_extractor(bank.config, weights if weights is not None else bank.backbone)


class Detector:
    """A bank and its backbone on a device, ready to judge pictures."""

    def __init__(
        self,
        bank: Bank,
        extractor: FeatureExtractor | None = None,
        *,
        plan: Plan | None = None,
        query: Query | None = None,
    ):
        """Lay the bank out on a device.

        Args:
            bank: any bank.
            extractor: its backbone; None to take it from the bank.
            plan: where and in which precision to work; None for float32 on the CPU.
            query: how to score; None for the bank's own way.

        Raises:
            BankError: the backbone's weights are not those the bank was built with, or not to
                be had.
        """
        self.bank = bank
        self.plan = plan or make_plan(torch.device("cpu"), "fp32")
        self.device = self.plan.device
        extractor = extractor or bank_extractor(bank)
        if extractor.weights_hash != bank.weights_hash:
            raise BankError(
                f"the bank was built with {bank.config.backbone} weights "
                f"{bank.weights_hash[:12]}…, these are {extractor.weights_hash[:12]}…; "
                "give the same file with --weights, or build the bank again"
            )
        shapes = [(m.keys.shape[1], *s) for m, s in zip(bank.memories, bank.map_sizes, strict=True)]
        if shapes != extractor.map_shapes:
            raise BankError(f"the bank's memories {shapes} don't fit {bank.config.backbone}")
        self.extractor = extractor.follow(self.plan)
        memories = [
            patch_memory(
                m.keys.to(self.device),
                m.key_counts.cpu(),
                bank.config.grid,
                self.plan.choosing_dtype,
            )
            for m in bank.memories
        ]
        self.scorer = Scorer(
            bank.config, query or bank.config.query, memories, bank.map_sizes, bank.calibration
        )

    @property
    def calm_score(self) -> float:
        """The largest value of a good picture's anomaly map, its own keys left out."""
        return max(*(picture.peak for picture in self.bank.pictures), 1e-6)

    @property
    def thresholds(self) -> Thresholds | None:
        """The bank's thresholds; None where the query is not the one they were set for."""
        own = self.scorer.query == self.bank.config.query
        return self.bank.thresholds if own else None

    @property
    def pixel_threshold(self) -> float:
        """Above it, a px of the anomaly map is anomalous."""
        return self.bank.thresholds.pixel

    @torch.inference_mode()
    def detect(self, pixels: Tensor) -> Detection:
        """Judge a batch of pictures; none depends on its batch mates.

        Args:
            pixels: (B, H, W, 3) uint8 RGB, as :func:`fapm_cli.images.prepare` makes them.
        """
        if self.plan.one_by_one and len(pixels) > 1:
            return _join([self.detect(one) for one in torch.split(pixels, 1)])
        maps = self.extractor(pixels.to(self.device))
        scored = self.scorer([to_patches(m, self.bank.config.grid) for m in maps])
        width = scored.anomaly_maps.shape[2]
        place = scored.anomaly_maps.flatten(1).argmax(dim=1)
        peaks = torch.stack([place // width, place % width], dim=1)
        pictures, cells = self._explain(scored, peaks)
        return Detection(
            scored.image_scores,
            scored.layer_scores,
            scored.anomaly_maps,
            peaks,
            pictures,
            cells,
        )

    def _explain(self, scored: Scored, peaks: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nominal picture and place nearest to what was seen at each peak.

        The finest memory answers: its keys tell the place best.
        """
        height, width = scored.anomaly_maps.shape[1:]
        j = max(range(len(self.bank.memories)), key=lambda i: self.bank.map_sizes[i])
        h, w = self.bank.map_sizes[j]
        batch = torch.arange(len(peaks), device=peaks.device)
        key = scored.nearest[j][batch, peaks[:, 0] * h // height, peaks[:, 1] * w // width]
        memory = self.bank.memories[j]
        cell = memory.key_cells.to(key.device)[key].long()
        rows, columns = cell // w * height // h, cell % w * width // w
        half = torch.tensor([height // h // 2, width // w // 2], device=key.device)
        pictures = memory.key_pictures.to(key.device)[key].long()
        return pictures, torch.stack([rows, columns], dim=1) + half

    def locate(self, found: Detection, size_px: tuple[int, int]) -> dict[str, Any]:
        """Say what was found in a picture, in its own pixels, as plain values.

        Args:
            found: of that picture alone, B = 1.
            size_px: the picture's own height and width.

        Returns:
            ``score``, ``layer_scores`` by memory, ``peak`` with x and y in px, and ``nearest``: the
            nominal picture and place (its input px) most like what was seen there.
        """
        config = self.bank.config
        sizes = (size_px, config.preprocessing.resize_px, config.preprocessing.crop_px)
        y, x = (
            to_picture_px(int(place), *side)
            for place, side in zip(found.peaks[0], zip(*sizes, strict=True), strict=True)
        )
        nearest = self.bank.pictures[int(found.nearest_pictures[0])]
        near_y, near_x = found.nearest_cells[0].tolist()
        scores = found.layer_scores[0].tolist()
        return {
            "score": float(found.image_scores[0]),
            "layer_scores": dict(zip(config.memory_names, scores, strict=True)),
            "peak": {"x": x, "y": y},
            "nearest": {"name": nearest.name, "input_x": near_x, "input_y": near_y},
        }

    def picture_map(self, anomaly_map: Tensor, size_px: tuple[int, int]) -> Tensor:
        """Take an anomaly map to a picture's own pixels.

        Args:
            anomaly_map: (H, W) over the input.
            size_px: the picture's own height and width.

        Returns:
            (height, width) float32; NaN where the preset's crop left the picture uninspected.
        """
        preprocessing = self.bank.config.preprocessing
        sides = tuple(zip(size_px, preprocessing.resize_px, preprocessing.crop_px, strict=True))
        rows, columns = (picture_matrix(*side).float().to(anomaly_map.device) for side in sides)
        whole = rows @ anomaly_map @ columns.mT
        for axis, side in enumerate(sides):
            first, last = inspected_span(*side)
            whole.narrow(axis, 0, first).fill_(torch.nan)
            whole.narrow(axis, last, side[0] - last).fill_(torch.nan)
        return whole
