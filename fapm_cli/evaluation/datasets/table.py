"""Tables of pictures: CSV or JSON Lines with ``path``, ``label`` and, where there is one, ``mask``.

::

    path,label,mask,split
    parts/1.png,good,,train
    parts/2.png,ok,,test
    parts/3.png,scratch,masks/3.png,test

Paths are relative to the table. Without ``split`` all pictures are to be tested, by a bank that
exists. CSV without a header has the columns path, label, mask. JSON Lines has an object with these
names in each line.
"""

from __future__ import annotations

import csv
import json

from fapm_cli.errors import PictureError
from fapm_cli.evaluation.datasets.category import Category, Found, TestPicture, check, is_good
from fapm_cli.stores.stored import AnyPath

_COLUMNS = ("path", "label", "mask", "split")

Row = dict[str, str]


def find(root: AnyPath, good: frozenset[str]) -> list[Found]:
    """Find the category of a file that ends in .csv or .jsonl."""
    if root.suffix.lower() not in (".csv", ".jsonl") or not root.is_file():
        return []
    return [Found(root.stem, lambda: _read(root, good))]


def _read(table: AnyPath, good: frozenset[str]) -> Category:
    rows = [row | {"split": row["split"].casefold() or "test"} for row in read_rows(table)]
    return split(table.stem, table, table.parent, rows, "path", good)


def split(
    name: str, where: AnyPath, folder: AnyPath, rows: list[Row], column: str, good: frozenset[str]
) -> Category:
    """Make a category of rows, as each row's split says.

    Args:
        name: of the category.
        where: what to name in errors.
        folder: paths are relative to it.
        rows: of which each has a split, a label and maybe a mask.
        column: which has the picture's path.
        good: as for :data:`Find`.
    """
    train = [
        folder / row[column]
        for row in rows
        if row["split"] == "train" and is_good(row["label"], good)
    ]
    test = [
        _labelled(folder, row[column], row["label"], row["mask"], good)
        for row in rows
        if row["split"] == "test"
    ]
    left = len(rows) - len(train) - len(test)
    notes = [f"{left} of {len(rows)} rows are left out: neither for test, nor good and for train"]
    return check(Category(name, train, test, notes=notes if left else ()), where)


def _labelled(
    folder: AnyPath, path: str, label: str, mask: str, good: frozenset[str]
) -> TestPicture:
    """A test picture of what a row says, its paths relative to a folder."""
    if is_good(label, good):
        return TestPicture(folder / path, None)
    return TestPicture(folder / path, label, (folder / mask,) if mask else ())


def read_rows(table: AnyPath, columns: tuple[str, ...] = _COLUMNS) -> list[Row]:
    """Read a table's rows: the named columns, empty where they are not there.

    Args:
        table: the file.
        columns: the first two are of every row.

    Raises:
        PictureError: it can't be read, or a row lacks what it must have.
    """
    try:
        lines = table.read_text("utf-8-sig").splitlines()
        if table.suffix.lower() == ".jsonl":
            found = [json.loads(line) for line in lines if line.strip()]
        else:
            first = next(csv.reader(lines), [])
            found = list(csv.DictReader(lines, None if columns[0] in first else columns))
        rows = [{name: _text(row.get(name)) for name in columns} for row in found]
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise PictureError(f"table {table} can't be read: {error}") from error
    for number, row in enumerate(rows, start=1):
        if not all(row[name] for name in columns[:2]):
            wanted = " and ".join(columns[:2])
            raise PictureError(f"table {table}, row {number}: has no {wanted}")
    return rows


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()
