"""The allowance: how much memory a build may take, and where the rest goes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fapm_cli.bank.nominal_pictures import pixels_digest
from fapm_cli.compute.cluster import Cluster, connected, device_for
from fapm_cli.compute.device import free_bytes
from fapm_cli.config import BankConfig
from fapm_cli.errors import OptionError
from fapm_cli.learning.memory_needed import needed_with_scratch, scratch_needed
from fapm_cli.learning.scratch.cluster_workspace import ClusterWorkspace
from fapm_cli.learning.scratch.folder import scratch_folder
from fapm_cli.learning.scratch.workspace import IN_MEMORY, Where, Workspace
from fapm_cli.network.extraction import FeatureExtractor
from fapm_cli.version import __version__

_SHARE = 0.5  # of what is free: more pictures than were counted on, or another program, find room


@dataclass(frozen=True)
class Allowance:
    """How much memory a build may take.

    Attributes:
        memory_bytes: at most; None for half of what is free.
        scratch: where scratch files go, and then they are used in any case; None for a private
            temporary folder, where memory does not suffice.
        resume: whether to go on from what is there.
        on: the cluster where vectors lie, and all is computed; None for this machine.
        cluster: the same, while it is connected.
    """

    memory_bytes: int | None = None
    scratch: Path | None = None
    resume: bool = False
    on: str | None = None
    cluster: Cluster | None = None

    def __post_init__(self) -> None:
        """Check that it makes sense."""
        if self.on is not None and (self.memory_bytes or self.scratch):
            raise OptionError("--memory and --scratch are of one machine: leave them out with --on")
        if self.resume and self.scratch is None:
            raise OptionError("--resume goes on from a scratch folder: name it with --scratch")

    def device(self, wanted: str) -> str:
        """The device to work on, as :func:`fapm_cli.compute.cluster.device_for`."""
        return device_for(self.on, wanted)

    @contextmanager
    def connected(self) -> Iterator[Allowance]:
        """Connect to the cluster, if there is one.

        Raises:
            OptionError: Ray is not installed.
            ClusterError: nothing answers there, or what answers does not fit.
        """
        with connected(self.on) as cluster:
            yield replace(self, cluster=cluster)

    @classmethod
    def of(
        cls,
        memory: int | str | None,
        scratch: str | Path | None,
        resume: bool,
        on: str | None = None,
    ) -> Allowance:
        """Read it.

        Raises:
            OptionError: the memory is no number of bytes, or there is nothing to go on from.
        """
        most = None if memory is None else parse_bytes("memory", memory)
        return cls(most, None if scratch is None else Path(scratch), resume, on)

    def suffices(self, needed_bytes: int, device: torch.device) -> bool:
        """Whether so much may be had; so it may where that can't be said."""
        allowed = self.memory_bytes
        if allowed is None:
            free = free_bytes(device)
            allowed = None if free is None else int(free * _SHARE)
        return allowed is None or needed_bytes <= allowed

    @contextmanager
    def workspace(
        self,
        config: BankConfig,
        extractor: FeatureExtractor,
        num_pictures: int,
        reading_bytes: Callable[[], int],
        needed_bytes: Callable[[], int],
        plan: dict[str, Any],
    ) -> Iterator[Workspace]:
        """Find a place for what a build has of all pictures.

        Args:
            config: what is built.
            extractor: the backbone.
            num_pictures: how many may come.
            reading_bytes: says how much memory files take that are read at a time.
            needed_bytes: says how much memory all takes.
            plan: what a build must share to be gone on from.

        Raises:
            OptionError: the memory does not suffice for scratch files either, or what is to be gone
                on from is of another build.
            OutputError: there is no room for scratch files.
        """
        if self.cluster is not None:
            yield ClusterWorkspace(self.cluster)
            return
        if self.scratch is None and self.suffices(needed_bytes(), extractor.mean.device):
            yield IN_MEMORY
            return
        least = needed_with_scratch(config, extractor, num_pictures) + reading_bytes()
        if self.memory_bytes is not None and self.memory_bytes < least:
            raise OptionError(
                f"--memory {self.memory_bytes / 1e9:.2f} GB: {num_pictures} pictures take at least "
                f"{least / 1e9:.2f} GB, with scratch files; give that, or fewer --max-keys"
            )
        needed = scratch_needed(config, extractor, num_pictures)
        with scratch_folder(self.scratch, plan, needed, resume=self.resume) as scratch:
            scratch.where = Where(scratch.folder, needed, stays=self.scratch is not None)
            yield scratch


def parse_bytes(name: str, value: int | str) -> int:
    """Read a number of bytes, or ``500MB``, ``3GB``, ``2GiB``.

    Raises:
        OptionError: it is none, or not above 0.
    """
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?) *([kMGT]?)(i?)B?", str(value), re.IGNORECASE)
    size = 0
    if found is not None:
        number, prefix, binary = found.groups()
        power = " kmgt".index(prefix.lower() or " ")
        size = int(float(number) * (1024 if binary else 1000) ** power)
    if size <= 0:
        raise OptionError(f"{name} {value!r}: write a number of bytes, like 3GB or 500MB")
    return size


def plan_of(
    config: BankConfig,
    extractor: FeatureExtractor,
    names: Sequence[str],
    roi: Tensor | None,
    **options: object,
) -> dict[str, Any]:
    """What two builds must share for one to go on from the other's files, as plain values.

    Other versions, processors and numbers of threads may round in another way.
    """
    device = extractor.mean.device
    listed = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    return {
        **{f"{name}": value for name, value in config.to_json().items()},
        **options,
        "weights": extractor.weights_hash,
        "list of pictures": f"{len(names)}, {listed.hexdigest()}",
        "roi": None if roi is None else pixels_digest(roi),
        "version of fapm": __version__,
        "version of torch": torch.__version__,
        "device": str(device),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "number of threads": torch.get_num_threads(),
    }
