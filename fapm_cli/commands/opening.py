"""A detector as the options say, and what is to be known of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fapm_cli.commands.terminal import note
from fapm_cli.plain_values import percent

if TYPE_CHECKING:
    from fapm_cli.api.detector import Detector


def open_detector(bank: Path, device: str, precision: str, **ask: Any) -> Detector:
    """Load a bank and its backbone onto a device, and note what it does not look at.

    Args:
        bank: the file.
        device: as the option says.
        precision: as the option says.
        ask: as for :meth:`fapm_cli.api.bank.Bank.detector`.
    """
    from fapm_cli.api.bank import load

    detector = load(bank).detector(device, precision, **ask)
    if detector.limits:
        share, limit = 1 - detector.inspected_share, " and ".join(detector.limits)
        note(
            f"note: {percent(share)} of each picture is not inspected: it lies outside the {limit}"
        )
    if detector.precision == "bf16":
        note("note: bf16 moves single scores by some percent; see docs/accuracy.md")
    return detector


def note_verdicts(detector: Detector, threshold: float | None) -> None:
    """Note what is wrong with the bank's threshold here, unless another is given."""
    if threshold is not None:
        return
    if detector.inspected_share < detector.learnt.inspected_share:
        note(
            "note: the bank's threshold is for all that the bank inspects, and scores of less are "
            "higher: build with the mask, or give --threshold"
        )
    if detector.thresholds is None:
        note("note: the bank's threshold is not for scores asked this way: no verdicts")
