"""The machine: what it is called, and how much memory was used."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from fapm_cli.compute.resident import peak_resident_mb
from fapm_cli.version import __version__


def peak_memory_mb(where: torch.device) -> float:
    """Peak memory: of the device, or of the process where the device is the CPU."""
    if where.type == "cuda":
        return torch.cuda.max_memory_allocated(where) / 1e6
    return peak_resident_mb()


def describe_machine(where: torch.device) -> dict[str, Any]:
    """Describe device and versions."""
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else _processor()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "versions": {
            "fapm": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
