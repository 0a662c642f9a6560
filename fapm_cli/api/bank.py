"""Banks from a program: built, loaded, saved, laid out on a device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fapm_cli.api.detector import Detector, Picture, item_of
from fapm_cli.bank import bank as learnt
from fapm_cli.bank.backbone import bank_extractor
from fapm_cli.bank.file import load_bank, save_bank
from fapm_cli.bank.presets import preset_config
from fapm_cli.compute.device import resolve_device
from fapm_cli.compute.plan import make_plan
from fapm_cli.detection import detector as detection
from fapm_cli.finding.labelled_sets import check_learnable, check_no_masks
from fapm_cli.finding.search import named_below, search
from fapm_cli.learning.build import build_from_files
from fapm_cli.network.extraction import load_extractor
from fapm_cli.pictures.reading import Item, read_roi

BATCH_SIZE = 16


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
        weights: str | Path | None = None,
        roi: str | Path | None = None,
        pixel_threshold: float | None = None,
        compiled: bool = False,
        **query: Any,
    ) -> Detector:
        """Lay the bank out on a device.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``auto``, ``fp32`` or another that ``fapm score --help`` names.
            weights: a file in place of the bank's own backbone.
            roi: a mask of what to inspect, white on black.
            pixel_threshold: in place of the bank's own.
            compiled: whether to compile the network, as ``--compile`` does.
            query: how to score, in place of the bank's own way: ``reach``, ``sigma``,
                ``num_neighbors`` and the other fields of :class:`fapm_cli.Query`.

        Raises:
            DeviceError, OptionError, PictureError, WeightsError: an argument can't be had, or makes
                no sense.
        """
        own = self.learnt.config
        plan = make_plan(resolve_device(device), precision, compiled=compiled)
        ready = detection.Detector(
            self.learnt,
            bank_extractor(self.learnt, None if weights is None else str(weights)),
            plan=plan,
            query=own.with_query(**query).query,
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
    made = preset_config(preset, **config)
    given = None if weights is None else str(weights)
    extractor = load_extractor(made, given).to(resolve_device(device))
    bank = build_from_files(
        _named(pictures),
        made,
        extractor,
        BATCH_SIZE,
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


def _named(pictures: str | Path | Iterable[Picture]) -> list[tuple[Item, str]]:
    """Pictures to learn, each with its name in the bank."""
    if not isinstance(pictures, str | Path):
        named = [item_of(one) for one in pictures]
        return [
            (one, Path(one).name if isinstance(one, str | Path) else f"{i:04}")
            for i, one in enumerate(named)
        ]
    root = Path(pictures)
    found = search(root)
    check_learnable(root, found)
    check_no_masks([item for item in found.items if isinstance(item, Path)])
    return [*named_below(root, found.items)]
