"""What an evaluation writes: scores and plots."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fapm_cli.errors import OutputError
from fapm_cli.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fapm_cli.evaluation.evaluation import Evaluation

SCORE_COLUMNS = ("category", "variant", "path", "defect", "score")


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
    name = f"{evaluation.category.name}_{evaluation.detector.bank.config.variant or 'bank'}"
    name = next(one for one in _numbered(name) if one.casefold() not in taken)
    taken.add(name.casefold())
    for kind, data in evaluation.plots(name).items():
        write_atomically(folder / f"{name}_{kind}.png", data)


def _numbered(name: str) -> Iterator[str]:
    """A name, then with a number behind it, from 2 on."""
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))
