"""Memory of this process; it imports nothing heavy, which would itself be measured."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from pathlib import Path

_STATUS = Path("/proc/self/status")
_M_ARENA_MAX = -8  # malloc.h


def peak_resident_mb() -> float:
    """Most memory that this process had resident, in MB of 10⁶ bytes.

    On Linux the kernel's high-water mark of the program's own memory (proc(5), ``VmHWM``): that of
    getrusage(2) starts from what the process that started this one had.
    """
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) * 1024 / 1e6
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def share_pools(most: int) -> None:
    """Have all threads share so many pools of memory, from before they begin (glibc).

    By default there are eight for each core, and what one thread frees does not serve another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, most)


def give_back_freed() -> None:
    """Give the system back what is freed, as far as that can be done (glibc).

    What a bank leaves behind lies between what is still used, in the pools of all threads that had
    a part in it; so pools would grow with every bank.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
