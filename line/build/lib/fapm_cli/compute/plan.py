"""The compute plan: in which precision the backbone and the search run. One place decides.

Whatever the plan, a bank holds float32 keys, nearest keys are *chosen* in the plan's precision and
their distances *measured* in float32, and on a CPU every picture runs alone, so that its score
does not depend on its batch mates in any bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from fapm_cli.compute.device import compute_in_full, resolve_device
from fapm_cli.errors import OptionError

PRECISIONS = ("fp32", "bf16", "fp16", "int8")

_DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.int8,
}


@dataclass(frozen=True)
class Plan:
    """How to compute.

    Attributes:
        device: where.
        backbone: precision of weights and activations: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
            Half precision leaves the first stages in float32 (``BackboneSpec.coarse_from``).
        choosing: precision in which the nearest keys are chosen.
        compiled: whether torch compiles the path from pixels to scores, which takes seconds once.
    """

    device: torch.device
    backbone: str
    choosing: str
    compiled: bool = False

    @property
    def precision(self) -> str:
        """The plan's name: the backbone's precision, and the choosing one if it differs."""
        same = self.backbone == self.choosing
        name = self.backbone if same else f"{self.backbone}+{self.choosing}"
        return f"{name}, compiled" if self.compiled else name

    @property
    def backbone_dtype(self) -> torch.dtype:
        """Of the backbone's activations, but for what int8 hands on."""
        return torch.float32 if self.backbone == "int8" else _DTYPES[self.backbone]

    @property
    def choosing_dtype(self) -> torch.dtype:
        """Of the keys that choose."""
        return _DTYPES[self.choosing]

    @property
    def is_exact(self) -> bool:
        """Whether scores agree with float32's, in which banks are built.

        That is, none was seen to move by 2 % of the gap between the medians of good and
        defective pictures (docs/accuracy.md).
        """
        return self.backbone != "int8"

    def for_reach(self, reach: int) -> Plan:
        """The plan for a search of so many patches around: keys in int8 can't be taken apart."""
        if reach == 0 or self.choosing != "int8":
            return self
        return replace(self, choosing="bf16" if cpu_has_bf16() else "fp32")

    @property
    def one_by_one(self) -> bool:
        """Whether pictures of a batch run alone: on a CPU that is exact, and no slower."""
        return self.device.type == "cpu"


def make_plan(
    device: torch.device | str, precision: str = "auto", *, compiled: bool = False
) -> Plan:
    """Choose the plan for a device.

    ``auto`` is the fastest plan that leaves scores as they are (docs/accuracy.md): on a CPU
    bfloat16 where it is computed in hardware, else float32, and keys chosen in int8 where that
    is; on CUDA fp16.

    Args:
        device: where, or the name that :func:`resolve_device` takes.
        precision: ``auto`` or one by name.
        compiled: whether to compile.

    Raises:
        DeviceError: this machine has no such device.
        OptionError: the precision is unknown, or would be emulated on this device.
    """
    if precision not in ("auto", *PRECISIONS):
        raise OptionError(f"precision {precision!r}: use one of auto, {', '.join(PRECISIONS)}")
    if isinstance(device, str):
        device = resolve_device(device)
    if device.type == "cuda":
        compute_in_full()
        if precision == "int8":
            raise OptionError("precision int8 is for a CPU; use fp16 on CUDA")
        name = "fp16" if precision == "auto" else precision
        return Plan(device, name, name, compiled)
    has_bf16, has_int8 = cpu_has_bf16(), cpu_has_int8()
    rounded = "bf16" if has_bf16 else "fp32"
    choosing = "int8" if has_int8 else rounded
    if precision == "auto":
        return Plan(device, rounded, choosing, compiled)
    if precision == "fp32":
        return Plan(device, "fp32", "fp32", compiled)
    if precision == "fp16":
        raise OptionError("precision fp16 is emulated on a CPU; use bf16 or fp32")
    if precision == "bf16" and not has_bf16:
        raise OptionError("precision bf16 is emulated on this CPU; use fp32")
    if precision == "int8" and not has_int8:
        raise OptionError("precision int8 is slow on this CPU (no VNNI); use bf16 or fp32")
    return Plan(device, precision, choosing, compiled)


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every torch
    in_hardware = any(getattr(torch.cpu, name, bool)() for name in checks)
    return in_hardware and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def cpu_has_int8() -> bool:
    """Whether this CPU multiplies int8 in hardware (VNNI), and this torch has the kernels."""
    has_vnni = bool(getattr(torch.cpu, "_is_vnni_supported", bool)())
    return has_vnni and hasattr(torch.ops.onednn, "qconv2d_pointwise")
