"""A worker of a cluster: it computes as the machine that asks would, or says why it can't."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fapm_cli.compute.cores import tell_torch
from fapm_cli.errors import ClusterError
from fapm_cli.version import __version__

T = TypeVar("T")
R = TypeVar("R")

_held: tuple[str, Any] = ("", None)


def run(terms: Mapping[str, Any], placed: Sequence[Any], item: object) -> Any:
    """Do placed work on an item, as this machine would that said the terms."""
    import torch

    _agree(terms)
    work = _taken(placed[0])
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


def terms_here() -> dict[str, Any]:
    """What a worker must share, as plain values."""
    import torch

    tell_torch()
    return {"threads": torch.get_num_threads(), "folder": os.getcwd(), "same": kind()}


def _agree(terms: Mapping[str, Any]) -> None:
    """Compute as the terms say.

    Raises:
        ClusterError: this machine can't.
    """
    import torch

    for name, here in kind().items():
        wanted = terms["same"].get(name)
        if wanted != here:
            raise ClusterError(
                f"worker on {socket.gethostname()} has another {name} ({here}; here {wanted}): "
                "results would differ in the last bits; make both the same"
            )
    if torch.get_num_threads() != terms["threads"]:
        torch.set_num_threads(terms["threads"])
    if os.path.isdir(terms["folder"]):  # so that names of files mean the same
        os.chdir(terms["folder"])


@functools.cache
def kind() -> dict[str, str]:
    """What results depend on."""
    import cv2
    import numpy
    import PIL
    import torch

    return {
        "version of fapm": __version__,
        "version of torch": torch.__version__,
        "version of numpy": numpy.__version__,
        "version of pillow": PIL.__version__,
        "version of opencv": cv2.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }
