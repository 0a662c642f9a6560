"""A worker of a cluster: it computes as the machine that asks would, or says why it can't."""

from __future__ import annotations

import functools
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fapm_cli.compute.cores import tell_torch, usable_cores, use_threads
from fapm_cli.compute.precision import cpu_features
from fapm_cli.errors import ClusterError
from fapm_cli.packages import version_of
from fapm_cli.version import __version__

T = TypeVar("T")
R = TypeVar("R")

TORCH = "torch"

_held: tuple[str, Any] = ("", None)
_agreed: Mapping[str, Any] = {}


def run(terms: Mapping[str, Any], placed: Sequence[Any], item: object) -> Any:
    """Do placed work on an item, as this machine would that said the terms."""
    _agree(terms)
    work = _taken(placed[0])
    if TORCH not in sys.modules:  # nor is it where work does without
        return work(item)
    import torch

    with torch.inference_mode():
        return work(item)


def each(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do work on several items."""
    return [work(item) for item in items]


def _taken(reference: Any) -> Any:
    """What was placed; the last is kept."""
    global _held
    name = reference.hex()
    if _held[0] != name:
        import ray

        _held = ("", None)  # the next takes its place, also in memory
        _held = (name, ray.get(reference))
    return _held[1]


def terms_here(engine: str = TORCH) -> dict[str, Any]:
    """What a worker must share, as plain values.

    Args:
        engine: the package that computes there.
    """
    threads = usable_cores()
    if engine == TORCH:
        import torch

        tell_torch()
        threads = torch.get_num_threads()
    return {"threads": threads, "folder": os.getcwd(), "engine": engine, "same": kind(engine)}


def _agree(terms: Mapping[str, Any]) -> None:
    """Compute as the terms say.

    Raises:
        ClusterError: this machine can't.
    """
    global _agreed
    if terms == _agreed:
        return
    for name, here in kind(terms["engine"]).items():
        wanted = terms["same"].get(name)
        if wanted != here:
            raise ClusterError(
                f"worker on {socket.gethostname()} has another {name} ({here}; here {wanted}): "
                "results would differ in the last bits; make both the same"
            )
    use_threads(terms["threads"])
    if terms["engine"] == TORCH:
        tell_torch()
    if os.path.isdir(terms["folder"]):  # so that names of files mean the same
        os.chdir(terms["folder"])
    _agreed = terms


@functools.cache
def kind(engine: str) -> dict[str, str]:
    """What results depend on."""
    import cv2
    import numpy
    import PIL

    versions = {"fapm": __version__, engine: version_of(engine), "numpy": numpy.__version__}
    versions |= {"pillow": PIL.__version__, "opencv": cv2.__version__}
    processor = cpu_features()
    if engine == TORCH:
        import torch

        versions[engine] = torch.__version__
        processor = torch.backends.cpu.get_cpu_capability()
    named = {f"version of {name}": version for name, version in versions.items()}
    return {**named, "processor": processor}
