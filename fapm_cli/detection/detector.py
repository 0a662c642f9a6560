"""The detector: a bank and its backbone on a device, judging pictures."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.nominal_pictures import scores_of_groups
from fapm_cli.compute.plan import Plan, make_plan
from fapm_cli.config import Query
from fapm_cli.detection.detection import Detection, join
from fapm_cli.detection.engine import Engine
from fapm_cli.detection.graphs import runner
from fapm_cli.detection.locator import Locator
from fapm_cli.errors import OptionError
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.pictures.reading import Fitting
from fapm_cli.scores.p_values import PValues
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
        self._engine = Engine(bank, extractor or bank_extractor(bank), self.plan, query, roi)
        if self.plan.compiled and self._engine.extractor.tile_px(self.device) is not None:
            raise OptionError("--compile is for inputs that are run in one; this one has tiles")
        self.extractor, self.scorer = self._engine.extractor, self._engine.scorer
        self.finder = self._engine.finder
        self.roi, self._narrowed = self._engine.roi, roi is not None
        given = bank.thresholds.pixel if pixel_threshold is None else pixel_threshold
        light = bank.light if query.light == "corrected" else None
        self.inspected = None if bank.roi is None else bank.roi.cpu().numpy()
        self.fitting = Fitting(bank.registration, light, self.inspected)
        self.locator = Locator(bank, self.scorer, self.roi, given, self.thresholds)
        # With a reach, the search first asks the device which patches have neighbours.
        self._run = runner(self._engine, self.plan, static=query.reach == 0)

    @property
    def thresholds(self) -> Thresholds | None:
        """The bank's thresholds; None where the query is not the one they were set for."""
        own = self.scorer.query == self.bank.config.query
        return self.bank.thresholds if own else None

    @functools.cached_property
    def p_values(self) -> PValues | None:
        """How likely good parts are to reach scores; None where that is not known: where
        :attr:`thresholds` is, and of less than the bank inspects.
        """
        if self.thresholds is None or self._narrowed:
            return None
        own, _ = scores_of_groups(self.bank.pictures)
        return PValues(self.thresholds.scores or own, self.thresholds)

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

    def inspected_map(self, found: Detection) -> NDArray[np.float32]:
        """The anomaly map of one picture (B = 1) on the CPU: (H, W), NaN where not inspected."""
        anomaly_map = found.anomaly_maps[0]
        if self.roi is not None:
            anomaly_map = anomaly_map.masked_fill(~self.roi.to(anomaly_map.device), torch.nan)
        return anomaly_map.cpu().numpy()
