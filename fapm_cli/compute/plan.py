"""The compute plan: where torch computes, and in which precision. One place decides.

Whatever the plan, a bank holds float32 keys, nearest keys are *chosen* in the plan's precision and
their distances *measured* in float32, and on a CPU every picture runs alone, so that its score
does not depend on its batch mates in any bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fapm_cli.compute.device import compute_in_full, resolve_device
from fapm_cli.compute.precision import check_on_cpu, check_precision
from fapm_cli.errors import OptionError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Plan:
    """How to compute.

    Attributes:
        device: where.
        rounding: ``fp32``, ``bf16`` or ``fp16``: of the backbone's weights and activations, and of
            the keys that choose. Half precision leaves the first stages in float32
            (:func:`fapm_cli.network.architectures.coarse_from`).
        compiled: whether torch compiles the path from pixels to scores, which takes seconds once.
    """

    device: torch.device
    rounding: str
    compiled: bool = False

    @property
    def precision(self) -> str:
        """The plan's name."""
        return f"{self.rounding}, compiled" if self.compiled else self.rounding

    @property
    def dtype(self) -> torch.dtype:
        """Of activations, and of the keys that choose."""
        return _DTYPES[self.rounding]

    @property
    def one_by_one(self) -> bool:
        """Whether pictures of a batch run alone: on a CPU that is exact, and no slower."""
        return self.device.type == "cpu"


def make_plan(
    device: torch.device | str, precision: str = "auto", *, compiled: bool = False
) -> Plan:
    """Choose the plan for a device.

    ``auto`` is float32 on a CPU, and on CUDA fp16, which leaves scores as they are: none was seen
    to move by 2 % of the gap between the medians of good and defective pictures
    (docs/accuracy.md).

    Args:
        device: where, or the name that :func:`resolve_device` takes.
        precision: one of :data:`fapm_cli.compute.precision.PRECISIONS`.
        compiled: whether to compile.

    Raises:
        DeviceError: this machine has no such device.
        OptionError: the precision is unknown, or none of torch's on this device.
    """
    check_precision(precision)
    if isinstance(device, str):
        device = resolve_device(device)
    if device.type == "cuda":
        compute_in_full()
        return Plan(device, "fp16" if precision == "auto" else precision, compiled)
    check_on_cpu(precision)
    if precision == "bf16":
        raise OptionError("precision bf16 on a CPU is OpenVINO's; by torch it is fp32")
    return Plan(device, "fp32", compiled)
