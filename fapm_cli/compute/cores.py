"""How many cores this process is to use: affinity, control groups, or what the user said."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

cores_asked_for: int | None = None
"""How many cores this process is to use; None for all it may."""
_torch_is_told = True
_OF_SELF, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def use_threads(number: int | None) -> None:
    """Work on pictures in so many threads, and let engines compute in as many.

    Args:
        number: None for one per CPU that this process may use, or fewer of torch's where the
            environment says so (``OMP_NUM_THREADS``).
    """
    global cores_asked_for, _torch_is_told
    cores_asked_for, _torch_is_told = number, False
    if "torch" in sys.modules:
        tell_torch()


def tell_torch() -> None:
    """Let torch compute in as many threads as was asked for, unless it was told already: it may be
    imported later than that, or never.
    """
    global _torch_is_told
    if not _torch_is_told:
        import torch

        torch.set_num_threads(cores_asked_for or min(torch.get_num_threads(), usable_cores()))
        _torch_is_told = True


def usable_cores() -> int:
    """Cores this process is to use, or else may use: in a container fewer than there are."""
    return allowed_cores() if cores_asked_for is None else cores_asked_for


def allowed_cores() -> int:
    """Cores this process may use, whatever was asked for."""
    affine = hasattr(os, "sched_getaffinity")
    there = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    return min([there, *(max(math.ceil(quota), 1) for quota in _cpu_quotas())])


def _cpu_quotas() -> Iterator[float]:
    """CPU seconds per second that each control group around this process allows (Linux).

    A container may see its own group as the root, under the path that it has outside.
    """
    try:
        groups = [line.split(":", 2)[1:] for line in _OF_SELF.read_text().splitlines()]
    except OSError:
        return
    for controllers, name in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = _CGROUPS / "cpu" if controllers else _CGROUPS  # version 1, or 2
        inside = PurePosixPath(name.lstrip("/"))
        for folder in (inside, *inside.parents):
            try:
                yield _cpu_quota(root / folder)
            except (OSError, ValueError):  # no such group, or "max": no limit
                continue


def _cpu_quota(group: Path) -> float:
    """CPU seconds per second that one control group allows.

    Raises:
        OSError: it says nothing of that.
        ValueError: it sets no limit.
    """
    if (both := group / "cpu.max").exists():
        quota, period = map(int, both.read_text().split())
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        quota, period = (int((group / name).read_text()) for name in names)
    if quota <= 0:
        raise ValueError("no limit")
    return quota / period
