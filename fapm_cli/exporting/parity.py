"""Parity: whether an exported file finds in pictures what fapm does, engine by engine."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.bank.bank import Bank, nominal_picture
from fapm_cli.config import Preprocessing
from fapm_cli.detection.detection import Detection
from fapm_cli.errors import ModelError
from fapm_cli.exporting.engines import Outputs, Run
from fapm_cli.packages import reason_of
from fapm_cli.pictures.preparing import prepare

Pictures = NDArray[np.uint8]

SCORE_TOLERANCE = {False: 1e-4, True: 1e-2}
"""By whether weights and keys are rounded to float16: by what share a score may differ."""
_MAP_TOLERANCE = {False: 5e-3, True: 5e-2}
_NEAREST_SHARE = {False: 0.99, True: 0.9}  # of places whose nearest key is to be the same
_MOST = 12  # pictures: more tell no more
_SIZES = ((1, 1), (2.5, 2.5), (1.7, 2.3), (0.6, 0.8), (1.3, 3.1), (0.9, 1.1))
"""Heights and widths that files for any size are compared in, by those of the input."""
_TINY = 1e-12


@dataclass(frozen=True)
class Parity:
    """By how much an engine differs from fapm in float32, at most over all pictures.

    Attributes:
        engine: name and version.
        pictures: that were compared.
        score: of image scores, as a share of fapm's or, where that is more, of the threshold: of
            its own pictures a bank knows places by heart, and distances near 0 are what rounding
            makes of them.
        layer_scores: likewise, and of the threshold of px, in whose unit they are.
        anomaly_map: of any px, as a share of fapm's maximum, or of the threshold of px.
        peak: by what share of that fapm's map is lower at the engine's peak than at its own.
        nearest: share of places with the same nearest key, or one that is its equal.
    """

    engine: str
    pictures: int
    score: float
    layer_scores: float
    anomaly_map: float
    peak: float
    nearest: float

    def summary(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)

    def check(self, half: bool) -> None:
        """Check that the differences are those of another order of sums, or of float16.

        Raises:
            ModelError: they are larger.
        """
        most, most_map = SCORE_TOLERANCE[half], _MAP_TOLERANCE[half]
        limits = {"score": most, "layer_scores": most, "anomaly_map": most_map, "peak": most_map}
        for name, limit in limits.items():
            found = getattr(self, name)
            if not found <= limit:  # nor NaN
                raise ModelError(
                    f"by {self.engine} its {name} differs from fapm's by {found:.1e}, more than "
                    f"{limit:.0e}"
                )
        least = _NEAREST_SHARE[half]
        if not self.nearest >= least:
            raise ModelError(
                f"by {self.engine} {self.nearest:.1%} of places have the nearest key that fapm "
                f"finds, wanted {least:.0%}"
            )


def parity_pictures(bank: Bank) -> tuple[Pictures, bool]:
    """What to compare by: some of a bank's own pictures, and each in negative, all of it a defect.

    Returns:
        (N, H, W, 3) uint8, and whether they are the bank's: it may hold none, then they are drawn.
    """
    count = len(bank.pictures)
    numbers = sorted({round(i) for i in np.linspace(0, count - 1, min(count, _MOST))})
    shown = [nominal_picture(bank, number) for number in numbers]
    own = [one for one in shown if one is not None]
    some = np.stack(own) if own else _drawn(bank.config.preprocessing.crop_px)
    return np.concatenate([some, 255 - some]), bool(own)


def _drawn(size_px: tuple[int, int]) -> Pictures:
    """(4, H, W, 3) clouds, from coarse to fine: the same ones every time."""
    generator = np.random.default_rng(0)
    rows, columns = (np.arange(side) for side in size_px)
    clouds = []
    for coarse in (32, 16, 8, 4):
        levels = generator.integers(0, 256, (size_px[0] // coarse + 1, size_px[1] // coarse + 1, 3))
        clouds.append(levels[rows // coarse][:, columns // coarse])
    return np.stack(clouds).astype(np.uint8)


def in_sizes(pictures: Pictures, preprocessing: Preprocessing) -> tuple[list[Pictures], Pictures]:
    """Pictures in several sizes, and what fapm makes of each before it is judged."""
    height, width = pictures.shape[1:3]
    sized = [
        Image.fromarray(one).resize((round(width * across), round(height * down)))
        for one, (down, across) in zip(pictures, itertools.cycle(_SIZES))
    ]
    return [np.asarray(one) for one in sized], np.stack([prepare(o, preprocessing) for o in sized])


def compare(
    bank: Bank,
    engines: Mapping[str, Run],
    pictures: Sequence[Pictures],
    wanted: Detection,
    batch: int,
) -> list[Parity]:
    """Run each engine on pictures, and compare.

    Args:
        bank: whose keys these are.
        engines: by name.
        pictures: N of (H, W, 3) uint8.
        wanted: what fapm found in them, in float32.
        batch: pictures that the file takes at a time.

    Raises:
        ModelError: an engine fails, or gives something else than was asked for.
    """
    theirs = (wanted.image_scores, wanted.layer_scores, wanted.anomaly_maps, wanted.peaks)
    ours = [value.cpu().numpy() for value in (*theirs, wanted.nearest_keys)]
    found = []
    for name, run in engines.items():
        outputs = _run_all(name, run, pictures, batch)
        shapes = [(one.dtype.kind, one.shape) for one in outputs]
        if shapes != [(one.dtype.kind, one.shape) for one in ours]:
            raise ModelError(f"by {name} it gives {shapes}, which no exported bank does")
        found.append(Parity(name, len(pictures), *_differences(bank, outputs, ours)))
    return found


def _run_all(name: str, run: Run, pictures: Sequence[Pictures], batch: int) -> Outputs:
    """Outputs of all pictures; where they fill no batch, the last one fills it."""
    missing = -len(pictures) % batch
    filled = [*pictures, *[pictures[-1]] * missing]
    try:
        parts = [run(np.stack(filled[i : i + batch])) for i in range(0, len(filled), batch)]
    except Exception as error:  # each engine has errors of its own
        raise ModelError(f"{name} can't run it ({reason_of(error)})") from error
    return [np.concatenate(one)[: len(pictures)] for one in zip(*parts, strict=True)]


def _differences(bank: Bank, found: Outputs, wanted: Outputs) -> Sequence[float]:
    """As :class:`Parity` has them, in its order."""
    (scores, layers, maps, peaks, keys), (own_scores, own_layers, own_maps, _, own_keys) = (
        found,
        wanted,
    )
    most = np.maximum(own_maps.max(axis=(1, 2)), max(bank.thresholds.pixel, _TINY))
    height, width = own_maps.shape[1:]
    x, y = peaks[:, 0].clip(0, width - 1), peaks[:, 1].clip(0, height - 1)
    outside = (peaks[:, 0] != x) | (peaks[:, 1] != y)
    lower = own_maps.max(axis=(1, 2)) - own_maps[np.arange(len(maps)), y, x]
    return (
        _relative(scores, own_scores, bank.thresholds.score),
        _relative(layers, own_layers, bank.thresholds.pixel),
        float((np.abs(maps - own_maps).max(axis=(1, 2)) / most).max()),
        float(np.where(outside, 1.0, lower / most).max()),
        _same_keys(bank, keys, own_keys),
    )


def _relative(found: NDArray[Any], wanted: NDArray[Any], least: float) -> float:
    unit = np.maximum(np.abs(wanted), max(least, _TINY))
    return float((np.abs(found - wanted) / unit).max())


def _same_keys(bank: Bank, found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Share of numbers of keys that are the same, or of the same key: a bank may hold it twice."""
    keys = bank.memories[bank.map_sizes.index(max(bank.map_sizes))].keys.cpu()
    if ((found < 0) | (found >= len(keys))).any():
        return 0.0
    same = found == wanted
    others = (torch.from_numpy(numbers[~same]) for numbers in (found, wanted))
    one, other = (keys[numbers] for numbers in others)
    equal = (one - other).abs().amax(dim=1) < 1e-6 if len(one) else torch.zeros(0)
    return float((same.sum() + int(equal.sum())) / same.size)
