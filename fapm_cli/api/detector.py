"""Judging pictures from a program: one by one, or as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.api.result import Result
from fapm_cli.detection import detector as detection
from fapm_cli.detection.record import record_of
from fapm_cli.detection.stream import judge
from fapm_cli.errors import PictureError
from fapm_cli.finding.search import search
from fapm_cli.pictures.picture import image_pixels
from fapm_cli.pictures.reading import Item
from fapm_cli.sources.source import Source, files_source

Picture: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"
"""A path, a PIL picture, or an array (height, width, 3) uint8 RGB."""


class Detector:
    """A bank on a device, judging pictures."""

    def __init__(self, ready: detection.Detector):
        """Wrap a detector of the engine; see :meth:`Bank.detector`."""
        self.engine = ready

    def __call__(self, picture: Picture) -> Result:
        """Judge one picture.

        Raises:
            PictureError: it can't be read.
        """
        (result,) = self.stream([picture])
        if result.error is not None:
            raise PictureError(result.error)
        return result

    def stream(
        self, pictures: str | Path | Iterable[Picture] | Source, batch_size: int = 8
    ) -> Iterator[Result]:
        """Judge pictures one after another, read ahead in threads.

        Args:
            pictures: a folder, searched through; any pictures; or a source, such as
                :func:`camera_source` gives.
            batch_size: pictures at a time on CUDA, and how far to read ahead.

        Yields:
            A result each, in order; of a picture that can't be read one with an ``error``.
        """
        source = pictures if isinstance(pictures, Source) else _source(pictures)
        sent: list[Item] = []

        def items() -> Iterator[Item | None]:
            for item in source.items:
                if item is not None:
                    sent.append(item)
                yield item

        for one in judge(self.engine, items(), 1 if source.live else batch_size):
            item = sent.pop(0)
            if source.wants(one):
                record = record_of(self.engine, one, self.engine.thresholds)
                yield Result(record, self.engine, one, item)


def _source(pictures: str | Path | Iterable[Picture]) -> Source:
    if isinstance(pictures, str | Path):
        return files_source(search(Path(pictures)).items)
    return Source(map(item_of, pictures))


def item_of(picture: Picture) -> Item:
    """What the stages take of a picture: a path, or its pixels."""
    return image_pixels(picture) if isinstance(picture, Image.Image) else picture
