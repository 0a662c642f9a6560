"""A bank's arrays as torch's tensors, where torch learns or judges by it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fapm_cli.arrays import Array
from fapm_cli.bank.bank import Bank, LayerMemory


def tensor(values: Array, device: torch.device | str | None = None) -> Tensor:
    """A tensor of an array, which it shares memory with where it can; or of a tensor.

    Args:
        values: numpy's or torch's.
        device: where; None for where they are.
    """
    one = values if isinstance(values, Tensor) else torch.from_numpy(_writable(values))
    return one if device is None else one.to(device)


def as_tensors(bank: Bank, device: torch.device | str = "cpu") -> Bank:
    """A bank of tensors on a device."""

    def of_memory(memory: LayerMemory) -> LayerMemory:
        parts = {field.name: getattr(memory, field.name) for field in fields(memory)}
        return LayerMemory(
            **{k: None if v is None else tensor(v, device) for k, v in parts.items()}
        )

    backbone = bank.backbone
    return replace(
        bank,
        memories=tuple(of_memory(memory) for memory in bank.memories),
        calibration=replace(bank.calibration, factors=tensor(bank.calibration.factors, device)),
        backbone=backbone and {name: tensor(one, device) for name, one in backbone.items()},
        roi=None if bank.roi is None else tensor(bank.roi, device),
    )


def to_bfloat16(values: Array) -> NDArray[np.uint16]:
    """Values rounded to bfloat16, as its bits: numpy has no such type."""
    bits: NDArray[np.int16] = tensor(values, "cpu").bfloat16().view(torch.int16).numpy()
    return bits.view(np.uint16)


def _writable(values: Array) -> Array:
    """Torch warns of memory that can't be written to."""
    return values if values.flags.writeable else values.copy()
