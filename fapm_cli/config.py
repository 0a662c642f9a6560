"""What a bank is made of, as frozen values: the configuration stored in every bank."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fapm_cli.errors import OptionError
from fapm_cli.plain_values import from_plain

LocalCalibration = Literal["local", "none"]
ImageScore = Literal["extents", "top", "max", "paper"]
Placement = Literal["bilinear", "nearest"]
Resampling = Literal["bilinear", "lanczos"]
Metric = Literal["own", "plain"]
LightUse = Literal["corrected", "as-is"]
Align = Literal["none", "shift", "rigid"]

# Kept of a whitened vector: distances hold to some percent, in half the bytes.
METRIC_DIMENSIONS = 128
MOST_PATCHES = 511  # of a side of the grid: a WebP, a thumbnail, has no longer side
_MOST_PX = 32 * MOST_PATCHES

VARIANTS = {
    # Table 2 of the paper: (patch-wise, layer-wise, adaptive)
    "A": (False, False, False),
    "B": (True, False, False),
    "C": (False, True, False),
    "D": (True, True, False),
    "E": (True, True, True),
}


@dataclass(frozen=True)
class Preprocessing:
    """From a picture's pixels to the backbone's input; the same everywhere, stored in the bank.

    Attributes:
        resize_px: height, width in px the whole picture is resized to.
        crop_px: height, width in px cut from the centre of that; equal to ``resize_px`` for none.
        resampling: the filter of the resize, antialiased.
        jpeg_draft: whether a large JPEG is decoded at a fraction of its size, at least twice what
            it is resized to: several times faster, and next to the same pixels.
        mean: per RGB channel, on a 0–255 scale.
        std: per RGB channel, on a 0–255 scale.
        bit_depth: of pictures whose samples have more than 8 bits, how many are used: as many
            ones are white.
    """

    resize_px: tuple[int, int]
    crop_px: tuple[int, int]
    resampling: Resampling
    jpeg_draft: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    bit_depth: int = 16  # as before there was a choice

    def __post_init__(self) -> None:
        """Check every value."""
        for resize, crop in zip(self.resize_px, self.crop_px, strict=True):
            fits = 32 <= crop <= resize <= _MOST_PX
            _check("crop_px", crop, fits, f"32 ≤ crop ≤ resize ≤ {_MOST_PX} px")
        _check_choice("resampling", self.resampling, Resampling)
        _check("mean", self.mean, all(abs(m) <= 1e4 for m in self.mean), "within ±10000")
        _check("std", self.std, all(1e-3 <= s <= 1e4 for s in self.std), "0.001 to 10000")
        _check("bit depth", self.bit_depth, 8 <= self.bit_depth <= 16, "8 to 16 bits")

    @property
    def crops(self) -> bool:
        """Whether some of the picture is never looked at."""
        return self.resize_px != self.crop_px

    @property
    def cropped_share(self) -> float:
        """Share of the picture that lies inside the crop."""
        return math.prod(self.crop_px) / math.prod(self.resize_px)


@dataclass(frozen=True)
class Query:
    """How pictures are scored (§2.3); stored in the bank as its default, free at query time.

    Attributes:
        num_neighbors: nearest keys averaged into a vector score, or weighing the paper's; k.
        layer_weights: one weight per memory, any positive scale.
        sigma: standard deviation in input px of the anomaly map's Gaussian blur.
        reach: how many patches around its own a target vector may search; 0 as in the paper.
        placement: how a layer's scores are spread over the input's px.
        image_score: the map's most unusual of ``extents``, ``top`` mean or ``max``; or ``paper``'s.
        calibration: whether scores are judged against what good parts do at their place.
        light: whether pictures in a light that no good one had are brought back to theirs.
        spot_px: px of the map that a spot is at most, of which its score is the mean; 0 for a share
            of what is inspected, however large that is.
    """

    num_neighbors: int
    layer_weights: tuple[float, ...]
    sigma: float
    reach: int
    placement: Placement
    image_score: ImageScore
    calibration: LocalCalibration
    light: LightUse = "as-is"  # as before there was a choice
    spot_px: int = 0  # likewise

    @property
    def layer_shares(self) -> tuple[float, ...]:
        """The layer weights with a sum of 1, so that scores keep their unit."""
        return tuple(weight / sum(self.layer_weights) for weight in self.layer_weights)

    def __post_init__(self) -> None:
        """Check every value."""
        # The paper's score weighs the nearest by the others: by 0, where there are none.
        few, why = (2, " by the paper's image score") if self.image_score == "paper" else (1, "")
        fits = few <= self.num_neighbors <= 64
        _check("neighbours", self.num_neighbors, fits, f"{few} to 64{why}")
        fits = all(w >= 0 for w in self.layer_weights) and 0 < sum(self.layer_weights) < math.inf
        _check("layer weights", self.layer_weights, fits, "0 or more each, not all 0")
        _check("sigma", self.sigma, 0 <= self.sigma <= 64, "0 to 64 px")
        _check("reach", self.reach, 0 <= self.reach <= 16, "0 to 16 patches")
        _check_choice("placement", self.placement, Placement)
        _check_choice("image score", self.image_score, ImageScore)
        _check_choice("calibration", self.calibration, LocalCalibration)
        _check_choice("light", self.light, LightUse)
        _check("spot", self.spot_px, 0 <= self.spot_px <= 2**24, "0 to 16777216 px")


@dataclass(frozen=True)
class BankConfig:
    """Everything that changes a bank's contents, beside the pictures and the weights.

    Attributes:
        backbone: the network's name.
        layers: tapped layers, ψ_j, shallow to deep.
        layer_scales: factor per tapped layer, so that D_th means the same for every backbone.
        finest_stride: a tapped layer finer than one place per this many px is averaged down to it.
        count_include_pad: whether the 3×3 pooling counts the zeros around the map.
        preprocessing: from picture to input.
        grid: rows and columns of grid patches; 1×1 is one global memory.
        layer_wise: one memory per layer; else layers are upsampled and concatenated.
        adaptive: whether wide patches are selected again with K doubled.
        coreset_ratio: share of a patch memory's vectors kept as keys.
        spread_threshold: D_th of §2.2.
        query: the scoring that the bank proposes.
        metric: ``own`` to each patch, as far as that finds more, or ``plain``.
        turn: degrees; copies of nominal pictures, turned by its multiples, give keys, too; or 0.
        turn_found: whether it is what the pictures asked for, and is found anew with new ones.
        layers_found: whether a deeper one takes the first's place where they ask for it; likewise.
        align: whether pictures are moved so that a part lies where the good ones do: by a
            ``shift``; or ``rigid``, turned back as well.
        max_keys: most keys of a patch that is not widened, however many pictures; 0 for no limit.
    """

    backbone: str
    layers: tuple[str, ...]
    layer_scales: tuple[float, ...]
    finest_stride: int
    count_include_pad: bool
    preprocessing: Preprocessing
    grid: tuple[int, int]
    layer_wise: bool
    adaptive: bool
    coreset_ratio: float
    spread_threshold: float
    query: Query
    metric: Metric = "plain"  # as before there was a choice
    turn: int = 0
    turn_found: bool = False
    layers_found: bool = False
    align: Align = "none"
    max_keys: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        _check_choice("metric", self.metric, Metric)
        _check_choice("align", self.align, Align)
        fits = self.metric == "plain" or self.grid != (1, 1)
        _check("metric", self.metric, fits, "plain, or a grid of several patches")
        fits = self.turn == 0 or (5 <= self.turn <= 180 and 360 % self.turn == 0)
        _check("turn", self.turn, fits, "0, or 5 to 180 degrees that divide 360")
        unique = 0 < len(self.layers) == len(set(self.layers))
        _check("layers", self.layers, unique, "at least one, each once")
        scales = self.layer_scales
        fits = len(scales) == len(self.layers) and all(1e-6 <= s <= 1e6 for s in scales)
        _check("layer scales", scales, fits, "one per layer, 1e-6 to 1e6")
        _check("finest stride", self.finest_stride, 1 <= self.finest_stride <= 64, "1 to 64 px")
        fits = all(1 <= side <= MOST_PATCHES for side in self.grid)
        _check("grid", self.grid, fits, f"1 to {MOST_PATCHES} patches a side")
        _check("coreset ratio", self.coreset_ratio, 0 < self.coreset_ratio <= 1, "above 0, up to 1")
        _check("most keys", self.max_keys, 0 <= self.max_keys < 2**31, "1 or more; 0 for no limit")
        threshold = self.spread_threshold
        _check("spread threshold", threshold, 0 <= threshold <= 1, "0 to 1")
        weights = self.query.layer_weights
        fits = len(weights) == len(self.memory_names)
        _check("layer weights", weights, fits, f"one for each of {', '.join(self.memory_names)}")

    @property
    def memory_names(self) -> tuple[str, ...]:
        """One name per memory: the layers', or all of them joined by ``+``."""
        return self.layers if self.layer_wise else ("+".join(self.layers),)

    @property
    def num_views(self) -> int:
        """How often each picture is learnt: as it is, and turned by the multiples of ``turn``."""
        return len(range(0, 360, self.turn)) if self.turn else 1

    @property
    def variant(self) -> str | None:
        """The letter of the paper's Table 2 that these switches stand for, if one does."""
        switches = (self.grid != (1, 1), self.layer_wise, self.adaptive)
        return next((name for name, value in VARIANTS.items() if value == switches), None)

    def with_query(self, **changes: Any) -> BankConfig:
        """Change how pictures are scored; fields as of :class:`Query`.

        Raises:
            OptionError: a value makes no sense.
        """
        return dataclasses.replace(self, query=dataclasses.replace(self.query, **changes))

    def to_json(self) -> dict[str, Any]:
        """Turn the configuration into plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> BankConfig:
        """Read what :meth:`to_json` wrote.

        Raises:
            OptionError: a value is out of its range.
            TypeError, KeyError: a field is missing, unknown, or of another type.
        """
        nested = {
            "preprocessing": from_plain(Preprocessing, plain["preprocessing"]),
            "query": from_plain(Query, plain["query"]),
        }
        return from_plain(cls, {**plain, **nested})


def _check(name: str, value: object, fits: bool, wanted: str) -> None:
    if not fits:
        raise OptionError(f"{name} {value}: wanted {wanted}")


def _check_choice(name: str, value: str, choices: Any) -> None:
    _check(name, repr(value), value in get_args(choices), " or ".join(get_args(choices)))
