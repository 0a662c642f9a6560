"""Which engine judges, and why."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from fapm_cli.arrays import Array, host
from fapm_cli.bank.bank import Bank
from fapm_cli.compute.precision import check_precision
from fapm_cli.config import Query
from fapm_cli.detection.judge import Judge
from fapm_cli.errors import OptionError
from fapm_cli.network.segments import MOST_PX, segments
from fapm_cli.network.vision_transformers import TRANSFORMERS
from fapm_cli.packages import is_there

if TYPE_CHECKING:
    from fapm_cli.network.extraction import FeatureExtractor

ENGINES = ("auto", "openvino", "torch")
_MOST_BYTES = 2**30  # of keys and metrics: a graph has to stay under twice of that
_MOST_PATCH_PX, _MOST_KEYS = 512, 2**13  # that a tile has at least one of
_MOST_REACH = 2  # a tile asks so many patches around each of its own, one after another


def open_judge(
    bank: Bank,
    device: str = "auto",
    precision: str = "auto",
    *,
    engine: str = "auto",
    extractor: FeatureExtractor | None = None,
    weights: str | None = None,
    compiled: bool = False,
    query: Query | None = None,
    roi: Array | None = None,
    pixel_threshold: float | None = None,
) -> Judge:
    """Have an engine ready to judge by a bank.

    Args:
        bank: any bank.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: one of :data:`fapm_cli.compute.precision.PRECISIONS`.
        engine: one of :data:`ENGINES`; ``auto`` is OpenVINO on a CPU wherever it can be.
        extractor: the bank's backbone for torch, if it is at hand.
        weights: a file in place of the bank's own backbone.
        compiled: whether torch is to compile the network.
        query, roi, pixel_threshold: as for :class:`Judge`.

    Raises:
        OptionError: an argument makes no sense, or the engine can't do what is asked.
        DeviceError: the device can't be had.
        BankError, WeightsError: the backbone can't be had, or is another.
    """
    if engine not in ENGINES:
        raise OptionError(f"engine {engine!r}: use one of {', '.join(ENGINES)}")
    check_precision(precision)
    reason = why_torch(bank, device, precision, weights=weights, compiled=compiled, query=query)
    if reason is None and engine != "torch":
        if is_large(bank):
            from fapm_cli.engines.openvino_large import OpenVinoLargeJudge

            return OpenVinoLargeJudge(bank, query=query, roi=roi, pixel_threshold=pixel_threshold)
        from fapm_cli.engines.openvino_judge import OpenVinoJudge

        return OpenVinoJudge(bank, precision, query=query, roi=roi, pixel_threshold=pixel_threshold)
    if engine == "openvino":
        raise OptionError(f"engine openvino: {reason}; leave --engine out")
    if not is_there("torch"):
        why = "--engine torch" if reason is None else reason
        raise OptionError(f"{why}: that takes torch, which is not installed: pip install fapm")
    from fapm_cli.bank.backbone import bank_extractor
    from fapm_cli.compute.plan import make_plan
    from fapm_cli.detection.detector import Detector

    plan = make_plan(device, precision, compiled=compiled)
    if weights is not None or extractor is None:
        extractor = bank_extractor(bank, weights)
    return Detector(
        bank, extractor, plan=plan, query=query, roi=roi, pixel_threshold=pixel_threshold
    )


def is_large(bank: Bank) -> bool:
    """Whether inputs are gone through by tiles: they, or the keys, are too many for one graph."""
    num_bytes = sum(
        part.nbytes for one in bank.memories for part in (one.keys, one.metrics) if part is not None
    )
    return max(bank.config.preprocessing.crop_px) > MOST_PX or num_bytes > _MOST_BYTES


def why_torch(
    bank: Bank,
    device: str,
    precision: str,
    *,
    weights: str | None = None,
    compiled: bool = False,
    query: Query | None = None,
) -> str | None:
    """Why only torch can judge by a bank as it is asked to; None where OpenVINO can."""
    reasons = {
        f"device {device}": device not in ("auto", "cpu"),
        "a CUDA device is here": device == "auto" and is_there("torch") and _has_cuda(),
        f"precision {precision}": precision == "fp16",
        "--compile": compiled,
        "--weights": weights is not None,
        "the bank holds no backbone": bank.backbone is None,
        "OpenVINO is not installed": not (is_there("openvino") and is_there("onnx")),
    }
    found = next((reason for reason, holds in reasons.items() if holds), None)
    if found is None and is_large(bank):
        return _why_not_by_tiles(bank, precision, query or bank.config.query)
    return found


def _why_not_by_tiles(bank: Bank, precision: str, query: Query) -> str | None:
    """Why OpenVINO can't go through a bank's large inputs by tiles; None where it can."""
    height, width = bank.config.preprocessing.crop_px
    if bank.config.backbone in TRANSFORMERS:
        return f"{bank.config.backbone} with a large input, {width}×{height} px"
    rows, columns = bank.config.grid
    patch_px = height // rows, width // columns
    unit_px = max(segment.unit_px for segment in segments(bank.config))
    most_keys = max(int(host(one.key_counts).max()) for one in bank.memories)
    reasons = {
        f"a reach of {query.reach}": query.reach > _MOST_REACH,
        f"image score {query.image_score}": query.image_score == "paper",
        f"precision {precision}": precision == "bf16",
        f"patches of {patch_px[1]}×{patch_px[0]} px": max(patch_px) > _MOST_PATCH_PX
        or any(side % unit_px for side in (*patch_px, height, width)),
        f"patches of {most_keys} keys": most_keys > _MOST_KEYS,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    return reason and f"{reason} with a large input, {width}×{height} px"


def _has_cuda() -> bool:
    """Whether CUDA's driver sees a device: to ask torch takes seconds."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(name)
        return (
            driver.cuInit(0) == 0
            and not driver.cuDeviceGetCount(ctypes.byref(count))
            and count.value > 0
        )
    except (OSError, AttributeError):
        return False
