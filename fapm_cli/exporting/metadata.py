"""What travels with an exported file: all that a program must know to use it, as plain strings."""

from __future__ import annotations

import hashlib
import json

from fapm_cli.bank.bank import Bank
from fapm_cli.bank.file import bank_pieces
from fapm_cli.version import __version__

PREFIX = "fapm."

_UNITS = {
    "score": "(B,) float32, of the picture; above the threshold it is anomalous",
    "layer_scores": "(B, L) float32, the same of each layer's own map",
    "anomaly_map": "(B, H, W) float32, a score per px of the input, blurred; 0 where not inspected",
    "peak": "(B, 2) int64, x and y of the map's maximum in px of the input",
    "nearest": "(B, h, w) int64, number of the bank's nearest key of the finest layer, per place",
}


def bank_digest(bank: Bank) -> str:
    """SHA-256 of a bank's file, in hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in bank_pieces(bank):
        digest.update(piece)
    return digest.hexdigest()


def metadata(bank: Bank, half: bool, any_size: bool = False) -> dict[str, str]:
    """What an exported file says of itself, by name.

    Args:
        bank: that is exported.
        half: whether weights and keys are rounded to float16.
        any_size: whether it resizes pictures itself.
    """
    config, thresholds = bank.config, bank.thresholds
    preprocessing = config.preprocessing
    review = {} if thresholds.review is None else {"review_threshold": repr(thresholds.review)}
    said = {
        "version": __version__,
        "bank": bank_digest(bank),
        "threshold": repr(thresholds.score),
        **review,
        "pixel_threshold": repr(thresholds.pixel),
        "resize_px": "any" if any_size else _size(preprocessing.resize_px),
        "input_px": _size(preprocessing.crop_px),
        "resampling": f"{preprocessing.resampling}, antialiased",
        "colour": "RGB, 8 bits",
        "bit_depth": str(preprocessing.bit_depth),
        "light": "as-is",
        "align": "none",
        "layers": ",".join(config.memory_names),
        "backbone": config.backbone,
        "inspected_share": repr(bank.inspected_share),
        "weights": "float16" if half else "float32",
        "outputs": json.dumps(_UNITS),
    }
    return {PREFIX + name: value for name, value in said.items()}


def _size(size: tuple[int, int]) -> str:
    """Height and width."""
    return "x".join(map(str, size))
