"""Choose the device."""

from __future__ import annotations

import ctypes
import sys
import warnings
from pathlib import Path

import torch

from fapm_cli.compute.cores import tell_torch
from fapm_cli.errors import DeviceError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:n`` into a device of this machine.

    Raises:
        DeviceError: the name is unknown, or this machine or this torch has no such device.
    """
    tell_torch()
    fault = None if name == "cpu" else _cuda_fault()
    if name == "auto":
        name = "cpu" if fault else "cuda"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise DeviceError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:n")
    if device.type == "cuda":
        if fault is not None:
            raise DeviceError(f"device {name!r}: {fault}; use --device cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            count = torch.cuda.device_count()
            raise DeviceError(f"device {name!r}: this machine has {count} CUDA device(s), from 0")
        compute_in_full()
    else:
        _keep_freed_memory()
    return device


def compute_in_full() -> None:
    """Have CUDA's convolutions in float32 agree with a CPU's: they would be TF32 by default."""
    torch.backends.cudnn.allow_tf32 = False


def _cuda_fault() -> str | None:
    """Why CUDA can't be used; None where it can."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    reasons = [str(warning.message).splitlines()[0] for warning in warned]
    return " ".join(["no CUDA device is usable here", *(f"({reason})" for reason in reasons)])


def _keep_freed_memory() -> None:
    """Have glibc keep the memory that is freed: the next picture needs as much again.

    By default it hands large blocks back to the system, and a page fault for each 4 kB of the
    next ones takes longer than the small backbones' convolutions do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most it takes
        mallopt(_M_TRIM_THRESHOLD, 2**30)


def free_bytes(device: torch.device) -> int | None:
    """Bytes of memory that are free on the device now; None where that can't be said."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()  # Linux
    except OSError:
        return None
    return next((1024 * int(x.split()[1]) for x in lines if x.startswith("MemAvailable:")), None)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
