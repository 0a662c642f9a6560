"""What the paper reports: Tables 1 and 2 of Kim et al., "FAPM" (ICASSP 2023, arXiv 2211.07381).

Quoted, none of it measured here: MVTec AD, Wide-ResNet-50, 224×224 px, frames per second on a
Titan RTX; most of the other methods' figures the paper quotes, too. It states no map of DifferNet
and, per category, no image score of PaDiM.
"""

from __future__ import annotations

# Image / pixel AUROC in percent, then frames per second.
_TABLE_1 = """
category    SPADE      DifferNet  PatchSVDD   PaDiM   CFlow       PatchCore   FAPM
carpet      98.6/97.5  84.0/-     92.9/92.6   -/99.1  100.0/99.3  98.7/98.9   99.3/98.9
grid        99.0/93.7  97.1/-     94.6/96.2   -/97.3  97.3/99.0   98.2/98.7   98.0/97.8
leather     99.5/97.6  99.4/-     90.9/97.4   -/99.2  97.7/99.7   100.0/99.3  100.0/99.0
tile        89.8/87.4  92.9/-     97.8/91.4   -/94.1  98.7/98.0   98.7/95.6   99.4/95.2
wood        95.8/88.5  99.8/-     96.5/90.8   -/94.9  99.6/96.7   99.2/95.0   99.3/94.0
bottle      98.1/98.4  99.0/-     98.6/98.1   -/98.3  100.0/99.0  100.0/98.6  100.0/98.2
cable       93.2/97.2  86.9/-     90.3/96.8   -/96.7  100.0/97.6  99.5/98.4   99.5/98.5
capsule     98.6/99.0  88.8/-     76.7/95.8   -/98.5  99.3/99.0   98.1/98.8   98.6/99.0
hazelnut    98.9/99.1  99.1/-     92.0/97.5   -/98.2  96.8/98.9   100.0/98.7  100.0/98.6
metal_nut   96.9/98.1  95.1/-     94.0/98.0   -/97.2  91.9/98.6   100.0/98.4  100.0/98.2
pill        96.5/96.5  95.9/-     86.1/95.1   -/95.7  99.9/99.0   96.6/97.1   96.0/98.0
screw       99.5/98.9  99.3/-     81.3/95.7   -/98.5  99.7/98.9   98.1/99.4   95.2/99.0
toothbrush  98.9/97.9  96.1/-     100.0/98.1  -/98.8  95.2/99.0   100.0/98.7  100.0/98.7
transistor  81.0/94.1  96.3/-     91.5/97.0   -/97.5  99.1/98.0   100.0/96.3  100.0/98.2
zipper      98.8/96.5  98.6/-     97.9/95.1   -/98.5  98.5/99.1   98.8/98.8   99.5/98.6
FPS         1.5        2.0        2.1         4.4     27.0        5.9         44.1
"""

# Means over the fifteen categories.
_TABLE_2 = """
variant  AUROC      FPS
A        98.9/98.1  23.4
B        98.5/97.5  34.1
C        98.3/97.1  35.7
D        98.4/97.8  46.0
E        99.0/98.0  44.1
"""

Quoted = dict[str, float | None]


def paper_methods(category: str) -> dict[str, Quoted]:
    """Quote what Table 1 says of a category, method by method.

    Returns:
        ``image_auroc`` and ``pixel_auroc`` from 0 to 1, None where it is not stated, and
        ``images_per_second``.
    """
    rows = _rows(_TABLE_1)
    fps = rows.pop("FPS")
    cells = rows.get(category, {})
    return {method: _quoted(cells.get(method, "-/-"), fps[method]) for method in fps}


def paper_variant(variant: str | None) -> Quoted:
    """Quote the same of Table 2 of a variant, A to E, over all categories."""
    row = _rows(_TABLE_2).get(variant or "", {})
    return _quoted(row.get("AUROC", "-/-"), row.get("FPS", "-"))


def _rows(table: str) -> dict[str, dict[str, str]]:
    """Read a table: cells by the name of their row, then of their column."""
    (_, *columns), *rows = (line.split() for line in table.strip().splitlines())
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}


def _quoted(auroc: str, fps: str) -> Quoted:
    """Read ``98.1/98.4``, percent, and a speed; a hyphen is what is not stated."""
    numbers = [None if cell == "-" else float(cell) for cell in (*auroc.split("/"), fps)]
    image, pixel = (None if rate is None else round(rate / 100, 4) for rate in numbers[:2])
    return {"image_auroc": image, "pixel_auroc": pixel, "images_per_second": numbers[2]}
