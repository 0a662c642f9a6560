"""MVTec AD 2 (Heckler-Kram et al., 2025).

::

    can/train/good/000_regular.png
    can/validation/good/000_regular.png                       (not used)
    can/test_public/good/000_regular.png
    can/test_public/bad/000_regular.png
    can/test_public/ground_truth/bad/000_regular_mask.png
    can/test_private/000_regular.png                          (no labels; not used)
    can/test_private_mixed/000_mixed.png                      (no labels; not used)
"""

from __future__ import annotations

from fapm_cli.evaluation.datasets.category import Found
from fapm_cli.evaluation.datasets.mvtec import TRUTH, found
from fapm_cli.stores.stored import AnyPath


def find(root: AnyPath, good: frozenset[str]) -> list[Found]:
    """Find the category of a folder with ``test_public``."""
    test = root / "test_public"
    return [found(root, test, test / TRUTH, good)] if test.is_dir() else []
