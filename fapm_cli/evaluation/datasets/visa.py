"""VisA (Zou et al., ECCV 2022), as published, split as its table for one class says.

::

    candle/Data/Images/Normal/0000.JPG
    candle/Data/Images/Anomaly/000.JPG
    candle/Data/Masks/Anomaly/000.png        (px are 0, or the number of a kind of defect)
    split_csv/1cls.csv                       (object,split,label,image,mask)
"""

from __future__ import annotations

from fapm_cli.evaluation.datasets.category import Found
from fapm_cli.evaluation.datasets.table import Row, read_rows, split
from fapm_cli.stores.stored import AnyPath

_COLUMNS = ("object", "image", "split", "label", "mask")


def find(root: AnyPath, good: frozenset[str]) -> list[Found]:
    """Find the objects of a folder with ``split_csv/1cls.csv``."""
    table = root / "split_csv" / "1cls.csv"
    if not table.is_file():
        return []
    objects: dict[str, list[Row]] = {}
    for row in read_rows(table, _COLUMNS):
        objects.setdefault(row["object"], []).append(row)
    return [_found(root, name, rows, good) for name, rows in objects.items()]


def _found(root: AnyPath, name: str, rows: list[Row], good: frozenset[str]) -> Found:
    return Found(name, lambda: split(name, root / name, root, rows, "image", good))
