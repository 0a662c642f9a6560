"""A detector as the options say, and the thresholds to judge by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fapm_cli.commands.choices import check_threshold
from fapm_cli.commands.terminal import note
from fapm_cli.errors import OptionError

if TYPE_CHECKING:
    from fapm_cli.detection.detector import Detector
    from fapm_cli.scores.thresholds import Thresholds


def use_threads(number: int | None) -> None:
    """Work on pictures in so many threads, and let torch compute in as many.

    Args:
        number: as the option says; None for one per CPU that this process may use, or fewer of
            torch's where the environment says so (``OMP_NUM_THREADS``).
    """
    import torch

    from fapm_cli.compute import cores

    cores.cores_asked_for = number
    torch.set_num_threads(number or min(torch.get_num_threads(), cores.usable_cores()))


def open_detector(
    bank: Path,
    device: str,
    precision: str,
    weights: str | None = None,
    changes: dict[str, Any] | None = None,
    roi: Path | None = None,
    pixel_threshold: float | None = None,
    compiled: bool = False,
) -> Detector:
    """Load a bank and its backbone onto a device, and note what it does not look at.

    Args:
        bank: the file.
        device: as the option says.
        precision: as the option says.
        weights: a file in place of the bank's own backbone.
        changes: of the bank's query.
        roi: a mask of what to inspect.
        pixel_threshold: in place of the bank's own.
        compiled: as the option says.
    """
    check_threshold(pixel_threshold)
    if pixel_threshold is not None and pixel_threshold < 0:
        raise OptionError(f"pixel threshold {pixel_threshold}: wanted 0 or more")
    from fapm_cli.api.bank import Bank
    from fapm_cli.bank.file import load_bank
    from fapm_cli.compute.device import resolve_device

    detector = (
        Bank(load_bank(bank, resolve_device(device)))
        .detector(
            device,
            precision,
            weights=weights,
            roi=roi,
            pixel_threshold=pixel_threshold,
            compiled=compiled,
            **(changes or {}),
        )
        .engine
    )
    plan, preprocessing = detector.plan, detector.bank.config.preprocessing
    reasons = ["crop"] * preprocessing.crops + ["ROI"] * (detector.roi is not None)
    if reasons:
        share, limit = 1 - detector.inspected_share, " and ".join(reasons)
        note(f"note: {share:.0%} of each picture is not inspected: it lies outside the {limit}")
    if not plan.is_exact:
        note(f"note: {plan.backbone} moves single scores by some percent; see docs/accuracy.md")
    return detector


def verdict_thresholds(detector: Detector, threshold: float | None) -> Thresholds | None:
    """The bank's thresholds, or with another in their place; None, and a note, for no verdicts."""
    if threshold is not None:
        return detector.bank.thresholds.at(threshold)
    if detector.inspected_share < detector.bank.inspected_share:
        note(
            "note: the bank's threshold is for all that the bank inspects, and scores of less are "
            "higher: build with the mask, or give --threshold"
        )
    if detector.thresholds is None:
        note("note: the bank's threshold is not for scores asked this way: no verdicts")
    return detector.thresholds
