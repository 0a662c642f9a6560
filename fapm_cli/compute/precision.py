"""Precisions, and which of them this CPU has; torch is not asked."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from fapm_cli.errors import OptionError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""As ``--precision`` names them."""
_CPU = Path("/proc/cpuinfo")


def check_precision(name: str) -> None:
    """Check that a precision is one.

    Raises:
        OptionError: it is none.
    """
    if name not in PRECISIONS:
        raise OptionError(f"precision {name!r}: use one of {', '.join(PRECISIONS)}")


def check_on_cpu(name: str) -> None:
    """Check that a precision is one, and one that is computed on this CPU.

    Raises:
        OptionError: it is not.
    """
    check_precision(name)
    if name == "fp16":
        raise OptionError("precision fp16 is for CUDA; on a CPU use fp32 or bf16")
    if name == "bf16" and not cpu_has_bf16():
        raise OptionError("precision bf16 is emulated on this CPU; use fp32")


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); False where the
    system does not say.
    """
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_flags())


def cpu_features() -> str:
    """Name what this CPU has that products are computed by: engines choose among them."""
    known = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "BF16", "amx_bf16": "AMX"}
    there = _flags()
    return " ".join(name for flag, name in known.items() if flag in there) or platform.machine()


def _flags() -> frozenset[str]:
    """What this CPU says it can; nothing where the system does not say."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", _CPU.read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset() if flags is None else frozenset(flags[1].split())
