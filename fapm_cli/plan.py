"""The compute plan: in which precision the backbone and the search run. One place decides.

Whatever the plan, a bank holds float32 keys, nearest keys are *chosen* in the plan's precision and
their distances *measured* in float32, and on a CPU every picture runs alone, so that its score
does not depend on its batch mates in any bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from fapm_cli.errors import OptionError

Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """How to compute.

    Attributes:
        device: where.
        backbone: precision of weights and activations: ``fp32``, ``bf16`` or ``fp16``.
        choosing: precision in which the nearest keys are chosen.
    """

    device: torch.device
    backbone: str
    choosing: str

    @property
    def precision(self) -> str:
        """The plan's name: the backbone's precision, and the choosing one if it differs."""
        same = self.backbone == self.choosing
        return self.backbone if same else f"{self.backbone}+{self.choosing}"

    @property
    def backbone_dtype(self) -> torch.dtype:
        """Of the backbone's weights and activations."""
        return _DTYPES[self.backbone]

    @property
    def choosing_dtype(self) -> torch.dtype:
        """Of the keys that choose."""
        return _DTYPES[self.choosing]

    @property
    def one_by_one(self) -> bool:
        """Whether pictures of a batch run alone: on a CPU that is exact, and no slower."""
        return self.device.type == "cpu"


def make_plan(device: torch.device, precision: str = "auto") -> Plan:
    """Choose the plan for a device.

    ``auto`` is the fastest plan that leaves scores as they are (docs/speed.md): float32 for the
    backbone, as bf16 there moves single scores by some percent; on a CPU that computes bfloat16
    in hardware, keys are chosen in it. On CUDA it is fp16.

    Raises:
        OptionError: the precision is unknown, or would be emulated on this device.
    """
    if precision not in get_args(Precision):
        names = ", ".join(get_args(Precision))
        raise OptionError(f"precision {precision!r}: use one of {names}")
    if device.type == "cuda":
        name = "fp16" if precision == "auto" else precision
        return Plan(device, name, name)
    if precision == "auto":
        return Plan(device, "fp32", "bf16" if cpu_has_bf16() else "fp32")
    if precision == "fp16":
        raise OptionError("precision fp16 is emulated on a CPU; use bf16 or fp32")
    if precision == "bf16" and not cpu_has_bf16():
        raise OptionError("precision bf16 is emulated on this CPU; use fp32")
    return Plan(device, precision, precision)


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every torch
    in_hardware = any(getattr(torch.cpu, name, bool)() for name in checks)
    return in_hardware and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
