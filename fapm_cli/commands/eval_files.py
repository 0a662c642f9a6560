"""What an evaluation writes: scores and plots."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fapm_cli.commands.formats import Record
from fapm_cli.errors import OutputError
from fapm_cli.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapm_cli.evaluation.evaluate import Evaluation

SCORE_COLUMNS = ("category", "variant", "path", "defect", "score")


def score_rows(evaluation: Evaluation) -> list[Record]:
    """Say each test picture's score."""
    variant, name = evaluation.detector.bank.config.variant, evaluation.category.name
    rows = zip(evaluation.test, evaluation.scores.tolist(), strict=True)
    return [
        dict(
            zip(
                SCORE_COLUMNS,
                (name, variant, str(one.path), one.defect or "good", score),
                strict=True,
            )
        )
        for one, score in rows
    ]


def make_folder(folder: Path) -> None:
    """Make the folder for plots.

    Raises:
        OutputError: it can't be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't make folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"folder {folder} is read-only; choose another")


def write_plots(evaluation: Evaluation, folder: Path, taken: set[str]) -> None:
    """Write an evaluation's plots, beside those of categories of the same name."""
    import numpy as np

    from fapm_cli.evaluation import plots

    category = evaluation.category
    defective = np.array([one.defect is not None for one in evaluation.test])
    paths = [one.path for one in evaluation.test]
    name = f"{category.name}_{evaluation.detector.bank.config.variant or 'bank'}"
    name = next(one for one in _numbered(name) if one.casefold() not in taken)
    taken.add(name.casefold())
    thresholds = evaluation.detector.thresholds
    threshold = None if thresholds is None else thresholds.score
    bit_depth = evaluation.detector.bank.config.preprocessing.bit_depth
    pictures = {
        "roc": plots.draw_roc(evaluation.curve, name, threshold),
        "scores": plots.draw_histogram(evaluation.scores, defective, name, threshold),
        "worst": plots.draw_gallery(paths, evaluation.scores, defective, name, bit_depth),
    }
    for kind, data in pictures.items():
        if data is not None:
            write_atomically(folder / f"{name}_{kind}.png", data)


def _numbered(name: str) -> Iterator[str]:
    """A name, then with a number behind it, from 2 on."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))
