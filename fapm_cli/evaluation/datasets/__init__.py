"""Datasets: labelled pictures, read as they are published, one module a layout.

A new one is named in ``LAYOUTS``, and in the help of ``fapm eval``, which imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from fapm_cli.errors import OptionError, PictureError
from fapm_cli.evaluation.datasets import kolektor, loco, mvtec, mvtec2, table, visa
from fapm_cli.evaluation.datasets.category import (
    Category,
    Find,
    Found,
    TestPicture,
    broken_links,
    folders,
    omitted,
)
from fapm_cli.evaluation.datasets.masks import read_truth
from fapm_cli.finding.learnable import GOOD
from fapm_cli.stores.stored import AnyPath

__all__ = [
    "LAYOUTS",
    "Category",
    "Found",
    "TestPicture",
    "find_categories",
    "read_category",
    "read_truth",
]

# In the order in which they are tried: what is laid out like MVTec AD comes last, since others
# have a train folder too.
LAYOUTS: dict[str, Find] = {
    "table": table.find,
    "visa": visa.find,
    "mvtec2": mvtec2.find,
    "loco": loco.find,
    "kolektor": kolektor.find,
    "mvtec": mvtec.find,
    "btad": mvtec.find,
    "mpdd": mvtec.find,
}


def find_categories(
    root: AnyPath,
    layout: str | None = None,
    good: str | None = None,
    on_note: Callable[[str], object] = lambda text: None,
) -> list[Found]:
    """Find the categories of a dataset: in what was given itself, or else in each folder of it.

    Args:
        root: a folder, or a table.
        layout: its name; None to tell by what is there.
        good: what good pictures' folders or labels are called, in any case; None for the usual.
        on_note: told which folders beside the categories are left out, in words.

    Returns:
        The categories; behind them links beside them that lead nowhere, which can't be read.

    Raises:
        OptionError: no layout has that name.
        PictureError: there is no category.
    """
    if layout is not None and layout not in LAYOUTS:
        raise OptionError(f"layout {layout!r}: use one of {', '.join(LAYOUTS)}")
    finds = list(LAYOUTS.values()) if layout is None else [LAYOUTS[layout]]
    names = GOOD if good is None else frozenset((good.casefold(),))
    found = _find(root, finds, names)
    if found:
        return found
    within = {folder: _find(folder, finds, names) for folder in folders(root)}
    if not any(within.values()):
        kind = "in any layout known" if layout is None else f"in the layout {layout}"
        raise PictureError(
            f"dataset {root} is not {kind}, nor is a folder in it; wanted train/good, test/good, "
            f"test/DEFECT, ground_truth/DEFECT, or what --layout names: {', '.join(LAYOUTS)}"
        )
    others = [folder.name for folder, categories in within.items() if not categories]
    for text in omitted(others, "folder", f"{root}, no category"):
        on_note(text)
    lost = [Found(root.name, partial(_fail, error)) for error in broken_links(root)]
    return [one for categories in within.values() for one in categories] + lost


def _fail(error: PictureError) -> Category:
    raise error


def read_category(root: AnyPath) -> Category:
    """Read the first category of a dataset, whose layout is told by what is there.

    Raises:
        PictureError: there is none, or it has no good pictures to learn or to test.
    """
    return find_categories(root)[0].read()


def _find(root: AnyPath, finds: list[Find], good: frozenset[str]) -> list[Found]:
    """What the first of some layouts finds that finds anything."""
    found: Iterator[list[Found]] = (find(root, good) for find in finds)
    return next((categories for categories in found if categories), [])
