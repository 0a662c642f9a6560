"""Judging: a stream of picture files and frames through a detector, in order."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fapm_cli.compute.cores import usable_cores
from fapm_cli.detection.detection import Detection
from fapm_cli.detection.judge import Judge
from fapm_cli.finding.folders import Unreadable
from fapm_cli.pictures.read_ahead import in_order
from fapm_cli.pictures.reading import Item, Prepared, prepare_item, read_batches


@dataclass(frozen=True)
class Judged:
    """A picture and what was found in it.

    Attributes:
        prepared: the picture.
        found: of this picture alone, B = 1.
    """

    prepared: Prepared
    found: Detection


def judge(
    detector: Judge, items: Iterable[Item | None], batch_size: int = 8
) -> Iterator[Judged | Unreadable]:
    """Read, prepare and judge pictures; an unreadable one stands in its place.

    On a CPU each core takes whole pictures from file to score: cores that share one picture wait
    for each other, and for those that decode. On CUDA, pictures are decoded ahead of batches.

    Args:
        detector: the judge.
        items: files, arrays (height, width, 3) uint8 RGB, and frames, of any size, read lazily.
            None says that nothing comes for now: what is in hand is given out first (on CUDA, all
            but an unfilled batch).
        batch_size: pictures at a time on CUDA; on a CPU how far it works ahead, if that is more
            than one picture per core.

    Raises:
        PictureError: an array is no picture.
    """
    if detector.one_by_one:
        work = functools.partial(judge_item, detector)
        with detector.side_by_side() as begin:
            yield from in_order(items, work, max(batch_size, usable_cores()), begin)
        return
    preprocessing = detector.bank.config.preprocessing
    for batch in read_batches(items, preprocessing, batch_size, detector.fitting):
        good = [one for one in batch if isinstance(one, Prepared)]
        found = detector.detect_inputs(_stacked([one.input for one in good])) if good else None
        numbers = iter(range(len(good)))
        for one in batch:
            if isinstance(one, Prepared) and found is not None:
                yield Judged(one, found.pick(next(numbers)))
            elif isinstance(one, Unreadable):
                yield one


def _stacked(inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """(B, H, W, 3) of several inputs: uint8, if all are, else float32."""
    return np.stack(inputs)


def judge_item(detector: Judge, item: Item) -> Judged | Unreadable:
    """Read, prepare and judge one picture, in this thread."""
    one = prepare_item(item, detector.bank.config.preprocessing, detector.fitting)
    if isinstance(one, Unreadable):
        return one
    return Judged(one, detector.detect_inputs(one.input[np.newaxis]))
