"""Labelled datasets from a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fapm_cli.api.bank import BATCH_SIZE, build
from fapm_cli.detection.record import Record
from fapm_cli.evaluation import evaluate as evaluation
from fapm_cli.evaluation.datasets import find_categories


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
        rows.append(evaluation.evaluate(category, ready, BATCH_SIZE).record())
    return rows
