"""The engine: a bank and its backbone as one graph, from pixels to all that is found in them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from fapm_cli.bank.bank import Bank, common
from fapm_cli.compute.plan import Plan
from fapm_cli.config import Query
from fapm_cli.detection.finder import Finder
from fapm_cli.errors import BankError
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.scores.scorer import Scorer


class Engine(nn.Module):
    """From prepared pixels to the parts of a :class:`fapm_cli.detection.detection.Detection`.

    What it does never depends on what pixels hold, but on their shape alone: it can be compiled,
    captured as one CUDA graph, or, without a plan, exported: then it is of torch's public
    operators only.

    Attributes:
        extractor: the backbone.
        finder: extraction and search.
        scorer: what follows the search.
        roi: (H, W) bool over the input, what is inspected; None for all.
    """

    _outside: Tensor | None

    def __init__(
        self,
        bank: Bank,
        extractor: FeatureExtractor,
        plan: Plan | None = None,
        query: Query | None = None,
        roi: Tensor | None = None,
    ):
        """Lay a bank out.

        Args:
            bank: any bank.
            extractor: its backbone, which stays as it is.
            plan: where and in which precision to work; None for float32 where the extractor lies.
            query: how to score; None for the bank's own way.
            roi: (H, W) bool over the input, what to inspect of what the bank does; None for all.

        Raises:
            OptionError: ``roi`` and the bank's have nothing in common.
            BankError: the backbone is not the one that the bank was built with.
            ValueError: the extractor follows a plan.
        """
        super().__init__()
        query = query or bank.config.query
        bank.check_weights(extractor.weights_hash)
        shapes = [(m.keys.shape[1], *s) for m, s in zip(bank.memories, bank.map_sizes, strict=True)]
        if shapes != extractor.map_shapes:
            raise BankError(f"the bank's memories {shapes} don't fit {bank.config.backbone}")
        extractor.check_unplanned()
        self.extractor = extractor if plan is None else extractor.follow(plan)
        self._device = self.extractor.mean.device
        self.finder = Finder(bank, self.extractor, plan, query)
        self.roi = common(bank.roi, None if roi is None else roi.to(bank.memories[0].keys.device))
        outside = None if self.roi is None else ~self.roi.to(self._device)
        self.register_buffer("_outside", outside)
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
            self._device,
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Find the image scores, layer scores, anomaly maps, peaks, nearest keys, and extents.

        Args:
            pixels: (B, H, W, 3) or with a fourth channel, as for
                :meth:`fapm_cli.detection.detector.Detector.detect_inputs`.
        """
        pixels = pixels.to(self._device)
        shown = None
        if pixels.shape[3] == 4:
            shown, pixels = pixels[..., 3] > 0, pixels[..., :3]
        scored = self.scorer.combine(self.scorer.inside(self.finder(pixels)), shown)
        maps = scored.anomaly_maps
        if self._outside is not None:  # where a map is 0 everywhere, it has a peak all the same
            maps = maps.masked_fill(self._outside, -1)
        width, place = maps.shape[2], maps.flatten(1).argmax(dim=1)
        return (
            scored.image_scores,
            scored.layer_scores,
            scored.anomaly_maps,
            torch.stack([place % width, place // width], dim=1),
            scored.nearest[self._finest],
            scored.as_spots,
        )
