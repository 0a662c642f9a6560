"""MVTec LOCO AD (Bergmann et al., IJCV 2022).

::

    juice_bottle/train/good/000.png
    juice_bottle/validation/good/000.png                      (not used)
    juice_bottle/test/good/000.png
    juice_bottle/test/logical_anomalies/000.png
    juice_bottle/test/structural_anomalies/000.png
    juice_bottle/ground_truth/logical_anomalies/000/000.png   (one or more masks a picture)

Figures are also given apart, of the good pictures and each of the two kinds of anomaly. Masks of a
picture count together; the saturation of the dataset's own sPRO is not known here.
"""

from __future__ import annotations

from fapm_cli.evaluation.datasets.category import Found
from fapm_cli.evaluation.datasets.mvtec import TRUTH, found
from fapm_cli.stores.stored import AnyPath

_APART = {"logical": "logical_anomalies", "structural": "structural_anomalies"}


def find(root: AnyPath, good: frozenset[str]) -> list[Found]:
    """Find the category of a folder whose test pictures are logical or structural anomalies."""
    test = root / "test"
    apart = {name: folder for name, folder in _APART.items() if (test / folder).is_dir()}
    return [found(root, test, root / TRUTH, good, apart)] if apart else []
