"""Judging pictures from a program: one by one, or as a stream."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from fapm_cli.api.pictures import Picture, Pictures, item_of
from fapm_cli.api.result import Result
from fapm_cli.bank import bank as learnt
from fapm_cli.compute.cluster import Cluster
from fapm_cli.compute.precision import check_on_cpu, check_precision
from fapm_cli.detection.judge import Judge
from fapm_cli.detection.record import Record, record_of, records
from fapm_cli.detection.spread import spread
from fapm_cli.detection.stream import judge, judge_item
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.finding.folders import search
from fapm_cli.pictures.reading import Item
from fapm_cli.scores.thresholds import Thresholds
from fapm_cli.sources.source import Source, files_source
from fapm_cli.stores.locating import located
from fapm_cli.stores.stored import AnyPath


class Detector:
    """A bank on a device, judging pictures: of :meth:`Bank.detector`.

    Attributes:
        engine: what does the work.
    """

    def __init__(self, engine: Judge, threshold: float | None = None):
        """Judge by a detector of the engine, and by another threshold than the bank's, if any."""
        self.engine = engine
        self._threshold = None if threshold is None else float(threshold)

    @property
    def learnt(self) -> learnt.Bank:
        """What was learnt, that it judges by."""
        return self.engine.bank

    @property
    def precision(self) -> str:
        """What it computes in."""
        return self.engine.precision

    @property
    def thresholds(self) -> Thresholds | None:
        """Where verdicts change; None where the bank's are not for scores asked this way."""
        if self._threshold is not None:
            return self.learnt.thresholds.at(self._threshold)
        return self.engine.thresholds

    @property
    def pixel_threshold(self) -> float:
        """A px of the anomaly map above it belongs to a region."""
        return self.engine.locator.pixel_threshold

    @property
    def inspected_share(self) -> float:
        """Share of each picture that is inspected, 0 to 1."""
        return self.engine.inspected_share

    @property
    def limits(self) -> list[str]:
        """What keeps the rest from being inspected: ``crop``, ``ROI``, or, where pictures are
        aligned, that too few good ones show it.
        """
        preprocessing = self.learnt.config.preprocessing
        region = (
            "ROI" if self.learnt.registration is None else "part that enough good pictures show"
        )
        return ["crop"] * preprocessing.crops + [region] * (self.engine.roi is not None)

    def __call__(self, picture: Picture) -> Result:
        """Judge one picture.

        Raises:
            PictureError: it can't be read.
        """
        (result,) = self.stream([picture])
        if result.error is not None:
            raise PictureError(result.error)
        return result

    def judge(self, item: Item) -> Result:
        """Judge one picture, or its file's bytes, in this thread; what can't be read has an error.

        Several threads may do so at a time, where the engine works on pictures one by one.
        """
        one = judge_item(self.engine, item)
        return Result(record_of(self.engine, one, self.thresholds), self.engine, one, item)

    def stream(self, pictures: Pictures | Source, batch_size: int = 8) -> Iterator[Result]:
        """Judge pictures one after another, read ahead in threads.

        Args:
            pictures: a folder, searched through; any pictures; or a source, such as
                :func:`camera_source` gives.
            batch_size: pictures at a time on CUDA, and how far to read ahead.

        Yields:
            A result each, in order; of a picture that can't be read one with an ``error``.
        """
        source = pictures if isinstance(pictures, Source) else source_of(pictures)
        sent: list[Item] = []

        def items() -> Iterator[Item | None]:
            for item in source.items:
                if item is not None:
                    sent.append(item)
                yield item

        for one in judge(self.engine, items(), 1 if source.live else batch_size):
            item = sent.pop(0)
            if source.wants(one):
                yield Result(record_of(self.engine, one, self.thresholds), self.engine, one, item)

    def records(
        self,
        pictures: Pictures | Source,
        batch_size: int = 8,
        *,
        cluster: Cluster | None = None,
    ) -> Iterator[Record]:
        """Judge pictures as :meth:`stream` does, here or on a cluster: their records alone.

        Args:
            pictures: as for :meth:`stream`; on a cluster, no source that is live.
            batch_size: likewise; on a cluster, pictures of a task.
            cluster: of :func:`fapm_cli.connected`; None for this process.

        Raises:
            OptionError: a cluster can't judge as this detector does, or a source as it comes.
            ClusterError: the cluster lacks what the work takes.
        """
        source = pictures if isinstance(pictures, Source) else source_of(pictures)
        if cluster is None:
            return (result.record for result in self.stream(source, batch_size))
        if source.live:
            raise OptionError("what comes live is judged where it comes: leave the cluster out")
        work = functools.partial(records, thresholds=self.thresholds)
        return spread(cluster, work, self.engine, source.items, batch_size)


def source_of(pictures: Pictures) -> Source:
    """A folder, searched through, or any pictures, as a source.

    Raises:
        PictureError: the folder holds none.
    """
    if isinstance(pictures, str | AnyPath):
        return files_source(search(located(pictures)).items)
    return Source(map(item_of, pictures))


def check_computing(device: str, precision: str) -> None:
    """Check that a device can be had, and computes in a precision.

    Raises:
        DeviceError, OptionError: it is not so.
    """
    from fapm_cli.compute.device import resolve_device

    check = check_on_cpu if resolve_device(device).type == "cpu" else check_precision
    check(precision)
