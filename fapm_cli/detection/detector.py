"""The detector: a bank and its backbone on a device, judging pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.bank.backbone import bank_extractor, check_weights
from fapm_cli.bank.bank import Bank, common
from fapm_cli.compute.plan import Plan, make_plan
from fapm_cli.config import Query
from fapm_cli.detection.detection import Detection, join
from fapm_cli.detection.finder import Finder
from fapm_cli.detection.graphs import runner
from fapm_cli.detection.locator import Locator
from fapm_cli.errors import BankError, OptionError
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.reading import Fitting
from fapm_cli.scores.scorer import Scorer
from fapm_cli.scores.thresholds import Thresholds


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
            OptionError: ``roi`` and the bank's have nothing in common, or light is to be corrected
                that the bank does not know.
            BankError: the backbone's weights are not those the bank was built with, or not to
                be had.
            ValueError: the extractor follows a plan.
        """
        self.bank = bank
        query = query or bank.config.query
        if query.light == "corrected" and bank.light is None:
            raise OptionError("the bank does not know its light: build it again, or leave it as-is")
        plan = plan or make_plan("auto")
        self.plan = plan.for_reach(query.reach)
        self.device = self.plan.device
        extractor = extractor or bank_extractor(bank)
        check_weights(bank, extractor)
        shapes = [(m.keys.shape[1], *s) for m, s in zip(bank.memories, bank.map_sizes, strict=True)]
        if shapes != extractor.map_shapes:
            raise BankError(f"the bank's memories {shapes} don't fit {bank.config.backbone}")
        self.extractor = extractor.follow(self.plan)
        self._finder = Finder(bank, self.extractor, self.plan, query)
        self.roi = common(bank.roi, roi)
        self._outside = None if self.roi is None else ~self.roi.to(self.device)
        self._finest = bank.map_sizes.index(max(bank.map_sizes))
        calibration = bank.calibration
        if roi is not None:  # of a part of the picture, what is usual of wide extents is not known
            calibration = dataclasses.replace(calibration, extents=None)
        self.scorer = Scorer(
            bank.config.grid,
            bank.config.preprocessing.crop_px,
            query,
            [],
            bank.map_sizes,
            calibration,
            self.roi,
            self.device,
        )
        given = bank.thresholds.pixel if pixel_threshold is None else pixel_threshold
        light = bank.light if query.light == "corrected" else None
        inspected = None if bank.roi is None else bank.roi.cpu().numpy()
        self.fitting = Fitting(bank.registration, light, inspected)
        self.locator = Locator(bank, self.scorer, self.roi, given, self.thresholds)
        # With a reach, the search asks the device which patches have neighbours.
        self._run = runner(self._work, self.plan, static=query.reach == 0)

    @property
    def thresholds(self) -> Thresholds | None:
        """The bank's thresholds; None where the query is not the one they were set for."""
        own = self.scorer.query == self.bank.config.query
        return self.bank.thresholds if own else None

    @property
    def inspected_share(self) -> float:
        """Share of each picture that is inspected: what crop and region of interest leave."""
        return dataclasses.replace(self.bank, roi=self.roi).inspected_share

    def detect(self, pixels: Tensor | NDArray[np.uint8]) -> Detection:
        """Judge a batch of prepared pictures; none depends on its batch mates.

        Args:
            pixels: (B, H, W, 3) uint8 RGB, as
                :func:`fapm_cli.pictures.preparing.prepare` makes them; judged as they are.

        Raises:
            OptionError: they are anything else.
        """
        pixels, wanted = torch.as_tensor(pixels), (*self.bank.config.preprocessing.crop_px, 3)
        if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != wanted:
            kind = f"{pixels.dtype} {tuple(pixels.shape)}"
            raise OptionError(f"pixels are {kind}; wanted uint8 (B, {', '.join(map(str, wanted))})")
        return self.detect_inputs(pixels)

    @torch.inference_mode()
    def detect_inputs(self, inputs: Tensor) -> Detection:
        """Judge a batch of inputs, as :attr:`fapm_cli.pictures.reading.Prepared.input` gives them.

        Args:
            inputs: (B, H, W, 3) uint8, or float32 of 0 to 255; both give the same scores. A fourth
                channel says what is shown, above 0; what is not is judged by nobody.
        """
        if self.plan.one_by_one and len(inputs) > 1:
            return join([self.detect_inputs(one) for one in torch.split(inputs, 1)])
        return Detection(*self._run(inputs))

    def _work(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """From pixels to the parts of a :class:`Detection`."""
        pixels = pixels.to(self.device)
        shown = pixels[..., 3] > 0 if pixels.shape[3] == 4 else None
        scored = self.scorer.combine(self.scorer.inside(self._finder(pixels[..., :3])), shown)
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

    def inspected_map(self, found: Detection) -> NDArray[np.float32]:
        """The anomaly map of one picture (B = 1) on the CPU: (H, W), NaN where not inspected."""
        anomaly_map = found.anomaly_maps[0]
        if self._outside is not None:
            anomaly_map = anomaly_map.masked_fill(self._outside, torch.nan)
        return anomaly_map.cpu().numpy()
