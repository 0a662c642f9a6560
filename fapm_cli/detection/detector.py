"""The detector: a bank and its backbone on a device, judging pictures by torch."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import torch

from fapm_cli.arrays import Array
from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.bank import Bank
from fapm_cli.bank.tensors import as_tensors, tensor
from fapm_cli.compute.plan import Plan, make_plan
from fapm_cli.compute.worker import TORCH
from fapm_cli.config import Query
from fapm_cli.detection.detection import Detection, join
from fapm_cli.detection.engine import Engine
from fapm_cli.detection.graphs import runner
from fapm_cli.detection.judge import Judge
from fapm_cli.errors import OptionError
from fapm_cli.network.extraction import FeatureExtractor


class Detector(Judge):
    """A bank and its backbone on a device, ready to judge pictures.

    Attributes:
        plan: where, and in which precision, it computes.
    """

    def __init__(
        self,
        bank: Bank,
        extractor: FeatureExtractor | None = None,
        *,
        plan: Plan | None = None,
        query: Query | None = None,
        roi: Array | None = None,
        pixel_threshold: float | None = None,
    ):
        """Lay the bank out on a device.

        Args:
            bank: any bank.
            extractor: its backbone, which stays as it is; None to take it from the bank.
            plan: where and in which precision to work; None for ``auto`` both, as commands do.
            query, roi, pixel_threshold: as for :class:`Judge`.

        Raises:
            OptionError: as for :class:`Judge`.
            BankError: the backbone's weights are not those the bank was built with, or not to
                be had.
            ValueError: the extractor follows a plan.
        """
        super().__init__(bank, query, roi, pixel_threshold)
        self.plan = plan or make_plan("auto")
        self._asked |= {"extractor": extractor, "plan": self.plan}
        self.device = self.plan.device
        region = None if roi is None else tensor(roi)
        bank = as_tensors(bank)
        self._engine = Engine(
            bank, extractor or bank_extractor(bank), self.plan, self.query, region
        )
        if self.plan.compiled and self._engine.extractor.tile_px(self.device) is not None:
            raise OptionError("--compile is for inputs that are run in one; this one has tiles")
        self.extractor, self.scorer = self._engine.extractor, self._engine.scorer
        self.finder = self._engine.finder
        # With a reach, the search first asks the device which patches have neighbours.
        self._run = runner(self._engine, self.plan, static=self.query.reach == 0)

    @property
    def package(self) -> str:
        """The package of its engine."""
        return TORCH

    @property
    def precision(self) -> str:
        """The plan's name."""
        return self.plan.precision

    @property
    def can_be_sent(self) -> bool:
        """Whether it computes on a CPU, and nothing is compiled."""
        return self.plan.one_by_one and not self.plan.compiled

    @property
    def one_by_one(self) -> bool:
        """Whether the device is a CPU."""
        return self.plan.one_by_one

    @torch.inference_mode()
    def detect_inputs(self, inputs: Array) -> Detection:
        """Judge a batch of inputs: tensors on the device come of it."""
        inputs = tensor(inputs)
        if self.plan.one_by_one and len(inputs) > 1:
            ones = [self.detect_inputs(one) for one in torch.split(inputs, 1)]
            return join(ones, lambda parts: torch.cat([*parts]))
        return Detection(*self._run(inputs))

    @contextlib.contextmanager
    def side_by_side(self) -> Iterator[Callable[[], None]]:
        """Cores that share one picture wait for each other: so each thread is one core's."""
        before = torch.get_num_threads()
        try:
            yield functools.partial(torch.set_num_threads, 1)
        finally:
            torch.set_num_threads(before)  # what one thread sets, all see
