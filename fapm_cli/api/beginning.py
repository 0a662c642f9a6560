"""The beginning of the making of a bank: what a program is told of it."""

from __future__ import annotations

import functools
from collections.abc import Callable

from fapm_cli.api.listener import Listener
from fapm_cli.compute.device import free_bytes
from fapm_cli.learning.scratch.workspace import Where
from fapm_cli.network.extraction import FeatureExtractor


def tell_begin(
    listener: Listener,
    extractor: FeatureExtractor,
    num_pictures: int,
    needed_bytes: Callable[[], int],
    scratch: Where | None = None,
) -> None:
    """Tell how much memory the work takes, and how much there is; or where scratch files go."""
    if scratch is not None:
        listener.on_scratch(num_pictures, scratch.folder, scratch.most_bytes, scratch.stays)
        return
    free = functools.partial(free_bytes, extractor.mean.device)
    listener.on_begin(num_pictures, needed_bytes, free)
