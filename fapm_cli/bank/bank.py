"""The bank: what was learnt from nominal pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import Array, host
from fapm_cli.bank.nominal_pictures import NominalPicture
from fapm_cli.bank.thumbnails import decode_thumbnail
from fapm_cli.config import BankConfig
from fapm_cli.errors import BankError, OptionError
from fapm_cli.pictures.fitting.light import Light
from fapm_cli.pictures.fitting.registration import Registration
from fapm_cli.pictures.seen import Seen
from fapm_cli.scores.extents import Calibration
from fapm_cli.scores.thresholds import Thresholds

OWN_WEIGHTS = "own"


@dataclass(frozen=True)
class LayerMemory:
    """The key vectors of one layer, patch after patch, and what is known of them.

    Attributes:
        keys: (ΣK_i, C) float32.
        key_counts: (N_p,) int64, K_i.
        key_pictures: (ΣK_i,) int32, index of the nominal picture that each key came from.
        key_cells: (ΣK_i,) int32, place of each key on its layer's map, row · w + column.
        radius_sq: (N_p,) float32, covering radius r² of each patch, squared feature units.
        widened: (N_p,) bool, whether K was doubled.
        metrics: (N_p, C, D) float32, each patch's own; None where distances are plain.
        key_slack: (ΣK_i,) float32, how far what each key stands for may be from it, where vectors
            of other keys are gone (:mod:`fapm_cli.memory.covering`); None for r of its patch.
    """

    keys: Array
    key_counts: Array
    key_pictures: Array
    key_cells: Array
    radius_sq: Array
    widened: Array
    metrics: Array | None = None
    key_slack: Array | None = None


@dataclass(frozen=True)
class MetricChoice:
    """How strong the patches' own metric was chosen to be, and what for.

    Attributes:
        floor: least variance of a direction, as a share of the mean one; None for the plain metric.
        found: the share of good pictures that a spoiled one exceeded, by each floor that was tried,
            from the plain metric on.
    """

    floor: float | None
    found: tuple[tuple[float | None, float], ...]

    def summary(self) -> dict[str, Any]:
        """The choice as plain values."""
        found = [{"floor": floor, "exceeded": share} for floor, share in self.found]
        return {"floor": self.floor, "found": found}


@dataclass(frozen=True)
class Bank:
    """A memory bank; its arrays are numpy's as it is read, torch's as it is learnt.

    Attributes:
        config: what it is made of.
        memories: one per name in ``config.memory_names``.
        map_sizes: (h, w) of each memory's map.
        calibration: of each place of the finest map.
        thresholds: where verdicts change.
        pictures: the nominal pictures, in order.
        weights_hash: SHA-256 of the backbone's cut weights.
        weights: where the weights came from: ``own`` (the backbone's ImageNet weights),
            ``random``, or a file's name.
        backbone: the cut, folded weights themselves, float32; None where they were left out.
        versions: of the programs that built it.
        roi: (H, W) bool over the input's px, what is inspected; None for all.
        thumbnails: of each picture, the backbone's input as a lossless WebP; None where left out.
        previous_thresholds: those before the last change; None where there was none.
        seen: what the pictures were like; None where that is not known.
        metric: how the patches' metric was chosen; None where there was no choice.
        light: that the pictures were taken in; None where that is not known.
        registration: where its parts lie; None where pictures are not aligned.
    """

    config: BankConfig
    memories: tuple[LayerMemory, ...]
    map_sizes: tuple[tuple[int, int], ...]
    calibration: Calibration
    thresholds: Thresholds
    pictures: tuple[NominalPicture, ...]
    weights_hash: str
    weights: str
    backbone: dict[str, Array] | None
    versions: dict[str, str]
    roi: Array | None = None
    thumbnails: Sequence[bytes] | None = None
    previous_thresholds: Thresholds | None = None
    seen: Seen | None = None
    metric: MetricChoice | None = None
    light: Light | None = None
    registration: Registration | None = None

    def check_weights(self, weights_hash: str) -> None:
        """Check that a backbone is the one that the bank was built with, by its weights' hash.

        Raises:
            BankError: its weights are others.
        """
        if weights_hash != self.weights_hash:
            raise BankError(
                f"the bank was built with {self.config.backbone} weights "
                f"{self.weights_hash[:12]}…, these are {weights_hash[:12]}…; "
                "give the same file with --weights, or build the bank again"
            )

    def with_thresholds(self, thresholds: Thresholds) -> Bank:
        """Judge by other thresholds; those of before are kept, for one step back."""
        if thresholds == self.thresholds:
            return self
        return replace(self, thresholds=thresholds, previous_thresholds=self.thresholds)

    def differences(self, like: Seen, also: Sequence[str] = ()) -> list[str] | None:
        """Name in what a picture differs from the bank's; None where that is not known.

        Args:
            like: what the picture is like.
            also: in what else it was seen to differ.
        """
        if self.seen is None:
            return None
        return [*self.seen.differences(like, self.config.preprocessing.resize_px), *also]

    @property
    def nominal_scores(self) -> NDArray[np.float64]:
        """(N,) float64 out-of-sample scores of the nominal pictures."""
        return np.array([p.score for p in self.pictures])

    @property
    def num_groups(self) -> int:
        """How many parts the pictures show."""
        return len({p.group for p in self.pictures})

    @property
    def inspected_share(self) -> float:
        """Share of each picture that is inspected: what crop and region of interest leave."""
        share = 1.0 if self.roi is None else float(host(self.roi).mean())
        return share * self.config.preprocessing.cropped_share


def common(roi: Array | None, other: Array | None) -> Array | None:
    """What two regions of interest have in common, (H, W) bool of one library; None is all of it.

    Raises:
        OptionError: nothing.
    """
    if roi is None or other is None:
        return other if roi is None else roi
    both = roi & other
    if not both.any():
        raise OptionError("nothing is left to inspect: the ROI and the bank's have no px in common")
    return both


def nominal_picture(bank: Bank, index: int) -> NDArray[np.uint8] | None:
    """Show a nominal picture as the backbone saw it.

    What it does not show of an aligned part is made up there, too.

    Args:
        bank: any bank.
        index: which of its pictures.

    Returns:
        (H, W, 3) uint8 RGB, H×W the preprocessing's crop; None if the bank has no thumbnails.

    Raises:
        BankError: the thumbnail is damaged.
    """
    if bank.thumbnails is None:
        return None
    size_px = bank.config.preprocessing.crop_px
    return decode_thumbnail(bank.thumbnails[index], size_px)[..., :3]
