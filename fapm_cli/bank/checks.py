"""What a bank's file holds, checked: types, shapes and ranges of everything in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.arrays import let_go
from fapm_cli.bank.arrays import check_array, from_bfloat16
from fapm_cli.bank.bank import LayerMemory, MetricChoice
from fapm_cli.config import METRIC_DIMENSIONS, BankConfig
from fapm_cli.pictures.fitting.light import Light
from fapm_cli.pictures.fitting.registration import Registration
from fapm_cli.scores.extents import EXTENTS, FEWEST_PARTS, Calibration, Extents
from fapm_cli.scores.thresholds import Thresholds

DTYPES = {
    "keys": np.float32,
    "key_counts": np.int64,
    "key_pictures": np.int32,
    "key_cells": np.int32,
    "radius_sq": np.float32,
    "widened": np.bool_,
}
_AT_A_TIME = 2**22  # numbers


def check_thresholds(plain: dict[str, Any], scores: NDArray[Any] | None) -> Thresholds:
    """Check thresholds, and the (N,) float64 scores that they were set by, if they have any.

    Raises:
        ValueError, TypeError: they are anything else.
    """
    if scores is None:
        return Thresholds(**plain)
    check_array("threshold scores", scores, np.float64, scores.size)
    if not np.isfinite(scores).all():
        raise ValueError("threshold scores are not finite")
    return Thresholds(**plain, scores=tuple(scores.tolist()))


def check_roi(roi: NDArray[Any], size: tuple[int, int]) -> None:
    """Check a region of interest: bool, of the input's size, somewhere true.

    Raises:
        ValueError: they are anything else.
    """
    check_array("roi", roi, np.bool_, *size)
    if not roi.any():
        raise ValueError("roi is empty")


def check_calibration(
    factors: NDArray[Any], share: float, size: tuple[int, int], extents: Any = None
) -> Calibration:
    """Check and make a calibration: positive factors of the finest map's size, and what is usual
    of wide extents, or None.

    Raises:
        ValueError: they are anything else.
    """
    check_array("calibration", factors, np.float32, *size)
    if not (np.isfinite(factors).all() and (factors > 0).all() and 0 <= share <= 1):
        raise ValueError("calibration out of range")
    return Calibration(factors, share, None if extents is None else _check_extents(*extents))


def _check_extents(means: Any, spreads: Any, num_parts: Any) -> Extents:
    values = [float(one) for one in (*means, *spreads)]
    fits = len(means) == len(spreads) == len(EXTENTS) and all(abs(v) < 100 for v in values)
    if not fits or min(spreads) <= 0 or type(num_parts) is not int or num_parts < FEWEST_PARTS:
        raise ValueError(f"extents are {means}, {spreads} of {num_parts} parts")
    return Extents(tuple(values[: len(means)]), tuple(values[len(means) :]), num_parts)


def check_light(plain: Any, usual: NDArray[Any] | None, size: tuple[int, int]) -> Light | None:
    """Check the light of the pictures: of the input's size, finite, both parts or none.

    Raises:
        ValueError: it is anything else.
    """
    if usual is None or plain is None:
        if usual is not None or plain is not None:
            raise ValueError("its parts don't fit: half of the light is missing")
        return None
    check_array("usual light", usual, np.uint8, *size, 3)
    return Light.from_json(plain, usual)


def check_registration(
    likeness: Any, reference: NDArray[Any] | None, config: BankConfig
) -> Registration | None:
    """Check where parts lie: known if and only if pictures are aligned, of the input's size.

    Raises:
        ValueError: it is anything else.
    """
    aligned, wanted = config.align != "none", (*config.preprocessing.crop_px, 3)
    if {reference is not None, likeness is not None} != {aligned}:
        raise ValueError("its parts don't fit: half of where its parts lie is missing")
    if reference is None:
        return None
    check_array("reference", reference, np.uint8, *wanted)
    if type(likeness) not in (int, float) or not -5 <= likeness <= 1.001:
        raise ValueError(f"likeness is {likeness}")
    return Registration(reference, float(likeness), config.align == "rigid")


def check_memory(
    memory: LayerMemory, grid: tuple[int, int], h: int, w: int, num_pictures: int
) -> None:
    """Check a layer's memory: types, shapes, counts that add up, finite values.

    Raises:
        ValueError: they are anything else.
    """
    for part, dtype in DTYPES.items():
        if getattr(memory, part).dtype != dtype:
            raise ValueError(f"{part} is {getattr(memory, part).dtype}, not {np.dtype(dtype)}")
    num_patches, num_keys = grid[0] * grid[1], len(memory.keys) if memory.keys.ndim else -1
    shapes = {
        "keys": (num_keys, max(memory.keys.shape[-1], 1) if memory.keys.ndim == 2 else -1),
        "key_counts": (num_patches,),
        "key_pictures": (num_keys,),
        "key_cells": (num_keys,),
        "radius_sq": (num_patches,),
        "widened": (num_patches,),
    }
    for part, shape in shapes.items():
        if getattr(memory, part).shape != shape:
            raise ValueError(f"{part} has shape {getattr(memory, part).shape}")
    if h < 1 or w < 1 or h % grid[0] or w % grid[1]:
        raise ValueError(f"a {h}×{w} map does not fit a {grid[0]}×{grid[1]} grid")
    counts = memory.key_counts
    if int(counts.min()) < 1 or int(counts.max()) > num_keys or int(counts.sum()) != num_keys:
        raise ValueError("key_counts don't add up")
    for part, end in (("key_pictures", num_pictures), ("key_cells", h * w)):
        values = getattr(memory, part)
        if int(values.min()) < 0 or int(values.max()) >= end:
            raise ValueError(f"{part} out of range")
    largest = _largest(memory.keys)
    if not (math.isfinite(largest) and np.isfinite(memory.radius_sq).all()):
        raise ValueError("values that are not finite")
    if (memory.radius_sq < 0).any() or largest > 1e6:
        raise ValueError("values out of range")
    if memory.key_slack is not None:
        check_array("key_slack", memory.key_slack, np.float32, num_keys)
        if not ((memory.key_slack >= 0) & (memory.key_slack <= 1e8)).all():
            raise ValueError("key_slack out of range")


def check_metrics(metrics: NDArray[Any], memory: LayerMemory) -> NDArray[np.float32]:
    """Check the metrics of a memory's patches, and give them as float32.

    Raises:
        ValueError: they are anything but (N_p, C, min(C, 128)) bfloat16, finite, in range.
    """
    channels = memory.keys.shape[1]
    wanted = (len(memory.key_counts), channels, min(channels, METRIC_DIMENSIONS))
    check_array("metrics", metrics, np.uint16, *wanted)
    values = from_bfloat16(metrics)
    if not _largest(values) <= 1e6:  # nor of what is no number
        raise ValueError("metrics out of range")
    return values


def check_choice(choice: Any, metrics: Sequence[NDArray[Any] | None]) -> MetricChoice | None:
    """Check how the metric was chosen: a floor where there are metrics, shares of 0 to 1.

    Raises:
        ValueError: it is anything else.
    """
    floor, tried = (None, ()) if choice is None else choice
    if any((one is None) != (floor is None) for one in metrics):
        raise ValueError("metrics don't fit how they were chosen")
    if choice is None:
        return None
    found = tuple((None if at is None else float(at), float(share)) for at, share in tried)
    if not all(0 <= share <= 1 and (at is None or 0 < at < math.inf) for at, share in found):
        raise ValueError("the metric's choice is out of range")
    if floor not in [at for at, _ in found]:
        raise ValueError(f"metric floor {floor!r} was not tried")
    return MetricChoice(None if floor is None else float(floor), found)


def _largest(values: NDArray[np.float32]) -> float:
    """The largest absolute value, not a number if one is none; what is read of a file for that is
    given back.
    """
    largest, rows = 0.0, max(_AT_A_TIME // max(values[:1].size, 1), 1)
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        largest = np.maximum(largest, max(abs(float(part.min())), abs(float(part.max()))))
        let_go(part)
    return float(largest)
