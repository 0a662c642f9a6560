"""The judge: a bank and what runs it, ready for pictures. It knows no engine, and no torch."""

from __future__ import annotations

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import Array, host
from fapm_cli.bank.bank import Bank, common
from fapm_cli.bank.nominal_pictures import scores_of_groups
from fapm_cli.config import Query
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.locator import Locator
from fapm_cli.errors import OptionError
from fapm_cli.pictures.reading import Fitting
from fapm_cli.scores.p_values import PValues
from fapm_cli.scores.thresholds import Thresholds


class Judge(ABC):
    """A bank that judges pictures; an engine finds what is in them.

    Attributes:
        bank: any bank.
        query: how it scores.
        roi: (H, W) bool over the input, what is inspected; None for all.
        is_own_region: whether that is all that the bank inspects.
        fitting: how pictures are fitted to those of the bank.
        locator: takes what is found to the pictures' own px.
    """

    def __init__(
        self, bank: Bank, query: Query | None, roi: Array | None, pixel_threshold: float | None
    ):
        """Prepare all that no engine does.

        Args:
            bank: any bank.
            query: how to score; None for the bank's own way.
            roi: (H, W) bool over the input, what to inspect of what the bank does; None for all.
            pixel_threshold: a map's value above which a px belongs to a region; None for the
                bank's own.

        Raises:
            OptionError: ``roi`` and the bank's have nothing in common, or light is to be corrected
                that the bank does not know.
        """
        self.bank = bank
        self._asked: dict[str, Any] = {"query": query, "roi": roi}
        self._asked["pixel_threshold"] = pixel_threshold
        self.query = query or bank.config.query
        if self.query.light == "corrected" and bank.light is None:
            raise OptionError("the bank does not know its light: build it again, or leave it as-is")
        inspected = None if bank.roi is None else host(bank.roi)
        self.roi: NDArray[np.bool_] | None = common(inspected, None if roi is None else host(roi))
        self.is_own_region = roi is None
        given = bank.thresholds.pixel if pixel_threshold is None else pixel_threshold
        light = bank.light if self.query.light == "corrected" else None
        grey = bank.seen is not None and not bank.seen.colour
        self.fitting = Fitting(bank.registration, light, inspected, grey)
        self.locator = Locator(bank, self.roi, given, self.thresholds)

    def __reduce__(self) -> tuple[Any, ...]:
        """What is sent to another process is opened anew there, without what people look at."""
        bank = replace(self.bank, thumbnails=None)
        return functools.partial(type(self), bank, **self._asked), ()

    @property
    @abstractmethod
    def package(self) -> str:
        """The package of its engine."""

    @property
    @abstractmethod
    def precision(self) -> str:
        """What it computes in, for records."""

    @property
    def can_be_sent(self) -> bool:
        """Whether another process finds the same: it computes on a CPU, and nothing is compiled."""
        return True

    @property
    def one_by_one(self) -> bool:
        """Whether each picture is best judged alone, several side by side."""
        return True

    @abstractmethod
    def detect_inputs(self, inputs: Array) -> Detection:
        """Judge a batch of inputs, as :attr:`fapm_cli.pictures.reading.Prepared.input` gives them;
        none depends on its batch mates.

        Args:
            inputs: (B, H, W, 3) uint8, or float32 of 0 to 255; both give the same scores. A fourth
                channel says what is shown, above 0; what is not is judged by nobody.
        """

    def side_by_side(self) -> AbstractContextManager[Callable[[], None] | None]:
        """While it lasts, threads judge pictures side by side; gives what each calls first."""
        return contextlib.nullcontext()

    @property
    def thresholds(self) -> Thresholds | None:
        """The bank's thresholds; None where the query is not the one they were set for."""
        return self.bank.thresholds if self.query == self.bank.config.query else None

    @functools.cached_property
    def p_values(self) -> PValues | None:
        """How likely good parts are to reach scores; None where that is not known: where
        :attr:`thresholds` is, and of less than the bank inspects.
        """
        if self.thresholds is None or not self.is_own_region:
            return None
        own, _ = scores_of_groups(self.bank.pictures)
        return PValues(self.thresholds.scores or own, self.thresholds)

    @property
    def inspected_share(self) -> float:
        """Share of each picture that is inspected: what crop and region of interest leave."""
        return replace(self.bank, roi=self.roi).inspected_share

    def detect(self, pixels: Array) -> Detection:
        """Judge a batch of prepared pictures; none depends on its batch mates.

        Args:
            pixels: (B, H, W, 3) uint8 RGB, as
                :func:`fapm_cli.pictures.preparing.prepare` makes them; judged as they are.

        Raises:
            OptionError: they are anything else.
        """
        wanted = (*self.bank.config.preprocessing.crop_px, 3)
        kind = str(pixels.dtype).removeprefix("torch.")
        if kind != "uint8" or tuple(pixels.shape[1:]) != wanted:
            found = f"{kind} {tuple(pixels.shape)}"
            raise OptionError(
                f"pixels are {found}; wanted uint8 (B, {', '.join(map(str, wanted))})"
            )
        return self.detect_inputs(pixels)

    def inspected_map(self, found: Detection) -> NDArray[np.float32]:
        """The anomaly map of one picture (B = 1): (H, W), NaN where not inspected."""
        anomaly_map: NDArray[np.float32] = found.on_host.anomaly_maps[0].copy()
        if self.roi is not None:
            anomaly_map[~self.roi] = np.nan
        return anomaly_map
