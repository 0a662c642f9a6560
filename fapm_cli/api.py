"""The Python door: learn a bank, load it, judge pictures, look at what was found.

Pictures are paths, PIL pictures and arrays (height, width, 3) uint8 RGB alike, of any size; places
and sizes are those of the picture as it was given. What is not said is as on the command line, and
scores are the same to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fapm_cli.bank import bank as learnt
from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import default_config, paper_config
from fapm_cli.compute.device import resolve_device
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection import detector as detection
from fapm_cli.detection.record import Record, record_of
from fapm_cli.detection.stream import Judged, judge
from fapm_cli.drawing.heatmap import Caption, draw_heatmap
from fapm_cli.errors import OptionError, PictureError
from fapm_cli.evaluation import evaluate as evaluation
from fapm_cli.evaluation.datasets import find_categories
from fapm_cli.finding.labelled_sets import check_learnable, check_no_masks
from fapm_cli.finding.search import Unreadable, path_of, search
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.extraction import load_extractor
from fapm_cli.pictures.picture import Frame, image_pixels, read_picture
from fapm_cli.pictures.reading import Item, read_roi
from fapm_cli.sources.source import Source, files_source

Picture: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8]"
"""A path, a PIL picture, or an array (height, width, 3) uint8 RGB."""

_BATCH_SIZE = 16


@dataclass(frozen=True)
class Result:
    """What was found in a picture.

    Attributes:
        record: all of it as plain values, the record of ``fapm score --json``.
    """

    record: Record
    _detector: detection.Detector
    _judged: Judged | Unreadable
    _source: Item

    @property
    def path(self) -> str:
        """Where the picture lies; ``array`` for one in memory."""
        return str(self.record["path"])

    @property
    def error(self) -> str | None:
        """Why the picture can't be judged; None where it was."""
        return self.record.get("error")

    @property
    def score(self) -> float:
        """The image score."""
        return float(self.record["score"])

    @property
    def verdict(self) -> str | None:
        """``ok``, ``review`` or ``anomalous``; None where the bank's threshold does not hold."""
        return self.record.get("verdict")

    @property
    def threshold(self) -> float | None:
        """The score above which a picture is anomalous."""
        return self.record.get("threshold")

    @property
    def peak(self) -> tuple[int, int]:
        """The worst spot, x and y in px of the picture."""
        return self.record["peak"]["x"], self.record["peak"]["y"]

    @property
    def regions(self) -> list[Record]:
        """What exceeds the pixel threshold, strongest first: boxes in px of the picture."""
        return list(self.record["regions"])

    @property
    def nearest(self) -> Record:
        """The picture of the bank, and the place in it, most like the worst spot."""
        return dict(self.record["nearest"])

    @property
    def anomaly_map(self) -> NDArray[np.float32]:
        """(height, width) float32 over the picture's px; NaN where it was not inspected."""
        judged = self._good()
        size_px = judged.prepared.picture.size_px
        return self._detector.picture_map(judged.found.anomaly_maps[0], size_px).cpu().numpy()

    def heatmap(self, *, boxes: bool = True) -> Image.Image:
        """Draw what was found over the picture, as ``fapm heatmap`` does.

        Raises:
            PictureError: the picture's file has changed, or can't be read any more.
        """
        judged = self._good()
        image = self._image(judged)
        size_px = judged.prepared.picture.size_px
        strips = self._detector.map_strips(judged.found.anomaly_maps[0], size_px)
        caption = Caption(self.score)
        if self.threshold is not None:
            caption = Caption(self.score, self.threshold, self.verdict)
        draw_heatmap(
            image,
            ((top, scores.cpu().numpy()) for top, scores in strips),
            self._detector.pixel_threshold,
            self.peak,
            caption,
            [(r["x"], r["y"], r["width"], r["height"]) for r in self.regions] if boxes else (),
            strong=bool(self.regions),
        )
        return image

    def to_json(self) -> str:
        """The record, as one line of ``fapm score --format jsonl``."""
        return json.dumps(self.record)

    def _good(self) -> Judged:
        if isinstance(self._judged, Unreadable) or self.error is not None:
            raise PictureError(self.error or "")
        return self._judged

    def _image(self, judged: Judged) -> Image.Image:
        if isinstance(self._source, np.ndarray):
            return Image.fromarray(self._source)
        if isinstance(self._source, Frame):
            return Image.fromarray(np.ascontiguousarray(self._source.bgr[..., ::-1]))
        was = judged.prepared.picture
        picture = read_picture(was.path, self._detector.bank.config.preprocessing.bit_depth)
        if picture.sha256 != was.sha256:
            raise PictureError(f"picture {was.path} changed after it was judged; judge it again")
        return picture.image


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


@dataclass(frozen=True)
class Bank:
    """What was learnt from pictures of good parts.

    Attributes:
        learnt: all of it: configuration, memories, calibration, thresholds, pictures.
    """

    learnt: learnt.Bank

    def save(self, path: str | Path) -> int:
        """Write the bank to a file; a bank that is there is replaced whole.

        Returns:
            The file's size in bytes.

        Raises:
            OutputError: it can't be written; what was there before still is.
        """
        return save_bank(self.learnt, path)

    def detector(
        self,
        device: str = "auto",
        precision: str = "auto",
        *,
        roi: str | Path | None = None,
        pixel_threshold: float | None = None,
        **query: Any,
    ) -> Detector:
        """Lay the bank out on a device.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``auto``, ``fp32`` or another that ``fapm score --help`` names.
            roi: a mask of what to inspect, white on black.
            pixel_threshold: in place of the bank's own.
            query: how to score, in place of the bank's own way: ``reach``, ``sigma``,
                ``num_neighbors`` and the other fields of :class:`fapm_cli.Query`.

        Raises:
            DeviceError, OptionError, PictureError: an argument can't be had or makes no sense.
        """
        own = self.learnt.config
        plan = make_plan(resolve_device(device), precision)
        ready = detection.Detector(
            self.learnt,
            bank_extractor(self.learnt),
            plan=plan,
            query=replace(own.query, **query),
            roi=None if roi is None else read_roi(roi, own.preprocessing),
            pixel_threshold=pixel_threshold,
        )
        return Detector(ready)


def build(
    pictures: str | Path | Iterable[Picture],
    *,
    preset: str = "default",
    size: int | tuple[int, int] | None = None,
    weights: str | Path | None = None,
    roi: str | Path | None = None,
    device: str = "auto",
    thumbnails: bool = True,
    **config: Any,
) -> Bank:
    """Learn a bank from pictures of good parts.

    Args:
        pictures: a folder, searched through as ``fapm build`` does, or any pictures.
        preset: ``default`` or ``paper``.
        size: the input's side in px, or height and width; None for the preset's.
        weights: a file of the backbone's weights, or ``random``; None for its own.
        roi: a mask of what to inspect, white on black.
        device: to work on.
        thumbnails: whether the bank holds the pictures, small, for ``add`` and reports.
        config: as for :func:`fapm_cli.default_config`: ``backbone``, ``variant``, ``grid``, …

    Raises:
        PictureError: a picture can't be read, or a folder holds none, or not good parts alone.
        OptionError: an argument makes no sense.
    """
    if size is not None:
        config["size_px"] = (size, size) if isinstance(size, int) else size
    presets = {"default": default_config, "paper": paper_config}
    if preset not in presets:
        raise OptionError(f"preset {preset!r}: use default or paper")
    made = presets[preset](**config)
    given = None if weights is None else str(weights)
    extractor = load_extractor(made, given).to(resolve_device(device))
    bank = build_from_files(
        _named(pictures),
        made,
        extractor,
        _BATCH_SIZE,
        weights=learnt.OWN_WEIGHTS if given is None else Path(given).name,
        roi=None if roi is None else read_roi(roi, made.preprocessing),
        thumbnails=thumbnails,
    )
    return Bank(bank)


def load(path: str | Path) -> Bank:
    """Read a bank from its file.

    Raises:
        BankError: the file is missing, damaged, no bank, or of a later format version.
    """
    return Bank(load_bank(path))


def evaluate(
    dataset: str | Path, *, device: str = "auto", precision: str = "auto", **build_as: Any
) -> list[Record]:
    """Learn and judge each category of a labelled dataset.

    Args:
        dataset: a folder or table in a layout that ``fapm eval --help`` names.
        device: to work on.
        precision: to judge in.
        build_as: as for :func:`build`.

    Returns:
        A row each, as ``fapm eval --json`` gives it but for ``build_seconds``; rates from 0 to 1.

    Raises:
        PictureError: there is no category, or a picture of one can't be used.
    """
    rows = []
    for found in find_categories(Path(dataset)):
        category = found.read()
        bank = build(category.train, device=device, thumbnails=False, **build_as)
        ready = bank.detector(device, precision).engine
        rows.append(evaluation.evaluate(category, ready, _BATCH_SIZE, _quiet).record())
    return rows


def _quiet(stage: str, done: int, total: int) -> None:
    pass


def _source(pictures: str | Path | Iterable[Picture]) -> Source:
    if isinstance(pictures, str | Path):
        return files_source(search(Path(pictures)).items)
    return Source(map(_item, pictures))


def _item(picture: Picture) -> Item:
    return image_pixels(picture) if isinstance(picture, Image.Image) else picture


def _named(pictures: str | Path | Iterable[Picture]) -> list[tuple[Item, str]]:
    """Pictures to learn, each with its name in the bank."""
    if not isinstance(pictures, str | Path):
        named = [_item(one) for one in pictures]
        return [
            (one, Path(one).name if isinstance(one, str | Path) else f"{i:04}")
            for i, one in enumerate(named)
        ]
    root = Path(pictures)
    found = search(root)
    check_learnable(root, found)
    check_no_masks([item for item in found.items if isinstance(item, Path)])
    folder = root if root.is_dir() else root.parent
    return [(item, path_of(item).relative_to(folder).as_posix()) for item in found.items]
