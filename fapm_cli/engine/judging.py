"""Judging: a stream of picture files through a detector, in order."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fapm_cli.engine.detector import Detection, Detector
from fapm_cli.engine.reading import Prepared, Unreadable, prepare_file, read_batches
from fapm_cli.feeding import in_order


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
    detector: Detector, paths: Iterable[Path], batch_size: int
) -> Iterator[Judged | Unreadable]:
    """Read, prepare and judge pictures; an unreadable one stands in its place.

    On a CPU each core takes whole pictures from file to score: cores that share one picture wait
    for each other, and for those that decode. On CUDA, pictures are decoded ahead of batches.

    Args:
        detector: the judge.
        paths: read lazily.
        batch_size: pictures at a time on CUDA; on a CPU how far it works ahead.
    """
    if detector.plan.one_by_one:
        work = functools.partial(_judge_file, detector)
        one_thread_each = functools.partial(torch.set_num_threads, 1)
        before = torch.get_num_threads()
        try:
            yield from in_order(paths, work, max(batch_size, 4), one_thread_each)
        finally:
            torch.set_num_threads(before)  # what one thread sets, all see
        return
    for batch in read_batches(paths, detector.bank.config.preprocessing, batch_size):
        good = [one for one in batch if isinstance(one, Prepared)]
        found = detector.detect(torch.stack([one.pixels for one in good])) if good else None
        numbers = iter(range(len(good)))
        for one in batch:
            if isinstance(one, Prepared) and found is not None:
                yield Judged(one, found.pick(next(numbers)))
            elif isinstance(one, Unreadable):
                yield one


def _judge_file(detector: Detector, path: Path) -> Judged | Unreadable:
    one = prepare_file(path, detector.bank.config.preprocessing)
    if isinstance(one, Unreadable):
        return one
    return Judged(one, detector.detect(one.pixels.unsqueeze(0)))
